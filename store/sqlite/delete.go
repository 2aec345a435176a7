package sqlite

import (
	"context"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
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
	b, err := t.build(id)
	if err != nil {
		return nil, err
	}
	if !b.State.Final() {
		return nil, jobcontrol.Errorf(jobcontrol.Conflict, "cannot delete build %d: it is %s", id, b.State)
	}
	run, err := t.run(b.Run)
	if err != nil {
		return nil, err
	}
	head, err := t.number(`SELECT head FROM builds WHERE id = ?`, id)
	if err != nil {
		return nil, err
	}
	if len(b.Result) > 0 {
		if err := t.bequeath(b, head); err != nil {
			return nil, err
		}
	}
	if err := t.removeParts(id); err != nil {
		return nil, err
	}
	if _, err := t.exec(`DELETE FROM builds WHERE id = ?`, id); err != nil {
		return nil, err
	}
	if err := t.headWithout(head); err != nil {
		return nil, err
	}
	if err := t.runWithout(run, b.State); err != nil || !run.detached || run.Lone || run.State != jobcontrol.RunCleaning {
		return b, err
	}
	return b, t.stepDone(run.ID)
}

// removeParts removes what belongs to a build.
func (t *tx) removeParts(build int64) error {
	first, last := codec.Span(build)
	for _, text := range []string{
		`DELETE FROM attempts WHERE id BETWEEN ? AND ?`,
		`DELETE FROM logs WHERE id BETWEEN ? AND ?`,
		`DELETE FROM progress WHERE id BETWEEN ? AND ?`,
	} {
		if _, err := t.exec(text, first, last); err != nil {
			return err
		}
	}
	return nil
}

// bequeath gives the result of a build that is deleted to the next one that has no own.
func (t *tx) bequeath(b *jobcontrol.Build, head int64) error {
	heir, err := t.number(`SELECT id FROM builds WHERE head = ? AND id > ? AND result_of = ? ORDER BY id LIMIT 1`, head, b.ID, b.ID)
	if err != nil || heir == 0 {
		return err
	}
	if _, err := t.exec(`UPDATE builds SET result = ?, result_of = 0 WHERE id = ?`, b.Result, heir); err != nil {
		return err
	}
	_, err = t.exec(`UPDATE builds SET result_of = ? WHERE head = ? AND id > ? AND result_of = ?`, heir, head, heir, b.ID)
	return err
}

// runWithout corrects the counts of a Run after one of its builds was deleted.
// The Run goes, with its shared values, when its last build goes.
func (t *tx) runWithout(r *runRow, state jobcontrol.State) error {
	var rest int64
	err := t.spans(r, func(first, last int64) (err error) {
		if rest == 0 {
			rest, err = t.number(`SELECT 1 FROM builds WHERE id BETWEEN ? AND ? LIMIT 1`, first, last)
		}
		return err
	})
	if err != nil {
		return err
	}
	if rest == 0 {
		if _, err := t.exec(`DELETE FROM shared WHERE run = ?`, r.ID); err != nil {
			return err
		}
		if _, err := t.exec(`DELETE FROM expansions WHERE run = ?`, r.ID); err != nil {
			return err
		}
		_, err = t.exec(`DELETE FROM runs WHERE id = ?`, r.ID)
		return err
	}
	if !r.State.Final() {
		return nil
	}
	if r.Counts[state]--; r.Counts[state] == 0 {
		delete(r.Counts, state)
	}
	_, err = t.exec(`UPDATE runs SET counts = ? WHERE id = ?`, codec.EncodeCounts(r.Counts), r.ID)
	return err
}
