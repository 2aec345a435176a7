package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jobcontrol/jobcontrol"
)

// TestListPlans: lists of many builds are read by indexes, in order, and nothing is sorted.
func TestListPlans(t *testing.T) {
	ctx := context.Background()
	s, l := openTest(t)
	p := past{t, s, l}
	for from := 0; from < 28; from += 7 {
		p.table(from, from+7)
	}
	p.ended(1, "a", "b")
	p.ended(2, "c")
	p.exec(fmt.Sprintf(`INSERT INTO {history} (id, run, finished_at, created_at, retry_delay, head, definition, service, tries, state, detached, origin)
		SELECT 100 + g, 100 + g, %d + g::bigint * 24000000, 0, 0, 1 + g %% 3, 1, 1, 1, 7 + g %% 3, true, 1 FROM generate_series(1, 100000) g;
		INSERT INTO {builds} (id, run, rank, created_at, retry_delay, head, definition, service, tries, state, detached, suspect, origin)
		SELECT 200000 + g, 200000 + g, g, 0, 0, 1 + g %% 3, 1, 1, 1, 4, true, false, 1 FROM generate_series(1, 20000) g;
		ANALYZE {history}; ANALYZE {builds}`, day(0).UnixMicro()))
	yes := true
	explain := func(c *conn, what string, q *query) error {
		var plan []string
		if err := c.each(func(r *row) error {
			plan = append(plan, r.text())
			return nil
		}, `EXPLAIN (ANALYZE, TIMING off, COSTS off) `+q.text, q.args...); err != nil {
			return err
		}
		text := strings.Join(plan, "\n")
		if strings.Contains(text, "->  Sort") || strings.Contains(text, "Seq Scan") || strings.Contains(text, "Bitmap") {
			t.Errorf("%s:\n%s", what, text)
		}
		return nil
	}
	err := s.read(ctx, func(c *conn) error {
		c.queue(nil, inOrder)
		for what, f := range map[string]jobcontrol.BuildFilter{
			"newest":        {},
			"oldest":        {Asc: true},
			"brief":         {Brief: true},
			"job":           {Job: "b"},
			"job, finished": {Job: "b", Finished: &yes},
			"failed":        {States: []jobcontrol.State{jobcontrol.Failed}},
			"successful":    {Success: &yes, Limit: 10},
			"page":          {Before: 50_000},
			"page of a job": {Job: "b", Before: 50_000},
		} {
			q, err := c.listBuilds(f)
			if err != nil {
				return err
			}
			if err := explain(c, what, q); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []jobcontrol.RunFilter{{}, {States: []jobcontrol.RunState{jobcontrol.RunRunning}}, {States: []jobcontrol.RunState{jobcontrol.RunFailed}}} {
		runs, err := s.ListRuns(ctx, f)
		if err != nil || len(runs) != 100 {
			t.Errorf("%v: %d Runs, %v", f.States, len(runs), err)
		}
	}
}
