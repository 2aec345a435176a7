package executor_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
)

// leave are ways to leave a process behind (F7). SURVIVOR is a program that writes
// its number to a file and sleeps.
var leave = map[string]string{
	"in the background":      "SURVIVOR &",
	"holding no stream":      "SURVIVOR >/dev/null 2>&1 3>&- &",
	"in its own group":       "set -m; SURVIVOR &",
	"in its own session":     "setsid SURVIVOR &",
	"as a daemon":            "(setsid SURVIVOR >/dev/null 2>&1 3>&- </dev/null &)",
	"forked twice":           "(setsid sh -c '(SURVIVOR &)' &)",
	"deaf":                   "trap '' TERM HUP INT; setsid SURVIVOR &",
	"in its group, no token": "env -i SURVIVOR &",
}

// leaveSubreaper are ways that only one that inherits orphans can follow.
var leaveSubreaper = map[string]string{
	"with an empty environment, in its own session": "env -i setsid SURVIVOR &",
	"the same, holding no stream":                   "(env -i setsid SURVIVOR >/dev/null 2>&1 3>&- </dev/null &)",
	"the same, forked twice":                        "(env -i setsid sh -c '(SURVIVOR >/dev/null 2>&1 3>&- </dev/null &)' &)",
	"a family":                                      "(env -i setsid sh -c 'SURVIVOR & sleep 300 & setsid sleep 300 & wait' >/dev/null 2>&1 &)",
}

// leaving makes a call that leaves a process behind, and returns where its number will be.
func leaving(t *testing.T, how, then string) (*jobcontrol.Call, *recorder, func() int) {
	t.Helper()
	dir := t.TempDir()
	out, program := dir+"/pid", dir+"/survivor"
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho $$ > "+out+"\nPATH=/usr/bin:/bin exec sleep 300\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	rec := newRecorder()
	c := newCall(rec, &jobcontrol.Task{Shell: "OUT=" + out + "\n" + strings.ReplaceAll(how, "SURVIVOR", program) +
		"\nwhile ! [ -s $OUT ]; do sleep 0.01; done\n" + then})
	return c, rec, func() int {
		data, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
		if err != nil {
			t.Fatal(err)
		}
		return pid
	}
}

// limited is a context for commands that may hang if something is wrong.
func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestNothingSurvives(t *testing.T) {
	for _, subreaper := range []bool{false, true} {
		ways := maps.Clone(leave)
		if subreaper {
			maps.Copy(ways, leaveSubreaper)
		}
		for name, how := range ways {
			t.Run(fmt.Sprintf("%s/subreaper %v", name, subreaper), func(t *testing.T) {
				nothingSurvives(t, newExecutor(t, executor.Config{Subreaper: subreaper}), how)
			})
		}
	}
}

func nothingSurvives(t *testing.T, e *executor.Executor, how string) {
	t.Helper()
	c, rec, pid := leaving(t, how, "echo done")
	begin := time.Now()
	_, err := e.Execute(limited(t), c)
	took := time.Since(begin)
	if err != nil || rec.lines("stdout")[0] != "done" {
		t.Errorf("got %v, %q", err, rec.lines("stderr"))
	}
	if alive(pid()) {
		t.Errorf("process %d survives", pid())
	}
	if got := strings.Join(rec.lines("jobcontrol"), "\n"); !strings.Contains(got, "still running and") || !strings.Contains(got, fmt.Sprintf(" %d s", pid())) {
		t.Errorf("reported %q", got)
	}
	if took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}

