//go:build linux

package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// takeover measures n times how long a build that is being executed stays with a
// worker whose end nobody announced, with the default lease. end ends the worker,
// and what it returns starts it, or its like, anew.
func takeover(n int, tell func(time.Duration), end func(ctx context.Context, t *trial, p *process) (func() error, error)) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		c, err := newClient(t.store, t.journal, "takeover", t.seed, Load{})
		if err != nil {
			return err
		}
		for range n {
			builds := c.submit(ctx, request{verb: jobcontrol.VerbBuild, job: "go", do: doBusy, ms: 5_000})
			if len(builds) == 0 {
				return errors.New("the build was not created")
			}
			id := builds[0].ID
			first, err := t.claimedBeside(ctx, id, 0)
			if err != nil {
				return err
			}
			p, err := t.processOf(ctx, first)
			if err != nil {
				return err
			}
			again, err := end(ctx, t, p)
			if err != nil {
				return err
			}
			begin := time.Now()
			if _, err := t.claimedBeside(ctx, id, first); err != nil {
				return err
			}
			tell(time.Since(begin))
			if err := again(); err != nil {
				return err
			}
			if err := t.drain(ctx, t.store, drainPatience); err != nil {
				return err
			}
		}
		for _, p := range t.running("worker") {
			p.kill() // a host does not hear SIGTERM
		}
		return nil
	}
}

// claimedBeside waits until a worker other than the one given has a build, and returns it.
func (t *trial) claimedBeside(ctx context.Context, id, worker int64) (int64, error) {
	for end := time.Now().Add(time.Minute); time.Now().Before(end) && ctx.Err() == nil; pause(ctx, 20*time.Millisecond) {
		b, err := t.store.Build(ctx, id)
		if err != nil {
			return 0, err
		}
		if b.Claim.Worker != worker && b.Claim.Worker != 0 {
			return b.Claim.Worker, nil
		}
		if b.State.Final() {
			return 0, fmt.Errorf("build %d is %s", id, b.State)
		}
	}
	return 0, fmt.Errorf("build %d was not taken from worker %d", id, worker)
}

// processOf returns the process that is a worker of the store.
func (t *trial) processOf(ctx context.Context, worker int64) (*process, error) {
	list, err := t.store.Workers(ctx)
	if err != nil {
		return nil, err
	}
	for _, w := range list {
		if w.ID != worker {
			continue
		}
		for _, p := range t.running("worker") {
			// On a host of its own it is the child of the process that we started.
			space, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid_for_children", p.cmd.Process.Pid))
			if err == nil && space == w.Process.PIDSpace && (p.role.Store.Postgres != t.place.Postgres || p.cmd.Process.Pid == w.Process.PID) {
				return p, nil
			}
		}
	}
	return nil, fmt.Errorf("worker %d is no process of ours", worker)
}

// killOne is the end of a process; its host lives.
func killOne(_ context.Context, t *trial, p *process) (func() error, error) {
	t.fault("kill %s", p.role.Name)
	p.kill()
	return func() error {
		_, err := t.start(p.role, "")
		return err
	}, nil
}

// killHost is the end of a host: its network ends, and then all of its processes,
// of which nobody hears.
func killHost(_ context.Context, t *trial, p *process) (func() error, error) {
	for i, n := range t.networks {
		if p.role.Store.Postgres != n.url {
			continue
		}
		t.fault("host of %s dies", p.role.Name)
		if err := n.set("down"); err != nil {
			return nil, err
		}
		p.kill()
		return func() error {
			if err := n.set("up"); err != nil {
				return err
			}
			_, err := t.inHost(t.networks[i])
			return err
		}, nil
	}
	return nil, fmt.Errorf("%s has no network of its own", p.role.Name)
}

// inHost starts a worker that looks to the others as on a host of its own: it has
// a network and a PID namespace.
func (t *trial) inHost(n *network) (*process, error) {
	return t.inNetwork(n, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
}

// inHosts starts a worker on each host.
func inHosts(ctx context.Context, t *trial) error {
	if err := namespaces(ctx, t); err != nil {
		return err
	}
	t.ttl = defaultLease
	for _, n := range t.networks {
		if _, err := t.inHost(n); err != nil {
			return err
		}
	}
	return nil
}

// defaultLease is what workers have that are not told another one.
const defaultLease = 15 * time.Second

func withDefaultLease(_ context.Context, t *trial) error {
	t.ttl = defaultLease
	return nil
}
