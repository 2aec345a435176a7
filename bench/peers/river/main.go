// River executes the comparison's jobs with River on PostgreSQL.
package main

import (
	"context"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

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
	pool   *pgxpool.Pool
	client *river.Client[pgx.Tx] // that only enqueues
}

func open(ctx context.Context, o peer.Options) (peer.System, error) {
	cfg, err := pgxpool.ParseConfig(o.DSN)
	if err != nil {
		return nil, err
	}
	if o.Conns > 0 {
		cfg.MaxConns = int32(o.Conns)
	}
	s := &system{o: o}
	if s.pool, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return nil, err
	}
	s.client, err = river.NewClient(riverpgxv5.New(s.pool), &river.Config{Logger: slog.New(slog.DiscardHandler)})
	return s, err
}

// Install implements [peer.System].
func (s *system) Install(ctx context.Context) error {
	m, err := rivermigrate.New(riverpgxv5.New(s.pool), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
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

// InsertMany implements [peer.System]. Tuned it is River's COPY, else its multi-row INSERT.
func (s *system) InsertMany(ctx context.Context, jobs []peer.Job) error {
	params := make([]river.InsertManyParams, len(jobs))
	for i, j := range jobs {
		params[i].Args = args{j}
	}
	var err error
	if s.o.Tuned {
		_, err = s.client.InsertManyFast(ctx, params)
	} else {
		_, err = s.client.InsertMany(ctx, params)
	}
	return err
}

// Final implements [peer.System].
func (s *system) Final(ctx context.Context, id string) (final bool, err error) {
	err = s.pool.QueryRow(ctx, "SELECT finalized_at IS NOT NULL FROM river_job WHERE id = $1::text::bigint", id).Scan(&final)
	return final, err
}

// Left implements [peer.System].
func (s *system) Left(ctx context.Context) (left bool, err error) {
	err = s.pool.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM river_job
		WHERE state IN ('available', 'running', 'retryable', 'scheduled', 'pending'))`).Scan(&left)
	return left, err
}

// Count implements [peer.System].
func (s *system) Count(ctx context.Context) (finished, left int64, err error) {
	err = s.pool.QueryRow(ctx, `SELECT count(*) FILTER (WHERE state = 'completed' AND attempt = 1),
		count(*) FILTER (WHERE finalized_at IS NULL) FROM river_job`).Scan(&finished, &left)
	return finished, left, err
}

// Work implements [peer.System].
func (s *system) Work(ctx context.Context, handle func(peer.Job)) (func(context.Context) error, error) {
	workers := river.NewWorkers()
	river.AddWorker(workers, &noop{handle: handle})
	slots := s.o.Slots
	if slots == 0 {
		slots = 100 // River has no default; its documentation begins with this
	}
	cfg := &river.Config{
		Logger:  slog.New(slog.DiscardHandler),
		Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: slots}},
		Workers: workers,
	}
	if s.o.Tuned {
		cfg.FetchCooldown = 2 * time.Millisecond
		cfg.FetchPollInterval = 20 * time.Millisecond
	}
	c, err := river.NewClient(riverpgxv5.New(s.pool), cfg)
	if err != nil {
		return nil, err
	}
	return c.Stop, c.Start(ctx)
}
