package sqlite

import (
	"context"
	"slices"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// Steer carries out what a person asks of a build; see [jobcontrol.Queue].
func (s *Store) Steer(ctx context.Context, build int64, tr jobcontrol.Transition) (*jobcontrol.Build, error) {
	switch tr {
	case jobcontrol.ToHold, jobcontrol.ToRelease, jobcontrol.ToSuspend, jobcontrol.ToResume, jobcontrol.ToCancel:
	default:
		return nil, jobcontrol.Errorf(jobcontrol.Invalid, "build %d: nobody can ask for %q", build, string(tr))
	}
	var b *jobcontrol.Build
	err := s.write(ctx, "steer", func(t *tx) error {
		g, err := t.guarded(build)
		if err != nil {
			return err
		}
		if err := t.steer(g, tr); err != nil {
			return err
		}
		b, err = t.build(build)
		return err
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (t *tx) steer(g *guarded, tr jobcontrol.Transition) error {
	to := t.target(g, tr)
	if err := check(tr, g.id, g.state, to); err != nil {
		return err
	}
	claimed := g.worker != 0
	if !g.detached {
		r, err := t.run(g.run)
		if err != nil {
			return err
		}
		if r.State != jobcontrol.RunInterrupted {
			return jobcontrol.Errorf(jobcontrol.Conflict, "cannot %s build %d: it is %s, and the program that runs run %d decides", tr, g.id, g.state, g.run)
		}
		claimed = false
	}
	if claimed {
		return t.steerClaimed(g, tr)
	}
	t.hint = true
	switch tr {
	case jobcontrol.ToCancel:
		if err := t.cancel([]*guarded{g}, byRequest); err != nil || g.detached || g.run != g.id {
			return err
		}
		_, err := t.exec(`UPDATE builds SET open = NULL WHERE id = ?`, g.id) // the interrupted Run that it was has ended
		return err
	case jobcontrol.ToResume:
		if to == jobcontrol.Waiting {
			return t.resume(g)
		}
	}
	_, err := t.exec(`UPDATE builds SET state = ?, queue = CASE detached WHEN 1 THEN ? END WHERE id = ?`, to, queueOf(to), g.id)
	return err
}

// target is the state to which a transition leads: where the table names several,
// the build's dependencies and time decide.
func (t *tx) target(g *guarded, tr jobcontrol.Transition) jobcontrol.State {
	to := jobcontrol.Transitions[tr].To
	switch {
	case len(to) == 1:
		return to[0]
	case g.depsLeft > 0:
		return jobcontrol.Waiting
	}
	return jobcontrol.ReadyState(codec.TimeOf(g.ready), t.now)
}

// steerClaimed asks the worker of a build.
func (t *tx) steerClaimed(g *guarded, tr jobcontrol.Transition) error {
	switch {
	case tr == jobcontrol.ToCancel && g.stop == stopCancel, tr == jobcontrol.ToSuspend && g.stop == stopSuspend:
		return nil
	case tr == jobcontrol.ToCancel:
		return t.askToStop(g, stopCancel)
	case tr == jobcontrol.ToSuspend && g.stop == 0:
		return t.askToStop(g, stopSuspend)
	case tr == jobcontrol.ToSuspend:
		return jobcontrol.Errorf(jobcontrol.Conflict, "cannot suspend build %d: it is %s and will be cancelled", g.id, g.state)
	}
	return jobcontrol.Errorf(jobcontrol.Conflict, "cannot %s build %d: it is %s, and claimed by worker %d", tr, g.id, g.state, g.worker)
}

// askToStop stores what is asked of a build's worker.
func (t *tx) askToStop(g *guarded, stop int64) error {
	t.hint = true
	t.s.fresh.forget(g.id)
	_, err := t.exec(`UPDATE builds SET stop = ? WHERE id = ?`, stop, g.id)
	return err
}

// carryOut does what was asked of the worker of a build that has no claim any more.
func (t *tx) carryOut(g *guarded) error {
	stop := g.stop
	g.stop = 0
	switch stop {
	case stopCancel:
		return t.cancel([]*guarded{g}, byRequest)
	case stopSuspend:
		if err := check(jobcontrol.ToSuspend, g.id, g.state, jobcontrol.Suspended); err != nil {
			return err
		}
		_, err := t.exec(`UPDATE builds SET state = 6, stop = 0, queue = 4 WHERE id = ?`, g.id)
		return err
	}
	return nil
}

// resume lets a build wait for its dependencies again; if one of them has ended
// badly while it was put aside, it is blocked.
func (t *tx) resume(g *guarded) error {
	if _, err := t.exec(`UPDATE builds SET state = 2 WHERE id = ?`, g.id); err != nil {
		return err
	}
	var cause int64
	if err := t.each(func(r *row) error {
		id := r.int()
		ids, err := codec.DecodeIDs(id, r.blob())
		if err == nil && cause == 0 && slices.Contains(ids, g.id) {
			cause = id
		}
		return err
	}, `SELECT b.id, b.dependants FROM runs r CROSS JOIN builds b ON b.id BETWEEN r.id + 1 AND r.id + r.size
		WHERE r.id = ? AND b.state IN (9, 10, 11)`, g.run); err != nil || cause == 0 {
		return err
	}
	_, _, err := t.block(cause, []int64{g.id})
	return err
}
