package postgres

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

var _ jobcontrol.Retention = (*Store)(nil)

// Prune removes what is old; see [jobcontrol.Retention]. A table of history that
// is older as a whole is dropped, one a call. Builds of a table that is so in
// part, and those that were kept before, are removed one by one, unless that
// table is large: then it is left until it is older as a whole.
func (s *Store) Prune(ctx context.Context, before time.Time, n int) (*jobcontrol.Pruned, error) {
	p := &pruning{before: codec.Micros(before), n: n}
	if now, err := s.Now(ctx); err != nil {
		return nil, err
	} else if before.IsZero() || before.After(now) {
		p.before = now.UnixMicro()
	}
	if before.IsZero() {
		return &p.done, nil
	}
	if n <= 0 {
		p.n = math.MaxInt32
		return &p.done, s.readOne(ctx, func(c *conn) error { return errors.Join(p.count(c), p.onDelete(c)) })
	}
	if err := s.readOne(ctx, p.look); err != nil {
		return nil, err
	}
	var err error
	if p.table != "" {
		err = s.retire(ctx, p)
	} else {
		err = s.write(ctx, "prune", p.oneByOne)
	}
	if err != nil {
		return nil, err
	}
	return &p.done, s.readOne(ctx, p.onDelete)
}

// pruning is one call of Prune.
type pruning struct {
	before    int64
	n         int
	table     string // the oldest one that goes as a whole; "": there is none
	low, high int64  // its bounds
	rowsUntil int64  // builds that ended before it are removed one by one
	done      jobcontrol.Pruned
}

// largeTable is from how many builds on a table is left until all of it is old.
const largeTable = 100_000

// look finds out what is to be done.
func (p *pruning) look(c *conn) error {
	p.table, p.rowsUntil = "", p.before
	return c.each(func(r *row) error {
		name, low, high, rows := r.text(), r.int(), r.int(), r.float()
		switch {
		case high <= p.before && p.table == "":
			p.table, p.low, p.high = name, low, high
		case high <= p.before:
			p.done.More = true
		case rows >= largeTable:
			p.rowsUntil = min(p.rowsUntil, low)
		}
		return nil
	}, `SELECT p.name, p.low, p.high, c.reltuples::float8 FROM {partitions} p JOIN pg_class h ON h.oid = '{history}'::regclass
		JOIN pg_class c ON c.relnamespace = h.relnamespace AND c.relname = p.name WHERE p.low < $1 ORDER BY p.low`, p.before)
}

// onDeleteJobs are the definitions of jobs with on_delete. Definitions are
// canonical JSON; one that only looks so keeps its builds too long.
const onDeleteJobs = `(SELECT d.id FROM {definitions} d WHERE d.body LIKE '%"on_delete":"_%')`

// needed returns the builds of a span that have to be kept, those of jobs with
// on_delete among them or not.
func (c *conn) needed(low, high int64, onDelete bool) (kept []int64, err error) {
	add := func(r *row) error {
		kept = append(kept, r.int())
		return nil
	}
	c.queue(add, `SELECT {needed_history}($1, $2)`, low, high)
	if onDelete {
		c.queue(add, `SELECT b.id FROM {history} b WHERE b.finished_at >= $1 AND b.finished_at < $2 AND b.definition IN `+onDeleteJobs, low, high)
	}
	if err := c.send(); err != nil {
		return nil, err
	}
	err = c.each(add, `SELECT {standing_history}($1, $2, $3)`, low, high, kept)
	slices.Sort(kept)
	return slices.Compact(kept), err
}

// retire removes a table of history: first, page by page, what belongs to its
// builds and lies elsewhere, then the table. Interrupted, it is done again.
func (s *Store) retire(ctx context.Context, p *pruning) error {
	var kept []int64
	err := s.readOne(ctx, func(c *conn) (err error) {
		kept, err = c.needed(p.low, p.high, true)
		return err
	})
	if err != nil {
		return err
	}
	for cursor := int64(0); cursor >= 0; {
		var next int64
		var needed []int64
		if err := s.write(ctx, "prune", func(t *tx) (err error) {
			next, needed, err = t.strip(p, cursor, kept)
			return err
		}); err != nil {
			return err
		}
		cursor, kept = next, needed
	}
	return s.script(ctx, "retire", func(c *conn) error {
		return c.each(func(r *row) error {
			p.done.Builds, p.done.Runs, p.done.More = int(r.int()), int(r.int()), true
			return nil
		}, `SELECT builds, runs FROM {retire_history}($1, $2)`, p.table, kept)
	})
}

// stripPage is how many builds are looked at in one transaction.
const stripPage = 5000

// strip removes what belongs to builds of a table after the one with the id
// cursor, and returns the last id that it looked at; -1: there are no more. What
// is needed since it was looked for is left out, and kept from now on.
func (t *tx) strip(p *pruning, cursor int64, kept []int64) (next int64, needed []int64, err error) {
	t.queue(nil, freely)
	needed, err = t.needed(p.low, p.high, true)
	if err != nil {
		return 0, nil, err
	}
	needed = append(needed, kept...)
	slices.Sort(needed)
	needed = slices.Compact(needed)
	t.queue(nil, begin) // from here on as always
	var ids []int64
	seen := 0
	if err := t.each(func(r *row) error {
		id := r.int()
		if _, found := slices.BinarySearch(needed, id); !found {
			ids = append(ids, id)
		}
		cursor = id
		seen++
		return nil
	}, `SELECT id FROM {history} WHERE finished_at >= $1 AND finished_at < $2 AND id > $3 ORDER BY id LIMIT $4`,
		p.low, p.high, cursor, int64(stripPage)); err != nil {
		return 0, nil, err
	}
	t.removeParts(ids)
	if seen < stripPage {
		cursor = -1
	}
	return cursor, needed, t.send()
}

