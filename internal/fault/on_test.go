//go:build failpoints

package fault

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// hitsVariable turns the test binary into a program that hits the points it names, and says after each what came of
// it.
const hitsVariable = "FAULT_TEST_HITS"

func TestMain(m *testing.M) {
	if names := os.Getenv(hitsVariable); names != "" {
		for name := range strings.SplitSeq(names, " ") {
			fmt.Println(name, Point(name))
		}
		return
	}
	os.Exit(m.Run())
}

// child is the test binary that will hit the points names, with the environment env.
func child(names string, env ...string) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), hitsVariable+"="+names)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return cmd, stdout, stderr
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		spec string
		want map[string][]rule
	}{
		{"", map[string][]rule{}},
		{" ; ;", map[string][]rule{}},
		{"a=kill", map[string][]rule{"a": {{action: kill}}}},
		{"a=stop@1;", map[string][]rule{"a": {{action: stop, at: 1}}}},
		{"a=delay:200ms", map[string][]rule{"a": {{action: delay, delay: 200 * time.Millisecond}}}},
		{"a=delay:1m30s@12", map[string][]rule{"a": {{action: delay, delay: 90 * time.Second, at: 12}}}},
		{" a = kill@3 ; b.c-d_E9 = error ", map[string][]rule{"a": {{action: kill, at: 3}}, "b.c-d_E9": {{action: fail}}}},
		{"a=error@2;a=kill@3", map[string][]rule{"a": {{action: fail, at: 2}, {action: kill, at: 3}}}},
	} {
		got, err := parse(test.spec)
		if err != nil {
			t.Errorf("parse(%q): %v", test.spec, err)
			continue
		}
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(rule{})); diff != "" {
			t.Errorf("parse(%q) (-want +got):\n%s", test.spec, diff)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, test := range []struct{ spec, want string }{
		{"a", `rule "a": want NAME=ACTION`},
		{"ok=kill; a b=kill", `rule "a b=kill": bad name "a b"`},
		{"=kill", `bad name ""`},
		{"a=", `unknown action ""`},
		{"a=explode", `unknown action "explode": want kill, stop, delay:DURATION or error`},
		{"a=Kill", `unknown action "Kill"`},
		{"a=kill@0", `bad hit "0"`},
		{"a=kill@-1", `bad hit "-1"`},
		{"a=kill@", `bad hit ""`},
		{"a=kill@x", `bad hit "x"`},
		{"a=kill@1@2", `bad hit "1@2"`},
		{"a=kill:now", `action "kill:now": only delay has an argument`},
		{"a=error:", `action "error:": only delay has an argument`},
		{"a=delay", `bad delay ""`},
		{"a=delay:200", `bad delay "200"`},
		{"a=delay:-1s", `bad delay "-1s"`},
		{"a=delay:0s", `bad delay "0s"`},
		{"a=kill,b=kill", `unknown action "kill,b=kill"`},
	} {
		if _, err := parse(test.spec); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("parse(%q) = %v, want an error with %q", test.spec, err, test.want)
		}
	}
}

func TestEnabled(t *testing.T) {
	if !Enabled {
		t.Error("Enabled is false with the build tag")
	}
}

func TestError(t *testing.T) {
	p, err := newPoints("a=error;b=error@2", "")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, name := range []string{"a", "b", "c", "a", "b", "b"} {
		got = append(got, fmt.Sprint(p.hit(name)))
	}
	want := []string{"fault: injected at a", "<nil>", "<nil>", "fault: injected at a", "fault: injected at b", "<nil>"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("hits (-want +got):\n%s", diff)
	}
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := newPoints("a=delay:200ms@2;a=delay:1s;a=error@3", "")
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []time.Duration{time.Second, 1200 * time.Millisecond, time.Second} {
			start := time.Now()
			err := p.hit("a")
			if got := time.Since(start); got != want {
				t.Errorf("hit %d took %v, want %v", i+1, got, want)
			}
			if (err != nil) != (i == 2) {
				t.Errorf("hit %d: %v", i+1, err)
			}
		}
	})
}

