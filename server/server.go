package server

import (
	"context"

	"github.com/jobcontrol/jobcontrol/worker"
)

// Config says what a [Server] works with.
type Config struct {
	// Lock is the path of the file by which one server at a time works; "": any
	// number may.
	Lock string
	// Pool is the pool of the server.
	Pool worker.PoolConfig
}

// Server is a server that has its lock and was not run yet.
type Server struct {
	pool *worker.Pool
	lock *lock
}

// New takes the lock and makes a server. A lock that another process holds is a
// conflict that names it.
func New(cfg Config) (*Server, error) {
	s := &Server{pool: worker.NewPool(cfg.Pool)}
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
func (s *Server) Run(ctx context.Context) error { return s.pool.Run(ctx) }

// Close gives the lock back.
func (s *Server) Close() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.close()
}
