package sqlite

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// gathered keeps the writer busy while writes are put into its queue in a given
// order, so that they become one transaction.
type gathered struct {
	s       *Store
	release chan struct{}
	wg      sync.WaitGroup
	errs    map[string]*error
}

func gather(s *Store) *gathered {
	g := &gathered{s: s, release: make(chan struct{}), errs: map[string]*error{}}
	held := make(chan struct{})
	g.wg.Go(func() {
		_ = s.write(context.Background(), "test", func(*tx) error {
			close(held)
			<-g.release
			return nil
		})
	})
	<-held
	return g
}

// add calls a write and waits until it is queued.
func (g *gathered) add(name string, call func() error) {
	err := new(error)
	g.errs[name] = err
	n := len(g.errs)
	g.wg.Go(func() { *err = call() })
	for {
		g.s.w.mu.Lock()
		queued := len(g.s.w.queue)
		g.s.w.mu.Unlock()
		if queued == n {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// want lets the writer go on and fails the test unless the codes are as given.
func (g *gathered) want(t *testing.T, codes map[string]jobcontrol.Code) {
	t.Helper()
	close(g.release)
	g.wg.Wait()
	for name, want := range codes {
		if got := jobcontrol.CodeOf(*g.errs[name]); got != want {
			t.Errorf("%s: %v (%q), want %q", name, *g.errs[name], got, want)
		}
	}
}

// TestGroup: one write that fails does not take its neighbours with it, and one
// that was given up before it was begun is not executed.
func TestGroup(t *testing.T) {
	s, _ := openTest(t, Options{})
	ctx := context.Background()
	put := func(t *tx, key string) error {
		_, err := t.exec(`INSERT INTO meta (key, value) VALUES (?, 'x')`, key)
		return err
	}
	g := gather(s)
	write := func(name string, ctx context.Context, f func(*tx) error) {
		g.add(name, func() error { return s.write(ctx, name, f) })
	}
	write("good", ctx, func(t *tx) error { return put(t, "good") })
	write("refused", ctx, func(*tx) error { return jobcontrol.Errorf(jobcontrol.Conflict, "no") })
	write("late refusal", ctx, func(t *tx) error {
		return errors.Join(put(t, "late"), jobcontrol.Errorf(jobcontrol.Conflict, "no"))
	})
	write("broken", ctx, func(t *tx) error {
		_, err := t.exec(`INSERT INTO nowhere VALUES (1)`)
		return errors.Join(put(t, "broken"), err)
	})
	given, give := context.WithCancel(ctx)
	gone := make(chan struct{})
	g.add("given up", func() error {
		defer close(gone)
		return s.write(given, "given up", func(t *tx) error { return put(t, "given up") })
	})
	write("last", ctx, func(t *tx) error { return put(t, "last") })
	give()
	<-gone
	g.want(t, map[string]jobcontrol.Code{
		"good": "", "refused": jobcontrol.Conflict, "late refusal": jobcontrol.Conflict, "broken": jobcontrol.Internal,
		"given up": jobcontrol.Interrupted, "last": "",
	})
	for key, want := range map[string]int64{"good": 1, "late": 0, "broken": 0, "given up": 0, "last": 1} {
		if err := s.readOne(ctx, func(c *conn) error {
			n, err := c.number(`SELECT count(*) FROM meta WHERE key = ?`, key)
			if n != want {
				t.Errorf("%s: %d rows", key, n)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	}
}

// TestGroupLease: within one transaction a lease is lost from where it is taken
// away on.
func TestGroupLease(t *testing.T) {
	ctx := context.Background()
	for name, end := range map[string]func(s *Store, l jobcontrol.Lease) error{
		"unregister": func(s *Store, l jobcontrol.Lease) error { return s.Unregister(ctx, l) },
		"rescue": func(s *Store, _ jobcontrol.Lease) error {
			_, err := s.Rescue(ctx, func(jobcontrol.Process) (alive, known bool) { return false, true })
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, l := openTest(t, Options{})
			_, builds, err := s.CreateRun(ctx, chains(t, "job", 2, 1, &l)) // of one Run: its builds keep their claims
			if err != nil {
				t.Fatal(err)
			}
			a, b := builds[0], builds[1]
			finish := func(b jobcontrol.Build) func() error {
				return func() error {
					_, err := s.Finish(ctx, b.Claim, succeeded(1, time.Now()))
					return err
				}
			}
			g := gather(s)
			g.add("before", finish(a))
			g.add("end", func() error { return end(s, l) })
			g.add("after", finish(b))
			g.add("start", func() error { return s.Start(ctx, []jobcontrol.Claim{b.Claim}, nil) })
			g.want(t, map[string]jobcontrol.Code{"before": "", "end": "", "after": jobcontrol.LeaseLost, "start": jobcontrol.LeaseLost})
		})
	}
}
