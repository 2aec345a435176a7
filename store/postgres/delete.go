package postgres

import (
	"context"

	"github.com/jobcontrol/jobcontrol"
)

// DeleteBuild removes a final build; see [jobcontrol.Builds]. If later builds of
// its job return its result, the first of them takes it over.
func (s *Store) DeleteBuild(ctx context.Context, id int64) (*jobcontrol.Build, error) {
	var b *jobcontrol.Build
	err := s.write(ctx, "delete", func(t *tx) (err error) {
		b, err = t.deleteBuild(id)
		return err
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (t *tx) deleteBuild(id int64) (*jobcontrol.Build, error) {
	// The locks of a transaction that deletes a build are its row's and then, as
	// everywhere, its Run's and its head's.
	head, err := t.number(`SELECT head FROM {history} WHERE id = $1 FOR UPDATE`, id)
	if err != nil {
		return nil, err
	}
	b, err := t.build(id)
	if err != nil {
		return nil, err
	}
	if head == 0 {
		return nil, jobcontrol.Errorf(jobcontrol.Conflict, "cannot delete build %d: it is %s", id, b.State)
	}
	if len(b.Result) > 0 {
		if err := t.bequeath(b, head); err != nil {
			return nil, err
		}
	}
	t.removeParts([]int64{id})
	t.queue(nil, `DELETE FROM {history} WHERE id = $1`, id)
	if err := t.runWithout(b); err != nil {
		return nil, err
	}
	return b, t.headWithout(head)
}

// bequeath gives the result of a build that is deleted to the next one that has no own.
func (t *tx) bequeath(b *jobcontrol.Build, head int64) error {
	heir, err := t.number(`SELECT id FROM {history} WHERE head = $1 AND id > $2 AND result_of = $2 ORDER BY id LIMIT 1`, head, b.ID)
	if err != nil || heir == 0 {
		return err
	}
	t.queue(nil, `UPDATE {history} SET result = $2, result_of = NULL WHERE id = $1`, heir, b.Result)
	t.queue(nil, `UPDATE {history} SET result_of = $3 WHERE head = $1 AND id > $3 AND result_of = $2`, head, b.ID, heir)
	return nil
}

// finalCounts are the columns of a Run that count its final builds.
var finalCounts = map[jobcontrol.State]string{
	jobcontrol.Successful: "successful", jobcontrol.Skipped: "skipped", jobcontrol.Failed: "failed",
	jobcontrol.Cancelled: "cancelled", jobcontrol.Blocked: "blocked",
}

// runWithout corrects the counts of a Run after one of its builds was deleted.
// The Run goes, with its shared values, when its last build goes.
func (t *tx) runWithout(b *jobcontrol.Build) error {
	rest := int64(0)
	if b.Run != b.ID {
		column := finalCounts[b.State]
		if _, err := t.first(func(r *row) { rest = r.int() }, `UPDATE {runs} SET `+column+` = `+column+` - 1 WHERE id = $1
			RETURNING remaining + successful + skipped + failed + cancelled + blocked`, b.Run); err != nil {
			return err
		}
	}
	t.queue(nil, endCleaning, b.Run) // its step may have been the last one
	if rest == 0 {
		t.queue(nil, `DELETE FROM {shared} WHERE run = $1`, b.Run)
		t.queue(nil, `DELETE FROM {runs} WHERE id = $1`, b.Run)
	}
	return nil
}

// headWithout computes a head anew after one of its builds was deleted. Whoever
// finishes a build of the job meanwhile waits for us, and we saw what was
// finished before: the head is locked first.
func (t *tx) headWithout(head int64) error {
	t.queue(nil, `SELECT 1 FROM {heads} WHERE id = $1 FOR UPDATE`, head)
	const (
		latest  = `SELECT id, CASE WHEN final THEN state ELSE 0 END AS state FROM {all_builds} WHERE head = $1 ORDER BY id DESC LIMIT 1`
		newest  = `SELECT * FROM {history} WHERE head = $1 AND state `
		further = ` ORDER BY id DESC LIMIT 1`
	)
	t.queue(nil, `UPDATE {heads} h SET latest = coalesce(l.id, 0), latest_state = coalesce(l.state, 0),
		finished = coalesce(f.id, 0), finished_state = coalesce(f.state, 0),
		good = coalesce(g.id, 0), good_at = coalesce(g.finished_at, 0), good_definition = coalesce(g.definition, 0),
		good_result = coalesce(CASE WHEN g.result IS NULL THEN g.result_of ELSE g.id END, 0), good_pins = g.pins,
		changed = coalesce(c.id, 0), changed_at = coalesce(c.finished_at, 0)
		FROM (SELECT 1) one LEFT JOIN (`+latest+`) l ON true LEFT JOIN (`+newest+`IN (7, 8, 9)`+further+`) f ON true
		LEFT JOIN (`+newest+`= 7`+further+`) g ON true LEFT JOIN (`+newest+`= 7 AND changed`+further+`) c ON true
		WHERE h.id = $1`, head)
	return t.send()
}
