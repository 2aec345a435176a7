package postgres

import (
	"context"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// Cancel ends builds; see [jobcontrol.Executions]. A running one is ended only
// by the holder of its claim. Dependants that are not in the list are blocked.
func (s *Store) Cancel(ctx context.Context, claims []jobcontrol.Claim, reason string) error {
	if len(claims) == 0 {
		return nil
	}
	return s.write(ctx, "cancel", func(t *tx) error {
		ids := make([]int64, len(claims))
		for i, c := range claims {
			ids[i] = c.Build
			if c != (jobcontrol.Claim{Build: c.Build}) {
				if err := t.held(jobcontrol.Lease{Worker: c.Worker, Epoch: c.Epoch}); err != nil {
					return err
				}
			}
		}
		found, err := t.guard(ids...)
		if err != nil {
			return err
		}
		var todo []*guarded
		seen := map[int64]bool{}
		for _, c := range claims {
			g := found[c.Build]
			if err := t.cancellable(c, g); err != nil {
				return err
			}
			if g.state != jobcontrol.Cancelled && !seen[g.id] {
				seen[g.id] = true
				todo = append(todo, g)
			}
		}
		return t.cancel(todo, reason)
	})
}

// cancellable returns why a build cannot be cancelled under a claim.
func (t *tx) cancellable(c jobcontrol.Claim, g *guarded) error {
	switch {
	case g == nil:
		return noBuild(c.Build)
	case c == jobcontrol.Claim{Build: c.Build} && g.claim != 0:
		return jobcontrol.Errorf(jobcontrol.LeaseLost, "build %d: it is claimed by worker %d", c.Build, g.worker)
	case c != jobcontrol.Claim{Build: c.Build} && !g.holds(c):
		return notHeld(c)
	case g.state == jobcontrol.Cancelled:
		return nil
	case g.state == jobcontrol.Running && c.Number == 0:
		return jobcontrol.Errorf(jobcontrol.Conflict, "build %d is running: only its worker can cancel it", g.id)
	}
	return check(jobcontrol.ToCancel, g.id, g.state, jobcontrol.Cancelled)
}

// cancel ends builds that are not final and blocks what waits for them.
func (t *tx) cancel(builds []*guarded, reason string) error {
	if len(builds) == 0 {
		return nil
	}
	failure, _, err := codec.EncodeFailure(&jobcontrol.Failure{Kind: jobcontrol.FailCancel, Message: reason})
	if err != nil {
		return err
	}
	list := make([]ending, len(builds))
	for i, g := range builds {
		list[i] = ending{id: g.id, failure: failure}
	}
	done, err := t.end(jobcontrol.Cancelled, jobcontrol.Transitions[jobcontrol.ToCancel].From, list)
	if err != nil {
		return err
	}
	return t.blockAfter(builds, done)
}

// blockAfter blocks what waited for builds that ended badly.
func (t *tx) blockAfter(builds []*guarded, done map[int64]*finished) error {
	var waiting []int64
	causes, released := map[int64]int64{}, map[int64]*release{}
	for _, g := range builds {
		if done[g.id] == nil {
			continue
		}
		ids, err := dependantsOf(g)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if id < 0 {
				add(released, -id, 0, g.id)
			} else if causes[id] == 0 {
				causes[id] = g.id
				waiting = append(waiting, id)
			}
		}
	}
	if len(released) > 0 {
		if err := t.release(released, func(int64, jobcontrol.Build) {}); err != nil {
			return err
		}
	}
	return t.block(waiting, causes, func(_, _ int64) {})
}

// The reasons of stop requests, for a person.
const (
	cancelledByRequest = "cancelled by request"
	suspendedByRequest = "suspended by request"
)

func stopReason(g *guarded) string {
	if g.reason == "" {
		return cancelledByRequest
	}
	return g.reason
}

