package sqlite

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// crowd is a store with builds that a worker has claimed by one row of table claims.
type crowd struct {
	*testing.T
	s      *Store
	l      jobcontrol.Lease
	builds []jobcontrol.Build
}

func newCrowd(t *testing.T, n int) *crowd {
	t.Helper()
	c := &crowd{T: t}
	c.s, c.l = openTest(t, Options{})
	fill(t, c.s, n)
	c.builds = c.claim(c.s, c.l, n)
	if len(c.builds) != n || c.rows() != 1 {
		t.Fatalf("claimed %d builds by %d rows, want %d by one", len(c.builds), c.rows(), n)
	}
	return c
}

func (c *crowd) claim(s *Store, l jobcontrol.Lease, n int) []jobcontrol.Build {
	c.Helper()
	claimed, err := s.Claim(context.Background(), l, jobcontrol.Wanted{Services: []string{"default"}, N: n})
	if err != nil {
		c.Fatal(err)
	}
	return claimed.Builds
}

// rows is how many rows table claims has.
func (c *crowd) rows() (n int64) {
	c.Helper()
	if err := c.s.readOne(context.Background(), func(conn *conn) (err error) {
		n, err = conn.number(`SELECT count(*) FROM claims`)
		return err
	}); err != nil {
		c.Fatal(err)
	}
	return n
}

// finish ends builds, all in one transaction, and returns the answers.
func (c *crowd) finish(builds []jobcontrol.Build) []error {
	c.Helper()
	errs := make([]error, len(builds))
	var wg sync.WaitGroup
	g := gather(c.s)
	for i := range builds {
		e := succeeded(1, time.Now())
		wg.Add(1)
		c.s.FinishThen(context.Background(), builds[i].Claim, &e, func(_ *jobcontrol.Released, err error) {
			errs[i] = err
			wg.Done()
		})
	}
	close(g.release)
	g.wg.Wait()
	wg.Wait()
	return errs
}

// finished ends builds and holds that all are successful then.
func (c *crowd) finished(builds []jobcontrol.Build) {
	c.Helper()
	if err := errors.Join(c.finish(builds)...); err != nil {
		c.Fatal(err)
	}
	for i := range builds {
		c.is(builds[i].ID, jobcontrol.Successful)
	}
}

func (c *crowd) is(id int64, want jobcontrol.State) *jobcontrol.Build {
	c.Helper()
	b, err := c.s.Build(context.Background(), id)
	if err != nil || b.State != want {
		c.Fatalf("build %d: %+v, %v, want %s", id, b, err, want)
	}
	return b
}

// consistent holds the invariants of all tables.
func (c *crowd) consistent() {
	recorder{Store: c.s, t: c.T}.consistent()
	sound(c.T, c.s)
}

// TestManyClaims: builds that are claimed by one row end without their rows having
// been written before, and the claim is gone with the last of them.
func TestManyClaims(t *testing.T) {
	c := newCrowd(t, 401)
	if b := c.is(c.builds[7].ID, jobcontrol.Queued); b.Claim != c.builds[7].Claim {
		t.Errorf("claim %+v, want %+v", b.Claim, c.builds[7].Claim)
	}
	c.finished(c.builds[:400])
	if c.rows() != 1 {
		t.Error("the claim is gone before its last build")
	}
	c.consistent()
	c.finished(c.builds[400:])
	if c.rows() != 0 {
		t.Error("the claim outlives its builds")
	}
	c.consistent()
	b := c.is(c.builds[3].ID, jobcontrol.Successful)
	if b.Claim != c.builds[3].Claim || b.Attempts != 1 || b.TriesUsed != 1 {
		t.Errorf("%+v", b)
	}
}

