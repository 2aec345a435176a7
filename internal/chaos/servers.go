//go:build linux

package chaos

import (
	"context"
	"fmt"
	"sync"

	"github.com/jobcontrol/jobcontrol/internal/pgtest"
)

// servers are the PostgreSQL servers of a test. Scenarios that leave the server
// alone share one, each with a database of its own.
type servers struct {
	mu     sync.Mutex
	shared *pgtest.Cluster
	made   int
}

// durable are the settings of servers: commits are flushed, as in earnest.
func durable() pgtest.Options { return pgtest.Options{Durable: true} }

// database makes an empty database on the shared server and returns its URL.
func (s *servers) database(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shared == nil {
		c, err := pgtest.Start(durable())
		if err != nil {
			return "", err
		}
		s.shared = c
	}
	s.made++
	return createDatabase(ctx, s.shared, fmt.Sprintf("chaos%d", s.made))
}

// createDatabase makes a database and returns a URL through the port, as a
// worker of another machine has one.
func createDatabase(ctx context.Context, c *pgtest.Cluster, name string) (string, error) {
	if err := c.Exec(ctx, "postgres", "CREATE DATABASE "+name); err != nil {
		return "", err
	}
	return c.TCP("postgres", c.Password(), name), nil
}

// close stops the shared server.
func (s *servers) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shared == nil {
		return nil
	}
	return s.shared.Close()
}
