//go:build linux

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// command is a command line in a directory of its own.
func command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, os.Args[0], args...)
	c.Dir = dir
	c.Env = append(os.Environ(), programVariable+"=1", "NO_COLOR=1", "TZ=UTC", "JOBCONTROL_CONFIG_FILE=")
	// A group of its own: a signal for the harness is none for it.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return c
}

// ran is what a command line did.
type ran struct {
	out, err string
	status   int // -1: a signal ended it
	rss      int // MiB, at most
	took     time.Duration
}

// patience is how long a command line may take that is not made to take long.
const patience = 90 * time.Second

// run executes a command line.
func (t *trial) run(ctx context.Context, dir string, args ...string) ran {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r := t.finish(command(ctx, dir, args...))
	if ctx.Err() != nil {
		t.Errorf("%v: it did not end within %v", args, patience)
	}
	return r
}

// finish executes a command that was made.
func (t *trial) finish(c *exec.Cmd) ran {
	t.Helper()
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	begin := time.Now()
	t.must(c.Start())
	most := make(chan int)
	ended := make(chan bool)
	go func() { most <- highWater(c.Process.Pid, ended) }()
	err := c.Wait()
	close(ended)
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	r := ran{out.String(), errs.String(), c.ProcessState.ExitCode(), <-most, time.Since(begin)}
	if strings.Contains(r.err, "panic:") || strings.Contains(r.err, "goroutine ") {
		t.Errorf("%v: it panicked:\n%.2000s", c.Args[1:], r.err)
	}
	return r
}

// highWater is the most memory that a process has had, in MiB, as it was last
// seen. What wait tells begins with what this process had when it made that one.
func highWater(pid int, ended <-chan bool) (mib int) {
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) // it may have ended
		if _, rest, ok := strings.Cut(string(status), "VmHWM:"); ok {
			kib := 0
			_, _ = fmt.Sscan(rest, &kib) // digits
			mib = max(mib, kib>>10)
		}
		select {
		case <-ended:
			tick.Stop()
			return mib
		case <-tick.C:
		}
	}
}

// decoded executes a command line that prints a JSON document.
func (t *trial) decoded(ctx context.Context, v any, dir string, args ...string) ran {
	t.Helper()
	r := t.run(ctx, dir, append([]string{"--format", "json"}, args...)...)
	if err := json.Unmarshal([]byte(r.out), v); err != nil {
		t.Fatalf("%v: %v\n%.500s\n%.500s", args, err, r.out, r.err)
	}
	return r
}

// project makes a directory with a file of jobs.
func (t *trial) project(text string) string {
	t.Helper()
	dir, err := os.MkdirTemp(t.dir, "p")
	t.must(err)
	t.must(os.WriteFile(filepath.Join(dir, "jobcontrol.yaml"), []byte(text), 0o600))
	return dir
}

// write writes the project's file anew, as a whole.
func (t *trial) write(dir, text string) {
	t.Helper()
	t.must(os.WriteFile(filepath.Join(dir, "new"), []byte(text), 0o600))
	t.must(os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "jobcontrol.yaml")))
}

// state is where the project's store is.
func state(dir string) string { return filepath.Join(dir, ".jobcontrol", "state.db") }

// background is a command that goes on while others are executed.
type background struct {
	cmd   *exec.Cmd
	log   string // its standard error and output
	ended chan struct{}
}

// start starts a command line.
func (t *trial) start(dir string, args ...string) *background {
	t.Helper()
	f, err := os.CreateTemp(t.dir, "log")
	t.must(err)
	defer f.Close()
	b := &background{command(context.Background(), dir, args...), f.Name(), make(chan struct{})}
	b.cmd.Stdout, b.cmd.Stderr = f, f
	t.must(b.cmd.Start())
	go func() {
		_ = b.cmd.Wait() // how it ended is in its ProcessState
		close(b.ended)
	}()
	t.Cleanup(func() { b.end(syscall.SIGKILL) })
	return b
}

// end sends a signal and waits until the command has ended.
func (b *background) end(s syscall.Signal) {
	_ = b.cmd.Process.Signal(s) // an error: it has ended
	<-b.ended
}

// lives tells whether the command has not ended.
func (b *background) lives() bool {
	select {
	case <-b.ended:
		return false
	default:
		return true
	}
}

// said is what the command wrote.
func (b *background) said() string {
	data, _ := os.ReadFile(b.log) // it is there
	return string(data)
}

// soon waits until ok says yes.
func (t *trial) soon(patience time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// build is what `builds` and `builds show` print of a build.
type build struct {
	ID       int64           `json:"id"`
	Job      string          `json:"job"`
	State    string          `json:"state"`
	Result   json.RawMessage `json:"result"`
	Failure  *failure        `json:"failure"`
	Attempts json.RawMessage `json:"attempts"`
}

type failure struct {
	Kind    string `json:"kind"`
	Message string `json:"message"`
}

// builds lists all builds of a project.
func (t *trial) builds(ctx context.Context, dir string) []build {
	t.Helper()
	var list []build
	t.decoded(ctx, &list, dir, "builds", "--limit", "0", "--order", "asc")
	return list
}

// registry are the functions that the faults' jobs call.
func registry() *jobcontrol.Registry {
	reg := jobcontrol.NewRegistry()
	registerHostile(reg)
	registerResults(reg)
	return reg
}

// quoted is a text as YAML and JSON have it.
func quoted(text string) string {
	data, _ := json.Marshal(text) // a string
	return string(data)
}

// jobs is a file with these lines below jobs.
func jobs(lines ...string) string { return fmt.Sprintf("jobs:\n%s\n", strings.Join(lines, "\n")) }
