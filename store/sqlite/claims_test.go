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
		b := c.builds[599].Claim // it is claimed in its row, and the handle does not know
		_, err := x.exec(`UPDATE builds SET worker = ?, epoch = ?, claim = ?, queue = 2 WHERE id = ?`, b.Worker, b.Epoch, b.Number, b.Build)
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

// mixed returns builds that are claimed by table claims, followed by some that are
// claimed in their rows, one of which is not plain.
func mixed(t *testing.T) (*crowd, []jobcontrol.Build) {
	t.Helper()
	c := &crowd{T: t}
	c.s, c.l = openTest(t, Options{})
	fill(t, c.s, 40)
	few := c.claim(c.s, c.l, 40)
	if err := c.s.MarkRan(context.Background(), few[0].Claim, time.Now()); err != nil {
		t.Fatal(err)
	}
	fill(t, c.s, 100)
	many := c.claim(c.s, c.l, 100)
	if len(few) != 40 || len(many) != 100 || c.rows() != 1 {
		t.Fatal(len(few), len(many), c.rows())
	}
	return c, append(many[:len(many):len(many)], few...)
}

// TestManyClaimsRedone: ends of builds of table claims that are written anew, because one
// of another claim is not plain, are accepted like it.
func TestManyClaimsRedone(t *testing.T) {
	for range 5 { // the order of the kinds is random
		c, all := mixed(t)
		refused := 0
		for _, err := range c.finish(all) {
			if err != nil {
				refused++
			}
		}
		if refused > 0 {
			t.Fatalf("%d of %d ends under claims that are held are refused", refused, len(all))
		}
	}
}

// TestManyClaimsRedoneWithClaim: the same with a claim in the transaction: it gets nothing that is claimed.
func TestManyClaimsRedoneWithClaim(t *testing.T) {
	ctx := context.Background()
	for range 5 {
		c, all := mixed(t)
		other, err := c.s.Register(ctx, jobcontrol.Process{PID: 1}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		fill(t, c.s, 100)
		more := c.claim(c.s, c.l, 100)
		all = append(more, all...)
		var got *jobcontrol.Claimed
		g := gather(c.s)
		g.add("claim", func() (err error) {
			got, err = c.s.Claim(ctx, other, jobcontrol.Wanted{Services: []string{"default"}, N: 10})
			return err
		})
		for i := range all {
			e := succeeded(1, time.Now())
			c.s.FinishThen(ctx, all[i].Claim, &e, func(*jobcontrol.Released, error) {})
		}
		close(g.release)
		g.wg.Wait()
		if len(got.Builds) != 0 {
			t.Fatalf("another worker got %d builds that were claimed, the first is %d", len(got.Builds), got.Builds[0].ID)
		}
	}
}

// TestCloseWhileAnswering: Close waits for answers while what they call begins another end.
func TestCloseWhileAnswering(t *testing.T) {
	ctx := context.Background()
	s, l := openTest(t, Options{})
	c := &crowd{T: t, s: s, l: l}
	fill(t, s, 101)
	builds := c.claim(s, l, 101)
	closing := make(chan struct{})
	answered := make(chan error, 1)
	g := gather(s)
	for i := range builds[:100] {
		e := succeeded(1, time.Now())
		s.FinishThen(ctx, builds[i].Claim, &e, func(*jobcontrol.Released, error) {
			if i > 0 {
				return
			}
			<-closing // the answer comes while Close waits
			e := succeeded(1, time.Now())
			s.FinishThen(ctx, builds[100].Claim, &e, func(_ *jobcontrol.Released, err error) { answered <- err })
		})
	}
	close(g.release)
	g.wg.Wait()
	closed := make(chan struct{})
	go func() {
		_ = s.Close()
		close(closed)
	}()
	for !s.closed.Load() {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond)
	close(closing)
	select {
	case <-closed:
		t.Log(<-answered)
	case <-time.After(5 * time.Second):
		t.Fatal("Close waits forever: it holds the lock that FinishThen needs")
	}
}

// TestManyClaimsBesideCleanup: to look for a clean-up step, which each worker does whenever it
// is told of a write, leaves claims alone.
func TestManyClaimsBesideCleanup(t *testing.T) {
	c := newCrowd(t, 200)
	b, err := c.s.ClaimCleanup(context.Background(), c.l, jobcontrol.Wanted{Services: []string{"default"}, N: 1})
	if b != nil || err != nil {
		t.Fatal(b, err)
	}
	if c.rows() != 1 {
		t.Error("the claims were spread")
	}
}

// TestOneEndIsNotPlain: one end that is not plain among many leaves the bulk
// statements to the others.
func TestOneEndIsNotPlain(t *testing.T) {
	s, l := openTest(t, Options{})
	c := &crowd{T: t, s: s, l: l}
	for range 6 {
		fill(t, s, 50)
	}
	var builds []jobcontrol.Build
	for range 6 {
		builds = append(builds, c.claim(s, l, 50)...)
	}
	if err := s.MarkRan(context.Background(), builds[0].Claim, time.Now()); err != nil {
		t.Fatal(err)
	}
	g := gather(s)
	done := make(chan error, len(builds))
	ops := make([]*finishOp, len(builds))
	for i := range builds {
		e := succeeded(1, time.Now())
		o, err := s.finishOp(builds[i].Claim, &e)
		if err != nil {
			t.Fatal(err)
		}
		o.ctx, o.then = context.Background(), func(err error) { done <- err }
		ops[i] = o
		s.later(&o.op)
	}
	close(g.release)
	g.wg.Wait()
	alone := 0
	for range ops {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range ops {
		if o.finishing == nil || !o.finishing.done {
			alone++
		}
	}
	if alone > bulkRows {
		t.Errorf("%d of %d ends were written one by one because of one", alone, len(ops))
	}
}

// TestReinstalled: facts of builds that were uninstalled are not those of the
// builds that have their ids now.
func TestReinstalled(t *testing.T) {
	ctx := context.Background()
	s, l := openTest(t, Options{})
	c := &crowd{T: t, s: s, l: l}
	create := func(job, unique string, n int) {
		t.Helper()
		for i := range n {
			r := call(t, job, i)
			if unique != "" {
				r.Builds[0].Build.Unique = unique + itoa(int64(i))
			}
			if _, _, err := s.CreateRun(ctx, r); err != nil {
				t.Fatal(err)
			}
		}
	}
	create("first", "", 1)
	create("second", "", 100)
	c.claim(s, l, 101)
	if err := s.Uninstall(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Install(ctx); err != nil {
		t.Fatal(err)
	}
	var err error
	if c.l, err = s.Register(ctx, jobcontrol.Process{PID: 1}, time.Hour); err != nil {
		t.Fatal(err)
	}
	create("other", "key", 100)
	c.builds = c.claim(s, c.l, 100)
	c.finished(c.builds)
	c.consistent()
}
