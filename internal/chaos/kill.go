//go:build linux

package chaos

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// among returns a number between two durations.
func (t *trial) among(low, high time.Duration) time.Duration {
	return low + time.Duration(t.rng.Int64N(int64(high-low)))
}

// someone returns a process of a kind by chance; nil: there is none.
func (t *trial) someone(kind string) *process {
	list := t.running(kind)
	if len(list) == 0 {
		return nil
	}
	return list[t.rng.IntN(len(list))]
}

// killRandomly ends processes at random times n times: workers mostly, some of
// them together with their guardian, then guardians alone and clients. Each is replaced.
func killRandomly(n int) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		for range n {
			pause(ctx, t.among(50*time.Millisecond, 700*time.Millisecond))
			if ctx.Err() != nil {
				return ctx.Err()
			}
			kind := "worker"
			if t.rng.IntN(5) == 0 {
				kind = "client"
			}
			p := t.someone(kind)
			if p == nil {
				continue
			}
			if kind == "worker" && t.rng.IntN(3) == 0 && t.killGuardian(p) && t.rng.IntN(2) == 0 {
				continue // the worker lives, and starts another one
			}
			t.fault("kill %s (%d)", p.role.Name, p.cmd.Process.Pid)
			p.kill()
			t.figures["kills of "+kind+"s"]++
			if _, err := t.start(p.role, ""); err != nil {
				return err
			}
		}
		return nil
	}
}

// killGuardian ends the guardian of a worker, if it has one now.
func (t *trial) killGuardian(p *process) bool {
	g := childOf(p.cmd.Process.Pid, guardianName(p.role.Name))
	if g == 0 {
		return false
	}
	t.fault("kill the guardian of %s", p.role.Name)
	_ = syscall.Kill(g, syscall.SIGKILL) // an error: it has ended
	t.figures["kills of guardians"]++
	return true
}

// stopRandomly stops workers beyond their lease and lets them go on, n times.
func stopRandomly(n int) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		for range n {
			pause(ctx, t.among(100*time.Millisecond, 500*time.Millisecond))
			p := t.someone("worker")
			if p == nil || ctx.Err() != nil {
				return ctx.Err()
			}
			d := t.among(t.ttl, 2*t.ttl)
			t.fault("stop %s (%d) for %v", p.role.Name, p.cmd.Process.Pid, d)
			p.signal(syscall.SIGSTOP)
			pause(ctx, d)
			p.signal(syscall.SIGCONT)
			t.fault("continue %s", p.role.Name)
			t.figures["stops of workers"]++
		}
		pause(ctx, t.ttl)
		return nil
	}
}

// pointWait is how long a worker may take to come to a fail point.
const pointWait = 4 * time.Second

// killAtPoint lets workers die at a fail point, at different hits, n times. Two
// workers without faults execute beside them.
func killAtPoint(p point, n int) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		for tries := 0; t.figures["kills at fail points"] < n && tries < 3*n; tries++ {
			if err := t.killAt(ctx, p.name, t.hit(p)); err != nil {
				return err
			}
		}
		return nil
	}
}

// hit is a hit of a point that a worker surely comes to.
func (t *trial) hit(p point) int {
	most := max(1, min(p.hits/8, 40))
	if t.rng.IntN(3) > 0 {
		most = min(most, 5)
	}
	return 1 + t.rng.IntN(most)
}

func (t *trial) killAt(ctx context.Context, name string, hit int) error {
	p, err := t.worker(fmt.Sprintf("%s=kill@%d", name, hit))
	if err != nil {
		return err
	}
	if err := t.provoke(ctx, p); err != nil {
		return err
	}
	select {
	case <-p.ended:
	case <-time.After(pointWait):
		p.kill()
		t.figures["fail points not reached"]++
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
	if !p.killed() {
		t.figures["fail points not reached"]++
		return nil
	}
	t.figures["kills at fail points"]++
	t.figures["kills at "+name]++
	t.fault("%s was killed at %s, hit %d", p.role.Name, name, hit)
	return nil
}

// provoke lets a worker come to every fail point in the end, unless it is there
// before: another worker dies, and then it is asked to end itself.
func (t *trial) provoke(ctx context.Context, p *process) error {
	await := func(d time.Duration) bool {
		select {
		case <-p.ended:
			return true
		case <-ctx.Done():
			return true
		case <-time.After(d):
			return stopped(p.cmd.Process.Pid)
		}
	}
	if await(700 * time.Millisecond) {
		return nil
	}
	if other := t.someone("worker"); other != nil && other != p {
		t.fault("kill %s, so that it is rescued", other.role.Name)
		other.kill()
		t.figures["kills of workers"]++
		if _, err := t.worker(""); err != nil {
			return err
		}
	}
	if await(1500 * time.Millisecond) {
		return nil
	}
	p.signal(syscall.SIGTERM)
	return nil
}

// stopAtPoint lets workers stop at a fail point, n times, for longer than their
// lease, and go on.
func stopAtPoint(p point, n int) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		for range n {
			if err := t.stopAt(ctx, p.name, t.hit(p)); err != nil {
				return err
			}
		}
		return nil
	}
}

func (t *trial) stopAt(ctx context.Context, name string, hit int) error {
	p, err := t.worker(fmt.Sprintf("%s=stop@%d", name, hit))
	if err != nil {
		return err
	}
	if err := t.provoke(ctx, p); err != nil {
		return err
	}
	for deadline := time.Now().Add(pointWait); !stopped(p.cmd.Process.Pid); {
		if !alive(p) {
			t.figures["fail points not reached"]++
			return nil
		}
		if time.Now().After(deadline) {
			t.figures["fail points not reached"]++
			p.kill()
			return nil
		}
		pause(ctx, 5*time.Millisecond)
	}
	t.fault("%s stopped at %s, hit %d", p.role.Name, name, hit)
	pause(ctx, t.ttl+t.among(100*time.Millisecond, 700*time.Millisecond))
	p.signal(syscall.SIGCONT)
	t.fault("%s goes on", p.role.Name)
	t.figures["stops at fail points"]++
	pause(ctx, 300*time.Millisecond) // it notices that it has lost its lease
	p.kill()
	return nil
}

// stopped tells whether a process is stopped by a signal.
func stopped(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	rest := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	return len(rest) > 0 && rest[0] == "T"
}

// point is a fail point that workers pass, and how often one does in a while.
type point struct {
	name string
	hits int
}

// tracePoints returns the fail points that a worker passes under load, while
// another one dies, and when it is asked to end itself.
func tracePoints(ctx context.Context, t *trial) ([]point, error) {
	other, err := t.worker("")
	if err != nil {
		return nil, err
	}
	trace := filepath.Join(t.dir, "trace")
	p, err := t.start(role{Kind: "worker", Parallel: 8, Trace: trace}, "")
	if err != nil {
		return nil, err
	}
	pause(ctx, 3*time.Second)
	other.kill()
	pause(ctx, 2*time.Second)
	p.signal(syscall.SIGTERM)
	<-p.ended
	data, err := os.ReadFile(trace)
	if err != nil {
		return nil, err
	}
	hits := map[string]int{}
	for _, name := range strings.Fields(string(data)) {
		hits[name]++
	}
	var out []point
	for _, name := range slices.Sorted(maps.Keys(hits)) {
		out = append(out, point{name, hits[name]})
	}
	return out, nil
}
