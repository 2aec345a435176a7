package sqlite

import (
	"context"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// Cancel ends builds; see [jobcontrol.Executions]. A running one is ended only
// by the holder of its claim. Dependants that are not in the list are blocked.
func (s *Store) Cancel(ctx context.Context, claims []jobcontrol.Claim, reason string) error {
	return s.write(ctx, "cancel", func(t *tx) error {
		var todo []*guarded
		seen := map[int64]bool{}
		for _, c := range claims {
			g, err := t.claimedOrFree(c)
			if err != nil {
				return err
			}
			if g.state == jobcontrol.Cancelled || seen[g.id] {
				continue
			}
			if err := check(jobcontrol.ToCancel, g.id, g.state, jobcontrol.Cancelled); err != nil {
				return err
			}
			if g.state == jobcontrol.Running && c.Number == 0 {
				return jobcontrol.Errorf(jobcontrol.Conflict, "build %d is running: only its worker can cancel it", g.id)
			}
			seen[g.id] = true
			todo = append(todo, g)
		}
		return t.cancel(todo, reason)
	})
}

// cancel ends builds that are not final and blocks what waits for them.
func (t *tx) cancel(builds []*guarded, reason string) error {
	failure, _, err := codec.EncodeFailure(&jobcontrol.Failure{Kind: jobcontrol.FailCancel, Message: reason})
	if err != nil {
		return err
	}
	for _, g := range builds {
		if _, err := t.exec(`UPDATE builds SET state = 10, finished_at = ?, failure = ?, stop = 0, queue = NULL, `+closeLone+` WHERE id = ?`, t.now, failure, g.id); err != nil {
			return err
		}
		if err := t.ended(g.end(jobcontrol.Cancelled)); err != nil {
			return err
		}
		if g.detached && g.run == g.id && g.ran > 0 && !g.cleaned {
			if err := t.loneEnded(g.id, jobcontrol.RunCleaning); err != nil {
				return err
			}
		}
		t.hint = t.hint || g.detached && g.worker != 0 // there may be room in its service
	}
	for _, g := range builds {
		ids, err := codec.DecodeIDs(g.id, g.dependants)
		if err != nil {
			return err
		}
		if _, _, err := t.block(g.id, ids); err != nil {
			return err
		}
	}
	return nil
}

// RequestCancel asks for a Run to be cancelled; see [jobcontrol.Runs].
func (s *Store) RequestCancel(ctx context.Context, run int64) (*jobcontrol.Run, error) {
	var out *jobcontrol.Run
	err := s.write(ctx, "request-cancel", func(t *tx) error {
		r, err := t.run(run)
		if err != nil {
			return err
		}
		if r.State.Final() {
			return jobcontrol.Errorf(jobcontrol.Conflict, "cannot cancel run %d: it is %s already", run, r.State)
		}
		owned := false
		if r.Worker != 0 && r.State != jobcontrol.RunInterrupted {
			err := t.held(jobcontrol.Lease{Worker: r.Worker, Epoch: r.epoch})
			if err != nil && !refused(err) {
				return err
			}
			owned = err == nil
		}
		switch {
		case owned:
			err = t.setCancel(r)
		case r.detached:
			err = t.cancelDetached(r)
		default:
			err = t.cancelRun(r)
		}
		if err == nil {
			err = t.settle()
		}
		if err != nil {
			return err
		}
		if r, err = t.run(run); err == nil {
			out = &r.Run
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (t *tx) setCancel(r *runRow) (err error) {
	if r.Cancel {
		return nil
	}
	if r.Lone {
		_, err = t.exec(`UPDATE builds SET cancel = 1 WHERE id = ?`, r.ID)
	} else {
		_, err = t.exec(`UPDATE runs SET cancel = 1 WHERE id = ?`, r.ID)
	}
	return err
}

// cancelRun cancels the builds of a Run that nobody executes, and ends the Run
// unless others still do.
func (t *tx) cancelRun(r *runRow) error {
	unfinished, err := t.unfinished(r)
	if err != nil {
		return err
	}
	var todo []*guarded
	for _, g := range unfinished {
		if g.state == jobcontrol.Running {
			err := t.held(jobcontrol.Lease{Worker: g.worker, Epoch: g.epoch})
			if err == nil {
				continue // its worker is told
			}
			if !refused(err) {
				return err
			}
		}
		todo = append(todo, g)
	}
	if err := t.cancel(todo, byRequest); err != nil {
		return err
	}
	if err := t.setCancel(r); err != nil {
		return err
	}
	if len(todo) < len(unfinished) {
		return nil
	}
	return t.endRun(r)
}

// cancelDetached cancels the builds of a detached Run that nobody has claimed,
// and asks the workers of the others to stop. Clean-up steps are executed all the same.
func (t *tx) cancelDetached(r *runRow) error {
	unfinished, err := t.unfinished(r)
	if err != nil {
		return err
	}
	var todo []*guarded
	for _, g := range unfinished {
		switch {
		case g.worker == 0:
			todo = append(todo, g)
		case g.stop != stopCancel:
			if err := t.askToStop(g, stopCancel); err != nil {
				return err
			}
		}
	}
	if err := t.cancel(todo, byRequest); err != nil {
		return err
	}
	return t.setCancel(r)
}

// byRequest is why what somebody asked to cancel was.
const byRequest = "cancelled by request"

// unfinished returns the builds of a Run that are not final.
func (t *tx) unfinished(r *runRow) ([]*guarded, error) {
	var builds []*guarded
	err := t.spans(r, func(first, last int64) error {
		return t.each(func(r *row) error {
			g := scanGuarded(r)
			builds = append(builds, &g)
			return nil
		}, guardColumns+`WHERE id BETWEEN ? AND ? AND state < 7`, first, last)
	})
	return builds, err
}

// endRun gives a Run whose builds are all final the state that follows from them.
func (t *tx) endRun(r *runRow) error {
	if r.Lone {
		_, err := t.exec(`UPDATE builds SET open = NULL WHERE id = ?`, r.ID)
		return err
	}
	counts, err := t.count(r)
	if err != nil {
		return err
	}
	_, err = t.exec(`UPDATE runs SET state = ?, finished_at = ?, counts = ?, message = NULL WHERE id = ?`,
		counts.Outcome(), t.now, codec.EncodeCounts(counts), r.ID)
	return err
}
