package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jobcontrol/jobcontrol"
)

// burn panics with what would steer a terminal, in a line that is told apart by its end.
func burn() {
	panic("fire \x1b[2J\u202e\nand more") // here it burns
}

// TestFailureShown holds what is seen of a panic and of a chain of causes: kind and
// message, calls, the line that failed with its neighbours, and nothing that steers
// the terminal; and that all of it is there without colours, too.
func TestFailureShown(t *testing.T) {
	reg := jobcontrol.NewRegistry()
	jobcontrol.Handle(reg, "test:panic", func(context.Context, jobcontrol.None) (jobcontrol.None, error) {
		burn()
		return jobcontrol.None{}, nil
	})
	jobcontrol.Handle(reg, "test:chain", func(context.Context, jobcontrol.None) (jobcontrol.None, error) {
		err := fmt.Errorf("the disk \x1b]0;x\a is full")
		return jobcontrol.None{}, fmt.Errorf("write a page: %w", fmt.Errorf("write a file: %w", err))
	})
	file := filepath.Join(t.TempDir(), "jobcontrol.yaml")
	text := "jobs:\n- {id: panics, function: test:panic}\n- {id: chain, tries: 1, function: test:chain}\n- {id: all, dependencies: [panics, chain]}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	show := func(colour bool, args ...string) string {
		tty, written := terminal(t)
		env := []string{"PATH=" + os.Getenv("PATH"), "TERM=xterm"}
		if !colour {
			env = append(env, "NO_COLOR=1")
		}
		Program{Args: append([]string{"-c", file}, args...), Env: env, Registry: reg, Stdout: tty, Stderr: tty}.Run(t.Context())
		return strings.ReplaceAll(written(), "\r\n", "\n")
	}
	stack := []string{"failure_text_test.go\", line ", "cli.burn\n", `panic("fire \x1b[2J\u202e\nand more") // here it burns`}
	causes := []string{`caused by: write a file: the disk \x1b]0;x\x07 is full`, `caused by: the disk \x1b]0;x\x07 is full`}
	for _, c := range []struct {
		args string
		want []string
	}{
		{"run all", append(append([]string{"panics failed: panic in run: panic: fire ", "chain failed: error in run: write a page: "}, stack...), causes...)},
		{"runs show 1", append(append([]string{"more: jobcontrol builds show 2", "more: jobcontrol builds show 3", "panics failed: panic in run: panic: fire ", "chain failed: error in run: write a page: "}, stack...), causes...)},
		{"runs watch 1", append(append([]string{"panics failed: panic in run: panic: fire "}, stack...), causes...)},
		{"builds show 2", append([]string{"(panic, in run, report ", "Traceback (most recent call last):", "// burn panics with"}, stack...)},
		{"builds show 3", append([]string{"(error, in run, report "}, causes...)},
	} {
		for _, colour := range []bool{true, false} {
			out := show(colour, strings.Fields(c.args)...)
			if bad := dangerous(strings.ReplaceAll(ours.ReplaceAllString(out, ""), "\n", "\r\n")); len(bad) > 0 {
				t.Errorf("%s: %v reaches the terminal: %q", c.args, bad, out)
			}
			bare := visible(ours.ReplaceAllString(out, ""))
			for _, want := range c.want {
				if !strings.Contains(bare, want) {
					t.Errorf("%s: %q is not there:\n%s", c.args, want, bare)
				}
			}
			if has := strings.Contains(out, "\x1b[31m"); has != colour {
				t.Errorf("%s: red is there: %v, wanted: %v:\n%q", c.args, has, colour, out)
			}
			if c.args != "builds show 3" {
				marked(t, c.args, bare)
			}
		}
	}
}

// marked holds that a line is marked, and that it is the one that failed.
func marked(t *testing.T, args, out string) {
	t.Helper()
	for l := range strings.Lines(out) {
		if strings.Contains(l, "here it burns") && strings.HasPrefix(strings.TrimLeft(l, " "), "> ") {
			return
		}
	}
	t.Errorf("%s: the line that failed is not marked:\n%s", args, out)
}

// TestStackCut holds that a summary of a deep stack with long lines is short and
// as wide as the window, and that a view of all of it leaves nothing out.
func TestStackCut(t *testing.T) {
	f := &jobcontrol.Failure{Kind: jobcontrol.FailPanic, Phase: jobcontrol.PhaseRun, Message: strings.Repeat("wide ", 100)}
	for i := range 50 {
		f.Causes = append(f.Causes, strings.Repeat("cause ", 40))
		frame := jobcontrol.Frame{Function: strings.Repeat("f", i), File: strings.Repeat("dir/", 30) + "x.go", Line: 100 + i}
		for n := frame.Line - 5; n <= frame.Line+5; n++ {
			frame.Source = append(frame.Source, jobcontrol.SourceLine{Line: n, Text: "\t" + strings.Repeat("日本", 60)})
		}
		frame.Locals = []jobcontrol.Variable{{Name: "n", Value: fmt.Sprint(i)}}
		f.Frames = append(f.Frames, frame)
	}
	s := newStreams(nil, nil, nil, func(string) string { return "" })
	text := s.failureSummary(f, 10, 60)
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if want := 1 + fewCauses + 1 + 1 + fewFrames + 2*fewLines + 1; len(lines) != want {
		t.Errorf("%d lines, want %d:\n%s", len(lines), want, text)
	}
	for i, l := range lines {
		if i == 0 {
			l = strings.Repeat(" ", 10) + l
		}
		if width(l) >= 60 {
			t.Errorf("%d columns: %q", width(l), l)
		}
	}
	whole := s.failureText(&jobcontrol.Build{ID: 1, Failure: f})
	for _, want := range []string{"  100: ", ">  149: ", " 154: ", "n = 0\n", "n = 49\n"} {
		if !strings.Contains(whole, want) {
			t.Errorf("%q is not there", want)
		}
	}
	if n := strings.Count(whole, ">  1"); n != 50 {
		t.Errorf("%d lines are marked", n)
	}
}