// TestConcurrent holds that the K-th hit is one hit, whoever makes it.
func TestConcurrent(t *testing.T) {
	p, err := newPoints("a=error@500", "")
	if err != nil {
		t.Fatal(err)
	}
	var errs atomic.Int32
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for range 100 {
				if p.hit("a") != nil {
					errs.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if got := errs.Load(); got != 1 {
		t.Errorf("%d errors in 1000 hits, want 1", got)
	}
}

func TestKill(t *testing.T) {
	cmd, stdout, stderr := child("a b a b a", specVariable+"=a=kill@2")
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("the process ended with %v, want SIGKILL; stderr:\n%s", err, stderr)
	}
	if got, want := stdout.String(), "a <nil>\nb <nil>\n"; got != want {
		t.Errorf("before its end it wrote %q, want %q", got, want)
	}
}

func TestStop(t *testing.T) {
	cmd, _, stderr := child("a b", specVariable+"=a=stop")
	cmd.Stdout = nil
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()

	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(cmd.Process.Pid, &ws, syscall.WUNTRACED, nil); err != nil {
		t.Fatal(err)
	}
	if !ws.Stopped() || ws.StopSignal() != syscall.SIGSTOP {
		t.Fatalf("wait status %#x, want stopped by SIGSTOP; stderr:\n%s", uint32(ws), stderr)
	}
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	var got []string
	for sc := bufio.NewScanner(stdout); sc.Scan(); {
		got = append(got, sc.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGCONT: %v; stderr:\n%s", err, stderr)
	}
	if diff := cmp.Diff([]string{"a <nil>", "b <nil>"}, got); diff != "" {
		t.Errorf("after SIGCONT it wrote (-want +got):\n%s", diff)
	}
}

// TestTrace holds that every hit is recorded, also those of points without a rule, of a second process, and the one
// that kills.
func TestTrace(t *testing.T) {
	trace := filepath.Join(t.TempDir(), "trace")
	for _, spec := range []string{"", "c=kill"} {
		cmd, _, stderr := child("a b a c d", specVariable+"="+spec, traceVariable+"="+trace)
		if err := cmd.Run(); (err != nil) != (spec != "") {
			t.Fatalf("with %q: %v; stderr:\n%s", spec, err, stderr)
		}
	}
	got, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	if want := "a\nb\na\nc\nd\n" + "a\nb\na\nc\n"; string(got) != want {
		t.Errorf("trace is %q, want %q", got, want)
	}
}

func TestUnusable(t *testing.T) {
	for _, test := range []struct{ env, want string }{
		{specVariable + "=a=explode", `fault: JOBCONTROL_FAILPOINTS: rule "a=explode": unknown action "explode"`},
		{traceVariable + "=" + t.TempDir(), "fault: JOBCONTROL_FAILPOINTS_TRACE: open "},
	} {
		cmd, stdout, stderr := child("b", test.env)
		err := cmd.Run()
		if cmd.ProcessState.ExitCode() != 2 {
			t.Errorf("%s: ended with %v, want exit status 2", test.env, err)
		}
		if !strings.HasPrefix(stderr.String(), test.want) {
			t.Errorf("%s: stderr is %q, want %q…", test.env, stderr, test.want)
		}
		if stdout.Len() > 0 {
			t.Errorf("%s: went on and wrote %q", test.env, stdout)
		}
	}
}

func TestFromEnvironment(t *testing.T) {
	cmd, stdout, stderr := child("a b a", specVariable+"=a=error@2; b=delay:1ms")
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v; stderr:\n%s", err, stderr)
	}
	if got, want := stdout.String(), "a <nil>\nb <nil>\na fault: injected at a\n"; got != want {
		t.Errorf("it wrote %q, want %q", got, want)
	}
}
