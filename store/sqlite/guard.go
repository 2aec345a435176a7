package sqlite

import (
	"fmt"

	"github.com/jobcontrol/jobcontrol"
)

// held returns ErrLeaseLost unless the lease is held. Its end does not matter
// here: it is lost when [Store.Rescue] takes it away.
func (t *tx) held(l jobcontrol.Lease) error {
	if t.alive[l] {
		return nil
	}
	n, err := t.number(`SELECT 1 FROM workers WHERE id = ? AND epoch = ? AND gone = 0`, l.Worker, l.Epoch)
	if err != nil {
		return err
	}
	if n == 0 {
		return jobcontrol.Errorf(jobcontrol.LeaseLost, "worker %d lost its lease", l.Worker)
	}
	t.alive[l] = true
	return nil
}

// guarded is what guarding a write of a build reads.
type guarded struct {
	id, run, head  int64
	state          jobcontrol.State
	attempts       int
	ran            int64
	cleaned        bool
	started        int64
	last           []byte
	dependants     []byte
	worker, epoch  int64
	claim          int64
	lost, asked    int
	open           jobcontrol.RunState
	attemptStarted int64
	detached       bool
	stop           int64
	cleaning       bool
	depsLeft       int64
	ready          int64
}

// What may be asked of a build's worker: builds.stop.
const (
	stopCancel  = 1
	stopSuspend = 2
)

const guardColumns = `SELECT format('%d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d', id, run, head, state, attempts, ran, cleaned, started_at, worker, epoch, claim,
	lost, asked, open, attempt_at, detached, stop, cleaning, deps_left, ready_at), last, dependants FROM builds `

func scanGuarded(r *row) (g guarded) {
	next := r.numbers()
	g.id, g.run, g.head, g.state, g.attempts = next(), next(), next(), jobcontrol.State(next()), int(next())
	g.ran, g.cleaned, g.started = next(), next() != 0, next()
	g.worker, g.epoch, g.claim = next(), next(), next()
	g.lost, g.asked, g.open, g.attemptStarted = int(next()), int(next()), jobcontrol.RunState(next()), next()
	g.detached, g.stop, g.cleaning, g.depsLeft, g.ready = next() != 0, next(), next() != 0, next(), next()
	g.last, g.dependants = r.blob(), r.blob()
	return g
}

// end is the build's becoming final, as its head and its Run need it.
func (g *guarded) end(state jobcontrol.State) *ended {
	return &ended{id: g.id, run: g.run, head: g.head, detached: g.detached, state: state}
}

// holds tells whether the claim is that of the build.
func (g *guarded) holds(c jobcontrol.Claim) bool {
	return c.Number != 0 && g.claim == c.Number && g.worker == c.Worker && g.epoch == c.Epoch
}

func notHeld(c jobcontrol.Claim) error {
	return jobcontrol.Errorf(jobcontrol.LeaseLost, "build %d: claim %d is not held", c.Build, c.Number)
}

// claimed reads a build and returns ErrLeaseLost unless the claim is held.
func (t *tx) claimed(c jobcontrol.Claim) (*guarded, error) {
	if err := t.held(jobcontrol.Lease{Worker: c.Worker, Epoch: c.Epoch}); err != nil {
		return nil, err
	}
	g, err := t.guarded(c.Build)
	if err != nil {
		return nil, err
	}
	if !g.holds(c) {
		return nil, notHeld(c)
	}
	return g, nil
}

// claimedOrFree is claimed, and also accepts a claim that names nothing but the
// build, if nobody has claimed that.
func (t *tx) claimedOrFree(c jobcontrol.Claim) (*guarded, error) {
	if c != (jobcontrol.Claim{Build: c.Build}) {
		return t.claimed(c)
	}
	g, err := t.guarded(c.Build)
	if err == nil && g.worker != 0 {
		err = jobcontrol.Errorf(jobcontrol.LeaseLost, "build %d: it is claimed by worker %d", c.Build, g.worker)
	}
	return g, err
}

// guarded reads a build, or returns NotFound.
func (t *tx) guarded(id int64) (*guarded, error) {
	var g guarded
	for {
		found, err := t.first(func(r *row) { g = scanGuarded(r) }, guardColumns+`WHERE id = ?`, id)
		if err == nil && !found {
			err = noBuild(id)
		}
		if err != nil || !g.detached || g.worker != 0 || g.state != jobcontrol.Queued {
			return &g, err
		}
		// It may be claimed without its row saying so.
		if found, err = t.spreadWith(id); err != nil || !found {
			return &g, err
		}
	}
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
		if g.ran == 0 || g.cleaned || g.detached && !g.cleaning {
			break
		}
		cleaning, err := t.cleaning(g)
		if err != nil || cleaning {
			return g, err
		}
	}
	return nil, jobcontrol.Errorf(jobcontrol.Conflict, "build %d is %s: it is not being executed", g.id, g.state)
}

// cleaning tells whether the clean-up steps of the build's Run are executed.
func (t *tx) cleaning(g *guarded) (bool, error) {
	if g.run == g.id {
		return g.open == jobcontrol.RunCleaning, nil
	}
	n, err := t.number(`SELECT 1 FROM runs WHERE id = ? AND state = 2`, g.run)
	return n != 0, err
}

// check is Transition.Check with the build's id.
func check(t jobcontrol.Transition, id int64, from, to jobcontrol.State) error {
	if err := t.Check(from, to); err != nil {
		return &jobcontrol.Error{Code: jobcontrol.Conflict, Message: fmt.Sprintf("build %d", id), Cause: err}
	}
	return nil
}