// removeParts queues the removal of what belongs to builds.
func (t *tx) removeParts(builds []int64) {
	t.queue(nil, `DELETE FROM {attempts} WHERE build = ANY($1)`, builds)
	t.queue(nil, `DELETE FROM {logs} WHERE build = ANY($1)`, builds)
	t.queue(nil, `DELETE FROM {progress} WHERE build = ANY($1)`, builds)
}

// freely undoes what begin says of plans and time: here tables are read as a whole.
const freely = `SELECT set_config('enable_seqscan', 'on', true), set_config('enable_hashjoin', 'on', true),
	set_config('enable_mergejoin', 'on', true), set_config('enable_bitmapscan', 'on', true),
	set_config('plan_cache_mode', 'force_custom_plan', true), set_config('statement_timeout', '0', true)`

// oneByOne removes a page of builds that ended before a time.
func (p *pruning) oneByOne(t *tx) error {
	const first = -1 << 63
	p.done = jobcontrol.Pruned{}
	t.queue(nil, freely)
	kept, err := t.needed(first, p.rowsUntil, true)
	if err != nil {
		return err
	}
	var ids []int64
	if err := t.each(func(r *row) error {
		ids = append(ids, r.int())
		return nil
	}, `SELECT id FROM {history} WHERE finished_at < $1 AND id <> ALL($2) ORDER BY id LIMIT $3 FOR UPDATE`, p.rowsUntil, kept, int64(p.n+1)); err != nil {
		return err
	}
	if p.done.More = len(ids) > p.n; p.done.More {
		ids = ids[:p.n]
	}
	if len(ids) == 0 {
		return nil
	}
	t.removeParts(ids)
	less := map[int64][]int64{}
	if err := t.each(func(r *row) error {
		id, run, state := r.int(), r.int(), r.state()
		p.done.Builds++
		if run == id {
			run = 0
		}
		if less[run] == nil {
			less[run] = make([]int64, jobcontrol.Blocked+1)
		}
		less[run][state]++
		return nil
	}, `DELETE FROM {history} WHERE id = ANY($1) RETURNING id, run, state`, ids); err != nil {
		return err
	}
	delete(less, 0)
	p.done.Runs, err = t.runsWithout(ids, less)
	return err
}

// runsWithout corrects the counts of Runs after builds of them were removed, and
// removes those of which nothing is left. A lone build has shared values, too.
func (t *tx) runsWithout(builds []int64, less map[int64][]int64) (gone int, err error) {
	lists := make([][]int64, 6)
	for run, counts := range less {
		for i, v := range append([]int64{run}, counts[jobcontrol.Successful:]...) {
			lists[i] = append(lists[i], v)
		}
	}
	args := make([]any, len(lists))
	for i := range lists {
		args[i] = lists[i]
	}
	t.queue(nil, `DELETE FROM {shared} WHERE run = ANY($1)`, builds)
	empty := []int64{}
	if err := t.each(func(r *row) error {
		if id, rest := r.int(), r.int(); rest == 0 {
			empty = append(empty, id)
		}
		return nil
	}, `UPDATE {runs} r SET successful = r.successful - u.s, skipped = r.skipped - u.k, failed = r.failed - u.f, cancelled = r.cancelled - u.c, blocked = r.blocked - u.b
		FROM (SELECT * FROM unnest($1, $2, $3, $4, $5, $6) u(id, s, k, f, c, b) ORDER BY id) u WHERE r.id = u.id
		RETURNING r.id, r.remaining + r.successful + r.skipped + r.failed + r.cancelled + r.blocked`, args...); err != nil {
		return 0, err
	}
	t.queue(nil, `DELETE FROM {shared} WHERE run = ANY($1)`, empty)
	t.queue(nil, `DELETE FROM {runs} WHERE id = ANY($1)`, empty)
	return len(empty), t.send()
}

// count counts the builds that may go.
func (p *pruning) count(c *conn) error {
	const first = -1 << 63
	kept, err := c.needed(first, p.before, true)
	if err != nil {
		return err
	}
	n, err := c.number(`SELECT count(*) FROM {history} WHERE finished_at < $1 AND id <> ALL($2)`, p.before, kept)
	p.done.Builds = int(n)
	return err
}

// onDelete finds builds that nothing keeps but their job's on_delete.
func (p *pruning) onDelete(c *conn) error {
	const first = -1 << 63
	kept, err := c.needed(first, p.before, false)
	if err != nil {
		return err
	}
	p.done.OnDelete = nil
	return c.each(func(r *row) error {
		p.done.OnDelete = append(p.done.OnDelete, r.int())
		return nil
	}, `SELECT id FROM {history} WHERE finished_at < $1 AND definition IN `+onDeleteJobs+` AND id <> ALL($2) ORDER BY id LIMIT $3`,
		p.before, kept, int64(p.n))
}
