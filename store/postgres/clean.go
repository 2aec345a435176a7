package postgres

import (
	"cmp"
	"context"
	"slices"

	"github.com/jobcontrol/jobcontrol"
)

// owned returns a Run for its worker: the one that runs it in the foreground, or
// any that holds its lease when nobody does.
func (t *tx) owned(run int64, l jobcontrol.Lease) (*runRow, error) {
	if err := t.held(l); err != nil {
		return nil, err
	}
	r, err := t.run(run)
	if err != nil {
		return nil, err
	}
	if r.Worker != 0 && (r.Worker != l.Worker || r.epoch != l.Epoch) {
		return nil, jobcontrol.Errorf(jobcontrol.LeaseLost, "run %d: it is not worker %d that runs it", run, l.Worker)
	}
	return r, nil
}

// refuseUnfinished returns a conflict while a build of the Run is not final, or
// if the Run is the store's.
func (t *tx) refuseUnfinished(r *runRow, what string) error {
	if r.detached && !r.State.Final() {
		return jobcontrol.Errorf(jobcontrol.Conflict, "cannot %s run %d: it runs in the background and ends by itself", what, r.ID)
	}
	id, err := t.number(`SELECT id FROM {builds} WHERE `+membersOf(r)+` LIMIT 1`, r.ID)
	if err == nil && id != 0 {
		err = jobcontrol.Errorf(jobcontrol.Conflict, "cannot %s run %d: build %d is not finished", what, r.ID, id)
	}
	return err
}

// StartCleaning moves a Run to cleaning; see [jobcontrol.Runs].
func (s *Store) StartCleaning(ctx context.Context, run int64, l jobcontrol.Lease) ([]jobcontrol.Build, error) {
	var builds []jobcontrol.Build
	err := s.write(ctx, "clean", func(t *tx) error {
		builds = nil
		r, err := t.owned(run, l)
		if err != nil {
			return err
		}
		if err := t.refuseUnfinished(r, "clean up"); err != nil {
			return err
		}
		if r.State != jobcontrol.RunCleaning && r.State != jobcontrol.RunRunning && !(r.Lone && r.State.Final()) {
			return jobcontrol.Errorf(jobcontrol.Conflict, "cannot clean up run %d: it is %s", run, r.State)
		}
		if builds, err = t.builds(r, `AND b.ran > 0 AND NOT b.cleaned`); err != nil {
			return err
		}
		slices.SortFunc(builds, func(a, b jobcontrol.Build) int { return cmp.Compare(b.Ran, a.Ran) })
		if r.State == jobcontrol.RunCleaning || r.Lone && len(builds) == 0 {
			return nil
		}
		return t.setState(r, jobcontrol.RunCleaning, l)
	})
	if err != nil {
		return nil, err
	}
	return builds, nil
}

// setState gives a Run an unfinished state and its worker, whose Run it is from then on.
func (t *tx) setState(r *runRow, state jobcontrol.RunState, l jobcontrol.Lease) error {
	if r.Lone {
		t.queue(nil, `UPDATE {builds} SET open = $2, cancel = false WHERE id = $1`, r.ID, state)
		t.queue(nil, `UPDATE {history} SET open = $2, cancel = false, detached = false WHERE id = $1`, r.ID, state)
	} else {
		t.queue(nil, `UPDATE {runs} SET state = $2, worker = $3, epoch = $4, cancel = false, detached = false, message = NULL, finished_at = 0 WHERE id = $1`,
			r.ID, state, l.Worker, l.Epoch)
	}
	return t.send()
}

