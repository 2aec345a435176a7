package postgres

import (
	"context"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// selectHeads reads what is known of jobs that have a build.
const selectHeads = `SELECT h.job, h.latest,
	CASE WHEN h.latest_state = 0 THEN (SELECT state FROM {all_builds} b WHERE b.id = h.latest) ELSE h.latest_state END,
	h.finished, h.finished_state, h.good, h.good_at, d.hash, h.changed, h.changed_at, h.unfinished, h.good_pins,
	CASE WHEN h.unfinished > 0 THEN (SELECT count(*) FROM {builds} b WHERE b.state = 5 AND b.head = h.id) END
	FROM {heads} h LEFT JOIN {definitions} d ON d.id = h.good_definition
	WHERE h.project = $1 AND h.latest > 0`

func scanHead(r *row) (h jobcontrol.Head, err error) {
	h.Job, h.Latest, h.LatestState = r.text(), r.int(), r.state()
	h.LatestFinished, h.FinishedState = r.int(), r.state()
	h.Good, h.GoodAt, h.GoodDefinition = r.int(), r.time(), r.text()
	h.GoodChanged, h.GoodChangedAt = r.int(), r.time()
	h.Unfinished = int(r.int())
	if h.GoodPins, err = codec.DecodePins(r.json()); err != nil {
		return h, err
	}
	h.RunningBuilds = int(r.int())
	return h, nil
}

// Heads returns what is known of jobs; see [jobcontrol.Builds].
func (s *Store) Heads(ctx context.Context, project string, jobs []string) (map[string]jobcontrol.Head, error) {
	heads := map[string]jobcontrol.Head{}
	text, args := selectHeads, []any{project}
	if jobs != nil {
		text += ` AND h.job = ANY($2)`
		args = append(args, jobs)
	}
	err := s.readOne(ctx, func(c *conn) error {
		clear(heads)
		return c.each(func(r *row) error {
			h, err := scanHead(r)
			heads[h.Job] = h
			return err
		}, text, args...)
	})
	if err != nil {
		return nil, err
	}
	return heads, nil
}
