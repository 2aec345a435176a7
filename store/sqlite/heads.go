package sqlite

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// ended is a build that became final, as its head needs it.
type ended struct {
	id, run, head, definition int64
	detached                  bool
	state                     jobcontrol.State
	at                        time.Time
	changed                   bool
	result                    int64 // the build whose result stands; 0: none
	pins                      json.RawMessage
}

// headOfNew enters a new build, which is the newest of its job, and returns the
// number of its head and the build whose result stands.
func (t *tx) headOfNew(b *jobcontrol.Build) (head, result int64, err error) {
	if err := t.settleHeads(); err != nil {
		return 0, 0, err
	}
	found, err := t.returning(func(r *row) { head, result = r.int(), r.int() },
		`UPDATE heads SET latest = ?, latest_state = 0, unfinished = unfinished + 1 WHERE job = ? AND project = ?
		RETURNING id, good_result`, b.ID, b.Job, b.Project)
	if err != nil || found {
		return head, result, err
	}
	_, err = t.returning(func(r *row) { head = r.int() },
		`INSERT INTO heads (project, job, latest, latest_state, unfinished, room) VALUES (?, ?, ?, 0, 1, zeroblob(40)) RETURNING id`,
		b.Project, b.Job, b.ID)
	return head, 0, err
}

// headEnded enters that a build became final.
func (t *tx) headEnded(e *ended) error {
	const (
		always   = `UPDATE heads SET unfinished = unfinished - 1, latest_state = CASE latest WHEN ? THEN ? ELSE latest_state END`
		finished = `, finished_state = CASE WHEN finished < ? THEN ? ELSE finished_state END, finished = max(finished, ?)`
		good     = `, room = NULL, good = ?, good_at = ?, good_definition = ?, good_result = ?, good_pins = ?`
		changed  = `, changed = ?, changed_at = ?`
	)
	err := t.settleHeads()
	if err != nil {
		return err
	}
	var n int64
	switch {
	case e.state == jobcontrol.Cancelled || e.state == jobcontrol.Blocked:
		_, err = t.exec(always+` WHERE id = ?`, e.id, e.state, e.head)
	case e.state != jobcontrol.Successful:
		_, err = t.exec(always+finished+` WHERE id = ?`, e.id, e.state, e.id, e.state, e.id, e.head)
	default:
		if e.changed {
			n, err = t.exec(always+finished+good+changed+` WHERE id = ? AND good < ?`, e.id, e.state, e.id, e.state, e.id,
				e.id, e.at, e.definition, e.result, e.pins, e.id, e.at, e.head, e.id)
		} else {
			n, err = t.exec(always+finished+good+` WHERE id = ? AND good < ?`, e.id, e.state, e.id, e.state, e.id,
				e.id, e.at, e.definition, e.result, e.pins, e.head, e.id)
		}
		if err != nil || n > 0 {
			return err
		}
		// A newer build was successful first.
		if _, err = t.exec(always+finished+` WHERE id = ?`, e.id, e.state, e.id, e.state, e.id, e.head); err == nil && e.changed {
			_, err = t.exec(`UPDATE heads SET changed = ?, changed_at = ? WHERE id = ? AND changed < ?`, e.id, e.at, e.head, e.id)
		}
	}
	return err
}

// standing returns the build whose result stands before the given one; 0: none.
func (t *tx) standing(head, id int64) (result int64, err error) {
	if err := t.settleHeads(); err != nil {
		return 0, err
	}
	var good int64
	if _, err = t.first(func(r *row) { good, result = r.int(), r.int() },
		`SELECT good, good_result FROM heads WHERE id = ?`, head); err != nil || good < id {
		return result, err
	}
	return t.number(`SELECT CASE WHEN result IS NULL THEN result_of ELSE id END FROM builds
		WHERE head = ? AND id < ? AND state = 7 ORDER BY id DESC LIMIT 1`, head, id)
}

