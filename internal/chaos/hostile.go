//go:build linux

package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// HostileScripts are commands that try to leave processes behind. MARK is the
// argument of sleep that tells them, END how they end.
var HostileScripts = []string{
	`sleep MARK & END`,
	`(sleep MARK &) ; END`,
	`setsid sleep MARK & END`,
	`setsid sh -c 'sleep MARK & exec sleep MARK' & END`,
	`setsid sh -c '(trap "" HUP TERM INT; sleep MARK; sleep MARK) & exit 0' </dev/null >/dev/null 2>&1; END`,
	`trap '' TERM INT HUP QUIT; sleep MARK & END`,
	`env -i /bin/sleep MARK & END`,
	`env -i PATH="$PATH" sleep MARK </dev/null >/dev/null 2>&1 3>&- 9>&- & END`,
	`exec 3>&- 0<&- 2>/dev/null; sleep MARK & END`,
	`nohup sh -c '(sleep MARK &) & sleep MARK' >/dev/null 2>&1 & END`,
	`f() { if [ "$1" -gt 0 ]; then sh -c "$2" & fi; }; f 1 'sh -c "sh -c \"sleep MARK\" & sleep MARK" & sleep MARK'; END`,
	`(exec sleep MARK) & (exec sleep MARK) & (exec sleep MARK) & END`,
	`sleep MARK & kill -STOP $!; END`,
	`sh -c 'kill -STOP $$; sleep MARK' sh MARK & END`,
	`sh -c 'trap "sleep MARK & sleep MARK" TERM; while :; do sleep 0.05; done' sh MARK & END`,
	`i=0; while [ $i -lt 30 ]; do sleep MARK & i=$((i+1)); done; END`,
	`unset JOBCONTROL_TOKEN; setsid sh -c 'exec 3>&-; sleep MARK' & END`,
	`cd /; umask 0; setsid -f sleep MARK; END`,
	`setsid -f env -i /bin/sh -c 'trap "" TERM HUP; /bin/sleep MARK & /bin/sleep MARK' >/dev/null 2>&1 </dev/null; END`,
	`ulimit -n 4; sleep MARK & END`,
}

// Hidden tells whether a hostile command gives up token, group and parents: what
// it leaves is found as long as the worker lives, and by nobody when that is killed.
func Hidden(script string) bool {
	return strings.Contains(script, "setsid") && (strings.Contains(script, "env -i") || strings.Contains(script, "unset JOBCONTROL_TOKEN"))
}

// How a hostile command ends.
var hostileEnds = []string{"exit", "fail", "timeout", "cancel", "kill", "stop"}

// hostile is one hostile command.
type hostile struct {
	id   int
	end  string
	mark string
	job  *jobcontrol.Job
}

// newHostile makes the i-th.
func (t *trial) newHostile(i int) *hostile {
	// The number of the scenario has each command end in each way in some of many.
	h := &hostile{id: i, end: hostileEnds[(i+i/len(HostileScripts)+t.Number)%len(hostileEnds)]}
	// A number of seconds that nobody else sleeps.
	h.mark = fmt.Sprintf("86400.%d%04d%04d", os.Getpid(), t.Number, i)
	waits := map[string]string{"exit": "sleep 0.1; exit 0", "fail": "exit 3"}
	last, ok := waits[h.end]
	if !ok {
		last = "sleep 20; exit 0"
	}
	script := strings.NewReplacer("MARK", h.mark, "END", last).Replace(HostileScripts[i%len(HostileScripts)])
	delay := time.Duration(0)
	lost := 3
	h.job = &jobcontrol.Job{
		ID: fmt.Sprintf("hostile%d", i), Tries: 1, RetryDelay: &delay, Grace: 200 * time.Millisecond, MaxLost: &lost,
		Run: &jobcontrol.Task{Shell: `echo "$PPID" >"$CHAOS_DIR/made/$JOBCONTROL_JOB"; ` + script},
	}
	switch h.end {
	case "timeout":
		h.job.Timeout = 500 * time.Millisecond
	default:
		h.job.Timeout = 8 * time.Second // where it is executed again
	}
	t.markers = append(t.markers, h.mark)
	return h
}

