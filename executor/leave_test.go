package executor

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// quiet records nothing.
type quiet struct{}

func (quiet) Log(jobcontrol.LogRecord)     {}
func (quiet) Progress(jobcontrol.Progress) {}

// TestLeaveRunning: a daemon outlives the command that says so, and no other.
func TestLeaveRunning(t *testing.T) {
	for _, c := range []struct {
		leave bool
		env   string // of the daemon
	}{{true, ""}, {true, "env -i"}, {false, ""}} {
		leave := c.leave
		x := New(Config{Subreaper: true})
		file := filepath.Join(t.TempDir(), "pid")
		job := &jobcontrol.Job{ID: "d", LeaveRunning: leave, Run: &jobcontrol.Task{
			Shell: c.env + ` setsid sh -c 'echo $$ > "$0.new"; mv "$0.new" "$0"; exec sleep 600' "$1" </dev/null >/dev/null 2>&1 3>&- & ` +
				`while ! test -s "$1"; do sleep 0.01; done`,
		}}
		call := func(task *jobcontrol.Task, args ...any) *jobcontrol.Call {
			return &jobcontrol.Call{Task: task, Execution: &jobcontrol.Execution{Job: job, Phase: jobcontrol.PhaseRun, Attempt: 1, Args: args, Record: quiet{}, Local: jobcontrol.NewLocal(nil)}}
		}
		if _, err := x.Execute(context.Background(), call(job.Run, file)); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
		if err != nil {
			t.Fatal(err)
		}
		// Neither a later command nor the end of the executor ends it.
		other := *job
		other.LeaveRunning = false
		later := call(&jobcontrol.Task{Shell: "true"})
		later.Job = &other
		if _, err := x.Execute(context.Background(), later); err != nil {
			t.Fatal(err)
		}
		x.Close()
		if alive := syscall.Kill(pid, 0) == nil; alive != leave {
			t.Errorf("leave_running %v: alive %v", leave, alive)
		}
		_ = syscall.Kill(pid, syscall.SIGKILL)
		for end := time.Now().Add(5 * time.Second); leave && time.Now().Before(end); time.Sleep(time.Millisecond) {
			if p, _ := syscall.Wait4(pid, nil, syscall.WNOHANG, nil); p != 0 {
				break
			}
		}
	}
}

// TestLeftIsForgotten: a daemon that was left running and has ended is reaped and forgotten, also one that has
// the session of this process.
func TestLeftIsForgotten(t *testing.T) {
	x := New(Config{Subreaper: true})
	defer x.Close()
	job := &jobcontrol.Job{ID: "d", LeaveRunning: true, Run: &jobcontrol.Task{
		Shell: `for s in "" setsid; do (exec $s sleep 600 </dev/null >/dev/null 2>&1 3>&- &); done`,
	}}
	_, err := x.Execute(context.Background(), &jobcontrol.Call{Task: job.Run, Execution: &jobcontrol.Execution{
		Job: job, Phase: jobcontrol.PhaseRun, Record: quiet{},
	}})
	f := x.commands.forest
	if err != nil || len(f.left) != 2 {
		t.Fatalf("%d left, %v", len(f.left), err)
	}
	f.sweep()
	if len(f.left) != 2 {
		t.Errorf("%d left while they run", len(f.left))
	}
	pids := slices.Collect(maps.Keys(f.left))
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}
	for end := time.Now().Add(10 * time.Second); len(f.left) > 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		f.sweep()
	}
	if len(f.left) > 0 {
		t.Errorf("still known: %v", f.left)
	}
	for _, pid := range pids {
		if _, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil); err != syscall.ECHILD {
			t.Errorf("process %d was not reaped: %v", pid, err)
		}
	}
}