// stop carries out what was asked of builds whose claims have ended.
func (t *tx) stop(builds []*guarded) error {
	var cancel []*guarded
	var suspend []int64
	for _, g := range builds {
		switch g.stopping {
		case stopCancel:
			cancel = append(cancel, g)
		case stopSuspend:
			suspend = append(suspend, g.id)
		}
	}
	if len(suspend) > 0 {
		t.queue(nil, `UPDATE {builds} SET state = 6, stopping = NULL, stop_reason = NULL, attempt_at = NULL WHERE id = ANY($1)`, suspend)
	}
	if len(cancel) == 0 {
		return t.send()
	}
	return t.cancel(cancel, stopReason(cancel[0]))
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
		if err := t.requestCancel(r); err != nil {
			return err
		}
		if err := t.settle(); err != nil {
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

// settle writes what is kept of Runs and heads, for who reads them in this transaction.
func (t *tx) settle() error { return t.flush() }

func (t *tx) requestCancel(r *runRow) error {
	t.news.stop = true
	if r.Worker != 0 && r.State != jobcontrol.RunInterrupted {
		err := t.held(jobcontrol.Lease{Worker: r.Worker, Epoch: r.epoch})
		if err == nil {
			return t.setCancel(r) // its program does the rest
		}
		if !refused(err) {
			return err
		}
	}
	return t.cancelRun(r)
}

func (t *tx) setCancel(r *runRow) error {
	if r.Cancel {
		return nil
	}
	if r.Lone {
		t.queue(nil, `UPDATE {builds} SET cancel = true WHERE id = $1`, r.ID)
		t.queue(nil, `UPDATE {history} SET cancel = true WHERE id = $1`, r.ID)
	} else {
		t.queue(nil, `UPDATE {runs} SET cancel = true WHERE id = $1`, r.ID)
	}
	return t.send()
}

// cancelRun cancels the builds of a Run that nobody executes, and asks the
// workers of the others to stop. A Run of a program that is gone ends with them.
func (t *tx) cancelRun(r *runRow) error {
	var unfinished []*guarded
	condition := `WHERE run = $1 AND run <> id`
	if r.Lone {
		condition = `WHERE id = $1`
	}
	if err := t.each(func(r *row) error {
		unfinished = append(unfinished, scanGuarded(r))
		return nil
	}, guardHot+condition+` ORDER BY id FOR UPDATE`, r.ID); err != nil {
		return err
	}
	var todo []*guarded
	var stop []int64
	for _, g := range unfinished {
		if g.detached && g.claim != 0 {
			if g.stopping != stopCancel {
				stop = append(stop, g.id)
			}
			continue
		}
		todo = append(todo, g)
	}
	if err := t.setCancel(r); err != nil {
		return err
	}
	if len(stop) > 0 {
		if err := t.askToStop(stop, stopCancel, cancelledByRequest); err != nil {
			return err
		}
	}
	if err := t.cancel(todo, cancelledByRequest); err != nil {
		return err
	}
	if r.detached || len(todo) < len(unfinished) {
		return nil
	}
	return t.endRun(r)
}

// askToStop stores what is asked of the workers of builds.
func (t *tx) askToStop(ids []int64, what int64, reason string) error {
	t.news.stop = true
	_, err := t.exec(`UPDATE {builds} SET stopping = $2, stop_reason = $3 WHERE id = ANY($1)`, ids, what, reason)
	return err
}

// endRun gives a Run of a program, whose builds are all final, the state that
// follows from them.
func (t *tx) endRun(r *runRow) error {
	if err := t.settle(); err != nil {
		return err
	}
	if r.Lone {
		_, err := t.exec(`UPDATE {history} SET open = NULL WHERE id = $1 AND open IS NOT NULL`, r.ID)
		return err
	}
	_, err := t.exec(`UPDATE {runs} r SET state = `+outcome+`, finished_at = $2, message = NULL WHERE r.id = $1`, r.ID, t.now)
	return err
}
