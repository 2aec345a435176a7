package sqlite

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/storetest"
)

// recorder collects the statements that the conformance suite executed.
type recorder struct {
	*Store
	opts  Options
	t     *testing.T
	texts map[string]bool
}

// Another opens the same file once more.
func (r recorder) Another(t *testing.T) jobcontrol.Store {
	s, err := Open(context.Background(), r.path, r.opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (r recorder) Close() error {
	r.consistent()
	r.w.stop()
	for text := range r.w.c.stmts {
		r.texts[text] = true
	}
	for range cap(r.readers) {
		v := <-r.readers
		if v.c != nil {
			for text := range v.c.stmts {
				r.texts[text] = true
			}
		}
		r.readers <- v
	}
	return r.Store.Close()
}

// consistent holds that what is kept beside the builds is what follows from them.
func (r recorder) consistent() {
	if !r.installed() {
		return
	}
	c, err := r.connect(readerPragmas) // one of its own: its statements are not looked at
	if err != nil {
		r.t.Error(err)
		return
	}
	defer func() { _ = c.close() }()
	for what, text := range map[string]string{
		"builds.queue": `SELECT id FROM builds WHERE queue IS NOT CASE WHEN detached = 0 OR state >= 7 THEN NULL
			WHEN worker <> 0 THEN 2 WHEN state = 4 THEN 1 WHEN state = 3 THEN 3 ELSE 4 END`,
		"a claim":           `SELECT id FROM builds WHERE detached = 1 AND worker <> 0 AND state NOT IN (4, 5) AND state < 7`,
		"builds.stop":       `SELECT id FROM builds WHERE stop <> 0 AND (worker = 0 OR state >= 7)`,
		"builds.rank":       `SELECT id FROM builds WHERE detached = 1 AND state < 7 AND rank <> CASE ready_at WHEN 0 THEN created_at ELSE ready_at END - priority * 60000000`,
		"builds.service":    `SELECT id FROM builds WHERE detached = 1 AND service NOT IN (SELECT id FROM services)`,
		"builds.unique_key": `SELECT unique_key FROM builds WHERE unique_key IS NOT NULL AND state < 7 GROUP BY unique_key HAVING count(*) > 1`,
		"claims": `SELECT j.value FROM claims c, json_each(c.builds) j LEFT JOIN builds b ON b.id = j.value
			WHERE b.id IS NULL OR b.state < 7 AND (b.state <> 4 OR b.queue <> 1) OR c.worker NOT IN (SELECT id FROM workers WHERE gone = 0)`,
		"builds.cleaning": `SELECT id FROM builds WHERE cleaning <> 0 AND (state < 7 OR cleaned = 1)`,
		"runs.left": `SELECT id FROM runs r WHERE detached = 1 AND state IN (1, 2) AND left <>
			(SELECT count(*) FROM builds b WHERE b.id > r.id AND b.id <= r.id + r.size AND b.state < 7)`,
		"an unfinished run": `SELECT id FROM runs WHERE detached = 1 AND state = 1 AND left = 0`,
		"heads.unfinished":  `SELECT id FROM heads h WHERE unfinished <> (SELECT count(*) FROM builds b WHERE b.head = h.id AND b.state < 7)`,
		"heads.latest": `SELECT id FROM heads h WHERE latest <> (SELECT max(id) FROM builds b WHERE b.head = h.id)
			OR latest_state <> (SELECT CASE WHEN state < 7 THEN 0 ELSE state END FROM builds WHERE id = latest)`,
		"heads.good":     `SELECT id FROM heads h WHERE good <> coalesce((SELECT max(id) FROM builds b WHERE b.head = h.id AND b.state = 7), 0)`,
		"heads.finished": `SELECT id FROM heads h WHERE finished <> coalesce((SELECT max(id) FROM builds b WHERE b.head = h.id AND b.state IN (7, 8, 9)), 0)`,
		"sequences.id":   `SELECT max(id) FROM builds HAVING max(id) > (SELECT id FROM sequences)`,
	} {
		if err := c.each(func(row *row) error {
			r.t.Errorf("%s is wrong: %v", what, row.value())
			return nil
		}, text); err != nil {
			r.t.Error(err)
		}
	}
}

// TestStore is the conformance suite.
func TestStore(t *testing.T) {
	texts := map[string]bool{}
	storetest.Test(t, opener(Options{}, texts))
	if len(texts) < 80 && !t.Failed() {
		t.Skip("only a part of the suite was executed: plans are not looked at")
	}
	t.Run("Plans", func(t *testing.T) { testPlans(t, texts) })
}

// TestStoreManyClaims is the conformance suite where each claim is a row of table claims.
func TestStoreManyClaims(t *testing.T) {
	storetest.TestPlain(t, opener(Options{manyClaims: 1}, map[string]bool{}))
}

// opener makes stores that enter their statements into texts.
func opener(opts Options, texts map[string]bool) func(t *testing.T) jobcontrol.Store {
	return func(t *testing.T) jobcontrol.Store {
		s, err := Open(context.Background(), filepath.Join(t.TempDir(), "state.db"), opts)
		if err != nil {
			t.Fatal(err)
		}
		return recorder{s, opts, t, texts}
	}
}

// testPlans holds that no statement reads a table that may be large from one end
// to the other, but those that are named here.
func testPlans(t *testing.T, texts map[string]bool) {
	s, _ := openTest(t, Options{})
	s.w.stop()
	for _, text := range slices.Sorted(maps.Keys(texts)) {
		if strings.HasPrefix(text, "SELECT b.id, b.run, h.project") && strings.Contains(text, "ORDER BY b.id") && !strings.Contains(text, "BETWEEN") {
			continue // a list of builds by a filter that has no index, from one end until there are enough
		}
		var plan []string
		err := s.w.c.each(func(r *row) error {
			r.int()
			r.int()
			r.int()
			plan = append(plan, r.text())
			return nil
		}, "EXPLAIN QUERY PLAN "+text, make([]any, strings.Count(text, "?"))...)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		for _, step := range plan {
			switch {
			case strings.Contains(step, "SCAN CONSTANT ROW"), strings.Contains(step, "(subquery"):
			case strings.HasPrefix(step, "SCAN sequences"), strings.HasPrefix(step, "SCAN workers"), strings.HasPrefix(step, "SCAN run_keys"),
				strings.HasPrefix(step, "SCAN sqlite_master"):
				// one row; few rows; pruned daily
			case step == "SCAN claims", step == "SCAN c", step == "USE TEMP B-TREE FOR GROUP BY" && strings.Contains(text, "FROM claims c"):
				// table claims, which has few rows
			case strings.HasSuffix(step, "-ROW VALUES CLAUSE"), step == "SCAN v":
				// rows that the caller gave
			case strings.HasPrefix(step, "SCAN j VIRTUAL TABLE"), strings.HasPrefix(step, "SCAN s USING"):
				// a list of builds that the caller gave; services, which are few
			case strings.Contains(step, "COVERING INDEX builds_scheduled"):
				// the first of what is scheduled
			case strings.Contains(step, "TEMP B-TREE FOR ORDER BY") && strings.Contains(text, "stop IN (1, 2)"):
				// what is asked of workers
			case strings.Contains(step, "TEMP B-TREE FOR ORDER BY") && strings.Contains(text, "b.run = b.id ORDER BY b.id DESC LIMIT ?)"):
				// the newest of what is unfinished
			case strings.HasPrefix(step, "SCAN definitions") && strings.Contains(text, "on_delete"), step == "SCAN heads" && strings.Contains(text, "unfinished > 0"):
				// pruning, once an hour
			case strings.Contains(step, "USING INDEX builds_open"), strings.Contains(step, "USING INDEX builds_running"), strings.Contains(step, "USING INDEX runs_open"),
				strings.Contains(step, "COVERING INDEX builds_open"), strings.Contains(step, "COVERING INDEX runs_open"):
				// what is unfinished
			case strings.HasPrefix(step, "SCAN h") && strings.Contains(text, "WHERE h.project = ?"):
				// the heads of all jobs
			case strings.Contains(step, "SCAN"), strings.Contains(step, "TEMP B-TREE") && !strings.Contains(text, "ran DESC") && !strings.Contains(text, "GROUP BY b.head"):
				t.Errorf("%s\n\t%s", step, text)
			}
		}
	}
}

// TestChainIsSmall holds how much the end of a build adds to the log: few pages.
func TestChainIsSmall(t *testing.T) {
	s, l := openTest(t, Options{})
	ctx := context.Background()
	const n = 1000
	_, builds, err := s.CreateRun(ctx, chains(t, "job", n, n, &l))
	if err != nil {
		t.Fatal(err)
	}
	before := walSize(s)
	for i := range builds {
		if _, err := s.Finish(ctx, builds[i].Claim, succeeded(1, time.Now())); err != nil {
			t.Fatal(err)
		}
	}
	if got := (walSize(s) - before) / n; got > 4500 {
		t.Errorf("a finish writes %d bytes, at most 4500 are wanted", got)
	}
}
