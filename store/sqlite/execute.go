package sqlite

import (
	"context"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// Start marks builds as running; see [jobcontrol.Executions].
func (s *Store) Start(ctx context.Context, claims []jobcontrol.Claim, at []time.Time) error {
	return s.write(ctx, "start", func(t *tx) error {
		var todo []int
		for i, c := range claims {
			g, err := t.claimed(c)
			if err != nil {
				return err
			}
			if g.state == jobcontrol.Running {
				continue
			}
			if err := check(jobcontrol.ToStart, g.id, g.state, jobcontrol.Running); err != nil {
				return err
			}
			todo = append(todo, i)
		}
		for _, i := range todo {
			when := t.now
			if i < len(at) && !at[i].IsZero() {
				when = jobcontrol.Micros(at[i])
			}
			if err := t.start(claims[i].Build, when); err != nil {
				return err
			}
		}
		return nil
	})
}

func (t *tx) start(id int64, at time.Time) error {
	_, err := t.exec(`UPDATE builds SET state = 5, attempt_at = ?, started_at = CASE started_at WHEN 0 THEN ? ELSE started_at END
		WHERE id = ?`, at, at, id)
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
			if err := t.start(g.id, jobcontrol.Micros(at)); err != nil {
				return err
			}
		}
		if g.ran > 0 {
			return nil
		}
		var ran int64
		if _, err := t.returning(func(r *row) { ran = r.int() }, `UPDATE sequences SET ran = ran + 1 RETURNING ran`); err != nil {
			return err
		}
		t.s.fresh.forget(g.id) // it has a clean-up step
		_, err = t.exec(`UPDATE builds SET ran = ? WHERE id = ?`, ran, g.id)
		return err
	})
}

