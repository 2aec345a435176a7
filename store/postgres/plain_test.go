package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jobcontrol/jobcontrol"
)

// plainKinds are plain builds of every kind, of different jobs.
func plainKinds(t *testing.T) []jobcontrol.NewRun {
	t.Helper()
	var all []jobcontrol.NewRun
	for i, change := range []func(*jobcontrol.Build){
		func(*jobcontrol.Build) {},
		func(b *jobcontrol.Build) { b.Args = nil },
		func(b *jobcontrol.Build) { b.Args, b.Kwargs = nil, json.RawMessage(`{"a": "zero: \u0000"}`) },
		func(b *jobcontrol.Build) { b.Kwargs = json.RawMessage("{\"a\": \"\x00\xff\"}") },
		func(b *jobcontrol.Build) { b.State = jobcontrol.Held },
		func(b *jobcontrol.Build) { b.ReadyAt = time.Now().Add(time.Hour) },
		func(b *jobcontrol.Build) { b.ReadyAt = time.Now().Add(-time.Hour) },
		func(b *jobcontrol.Build) { b.ReadyAt, b.State = time.Now().Add(time.Hour), jobcontrol.Held },
		func(b *jobcontrol.Build) { b.Priority, b.Tries, b.RetryDelay = -3, 7, 0 },
		func(b *jobcontrol.Build) { b.Key, b.Why, b.AgainOf = "key", "since", 1 },
		func(b *jobcontrol.Build) { b.Pins = map[string]int64{"x": 3} },
		func(b *jobcontrol.Build) { b.Service = "other" },
	} {
		n := loneBuild(t, fmt.Sprint("job", i))
		change(&n.Builds[0].Build)
		all = append(all, n)
	}
	suspect := jobcontrol.Job{ID: "suspect", Run: &jobcontrol.Task{Shell: "true"}, OnLost: "fail"}
	n := loneBuild(t, suspect.ID)
	var err error
	if n.Builds[0].Definition, n.Builds[0].Hash, err = suspect.Definition(); err != nil {
		t.Fatal(err)
	}
	n.Run.Project, n.Run.File, n.Run.NoCleanup = "project", "file", true
	return append(all, n)
}

// stored are builds as they are stored, without what differs between two that are alike.
func stored(t *testing.T, s *Store, ids []int64) (rows []string) {
	t.Helper()
	if err := s.readOne(context.Background(), func(c *conn) error {
		return c.each(func(r *row) error {
			rows = append(rows, r.text())
			return nil
		}, `SELECT (to_jsonb(b) - 'id' - 'run' - 'created_at' || jsonb_build_object('lone', b.run = b.id, 'rank',
				CASE WHEN rank = created_at - priority * 60000000 THEN 0 ELSE rank END))::text
			FROM unnest($1) WITH ORDINALITY u(id, n) JOIN {builds} b ON b.id = u.id ORDER BY u.n`, ids)
	}); err != nil {
		t.Fatal(err)
	}
	return rows
}

