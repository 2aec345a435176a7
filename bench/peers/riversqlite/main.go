// Riversqlite executes the comparison's jobs with River on SQLite.
package main

import (
	"context"
	"database/sql"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	_ "modernc.org/sqlite"

	"github.com/jobcontrol/jobcontrol/bench/peers/peer"
)

func main() { os.Exit(peer.Main(open)) }

type args struct{ peer.Job }

// Kind implements [river.JobArgs].
func (args) Kind() string { return "noop" }

type noop struct {
	river.WorkerDefaults[args]
	handle func(peer.Job)
}

// Work implements [river.Worker].
func (w *noop) Work(_ context.Context, j *river.Job[args]) error {
	w.handle(j.Args.Job)
	return nil
}

type system struct {
	o      peer.Options
	db     *sql.DB
	client *river.Client[*sql.Tx] // that only enqueues
}

func open(_ context.Context, o peer.Options) (peer.System, error) {
	db, err := sql.Open("sqlite", "file:"+o.DSN+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(10000)&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // as the driver's documentation asks for
	s := &system{o: o, db: db}
	s.client, err = river.NewClient(riversqlite.New(db), &river.Config{Logger: slog.New(slog.DiscardHandler)})
	return s, err
}

// Install implements [peer.System].
func (s *system) Install(ctx context.Context) error {
	m, err := rivermigrate.New(riversqlite.New(s.db), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	_, err = m.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

// Insert implements [peer.System].
func (s *system) Insert(ctx context.Context, j peer.Job) (string, error) {
	r, err := s.client.Insert(ctx, args{j}, nil)
	if err != nil {
		return "", err
	}
	return strconv.FormatInt(r.Job.ID, 10), nil
}

// InsertMany implements [peer.System].
func (s *system) InsertMany(ctx context.Context, jobs []peer.Job) error {
	params := make([]river.InsertManyParams, len(jobs))
	for i, j := range jobs {
		params[i].Args = args{j}
	}
	_, err := s.client.InsertManyFast(ctx, params)
	return err
}

// Final implements [peer.System].
func (s *system) Final(ctx context.Context, id string) (final bool, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT finalized_at IS NOT NULL FROM river_job WHERE id = CAST(? AS integer)", id).Scan(&final)
	return final, err
}

// Left implements [peer.System].
func (s *system) Left(ctx context.Context) (left bool, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM river_job
		WHERE state IN ('available', 'running', 'retryable', 'scheduled', 'pending'))`).Scan(&left)
	return left, err
}

// Count implements [peer.System].
func (s *system) Count(ctx context.Context) (finished, left int64, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT count(*) FILTER (WHERE state = 'completed' AND attempt = 1),
		count(*) FILTER (WHERE finalized_at IS NULL) FROM river_job`).Scan(&finished, &left)
	return finished, left, err
}

// Work implements [peer.System].
func (s *system) Work(ctx context.Context, handle func(peer.Job)) (func(context.Context) error, error) {
	workers := river.NewWorkers()
	river.AddWorker(workers, &noop{handle: handle})
	cfg := &river.Config{
		Logger:  slog.New(slog.DiscardHandler),
		Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: max(s.o.Slots, 1)}},
		Workers: workers,
	}
	if s.o.Tuned {
		cfg.FetchCooldown = 2 * time.Millisecond
		cfg.FetchPollInterval = 20 * time.Millisecond
	}
	c, err := river.NewClient(riversqlite.New(s.db), cfg)
	if err != nil {
		return nil, err
	}
	return c.Stop, c.Start(ctx)
}
