//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
	"github.com/jobcontrol/jobcontrol/internal/pgtest"
	"github.com/jobcontrol/jobcontrol/store/postgres"
	"github.com/jobcontrol/jobcontrol/store/sqlite"
	"github.com/jobcontrol/jobcontrol/worker"
)

// kept is how long builds are kept in a store whose days are looked at.
const kept = 24 * time.Hour

// days executes one day of builds after the other, prunes at the end of each, and
// looks how large the store is.
type days struct {
	*trial
	store  jobcontrol.Store
	client *worker.Client
	exec   jobcontrol.Executor
	jobs   []*jobcontrol.Job
	large  int // bytes that each result has beside the others
	size   func() int64
	tidy   func()            // what the server does by itself in a day; may be nil
	pass   func(day float64) // lets the store's time be so many days after the start
}

// what a build of a day is told, and what it returns.
type (
	dayInput struct {
		N    int `json:"n"`
		Size int `json:"size"` // of its result, beside what it has anyway
	}
	dayOutput struct {
		N    int    `json:"n"`
		Text string `json:"text"`
	}
)

// newDays makes jobs and what executes them.
func newDays(t *trial, store jobcontrol.Store) *days {
	reg := jobcontrol.NewRegistry()
	jobcontrol.Handle(reg, "day:work", func(ctx context.Context, in dayInput) (out dayOutput, err error) {
		x, err := jobcontrol.Current(ctx)
		if err != nil {
			return out, err
		}
		out = dayOutput{in.N, strings.Repeat("r", in.Size+20+in.N%80)}
		log := jobcontrol.Logger(ctx, "day")
		switch in.N % 100 {
		case 0: // a long log
			for i := range 200 {
				log.Info("a line of a long log", "i", i, "text", strings.Repeat("x", i))
			}
		case 1, 2, 3:
			return out, errors.New("it fails")
		case 4, 5:
			if x.Attempt == 1 {
				return out, errors.New("it fails at first")
			}
		case 6, 7, 8:
			err = jobcontrol.Report(ctx, "items", int64(in.N), 100_000, "on the way")
		case 9:
			out.Text = strings.Repeat("large", 1000)
		default:
			if in.N%10 == 0 {
				log.Info("a line", "n", in.N)
			}
		}
		return out, err
	})
	d := &days{trial: t, store: store, exec: executor.New(executor.Config{Registry: reg})}
	none := time.Duration(0)
	for i := range 20 {
		d.jobs = append(d.jobs, &jobcontrol.Job{ID: fmt.Sprintf("day%d", i), Tries: 2, RetryDelay: &none, Run: &jobcontrol.Task{Function: "day:work"}})
	}
	jobs, err := jobcontrol.NewJobs(d.jobs)
	t.must(err)
	d.client = worker.NewClient(worker.Config{Store: store, Jobs: jobs, Executor: d.exec, Registry: reg})
	return d
}

// run executes so many days of n builds and returns the size at the end of each,
// before what is old is removed.
func (d *days) run(ctx context.Context, many, n int) (sizes []int64) {
	for day := range many {
		d.execute(ctx, day, n)
		d.n += n
		sizes = append(sizes, d.size())
		removed := d.prune(ctx)
		if want := n * min(day, 1); removed < want*9/10 || removed > want+n/20 {
			d.Errorf("at the end of day %d %d builds of %d were removed", day+1, removed, want)
		}
		if d.tidy != nil {
			d.tidy()
		}
	}
	return sizes
}

// execute makes and executes the builds of a day, a part after the other.
func (d *days) execute(ctx context.Context, day, n int) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d.pass(float64(day))
	p := worker.NewPool(worker.PoolConfig{Store: d.store, Executor: d.exec, Parallel: 64, TTL: time.Minute, Log: quiet()})
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	defer func() {
		cancel()
		d.must(<-ended)
	}()
	part := max(n/20, 1)
	for made := 0; made < n; {
		d.pass(float64(day) + float64(made)/float64(n))
		for _, j := range d.jobs {
			batch := make([]jobcontrol.Enqueued, min((part+len(d.jobs)-1)/len(d.jobs), n-made))
			for i := range batch {
				kwargs, err := jobcontrol.EncodeArguments(map[string]any{"n": made + i, "size": d.large})
				d.must(err)
				batch[i] = jobcontrol.Enqueued{Kwargs: kwargs}
			}
			_, err := d.client.EnqueueMany(ctx, j, batch)
			d.must(err)
			made += len(batch)
		}
		for deadline := time.Now().Add(time.Minute); p.Stats().Finished < int64(made); time.Sleep(2 * time.Millisecond) {
			select {
			case err := <-ended:
				d.Fatalf("the pool ended: %v", err)
			default:
			}
			if time.Now().After(deadline) {
				d.Fatalf("%d builds of %d ended", p.Stats().Finished, made)
			}
		}
	}
}

