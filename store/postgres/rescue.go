package postgres

import (
	"context"
	"slices"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// Rescue takes the leases of dead workers away; see [jobcontrol.Leases]. Leases
// end by the server's clock.
func (s *Store) Rescue(ctx context.Context, alive func(jobcontrol.Process) (alive, known bool)) ([]jobcontrol.Interruption, error) {
	workers, err := s.Workers(ctx)
	if err != nil {
		return nil, err
	}
	s.extend(ctx)
	// alive may look at other processes: that is not done inside the transaction.
	var dead, doubtful []int64
	for _, w := range workers {
		lives, known := alive(w.Process)
		switch {
		case known && !lives:
			dead = append(dead, w.ID)
		case !known:
			doubtful = append(doubtful, w.ID)
		}
	}
	if len(dead)+len(doubtful) == 0 {
		return nil, nil
	}
	if len(dead) == 0 {
		// The usual case: nothing is to be done, and nothing is locked.
		var n int64
		err := s.readOne(ctx, func(c *conn) (err error) {
			n, err = c.number(`SELECT 1::bigint FROM {workers} WHERE id = ANY($1) AND NOT gone AND lease_until <= `+clock+` LIMIT 1`, doubtful)
			return err
		})
		if err != nil || n == 0 {
			return nil, err
		}
	}
	var found []jobcontrol.Interruption
	err = s.write(ctx, "rescue", func(t *tx) error {
		found = nil
		var taken []jobcontrol.Worker
		if err := t.each(func(r *row) error {
			taken = append(taken, scanWorker(r))
			return nil
		}, `SELECT `+workerColumns+` FROM {workers}
			WHERE NOT gone AND (id = ANY($1) OR id = ANY($2) AND lease_until <= `+clock+`) ORDER BY id FOR UPDATE SKIP LOCKED`, dead, doubtful); err != nil {
			return err
		}
		for i := range taken {
			w := &taken[i]
			t.queue(nil, `UPDATE {workers} SET epoch = epoch + 1, gone = true WHERE id = $1`, w.ID)
			t.news.worker = true
			fate := codec.Expired
			if slices.Contains(dead, w.ID) {
				fate = codec.Died
			}
			interruptions, err := t.bury(w, fate)
			if err != nil {
				return err
			}
			found = append(found, interruptions...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// bury deals with what a worker left behind that is gone: its claims of detached
// builds, its running builds, its clean-up steps and its foreground Runs. It
// returns the Runs that became interrupted.
func (t *tx) bury(w *jobcontrol.Worker, fate codec.Fate) ([]jobcontrol.Interruption, error) {
	w.Gone = true
	var running, idle []*guarded
	add := func(list *[]*guarded) func(r *row) error {
		return func(r *row) error {
			*list = append(*list, scanGuarded(r))
			return nil
		}
	}
	t.queue(nil, `UPDATE {history} SET cleaning = false, worker = NULL, epoch = NULL, claim = NULL WHERE cleaning AND NOT cleaned AND worker = $1 AND epoch = $2`,
		w.ID, w.Epoch)
	t.queue(add(&running), guardHot+`WHERE state = 5 AND worker = $1 AND epoch = $2 ORDER BY id FOR UPDATE`, w.ID, w.Epoch)
	if err := t.each(add(&idle), guardHot+`WHERE state = 4 AND detached AND NOT suspect AND worker = $1 AND epoch = $2 ORDER BY id FOR UPDATE`,
		w.ID, w.Epoch); err != nil {
		return nil, err
	}
	t.news.ready = t.news.ready || len(running)+len(idle) > 0
	if fate != codec.Left && len(idle) > 0 {
		t.queue(nil, `UPDATE {builds} SET unproven = unproven + 1, suspect = unproven + 1 >= $2 WHERE id = ANY($1)`, idsOf(idle), jobcontrol.MaxUnproven)
	}
	if err := t.free(idle); err != nil {
		return nil, err
	}
	byRun := map[int64][]int64{}
	for _, g := range running {
		byRun[g.run] = append(byRun[g.run], g.id)
		if err := t.requeue(g, w, fate); err != nil {
			return nil, err
		}
	}
	return t.interruptAll(w, byRun)
}

// free ends claims of detached builds that were not started, and carries out
// what was asked of their worker.
func (t *tx) free(builds []*guarded) error {
	if len(builds) == 0 {
		return nil
	}
	t.queue(nil, `UPDATE {builds} SET state = 4, worker = NULL, epoch = NULL, claim = NULL, attempt_at = NULL WHERE id = ANY($1)`, idsOf(builds))
	return t.stop(builds)
}

func idsOf(builds []*guarded) []int64 {
	ids := make([]int64, len(builds))
	for i, g := range builds {
		ids[i] = g.id
	}
	return ids
}

// interruptAll interrupts the foreground Runs of a worker.
func (t *tx) interruptAll(w *jobcontrol.Worker, byRun map[int64][]int64) ([]jobcontrol.Interruption, error) {
	if err := t.settle(); err != nil {
		return nil, err
	}
	var runs []int64
	if err := t.each(func(r *row) error {
		runs = append(runs, r.int())
		return nil
	}, `SELECT id FROM {runs} WHERE state IN (1, 2, 7) AND state <> 7 AND worker = $1 AND epoch = $2
		UNION ALL SELECT id FROM {builds} WHERE open IS NOT NULL AND NOT detached AND open = 1 AND worker = $1 AND epoch = $2
		UNION ALL SELECT id FROM {history} WHERE open IS NOT NULL AND NOT detached AND open = 2 AND worker = $1 AND epoch = $2`, w.ID, w.Epoch); err != nil {
		return nil, err
	}
	slices.Sort(runs)
	var found []jobcontrol.Interruption
	for _, id := range runs {
		interrupted, err := t.interrupt(id, w)
		if err != nil {
			return nil, err
		}
		if interrupted {
			found = append(found, jobcontrol.Interruption{Run: id, Worker: *w, Builds: byRun[id]})
		}
	}
	return found, nil
}

// interrupt makes a foreground Run interrupted whose worker is gone. If it was
// to be cancelled, that is done instead.
func (t *tx) interrupt(id int64, w *jobcontrol.Worker) (bool, error) {
	r, err := t.run(id)
	if err != nil {
		return false, err
	}
	if r.Cancel {
		return false, t.cancelRun(r)
	}
	if r.Lone {
		t.queue(nil, `UPDATE {builds} SET open = 7, worker = NULL, epoch = NULL, claim = NULL WHERE id = $1`, id)
		t.queue(nil, `UPDATE {history} SET open = 7, worker = NULL, epoch = NULL, claim = NULL WHERE id = $1`, id)
		return true, t.send()
	}
	_, err = t.exec(`UPDATE {runs} SET state = 7, message = $2 WHERE id = $1`, id, codec.Interrupted(r.Counts, w.Process))
	return err == nil, err
}

// requeue puts a running build back whose worker is gone. A lost attempt is
// recorded; after too many of them the build fails.
func (t *tx) requeue(g *guarded, w *jobcontrol.Worker, fate codec.Fate) error {
	if fate == codec.Left {
		if err := check(jobcontrol.ToRescue, g.id, g.state, jobcontrol.Queued); err != nil {
			return err
		}
		if g.detached {
			return t.free([]*guarded{g})
		}
		_, err := t.exec(`UPDATE {builds} SET state = 4, attempt_at = NULL WHERE id = $1`, g.id)
		return err
	}
	limit, err := t.number(`SELECT max_lost FROM {definitions} WHERE id = $1`, g.definition)
	if err != nil {
		return err
	}
	g.lost++
	p, err := codec.PackLost(jobcontrol.Claim{Build: g.id, Worker: g.worker, Epoch: g.epoch, Number: g.claim},
		jobcontrol.Attempt{Number: g.attempts + 1, StartedAt: codec.TimeOf(g.attemptStarted), FinishedAt: t.now}, w.Process, g.lost)
	if err != nil {
		return err
	}
	if int64(g.lost) > limit && g.stopping == 0 {
		return t.loseForGood(g, p)
	}
	if err := check(jobcontrol.ToRescue, g.id, g.state, jobcontrol.Queued); err != nil {
		return err
	}
	t.queue(nil, `UPDATE {builds} b SET state = 4, lost = $2, attempts = $3, suspect = b.suspect OR $4,
		unproven = CASE WHEN $4 THEN 0 ELSE b.unproven END, attempt_at = NULL, `+unclaim+` WHERE id = $1`,
		g.id, g.lost, p.Attempt.Number, fate.Suspect(g.lost, int(limit)))
	if err := t.insertAttempt(p); err != nil || !g.detached {
		return err
	}
	return t.stop([]*guarded{g})
}

func (t *tx) loseForGood(g *guarded, p *codec.Packed) error {
	if err := check(jobcontrol.ToFail, g.id, g.state, jobcontrol.Failed); err != nil {
		return err
	}
	done, err := t.end(jobcontrol.Failed, jobcontrol.Transitions[jobcontrol.ToFail].From, []ending{
		{id: g.id, number: int64(p.Attempt.Number), lost: int64(g.lost), failure: p.Failure, last: p.Data},
	})
	if err != nil {
		return err
	}
	return t.blockAfter([]*guarded{g}, done)
}
