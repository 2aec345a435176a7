package sqlite

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

var _ jobcontrol.Retention = (*Store)(nil)

// Prune removes what is old, a page of builds a call; see [jobcontrol.Retention].
func (s *Store) Prune(ctx context.Context, before time.Time, n int) (*jobcontrol.Pruned, error) {
	p := &pruning{before: before, n: n}
	if n <= 0 {
		p.n = math.MaxInt - 1
	}
	if now := s.clock(); before.After(now) {
		p.before = now
	}
	if before.IsZero() {
		return &p.done, nil
	}
	// What may go is looked for outside of the transaction that removes it, which
	// looks again.
	if err := s.read(ctx, p.look); err != nil || len(p.found) == 0 || n <= 0 {
		p.done.Builds = len(p.found)
		return &p.done, err
	}
	err := s.write(ctx, "prune", func(t *tx) error {
		p.done.Builds, p.done.Runs = 0, 0
		if err := p.keep(t.conn); err != nil {
			return err
		}
		for _, id := range p.found {
			if err := p.remove(t, id); err != nil {
				return err
			}
		}
		return nil
	})
	return &p.done, err
}

// pruning is one call of Prune.
type pruning struct {
	before   time.Time
	n        int
	pinned   map[int64]bool // builds that unfinished ones are pinned to
	onDelete map[int64]bool // definitions of jobs with on_delete
	found    []int64        // builds that may go
	done     jobcontrol.Pruned
}

// prunePage is how many builds are looked at by one statement.
const prunePage = 500

// errEnough ends the reading of rows.
var errEnough = errors.New("enough")

func (c *conn) eachUntilEnough(f func(r *row) error, text string, args ...any) error {
	if err := c.each(f, text, args...); !errors.Is(err, errEnough) {
		return err
	}
	return nil
}

// oldColumns are those of a build that tell whether it is needed, but for the
// last condition: that its result stands for another.
const oldColumns = `SELECT b.id, b.head, b.definition, b.result IS NOT NULL, b.open IS NOT NULL
	OR EXISTS (SELECT 1 FROM heads h WHERE h.id = b.head AND b.id IN (h.latest, h.finished, h.good, h.changed, h.good_result))
	OR b.run <> b.id AND EXISTS (SELECT 1 FROM runs r WHERE r.id = b.run AND r.state IN (1, 2, 7))
	FROM builds b WHERE b.state >= 7 AND b.finished_at < ? `

// oldBuild is a final build that ended before the time.
type oldBuild struct {
	id, head, definition int64
	result, needed       bool
}

func scanOld(r *row) oldBuild {
	return oldBuild{id: r.int(), head: r.int(), definition: r.int(), result: r.bool(), needed: r.bool()}
}

// look finds the builds that may go, oldest first.
func (p *pruning) look(c *conn) error {
	p.found, p.done = nil, jobcontrol.Pruned{}
	if err := p.keep(c); err != nil {
		return err
	}
	top, err := p.top(c)
	if err != nil {
		return err
	}
	// Pages: a connection does one thing at a time.
	for cursor := int64(0); len(p.found) <= p.n; {
		var page []oldBuild
		if err := c.each(func(r *row) error {
			page = append(page, scanOld(r))
			return nil
		}, oldColumns+`AND b.id > ? AND b.id < ? ORDER BY b.id LIMIT ?`, p.before, cursor, top, prunePage); err != nil {
			return err
		}
		for i := range page {
			if err := p.consider(c, &page[i]); err != nil {
				return err
			}
			cursor = page[i].id
		}
		if len(page) < prunePage {
			break
		}
	}
	if p.done.More = len(p.found) > p.n; p.done.More {
		p.found = p.found[:p.n]
	}
	return nil
}

