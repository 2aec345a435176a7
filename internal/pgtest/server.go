package pgtest

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

// Server is a cluster that is started when the first test wants it. The zero
// value is one; it is safe for concurrent use.
type Server struct {
	Options Options

	once    sync.Once
	cluster *Cluster
	err     error
	number  atomic.Int64 // of databases and schemas
}

// Main runs the tests and then stops the server; it returns the exit status.
func (s *Server) Main(m *testing.M) int {
	code := m.Run()
	if err := s.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

// Close stops the server if it was started, for those who have a Main of their own.
func (s *Server) Close() error {
	s.once.Do(func() { s.err = fmt.Errorf("the server is closed") })
	if s.cluster == nil {
		return nil
	}
	return s.cluster.Close()
}

// Cluster returns the cluster, started.
func (s *Server) Cluster(tb testing.TB) *Cluster {
	tb.Helper()
	s.once.Do(func() { s.cluster, s.err = Start(s.Options) })
	if s.err != nil {
		tb.Fatal(s.err)
	}
	return s.cluster
}

// Database makes an empty database, which goes with the test, and returns its
// name and the URL for its owner.
func (s *Server) Database(tb testing.TB) (name, url string) {
	tb.Helper()
	c := s.Cluster(tb)
	name = "test" + strconv.FormatInt(s.number.Add(1), 10)
	s.exec(tb, "CREATE DATABASE "+name)
	tb.Cleanup(func() { s.exec(tb, "DROP DATABASE "+name+" WITH (FORCE)") })
	return name, c.URL("postgres", name)
}

// Schema makes an empty schema in a database that all tests share, which goes
// with the test, and returns its name and a URL whose search_path it is. It costs
// half of a database.
func (s *Server) Schema(tb testing.TB) (name, url string) {
	tb.Helper()
	c := s.Cluster(tb)
	name = "test" + strconv.FormatInt(s.number.Add(1), 10)
	s.exec(tb, "CREATE SCHEMA "+name)
	tb.Cleanup(func() { s.exec(tb, "DROP SCHEMA "+name+" CASCADE") })
	return name, c.URL("postgres", "postgres") + "&search_path=" + name
}

func (s *Server) exec(tb testing.TB, text string) {
	tb.Helper()
	if err := s.cluster.Exec(context.Background(), "postgres", text); err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
}
