package server

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/worker"
)

// Config says what a [Server] works with.
type Config struct {
	// Lock is the path of the file by which one server at a time works; "": any
	// number may.
	Lock string
	// Pool is the pool of the server.
	Pool worker.PoolConfig
	// Retention says what is removed when it is old, at the start and then builds
	// every hour and log records every day; the zero value: nothing.
	Retention jobcontrol.RetentionPolicy
	// Pruner returns what removes it; needed with Retention.
	Pruner func() *worker.Pruner
}

// Server is a server that has its lock and was not run yet.
type Server struct {
	cfg  Config
	pool *worker.Pool
	lock *lock
}

// New takes the lock and makes a server. A lock that another process holds is a
// conflict that names it.
func New(cfg Config) (*Server, error) {
	s := &Server{cfg: cfg, pool: worker.NewPool(cfg.Pool)}
	if cfg.Lock == "" {
		return s, nil
	}
	var err error
	if s.lock, err = takeLock(cfg.Lock); err != nil {
		return nil, err
	}
	return s, nil
}

// Ready is closed when the server executes builds.
func (s *Server) Ready() <-chan struct{} { return s.pool.Ready() }

// Run works until ctx ends and everything that was begun has ended; see
// [worker.Pool.Run]. It is called once.
func (s *Server) Run(ctx context.Context) error {
	keeping, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if !s.cfg.Retention.Empty() {
			s.retain(keeping)
		}
	}()
	err := s.pool.Run(ctx)
	stop()
	select {
	case <-ended:
	case <-s.cfg.Pool.Abort: // an on_delete goes on
	}
	return err
}

// How often builds that are old are removed, and log records: for these the logs
// of all builds are looked through.
const (
	pruneBuilds = time.Hour
	pruneLogs   = 24 * time.Hour
)

// retain removes what is old until ctx ends. An error is told, and it is tried again later.
func (s *Server) retain(ctx context.Context) {
	log := s.cfg.Pool.Log
	if log == nil {
		log = slog.Default()
	}
	var logs time.Time // when they were looked through
	for ctx.Err() == nil {
		p := s.cfg.Pruner()
		now, err := s.cfg.Pool.Store.Now(ctx)
		if err == nil && s.cfg.Retention.Builds > 0 {
			err = p.Builds(ctx, now.Add(-s.cfg.Retention.Builds))
		}
		if rules := s.cfg.Retention.Rules(now); len(rules) > 0 && !now.IsZero() && time.Since(logs) >= pruneLogs {
			failed := p.Logs(ctx, jobcontrol.LogPruning{Rules: rules})
			if failed == nil {
				logs = time.Now()
			}
			err = errors.Join(err, failed)
		}
		tellPruned(log, p)
		if err != nil && ctx.Err() == nil {
			log.Warn("what is old could not be removed", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pruneBuilds):
		}
	}
}

// tellPruned tells what was removed and, once for each job and reason, what was not.
func tellPruned(log *slog.Logger, p *worker.Pruner) {
	if p.Pruned > 0 || p.Records > 0 {
		log.Info("what is old was removed", "builds", p.Pruned, "runs", p.Runs, "log_records", p.Records)
	}
	type reason struct {
		job, why string
		deleted  bool
	}
	count := map[reason]int{}
	var order []reason
	for _, l := range p.Left {
		r := reason{l.Job, l.Why, l.Deleted}
		if count[r]++; count[r] == 1 {
			order = append(order, r)
		}
	}
	for _, r := range order {
		what := "old builds are left"
		if r.deleted {
			what = "the on_delete of old builds has failed"
		}
		log.Warn(what, "job", r.job, "builds", count[r], "why", r.why)
	}
}

// Close gives the lock back.
func (s *Server) Close() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.close()
}
