package postgres

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// ended is a build that became final, as its head and its Run need it.
type ended struct {
	id, run, head, definition int64
	state                     jobcontrol.State
	at                        time.Time
	changed                   bool
	result                    int64 // the build whose result stands; 0: none
	pins                      json.RawMessage
}

// headChange is what a transaction changes of a head.
type headChange struct {
	unfinished int
	latest     int64 // newest new build
	last       ended // newest that became final
	finished   ended // newest successful, skipped or failed one
	good       ended // newest successful one
	changed    ended // newest successful one that changed something
}

// runChange is how many builds of a Run became final, by state.
type runChange struct {
	counts [jobcontrol.Blocked + 1]int64
	total  int64
}

func (t *tx) head(id int64) *headChange {
	h := t.heads[id]
	if h == nil {
		h = &headChange{}
		t.heads[id] = h
	}
	return h
}

// headNew enters a new build of a job.
func (t *tx) headNew(head, build int64) {
	h := t.head(head)
	h.unfinished++
	h.latest = max(h.latest, build)
}

// ended enters that a build became final.
func (t *tx) ended(e *ended) {
	h := t.head(e.head)
	h.unfinished--
	newer := func(old *ended) {
		if old.id < e.id {
			*old = *e
		}
	}
	newer(&h.last)
	switch e.state {
	case jobcontrol.Successful:
		newer(&h.finished)
		newer(&h.good)
		if e.changed {
			newer(&h.changed)
		}
	case jobcontrol.Skipped, jobcontrol.Failed:
		newer(&h.finished)
	}
	if e.run == e.id {
		return
	}
	r := t.runs[e.run]
	if r == nil {
		r = &runChange{}
		t.runs[e.run] = r
	}
	r.counts[e.state]++
	r.total++
}

// flushHeads queues the changes of heads. The function that it returns tells,
// after they were sent, whether all heads were there.
func (t *tx) flushHeads() (stale func() error) {
	if len(t.heads) == 0 {
		return func() error { return nil }
	}
	ids := slices.Sorted(maps.Keys(t.heads))
	n := len(ids)
	ints := func() *list { return newList(oidInt, n, 12) }
	id, unfinished, latest, last, lastState := ints(), ints(), ints(), ints(), ints()
	finished, finishedState, good, goodAt, goodDefinition, goodResult := ints(), ints(), ints(), ints(), ints(), ints()
	changed, changedAt, pins := ints(), ints(), newList(oidText, n, 16)
	for _, v := range ids {
		h := t.heads[v]
		id.int(v)
		unfinished.int(int64(h.unfinished))
		latest.int(h.latest)
		last.int(h.last.id)
		lastState.int(int64(h.last.state))
		finished.int(h.finished.id)
		finishedState.int(int64(h.finished.state))
		good.int(h.good.id)
		goodAt.int(codec.Micros(h.good.at))
		goodDefinition.int(h.good.definition)
		goodResult.int(h.good.result)
		changed.int(h.changed.id)
		changedAt.int(codec.Micros(h.changed.at))
		pins.json(h.good.pins)
	}
	t.heads = map[int64]*headChange{}
	found := 0
	lockInOrder(t.conn, "heads", ids)
	t.queue(func(*row) error { found++; return nil }, updateHeads,
		id, unfinished, latest, last, lastState, finished, finishedState, good, goodAt, goodDefinition, goodResult, changed, changedAt, pins)
	return func() error {
		if found < n {
			return errStale
		}
		return nil
	}
}

// lockInOrder queues the locking of rows in the order of their ids: an update of
// several takes them as it finds them.
func lockInOrder(c *conn, table string, ids []int64) {
	if len(ids) > 1 {
		c.queue(nil, `SELECT 1 FROM {`+table+`} WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE`, ids)
	}
}