// headWithout computes a head anew after one of its builds was deleted, and
// deletes it with the last one.
func (t *tx) headWithout(head int64) error {
	latest, err := t.number(`SELECT id FROM builds WHERE head = ? ORDER BY id DESC LIMIT 1`, head)
	if err != nil {
		return err
	}
	if latest == 0 {
		_, err = t.exec(`DELETE FROM heads WHERE id = ?`, head)
		return err
	}
	const newest = `(SELECT id FROM builds WHERE head = ? AND state IN (7, 8, 9) ORDER BY id DESC LIMIT 1)`
	_, err = t.exec(`UPDATE heads SET latest = ?, latest_state = (SELECT CASE WHEN state >= 7 THEN state ELSE 0 END FROM builds WHERE id = ?),
		finished = coalesce(`+newest+`, 0), finished_state = coalesce((SELECT state FROM builds WHERE id = `+newest+`), 0),
		(good, good_at, good_definition, good_result, good_pins) =
			(SELECT coalesce(id, 0), coalesce(finished_at, 0), coalesce(definition, 0),
				coalesce(CASE WHEN result IS NULL THEN result_of ELSE id END, 0), pins
			FROM (SELECT 1) LEFT JOIN (SELECT * FROM builds WHERE head = ? AND state = 7 ORDER BY id DESC LIMIT 1)),
		(changed, changed_at) =
			(SELECT coalesce(id, 0), coalesce(finished_at, 0)
			FROM (SELECT 1) LEFT JOIN (SELECT * FROM builds WHERE head = ? AND state = 7 AND changed = 1 ORDER BY id DESC LIMIT 1))
		WHERE id = ?`, latest, latest, head, head, head, head, head)
	return err
}

const headColumns = `h.job, h.latest, CASE WHEN h.latest_state = 0 THEN (SELECT state FROM builds WHERE id = h.latest) ELSE h.latest_state END,
	h.finished, h.finished_state, h.good, h.good_at, d.hash, h.changed, h.changed_at, h.unfinished, h.good_pins
	FROM heads h LEFT JOIN definitions d ON d.id = h.good_definition`

func scanHead(r *row) (h jobcontrol.Head, err error) {
	h.Job, h.Latest, h.LatestState = r.text(), r.int(), r.state()
	h.LatestFinished, h.FinishedState = r.int(), r.state()
	h.Good, h.GoodAt, h.GoodDefinition = r.int(), r.time(), r.text()
	h.GoodChanged, h.GoodChangedAt = r.int(), r.time()
	h.Unfinished = int(r.int())
	h.GoodPins, err = codec.DecodePins(r.json())
	return h, err
}

// Heads returns what is known of jobs; see [jobcontrol.Builds].
func (s *Store) Heads(ctx context.Context, project string, jobs []string) (map[string]jobcontrol.Head, error) {
	heads := map[string]jobcontrol.Head{}
	err := s.read(ctx, func(c *conn) error {
		clear(heads)
		add := func(r *row) error {
			h, err := scanHead(r)
			heads[h.Job] = h
			return err
		}
		if jobs == nil {
			if err := c.each(add, `SELECT `+headColumns+` WHERE h.project = ?`, project); err != nil {
				return err
			}
		}
		for _, job := range jobs {
			if err := c.each(add, `SELECT `+headColumns+` WHERE h.job = ? AND h.project = ?`, job, project); err != nil {
				return err
			}
		}
		return c.each(func(r *row) error {
			if h, ok := heads[r.text()]; ok {
				h.RunningBuilds = int(r.int())
				heads[h.Job] = h
			}
			return nil
		}, `SELECT h.job, count(*) FROM builds b CROSS JOIN heads h ON h.id = b.head WHERE b.state = 5 AND h.project = ? GROUP BY b.head`, project)
	})
	if err != nil {
		return nil, err
	}
	return heads, nil
}
