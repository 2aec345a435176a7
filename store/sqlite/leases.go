package sqlite

import (
	"context"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// leaseClock returns the boot clock in microseconds and the id of the boot. The
// wall clock may jump; this one does not.
func (s *Store) leaseClock() (us int64, boot string, err error) {
	if us, boot, err = s.opts.boot(); err != nil {
		err = unavailable(err)
	}
	return us, boot, err
}

// Register makes a worker; see [jobcontrol.Leases].
func (s *Store) Register(ctx context.Context, p jobcontrol.Process, ttl time.Duration) (jobcontrol.Lease, error) {
	l := jobcontrol.Lease{Epoch: 1}
	err := s.write(ctx, "register", func(t *tx) error {
		us, boot, err := s.leaseClock()
		if err != nil {
			return err
		}
		yesterday := t.now.Add(-24 * time.Hour)
		if _, err := t.exec(`DELETE FROM workers WHERE gone = 1 AND started_at < ?`, yesterday); err != nil {
			return err
		}
		if _, err := t.exec(`DELETE FROM run_keys WHERE created_at < ?`, yesterday); err != nil {
			return err
		}
		if _, err := t.returning(func(r *row) { l.Worker = r.int() }, `UPDATE sequences SET worker = worker + 1 RETURNING worker`); err != nil {
			return err
		}
		t.hint = true
		_, err = t.exec(`INSERT INTO workers (id, epoch, pid, start_time, boot_id, pid_space, host, started_at, lease_boot, lease_until)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			l.Worker, l.Epoch, p.PID, int64(p.StartTime), p.BootID, p.PIDSpace, p.Host, t.now, boot, us+ttl.Microseconds())
		return err
	})
	if err != nil {
		return jobcontrol.Lease{}, err
	}
	return l, nil
}

// Renew prolongs a lease; see [jobcontrol.Leases].
func (s *Store) Renew(ctx context.Context, l jobcontrol.Lease, ttl time.Duration) error {
	return s.write(ctx, "renew", func(t *tx) error {
		// Of what a newer program has made of the file this one knows nothing.
		if err := s.refuseNewer(t.conn); err != nil {
			return err
		}
		if err := t.held(l); err != nil {
			return err
		}
		us, boot, err := s.leaseClock()
		if err != nil {
			return err
		}
		_, err = t.exec(`UPDATE workers SET lease_boot = ?, lease_until = ? WHERE id = ?`, boot, us+ttl.Microseconds(), l.Worker)
		return err
	})
}

// Unregister ends a worker; see [jobcontrol.Leases]. Should it leave builds
// behind, they are queued again and its Runs are interrupted, as after a loss,
// but no attempt counts as lost.
func (s *Store) Unregister(ctx context.Context, l jobcontrol.Lease) error {
	return s.write(ctx, "unregister", func(t *tx) error {
		if err := t.held(l); err != nil {
			n, err2 := t.number(`SELECT 1 FROM workers WHERE id = ? AND epoch = ?`, l.Worker, l.Epoch)
			if err2 != nil || n != 0 {
				return err2 // it is gone, and was not taken away: a repetition
			}
			return err
		}
		w, err := t.worker(l.Worker)
		if err != nil {
			return err
		}
		if _, err := t.exec(`UPDATE workers SET gone = 1 WHERE id = ?`, l.Worker); err != nil {
			return err
		}
		clear(t.alive)
		_, err = t.bury(w, codec.Left)
		return err
	})
}

// workerRow is a worker and its lease by the boot clock.
type workerRow struct {
	jobcontrol.Worker
	boot  string
	until int64
}

const workerColumns = `SELECT id, epoch, gone, pid, start_time, boot_id, pid_space, host, started_at, lease_boot, lease_until FROM workers `

func scanWorker(r *row) (w workerRow) {
	w.ID, w.Epoch, w.Gone = r.int(), r.int(), r.bool()
	w.Process = jobcontrol.Process{
		PID: int(r.int()), StartTime: uint64(r.int()), BootID: r.text(), PIDSpace: r.text(), Host: r.text(),
	}
	w.StartedAt, w.boot, w.until = r.time(), r.text(), r.int()
	return w
}

func (t *tx) worker(id int64) (*workerRow, error) {
	var w workerRow
	_, err := t.first(func(r *row) { w = scanWorker(r) }, workerColumns+`WHERE id = ?`, id)
	return &w, err
}

// workers returns the workers that are not gone, and the present of the boot clock.
func (s *Store) workers(ctx context.Context) (workers []workerRow, us int64, boot string, err error) {
	err = s.readOne(ctx, func(c *conn) error {
		workers = nil
		return c.each(func(r *row) error {
			workers = append(workers, scanWorker(r))
			return nil
		}, workerColumns+`WHERE gone = 0 ORDER BY id`)
	})
	if err != nil {
		return nil, 0, "", err
	}
	us, boot, err = s.leaseClock()
	if err != nil {
		return nil, 0, "", err
	}
	now := s.clock()
	for i := range workers {
		w := &workers[i]
		w.LeaseUntil = w.StartedAt // of an earlier boot: it ended then
		if w.boot == boot {
			w.LeaseUntil = now.Add(time.Duration(w.until-us) * time.Microsecond)
		}
	}
	return workers, us, boot, nil
}

// Workers returns the workers that are not gone; see [jobcontrol.Leases].
func (s *Store) Workers(ctx context.Context) ([]jobcontrol.Worker, error) {
	rows, _, _, err := s.workers(ctx)
	if err != nil {
		return nil, err
	}
	workers := make([]jobcontrol.Worker, len(rows))
	for i := range rows {
		workers[i] = rows[i].Worker
	}
	return workers, nil
}
