package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// openPair opens two stores on one database, as two programs do, each with a worker.
func openPair(t *testing.T) (one, two *Store, l, m jobcontrol.Lease) {
	t.Helper()
	ctx := context.Background()
	_, url := server.Database(t)
	open := func(pid int) (*Store, jobcontrol.Lease) {
		s, err := Open(ctx, Options{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		if err := s.Install(ctx); err != nil {
			t.Fatal(err)
		}
		l, err := s.Register(ctx, jobcontrol.Process{PID: pid}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return s, l
	}
	one, l = open(1)
	two, m = open(2)
	return one, two, l, m
}

// lone makes n lone detached builds of a job.
func lone(t *testing.T, s *Store, job string, n int) []int64 {
	t.Helper()
	many := make([]jobcontrol.NewRun, n)
	for i := range many {
		many[i] = loneBuild(t, job)
	}
	ids, err := s.CreateRuns(context.Background(), many)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func claim(t *testing.T, s *Store, l jobcontrol.Lease, n int) []jobcontrol.Build {
	t.Helper()
	c, err := s.Claim(context.Background(), l, jobcontrol.Wanted{N: n, Services: []string{jobcontrol.DefaultService}})
	if err != nil {
		t.Fatal(err)
	}
	return c.Builds
}

func success(number int) jobcontrol.Ended {
	return jobcontrol.Ended{
		State: jobcontrol.Successful, Changed: true, Result: json.RawMessage(`1`),
		Attempt: jobcontrol.Attempt{Number: number, StartedAt: time.Now(), FinishedAt: time.Now()},
	}
}

// TestSuspectWrite: an operation that the server refuses harms none of those
// that are written with it.
func TestSuspectWrite(t *testing.T) {
	s, _, l, _ := openPair(t)
	ids := lone(t, s, "a", 500)
	builds := claim(t, s, l, 500)
	if len(builds) != len(ids) {
		t.Fatalf("%d builds were claimed", len(builds))
	}
	errs := make([]error, len(builds))
	var wg sync.WaitGroup
	for i := range builds {
		wg.Go(func() {
			e := success(1)
			if i == 250 {
				e.Attempt.Number = 1 << 40 // more than its column holds
			}
			_, errs[i] = s.Finish(context.Background(), builds[i].Claim, e)
		})
	}
	wg.Wait()
	for i, err := range errs {
		b, err2 := s.Build(context.Background(), builds[i].ID)
		if err2 != nil {
			t.Fatal(err2)
		}
		if i == 250 {
			if err == nil || b.State != jobcontrol.Queued {
				t.Errorf("the suspect is %s: %v", b.State, err)
			}
		} else if err != nil || b.State != jobcontrol.Successful {
			t.Errorf("build %d is %s: %v", b.ID, b.State, err)
		}
	}
}

// TestFenceWaits: an end that is written while the worker's lease is taken away
// waits for that, and is refused then.
func TestFenceWaits(t *testing.T) {
	s, other, l, _ := openPair(t)
	ctx := context.Background()
	lone(t, s, "a", 2)
	builds := claim(t, s, l, 2)
	if err := s.Start(ctx, []jobcontrol.Claim{builds[0].Claim}, nil); err != nil {
		t.Fatal(err)
	}
	locked, finish := make(chan struct{}), make(chan struct{})
	rescued := make(chan error, 1)
	go func() {
		rescued <- other.write(ctx, "rescue", func(t *tx) error {
			t.queue(nil, `SELECT 1 FROM {workers} WHERE id = $1 FOR UPDATE`, l.Worker)
			if _, err := t.exec(`UPDATE {workers} SET epoch = epoch + 1, gone = true WHERE id = $1`, l.Worker); err != nil {
				return err
			}
			close(locked)
			<-finish
			_, err := t.bury(&jobcontrol.Worker{ID: l.Worker, Epoch: l.Epoch}, codec.Died)
			return err
		})
	}()
	<-locked
	ended := make(chan error, 3)
	go func() { _, err := s.Finish(ctx, builds[0].Claim, success(1)); ended <- err }()
	go func() { _, err := s.Finish(ctx, builds[1].Claim, success(1)); ended <- err }()
	go func() {
		ended <- s.Report(ctx, builds[0].Claim, []jobcontrol.LogRecord{{Time: time.Now(), Message: "late"}}, nil)
	}()
	// Not before one of them waits for the lock.
	for waiting := int64(0); waiting == 0; {
		if err := other.readOne(ctx, func(c *conn) (err error) {
			waiting, err = c.number(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	close(finish)
	if err := <-rescued; err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := <-ended; !errors.Is(err, jobcontrol.ErrLeaseLost) {
			t.Errorf("error is %v", err)
		}
	}
	for i, lost := range []int{1, 0} {
		b, err := s.Build(ctx, builds[i].ID)
		if err != nil || b.State != jobcontrol.Queued || b.Lost != lost || b.Claim.Number != 0 {
			t.Errorf("build %d: %v, %+v", i, err, b)
		}
	}
}

// TestClaimCursor: where searches from the beginning are slow, claims go on after
// what was claimed, and find what stands before it when nothing else is left.
func TestClaimCursor(t *testing.T) {
	s, _, l, _ := openPair(t)
	ids := lone(t, s, "a", 30)
	if got := claim(t, s, l, 10); len(got) != 10 || got[9].ID != ids[9] {
		t.Fatalf("claimed %d", len(got))
	}
	for _, c := range s.claimers.cursors {
		c.slow, c.cost, c.full = 2, time.Hour, time.Now()
	}
	n := loneBuild(t, "urgent")
	n.Builds[0].Build.Priority = 10
	urgent, _, err := s.CreateRun(context.Background(), n)
	if err != nil {
		t.Fatal(err)
	}
	if got := claim(t, s, l, 5); len(got) != 5 || got[0].ID != ids[10] || got[4].ID != ids[14] {
		t.Fatalf("after the cursor: %d, from %d on", len(got), got[0].ID)
	}
	// Fewer than were asked for are left: it looks at everything.
	if got := claim(t, s, l, 50); len(got) != 16 || got[0].ID != urgent.ID || got[15].ID != ids[29] {
		t.Fatalf("the rest: %d", len(got))
	}
	if got := claim(t, s, l, 1); len(got) != 0 {
		t.Fatalf("claimed twice: %d", len(got))
	}
}

// TestClaimUnheard: builds that were claimed by a call whose answer was lost do
// not stay with a worker that does not know of them.
func TestClaimUnheard(t *testing.T) {
	s, other, l, _ := openPair(t)
	lone(t, s, "a", 10)
	heard := claim(t, s, l, 3)
	unheard := claim(t, other, l, 4) // as if the answer had not come back
	cl := s.claimers.of(l)
	cl.doubt = true
	again := claim(t, s, l, 100)
	if len(again) != 7 || len(unheard) != 4 {
		t.Fatalf("claimed %d", len(again))
	}
	for _, b := range heard {
		if _, err := s.Finish(context.Background(), b.Claim, success(1)); err != nil {
			t.Error(err)
		}
	}
	for _, b := range unheard {
		if _, err := s.Finish(context.Background(), b.Claim, success(1)); !errors.Is(err, jobcontrol.ErrLeaseLost) {
			t.Errorf("error is %v", err)
		}
	}
}

// TestClaimIncomplete: builds whose jobs could not be read after they had been
// claimed do not stay with a worker that was not told of them.
func TestClaimIncomplete(t *testing.T) {
	s, other, l, _ := openPair(t)
	lone(t, other, "a", 4) // s does not know the job
	rename := func(from, to string) {
		t.Helper()
		if err := other.readOne(context.Background(), func(c *conn) error {
			return c.scripted(`ALTER TABLE {heads} RENAME COLUMN ` + from + ` TO ` + to)
		}); err != nil {
			t.Fatal(err)
		}
	}
	rename("job", "hidden")
	if _, err := s.Claim(context.Background(), l, jobcontrol.Wanted{N: 3, Services: []string{jobcontrol.DefaultService}}); err == nil {
		t.Fatal("the jobs of the builds were found")
	}
	rename("hidden", "job")
	again := claim(t, s, l, 100)
	if len(again) != 4 {
		t.Fatalf("claimed %d", len(again))
	}
	for _, b := range again {
		if _, err := s.Finish(context.Background(), b.Claim, success(1)); err != nil {
			t.Error(err)
		}
	}
}

// TestEverythingAtOnce: two programs do all they can at once. Nothing waits for
// each other forever, no error comes that is none, and the sums are right.
func TestEverythingAtOnce(t *testing.T) {
	one, two, l, m := openPair(t)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	bad := func(what string, err error) {
		switch jobcontrol.CodeOf(err) {
		case "", jobcontrol.Conflict, jobcontrol.NotFound, jobcontrol.LeaseLost:
		default:
			t.Errorf("%s: %v", what, err)
		}
	}
	rounds := 40
	if os.Getenv("STRESS") != "" {
		rounds = 200
	}
	for i, s := range []*Store{one, two} {
		lease := []jobcontrol.Lease{l, m}[i]
		for g := range 6 {
			r := rand.New(rand.NewPCG(uint64(i), uint64(g)))
			wg.Go(func() { atOnce(ctx, t, s, lease, r, rounds, bad) })
		}
	}
	wg.Wait()
	err := one.readOne(context.Background(), func(c *conn) error {
		n, err := c.number(`SELECT count(*) FROM {heads} h WHERE h.unfinished <> (SELECT count(*) FROM {builds} b WHERE b.head = h.id)`)
		if err != nil || n > 0 {
			return fmt.Errorf("%d heads count wrong: %w", n, err)
		}
		n, err = c.number(`SELECT count(*) FROM {runs} r WHERE r.remaining <> (SELECT count(*) FROM {builds} b WHERE b.run = r.id)
			OR r.successful + r.skipped + r.failed + r.cancelled + r.blocked <> (SELECT count(*) FROM {history} h WHERE h.run = r.id)
			OR (r.remaining = 0) <> (r.state <> 1)`)
		if err != nil || n > 0 {
			return fmt.Errorf("%d runs count wrong: %w", n, err)
		}
		n, err = c.number(`SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`)
		t.Logf("deadlocks that were resolved: %d", n)
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// atOnce does one thing after the other.
func atOnce(ctx context.Context, t *testing.T, s *Store, l jobcontrol.Lease, r *rand.Rand, rounds int, bad func(string, error)) {
	var mine []jobcontrol.Build
	var runs []int64
	for range rounds {
		n := loneBuild(t, fmt.Sprint("job", r.IntN(5)))
		if r.IntN(2) == 0 {
			last := n.Builds[0]
			for range 3 {
				b := loneBuild(t, fmt.Sprint("job", r.IntN(5))).Builds[0]
				last.Members = append(last.Members, len(last.Members))
				n.Builds = append(n.Builds, b)
			}
			n.Builds = append(n.Builds[1:], last)
		}
		run, _, err := s.CreateRun(ctx, n)
		if bad("create", err); err == nil {
			runs = append(runs, run.ID)
		}
		got, err := s.Claim(ctx, l, jobcontrol.Wanted{N: 1 + r.IntN(4), Services: []string{jobcontrol.DefaultService}, Alone: r.IntN(4) == 0})
		if bad("claim", err); err == nil {
			mine = append(mine, got.Builds...)
		}
		for len(mine) > 3 {
			c, attempt := mine[0].Claim, mine[0].Attempts+1
			mine = mine[1:]
			e := success(attempt)
			e.Logs = []jobcontrol.LogRecord{{Time: time.Now(), Message: "tail"}}
			switch r.IntN(8) {
			case 0:
				e.Attempt.Failure = &jobcontrol.Failure{Kind: jobcontrol.FailError, Message: "broken"}
				_, err := s.Retry(ctx, c, e)
				bad("retry", err)
				continue
			case 1:
				bad("give back", s.GiveBack(ctx, []jobcontrol.Claim{c}))
				continue
			case 2:
				e.State = jobcontrol.Failed
			case 3:
				e.State = jobcontrol.Skipped
			case 4:
				bad("start", s.Start(ctx, []jobcontrol.Claim{c}, nil))
				bad("report", s.Report(ctx, c, e.Logs, []jobcontrol.Progress{{Path: []string{"x"}, Status: "y"}}))
			}
			_, err := s.Finish(ctx, c, e)
			bad("finish", err)
		}
		switch r.IntN(12) {
		case 0:
			_, err := s.RequestCancel(ctx, runs[r.IntN(len(runs))])
			bad("cancel", err)
		case 1:
			_, err := s.Rescue(ctx, func(jobcontrol.Process) (alive, known bool) { return true, true })
			bad("rescue", err)
		case 2:
			_, _, err := s.Promote(ctx, 10)
			bad("promote", err)
		case 3:
			b, err := s.ListBuilds(ctx, jobcontrol.BuildFilter{Limit: 3, States: []jobcontrol.State{jobcontrol.Queued}})
			bad("list", err)
			for i := range b {
				_, err := s.Steer(ctx, b[i].ID, jobcontrol.ToCancel)
				bad("steer", err)
			}
		case 4:
			own, err := s.Register(ctx, jobcontrol.Process{PID: 99}, time.Hour)
			bad("register", err)
			_, err = s.Claim(ctx, own, jobcontrol.Wanted{N: 3, Services: []string{jobcontrol.DefaultService}})
			bad("claim", err)
			_, err = s.Rescue(ctx, func(p jobcontrol.Process) (alive, known bool) { return p.PID != 99, true })
			bad("rescue", err)
		}
	}
	for _, b := range mine {
		_, err := s.Finish(ctx, b.Claim, success(b.Attempts+1))
		bad("finish", err)
	}
}

// TestDeadInTransaction holds that a worker whose machine dies within a transaction,
// of which the server hears nothing, is taken over before its lease would have ended.
func TestDeadInTransaction(t *testing.T) {
	t.Parallel()
	one, two, l, _ := openPair(t)
	ctx := context.Background()
	locked, over := make(chan struct{}), make(chan struct{})
	var once sync.Once
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// That it could not be committed is an error, or it is executed anew and refused.
		_ = one.write(ctx, "dead", func(t *tx) error {
			if _, err := t.exec(`SELECT 1 FROM {workers} WHERE id = $1 FOR KEY SHARE`, l.Worker); err != nil {
				return err
			}
			once.Do(func() { close(locked) })
			<-over
			return nil
		})
	}()
	<-locked
	defer func() { close(over); <-ended }()
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		if _, err := two.Rescue(ctx, func(p jobcontrol.Process) (alive, known bool) { return p.PID != 1, true }); err != nil {
			t.Fatal(err)
		}
		list, err := two.Workers(ctx)
		if err != nil {
			t.Fatal(err)
		}
		gone := true
		for _, w := range list {
			gone = gone && w.ID != l.Worker
		}
		if gone {
			return
		}
		if time.Since(begin) > 15*time.Second {
			t.Fatal("its transaction keeps its worker from being taken over")
		}
	}
}

// TestStuckTransaction holds that a transaction that waits for what somebody else has
// locked keeps nothing else from being written.
func TestStuckTransaction(t *testing.T) {
	t.Parallel()
	s, other, l, _ := openPair(t)
	ctx := context.Background()
	lone(t, s, "x", 1)
	lone(t, s, "y", 1)
	var y jobcontrol.Claim
	for _, b := range claim(t, s, l, 2) {
		if b.Job == "y" {
			y = b.Claim
		}
	}
	locked, over, ended := make(chan struct{}), make(chan struct{}), make(chan error, 2)
	go func() {
		ended <- other.write(ctx, "lock", func(t *tx) error {
			if _, err := t.exec(`SELECT 1 FROM {heads} WHERE job = 'x' FOR UPDATE`); err != nil {
				return err
			}
			close(locked)
			<-over
			return nil
		})
	}()
	<-locked
	go func() {
		_, _, err := s.CreateRun(ctx, loneBuild(t, "x"))
		ended <- err
	}()
	for begin := time.Now(); ; time.Sleep(time.Millisecond) { // until that one is being written
		s.w.mu.Lock()
		stuck := s.w.writing > 0
		s.w.mu.Unlock()
		if stuck || time.Since(begin) > 10*time.Second {
			break
		}
	}
	limited, cancel := context.WithTimeout(ctx, 3*time.Second) // which is shorter than they wait for a lock
	defer cancel()
	if _, _, err := s.CreateRun(limited, loneBuild(t, "y")); err != nil {
		t.Error("create:", err)
	}
	if _, err := s.Finish(limited, y, success(1)); err != nil {
		t.Error("finish:", err)
	}
	close(over)
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