// TestManyClaimsSpread: what changes one of such builds otherwise leaves the others
// claimed, in their own rows.
func TestManyClaimsSpread(t *testing.T) {
	ctx := context.Background()
	for name, change := range map[string]func(c *crowd, b *jobcontrol.Build) (left jobcontrol.State, err error){
		"start": func(c *crowd, b *jobcontrol.Build) (jobcontrol.State, error) {
			return jobcontrol.Running, c.s.Start(ctx, []jobcontrol.Claim{b.Claim}, nil)
		},
		"fail": func(c *crowd, b *jobcontrol.Build) (jobcontrol.State, error) {
			e := succeeded(1, time.Now())
			e.State, e.Changed, e.Attempt.Failure = jobcontrol.Failed, false, &jobcontrol.Failure{Kind: jobcontrol.FailUser, Message: "no"}
			_, err := c.s.Finish(ctx, b.Claim, e)
			return jobcontrol.Failed, err
		},
		"give back": func(c *crowd, b *jobcontrol.Build) (jobcontrol.State, error) {
			return jobcontrol.Queued, c.s.GiveBack(ctx, []jobcontrol.Claim{b.Claim})
		},
		"another handle": func(c *crowd, _ *jobcontrol.Build) (jobcontrol.State, error) {
			s, l := openAt(c.T, c.s.path, Options{})
			if got := c.claim(s, l, 1000); len(got) != 0 {
				c.Errorf("another worker claimed %d of the builds", len(got))
			}
			return jobcontrol.Queued, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCrowd(t, 200)
			left, err := change(c, &c.builds[100])
			if err != nil {
				t.Fatal(err)
			}
			c.is(c.builds[100].ID, left)
			if c.rows() != 0 {
				t.Error("table claims still has them")
			}
			c.consistent()
			c.finished(append(c.builds[:100:100], c.builds[101:]...))
			c.is(c.builds[100].ID, left)
			c.consistent()
		})
	}
}

// TestManyClaimsCancelled: a build that is to be cancelled when the end of its
// attempt arrives with those of others ends like them, once.
func TestManyClaimsCancelled(t *testing.T) {
	c := newCrowd(t, 100)
	if _, err := c.s.RequestCancel(context.Background(), c.builds[50].Run); err != nil {
		t.Fatal(err)
	}
	for i, err := range c.finish(c.builds) {
		if err != nil {
			t.Errorf("build %d: %v", c.builds[i].ID, err)
		}
	}
	c.consistent()
}

// TestManyClaimsNotPlain: where one of the ends does not fit the bulk statement, the
// transaction is made anew, and all of them are stored.
func TestManyClaimsNotPlain(t *testing.T) {
	c := newCrowd(t, 600)
	if err := c.s.write(context.Background(), "start", func(x *tx) error {
		_, err := x.exec(`UPDATE builds SET asked = 1, tries_used = 1 WHERE id = ?`, c.builds[599].ID)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if c.rows() != 1 {
		t.Fatal("the claims were spread")
	}
	c.finished(c.builds)
	c.consistent()
	h, err := c.s.Heads(context.Background(), "", nil)
	if err != nil || h["job"].Unfinished != 0 {
		t.Errorf("%+v, %v", h, err)
	}
}

// TestManyClaimsLost: a worker that lost its lease ends none of such builds, and
// another one gets them all.
func TestManyClaimsLost(t *testing.T) {
	ctx := context.Background()
	c := newCrowd(t, 150)
	c.finished(c.builds[:20])
	s, _ := openAt(t, c.s.path, Options{})
	if _, err := s.Rescue(ctx, func(jobcontrol.Process) (bool, bool) { return false, true }); err != nil {
		t.Fatal(err)
	}
	for i, err := range c.finish(c.builds[20:]) {
		if !errors.Is(err, jobcontrol.ErrLeaseLost) {
			t.Fatalf("build %d of a lost worker: %v", c.builds[20+i].ID, err)
		}
	}
	c.consistent()
	l, err := s.Register(ctx, jobcontrol.Process{PID: 1}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	again := c.claim(s, l, 1000)
	if len(again) != 130 {
		t.Fatalf("%d builds are claimed again, want 130", len(again))
	}
	c.s, c.l = s, l
	c.finished(again)
	c.consistent()
}

// TestManyClaimsReopened: a program that died after such a claim leaves builds that
// the next one gets.
func TestManyClaimsReopened(t *testing.T) {
	c := newCrowd(t, 100)
	c.finished(c.builds[:10])
	path := c.s.path
	if err := c.s.Close(); err != nil {
		t.Fatal(err)
	}
	c.s, _ = openAt(t, path, Options{})
	if b := c.is(c.builds[40].ID, jobcontrol.Queued); b.Claim != c.builds[40].Claim {
		t.Errorf("claim %+v, want %+v", b.Claim, c.builds[40].Claim)
	}
	// The lease is still held: the claims are, too.
	for i := range c.builds[10:] {
		if _, err := c.s.Finish(context.Background(), c.builds[10+i].Claim, succeeded(1, time.Now())); err != nil {
			t.Fatal(err)
		}
	}
	c.consistent()
}
