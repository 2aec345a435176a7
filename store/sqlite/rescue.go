package sqlite

import (
	"context"
	"slices"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// Rescue takes the leases of dead workers away; see [jobcontrol.Leases]. A lease
// of an earlier start of this machine is one, whatever alive says.
func (s *Store) Rescue(ctx context.Context, alive func(jobcontrol.Process) (alive, known bool)) ([]jobcontrol.Interruption, error) {
	workers, _, boot, err := s.workers(ctx)
	if err != nil {
		return nil, err
	}
	// alive may look at other processes: that is not done inside the transaction.
	var dead, rebooted, doubtful []workerRow
	for _, w := range workers {
		lives, known := alive(w.Process)
		switch {
		case w.boot != boot:
			rebooted = append(rebooted, w)
		case known && !lives:
			dead = append(dead, w)
		case !known:
			doubtful = append(doubtful, w)
		}
	}
	if len(dead)+len(rebooted)+len(doubtful) == 0 {
		return nil, nil
	}
	var found []jobcontrol.Interruption
	err = s.write(ctx, "rescue", func(t *tx) error {
		found = nil
		us, _, err := s.leaseClock()
		if err != nil {
			return err
		}
		for _, gone := range []struct {
			workers []workerRow
			fate    codec.Fate
			until   int64
		}{{dead, codec.Died, always}, {rebooted, codec.Expired, always}, {doubtful, codec.Expired, us}} {
			for _, w := range gone.workers {
				interruptions, err := t.takeAway(w, gone.fate, gone.until)
				if err != nil {
					return err
				}
				found = append(found, interruptions...)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// always is a time that no lease goes beyond.
const always = 1 << 62

// takeAway takes a worker's lease away if it ended before the given time.
func (t *tx) takeAway(w workerRow, fate codec.Fate, until int64) ([]jobcontrol.Interruption, error) {
	n, err := t.exec(`UPDATE workers SET epoch = epoch + 1, gone = 1 WHERE id = ? AND epoch = ? AND gone = 0 AND lease_until <= ?`,
		w.ID, w.Epoch, until)
	if err != nil || n == 0 {
		return nil, err
	}
	clear(t.alive)
	return t.bury(&w, fate)
}

// bury deals with what a worker left behind that is gone: its running builds and
// its foreground Runs. It returns the Runs that became interrupted.
func (t *tx) bury(w *workerRow, fate codec.Fate) ([]jobcontrol.Interruption, error) {
	w.Gone = true
	if err := t.buryDetached(w, fate); err != nil {
		return nil, err
	}
	var running []*guarded
	if err := t.each(func(r *row) error {
		g := scanGuarded(r)
		running = append(running, &g)
		return nil
	}, guardColumns+`WHERE state = 5 AND detached = 0 AND worker = ? AND epoch = ? ORDER BY id`, w.ID, w.Epoch); err != nil {
		return nil, err
	}
	byRun := map[int64][]int64{}
	for _, g := range running {
		byRun[g.run] = append(byRun[g.run], g.id)
		if err := t.requeue(g, w, fate); err != nil {
			return nil, err
		}
	}
	var runs []int64
	if err := t.each(func(r *row) error {
		runs = append(runs, r.int())
		return nil
	}, `SELECT id FROM runs WHERE state IN (1, 2, 7) AND state <> 7 AND worker = ? AND epoch = ?
		UNION ALL SELECT id FROM builds WHERE open IN (1, 2) AND detached = 0 AND worker = ? AND epoch = ?`,
		w.ID, w.Epoch, w.ID, w.Epoch); err != nil {
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
			found = append(found, jobcontrol.Interruption{Run: id, Worker: w.Worker, Builds: byRun[id]})
		}
	}
	return found, nil
}

// buryDetached queues what a worker had claimed for others, and carries out what
// was asked of it.
func (t *tx) buryDetached(w *workerRow, fate codec.Fate) error {
	t.hint = true
	var claimed []*guarded
	if err := t.each(func(r *row) error {
		g := scanGuarded(r)
		claimed = append(claimed, &g)
		return nil
	}, guardColumns+`WHERE id IN (SELECT b.id FROM services s CROSS JOIN builds b ON b.service = s.id AND b.queue = 2
		WHERE b.worker = ?) AND epoch = ? ORDER BY id`, w.ID, w.Epoch); err != nil {
		return err
	}
	for _, g := range claimed {
		unproven := fate != codec.Left && g.state == jobcontrol.Queued
		if g.state == jobcontrol.Running {
			if err := t.requeue(g, w, fate); err != nil {
				return err
			}
		}
		if g.state.Final() {
			continue
		}
		g.state = jobcontrol.Queued
		if _, err := t.exec(`UPDATE builds SET worker = 0, epoch = 0, queue = 1, unproven = unproven + ?,
			alone = max(alone, unproven + ? >= ?) WHERE id = ?`, unproven, unproven, jobcontrol.MaxUnproven, g.id); err != nil {
			return err
		}
		if err := t.carryOut(g); err != nil {
			return err
		}
	}
	_, err := t.exec(`UPDATE builds SET cleaning = 0 WHERE cleaning = 1 AND worker = ? AND epoch = ?`, w.ID, w.Epoch)
	return err
}

// interrupt makes a foreground Run interrupted whose worker is gone. If it was
// to be cancelled, that is done instead.
func (t *tx) interrupt(id int64, w *workerRow) (bool, error) {
	r, err := t.run(id)
	if err != nil {
		return false, err
	}
	if r.Cancel {
		return false, t.cancelRun(r)
	}
	if r.Lone {
		_, err := t.exec(`UPDATE builds SET open = 7, worker = 0, epoch = 0, claim = 0 WHERE id = ?`, id)
		return err == nil, err
	}
	_, err = t.exec(`UPDATE runs SET state = 7, message = ? WHERE id = ?`, codec.Interrupted(r.Counts, w.Process), id)
	return err == nil, err
}

// requeue puts a running build back whose worker is gone. A lost attempt is
// recorded; after too many of them the build fails.
func (t *tx) requeue(g *guarded, w *workerRow, fate codec.Fate) error {
	if fate == codec.Left {
		if err := check(jobcontrol.ToRescue, g.id, g.state, jobcontrol.Queued); err != nil {
			return err
		}
		_, err := t.exec(`UPDATE builds SET state = 4 WHERE id = ?`, g.id)
		return err
	}
	limit, err := t.maxLost(g.id)
	if err != nil {
		return err
	}
	g.lost++
	p, err := codec.PackLost(jobcontrol.Claim{Build: g.id, Worker: g.worker, Epoch: g.epoch, Number: g.claim},
		jobcontrol.Attempt{Number: g.attempts + 1, StartedAt: codec.TimeOf(g.attemptStarted), FinishedAt: t.now}, w.Process, g.lost)
	if err != nil {
		return err
	}
	if g.lost > limit && g.stop == 0 {
		return t.loseForGood(g, p)
	}
	if err := check(jobcontrol.ToRescue, g.id, g.state, jobcontrol.Queued); err != nil {
		return err
	}
	suspect := fate.Suspect(g.lost, limit)
	if _, err := t.exec(`UPDATE builds SET state = 4, lost = ?, attempts = ?, alone = max(alone, ?), unproven = CASE WHEN ? THEN 0 ELSE unproven END WHERE id = ?`,
		g.lost, p.Attempt.Number, suspect, suspect, g.id); err != nil {
		return err
	}
	return t.insertAttempt(p)
}

func (t *tx) loseForGood(g *guarded, p *codec.Packed) error {
	if err := check(jobcontrol.ToFail, g.id, g.state, jobcontrol.Failed); err != nil {
		return err
	}
	if _, err := t.exec(`UPDATE builds SET state = 9, queue = NULL, stop = 0, lost = ?, attempts = ?, finished_at = ?, failure = ?, last = ?, `+closeLone+` WHERE id = ?`,
		g.lost, p.Attempt.Number, t.now, p.Failure, p.Data, g.id); err != nil {
		return err
	}
	if err := t.ended(g.end(jobcontrol.Failed)); err != nil {
		return err
	}
	g.state = jobcontrol.Failed
	if g.detached && g.run == g.id && g.ran > 0 && !g.cleaned {
		if err := t.loneEnded(g.id, jobcontrol.RunCleaning); err != nil {
			return err
		}
	}
	ids, err := codec.DecodeIDs(g.id, g.dependants)
	if err != nil {
		return err
	}
	_, _, err = t.block(g.id, ids)
	return err
}

// maxLost returns how many attempts of a build may be lost.
func (t *tx) maxLost(id int64) (int, error) {
	var body string
	if _, err := t.first(func(r *row) { body = r.text() },
		`SELECT d.body FROM builds b CROSS JOIN definitions d ON d.id = b.definition WHERE b.id = ?`, id); err != nil {
		return 0, err
	}
	return codec.PolicyOf([]byte(body)).MaxLost, nil
}