// FinishRun moves a Run to its final state; see [jobcontrol.Runs].
func (s *Store) FinishRun(ctx context.Context, run int64, l jobcontrol.Lease) (*jobcontrol.Run, error) {
	var out *jobcontrol.Run
	err := s.write(ctx, "finish-run", func(t *tx) error {
		r, err := t.owned(run, l)
		if err != nil {
			return err
		}
		if !r.State.Final() {
			if r.State == jobcontrol.RunInterrupted {
				return jobcontrol.Errorf(jobcontrol.Conflict, "cannot finish run %d: it is %s", run, r.State)
			}
			if err := t.refuseUnfinished(r, "finish"); err != nil {
				return err
			}
			if err := t.endRun(r); err != nil {
				return err
			}
			if r, err = t.run(run); err != nil {
				return err
			}
		}
		out = &r.Run
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Adopt gives a Run to a worker; see [jobcontrol.Runs]. An interrupted one goes
// on; a final one that has clean-up steps left is cleaned up.
func (s *Store) Adopt(ctx context.Context, run int64, l jobcontrol.Lease) (*jobcontrol.Run, []jobcontrol.Build, error) {
	var out *jobcontrol.Run
	var builds []jobcontrol.Build
	err := s.write(ctx, "adopt", func(t *tx) error {
		if err := t.held(l); err != nil {
			return err
		}
		// One of several that adopt it at once is the first.
		t.queue(nil, `SELECT 1 FROM {builds} WHERE id = $1 FOR UPDATE`, run)
		t.queue(nil, `SELECT 1 FROM {history} WHERE id = $1 FOR UPDATE`, run)
		t.queue(nil, `SELECT 1 FROM {runs} WHERE id = $1 FOR UPDATE`, run)
		r, err := t.run(run)
		if err != nil {
			return err
		}
		repeated := !r.State.Final() && r.Worker == l.Worker && r.epoch == l.Epoch && r.State != jobcontrol.RunInterrupted
		if !repeated {
			if err := t.adopt(r, l); err != nil {
				return err
			}
		}
		out, builds, err = t.runWithBuilds(run)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return out, builds, nil
}

func (t *tx) adopt(r *runRow, l jobcontrol.Lease) error {
	state := jobcontrol.RunRunning
	switch {
	case r.State == jobcontrol.RunInterrupted:
		if r.Lone && r.build.Final() {
			state = jobcontrol.RunCleaning
		}
	case r.State.Final():
		pending, err := t.pending(r)
		if err != nil {
			return err
		}
		if !pending {
			return jobcontrol.Errorf(jobcontrol.Conflict, "run %d is %s and has nothing to clean up", r.ID, r.State)
		}
		state = jobcontrol.RunCleaning
	default:
		return jobcontrol.Errorf(jobcontrol.Conflict, "run %d is %s: only an interrupted run can be taken over", r.ID, r.State)
	}
	if err := t.setState(r, state, l); err != nil {
		return err
	}
	members := membersOf(r)
	// To resume a Run is to resume what is suspended in it.
	t.queue(nil, `UPDATE {builds} b SET state = CASE WHEN deps_left > 0 THEN 2 ELSE 4 END, ready_at = NULL, stopping = NULL, stop_reason = NULL
		WHERE `+members+` AND state = 6`, r.ID)
	t.queue(nil, `UPDATE {builds} SET worker = $2, epoch = $3, claim = nextval('{claims}') WHERE `+members, r.ID, l.Worker, l.Epoch)
	t.queue(nil, `UPDATE {history} SET worker = $2, epoch = $3, claim = nextval('{claims}'), detached = false, cleaning = true
		WHERE `+members+` AND ran > 0 AND NOT cleaned`, r.ID, l.Worker, l.Epoch)
	return t.send()
}

// membersOf is the condition that a build is one of a Run, $1.
func membersOf(r *runRow) string {
	if r.Lone {
		return `id = $1`
	}
	return `run = $1 AND run <> id`
}

// pending tells whether a build of the Run has a clean-up step that is due.
func (t *tx) pending(r *runRow) (bool, error) {
	n, err := t.number(`SELECT 1::bigint FROM {history} h JOIN {definitions} d ON d.id = h.definition AND d.cleanup
		WHERE `+membersOfHistory(r)+` AND h.ran > 0 AND NOT h.cleaned LIMIT 1`, r.ID)
	return n != 0, err
}

func membersOfHistory(r *runRow) string {
	if r.Lone {
		return `h.id = $1`
	}
	return `h.run = $1 AND h.run <> h.id`
}
