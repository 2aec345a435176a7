package sqlite

import (
	"context"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// spans calls f for each span of ids that the builds of a Run have: those that it
// was made with, and those of its expansions, in order.
func (c *conn) spans(r *runRow, f func(first, last int64) error) error {
	if err := f(r.span()); err != nil || r.Lone {
		return err
	}
	type span struct{ first, last int64 }
	var more []span
	if err := c.each(func(r *row) error {
		more = append(more, span{r.int(), r.int()})
		return nil
	}, `SELECT first, first + size - 1 FROM expansions WHERE run = ? AND size > 0 ORDER BY first`, r.ID); err != nil {
		return err
	}
	for _, s := range more {
		if err := f(s.first, s.last); err != nil {
			return err
		}
	}
	return nil
}

// Expand makes builds of the items of a build; see [jobcontrol.Executions].
func (s *Store) Expand(ctx context.Context, c jobcontrol.Claim, e jobcontrol.Ended) (*jobcontrol.Expanded, error) {
	if e.Expansion == nil {
		return nil, jobcontrol.Errorf(jobcontrol.Invalid, "build %d: there is nothing to expand it to", c.Build)
	}
	p, err := codec.Pack(c, e, s.clock())
	if err != nil {
		return nil, err
	}
	var out *jobcontrol.Expanded
	err = s.write(ctx, "expand", func(t *tx) error {
		out = &jobcontrol.Expanded{}
		g, again, err := t.attempted(p)
		if err != nil {
			return err
		}
		if !again {
			if err := t.expand(g, p); err != nil {
				return err
			}
			if err := t.settle(); err != nil {
				return err
			}
		}
		if out.Build, err = t.build(c.Build); err != nil {
			return err
		}
		return t.each(func(r *row) error {
			b, err := scanBuild(r, false)
			out.Children = append(out.Children, b)
			return err
		}, selectFull+`WHERE b.id IN (SELECT i.id FROM expansions x CROSS JOIN builds i ON i.id BETWEEN x.first AND x.first + x.size - 1
			WHERE x.parent = ?) ORDER BY b.id`, c.Build)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (t *tx) expand(g *guarded, p *codec.Packed) error {
	children := p.Expansion.Builds
	state := jobcontrol.Waiting
	if len(children) == 0 || g.stop != 0 {
		state = jobcontrol.Queued
	}
	if err := check(jobcontrol.ToExpand, g.id, g.state, state); err != nil {
		return err
	}
	twice, err := t.number(`SELECT 1 FROM expansions WHERE parent = ?`, g.id)
	switch {
	case err != nil:
		return err
	case twice != 0:
		return jobcontrol.Errorf(jobcontrol.Conflict, "cannot expand build %d: it was expanded before", g.id)
	case g.run == g.id:
		return jobcontrol.Errorf(jobcontrol.Conflict, "cannot expand build %d: it is a run of its own", g.id)
	}
	if _, err := t.exec(`UPDATE builds SET state = ?, attempts = max(attempts, ?), started_at = CASE started_at WHEN 0 THEN ? ELSE started_at END
		WHERE id = ?`, state, p.Attempt.Number, p.Started(t.now), g.id); err != nil {
		return err
	}
	if g.detached {
		t.hint = true
		if _, err := t.exec(`UPDATE builds SET worker = 0, epoch = 0, queue = ?, `+proven+` WHERE id = ?`, queueOf(state), g.id); err != nil {
			return err
		}
	}
	if err := t.insertAttempt(p); err != nil {
		return err
	}
	if g.state = state; g.stop != 0 {
		return t.carryOut(g)
	}
	return t.insertItems(g, p)
}

// insertItems makes the builds of the items of a build.
func (t *tx) insertItems(g *guarded, p *codec.Packed) error {
	parent, err := t.build(g.id)
	if err != nil {
		return err
	}
	children := p.Expansion.Builds
	ids, claim := int64(len(children)), int64(0)
	var first int64
	if ids > 0 {
		if first, claim, err = t.numbers(ids, ids, !g.detached); err != nil {
			return err
		}
	}
	pins := make(map[string]int64, len(parent.Pins)+len(children)+len(p.Expansion.Pins))
	for _, m := range []map[string]int64{parent.Pins, p.Expansion.Pins} {
		for job, id := range m {
			pins[job] = id
		}
	}
	for i := range children {
		b := newBuild{Draft: jobcontrol.Draft{NewBuild: &children[i], Made: children[i].Item(parent, t.now)}}
		v := &b.Made
		v.ID = first + int64(i)
		if !g.detached {
			v.Claim = jobcontrol.Claim{Build: v.ID, Worker: g.worker, Epoch: g.epoch, Number: claim + int64(i)}
		}
		if g.detached || v.Service != "" {
			if b.service, err = t.service(v.Project, v.Service); err != nil {
				return err
			}
		}
		if err := t.insertBuild(&b, 0, g.detached); err != nil {
			return err
		}
		if v.Phase > 0 {
			if _, err := t.exec(`UPDATE builds SET phase = ? WHERE id = ?`, v.Phase, v.ID); err != nil {
				return err
			}
		}
		pins[v.Job] = v.ID
	}
	if _, err := t.exec(`INSERT INTO expansions (parent, run, first, size, pins) VALUES (?, ?, ?, ?, ?)`,
		g.id, g.run, first, ids, codec.EncodePins(pins)); err != nil {
		return err
	}
	// A claim looks for more than the row only where there are pins.
	if _, err := t.exec(`UPDATE builds SET deps_left = ?, pins = coalesce(pins, '{}') WHERE id = ?`, len(children), g.id); err != nil {
		return err
	}
	if g.detached {
		_, err = t.exec(`UPDATE runs SET left = left + ? WHERE id = ?`, ids, g.run)
	}
	return err
}
