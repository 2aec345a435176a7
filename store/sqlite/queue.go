package sqlite

import (
	"context"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// GiveBack ends claims; see [jobcontrol.Queue]. What was asked of the worker of
// one is carried out.
func (s *Store) GiveBack(ctx context.Context, claims []jobcontrol.Claim) error {
	return s.write(ctx, "give-back", func(t *tx) error {
		for _, c := range claims {
			if err := t.giveBack(c); err != nil && !refused(err) {
				return err
			}
		}
		return nil
	})
}

func (t *tx) giveBack(c jobcontrol.Claim) error {
	g, err := t.claimed(c)
	if err != nil {
		return err
	}
	switch {
	case !g.detached:
		return nil
	case g.cleaning:
		t.hint = true
		_, err = t.exec(`UPDATE builds SET cleaning = 0 WHERE id = ?`, g.id)
		return err
	case g.state == jobcontrol.Running:
		if err := check(jobcontrol.ToRescue, g.id, g.state, jobcontrol.Queued); err != nil {
			return err
		}
	case g.state != jobcontrol.Queued:
		return nil
	}
	t.hint, g.state = true, jobcontrol.Queued
	if _, err := t.exec(`UPDATE builds SET state = 4, worker = 0, epoch = 0, queue = 1 WHERE id = ?`, g.id); err != nil {
		return err
	}
	return t.carryOut(g)
}

// Promote queues builds whose time has come; see [jobcontrol.Queue].
func (s *Store) Promote(ctx context.Context, n int) (promoted int, next time.Time, err error) {
	const first = `SELECT ready_at FROM builds WHERE queue = 3 ORDER BY ready_at LIMIT 1`
	var at int64
	if err := s.readOne(ctx, func(c *conn) (err error) {
		at, err = c.number(first)
		return err
	}); err != nil || at == 0 || codec.TimeOf(at).After(s.clock()) {
		return 0, codec.TimeOf(at), err
	}
	err = s.write(ctx, "promote", func(t *tx) error {
		rows, err := t.exec(`UPDATE builds SET state = 4, queue = 1 WHERE id IN
			(SELECT id FROM builds WHERE queue = 3 AND ready_at <= ? ORDER BY ready_at LIMIT ?)`, t.now, n)
		if err != nil {
			return err
		}
		promoted, t.hint = int(rows), t.hint || rows > 0
		at, err = t.number(first)
		return err
	})
	if err != nil {
		return 0, time.Time{}, err
	}
	return promoted, codec.TimeOf(at), nil
}

// StopRequests returns what was asked of a worker; see [jobcontrol.Queue].
func (s *Store) StopRequests(ctx context.Context, l jobcontrol.Lease) ([]jobcontrol.StopRequest, error) {
	var requests []jobcontrol.StopRequest
	err := s.readOne(ctx, func(c *conn) error {
		requests = nil
		return c.each(func(r *row) error {
			v := jobcontrol.StopRequest{
				Claim:  jobcontrol.Claim{Build: r.int(), Worker: l.Worker, Epoch: l.Epoch, Number: r.int()},
				Reason: byRequest,
			}
			if r.int() == stopSuspend {
				v.Suspend, v.Reason = true, "suspended by request"
			}
			requests = append(requests, v)
			return nil
		}, `SELECT id, claim, stop FROM builds WHERE stop IN (1, 2) AND stop <> 0 AND worker = ? AND epoch = ? ORDER BY id`, l.Worker, l.Epoch)
	})
	if err != nil {
		return nil, err
	}
	return requests, nil
}