// prune removes what is older than a day, as `jobcontrol prune` does.
func (d *days) prune(ctx context.Context) (removed int) {
	now, err := d.store.Now(ctx)
	d.must(err)
	r := d.store.(jobcontrol.Retention)
	for more := true; more; {
		done, err := r.Prune(ctx, now.Add(-kept), 1000)
		d.must(err)
		removed += done.Builds
		more = done.More
	}
	p := jobcontrol.LogPruning{Rules: jobcontrol.RetentionPolicy{Logs: jobcontrol.DefaultLogAges()}.Rules(now)}
	for more := true; more; more = p.After != 0 {
		done, err := r.PruneLogs(ctx, p, 1000)
		d.must(err)
		p.After = done.Next
	}
	return removed
}

// judge holds that the third day needs no more room than the second one did.
func (d *days) judge(sizes []int64) {
	var text []string
	for _, s := range sizes {
		text = append(text, fmt.Sprintf("%.1f", float64(s)/(1<<20)))
	}
	d.figure("MB at the end of each day: %s", strings.Join(text, ", "))
	if float64(sizes[2]) > 1.1*float64(sizes[1]) {
		d.Errorf("the store grows: %v bytes at the end of each day", sizes)
	}
}

// sqliteDays looks at a file and its log.
func sqliteDays(ctx context.Context, t *trial) {
	var passed atomic.Int64
	path := filepath.Join(t.dir, "state.db")
	s, err := sqlite.Open(ctx, path, sqlite.Options{Now: func() time.Time { return time.Now().Add(time.Duration(passed.Load())) }})
	t.must(err)
	defer s.Close()
	t.must(s.Install(ctx))
	d := newDays(t, s)
	d.pass = func(day float64) { passed.Store(int64(day * float64(24*time.Hour))) }
	d.size = func() (n int64) {
		for _, suffix := range []string{"", "-wal"} {
			info, err := os.Stat(path + suffix)
			t.must(err)
			n += info.Size()
		}
		return n
	}
	d.judge(d.run(ctx, 3, scaled(100_000, 4000)))
	found, err := s.Doctor(ctx)
	t.must(err)
	for _, f := range found {
		if f.Severity == jobcontrol.SeverityError && f.Check != "disk" {
			t.Errorf("doctor: %+v", f)
		}
	}
}

// postgresDays looks at a database whose clock is told what time it is: the
// store's statements name clock_timestamp and now without a schema.
func postgresDays(ctx context.Context, t *trial) {
	server, err := pgtest.Start(pgtest.Options{})
	t.must(err)
	defer func() { t.must(server.Close()) }()
	t.must(server.Exec(ctx, "postgres", `CREATE DATABASE days`))
	t.must(server.Exec(ctx, "days", `
		CREATE SCHEMA later;
		CREATE TABLE later.passed (by interval NOT NULL);
		INSERT INTO later.passed VALUES ('0');
		CREATE FUNCTION later.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT pg_catalog.clock_timestamp() + by FROM later.passed';
		CREATE FUNCTION later.now() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT pg_catalog.now() + by FROM later.passed';
		ALTER DATABASE days SET search_path = public, later, pg_catalog`))
	url := server.URL("postgres", "days")
	s, err := postgres.Open(ctx, postgres.Options{URL: url})
	t.must(err)
	defer s.Close()
	t.must(s.Install(ctx))
	c, err := pgx.Connect(ctx, url)
	t.must(err)
	defer c.Close(ctx)
	d := newDays(t, s)
	d.pass = func(day float64) {
		// Whole days: a lease must not end while a pool has it.
		_, err := c.Exec(ctx, `UPDATE later.passed SET by = make_interval(days => $1)`, int(day))
		t.must(err)
	}
	d.size = func() (n int64) {
		t.must(c.QueryRow(ctx, `SELECT pg_database_size('days')`).Scan(&n))
		return n
	}
	// Autovacuum has a day for it, not seconds.
	d.tidy = func() {
		_, err := c.Exec(ctx, `VACUUM (ANALYZE)`)
		t.must(err)
	}
	before, err := s.Now(ctx)
	t.must(err)
	d.pass(1)
	after, err := s.Now(ctx)
	t.must(err)
	if after.Sub(before) < 23*time.Hour {
		t.Fatalf("the store's clock is not ours: %v, %v", before, after)
	}
	d.judge(d.run(ctx, 3, scaled(20_000, 2000)))
}
