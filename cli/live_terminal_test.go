package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jobcontrol/jobcontrol"
)

// transcript is what a terminal has got so far.
type transcript struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write adds to it.
func (r *transcript) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

// await waits until it has the text.
func (r *transcript) await(want string) {
	has := func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return strings.Contains(r.text.String(), want)
	}
	for begin := time.Now(); !has() && time.Since(begin) < 20*time.Second; {
		time.Sleep(5 * time.Millisecond)
	}
}

// inWindow executes the program in a window of 100 × 30; act is called meanwhile.
func inWindow(t *testing.T, env []string, act func(r *transcript, p *os.Process), args ...string) (string, int) {
	t.Helper()
	r := &transcript{}
	tty, written := terminal(t, r)
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 30, Col: 100}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("jobcontrol", args...)
	cmd.Stdout, cmd.Stderr = tty, tty
	cmd.Env = append(os.Environ(), append([]string{"NO_COLOR=", "COLORTERM=", "TERM=xterm-256color", "GORACE=atexit_sleep_ms=0"}, env...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	act(r, cmd.Process)
	if err := cmd.Wait(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return written(), cmd.ProcessState.ExitCode()
}

// ours are the control sequences of a picture.
var ours = regexp.MustCompile(`\x1b\[(\?25[lh]|\?7[lh]|J|K|[1-9][0-9]*A)`)

// sound checks that what a terminal got leaves it as it was, and that nothing but
// pictures steers it.
func sound(t *testing.T, out string) {
	t.Helper()
	for _, pair := range [][2]string{{hideCursor, showCursor}, {noWrap, wrap}} {
		if strings.LastIndex(out, pair[0]) > strings.LastIndex(out, pair[1]) {
			t.Errorf("%q is the last of its kind in %q", pair[0], out)
		}
	}
	rest := strings.ReplaceAll(ours.ReplaceAllString(out, ""), "\r\n", "\n")
	if bad := dangerous(strings.ReplaceAll(rest, "\r", "")); len(bad) > 0 {
		t.Errorf("%v reaches the terminal: %q", bad, out)
	}
}

// TestPicture holds what a terminal sees of a Run: its pictures, the lines above
// them, and the end of a failed build's log.
func TestPicture(t *testing.T) {
	dir := t.TempDir()
	file, seen := filepath.Join(dir, "jobcontrol.yaml"), filepath.Join(dir, "seen")
	text := `
jobs:
  - id: evil
    tries: 1
    run: |
      printf '{"progress": {"path": ["step one"], "current": 1, "total": 4, "status": "\\u001b[2J half"}}\n' >&3
      i=0
      while [ $i -lt 7 ]; do i=$((i+1)); printf 'line %d \033]0;x\007\n' $i; done
      until test -e ` + seen + `; do sleep 0.02; done
      exit 1
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	see := func(r *transcript, _ *os.Process) {
		r.await(" 25%")
		if err := os.WriteFile(seen, nil, 0o600); err != nil {
			t.Error(err)
		}
	}
	args := []string{"-c", file, "run", "-v", "evil"}
	out, status := inWindow(t, nil, see, args...)
	if status != 1 {
		t.Errorf("exit status %d", status)
	}
	sound(t, out)
	for _, want := range []string{
		hideCursor, "evil", "0:00:0", "evil.check: fail", "  step one", " 25%", `\x1b[2J half`, "\x1b[38;5;",
		"evil failed", `│ line 7 \x1b]0;x\x07`, "│ line 3 ", "more: jobcontrol builds log 1", "run 1 ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not there:\n%q", want, out)
		}
	}
	if n := strings.Count(out, "exit status 1"); n != 2 { // in the line of -v, and at the end
		t.Errorf("why it failed is told %d times:\n%q", n, out)
	}
	if strings.Contains(out, "│ line 2 ") {
		t.Errorf("more of the log than wanted:\n%q", out)
	}

	if err := os.Remove(seen); err != nil {
		t.Fatal(err)
	}
	out, _ = inWindow(t, []string{"NO_COLOR=1"}, see, args...)
	sound(t, out)
	if colours := regexp.MustCompile(`\x1b\[[0-9;]*m`); colours.MatchString(out) || !strings.Contains(out, hideCursor) {
		t.Errorf("with NO_COLOR: %q", out)
	}
	out, _ = inWindow(t, []string{"TERM=dumb"}, func(*transcript, *os.Process) {}, args...)
	if strings.Contains(out, "\x1b") || strings.Contains(out, "│") {
		t.Errorf("a dumb terminal: %q", out)
	}
}

// TestPictureEnds holds that the terminal is left as it was when the program is
// told to end, and when it is told to end at once.
func TestPictureEnds(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "jobcontrol.yaml")
	begun := filepath.Join(dir, "begun")
	text := "jobs:\n  - id: slow\n    grace: 60\n    run: |\n      trap : TERM\n      touch " + begun + "\n      while :; do sleep 0.1 || true; done\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, status := inWindow(t, nil, func(r *transcript, p *os.Process) {
		for begin := time.Now(); time.Since(begin) < 20*time.Second; time.Sleep(5 * time.Millisecond) {
			if _, err := os.Stat(begun); err == nil {
				break
			}
		}
		r.await(showCursor)
		_ = p.Signal(os.Interrupt)
		r.await("stopping: the jobs are asked to end")
		_ = p.Signal(os.Interrupt)
	}, "-c", file, "run", "slow")
	if status != 130 || !strings.Contains(out, "stopping: the jobs are asked to end") {
		t.Errorf("exit status %d: %q", status, out)
	}
	sound(t, out)
	if !strings.HasSuffix(out, clearBelow+wrap+showCursor) {
		t.Errorf("the picture stays: %q", out)
	}
}

// TestPictureText holds that text that does not wait for a picture comes out at
// once, text that follows with the next one, all of it in its order and above it.
func TestPictureText(t *testing.T) {
	tty, written := terminal(t)
	s := newStreams(nil, tty, tty, func(string) string { return "" })
	p := &picture{s: s, size: func() (int, int) { return 60, 20 }, wake: make(chan struct{}, 1), last: time.Now()}
	s.picture = p
	p.event(jobcontrol.Event{Kind: jobcontrol.EventStarted, Build: &jobcontrol.Build{ID: 1, Job: "first"}})
	p.redraw()
	s.print("one\n")
	s.tell("two\n")
	s.print("three \x1b[2J\n")
	p.redraw()
	p.redraw() // nothing has changed, but perhaps an age
	p.size = func() (int, int) { return 11, 20 }
	p.redraw()
	s.unpicture()
	s.print("four\n")
	out := written()
	sound(t, out)
	last := -1
	for _, want := range []string{"first", "one\r\n", "two\r\n", `three \x1b[2J` + "\r\n", "first", "first", "four\r\n"} {
		at := strings.Index(out[last+1:], want)
		if at < 0 {
			t.Fatalf("%q does not follow:\n%q", want, out)
		}
		last += 1 + at
	}
	if !strings.HasSuffix(out, clearBelow+wrap+showCursor+"four\r\n") {
		t.Errorf("the picture stays: %q", out)
	}
}
