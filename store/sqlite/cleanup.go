package sqlite

import (
	"context"

	"github.com/jobcontrol/jobcontrol"
)

// ClaimCleanup hands out a clean-up step; see [jobcontrol.Queue]. The step that is
// handed out stays the first of its Run until it is done: so there is one at a time.
func (s *Store) ClaimCleanup(ctx context.Context, l jobcontrol.Lease, w jobcontrol.Wanted) (*jobcontrol.Build, error) {
	var b *jobcontrol.Build
	err := s.write(ctx, "claim-cleanup", func(t *tx) error {
		b = nil
		if err := t.valid(l); err != nil {
			return err
		}
		services, err := t.wanted(w)
		if err != nil || len(services) == 0 {
			return err
		}
		id, err := t.dueStep(services)
		if err != nil || id == 0 {
			return err
		}
		claim, err := t.claimNumbers(1)
		if err != nil {
			return err
		}
		if _, err := t.exec(`UPDATE builds SET worker = ?, epoch = ?, claim = ?, cleaning = 1 WHERE id = ?`,
			l.Worker, l.Epoch, claim, id); err != nil {
			return err
		}
		b, err = t.build(id)
		return err
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}

// dueStep returns the build whose clean-up step is to be handed out; 0: none.
func (t *tx) dueStep(services []*service) (due int64, err error) {
	wanted := map[int64]bool{}
	for _, v := range services {
		wanted[v.id] = true
	}
	var runs []int64
	if err := t.each(func(r *row) error {
		if id, service := r.int(), r.int(); due == 0 && wanted[service] {
			due = id
		}
		return nil
	}, `SELECT id, service FROM builds WHERE open IS NOT NULL AND open = 2 AND detached = 1 AND cleaning = 0`); err != nil || due != 0 {
		return due, err
	}
	if err := t.each(func(r *row) error {
		runs = append(runs, r.int())
		return nil
	}, `SELECT id FROM runs WHERE state IN (1, 2, 7) AND state = 2 AND detached = 1`); err != nil {
		return 0, err
	}
	for _, run := range runs {
		var id, service int64
		var busy bool
		if _, err := t.first(func(r *row) { id, service, busy = r.int(), r.int(), r.bool() },
			`SELECT id, service, cleaning FROM builds WHERE run = ? AND detached = 1 AND ran > 0 AND cleaned = 0 ORDER BY ran DESC LIMIT 1`, run); err != nil {
			return 0, err
		}
		if id != 0 && !busy && wanted[service] {
			return id, nil
		}
	}
	return 0, nil
}

// stepDone ends a cleaning detached Run whose last clean-up step was executed.
func (t *tx) stepDone(run int64) error {
	n, err := t.exec(`UPDATE builds SET open = NULL WHERE id = ? AND run = id AND detached = 1`, run)
	if err != nil || n > 0 {
		return err
	}
	t.hint = true
	due, err := t.number(`SELECT 1 FROM builds WHERE run = ? AND detached = 1 AND ran > 0 AND cleaned = 0 LIMIT 1`, run)
	if err != nil || due != 0 {
		return err
	}
	r := runRow{}
	r.ID = run
	if r.size, err = t.number(`SELECT size FROM runs WHERE id = ?`, run); err != nil {
		return err
	}
	return t.endRun(&r)
}
