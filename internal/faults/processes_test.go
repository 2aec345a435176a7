//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/internal/chaos"
)

var processFaults = []fault{
	{"F7", "commands that fork, daemonise and hide, ended in five ways (exit, fail, timeout, Ctrl-C, kill -9)", "no process is left; after kill -9 none that kept token, group or parent", hostile},
	{"F8", "commands that ignore SIGTERM, after a soft timeout", "dead at grace + 0.5 s", deaf},
	{"F9", "a process that holds stdout after its command has ended", "end recorded within 2 s", holding},
	{"F11", "Go functions that panic, exit their goroutine, block, deadlock, on one worker", "the worker lives; slot back at timeout + 5 s; the good ones are executed", misbehaving},
}

// slowest is the longest of some times, in seconds.
func slowest(took []time.Duration) float64 {
	if len(took) == 0 {
		return 0
	}
	return slices.Max(took).Seconds()
}

// hostileEnds are the ways in which commands end that try to leave processes.
var hostileEnds = []string{"exit", "fail", "timeout", "cancel", "kill"}

func hostile(ctx context.Context, t *trial) {
	rounds := scaled(2*len(hostileEnds), 1)
	orphans, hidden := 0, 0
	for round := range rounds {
		end := hostileEnds[(round+int(*seed)*3)%len(hostileEnds)]
		last := map[string]string{"exit": "sleep 0.1; exit 0", "fail": "exit 3"}[end]
		if last == "" {
			last = "sleep 50; exit 0"
		}
		lines := []string{}
		var marks []string
		for i, script := range chaos.HostileScripts {
			mark := fmt.Sprintf("86400.%d%03d%03d", os.Getpid(), round, i) // seconds that nobody else sleeps
			marks = append(marks, mark)
			script = `: >"begun-$JOBCONTROL_JOB"; ` + strings.NewReplacer("MARK", mark, "END", last).Replace(script)
			line := fmt.Sprintf("  - {id: h%d, tries: 1, grace: 0.2, run: %s", i, quoted(script))
			if end == "timeout" {
				line += ", timeout: 0.7"
			}
			lines = append(lines, line+"}")
		}
		t.n += len(lines)
		dir := t.project("template: false\n" + jobs(append(lines, all(len(lines), "h"))...))
		b := t.start(dir, "run", "-j", "20", "all")
		if end == "cancel" || end == "kill" {
			t.soon(30*time.Second, "the commands begin", func() bool {
				begun, err := filepath.Glob(filepath.Join(dir, "begun-*"))
				return err == nil && len(begun) == len(chaos.HostileScripts)
			})
			time.Sleep(50 * time.Millisecond) // for what they start
			b.end(map[string]syscall.Signal{"cancel": syscall.SIGINT, "kill": syscall.SIGKILL}[end])
		}
		select {
		case <-b.ended:
		case <-time.After(time.Minute):
			t.Errorf("%s: the program does not end: %s", end, b.said())
			b.end(syscall.SIGKILL)
		}
		left, err := chaos.Leftovers(marks, 6*time.Second)
		t.must(err)
		for _, p := range left {
			if end == "kill" && slices.ContainsFunc(marks, func(m string) bool {
				return strings.Contains(p, m) && chaos.Hidden(chaos.HostileScripts[slices.Index(marks, m)])
			}) {
				hidden++ // as documented
			} else {
				orphans++
				t.Errorf("%s: %s was left", end, p)
			}
			var pid int
			if n, _ := fmt.Sscanf(p, "process %d", &pid); n == 1 {
				_ = syscall.Kill(pid, syscall.SIGKILL) // it bears our mark
			}
		}
	}
	t.figure("left %d, after kill -9 of the program also %d of those that had given up token, group and parents", orphans, hidden)
}

// all is a job that depends on all others.
func all(n int, prefix string) string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("%s%d", prefix, i)
	}
	return "  - {id: all, dependencies: [" + strings.Join(ids, ", ") + "]}"
}

// attempts are how long the attempts of a project's builds took.
func (t *trial) attempts(ctx context.Context, dir string) (took []time.Duration) {
	t.Helper()
	for _, b := range t.builds(ctx, dir) {
		var shown struct {
			AttemptList []struct {
				StartedAt  time.Time `json:"started_at"`
				FinishedAt time.Time `json:"finished_at"`
			} `json:"attempt_list"`
		}
		t.decoded(ctx, &shown, dir, "builds", "show", fmt.Sprint(b.ID))
		for _, a := range shown.AttemptList {
			took = append(took, a.FinishedAt.Sub(a.StartedAt))
		}
	}
	return took
}

func deaf(ctx context.Context, t *trial) {
	t.n = scaled(100, 4)
	var lines []string
	for i := range t.n {
		script := []string{
			`trap '' TERM; while :; do sleep 0.02; done`,
			`trap '' TERM INT HUP; sh -c 'while :; do sleep 0.02; done' & wait; wait`,
		}[i%2]
		lines = append(lines, fmt.Sprintf("  - {id: d%d, tries: 1, soft_timeout: 0.2, grace: 0.3, run: %s}", i, quoted(script)))
	}
	dir := t.project(jobs(append(lines, all(t.n, "d"))...))
	if r := t.run(ctx, dir, "run", "-j", "4", "all"); r.status != 1 {
		t.Errorf("exit status %d: %s", r.status, r.err)
	}
	wrong := 0
	for _, b := range t.builds(ctx, dir) {
		if b.Job != "all" && (b.State != "failed" || b.Failure == nil || b.Failure.Kind != "timeout") {
			wrong++
		}
	}
	t.none(wrong, "without a timeout")
	took := t.attempts(ctx, dir)
	t.figure("longest %.2f s of 0.5", slowest(took))
	if timed() && slowest(took) > 1 {
		t.Errorf("a command lived for %.2f s", slowest(took))
	}
}