// keep finds what unfinished builds are pinned to: of each job that has some,
// the builds are looked at from the newest on until all were found.
func (p *pruning) keep(c *conn) error {
	p.pinned, p.onDelete = map[int64]bool{}, map[int64]bool{}
	type head struct{ id, unfinished int64 }
	var heads []head
	if err := c.each(func(r *row) error {
		heads = append(heads, head{r.int(), r.int()})
		return nil
	}, `SELECT id, unfinished FROM heads WHERE unfinished > 0`); err != nil {
		return err
	}
	for _, h := range heads {
		if err := c.eachUntilEnough(func(r *row) error {
			final, data := r.state().Final(), r.json()
			if final {
				return nil
			}
			pins, err := codec.DecodePins(data)
			for _, id := range pins {
				p.pinned[id] = true
			}
			if h.unfinished--; h.unfinished == 0 && err == nil {
				err = errEnough
			}
			return err
		}, `SELECT state, CASE WHEN b.state < 7 THEN `+pinsOf+` END FROM builds b WHERE b.head = ? ORDER BY id DESC`, h.id); err != nil {
			return err
		}
	}
	// Definitions are canonical JSON; one that only looks so keeps its builds too long.
	return c.each(func(r *row) error {
		p.onDelete[r.int()] = true
		return nil
	}, `SELECT id FROM definitions WHERE body LIKE '%"on_delete":"_%'`)
}

// top is the first build that was made at the time or later: none after it can
// have ended before. Ids grow with time.
func (p *pruning) top(c *conn) (int64, error) {
	last, err := c.number(`SELECT max(id) FROM builds`)
	low, high := int64(1), last+1
	for low < high && err == nil {
		middle := (low + high) / 2
		var id int64
		var at time.Time
		if _, err = c.first(func(r *row) { id, at = r.int(), r.time() },
			`SELECT id, created_at FROM builds WHERE id >= ? ORDER BY id LIMIT 1`, middle); at.Before(p.before) {
			low = id + 1
		} else {
			high = middle
		}
	}
	return low, err
}

// consider sorts a build that ended before the time in.
func (p *pruning) consider(c *conn, b *oldBuild) error {
	needed, err := p.needed(c, b)
	switch {
	case err != nil || needed:
	case p.onDelete[b.definition]:
		if len(p.done.OnDelete) < p.n {
			p.done.OnDelete = append(p.done.OnDelete, b.id)
		}
	case len(p.found) <= p.n:
		p.found = append(p.found, b.id)
	}
	return err
}

// needed tells whether a build has to be kept, on_delete apart.
func (p *pruning) needed(c *conn, b *oldBuild) (bool, error) {
	if b.needed || p.pinned[b.id] {
		return true, nil
	}
	if !b.result {
		return false, nil
	}
	// Those for which its result stands are its next successes, up to one with
	// a result of its own.
	var maybe []int64
	needed := false
	if err := c.eachUntilEnough(func(r *row) error {
		id, of, own, at, definition := r.int(), r.int(), r.bool(), r.time(), r.int()
		switch {
		case of == b.id && (!at.Before(p.before) || p.pinned[id] || p.onDelete[definition]):
			needed = true
			return errEnough
		case of == b.id:
			maybe = append(maybe, id)
		case own:
			return errEnough
		}
		return nil
	}, `SELECT id, result_of, result IS NOT NULL, finished_at, definition FROM builds WHERE head = ? AND id > ? AND state = 7 ORDER BY id`,
		b.head, b.id); err != nil || needed {
		return needed, err
	}
	for _, id := range maybe {
		if _, err := c.first(func(r *row) { needed = scanOld(r).needed }, oldColumns+`AND b.id = ?`, p.before, id); err != nil || needed {
			return needed, err
		}
	}
	return false, nil
}

// remove removes a build, unless it is needed since it was found. Heads stay as
// they are: what they name is needed.
func (p *pruning) remove(t *tx, id int64) error {
	var b oldBuild
	found, err := t.first(func(r *row) { b = scanOld(r) }, oldColumns+`AND b.id = ?`, p.before, id)
	if err != nil || !found || p.onDelete[b.definition] {
		return err
	}
	if needed, err := p.needed(t.conn, &b); err != nil || needed {
		return err
	}
	var state jobcontrol.State
	var runID int64
	if _, err := t.first(func(r *row) { state, runID = r.state(), r.int() }, `SELECT state, run FROM builds WHERE id = ?`, id); err != nil {
		return err
	}
	run, err := t.run(runID)
	if err != nil {
		return err
	}
	if err := t.removeParts(id); err != nil {
		return err
	}
	if _, err := t.exec(`DELETE FROM builds WHERE id = ?`, id); err != nil {
		return err
	}
	p.done.Builds++
	if err := t.runWithout(run, state); err != nil || run.Lone {
		return err
	}
	left, err := t.number(`SELECT 1 FROM runs WHERE id = ?`, run.ID)
	if left == 0 && err == nil {
		p.done.Runs++
	}
	return err
}