// Retry ends an attempt that another will follow; see [jobcontrol.Executions].
func (s *Store) Retry(ctx context.Context, c jobcontrol.Claim, e jobcontrol.Ended) (*jobcontrol.Build, error) {
	p, err := codec.Pack(c, e, s.clock())
	if err != nil {
		return nil, err
	}
	var b *jobcontrol.Build
	err = s.write(ctx, "retry", func(t *tx) error {
		g, again, err := t.attempted(p)
		if err != nil {
			return err
		}
		if !again {
			if err := t.retry(g, p); err != nil {
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

func (t *tx) retry(g *guarded, p *codec.Packed) error {
	at := jobcontrol.Micros(p.ReadyAt)
	state := jobcontrol.ReadyState(at, t.now)
	if err := check(jobcontrol.ToRetry, g.id, g.state, state); err != nil {
		return err
	}
	if _, err := t.exec(`UPDATE builds SET state = ?, ready_at = ?, phase = phase + 1, attempts = ?, tries_used = tries_used + ?,
		asked = asked + ?, started_at = CASE started_at WHEN 0 THEN ? ELSE started_at END WHERE id = ?`,
		state, at, p.Attempt.Number, p.UsesTry(), p.Asked(), p.Started(t.now), g.id); err != nil {
		return err
	}
	if p.Service != "" {
		if err := t.moveTo(g, p.Service); err != nil {
			return err
		}
	}
	if err := t.insertAttempt(p); err != nil || !g.detached {
		return err
	}
	t.hint, g.state = true, state
	if _, err := t.exec(`UPDATE builds SET worker = 0, epoch = 0, queue = CASE state WHEN 4 THEN 1 ELSE 3 END, rank = CASE ready_at WHEN 0 THEN created_at ELSE ready_at END - priority * ?,
		`+proven+` WHERE id = ?`, jobcontrol.PriorityWorth.Microseconds(), g.id); err != nil {
		return err
	}
	return t.carryOut(g)
}

// proven forgets the workers that died holding a build: an attempt of it has ended.
var proven = `alone = CASE WHEN unproven >= ` + itoa(jobcontrol.MaxUnproven) + ` THEN 0 ELSE alone END, unproven = 0`

// moveTo gives a build to another service of its project.
func (t *tx) moveTo(g *guarded, name string) error {
	var project string
	if _, err := t.first(func(r *row) { project = r.text() }, `SELECT project FROM heads WHERE id = ?`, g.head); err != nil {
		return err
	}
	v, err := t.makeService(project, name)
	if err == nil {
		_, err = t.exec(`UPDATE builds SET service = ? WHERE id = ?`, v.id, g.id)
	}
	return err
}

// attempted reads the build of an attempt that does not end it. again: the
// attempt was stored before; of a detached build that has given its claim up.
func (t *tx) attempted(p *codec.Packed) (g *guarded, again bool, err error) {
	c := p.Claim
	if err := t.held(jobcontrol.Lease{Worker: c.Worker, Epoch: c.Epoch}); err != nil {
		return nil, false, err
	}
	if g, err = t.guarded(c.Build); err != nil {
		return nil, false, err
	}
	number := int64(p.Attempt.Number)
	switch {
	case g.holds(c) && (number > 0 || p.State != jobcontrol.Suspended):
		again, err = t.repeated(g, p)
		return g, again, err
	case g.holds(c):
		return g, false, nil
	case !g.detached:
		return nil, false, notHeld(c)
	case number == 0 && g.worker == 0 && g.claim == c.Number && g.state == p.State && g.state == jobcontrol.Suspended:
		return g, true, nil
	}
	var old jobcontrol.Attempt
	var data []byte
	found, err := t.first(func(r *row) { data = r.blob() }, `SELECT data FROM attempts WHERE id = ?`, codec.Place(g.id, number))
	if err == nil && found {
		old, err = codec.DecodeAttempt(g.id, data)
	}
	if err == nil && (!found || old.Claim != c.Number || old.Worker != c.Worker || old.Cleanup) {
		err = notHeld(c)
	}
	return g, err == nil, err
}

// repeated tells whether an attempt that does not end its build was stored
// before: then the call is a repetition.
func (t *tx) repeated(g *guarded, p *codec.Packed) (bool, error) {
	if p.Attempt.Number > g.attempts {
		return false, nil
	}
	var data []byte
	found, err := t.first(func(r *row) { data = r.blob() }, `SELECT data FROM attempts WHERE id = ?`, codec.Place(g.id, int64(p.Attempt.Number)))
	if err != nil {
		return false, err
	}
	if found {
		old, err := codec.DecodeAttempt(g.id, data)
		if err != nil {
			return false, err
		}
		if old.Claim == p.Claim.Number && old.Cleanup == p.Attempt.Cleanup {
			return true, nil
		}
	}
	return false, jobcontrol.Errorf(jobcontrol.Conflict, "build %d: attempt %d was stored before", g.id, p.Attempt.Number)
}

// insertAttempt stores an attempt that does not end its build, with what was
// reported during it.
func (t *tx) insertAttempt(p *codec.Packed) error {
	_, err := t.exec(`INSERT INTO attempts (id, data, failure) VALUES (?, ?, ?)`,
		codec.Place(p.Claim.Build, int64(p.Attempt.Number)), p.Data, p.Whole)
	if err != nil {
		return err
	}
	return t.report(p.Claim.Build, p.Log, p.Progress)
}

// Cleaned stores a clean-up attempt; see [jobcontrol.Executions].
func (s *Store) Cleaned(ctx context.Context, c jobcontrol.Claim, e jobcontrol.Ended) error {
	e.Attempt.Cleanup = true
	p, err := codec.Pack(c, e, s.clock())
	if err != nil {
		return err
	}
	return s.write(ctx, "cleaned", func(t *tx) error {
		g, err := t.claimed(c)
		if err != nil {
			return err
		}
		if again, err := t.repeated(g, p); err != nil || again {
			return err
		}
		if _, err := t.active(c); err != nil {
			return err
		}
		if !g.state.Final() {
			return jobcontrol.Errorf(jobcontrol.Conflict, "build %d is %s: its clean-up step is not due", g.id, g.state)
		}
		if _, err := t.exec(`UPDATE builds SET cleaned = 1, cleaning = 0, attempts = ? WHERE id = ?`, p.Attempt.Number, g.id); err != nil {
			return err
		}
		if err := t.insertAttempt(p); err != nil || !g.detached {
			return err
		}
		return t.stepDone(g.run)
	})
}

// Report stores log records and progress; see [jobcontrol.Executions]. A report
// whose records equal those of the one before it, times included, is a
// repetition and its records are not stored again.
func (s *Store) Report(ctx context.Context, c jobcontrol.Claim, logs []jobcontrol.LogRecord, progress []jobcontrol.Progress) error {
	packed, err := codec.PackLog(logs, s.clock())
	if err != nil {
		return err
	}
	return s.write(ctx, "report", func(t *tx) error {
		if _, err := t.active(c); err != nil {
			return err
		}
		return t.report(c.Build, packed, progress)
	})
}

// report stores log records and progress of a build.
func (t *tx) report(build int64, logs *codec.Log, progress []jobcontrol.Progress) error {
	if err := t.appendLogs(build, logs); err != nil {
		return err
	}
	return t.putProgress(build, progress)
}
