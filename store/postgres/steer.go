package postgres

import (
	"context"
	"slices"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// steered are the transitions that Steer may be asked for, with the states that
// they lead to where it is not the build's readiness that decides.
var steered = map[jobcontrol.Transition]jobcontrol.State{
	jobcontrol.ToHold: jobcontrol.Held, jobcontrol.ToSuspend: jobcontrol.Suspended, jobcontrol.ToCancel: jobcontrol.Cancelled,
	jobcontrol.ToRelease: 0, jobcontrol.ToResume: 0,
}

// Steer carries out what a person asks of a build; see [jobcontrol.Queue].
func (s *Store) Steer(ctx context.Context, build int64, tr jobcontrol.Transition) (*jobcontrol.Build, error) {
	if _, ok := steered[tr]; !ok {
		return nil, jobcontrol.Errorf(jobcontrol.Invalid, "build %d: nobody can ask it to %q", build, string(tr))
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
		if err := t.settle(); err != nil {
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
	to := steered[tr]
	if to == 0 {
		to = t.readiness(g)
	}
	if err := check(tr, g.id, g.state, to); err != nil {
		return err
	}
	if !g.detached && g.claim != 0 {
		err := t.held(jobcontrol.Lease{Worker: g.worker, Epoch: g.epoch})
		if err == nil {
			return jobcontrol.Errorf(jobcontrol.Conflict, "build %d is %s: the program that runs it in the foreground decides", g.id, g.state)
		}
		if !refused(err) {
			return err
		}
	} else if g.claim != 0 {
		return t.steerClaimed(g, tr)
	}
	switch tr {
	case jobcontrol.ToCancel:
		return t.cancel([]*guarded{g}, cancelledByRequest)
	case jobcontrol.ToRelease, jobcontrol.ToResume:
		return t.steerBack(g, to)
	}
	_, err := t.exec(`UPDATE {builds} SET state = $2 WHERE id = $1`, g.id, to)
	return err
}

// readiness is the state of a build that nothing but its dependencies and its
// time holds back.
func (t *tx) readiness(g *guarded) jobcontrol.State {
	if g.depsLeft > 0 {
		return jobcontrol.Waiting
	}
	return jobcontrol.ReadyState(codec.TimeOf(g.readyAt), t.now)
}

// steerClaimed stores what is asked of the worker that has a build.
func (t *tx) steerClaimed(g *guarded, tr jobcontrol.Transition) error {
	what, reason := int64(stopCancel), cancelledByRequest
	switch {
	case tr == jobcontrol.ToSuspend && g.stopping == stopCancel:
		return jobcontrol.Errorf(jobcontrol.Conflict, "build %d is %s: it is asked to end cancelled already", g.id, g.state)
	case tr == jobcontrol.ToSuspend:
		what, reason = stopSuspend, suspendedByRequest
	case tr != jobcontrol.ToCancel:
		return jobcontrol.Errorf(jobcontrol.Conflict, "build %d is %s: a worker has claimed it", g.id, g.state)
	}
	if g.stopping == what {
		return nil
	}
	return t.askToStop([]int64{g.id}, what, reason)
}

// steerBack makes a build that was held or suspended ready, or blocked if one of
// its dependencies ended badly meanwhile.
func (t *tx) steerBack(g *guarded, to jobcontrol.State) error {
	if to == jobcontrol.Waiting && g.run != g.id {
		culprit, err := t.culprit(g)
		if err != nil {
			return err
		}
		if culprit != 0 {
			// ToBlock leads from waiting, which it is for a moment.
			if _, err := t.exec(`UPDATE {builds} SET state = 2 WHERE id = $1`, g.id); err != nil {
				return err
			}
			return t.block([]int64{g.id}, map[int64]int64{g.id: culprit}, func(_, _ int64) {})
		}
	}
	t.news.ready = t.news.ready || to == jobcontrol.Queued
	t.news.scheduled = t.news.scheduled || to == jobcontrol.Scheduled
	_, err := t.exec(`UPDATE {builds} SET state = $2 WHERE id = $1`, g.id, to)
	return err
}

// culprit returns a dependency of a build that ended badly; 0: none.
func (t *tx) culprit(g *guarded) (int64, error) {
	var culprit int64
	err := t.each(func(r *row) error {
		id := r.int()
		ids, err := codec.DecodeIDs(id, r.blob())
		if err == nil && slices.Contains(ids, g.id) {
			culprit = id
		}
		return err
	}, `SELECT id, dependants FROM {history} WHERE run = $1 AND run <> id AND state IN (9, 10, 11) AND dependants IS NOT NULL`, g.run)
	return culprit, err
}
