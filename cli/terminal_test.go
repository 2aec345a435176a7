package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal returns a pseudo-terminal and a function that ends it and returns what
// was written to it; also get it at once.
func terminal(t *testing.T, also ...io.Writer) (tty *os.File, written func() string) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ours.Close() })
	if err := unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.MultiWriter(append(also, &buf)...), ours) // ends with an error when the terminal is closed
	}()
	return tty, func() string {
		_ = tty.Close()
		<-done
		return buf.String()
	}
}

// on executes a command line with a terminal as standard output and error.
func on(t *testing.T, env []string, args ...string) (string, int) {
	t.Helper()
	tty, written := terminal(t)
	status := Program{Args: args, Env: append(env, "PATH="+os.Getenv("PATH")), Stdout: tty, Stderr: tty}.Run(context.Background())
	return written(), status
}

// TestTerminal holds that nothing that comes from a job steers a terminal,
// wherever it is shown.
func TestTerminal(t *testing.T) {
	const evil = `\033]0;title\007 \033[2J \033]52;c;YQ==\007 \033[31mred\033[0m \302\233 \r \001 \342\200\256 end`
	dir := t.TempDir()
	file := filepath.Join(dir, "jobcontrol.yaml")
	text := `
jobs:
  - id: evil
    title: "title \e]0;x\a"
    notes: "notes \e[2J"
    tags: ["tag\e[2J"]
    tries: 1
    kwargs: {k: "v\e[2J\u009b"}
    run: "printf '` + evil + `\n'; printf '` + evil + `\n' >&2; exit 1"
  - id: result
    run: "printf '` + evil + `\n'"
    result: stdout
`
	text = strings.ReplaceAll(text, `\033`, `\\033`)
	for _, c := range []string{`\007`, `\302`, `\233`, `\r `, `\001`, `\342`, `\200`, `\256`, `\n'`} {
		text = strings.ReplaceAll(text, c, `\`+c)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		want int
	}{
		{"run evil --debug", 1},
		{"run result", 0},
		{"plan evil", 0},
		{"jobs", 0},
		{"jobs show evil", 0},
		{"jobs --tag x\x1b[2J", 0},
		{"builds", 0},
		{"builds show 1", 0},
		{"builds log 1", 0},
		{"builds log 2", 0},
		{"builds result 2", 0},
		{"runs", 0},
		{"runs show 1", 0},
		{"--format json builds show 1", 0},
		{"--format json builds log 1", 0},
		{"dump-config", 0},
		{"jobs show no\x1b]0;x\x07", 3},
		{"\x1b[2J", 2},
	} {
		out, status := on(t, nil, append([]string{"-c", file}, strings.Fields(c.args)...)...)
		if status != c.want {
			t.Errorf("%q: exit status %d, want %d\n%s", c.args, status, c.want, out)
		}
		if out == "" {
			t.Errorf("%q: nothing was shown", c.args)
		}
		for _, bad := range dangerous(out) {
			t.Errorf("%q: %s reaches the terminal:\n%q", c.args, bad, out)
		}
	}
}

// dangerous are the characters of what a terminal got that could steer it:
// everything but line ends (\r\n, as the terminal makes them), tabs and colours.
func dangerous(out string) (found []string) {
	out = strings.ReplaceAll(out, "\r\n", "\n")
	for i := 0; i < len(out); i++ {
		if n := 0; out[i] == 0x1b {
			if n = colourSequence(out[i:]); n > 0 {
				i += n - 1
				continue
			}
		}
		if c := out[i]; c < ' ' && c != '\n' && c != '\t' || c == 0x7f {
			found = append(found, fmt.Sprintf("%#x", c))
		}
	}
	for _, r := range out {
		if r >= 0x80 && r <= 0x9f || r >= 0x202a && r <= 0x202e {
			found = append(found, fmt.Sprintf("%U", r))
		}
	}
	return found
}

// TestColours holds where there are colours.
func TestColours(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "jobcontrol.yaml")
	if err := os.WriteFile(file, []byte("jobs:\n  - {id: a, run: \"true\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-c", file, "run", "a"}
	if out, _ := on(t, nil, args...); !strings.Contains(out, "\x1b[32msuccessful") {
		t.Errorf("no colour on a terminal: %q", out)
	}
	for _, env := range []string{"NO_COLOR=1", "TERM=dumb"} {
		if out, _ := on(t, []string{env}, args...); strings.Contains(out, "\x1b") || !strings.Contains(out, "successful") {
			t.Errorf("colour with %s: %q", env, out)
		}
	}
	var out bytes.Buffer
	if status := (Program{Args: args, Env: []string{}, Stdout: &out}).Run(context.Background()); status != 0 || strings.Contains(out.String(), "\x1b") {
		t.Errorf("exit status %d, colour in a file: %q", status, out.String())
	}
}
