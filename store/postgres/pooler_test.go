package postgres

import (
	"context"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/internal/pgtest"
	"github.com/jobcontrol/jobcontrol/store/storetest"
)

func startBouncer(t *testing.T, mode string, size int) *pgtest.Bouncer {
	t.Helper()
	b, err := server.Cluster(t).Bouncer(mode, size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// TestPgBouncer: in its transaction mode a store does all that it does without,
// also where transactions wait for each other's connections.
func TestPgBouncer(t *testing.T) {
	b := startBouncer(t, "transaction", 3)
	storetest.TestPlain(t, func(t *testing.T) jobcontrol.Store {
		name, _ := server.Schema(t)
		s, err := Open(context.Background(), Options{URL: b.URL("postgres") + "&search_path=" + name})
		if err != nil {
			t.Fatal(err)
		}
		if !s.opts.Pooled {
			t.Fatal("it was not detected")
		}
		return s
	})
}

// TestPoolerDetected: what hands out the server's connections is noticed, in
// every mode; the server itself is not taken for it.
func TestPoolerDetected(t *testing.T) {
	ctx := context.Background()
	for url, want := range map[string]bool{
		server.Cluster(t).URL("postgres", "postgres"):                                        false,
		server.Cluster(t).TCP("postgres", server.Cluster(t).Password(), "postgres"):          false,
		startBouncer(t, "session", 2).URL("postgres"):                                        true,
		startBouncer(t, "transaction", 2).URL("postgres") + "&application_name=jobcontrol":   true,
		startBouncer(t, "transaction", 1).URL("postgres") + "&table_prefix=x_&schema=public": true,
	} {
		s, err := Open(ctx, Options{URL: url})
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if s.opts.Pooled != want {
			t.Errorf("%s: pooled is %v", url, s.opts.Pooled)
		}
		if _, err := s.Now(ctx); err != nil {
			t.Errorf("%s: %v", url, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestPgBouncerNoHints: where nobody can listen, Listen says so at once.
func TestPgBouncerNoHints(t *testing.T) {
	b := startBouncer(t, "transaction", 2)
	name, _ := server.Schema(t)
	s, err := Open(context.Background(), Options{URL: b.URL("postgres"), Schema: name})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.Listen(ctx, func() {}); err != nil || ctx.Err() != nil {
		t.Errorf("Listen: %v, %v", err, ctx.Err())
	}
}
