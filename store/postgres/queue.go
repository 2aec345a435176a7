package postgres

import (
	"context"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// GiveBack ends claims; see [jobcontrol.Queue].
func (s *Store) GiveBack(ctx context.Context, claims []jobcontrol.Claim) error {
	if len(claims) == 0 {
		return nil
	}
	return s.write(ctx, "give-back", func(t *tx) error {
		var ids []int64
		held := make([]jobcontrol.Claim, 0, len(claims))
		for _, c := range claims {
			err := t.held(jobcontrol.Lease{Worker: c.Worker, Epoch: c.Epoch})
			if refused(err) {
				continue
			}
			if err != nil {
				return err
			}
			ids, held = append(ids, c.Build), append(held, c)
		}
		found, err := t.guard(ids...)
		if err != nil {
			return err
		}
		var todo []*guarded
		var steps []int64
		for _, c := range held {
			g := found[c.Build]
			switch {
			case g == nil || !g.detached || !g.holds(c):
			case g.step && !g.cleaned:
				steps = append(steps, g.id)
			case g.state == jobcontrol.Queued || g.state == jobcontrol.Running:
				todo = append(todo, g)
				delete(found, g.id) // it may be named twice
			}
		}
		t.news.ready = len(todo)+len(steps) > 0
		if len(steps) > 0 {
			t.queue(nil, `UPDATE {history} SET cleaning = false, worker = NULL, epoch = NULL, claim = NULL WHERE id = ANY($1)`, steps)
		}
		if err := t.free(todo); err != nil {
			return err
		}
		return t.send()
	})
}

// Promote makes scheduled builds queued whose time has come; see [jobcontrol.Queue].
func (s *Store) Promote(ctx context.Context, n int) (promoted int, next time.Time, err error) {
	const due = `SELECT min(ready_at), coalesce(min(ready_at) <= ` + clock + `, false) FROM {builds} WHERE state = 3 AND detached`
	look := func(c *conn) (ready bool, err error) {
		next = time.Time{}
		_, err = c.first(func(r *row) { next, ready = r.time(), r.bool() }, due)
		return ready, err
	}
	var ready bool
	if err := s.readOne(ctx, func(c *conn) (err error) {
		ready, err = look(c)
		return err
	}); err != nil || !ready || n <= 0 {
		return 0, next, err
	}
	err = s.write(ctx, "promote", func(t *tx) error {
		promoted = 0
		if err := t.each(func(*row) error {
			promoted++
			return nil
		}, `UPDATE {builds} SET state = 4 WHERE id = ANY (ARRAY(SELECT id FROM {builds} WHERE state = 3 AND detached AND ready_at <= `+clock+`
			ORDER BY ready_at LIMIT $1 FOR UPDATE SKIP LOCKED)) RETURNING 1`, n); err != nil {
			return err
		}
		t.news.ready = promoted > 0
		_, err := look(t.conn)
		return err
	})
	if err != nil {
		return 0, time.Time{}, err
	}
	return promoted, next, nil
}

// StopRequests returns what was asked of a worker's builds; see [jobcontrol.Queue].
func (s *Store) StopRequests(ctx context.Context, l jobcontrol.Lease) ([]jobcontrol.StopRequest, error) {
	var requests []jobcontrol.StopRequest
	err := s.readOne(ctx, func(c *conn) error {
		requests = nil
		return c.each(func(r *row) error {
			q := jobcontrol.StopRequest{Claim: jobcontrol.Claim{Build: r.int(), Worker: l.Worker, Epoch: l.Epoch, Number: r.int()}}
			q.Suspend, q.Reason = r.int() == stopSuspend, r.text()
			requests = append(requests, q)
			return nil
		}, `SELECT id, claim, stopping, stop_reason FROM {builds} WHERE stopping IS NOT NULL AND worker = $1 AND epoch = $2 AND claim IS NOT NULL ORDER BY id`,
			l.Worker, l.Epoch)
	})
	return requests, err
}

// nextStep finds a clean-up step that is due in one of the services: the last
// run one of a cleaning detached Run in which none is being executed.
const (
	anyService = `= ANY(ARRAY(SELECT v.id FROM {services} v WHERE v.project = $1 AND v.name = ANY($2)))`
	nextStep   = `SELECT h.id, h.run FROM {runs} r CROSS JOIN LATERAL (SELECT h.id, h.run, h.service, h.cleaning FROM {history} h
			WHERE h.run = r.id AND h.run <> h.id AND h.ran IS NOT NULL AND NOT h.cleaned ORDER BY h.cleaning DESC, h.ran DESC LIMIT 1) h
		WHERE r.state IN (1, 2, 7) AND r.state = 2 AND r.detached AND NOT h.cleaning AND h.service ` + anyService + ` ORDER BY r.id LIMIT 1`
	nextLoneStep = `SELECT h.id, h.run FROM {history} h
		WHERE h.open IS NOT NULL AND h.open = 2 AND h.detached AND NOT h.cleaning AND NOT h.cleaned AND h.service ` + anyService + ` ORDER BY h.id LIMIT 1`
)

// ClaimCleanup gives a worker a clean-up step; see [jobcontrol.Queue].
func (s *Store) ClaimCleanup(ctx context.Context, l jobcontrol.Lease, w jobcontrol.Wanted) (*jobcontrol.Build, error) {
	cl := s.claimers.of(l)
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.doubt {
		if err := s.takeBack(ctx, l, cl.last); err != nil {
			return nil, err
		}
		cl.doubt = false
	}
	services := make([]string, len(w.Services))
	for i, name := range w.Services {
		services[i] = serviceOf(name)
	}
	due, alive := false, false
	if err := s.readOne(ctx, func(c *conn) (err error) {
		c.queue(func(r *row) error { alive = true; return nil }, `SELECT 1 FROM {workers} w WHERE `+valid, l.Worker, l.Epoch)
		c.queue(func(*row) error { due = true; return nil }, nextStep, w.Project, services)
		return c.each(func(*row) error { due = true; return nil }, nextLoneStep, w.Project, services)
	}); err != nil {
		return nil, err
	}
	if !alive {
		return nil, leaseLost(l)
	}
	if !due {
		return nil, nil
	}
	var b *jobcontrol.Build
	err := s.write(ctx, "claim-cleanup", func(t *tx) (err error) {
		b, err = t.claimStep(l, w.Project, services)
		return err
	})
	if err != nil {
		cl.doubt = cl.doubt || !refused(err)
		return nil, err
	}
	if b != nil {
		cl.last = max(cl.last, b.Claim.Number)
	}
	return b, nil
}

func (t *tx) claimStep(l jobcontrol.Lease, project string, services []string) (*jobcontrol.Build, error) {
	n, err := t.number(`SELECT 1::bigint FROM {workers} w WHERE `+valid+` FOR KEY SHARE`, l.Worker, l.Epoch)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, leaseLost(l)
	}
	var id, run int64
	scan := func(r *row) { id, run = r.int(), r.int() }
	found, err := t.first(scan, nextStep+` FOR UPDATE OF r SKIP LOCKED`, project, services)
	if err != nil {
		return nil, err
	}
	if found {
		// What was seen may be older than the lock.
		n, err := t.number(`SELECT count(*) FROM {history} WHERE run = $1 AND run <> id AND (cleaning AND NOT cleaned OR id = $2 AND cleaned)`, run, id)
		if err != nil || n > 0 {
			return nil, err
		}
	} else if found, err = t.first(scan, nextLoneStep+` FOR UPDATE SKIP LOCKED`, project, services); err != nil || !found {
		return nil, err
	}
	if _, err := t.exec(`UPDATE {history} SET cleaning = true, worker = $2, epoch = $3, claim = nextval('{claims}') WHERE id = $1`,
		id, l.Worker, l.Epoch); err != nil {
		return nil, err
	}
	b, err := t.build(id)
	if err == nil {
		b.Dependants = nil
	}
	return b, err
}
