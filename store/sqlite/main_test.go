package sqlite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(play(role))
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// openTest makes a store with a worker.
func openTest(tb testing.TB, opts Options) (*Store, jobcontrol.Lease) {
	tb.Helper()
	return openAt(tb, filepath.Join(tb.TempDir(), "state.db"), opts)
}

func openAt(tb testing.TB, path string, opts Options) (*Store, jobcontrol.Lease) {
	tb.Helper()
	ctx := context.Background()
	s, err := Open(ctx, path, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	if err := s.Install(ctx); err != nil {
		tb.Fatal(err)
	}
	l, err := s.Register(ctx, jobcontrol.Process{PID: os.Getpid()}, time.Hour)
	if err != nil {
		tb.Fatal(err)
	}
	return s, l
}

// one creates a lone build and returns it.
func one(tb testing.TB, s *Store, l jobcontrol.Lease) jobcontrol.Build {
	tb.Helper()
	_, builds, err := s.CreateRun(context.Background(), chains(tb, "job", 1, 1, &l))
	if err != nil {
		tb.Fatal(err)
	}
	return builds[0]
}

func code(tb testing.TB, err error, want jobcontrol.Code) {
	tb.Helper()
	if got := jobcontrol.CodeOf(err); got != want {
		tb.Fatalf("error %v has the code %q, want %q", err, got, want)
	}
}
