package postgres

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jobcontrol/jobcontrol"
)

// openTest opens a schema of its own with tables and a worker.
func openTest(t *testing.T) (*Store, jobcontrol.Lease) {
	t.Helper()
	s := openEmpty(t)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx := context.Background()
	if err := s.Install(ctx); err != nil {
		t.Fatal(err)
	}
	l, err := s.Register(ctx, jobcontrol.Process{}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return s, l
}

// past are the builds of jobs, which end in the past, a day each.
type past struct {
	*testing.T
	s *Store
	l jobcontrol.Lease
}

// day is so many days after the beginning of a long gone year.
func day(n int) time.Time { return time.Date(2020, 1, 1, 12, 0, 0, 0, time.UTC).AddDate(0, 0, n) }

// table makes a table of history for the days from one to before another.
func (p past) table(from, to int) {
	p.Helper()
	low, high := day(from).Add(-12*time.Hour).UnixMicro(), day(to).Add(-12*time.Hour).UnixMicro()
	p.exec(fmt.Sprintf(`CREATE TABLE {past_%d} PARTITION OF {history} FOR VALUES FROM (%d) TO (%d);
		INSERT INTO {partitions} VALUES (%d, %d, trim(both '"' from '{.past_%d}'))`, from, low, high, low, high, from))
}

func (p past) exec(text string) {
	p.Helper()
	if err := p.s.readOne(context.Background(), func(c *conn) error { return c.scripted(text) }); err != nil {
		p.Fatal(err)
	}
}

func (p past) number(text string) (n int64) {
	p.Helper()
	if err := p.s.readOne(context.Background(), func(c *conn) (err error) {
		n, err = c.number(text)
		return err
	}); err != nil {
		p.Fatal(err)
	}
	return n
}

// ended makes a Run of jobs that all end successful on a day, and returns its builds.
func (p past) ended(on int, jobs ...string) []jobcontrol.Build {
	p.Helper()
	ctx := context.Background()
	n := jobcontrol.NewRun{Run: jobcontrol.Run{Verb: jobcontrol.VerbRun}, Lease: &p.l}
	for _, job := range jobs {
		body, hash, err := (&jobcontrol.Job{ID: job, Run: &jobcontrol.Task{Shell: "true"}}).Definition()
		if err != nil {
			p.Fatal(err)
		}
		n.Builds = append(n.Builds, jobcontrol.NewBuild{Build: jobcontrol.Build{Job: job, Tries: 1}, Definition: body, Hash: hash})
	}
	run, builds, err := p.s.CreateRun(ctx, n)
	if err != nil {
		p.Fatal(err)
	}
	for _, b := range builds {
		if _, err := p.s.Finish(ctx, b.Claim, jobcontrol.Ended{
			State: jobcontrol.Successful, Changed: true, Logs: []jobcontrol.LogRecord{{Message: "line"}},
			Attempt: jobcontrol.Attempt{Number: 1, StartedAt: day(on), FinishedAt: day(on)},
		}); err != nil {
			p.Fatal(err)
		}
	}
	if _, err := p.s.FinishRun(ctx, run.ID, p.l); err != nil {
		p.Fatal(err)
	}
	return builds
}

// TestPruneTables: a table of history that is old as a whole is dropped, with
// all that belongs to its builds; those that are needed move before.
func TestPruneTables(t *testing.T) {
	ctx := context.Background()
	s, l := openTest(t)
	p := past{t, s, l}
	for from := 0; from < 28; from += 7 {
		p.table(from, from+7)
	}
	last := map[string]int64{}
	for on := range 28 {
		for _, b := range p.ended(on, "a", "b", fmt.Sprint("only on ", on)) {
			last[b.Job] = b.ID
		}
	}
	heads, err := s.Heads(ctx, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := p.number(`SELECT count(*) FROM {history_rest}`); n != 0 {
		t.Fatalf("%d builds have no table", n)
	}
	// The middle of the fourth week: three go as tables, the half of one by one.
	var sum jobcontrol.Pruned
	calls := 0
	for more := true; more; calls++ {
		got, err := s.Prune(ctx, day(24), 2)
		if err != nil {
			t.Fatal(err)
		}
		more, sum.Builds, sum.Runs = got.More, sum.Builds+got.Builds, sum.Runs+got.Runs
	}
	if calls < 3+3 || sum.Builds != 24*2 || sum.Runs != 0 {
		t.Errorf("%d calls removed %+v", calls, sum)
	}
	if n := p.number(`SELECT count(*) FROM {partitions} WHERE low < 1700000000000000`); n != 1 {
		t.Errorf("%d old tables are left", n)
	}
	for table, want := range map[string]int64{"history_rest": 21, "history": 28 + 2*4, "logs": 28 + 2*4, "runs": 28} {
		if n := p.number(`SELECT count(*) FROM {` + table + `}`); n != want {
			t.Errorf("%s: %d rows, want %d", table, n, want)
		}
	}
	after, err := s.Heads(ctx, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(heads, after); d != "" {
		t.Errorf("heads (-before +after):\n%s", d)
	}
	r, err := s.Run(ctx, last["only on 3"]-3)
	if err != nil || r.Counts.Total() != 1 {
		t.Errorf("the Run of the fourth day: %+v, %v", r, err)
	}
	for job, id := range last {
		if _, err := s.Build(ctx, id); err != nil {
			t.Errorf("the last build of %q: %v", job, err)
		}
	}
	// What moved is not needed once it is followed by another.
	for on := range 28 {
		p.ended(300, fmt.Sprint("only on ", on))
	}
	for more := true; more; {
		got, err := s.Prune(ctx, day(24), 10)
		if err != nil {
			t.Fatal(err)
		}
		more, sum.Builds, sum.Runs = got.More, sum.Builds+got.Builds, sum.Runs+got.Runs
	}
	if sum.Builds != 24*3 || sum.Runs != 24 {
		t.Errorf("in the end %+v", sum)
	}
}

// TestPruneLarge: of a large table nothing is removed one by one; it goes when
// all of it is old.
func TestPruneLarge(t *testing.T) {
	ctx := context.Background()
	s, l := openTest(t)
	p := past{t, s, l}
	p.table(0, 7)
	p.table(7, 14)
	for on := range 14 {
		p.ended(on, "a")
	}
	p.exec(`UPDATE pg_class SET reltuples = 1000000 WHERE oid = '{past_7}'::regclass`)
	for _, step := range []struct{ before, removed int }{{10, 7}, {13, 0}, {14, 6}} {
		removed := 0
		for more := true; more; {
			got, err := s.Prune(ctx, day(step.before).Add(-12*time.Hour), 5)
			if err != nil {
				t.Fatal(err)
			}
			more, removed = got.More, removed+got.Builds
		}
		if removed != step.removed {
			t.Errorf("before day %d: %d were removed, want %d", step.before, removed, step.removed)
		}
	}
}

// TestPruneInterrupted: whatever fails, the next call does the rest.
func TestPruneInterrupted(t *testing.T) {
	ctx := context.Background()
	s, l := openTest(t)
	p := past{t, s, l}
	p.table(0, 7)
	for on := range 7 {
		p.ended(on, "a")
	}
	c, err := s.pool.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// Somebody reads history for a long time.
	if _, err := c.Exec(ctx, s.sql(`BEGIN; SELECT count(*) FROM {history}`)); err != nil {
		t.Fatal(err)
	}
	_, err = s.Prune(ctx, day(8), 5)
	code(t, err, jobcontrol.Unavailable)
	if n := p.number(`SELECT count(*) FROM {history}`); n != 7 {
		t.Errorf("%d builds are left", n)
	}
	if _, err := c.Exec(ctx, `ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	c.Release()
	got, err := s.Prune(ctx, day(8), 5)
	if err != nil || got.Builds != 6 {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestPruneNeededSince: what belongs to builds that are needed since those of a
// table were looked for stays, and they are kept.
func TestPruneNeededSince(t *testing.T) {
	s, l := openTest(t)
	p := past{t, s, l}
	p.table(0, 7)
	var newest int64
	for on := range 7 {
		newest = p.ended(on, "a")[0].ID
	}
	one := &pruning{low: day(0).Add(-12 * time.Hour).UnixMicro(), high: day(7).Add(-12 * time.Hour).UnixMicro()}
	var kept []int64
	if err := s.write(context.Background(), "prune", func(t *tx) (err error) {
		_, kept, err = t.strip(one, 0, []int64{})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]int64{newest}, kept); d != "" {
		t.Errorf("kept (-want +got):\n%s", d)
	}
	if n := p.number(`SELECT build FROM {logs}`); n != newest {
		t.Errorf("the log of build %d is left, want that of %d", n, newest)
	}
	if n := p.number(`SELECT count(*) FROM {logs}`); n != 1 {
		t.Errorf("%d logs are left", n)
	}
}

// TestExtend: tables of history are made ahead by whoever comes first, and take
// over what went to the rest before.
func TestExtend(t *testing.T) {
	ctx := context.Background()
	s := openEmpty(t)
	defer s.Close()
	if err := s.Install(ctx); err != nil {
		t.Fatal(err)
	}
	l := jobcontrol.Lease{Epoch: 1}
	if err := s.readOne(ctx, func(c *conn) (err error) {
		l.Worker, err = c.number(`INSERT INTO {workers} (pid, start_time, boot_id, pid_space, host, started_at, lease_until) VALUES (0, 0, '', '', '', 0, 0) RETURNING id`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	p := past{t, s, l}
	now, err := s.Now(ctx)
	if err != nil {
		t.Fatal(err)
	}
	today := int(now.Sub(day(0).Add(-12*time.Hour)).Hours()) / 24
	b := p.ended(today, "a")
	old := p.ended(3, "a")
	if n := p.number(`SELECT count(*) FROM {history_rest}`); n != 2 {
		t.Fatalf("%d builds are without a table, want 2", n)
	}
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			other, err := Open(ctx, s.opts)
			if err != nil {
				t.Error(err)
				return
			}
			other.extend(ctx)
			if until := other.history.until.Load(); until < now.Add(ahead).UnixMicro() {
				t.Errorf("history has tables until %d", until)
			}
			_ = other.Close() // it never fails
		})
	}
	all.Wait()
	if n := p.number(`SELECT count(*) FROM {partitions}`); n != 1 {
		t.Errorf("%d tables were made", n)
	}
	if n := p.number(`SELECT id FROM {history_rest}`); n != old[0].ID {
		t.Errorf("build %d is in the rest", n)
	}
	if _, err := s.Build(ctx, b[0].ID); err != nil {
		t.Error(err)
	}
	// Where a week has too much for one table, the following ones are days.
	p.exec(`UPDATE pg_class SET reltuples = 3000000 WHERE relname = (SELECT name FROM {partitions}) AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = '{history}'::regclass)`)
	if n := p.number(`SELECT {extend_history}(high + 86400000000) - high FROM {partitions}`); n != 2*86400_000_000 {
		t.Errorf("two days more are %s", time.Duration(n)*time.Microsecond)
	}
}