func holding(ctx context.Context, t *trial) {
	t.n = scaled(100, 4)
	var lines []string
	for i := range t.n {
		script := []string{`sleep 60 & echo said; exit 0`, `(sleep 60; echo late) & echo said; exit 0`, `setsid sleep 60 & echo said; exit 0`}[i%3]
		lines = append(lines, fmt.Sprintf("  - {id: h%d, tries: 1, result: stdout, run: %s}", i, quoted(script)))
	}
	dir := t.project(jobs(append(lines, all(t.n, "h"))...))
	if r := t.run(ctx, dir, "run", "-j", "4", "all"); r.status != 0 {
		t.Errorf("exit status %d: %s", r.status, r.err)
	}
	wrong := 0
	for _, b := range t.builds(ctx, dir) {
		if b.Job != "all" && (b.State != "successful" || string(b.Result) != `"said\n"` && string(b.Result) != `"said"`) {
			t.Logf("%s is %s, %s", b.Job, b.State, b.Result)
			wrong++
		}
	}
	t.none(wrong, "wrong ends")
	took := t.attempts(ctx, dir)
	t.figure("longest %.2f s", slowest(took))
	if timed() && slowest(took) > 2 {
		t.Errorf("an attempt took %.2f s", slowest(took))
	}
}

// registerHostile registers functions that misbehave.
func registerHostile(reg *jobcontrol.Registry) {
	handle := func(name string, f func(ctx context.Context) error) {
		jobcontrol.Handle(reg, "hostile:"+name, func(ctx context.Context, _ jobcontrol.None) (jobcontrol.None, error) {
			return jobcontrol.None{}, f(ctx)
		})
	}
	handle("good", func(context.Context) error { return nil })
	handle("once", func(ctx context.Context) error {
		x, err := jobcontrol.Current(ctx)
		if err != nil {
			return err
		}
		f, err := os.OpenFile("executed", os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(f, "%d\n", x.Build)
		return errors.Join(err, f.Close())
	})
	jobcontrol.Handle(reg, "hostile:say", func(ctx context.Context, said struct {
		Text string `json:"text"`
	},
	) (jobcontrol.None, error) {
		jobcontrol.Logger(ctx, said.Text).Info(said.Text, said.Text, said.Text)
		if err := jobcontrol.Report(ctx, said.Text, 1, 2, said.Text); err != nil {
			return jobcontrol.None{}, err
		}
		return jobcontrol.None{}, fmt.Errorf("%s: %w", said.Text, errors.New(said.Text))
	})
	handle("panic", func(context.Context) error { panic("on purpose") })
	handle("nil", func(context.Context) error {
		var p *time.Time
		_ = p.String()
		return nil
	})
	handle("error-panic", func(context.Context) error { panic(errors.New("on purpose")) })
	handle("goexit", func(context.Context) error { runtime.Goexit(); return nil })
	handle("block", func(context.Context) error { select {} })
	handle("deadlock", func(context.Context) error {
		var mu sync.Mutex
		mu.Lock()
		mu.Lock()
		return nil
	})
	handle("wait", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	handle("late", func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(300 * time.Millisecond)
		panic("after its end")
	})
}

// misbehavior says how functions of that name end.
var misbehavior = map[string]string{
	"good": "", "panic": "panic", "nil": "panic", "error-panic": "panic", "goexit": "error",
	"block": "timeout", "deadlock": "timeout", "wait": "timeout", "late": "timeout",
}

func misbehaving(ctx context.Context, t *trial) {
	names := []string{"good", "panic", "block", "good", "nil", "deadlock", "goexit", "wait", "good", "error-panic", "late"}
	t.n = scaled(330, 33)
	var lines []string
	for i := range t.n {
		lines = append(lines, fmt.Sprintf("  - {id: f%d, tries: 1, timeout: 0.3, function: 'hostile:%s'}", i, names[i%len(names)]))
	}
	dir := t.project(jobs(append(lines, all(t.n, "f"))...))
	w := t.start(dir, "worker", "-j", "4")
	if r := t.run(ctx, dir, "run", "--detach", "all"); r.status != 0 {
		t.Fatalf("exit status %d: %s", r.status, r.err)
	}
	if r := t.run(ctx, dir, "runs", "watch", "1"); r.status != 1 {
		t.Errorf("exit status %d: %s", r.status, r.err)
	}
	exits := 0
	if !w.lives() {
		exits++
		t.Logf("the worker said: %s", w.said())
	}
	t.none(exits, "worker exits")
	wrong := 0
	for _, b := range t.builds(ctx, dir) {
		var i int
		if n, _ := fmt.Sscanf(b.Job, "f%d", &i); n != 1 {
			continue
		}
		want, got := misbehavior[names[i%len(names)]], ""
		if b.Failure != nil {
			got = b.Failure.Kind
		}
		if want != got {
			t.Logf("%s (%s) ended %s, %q, want %q", b.Job, names[i%len(names)], b.State, got, want)
			wrong++
		}
	}
	t.none(wrong, "wrong ends")
	if timed() {
		took := t.attempts(ctx, dir)
		t.figure("slot back after %.2f s of 0.3", slowest(took))
		if slowest(took) > 5.3 {
			t.Errorf("a slot was taken for %.2f s", slowest(took))
		}
	}
	_ = w.cmd.Process.Signal(syscall.SIGTERM) // an error: it has ended
	select {
	case <-w.ended:
	case <-time.After(20 * time.Second):
		t.Error("the worker does not end with functions that are blocked")
	}
}
