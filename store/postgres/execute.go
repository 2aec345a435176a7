package postgres

import (
	"context"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// Start marks builds as running; see [jobcontrol.Executions].
func (s *Store) Start(ctx context.Context, claims []jobcontrol.Claim, at []time.Time) error {
	if len(claims) == 0 {
		return nil
	}
	return s.write(ctx, "start", func(t *tx) error {
		ids := make([]int64, len(claims))
		for i, c := range claims {
			if err := t.held(jobcontrol.Lease{Worker: c.Worker, Epoch: c.Epoch}); err != nil {
				return err
			}
			ids[i] = c.Build
		}
		found, err := t.guard(ids...)
		if err != nil {
			return err
		}
		var todo, when []int64
		for i, c := range claims {
			g := found[c.Build]
			switch {
			case g == nil:
				return noBuild(c.Build)
			case !g.holds(c):
				return notHeld(c)
			case g.state == jobcontrol.Running:
				continue
			}
			if err := check(jobcontrol.ToStart, g.id, g.state, jobcontrol.Running); err != nil {
				return err
			}
			started := t.now
			if i < len(at) && !at[i].IsZero() {
				started = at[i]
			}
			todo, when = append(todo, g.id), append(when, codec.Micros(started))
		}
		return t.start(todo, when)
	})
}

func (t *tx) start(ids, at []int64) error {
	if len(ids) == 0 {
		return nil
	}
	_, err := t.exec(`UPDATE {builds} b SET state = 5, attempt_at = u.at, started_at = coalesce(b.started_at, u.at)
		FROM unnest($1, $2) u(id, at) WHERE b.id = u.id`, ids, at)
	return err
}

// MarkRan records that a build's run phase is executed; see [jobcontrol.Executions].
func (s *Store) MarkRan(ctx context.Context, c jobcontrol.Claim, at time.Time) error {
	return s.write(ctx, "ran", func(t *tx) error {
		g, err := t.claimed(c)
		if err != nil {
			return err
		}
		if g.state != jobcontrol.Running {
			if err := check(jobcontrol.ToStart, g.id, g.state, jobcontrol.Running); err != nil {
				return err
			}
			if at.IsZero() {
				at = t.now
			}
			if err := t.start([]int64{g.id}, []int64{codec.Micros(at)}); err != nil {
				return err
			}
		}
		if g.ran > 0 {
			return nil
		}
		_, err = t.exec(`UPDATE {builds} SET ran = nextval('{rans}') WHERE id = $1`, g.id)
		return err
	})
}

// Retry ends an attempt that another will follow; see [jobcontrol.Executions].
// What was asked of the build's worker meanwhile is carried out instead.
func (s *Store) Retry(ctx context.Context, c jobcontrol.Claim, e jobcontrol.Ended) (*jobcontrol.Build, error) {
	now, err := s.timeOfLogs(ctx, e.Attempt.FinishedAt, e.Logs)
	if err != nil {
		return nil, err
	}
	p, err := codec.Pack(c, e, now)
	if err != nil {
		return nil, err
	}
	var b *jobcontrol.Build
	var service int64
	err = s.writeAfter(ctx, "retry", func(conn *conn) (err error) {
		if e.Service != "" {
			service, err = s.serviceFor(conn, c.Build, e.Service)
		}
		return err
	}, func(t *tx) error {
		g, again, err := t.attempted(p)
		if err != nil {
			return err
		}
		if !again {
			if err := t.retry(g, p, service); err != nil {
				return err
			}
		}
		b, err = t.build(c.Build)
		return err
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}

// timeOfLogs is the time of log records that have none.
func (s *Store) timeOfLogs(ctx context.Context, at time.Time, logs []jobcontrol.LogRecord) (time.Time, error) {
	for i := range logs {
		if logs[i].Time.IsZero() && at.IsZero() {
			return s.Now(ctx)
		}
	}
	return at, nil
}

// serviceFor returns the id of a service of a build's project; it is made if it
// does not exist.
func (s *Store) serviceFor(c *conn, build int64, name string) (int64, error) {
	var project string
	found, err := c.first(func(r *row) { project = r.text() },
		`SELECT h.project FROM {builds} b JOIN {heads} h ON h.id = b.head WHERE b.id = $1`, build)
	if err != nil || !found {
		return 0, err // it is final: the answer follows
	}
	n := newNeeds()
	key := jobKey{project, serviceOf(name)}
	n.services[key] = 0
	err = s.learn(c, n)
	return n.services[key], err
}

// retry queues a build again. service is where; 0: where it was.
func (t *tx) retry(g *guarded, p *codec.Packed, service int64) error {
	at := jobcontrol.Micros(p.ReadyAt)
	state := jobcontrol.ReadyState(at, t.now)
	if err := check(jobcontrol.ToRetry, g.id, g.state, state); err != nil {
		return err
	}
	t.queue(nil, `UPDATE {builds} b SET state = $2, ready_at = $3, rank = coalesce($3, b.created_at) - b.priority::bigint * 60000000, phase = b.phase + 1,
		attempts = $4, tries_used = b.tries_used + $5, asked = b.asked + $6, started_at = coalesce(b.started_at, $7), attempt_at = NULL,
		service = coalesce($8, b.service), `+proven+`, `+unclaim+` WHERE b.id = $1`,
		g.id, state, unset(codec.Micros(at)), p.Attempt.Number, p.UsesTry(), p.Asked(), p.Started(t.now), unset(service))
	if err := t.insertAttempt(p); err != nil {
		return err
	}
	g.state = state
	if g.detached {
		t.news.ready = t.news.ready || state == jobcontrol.Queued
		t.news.scheduled = t.news.scheduled || state == jobcontrol.Scheduled
		return t.stop([]*guarded{g})
	}
	return nil
}

// attempted is claimed for an attempt that ended and does not end its build. again:
// it was stored before, so the call is a repetition.
func (t *tx) attempted(p *codec.Packed) (g *guarded, again bool, err error) {
	c := p.Claim
	if err := t.held(jobcontrol.Lease{Worker: c.Worker, Epoch: c.Epoch}); err != nil {
		return nil, false, err
	}
	if g, err = t.guarded(c.Build); err != nil {
		return nil, false, err
	}
	if p.Attempt.Number <= g.attempts && (p.Attempt.Number > 0 || p.State != jobcontrol.Suspended) {
		var data []byte
		found, err := t.first(func(r *row) { data = r.blob() },
			`SELECT data FROM {attempts} WHERE build = $1 AND number = $2`, g.id, p.Attempt.Number)
		if err != nil {
			return nil, false, err
		}
		if found {
			old, err := codec.DecodeAttempt(g.id, data)
			if err != nil || old.Claim == c.Number && old.Worker == c.Worker && old.Cleanup == p.Attempt.Cleanup {
				return g, true, err
			}
		}
		if g.holds(c) {
			return nil, false, jobcontrol.Errorf(jobcontrol.Conflict, "build %d: attempt %d was stored before", g.id, p.Attempt.Number)
		}
	}
	if !g.holds(c) {
		return nil, false, notHeld(c)
	}
	return g, false, nil
}

// insertAttempt stores an attempt that does not end its build, with what was
// reported during it.
func (t *tx) insertAttempt(p *codec.Packed) error {
	t.queue(nil, `INSERT INTO {attempts} (build, number, data, failure) VALUES ($1, $2, $3, $4)`,
		p.Claim.Build, p.Attempt.Number, p.Data, p.Whole)
	return t.report(p.Claim.Build, p.Log, p.Progress)
}

// Cleaned stores a clean-up attempt; see [jobcontrol.Executions]. The last one
// of a detached Run ends it.
func (s *Store) Cleaned(ctx context.Context, c jobcontrol.Claim, e jobcontrol.Ended) error {
	e.Attempt.Cleanup = true
	now, err := s.timeOfLogs(ctx, e.Attempt.FinishedAt, e.Logs)
	if err != nil {
		return err
	}
	p, err := codec.Pack(c, e, now)
	if err != nil {
		return err
	}
	return s.write(ctx, "cleaned", func(t *tx) error {
		if _, again, err := t.attempted(p); err != nil || again {
			return err
		}
		g, err := t.active(c)
		if err != nil {
			return err
		}
		if !g.state.Final() {
			return jobcontrol.Errorf(jobcontrol.Conflict, "build %d is %s: its clean-up step is not due", g.id, g.state)
		}
		// The Run is locked, so that one of two last steps sees the other.
		t.queue(nil, `SELECT 1 FROM {runs} WHERE id = $1 FOR UPDATE`, g.run)
		t.queue(nil, `UPDATE {history} SET cleaned = true, attempts = $2 WHERE id = $1`, g.id, p.Attempt.Number)
		if err := t.insertAttempt(p); err != nil || !g.detached {
			return err
		}
		t.news.ready = true // the next step
		if g.run == g.id {
			t.queue(nil, `UPDATE {history} SET open = NULL WHERE id = $1 AND worker = $2 AND cleaning`, g.id, c.Worker)
			return nil
		}
		t.queue(nil, endCleaning, g.run)
		return nil
	})
}

// reportOp is a report of log records and progress.
type reportOp struct {
	claim    jobcontrol.Claim
	log      *codec.Log
	progress []jobcontrol.Progress
}

func (o *reportOp) kind() kind { return kindReport }
func (o *reportOp) size() int  { return 1 + len(o.progress) }

func (o *reportOp) alone(ctx context.Context, s *Store) error {
	return s.write(ctx, "report", func(t *tx) error {
		if _, err := t.active(o.claim); err != nil {
			return err
		}
		return t.report(o.claim.Build, o.log, o.progress)
	})
}

// Report stores log records and progress; see [jobcontrol.Executions]. A report
// whose records equal those of the one before it, times included, is a
// repetition and its records are not stored again.
func (s *Store) Report(ctx context.Context, c jobcontrol.Claim, logs []jobcontrol.LogRecord, progress []jobcontrol.Progress) error {
	now, err := s.timeOfLogs(ctx, time.Time{}, logs)
	if err != nil {
		return err
	}
	log, err := codec.PackLog(logs, now)
	if err != nil {
		return err
	}
	return s.w.do(ctx, &reportOp{c, log, progress})
}

// reportBatch stores reports of builds that are being executed for certain; the
// others are looked at alone.
func (t *tx) reportBatch(batch []*queued) error {
	list := ops[*reportOp](batch)
	var ids, workers, epochs, claims []int64
	var logs []int64
	for _, o := range list {
		c := o.claim
		ids, workers, epochs, claims = append(ids, c.Build), append(workers, c.Worker), append(epochs, c.Epoch), append(claims, c.Number)
		if o.log != nil {
			logs = append(logs, c.Build)
		}
	}
	active := map[jobcontrol.Claim]bool{}
	t.queue(func(r *row) error {
		active[jobcontrol.Claim{Build: r.int(), Worker: r.int(), Epoch: r.int(), Number: r.int()}] = true
		return nil
	}, `WITH w AS MATERIALIZED (SELECT id, epoch FROM {workers} WHERE id = ANY($2) AND NOT gone ORDER BY id FOR KEY SHARE)
		SELECT b.id, b.worker, b.epoch, b.claim FROM unnest($1, $2, $3, $4) u(id, worker, epoch, claim)
		JOIN {builds} b ON b.id = u.id AND b.worker = u.worker AND b.epoch = u.epoch AND b.claim = u.claim AND b.state IN (3, 4, 5)
		JOIN w ON w.id = u.worker AND w.epoch = u.epoch`, ids, workers, epochs, claims)
	last := t.queueLast(logs)
	if err := t.send(); err != nil {
		return err
	}
	for i, q := range batch {
		o := list[i]
		if q.apart = !active[o.claim]; q.apart {
			continue
		}
		t.appendLog(o.claim.Build, o.log, last)
		if err := t.putProgress(o.claim.Build, o.progress); err != nil {
			return err
		}
	}
	return nil
}

// report stores log records and progress of a build.
func (t *tx) report(build int64, log *codec.Log, progress []jobcontrol.Progress) error {
	var logs []int64
	if log != nil {
		logs = []int64{build}
	}
	last := t.queueLast(logs)
	if err := t.send(); err != nil {
		return err
	}
	t.appendLog(build, log, last)
	return t.putProgress(build, progress)
}
