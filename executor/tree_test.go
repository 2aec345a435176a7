package executor_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
)

// survivor is a process that a script leaves behind; it writes its number to $OUT.
const survivor = `sh -c 'echo $$ > '$OUT'; exec sleep 300'`

// leave are ways to leave a process behind (F7).
var leave = map[string]string{
	"in the background":      survivor + " &",
	"holding no stream":      survivor + " >/dev/null 2>&1 3>&- &",
	"in its own group":       "set -m; " + survivor + " &",
	"in its own session":     "setsid " + survivor + " &",
	"as a daemon":            "(setsid " + survivor + " >/dev/null 2>&1 3>&- </dev/null &)",
	"forked twice":           "(setsid sh -c '(" + strings.ReplaceAll(survivor, "'", `'\''`) + ` &)' &)`,
	"deaf":                   `trap '' TERM HUP INT; setsid ` + survivor + " &",
	"renamed, without token": "env -u JOBCONTROL_TOKEN " + survivor + " &",
}

// leaveSubreaper are ways that only one that inherits orphans can follow.
var leaveSubreaper = map[string]string{
	"with an empty environment, in its own session": "env -i setsid " + survivor + " &",
	"the same, holding no stream":                   "(env -i setsid " + survivor + " >/dev/null 2>&1 3>&- </dev/null &)",
	"the same, forked twice":                        "(env -i setsid sh -c '(" + strings.ReplaceAll(survivor, "'", `'\''`) + " >/dev/null 2>&1 3>&- </dev/null &)' &)",
	"a family":                                      "(env -i setsid sh -c '" + strings.ReplaceAll(survivor, "'", `'\''`) + " & sleep 300 & setsid sleep 300 & wait' >/dev/null 2>&1 &)",
}

// leaving makes a call that leaves a process behind, and returns where its number will be.
func leaving(t *testing.T, how, then string) (*jobcontrol.Call, *recorder, func() int) {
	t.Helper()
	out := t.TempDir() + "/pid"
	rec := newRecorder()
	c := newCall(rec, &jobcontrol.Task{Shell: "OUT=" + out + "\n" + how + "\nwhile ! [ -s $OUT ]; do sleep 0.01; done\n" + then})
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

func TestNothingSurvives(t *testing.T) {
	for _, subreaper := range []bool{false, true} {
		ways := []map[string]string{leave}
		if subreaper {
			ways = append(ways, leaveSubreaper)
		}
		for _, way := range ways {
			for name, how := range way {
				t.Run(fmt.Sprintf("%s/subreaper=%v", name, subreaper), func(t *testing.T) {
					e := newExecutor(t, executor.Config{Subreaper: subreaper})
					c, rec, pid := leaving(t, how, "echo done")
					begin := time.Now()
					_, err := e.Execute(context.Background(), c)
					took := time.Since(begin)
					if err != nil || rec.lines("stdout")[0] != "done" {
						t.Errorf("got %v, %q", err, rec.lines("stderr"))
					}
					if alive(pid()) {
						t.Errorf("process %d survives", pid())
					}
					if got := strings.Join(rec.lines("jobcontrol"), "\n"); !strings.Contains(got, "still running and") || !strings.Contains(got, fmt.Sprint(pid())+" sleep") {
						t.Errorf("reported %q", got)
					}
					if took > 10*time.Second {
						t.Errorf("took %v", took)
					}
				})
			}
		}
	}
}

// TestManyLeft has a command leave many processes behind, some of which still fork.
func TestManyLeft(t *testing.T) {
	e := newExecutor(t, executor.Config{Subreaper: true})
	rec := newRecorder()
	c := newCall(rec, &jobcontrol.Task{Shell: `
i=0; while [ $i -lt 50 ]; do setsid sleep 300 & i=$((i+1)); done
setsid sh -c 'while :; do sleep 300 & sleep 0.01; done' &
sleep 0.3`})
	if _, err := e.Execute(context.Background(), c); err != nil {
		t.Error(err)
	}
	if got := rec.lines("jobcontrol"); len(got) != 1 || !strings.Contains(got[0], "more") {
		t.Errorf("reported %q", got)
	}
	if out, _ := os.ReadFile("/proc/self/task/" + fmt.Sprint(os.Getpid()) + "/children"); len(out) > 0 {
		t.Errorf("children are left: %s", out)
	}
}

// TestLeftSettles lets what ends by itself do so: a tee still has to write.
func TestLeftSettles(t *testing.T) {
	out := t.TempDir() + "/out"
	_, err, rec := sh(t, `( sleep 0.03; echo late > `+out+`; echo late ) & exit 0`)
	if data, _ := os.ReadFile(out); err != nil || string(data) != "late\n" || rec.lines("stdout")[0] != "late" {
		t.Errorf("got %q, %v", data, err)
	}
	if got := rec.lines("jobcontrol"); len(got) > 0 {
		t.Errorf("reported %q", got)
	}
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
			_, err := e.Execute(context.Background(), c)
			done <- err
		}()
	}
	firstRec.await(t, "stdout", "ready")
	strayRec.await(t, "stdout", "ready")

	second, _, secondPid := leaving(t, leave["as a daemon"], "")
	if _, err := e.Execute(context.Background(), second); err != nil {
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
	_, err := e.Execute(context.Background(), c)
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
	_, err, rec := sh(t, "sleep 60 & echo done; exit 0")
	if took := time.Since(begin); err != nil || took > 10*time.Second || rec.lines("stdout")[0] != "done" {
		t.Errorf("took %v, %v", took, err)
	}
}

func cancelOn(t *testing.T, rec *recorder, cause error) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancelCause(context.Background())
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
		"the shell goes first": {`sh -c 'trap "sleep 0.2; echo bye; exit" TERM; echo ready; while :; do sleep 0.05; done'; echo not reached`,
			time.Minute, timeout, "ready bye", 200 * time.Millisecond},
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
	ctx, cancel := context.WithCancel(context.Background())
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