// beHostile executes n hostile commands, a few at a time, and ends them in every
// way. After each round none of their processes may be left.
func beHostile(n int) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		c, err := newClient(t.store, t.journal, "hostile", t.seed, Load{})
		if err != nil {
			return err
		}
		const round = 5
		for i := 0; i < n; i += round {
			var list []*hostile
			for k := i; k < min(i+round, n); k++ {
				list = append(list, t.newHostile(k))
			}
			if err := t.hostileRound(ctx, c, list); err != nil {
				return err
			}
		}
		return nil
	}
}

func (t *trial) hostileRound(ctx context.Context, c *client, list []*hostile) error {
	var marks []string
	builds := map[*hostile]int64{}
	for _, h := range list {
		marks = append(marks, h.mark)
		body, hash, err := h.job.Definition()
		if err != nil {
			return err
		}
		b := jobcontrol.Build{Job: h.job.ID, Tries: 1, RetryDelay: 10 * time.Millisecond}
		run, _, err := c.store.CreateRun(ctx, jobcontrol.NewRun{
			Run:    jobcontrol.Run{Verb: jobcontrol.VerbBuild, Targets: []string{h.job.ID}},
			Builds: []jobcontrol.NewBuild{{Build: b, Definition: body, Hash: hash}},
		})
		if err != nil {
			return err
		}
		builds[h] = run.ID
	}
	for _, h := range list {
		if err := t.endHostile(ctx, c, h, builds[h]); err != nil {
			return err
		}
	}
	for _, h := range list {
		if err := t.awaitFinal(ctx, builds[h], 40*time.Second); err != nil {
			return fmt.Errorf("%s, %s: %w", h.job.ID, h.end, err)
		}
	}
	t.figures["hostile jobs"] += len(list)
	killed := slices.ContainsFunc(list, func(h *hostile) bool { return h.end == "kill" })
	left, err := Leftovers(marks, 6*time.Second)
	for _, p := range left {
		if killed && slices.ContainsFunc(list, func(h *hostile) bool {
			return strings.Contains(p, h.mark) && Hidden(HostileScripts[h.id%len(HostileScripts)])
		}) {
			t.figures["left by hidden jobs of killed workers"]++
			t.endProcess(p)
			continue
		}
		t.figures["orphans"]++
		t.found = append(t.found, Violation{Rule: "orphan", Text: p + " was left by a hostile job"})
		t.endProcess(p)
	}
	return err
}

// endProcess ends a process that was left behind, as leftovers names it.
func (t *trial) endProcess(p string) {
	var pid int
	if n, _ := fmt.Sscanf(p, "process %d", &pid); n == 1 {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it bears our mark
	}
}

// endHostile ends a command that has begun in its way.
func (t *trial) endHostile(ctx context.Context, c *client, h *hostile, build int64) error {
	made := filepath.Join(t.dir, "made", h.job.ID)
	var parent int
	for deadline := time.Now().Add(10 * time.Second); parent == 0; {
		if data, err := os.ReadFile(made); err == nil {
			_, _ = fmt.Sscan(string(data), &parent) // it may not be there yet
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s did not begin", h.job.ID)
		}
		pause(ctx, 5*time.Millisecond)
	}
	pause(ctx, 150*time.Millisecond) // for what it starts, and for the guardian to be told of its group
	switch h.end {
	case "cancel":
		c.steer(ctx, build, jobcontrol.ToCancel)
	case "kill", "stop":
		for _, p := range t.running("worker") {
			if p.cmd.Process.Pid != parent {
				continue
			}
			if h.end == "kill" {
				t.fault("kill %s while it executes %s", p.role.Name, h.job.ID)
				p.kill()
				_, err := t.worker("")
				return err
			}
			t.fault("stop %s while it executes %s", p.role.Name, h.job.ID)
			p.signal(syscall.SIGSTOP)
			pause(ctx, 2*t.ttl)
			p.signal(syscall.SIGCONT)
		}
	}
	return nil
}

// awaitFinal waits until a lone build is final; one that was interrupted may be
// executed again first.
func (t *trial) awaitFinal(ctx context.Context, run int64, patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for {
		r, err := t.store.Run(ctx, run)
		if err == nil && r.State.Final() {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("run %d is not final after %v: %v", run, patience, err)
		}
		pause(ctx, 20*time.Millisecond)
	}
}
