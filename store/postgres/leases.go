package postgres

import (
	"context"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/internal/fault"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// Register makes a worker; see [jobcontrol.Leases].
func (s *Store) Register(ctx context.Context, p jobcontrol.Process, ttl time.Duration) (jobcontrol.Lease, error) {
	l := jobcontrol.Lease{Epoch: 1}
	err := s.write(ctx, "register", func(t *tx) error {
		yesterday := t.now.Add(-24 * time.Hour)
		t.queue(nil, `DELETE FROM {workers} WHERE id = ANY (ARRAY(SELECT id FROM {workers} WHERE gone AND started_at < $1 FOR UPDATE SKIP LOCKED))`, yesterday)
		t.queue(nil, `DELETE FROM {run_keys} WHERE key = ANY (ARRAY(SELECT key FROM {run_keys} WHERE created_at < $1 LIMIT 10000 FOR UPDATE SKIP LOCKED))`, yesterday)
		t.news.worker = true
		_, err := t.first(func(r *row) { l.Worker = r.int() }, `INSERT INTO {workers} (pid, start_time, boot_id, pid_space, host, started_at, lease_until)
			VALUES ($1, $2, $3, $4, $5, $6, `+clock+` + $7) RETURNING id`,
			p.PID, int64(p.StartTime), p.BootID, p.PIDSpace, p.Host, t.now, ttl.Microseconds())
		return err
	})
	if err != nil {
		return jobcontrol.Lease{}, err
	}
	s.extend(ctx)
	return l, nil
}

// Renew prolongs a lease; see [jobcontrol.Leases]. It has a connection of its
// own, and gives up before the lease would end.
func (s *Store) Renew(ctx context.Context, l jobcontrol.Lease, ttl time.Duration) error {
	if ttl > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, max(ttl/3, 100*time.Millisecond))
		defer cancel()
	}
	return s.public(s.leases.use(ctx, s, func(c *conn) error {
		if err := fault.Point("postgres.renew.before"); err != nil {
			return unavailable(err)
		}
		c.queue(func(r *row) error { return s.refuse(r.int()) }, `SELECT version FROM {meta}`)
		n, err := c.number(`UPDATE {workers} SET lease_until = `+clock+` + $3 WHERE id = $1 AND epoch = $2 AND NOT gone RETURNING 1::bigint`,
			l.Worker, l.Epoch, ttl.Microseconds())
		if err == nil && n == 0 {
			err = leaseLost(l)
		}
		if err != nil {
			return err
		}
		if err := fault.Point("postgres.renew.after"); err != nil {
			return unavailable(err)
		}
		return nil
	}))
}

// Unregister ends a worker; see [jobcontrol.Leases]. Should it leave builds
// behind, they are queued again and its Runs are interrupted, as after a loss,
// but no attempt counts as lost.
func (s *Store) Unregister(ctx context.Context, l jobcontrol.Lease) error {
	err := s.write(ctx, "unregister", func(t *tx) error {
		var w jobcontrol.Worker
		if _, err := t.first(func(r *row) { w = scanWorker(r) },
			`SELECT `+workerColumns+` FROM {workers} WHERE id = $1 AND epoch = $2 FOR UPDATE`, l.Worker, l.Epoch); err != nil {
			return err
		}
		if w.ID == 0 {
			return leaseLost(l)
		}
		if w.Gone {
			return nil // it was not taken away: a repetition
		}
		t.queue(nil, `UPDATE {workers} SET gone = true WHERE id = $1`, l.Worker)
		t.news.worker = true
		_, err := t.bury(&w, codec.Left)
		return err
	})
	if err == nil {
		s.claimers.forget(l)
	}
	return err
}
