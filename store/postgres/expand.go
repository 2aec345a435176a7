package postgres

import (
	"bytes"
	"context"
	"maps"
	"slices"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// Expand makes builds of the items of a build; see [jobcontrol.Executions].
func (s *Store) Expand(ctx context.Context, c jobcontrol.Claim, e jobcontrol.Ended) (*jobcontrol.Expanded, error) {
	if e.Expansion == nil {
		return nil, jobcontrol.Errorf(jobcontrol.Invalid, "build %d: there is nothing to expand it to", c.Build)
	}
	now, err := s.timeOfLogs(ctx, e.Attempt.FinishedAt, e.Logs)
	if err != nil {
		return nil, err
	}
	p, err := codec.Pack(c, e, now)
	if err != nil {
		return nil, err
	}
	var out *jobcontrol.Expanded
	var known *needs
	err = s.writeAfter(ctx, "expand", func(conn *conn) (err error) {
		known, err = s.needsOfItems(conn, c.Build, e.Expansion.Builds)
		return err
	}, func(t *tx) error {
		out = &jobcontrol.Expanded{}
		g, again, err := t.attempted(p)
		if err != nil {
			return err
		}
		if !again {
			if err := t.expand(g, p, known); err != nil {
				return err
			}
			if err := t.settle(); err != nil {
				return err
			}
		}
		if out.Build, err = t.build(c.Build); err != nil {
			return err
		}
		ids := slices.Collect(maps.Values(jobcontrol.ItemPins(out.Build.Job, out.Build.Pins)))
		return t.each(func(r *row) error {
			b, err := scanBuild(r, false)
			out.Children = append(out.Children, b)
			return err
		}, selectFull+`WHERE b.id = ANY($1) AND b.run = $2 ORDER BY b.id`, ids, out.Build.Run)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// needsOfItems makes the rows that the builds of items need.
func (s *Store) needsOfItems(c *conn, parent int64, items []jobcontrol.NewBuild) (*needs, error) {
	n := newNeeds()
	var project string
	found, err := c.first(func(r *row) { project = r.text() },
		`SELECT h.project FROM {builds} b JOIN {heads} h ON h.id = b.head WHERE b.id = $1`, parent)
	if err != nil || !found {
		return n, err // it is final: the answer follows
	}
	for i := range items {
		b := &items[i]
		n.heads[jobKey{project, b.Build.Job}] = 0
		n.definitions[b.Hash] = definition{}
		n.bodies[b.Hash] = b.Definition
	}
	return n, s.learn(c, n)
}

func (t *tx) expand(g *guarded, p *codec.Packed, known *needs) error {
	children := p.Expansion.Builds
	state := jobcontrol.Waiting
	if len(children) == 0 || g.stopping != 0 {
		state = jobcontrol.Queued
	}
	if err := check(jobcontrol.ToExpand, g.id, g.state, state); err != nil {
		return err
	}
	if g.run == g.id {
		return jobcontrol.Errorf(jobcontrol.Conflict, "cannot expand build %d: it is a run of its own", g.id)
	}
	t.queue(nil, `UPDATE {builds} b SET state = $2, attempts = greatest(b.attempts, $3), started_at = coalesce(b.started_at, $4), attempt_at = NULL,
		`+proven+`, `+unclaim+` WHERE b.id = $1`, g.id, state, p.Attempt.Number, p.Started(t.now))
	if err := t.insertAttempt(p); err != nil {
		return err
	}
	t.news.ready = t.news.ready || g.detached
	if g.state = state; g.stopping != 0 {
		return t.stop([]*guarded{g})
	}
	return t.insertItems(g, p, known)
}

// insertItems makes the builds of the items of a build.
func (t *tx) insertItems(g *guarded, p *codec.Packed, known *needs) error {
	parent, err := t.build(g.id)
	if err != nil {
		return err
	}
	children := p.Expansion.Builds
	if len(jobcontrol.ItemPins(parent.Job, parent.Pins)) > 0 {
		return jobcontrol.Errorf(jobcontrol.Conflict, "cannot expand build %d: it was expanded before", g.id)
	}
	pins := make(map[string]int64, len(parent.Pins)+len(children)+len(p.Expansion.Pins))
	maps.Copy(pins, parent.Pins)
	maps.Copy(pins, p.Expansion.Pins)
	var ids, claims []int64
	draw := func(list *[]int64, sequence string) {
		t.queue(func(r *row) error {
			*list = append(*list, r.int())
			return nil
		}, `SELECT nextval('{`+sequence+`}') FROM generate_series(1, $1::bigint)`, len(children))
	}
	draw(&ids, "ids")
	if !g.detached {
		draw(&claims, "claims")
	}
	if err := t.send(); err != nil {
		return err
	}
	open := newRows(len(children))
	for i := range children {
		v := children[i].Item(parent, t.now)
		v.ID = ids[i]
		if !g.detached {
			v.Claim = jobcontrol.Claim{Build: v.ID, Worker: g.worker, Epoch: g.epoch, Number: claims[i]}
		}
		pins[v.Job] = v.ID
		head := known.heads[jobKey{v.Project, v.Job}]
		t.headNew(head, v.ID)
		open.add(&v, head, g.service, 0, known.definitions[v.Definition])
	}
	if open.n > 0 {
		t.queue(nil, insertBuilds, open.arguments()...)
		if parent.Phase > 0 {
			t.queue(nil, `UPDATE {builds} SET phase = $2 WHERE id = ANY($1)`, ids, parent.Phase)
		}
	}
	t.queue(nil, `UPDATE {builds} SET deps_left = $2, pins = $3 WHERE id = $1`, g.id, len(children), codec.EncodePins(pins))
	t.queue(nil, `UPDATE {runs} SET size = size + $2, remaining = remaining + $2 WHERE id = $1`, g.run, len(children))
	return t.send()
}

// withoutItems leaves to a build's head only the pins of its dependencies: nobody
// looks there for those of its items, of which there may be many.
func (t *tx) withoutItems(e *ended) error {
	if !bytes.Contains(e.pins, []byte(`]":`)) {
		return nil
	}
	pins, err := codec.DecodePins(e.pins)
	if err != nil {
		return err
	}
	var job string
	var body []byte
	if _, err := t.first(func(r *row) { job, body = r.text(), r.json() },
		`SELECT h.job, d.body FROM {heads} h, {definitions} d WHERE h.id = $1 AND d.id = $2`, e.head, e.definition); err != nil {
		return err
	}
	if !bytes.Contains(body, []byte(`"for_each"`)) {
		return nil // its dependencies are called so
	}
	for key := range jobcontrol.ItemPins(job, pins) {
		delete(pins, jobcontrol.ItemJob(job, key))
	}
	e.pins = codec.EncodePins(pins)
	return nil
}