const updateHeads = `UPDATE {heads} h SET unfinished = h.unfinished + u.unfinished,
	latest = greatest(h.latest, u.latest),
	latest_state = CASE WHEN greatest(h.latest, u.latest) = u.last THEN u.last_state WHEN u.latest > h.latest THEN 0 ELSE h.latest_state END,
	finished = greatest(h.finished, u.finished),
	finished_state = CASE WHEN u.finished > h.finished THEN u.finished_state ELSE h.finished_state END,
	good = greatest(h.good, u.good),
	good_at = CASE WHEN u.good > h.good THEN u.good_at ELSE h.good_at END,
	good_definition = CASE WHEN u.good > h.good THEN u.good_definition ELSE h.good_definition END,
	good_result = CASE WHEN u.good > h.good THEN u.good_result ELSE h.good_result END,
	good_pins = CASE WHEN u.good > h.good THEN u.good_pins ELSE h.good_pins END,
	changed = greatest(h.changed, u.changed),
	changed_at = CASE WHEN u.changed > h.changed THEN u.changed_at ELSE h.changed_at END
	FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
		u(id, unfinished, latest, last, last_state, finished, finished_state, good, good_at, good_definition, good_result, changed, changed_at, good_pins)
	WHERE h.id = u.id RETURNING h.id`

// flushRuns queues the changes of Runs. A detached Run whose last build became
// final is cleaned up next, or final.
func (t *tx) flushRuns() {
	if len(t.runs) == 0 {
		return
	}
	ids := slices.Sorted(maps.Keys(t.runs))
	args := make([]any, 7)
	lists := make([][]int64, 7)
	for _, id := range ids {
		r := t.runs[id]
		for i, v := range []int64{
			id, r.total, r.counts[jobcontrol.Successful], r.counts[jobcontrol.Skipped], r.counts[jobcontrol.Failed],
			r.counts[jobcontrol.Cancelled], r.counts[jobcontrol.Blocked],
		} {
			lists[i] = append(lists[i], v)
		}
	}
	for i := range lists {
		args[i] = lists[i]
	}
	t.runs = map[int64]*runChange{}
	lockInOrder(t.conn, "runs", ids)
	t.queue(nil, updateRuns, args...)
	t.queue(func(*row) error { t.news.ready = true; return nil }, endRuns, ids) // clean-up steps may be due
}

const updateRuns = `UPDATE {runs} r SET remaining = r.remaining - u.total, successful = r.successful + u.successful,
	skipped = r.skipped + u.skipped, failed = r.failed + u.failed, cancelled = r.cancelled + u.cancelled, blocked = r.blocked + u.blocked
	FROM unnest($1, $2, $3, $4, $5, $6, $7) u(id, total, successful, skipped, failed, cancelled, blocked)
	WHERE r.id = u.id`

// outcome is the state that follows from the counts of a Run, as in
// jobcontrol.Counts.Outcome; dirty is whether a clean-up step of it is due.
const (
	outcome = `CASE WHEN r.successful + r.skipped = r.successful + r.skipped + r.failed + r.cancelled + r.blocked THEN 3
		WHEN r.cancelled > 0 THEN 6 WHEN r.successful + r.skipped > 0 THEN 4 ELSE 5 END`
	dirty = `EXISTS (SELECT 1 FROM {history} h WHERE h.run = r.id AND h.run <> h.id AND h.ran IS NOT NULL AND NOT h.cleaned)`
)

const endRuns = `UPDATE {runs} r SET state = CASE WHEN n.dirty THEN 2 ELSE ` + outcome + ` END,
	finished_at = CASE WHEN n.dirty THEN 0 ELSE ` + present + ` END
	FROM (SELECT r.id, NOT o.no_cleanup AND ` + dirty + ` AS dirty FROM {runs} r JOIN {origins} o ON o.id = r.origin
		WHERE r.id = ANY($1) AND r.remaining = 0 AND r.detached AND r.state = 1) n
	WHERE r.id = n.id RETURNING r.id`

// endCleaning ends a detached Run that has no clean-up step left.
const endCleaning = `UPDATE {runs} r SET state = ` + outcome + `, finished_at = ` + present + `
	WHERE r.id = $1 AND r.detached AND r.state = 2 AND NOT ` + dirty
