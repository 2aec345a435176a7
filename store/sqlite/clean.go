package sqlite

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

// refuseUnfinished returns a conflict while a build of the Run is not final.
func (t *tx) refuseUnfinished(r *runRow, what string) error {
	var id int64
	err := t.spans(r, func(first, last int64) (err error) {
		if id == 0 {
			id, err = t.number(`SELECT id FROM builds WHERE id BETWEEN ? AND ? AND state < 7 LIMIT 1`, first, last)
		}
		return err
	})
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
		if r.detached {
			return jobcontrol.Errorf(jobcontrol.Conflict, "cannot clean up run %d: workers do, it is detached", run)
		}
		if err := t.refuseUnfinished(r, "clean up"); err != nil {
			return err
		}
		if r.State != jobcontrol.RunCleaning && r.State != jobcontrol.RunRunning && !(r.Lone && r.State.Final()) {
			return jobcontrol.Errorf(jobcontrol.Conflict, "cannot clean up run %d: it is %s", run, r.State)
		}
		if builds, err = t.builds(r, `AND b.ran > 0 AND b.cleaned = 0`); err != nil {
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

// setState gives a Run an unfinished state and its worker.
func (t *tx) setState(r *runRow, state jobcontrol.RunState, l jobcontrol.Lease) (err error) {
	if r.Lone {
		_, err = t.exec(`UPDATE builds SET open = ?, cancel = 0 WHERE id = ?`, state, r.ID)
	} else {
		_, err = t.exec(`UPDATE runs SET state = ?, worker = ?, epoch = ?, cancel = 0, message = NULL, finished_at = 0, counts = NULL WHERE id = ?`,
			state, l.Worker, l.Epoch, r.ID)
	}
	return err
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
			if r.detached {
				return jobcontrol.Errorf(jobcontrol.Conflict, "cannot finish run %d: it is detached and ends with its last build", run)
			}
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
	if r.detached {
		// From now on it is executed by one program.
		if _, err := t.exec(`UPDATE runs SET detached = 0 WHERE id = ?`, r.ID); err != nil {
			return err
		}
	}
	return t.spans(r, func(first, last int64) error { return t.adoptBuilds(r, first, last, l) })
}

// adoptBuilds gives builds of a Run, of a span of ids, to a worker.
func (t *tx) adoptBuilds(r *runRow, first, last int64, l jobcontrol.Lease) error {
	if r.detached {
		if _, err := t.exec(`UPDATE builds SET detached = 0 WHERE id BETWEEN ? AND ?`, first, last); err != nil {
			return err
		}
	}
	// To resume a Run is to resume what is suspended in it.
	if _, err := t.exec(`UPDATE builds SET state = CASE WHEN deps_left > 0 THEN 2 ELSE 4 END, ready_at = 0
		WHERE id BETWEEN ? AND ? AND state `+stateIn(jobcontrol.Transitions[jobcontrol.ToResume].From), first, last); err != nil {
		return err
	}
	// As many claims as there are builds, so that each number follows from the id.
	claim, err := t.claimNumbers(int(last - first + 1))
	if err != nil {
		return err
	}
	_, err = t.exec(`UPDATE builds SET worker = ?, epoch = ?, claim = ? + id - ?
		WHERE id BETWEEN ? AND ? AND (state < 7 OR ran > 0 AND cleaned = 0)`,
		l.Worker, l.Epoch, claim, first, first, last)
	return err
}

// pending tells whether a build of the Run has a clean-up step that is due.
func (t *tx) pending(r *runRow) (bool, error) {
	due := false
	err := t.spans(r, func(first, last int64) error {
		n, err := t.number(`SELECT 1 FROM builds b CROSS JOIN definitions d ON d.id = b.definition
			WHERE b.id BETWEEN ? AND ? AND b.ran > 0 AND b.cleaned = 0
			AND CASE WHEN json_valid(d.body) THEN json_extract(d.body, '$.cleanup') IS NOT NULL END LIMIT 1`, first, last)
		due = due || n != 0
		return err
	})
	return due, err
}