// TestPlainAlike: plain builds are stored alike, whether one is created alone,
// some of a kind, thousands at once, or in a transaction with other things.
func TestPlainAlike(t *testing.T) {
	s, _, _, _ := openPair(t)
	ctx := context.Background()
	kinds := plainKinds(t)
	var alone, some []int64
	for _, n := range kinds {
		run, builds, err := s.CreateRun(ctx, n)
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.Build(ctx, run.ID)
		if err != nil {
			t.Fatal(err)
		}
		builds[0].Kwargs = cleanBytes(builds[0].Kwargs)
		if diff := cmp.Diff(*b, builds[0]); diff != "" {
			t.Errorf("the answer is not what is stored: %s", diff)
		}
		alone = append(alone, b.ID)
		ids, err := s.CreateRuns(ctx, []jobcontrol.NewRun{n, n, n})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.IsSorted(ids) || len(ids) != 3 || ids[0] <= run.ID {
			t.Errorf("ids are %d after %d", ids, run.ID)
		}
		some = append(some, ids[2])
	}
	if len(kinds) <= maxGroups {
		t.Fatal("all kinds would be written in groups")
	}
	thousands := slices.Concat(slices.Repeat(kinds[:1], maxBatch), kinds)
	copied, err := s.CreateRuns(ctx, kinds)
	if err != nil {
		t.Fatal(err)
	}
	many, err := s.CreateRuns(ctx, thousands)
	if err != nil {
		t.Fatal(err)
	}
	many = many[maxBatch:]
	var slowly []int64
	if err := s.create(ctx, kinds, func(_ int, r *jobcontrol.Run, _ []jobcontrol.Build) { slowly = append(slowly, r.ID) }); err != nil {
		t.Fatal(err)
	}
	rows := stored(t, s, slowly)
	if len(rows) != len(kinds) || !strings.Contains(rows[0], `"lone": true`) || !strings.Contains(rows[0], `"rank": 0`) {
		t.Fatalf("stored: %s", rows)
	}
	for what, ids := range map[string][]int64{"alone": alone, "some": some, "copied": copied, "many": many} {
		if diff := cmp.Diff(rows, stored(t, s, ids)); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	heads, err := s.Heads(ctx, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range kinds[:len(kinds)-1] {
		each := 7
		if i == 0 {
			each += maxBatch
		}
		if h := heads[fmt.Sprint("job", i)]; h.Latest != slowly[i] || h.Unfinished != each {
			t.Errorf("job%d: latest is %d, not %d; %d are unfinished, not %d", i, h.Latest, slowly[i], h.Unfinished, each)
		}
	}
}

// batch writes operations in one transaction, and returns the ids of each; nil: it was not written.
func batch(t *testing.T, s *Store, many ...[]jobcontrol.NewRun) (ids [][]int64) {
	t.Helper()
	var ops []*queued
	for _, m := range many {
		ops = append(ops, &queued{op: &createOp{many: m}})
	}
	if err := s.useWriter(context.Background(), func(c *conn) error {
		_, _, err := s.w.transaction(c, ops)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, q := range ops {
		o := q.op.(*createOp)
		if o.written != (len(o.ids) == len(o.many)) {
			t.Errorf("written is %v, with %d ids", o.written, len(o.ids))
		}
		ids = append(ids, o.ids)
	}
	return ids
}

// TestPlainDraining: what names a draining service is not written, the others of
// its batch are; of several builds that belong together, all are or none.
func TestPlainDraining(t *testing.T) {
	s, _, _, _ := openPair(t)
	ctx := context.Background()
	yes := true
	if err := s.PutServices(ctx, "", []jobcontrol.Service{{Name: "full", Manual: true, Draining: yes}}); err != nil {
		t.Fatal(err)
	}
	good, full := loneBuild(t, "good"), loneBuild(t, "full")
	full.Builds[0].Build.Service = "full"
	both := []jobcontrol.NewRun{good, full, good}
	for what, ids := range map[string][][]int64{
		"lone":   batch(t, s, []jobcontrol.NewRun{good}, []jobcontrol.NewRun{full}),
		"some":   batch(t, s, []jobcontrol.NewRun{good, good}, []jobcontrol.NewRun{full, full}),
		"mixed":  batch(t, s, []jobcontrol.NewRun{good}, both),
		"copied": batch(t, s, slices.Repeat([]jobcontrol.NewRun{good}, maxGrouped), both, []jobcontrol.NewRun{full}),
	} {
		for i, list := range ids {
			if (list != nil) != (i == 0) {
				t.Errorf("%s: operation %d has the ids %d", what, i, list)
			}
		}
	}
	_, err := s.CreateRuns(ctx, both)
	code(t, err, jobcontrol.Conflict)
	_, _, err = s.CreateRun(ctx, full)
	code(t, err, jobcontrol.Conflict)
	heads, err := s.Heads(ctx, "", nil)
	if err != nil || heads["full"].Unfinished != 0 || heads["good"].Unfinished != 1+2+1+maxGrouped {
		t.Errorf("%v, %+v", err, heads)
	}
}

// TestPlainTooGreat: a number that its column cannot hold harms only the build that has it.
func TestPlainTooGreat(t *testing.T) {
	s, _, _, _ := openPair(t)
	ctx := context.Background()
	bad := loneBuild(t, "bad")
	bad.Builds[0].Build.Tries = 1 << 40
	kinds := plainKinds(t)
	errs := make([]error, 3*len(kinds))
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			many := []jobcontrol.NewRun{kinds[i%len(kinds)]}
			if i == 1 {
				many = append(many, bad)
			}
			_, errs[i] = s.CreateRuns(ctx, many)
		})
	}
	wg.Wait()
	for i, err := range errs {
		if (err == nil) != (i != 1) {
			t.Errorf("%d: %v", i, err)
		}
	}
	_, err := s.CreateRuns(ctx, append(slices.Clone(kinds), bad))
	if err == nil {
		t.Error("it was copied")
	}
	builds, err := s.ListBuilds(ctx, jobcontrol.BuildFilter{Limit: -1})
	if err != nil || len(builds) != len(errs)-1 {
		t.Errorf("%v, %d builds", err, len(builds))
	}
}

// TestPlainBesideFailure: a build whose batch fails because of something else is
// created all the same, and not only said to be.
func TestPlainBesideFailure(t *testing.T) {
	s, _, l, _ := openPair(t)
	ctx := context.Background()
	lone(t, s, "a", 1)
	claimed := claim(t, s, l, 1)
	busy := func(n int) (waiting int) {
		s.w.mu.Lock()
		defer s.w.mu.Unlock()
		s.w.writing += n
		return len(s.w.queue)
	}
	busy(s.opts.Writers)
	created, finished := make(chan error), make(chan error)
	go func() {
		run, _, err := s.CreateRun(ctx, loneBuild(t, "b"))
		if err == nil {
			_, err = s.Build(ctx, run.ID)
		}
		created <- err
	}()
	go func() {
		_, err := s.Finish(ctx, claimed[0].Claim, success(1<<40)) // more than its column holds
		finished <- err
	}()
	for busy(0) < 2 {
		time.Sleep(time.Millisecond)
	}
	s.w.run()
	busy(1 - s.opts.Writers)
	if err := <-created; err != nil {
		t.Errorf("the build was not created: %v", err)
	}
	if <-finished == nil {
		t.Error("the other one ended")
	}
}

// TestPlainForgotten: where the tables were made anew, nothing is stored with
// what was remembered of the old ones.
func TestPlainForgotten(t *testing.T) {
	s, other, _, _ := openPair(t)
	ctx := context.Background()
	lone(t, s, "a", 1)
	kinds := plainKinds(t)
	if _, err := s.CreateRuns(ctx, kinds); err != nil {
		t.Fatal(err)
	}
	for what, write := range map[string]func() error{
		"lone": func() error { _, _, err := s.CreateRun(ctx, loneBuild(t, "job3")); return err },
		"some": func() error { _, err := s.CreateRuns(ctx, slices.Repeat(kinds[3:4], 3)); return err },
		"many": func() error { _, err := s.CreateRuns(ctx, kinds); return err },
	} {
		if err := errors.Join(other.Uninstall(ctx), other.Install(ctx), write()); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if err := other.readOne(ctx, func(c *conn) error {
			n, err := c.number(`SELECT count(*) FROM {builds} b WHERE NOT EXISTS (SELECT 1 FROM {heads} h WHERE h.id = b.head AND h.latest >= b.id)`)
			if err == nil && n > 0 {
				err = fmt.Errorf("%d builds have no head", n)
			}
			return err
		}); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := s.CreateRuns(ctx, kinds); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPlainTogether: programs that create builds of the same jobs in every way
// keep the heads right, and each has its own ids, in order.
func TestPlainTogether(t *testing.T) {
	one, two, _, _ := openPair(t)
	ctx := context.Background()
	var mu sync.Mutex
	seen := map[int64]bool{}
	latest := map[string]int64{}
	var wg sync.WaitGroup
	for i := range 12 {
		s := []*Store{one, two}[i%2]
		wg.Go(func() {
			for k := range 30 {
				many := make([]jobcontrol.NewRun, 1+(i*7+k*13)%20)
				for m := range many {
					many[m] = loneBuild(t, fmt.Sprint("job", (i+k)%3))
				}
				if k%10 == 0 {
					many = slices.Repeat(many, maxGrouped/len(many)+1)
				}
				ids, err := s.CreateRuns(ctx, many)
				if err != nil {
					t.Error(err)
					return
				}
				if len(ids) != len(many) || !slices.IsSorted(ids) {
					t.Errorf("%d ids for %d builds", len(ids), len(many))
				}
				mu.Lock()
				for m, id := range ids {
					job := many[m].Builds[0].Build.Job
					if latest[job] = max(latest[job], id); seen[id] {
						t.Errorf("id %d was given twice", id)
					}
					seen[id] = true
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	heads, err := two.Heads(ctx, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	unfinished := 0
	for job, h := range heads {
		unfinished += h.Unfinished
		if h.Latest != latest[job] || h.LatestState != jobcontrol.Queued {
			t.Errorf("%s: %+v, not %d", job, h, latest[job])
		}
	}
	if unfinished != len(seen) {
		t.Errorf("%d builds are unfinished, not %d", unfinished, len(seen))
	}
}
