package executor_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
)

// marking is a call that leaves a file, and tells whether it is there.
func marking(t *testing.T, rec jobcontrol.Recorder) (*jobcontrol.Call, func() bool) {
	t.Helper()
	mark := filepath.Join(t.TempDir(), "mark")
	return newCall(rec, &jobcontrol.Task{Shell: ": > " + mark + "; echo done"}), func() bool {
		_, err := os.Stat(mark)
		return err == nil
	}
}

// prepare prepares a call, which must work on the machines that tests run on
// unless they are traced themselves.
func prepare(t *testing.T, e *executor.Executor, c *jobcontrol.Call) jobcontrol.Prepared {
	t.Helper()
	p := e.Prepare(c)
	if p == nil {
		if status, _ := os.ReadFile("/proc/self/status"); !strings.Contains(string(status), "TracerPid:\t0\n") {
			t.Skip("the test is traced")
		}
		t.Fatal("it was not prepared")
	}
	return p
}

// children are the numbers of this process's children.
func children(t *testing.T) []string {
	t.Helper()
	var out []string
	files, _ := filepath.Glob("/proc/self/task/*/children")
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			continue // the thread has ended
		}
		out = append(out, strings.Fields(string(data))...)
	}
	return out
}

func TestPrepared(t *testing.T) {
	for _, subreaper := range []bool{false, true} {
		e := newExecutor(t, executor.Config{Subreaper: subreaper})
		rec := newRecorder()
		c, marked := marking(t, rec)
		p := prepare(t, e, c)
		time.Sleep(50 * time.Millisecond)
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", executor.PidOf(p)))
		if err != nil || !strings.Contains(string(stat), "(sh) t ") {
			t.Errorf("it does not wait: %s, %v", stat, err)
		}
		if marked() || len(rec.logs) > 0 {
			t.Error("something was executed before it may start")
		}
		if _, err := e.Execute(limited(t), newCall(discard{}, &jobcontrol.Task{Shell: "true"})); err != nil {
			t.Error("another command meanwhile:", err)
		}
		if _, err := p.Execute(limited(t)); err != nil || !marked() || len(rec.lines("stdout")) != 1 || len(rec.logs) != 1 {
			t.Errorf("%v, %v, %v", err, marked(), rec.logs)
		}
	}
}

func TestPreparedInVain(t *testing.T) {
	e := newExecutor(t, executor.Config{Subreaper: true})
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for name, end := range map[string]func(jobcontrol.Prepared){
		"discarded": jobcontrol.Prepared.Discard,
		"cancelled": func(p jobcontrol.Prepared) {
			_, err := p.Execute(cancelled)
			failure(t, err, jobcontrol.FailCancel)
		},
	} {
		rec := newRecorder()
		c, marked := marking(t, rec)
		p := prepare(t, e, c)
		pid := executor.PidOf(p)
		end(p)
		if syscall.Kill(pid, 0) != syscall.ESRCH {
			t.Errorf("%s: process %d is still there", name, pid)
		}
		if marked() || len(rec.logs) > 0 {
			t.Errorf("%s: something was executed, or told", name)
		}
	}
}

// TestKilledWhileHeld holds that somebody who kills a process that has executed
// nothing does not fail the job.
func TestKilledWhileHeld(t *testing.T) {
	e := newExecutor(t, executor.Config{})
	c, marked := marking(t, discard{})
	p := prepare(t, e, c)
	_ = syscall.Kill(executor.PidOf(p), syscall.SIGKILL)
	time.Sleep(20 * time.Millisecond)
	if _, err := p.Execute(limited(t)); err != nil || !marked() {
		t.Errorf("%v, %v", err, marked())
	}
}

// TestHeldAtItsProgram holds that the loader has done its work meanwhile, unless the
// environment names libraries, whose code it would execute.
func TestHeldAtItsProgram(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("held after its execve, as on all but amd64")
	}
	e := newExecutor(t, executor.Config{})
	for _, c := range []struct {
		env  map[string]string
		want bool
	}{{nil, true}, {map[string]string{"LD_PRELOAD": ""}, false}} {
		call := newCall(discard{}, &jobcontrol.Task{Shell: "true"})
		call.Env = c.env
		p := prepare(t, e, call)
		loaded := func() bool {
			maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", executor.PidOf(p)))
			if err != nil {
				t.Fatal(err)
			}
			return strings.Contains(string(maps), "/libc.so")
		}
		if c.want {
			eventually(t, "its libraries are loaded", loaded)
		} else if time.Sleep(20 * time.Millisecond); loaded() {
			t.Error("libraries that the environment names were executed")
		}
		if _, err := p.Execute(limited(t)); err != nil {
			t.Error(err)
		}
	}
}

// TestNotPrepared holds that what cannot be prepared is executed as ever, and
// that it is not tried again where it was refused once.
func TestNotPrepared(t *testing.T) {
	e := newExecutor(t, executor.Config{})
	if p := e.Prepare(newCall(discard{}, &jobcontrol.Task{Command: []string{"true"}})); p != nil {
		t.Error("a list was prepared")
	}
	if p := e.Prepare(newCall(discard{}, &jobcontrol.Task{Function: "f"})); p != nil {
		t.Error("a function was prepared")
	}
	c, marked := marking(t, discard{})
	executor.Refuse(e)
	if p := e.Prepare(c); p != nil {
		t.Fatal("it was prepared")
	}
	if left := children(t); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
	if p := e.Prepare(c); p != nil {
		t.Error("it was prepared")
	}
	if n := executor.Refused(e); n != 1 {
		t.Errorf("it was tried %d times", n)
	}
	if _, err := e.Execute(limited(t), c); err != nil || !marked() {
		t.Errorf("%v, %v", err, marked())
	}
	e.Close()
	if p := e.Prepare(c); p != nil {
		t.Error("a closed executor has prepared it")
	}
}

func TestPreparingLeavesNothing(t *testing.T) {
	e := newExecutor(t, executor.Config{Subreaper: true})
	c := newCall(discard{}, &jobcontrol.Task{Shell: "true"})
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	before := 0
	for i := range 300 {
		if p := prepare(t, e, c); i%3 > 0 {
			p.Discard()
		} else if _, err := p.Execute(limited(t)); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			before = descriptors()
		}
	}
	if after := descriptors(); after > before {
		t.Errorf("%d descriptors more", after-before)
	}
	if left := children(t); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
}

// TestHolderKilled holds that the kernel alone ends what is held when its holder
// is killed: it never goes on.
func TestHolderKilled(t *testing.T) {
	for range 5 {
		mark := filepath.Join(t.TempDir(), "mark")
		w := startWorker(t, workOrder{Script: ": > " + mark, Hold: true})
		pid, err := strconv.Atoi(w.await(t, "held "))
		if err != nil {
			t.Fatal(err)
		}
		if !alive(pid) {
			t.Fatal("nothing is held")
		}
		_ = w.cmd.Process.Kill()
		eventually(t, "what was held is dead", func() bool { return !alive(pid) })
		if _, err := os.Stat(mark); err == nil {
			t.Fatal("it went on")
		}
	}
}