// TestStrangerBesideOthers: what an anonymous descendant was left by cannot be told
// while another command is as old; it is ended when that one has ended, though
// commands are executed all the time.
func TestStrangerBesideOthers(t *testing.T) {
	e := newExecutor(t, executor.Config{Subreaper: true})
	dir := t.TempDir()
	var running sync.WaitGroup
	until := func(file string) {
		running.Go(func() {
			c := newCall(discard{}, &jobcontrol.Task{Shell: "touch " + file + ".started; while ! [ -e " + file + " ]; do sleep 0.01; done"})
			if _, err := e.Execute(limited(t), c); err != nil {
				t.Error(err)
			}
		})
		eventually(t, "the command runs", func() bool { _, err := os.Stat(file + ".started"); return err == nil })
	}
	end := func(file string) {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Error(err)
		}
	}
	until(dir + "/old")
	c, _, pid := leaving(t, leaveSubreaper["the same, forked twice"], "")
	if _, err := e.Execute(limited(t), c); err != nil {
		t.Fatal(err)
	}
	until(dir + "/new")
	end(dir + "/old")
	eventually(t, "the stranger is ended", func() bool { return !alive(pid()) })
	end(dir + "/new")
	running.Wait()

	// The same, and nothing is executed any more.
	until(dir + "/last")
	c, _, pid = leaving(t, leaveSubreaper["the same, forked twice"], "")
	if _, err := e.Execute(limited(t), c); err != nil {
		t.Fatal(err)
	}
	end(dir + "/last")
	running.Wait()
	eventually(t, "the stranger is ended after all", func() bool { return !alive(pid()) })
}

// TestOldKernels executes what is left behind where the kernel tells less.
func TestOldKernels(t *testing.T) {
	for _, subreaper := range []bool{false, true} {
		e := newExecutor(t, executor.Config{Subreaper: subreaper})
		if _, err := e.Execute(limited(t), newCall(discard{}, &jobcontrol.Task{Shell: "true"})); err != nil {
			t.Fatal(err)
		}
		executor.WithoutChildrenFile(e)
		executor.WithoutPidfd(e)
		for _, how := range []string{leave["in the background"], leave["as a daemon"]} {
			nothingSurvives(t, e, how)
		}
		if subreaper {
			nothingSurvives(t, e, leaveSubreaper["the same, holding no stream"])
		}
		rec := newRecorder()
		c := newCall(rec, &jobcontrol.Task{Shell: "echo ready; echo oops >&2; sleep 300"})
		_, err := e.Execute(cancelOn(t, rec, &jobcontrol.Failure{Kind: jobcontrol.FailCancel, Message: "stop"}), c)
		failure(t, err, jobcontrol.FailCancel)
		c.Task = &jobcontrol.Task{Shell: "exit 3"}
		_, err = e.Execute(limited(t), c)
		if f := failure(t, err, jobcontrol.FailError); *f.ExitCode != 3 {
			t.Errorf("got %+v", f)
		}
	}
}

// TestLeavesNothing counts descriptors and children after many commands.
func TestLeavesNothing(t *testing.T) {
	check := noNewChildren(t)
	e := newExecutor(t, executor.Config{Subreaper: true})
	script := `echo x; echo '{"log": {"message": "m"}}' >&3; exit 1`
	count := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	do := func() {
		_, _ = e.Execute(limited(t), newCall(discard{}, &jobcontrol.Task{Shell: script}))
		_, _ = e.Execute(limited(t), newCall(discard{}, &jobcontrol.Task{Command: []string{"/no/such"}}))
		c := newCall(discard{}, &jobcontrol.Task{Shell: "sleep 0.01 &"})
		c.Job.Stdin = "json"
		_, _ = e.Execute(limited(t), c)
	}
	do()
	before := count()
	each(100, do)
	if after := count(); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	check()
}

// noNewChildren returns a function that fails the test if this process has
// children that it did not have before.
func noNewChildren(t *testing.T) func() {
	t.Helper()
	children := func() []string {
		data, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", os.Getpid()))
		if err != nil {
			t.Skip(err)
		}
		return strings.Fields(string(data))
	}
	before := children()
	return func() {
		t.Helper()
		for _, pid := range children() {
			if !slices.Contains(before, pid) {
				stat, _ := os.ReadFile("/proc/" + pid + "/stat")
				t.Errorf("a child is left: %s", stat)
			}
		}
	}
}

// TestMany executes many commands at a time.
func TestMany(t *testing.T) {
	e := newExecutor(t, executor.Config{Subreaper: true})
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			rec := newRecorder()
			c := newCall(rec, &jobcontrol.Task{Shell: `sleep 0.2; echo $1; echo "{\"result\": $1}" >&3`})
			c.Args = []any{i}
			v, err := e.Execute(limited(t), c)
			if want := fmt.Sprint(i); err != nil || asJSON(t, v) != want || rec.lines("stdout")[0] != want || len(rec.logs) != 1 {
				t.Errorf("got %s, %v, %+v; want %s", asJSON(t, v), err, rec.logs, want)
			}
		})
	}
	wg.Wait()
}

