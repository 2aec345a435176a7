package server

import (
	"context"
	"log/slog"
	"sync"
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
	// Retention says what is removed when it is old, at the start and every hour;
	// the zero value: nothing.
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
	var keeper sync.WaitGroup
	if !s.cfg.Retention.Empty() {
		keeper.Go(func() { s.retain(keeping) })
	}
	defer keeper.Wait()
	defer stop()
	return s.pool.Run(ctx)
}

// pruneEvery is how often what is old is removed.
const pruneEvery = time.Hour

// retain removes what is old until ctx ends. An error is told, and it is tried again later.
func (s *Server) retain(ctx context.Context) {
	log := s.cfg.Pool.Log
	if log == nil {
		log = slog.Default()
	}
	for {
		p := s.cfg.Pruner()
		now, err := s.cfg.Pool.Store.Now(ctx)
		if err == nil {
			err = p.Apply(ctx, s.cfg.Retention, now)
		}
		if p.Pruned > 0 || p.Records > 0 {
			log.Info("what is old was removed", "builds", p.Pruned, "runs", p.Runs, "log_records", p.Records)
		}
		for _, l := range p.Left {
			log.Warn("an old build is left, or its on_delete failed", "build", l.Build, "job", l.Job, "deleted", l.Deleted, "why", l.Why)
		}
		if err != nil && ctx.Err() == nil {
			log.Warn("what is old could not be removed", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pruneEvery):
		}
	}
}

// Close gives the lock back.
func (s *Server) Close() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.close()
}
