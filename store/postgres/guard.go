package postgres

import (
	"fmt"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// held returns ErrLeaseLost unless the lease is held, and keeps it so until the
// transaction ends. Its end does not matter here: it is lost when [Store.Rescue]
// takes it away.
func (t *tx) held(l jobcontrol.Lease) error {
	if t.alive[l] {
		return nil
	}
	n, err := t.number(`SELECT 1::bigint FROM {workers} WHERE id = $1 AND epoch = $2 AND NOT gone FOR KEY SHARE`, l.Worker, l.Epoch)
	if err != nil {
		return err
	}
	if n == 0 {
		return leaseLost(l)
	}
	t.alive[l] = true
	return nil
}

func leaseLost(l jobcontrol.Lease) error {
	return jobcontrol.Errorf(jobcontrol.LeaseLost, "worker %d lost its lease", l.Worker)
}

// guarded is what guarding a write of a build reads.
type guarded struct {
	id, run, head, service, definition int64
	state                              jobcontrol.State
	attempts, lost                     int
	detached, cleaned, suspect         bool
	ran                                int64
	worker, epoch, claim               int64
	attemptStarted                     int64
	open                               jobcontrol.RunState
	stopping                           int64
	depsLeft                           int64
	readyAt                            int64
	last, dependants                   []byte
	reason                             string // why it is to stop
	step                               bool   // its claim is that of its clean-up step
}

const (
	guardHot = `SELECT id, run, head, service, definition, state, attempts, lost, detached, false, suspect, ran, worker, epoch, claim,
		attempt_at, open, stopping, deps_left, ready_at, NULL::bytea, dependants, stop_reason, false FROM {builds} `
	guardFinal = `SELECT id, run, head, service, definition, state, attempts, lost, detached, cleaned, false, ran, worker, epoch, claim,
		NULL::bigint, open, NULL::smallint, 0, ready_at, last, dependants, NULL::text, cleaning FROM {history} `
)

func scanGuarded(r *row) *guarded {
	g := &guarded{}
	g.id, g.run, g.head, g.service, g.definition = r.int(), r.int(), r.int(), r.int(), r.int()
	g.state, g.attempts, g.lost = r.state(), int(r.int()), int(r.int())
	g.detached, g.cleaned, g.suspect, g.ran = r.bool(), r.bool(), r.bool(), r.int()
	g.worker, g.epoch, g.claim = r.int(), r.int(), r.int()
	g.attemptStarted, g.open, g.stopping = r.int(), jobcontrol.RunState(r.int()), r.int()
	g.depsLeft, g.readyAt, g.last, g.dependants = r.int(), r.int(), r.blob(), r.blob()
	g.reason, g.step = r.text(), r.bool()
	return g
}

// guard reads builds and locks those that are not final, in the order of their ids.
func (t *tx) guard(ids ...int64) (map[int64]*guarded, error) {
	found := make(map[int64]*guarded, len(ids))
	add := func(r *row) error {
		g := scanGuarded(r)
		found[g.id] = g
		return nil
	}
	// A build that becomes final meanwhile is seen by the second statement.
	t.queue(add, guardHot+`WHERE id = ANY($1) ORDER BY id FOR UPDATE`, ids)
	err := t.each(add, guardFinal+`WHERE id = ANY($1)`, ids)
	return found, err
}

// guarded reads a build, or returns NotFound.
func (t *tx) guarded(id int64) (*guarded, error) {
	found, err := t.guard(id)
	if err == nil && found[id] == nil {
		err = noBuild(id)
	}
	return found[id], err
}

// holds tells whether the claim is that of the build.
func (g *guarded) holds(c jobcontrol.Claim) bool {
	return c.Number != 0 && g.claim == c.Number && g.worker == c.Worker && g.epoch == c.Epoch
}

// claimed reads a build and returns ErrLeaseLost unless the claim is held.
func (t *tx) claimed(c jobcontrol.Claim) (*guarded, error) {
	if err := t.held(jobcontrol.Lease{Worker: c.Worker, Epoch: c.Epoch}); err != nil {
		return nil, err
	}
	g, err := t.guarded(c.Build)
	if err == nil && !g.holds(c) {
		err = notHeld(c)
	}
	return g, err
}

func notHeld(c jobcontrol.Claim) error {
	return jobcontrol.Errorf(jobcontrol.LeaseLost, "build %d: claim %d is not held", c.Build, c.Number)
}

// active is claimed for a build that is being executed: it runs, or is claimed
// and was not marked as started, or its clean-up step is executed.
func (t *tx) active(c jobcontrol.Claim) (*guarded, error) {
	g, err := t.claimed(c)
	if err != nil {
		return nil, err
	}
	switch g.state {
	case jobcontrol.Running, jobcontrol.Queued, jobcontrol.Scheduled:
		return g, nil
	case jobcontrol.Successful, jobcontrol.Skipped, jobcontrol.Failed, jobcontrol.Cancelled:
		if g.ran == 0 || g.cleaned || g.detached && !g.step {
			break
		}
		cleaning, err := t.cleaning(g)
		if err != nil || cleaning {
			return g, err
		}
	}
	return nil, notExecuted(g)
}

func notExecuted(g *guarded) error {
	return jobcontrol.Errorf(jobcontrol.Conflict, "build %d is %s: it is not being executed", g.id, g.state)
}

// cleaning tells whether the clean-up steps of the build's Run are executed.
func (t *tx) cleaning(g *guarded) (bool, error) {
	if g.run == g.id {
		return g.open == jobcontrol.RunCleaning, nil
	}
	n, err := t.number(`SELECT 1::bigint FROM {runs} WHERE id = $1 AND state = 2`, g.run)
	return n != 0, err
}

// check is Transition.Check with the build's id.
func check(t jobcontrol.Transition, id int64, from, to jobcontrol.State) error {
	if err := t.Check(from, to); err != nil {
		return &jobcontrol.Error{Code: jobcontrol.Conflict, Message: fmt.Sprintf("build %d", id), Cause: err}
	}
	return nil
}

// dependantsOf decodes the dependants of builds.
func dependantsOf(g *guarded) ([]int64, error) { return codec.DecodeIDs(g.id, g.dependants) }