// TestManyLeft has a command leave many processes behind, some of which still fork.
func TestManyLeft(t *testing.T) {
	check := noNewChildren(t)
	e := newExecutor(t, executor.Config{Subreaper: true})
	rec := newRecorder()
	c := newCall(rec, &jobcontrol.Task{Shell: `
i=0; while [ $i -lt 50 ]; do setsid sleep 300 & i=$((i+1)); done
setsid sh -c 'while :; do sleep 300 & sleep 0.01; done' &
sleep 0.3`})
	if _, err := e.Execute(limited(t), c); err != nil {
		t.Error(err)
	}
	if got := rec.lines("jobcontrol"); len(got) != 1 || !strings.Contains(got[0], "more") {
		t.Errorf("reported %q", got)
	}
	check()
}

// TestLeftSettles lets what ends by itself soon do so: a tee still has to write.
func TestLeftSettles(t *testing.T) {
	out := t.TempDir() + "/out"
	for range 20 { // a busy machine may need longer than it is given
		_, rec, err := sh(t, `( sleep 0.02; echo late > `+out+`; echo late ) & exit 0`)
		if err != nil {
			t.Fatal(err)
		}
		data, _ := os.ReadFile(out)
		if string(data) == "late\n" && rec.lines("stdout")[0] == "late" && len(rec.lines("jobcontrol")) == 0 {
			return
		}
	}
	t.Error("it never settled")
}

// TestOthersAreLeftAlone holds that ending one tree does not touch another one, nor
// processes without a token that the other one may have made.
func TestOthersAreLeftAlone(t *testing.T) {
	e := newExecutor(t, executor.Config{Subreaper: true})
	first, firstRec, firstPid := leaving(t, leave["as a daemon"], "echo ready; read line < $OUT.go")
	go_ := strings.Fields(first.Task.Shell)[0][len("OUT="):] + ".go"
	if err := mkfifo(go_); err != nil {
		t.Fatal(err)
	}
	stray, strayRec, strayPid := leaving(t, leaveSubreaper["the same, holding no stream"], "echo ready; read line < $OUT.go")
	strayGo := strings.Fields(stray.Task.Shell)[0][len("OUT="):] + ".go"
	if err := mkfifo(strayGo); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 2)
	for _, c := range []*jobcontrol.Call{first, stray} {
		go func() {
			_, err := e.Execute(limited(t), c)
			done <- err
		}()
	}
	firstRec.await(t, "stdout", "ready")
	strayRec.await(t, "stdout", "ready")

	second, _, secondPid := leaving(t, leave["as a daemon"], "")
	if _, err := e.Execute(limited(t), second); err != nil {
		t.Error(err)
	}
	if alive(secondPid()) || !alive(firstPid()) || !alive(strayPid()) {
		t.Errorf("alive: %v, %v, %v; want false, true, true", alive(secondPid()), alive(firstPid()), alive(strayPid()))
	}
	for _, path := range []string{go_, strayGo} {
		if err := os.WriteFile(path, []byte("\n"), 0); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if alive(firstPid()) || alive(strayPid()) {
		t.Errorf("alive at the end: %v, %v", alive(firstPid()), alive(strayPid()))
	}
}

// TestHeldStream has a process keep stdout open that cannot be found: the end
// is not waited for long (F9).
func TestHeldStream(t *testing.T) {
	e := newExecutor(t, executor.Config{}) // does not inherit orphans
	c, rec, pid := leaving(t, leaveSubreaper["with an empty environment, in its own session"], "echo done")
	begin := time.Now()
	_, err := e.Execute(limited(t), c)
	if took := time.Since(begin); err != nil || took > 10*time.Second {
		t.Errorf("took %v, %v", took, err)
	}
	if got := strings.Join(rec.lines("jobcontrol"), "\n"); !strings.Contains(got, "stdout is still held open") {
		t.Errorf("reported %q", got)
	}
	if p, err := os.FindProcess(pid()); err == nil {
		_ = p.Kill()
	}
}

