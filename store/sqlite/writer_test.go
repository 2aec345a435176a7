package sqlite

import (
	"context"
	"errors"
	"runtime"
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
		_ = s.write(context.Background(), "start", func(*tx) error { // a name before which nothing is settled
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

// TestBulkIsRolledBack: what was finished in bulk in a transaction that had to be
// rolled back because of another write is finished all the same.
func TestBulkIsRolledBack(t *testing.T) {
	s, l := openTest(t, Options{})
	ctx := context.Background()
	fill(t, s, 2*bulkRows)
	c, err := s.Claim(ctx, l, jobcontrol.Wanted{Services: []string{"default"}, N: 2 * bulkRows})
	if err != nil {
		t.Fatal(err)
	}
	entered, leave := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = s.write(ctx, "finish", func(*tx) error {
			close(entered)
			<-leave
			return nil
		})
	})
	<-entered // all that comes now is one transaction
	for i := range c.Builds {
		wg.Go(func() {
			if _, err := s.Finish(ctx, c.Builds[i].Claim, succeeded(1, time.Now())); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Go(func() {
		err := s.write(ctx, "finish", func(t *tx) error {
			if _, err := t.exec(`UPDATE sequences SET ran = ran + 1`); err != nil {
				return err
			}
			return jobcontrol.Errorf(jobcontrol.Conflict, "too late")
		})
		code(t, err, jobcontrol.Conflict)
	})
	for waiting := 0; waiting <= len(c.Builds); {
		s.w.mu.Lock()
		waiting = len(s.w.queue)
		s.w.mu.Unlock()
		runtime.Gosched()
	}
	close(leave)
	wg.Wait()
	builds, err := s.ListBuilds(ctx, jobcontrol.BuildFilter{Limit: -1})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range builds {
		if b.State != jobcontrol.Successful {
			t.Errorf("build %d is %s", b.ID, b.State)
		}
	}
	heads, err := s.Heads(ctx, "", nil)
	if err != nil || heads["job"].Unfinished != 0 || heads["job"].Good != builds[0].ID {
		t.Errorf("head: %+v, %v", heads["job"], err)
	}
}