func TestGrandchildHoldsStream(t *testing.T) {
	begin := time.Now()
	_, rec, err := sh(t, "sleep 60 & echo done; exit 0")
	if took := time.Since(begin); err != nil || took > 10*time.Second || rec.lines("stdout")[0] != "done" {
		t.Errorf("took %v, %v", took, err)
	}
}

func cancelOn(t *testing.T, rec *recorder, cause error) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancelCause(limited(t))
	go func() {
		for l := range rec.logged {
			if l.Message == "ready" {
				cancel(cause)
				return
			}
		}
	}()
	t.Cleanup(func() { cancel(nil) })
	return ctx
}

type hard struct{ error }

func (h hard) Unwrap() error { return h.error }
func (h hard) Hard() bool    { return true }

func TestCancel(t *testing.T) {
	timeout := &jobcontrol.Failure{Kind: jobcontrol.FailTimeout, Message: "late"}
	for name, test := range map[string]struct {
		script string
		grace  time.Duration
		cause  error
		lines  string
		least  time.Duration
	}{
		"ends at SIGTERM": {"echo ready; sleep 300", time.Minute, timeout, "ready", 0},
		"ends in order":   {"trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done", time.Minute, timeout, "ready bye", 0},
		"ignores SIGTERM": {"trap '' TERM; echo ready; while :; do sleep 0.05; done", 300 * time.Millisecond, timeout, "ready", 300 * time.Millisecond},
		"is stopped":      {"trap 'echo bye; exit 0' TERM; (sleep 0.1; echo ready) & kill -STOP $$; while :; do sleep 0.05; done", time.Minute, timeout, "ready bye", 0},
		"hard":            {"trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done", time.Minute, hard{timeout}, "ready", 0},
		"the shell goes first": {
			`sh -c 'trap "sleep 0.2; echo bye; exit" TERM; echo ready; while :; do sleep 0.05; done'; echo not reached`,
			time.Minute, timeout, "ready bye", 200 * time.Millisecond,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rec := newRecorder()
			c := newCall(rec, &jobcontrol.Task{Shell: test.script})
			c.Job.Grace = test.grace
			e := newExecutor(t, executor.Config{Subreaper: true})
			begin := time.Now()
			_, err := e.Execute(cancelOn(t, rec, test.cause), c)
			took := time.Since(begin)
			if f := failure(t, err, jobcontrol.FailTimeout); f != timeout || err != test.cause {
				t.Errorf("got %v", err)
			}
			if got := strings.Join(rec.lines("stdout"), " "); got != test.lines {
				t.Errorf("got %q, want %q", got, test.lines)
			}
			if took < test.least || took > 20*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// TestCancelTree holds that nothing of a tree survives a cancel.
func TestCancelTree(t *testing.T) {
	for name, how := range leave {
		t.Run(name, func(t *testing.T) {
			c, rec, pid := leaving(t, how, "trap '' TERM; echo ready; while :; do sleep 0.05; done")
			c.Job.Grace = 50 * time.Millisecond
			e := newExecutor(t, executor.Config{Subreaper: true})
			_, err := e.Execute(cancelOn(t, rec, hard{&jobcontrol.Failure{Kind: jobcontrol.FailCancel, Message: "stop"}}), c)
			failure(t, err, jobcontrol.FailCancel)
			if alive(pid()) {
				t.Errorf("process %d survives", pid())
			}
		})
	}
}

// TestSuccessBeforeCancel holds that a command that had ended is not failed by a cancel.
func TestSuccessBeforeCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(limited(t))
	rec := newRecorder()
	e := newExecutor(t, executor.Config{})
	c := newCall(lateCancel{rec, cancel}, &jobcontrol.Task{Shell: `echo last; echo '{"result": 1}' >&3`})
	c.Job.ResultOut = "stdout"
	for range 20 {
		_, err := e.Execute(ctx, c)
		if err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	}
	cancel()
}

type lateCancel struct {
	*recorder
	cancel func()
}
