package worker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
	"github.com/jobcontrol/jobcontrol/internal/pgtest"
	"github.com/jobcontrol/jobcontrol/store/postgres"
	"github.com/jobcontrol/jobcontrol/store/storetest"
	"github.com/jobcontrol/jobcontrol/worker"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// server is the PostgreSQL of these tests.
var server pgtest.Server

// opener opens an empty store, which is closed with the test.
type opener func(t testing.TB) jobcontrol.Store

// onEachStore has a test executed with every kind of store.
func onEachStore(t *testing.T, test func(t *testing.T, open opener)) {
	t.Run("sqlite", func(t *testing.T) { test(t, func(t testing.TB) jobcontrol.Store { return openStore(t) }) })
	t.Run("postgres", func(t *testing.T) { test(t, openPostgres) })
}

func openPostgres(t testing.TB) jobcontrol.Store {
	t.Helper()
	ctx := context.Background()
	_, url := server.Database(t)
	s, err := postgres.Open(ctx, postgres.Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Install(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

// A started pool.
type pool struct {
	*worker.Pool
	stop  context.CancelFunc
	abort func()
	ended chan error // the answer of Run
}

// pool starts a pool that executes the functions of the house. It is ended, and
// must not fail, at the end of the test.
func (h *house) pool(t testing.TB, change func(*worker.PoolConfig)) *pool {
	t.Helper()
	abort := make(chan struct{})
	cfg := worker.PoolConfig{Store: h.store, Executor: executor.New(executor.Config{Registry: h.reg, Log: quiet}), Parallel: 4, Grace: time.Minute, Abort: abort, Log: quiet}
	if change != nil {
		change(&cfg)
	}
	p := &pool{Pool: worker.NewPool(cfg), ended: make(chan error, 1), abort: sync.OnceFunc(func() { close(abort) })}
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	go func() { p.ended <- p.Run(ctx) }()
	t.Cleanup(func() { p.end(t) })
	<-p.Ready()
	return p
}

// end stops the pool and returns when it has ended.
func (p *pool) end(t testing.TB) {
	t.Helper()
	p.stop()
	err := <-p.ended
	p.ended <- err
	if err != nil {
		t.Errorf("the pool ended with %v", err)
	}
}

func (h *house) submit(t testing.TB, r jobcontrol.Request) *jobcontrol.Run {
	t.Helper()
	run, err := h.Submit(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// finish watches a Run until it has ended.
func (h *house) finish(t testing.TB, run int64) *jobcontrol.Run {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := h.Watch(ctx, run, nil)
	if err != nil {
		builds, _ := h.Builds(context.Background(), jobcontrol.BuildFilter{Run: run, Limit: -1})
		t.Fatalf("run %d: %v: %+v", run, err, builds)
	}
	return r
}

func (h *house) steer(t testing.TB, build int64, tr jobcontrol.Transition) *jobcontrol.Build {
	t.Helper()
	b, err := h.Steer(context.Background(), build, tr)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// until waits for what another goroutine, or the store, does: it asks again and again.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// gate is where functions of a test wait.
type gate struct {
	came chan string   // who came
	open chan struct{} // closed to let all through
}

func newGate() *gate { return &gate{came: make(chan string, 100), open: make(chan struct{})} }

// pass says that x came, and waits until the gate is open or ctx ends.
func (g *gate) pass(ctx context.Context, x *jobcontrol.Execution) error {
	g.came <- x.Job.ID
	select {
	case <-g.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestDetached: a Run goes through two pools: order, results, shared values,
// retries, clean-up.
func TestDetached(t *testing.T) { onEachStore(t, testDetached) }

func testDetached(t *testing.T, open opener) {
	short := 5 * time.Millisecond
	h := build(t, open(t), 2, map[string]function{
		"source": func(ctx context.Context, h *house, x *jobcontrol.Execution) (any, error) {
			return map[string]any{"n": 7}, x.Shared.Set(ctx, "from", "source")
		},
		"user": func(ctx context.Context, h *house, x *jobcontrol.Execution) (any, error) {
			var from string
			if _, err := x.Shared.Load(ctx, "from", &from); err != nil {
				return nil, err
			}
			if x.Attempt < 3 {
				return nil, errors.New("not yet")
			}
			h.note("%s:%v:%s:%d", x.Job.ID, x.Args[0], from, x.Attempt)
			return x.Args[0], nil
		},
		"clean": func(_ context.Context, h *house, x *jobcontrol.Execution) (any, error) {
			h.note("clean-%s", x.Job.ID)
			return nil, nil
		},
		"log": func(ctx context.Context, h *house, x *jobcontrol.Execution) (any, error) {
			jobcontrol.Logger(ctx, "test").Info("hello")
			return nil, nil
		},
	},
		&jobcontrol.Job{ID: "a", Run: call("source"), Cleanup: call("clean")},
		&jobcontrol.Job{ID: "b", Run: call("user"), Cleanup: call("clean"), Dependencies: []string{"a"}, RetryDelay: &short, Args: []any{jobcontrol.Retval{Job: "a", Path: "n"}}},
		&jobcontrol.Job{ID: "c", Run: call("log"), Dependencies: []string{"b"}},
		&jobcontrol.Job{ID: "all", Dependencies: []string{"c"}})
	h.pool(t, nil)
	h.pool(t, nil)
	for range 5 {
		run := h.submit(t, runJob("all"))
		var mu sync.Mutex
		var told []string
		got, err := h.Watch(context.Background(), run.ID, func(e jobcontrol.Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Build != nil {
				told = append(told, fmt.Sprintf("%s %s %d", e.Job.ID, e.Kind, e.Attempt))
			}
		})
		if err != nil || got.State != jobcontrol.RunSuccessful {
			t.Fatalf("run %+v, %v", got, err)
		}
		builds := h.builds(t, run.ID)
		if want := "b:7:source:3 clean-b clean-a"; h.noted() != want {
			t.Errorf("noted %q, want %q", h.noted(), want)
		}
		if b := builds["b"]; b.Attempts != 4 || string(b.Result) != "7" || !*builds["all"].Changed {
			t.Errorf("b: %d attempts, result %s", b.Attempts, b.Result)
		}
		for _, want := range []string{"b started 1", "b retried 1", "b retried 2", "b started 3", "b finished 3", "b cleaned 4", "all finished 1"} {
			if !slices.Contains(told, want) {
				t.Errorf("%q was not told, but %q", want, told)
			}
		}
		var lines []string
		if err := h.Log(context.Background(), builds["c"].ID, jobcontrol.LogFilter{}, func(r jobcontrol.LogRecord) bool {
			lines = append(lines, r.Message)
			return true
		}); err != nil || !slices.Equal(lines, []string{"hello"}) {
			t.Errorf("log %q, %v", lines, err)
		}
		h.notes = nil
	}
}

// TestEnqueue: typed builds of a program, by two pools, each exactly once.
func TestEnqueue(t *testing.T) { onEachStore(t, testEnqueue) }

func testEnqueue(t *testing.T, open opener) {
	const n = 2000
	h := build(t, open(t), 2, nil)
	var executed [n]atomic.Int32
	f := jobcontrol.Handle(h.reg, "double", func(_ context.Context, in number) (number, error) {
		executed[in.N].Add(1)
		return number{2 * in.N}, nil
	})
	sad := jobcontrol.Handle(h.reg, "sad", func(context.Context, string) (jobcontrol.None, error) {
		return jobcontrol.None{}, jobcontrol.UserError("no")
	})
	a, b := h.pool(t, nil), h.pool(t, nil)
	ctx := context.Background()
	var ids [n]int64
	var wg sync.WaitGroup
	for c := range 16 {
		wg.Go(func() {
			for i := c; i < n/2; i += 16 {
				var err error
				if ids[i], err = f.Enqueue(ctx, h, number{i}, jobcontrol.EnqueueOptions{}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	job := &jobcontrol.Job{ID: "many", Run: f.Task()}
	var many []jobcontrol.Enqueued
	for i := n / 2; i < n; i++ {
		many = append(many, jobcontrol.Enqueued{Kwargs: fmt.Appendf(nil, `{"n":%d}`, i)})
	}
	rest, err := h.EnqueueMany(ctx, job, many)
	if err != nil || len(rest) != n/2 {
		t.Fatal(len(rest), err)
	}
	copy(ids[n/2:], rest)
	for i, id := range ids {
		out, err := f.Wait(ctx, h, id)
		if err != nil || out.N != 2*i {
			t.Fatalf("build %d: %v, %v", id, out, err)
		}
	}
	for i := range executed {
		if got := executed[i].Load(); got != 1 {
			t.Errorf("%d was executed %d times", i, got)
		}
	}
	id, err := sad.Enqueue(ctx, h, "x", jobcontrol.EnqueueOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sad.Wait(ctx, h, id); jobcontrol.CodeOf(err) != jobcontrol.BuildFailed || !strings.Contains(err.Error(), ": no") {
		t.Errorf("got %v", err)
	}
	until(t, "the pools counted all", func() bool {
		return a.Stats().Finished+b.Stats().Finished == n+1 && a.Stats().Failed+b.Stats().Failed == 1
	})
}

// TestEnqueueUnique: an unfinished build with the same key is returned.
func TestEnqueueUnique(t *testing.T) { onEachStore(t, testEnqueueUnique) }

func testEnqueueUnique(t *testing.T, open opener) {
	g := newGate()
	h := build(t, open(t), 2, map[string]function{"f": func(ctx context.Context, h *house, x *jobcontrol.Execution) (any, error) {
		return nil, g.pass(ctx, x)
	}})
	h.pool(t, nil)
	ctx := context.Background()
	job := &jobcontrol.Job{ID: "u", Run: call("f"), Unique: []string{"args.0"}}
	first, err := h.Enqueue(ctx, job, jobcontrol.Enqueued{Args: []byte(`[1]`)})
	if err != nil {
		t.Fatal(err)
	}
	<-g.came
	if again, err := h.Enqueue(ctx, job, jobcontrol.Enqueued{Args: []byte(`[1]`)}); err != nil || again != first {
		t.Errorf("got %d, %v, want %d", again, err, first)
	}
	if other, err := h.Enqueue(ctx, job, jobcontrol.Enqueued{Args: []byte(`[2]`)}); err != nil || other == first {
		t.Errorf("got %d, %v", other, err)
	}
	close(g.open)
	if _, err := h.Wait(ctx, first); err != nil {
		t.Fatal(err)
	}
	if again, err := h.Enqueue(ctx, job, jobcontrol.Enqueued{Args: []byte(`[1]`)}); err != nil || again == first {
		t.Errorf("got %d, %v", again, err)
	}
}

// TestCancelDetached: what is executed is asked to stop, the rest is cancelled,
// and what was executed is cleaned up.
func TestCancelDetached(t *testing.T) { onEachStore(t, testCancelDetached) }

func testCancelDetached(t *testing.T, open opener) {
	g := newGate()
	h := build(t, open(t), 2, map[string]function{
		"quick": func(context.Context, *house, *jobcontrol.Execution) (any, error) { return nil, nil },
		"long":  func(ctx context.Context, h *house, x *jobcontrol.Execution) (any, error) { return nil, g.pass(ctx, x) },
		"clean": func(_ context.Context, h *house, x *jobcontrol.Execution) (any, error) {
			h.note("clean-%s", x.Job.ID)
			return nil, nil
		},
	},
		&jobcontrol.Job{ID: "first", Run: call("quick"), Cleanup: call("clean")},
		&jobcontrol.Job{ID: "long", Run: call("long"), Cleanup: call("clean"), Dependencies: []string{"first"}},
		&jobcontrol.Job{ID: "after", Run: call("quick"), Dependencies: []string{"long"}})
	h.pool(t, nil)
	run := h.submit(t, runJob("after"))
	<-g.came
	if _, err := h.Cancel(context.Background(), run.ID); err != nil {
		t.Fatal(err)
	}
	if r := h.finish(t, run.ID); r.State != jobcontrol.RunCancelled {
		t.Errorf("run %s", r.State)
	}
	states := ""
	for _, id := range []string{"first", "long", "after"} {
		states += h.builds(t, run.ID)[id].State.String() + " "
	}
	if states != "successful cancelled cancelled " || h.noted() != "clean-long clean-first" {
		t.Errorf("states %s, noted %s", states, h.noted())
	}
}

// TestSteer: a running build is suspended and resumed, one that waits is held and released.
func TestSteer(t *testing.T) { onEachStore(t, testSteer) }

func testSteer(t *testing.T, open opener) {
	g := newGate()
	h := build(t, open(t), 2, map[string]function{"f": func(ctx context.Context, h *house, x *jobcontrol.Execution) (any, error) {
		return nil, g.pass(ctx, x)
	}},
		&jobcontrol.Job{ID: "a", Run: call("f"), Tries: 1},
		&jobcontrol.Job{ID: "b", Run: call("f"), Dependencies: []string{"a"}})
	h.pool(t, nil)
	run := h.submit(t, runJob("b"))
	<-g.came
	builds := h.builds(t, run.ID)
	h.steer(t, builds["b"].ID, jobcontrol.ToHold)
	until(t, "a is suspended", func() bool {
		// Until it is marked as running it is claimed, and may be asked all the same.
		b, err := h.Steer(context.Background(), builds["a"].ID, jobcontrol.ToSuspend)
		return errors.Is(err, jobcontrol.ErrConflict) || err == nil && b.State == jobcontrol.Suspended
	})
	close(g.open)
	until(t, "a is put aside", func() bool { return h.builds(t, run.ID)["a"].State == jobcontrol.Suspended })
	h.steer(t, builds["a"].ID, jobcontrol.ToResume)
	b, err := h.Wait(context.Background(), builds["a"].ID)
	if err != nil || b.State != jobcontrol.Successful || b.Attempts != 2 || b.TriesUsed != 1 {
		t.Fatalf("a: %+v, %v", b, err)
	}
	if s := h.builds(t, run.ID)["b"].State; s != jobcontrol.Held {
		t.Fatalf("b is %s", s)
	}
	h.steer(t, builds["b"].ID, jobcontrol.ToRelease)
	if r := h.finish(t, run.ID); r.State != jobcontrol.RunSuccessful {
		t.Errorf("run %s", r.State)
	}
}

// TestShutdown: what was started may end; what was not is given back, and so is
// what had to be stopped: neither has used a try.
func TestShutdown(t *testing.T) { onEachStore(t, testShutdown) }

func testShutdown(t *testing.T, open opener) {
	for _, mode := range []string{"soft", "grace", "abort"} {
		t.Run(mode, func(t *testing.T) {
			g := newGate()
			h := build(t, open(t), 2, map[string]function{"f": func(ctx context.Context, h *house, x *jobcontrol.Execution) (any, error) {
				h.note("%s%d", x.Job.ID, x.Attempt)
				return nil, g.pass(ctx, x)
			}},
				&jobcontrol.Job{ID: "a", Run: call("f"), Tries: 1})
			p := h.pool(t, func(c *worker.PoolConfig) {
				c.Parallel = 1
				if mode == "grace" {
					c.Grace = time.Millisecond
				}
			})
			run := h.submit(t, runJob("a"))
			<-g.came
			p.stop()
			switch mode {
			case "soft":
				close(g.open)
			case "abort":
				p.abort()
			}
			p.end(t)
			b := h.builds(t, run.ID)["a"]
			if mode == "soft" {
				if b.State != jobcontrol.Successful {
					t.Errorf("it is %s", b.State)
				}
				return
			}
			if b.State != jobcontrol.Queued || b.Claim != (jobcontrol.Claim{}) || b.Lost != 0 || b.TriesUsed != 0 {
				t.Errorf("it is %+v", b)
			}
			close(g.open)
			h.pool(t, nil)
			if r := h.finish(t, run.ID); r.State != jobcontrol.RunSuccessful {
				t.Errorf("run %s", r.State)
			}
			if b = h.builds(t, run.ID)["a"]; b.Lost != 0 || b.TriesUsed != 1 {
				t.Errorf("it is %+v", b)
			}
		})
	}
}

// TestRollingRestart: pools come and go under load; no build fails, none is executed twice.
func TestRollingRestart(t *testing.T) { onEachStore(t, testRollingRestart) }

func testRollingRestart(t *testing.T, open opener) {
	const n = 600
	h := build(t, open(t), 2, nil)
	var executed [n]atomic.Int32
	f := jobcontrol.Handle(h.reg, "f", func(_ context.Context, in number) (jobcontrol.None, error) {
		executed[in.N].Add(1)
		return jobcontrol.None{}, nil
	})
	ctx := context.Background()
	job := &jobcontrol.Job{ID: "f", Run: f.Task()}
	var many []jobcontrol.Enqueued
	for i := range n {
		many = append(many, jobcontrol.Enqueued{Kwargs: fmt.Appendf(nil, `{"n":%d}`, i)})
	}
	ids, err := h.EnqueueMany(ctx, job, many)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		p := h.pool(t, nil)
		until(t, "some are done", func() bool { s := p.Stats(); return s.Finished >= 20 || s.Started == 0 && s.Claimed == 0 })
		p.end(t)
	}
	h.pool(t, nil)
	for _, id := range ids {
		b, err := h.Wait(ctx, id)
		if err != nil || b.State != jobcontrol.Successful || b.Attempts != 1 || b.Lost != 0 {
			t.Fatalf("build %+v, %v", b, err)
		}
	}
	for i := range executed {
		if executed[i].Load() != 1 {
			t.Errorf("%d was executed %d times", i, executed[i].Load())
		}
	}
}

// TestLeaseTakenAway: another store takes the lease away in the middle of an
// attempt: the attempt is ended, nothing of it is stored, and the pool begins anew.
func TestLeaseTakenAway(t *testing.T) { onEachStore(t, testLeaseTakenAway) }

func testLeaseTakenAway(t *testing.T, open opener) {
	g := newGate()
	stale := make(chan struct{})
	h := build(t, open(t), 2, map[string]function{"f": func(ctx context.Context, h *house, x *jobcontrol.Execution) (any, error) {
		if x.Attempt > 1 {
			return "new", nil
		}
		if err := g.pass(ctx, x); err != nil {
			close(stale)
			return nil, err
		}
		return "old", nil
	}},
		&jobcontrol.Job{ID: "a", Run: call("f")})
	p := h.pool(t, func(c *worker.PoolConfig) { c.TTL = 600 * time.Millisecond })
	run := h.submit(t, runJob("a"))
	<-g.came
	until(t, "a is running", func() bool { return h.builds(t, run.ID)["a"].State == jobcontrol.Running })
	before := h.builds(t, run.ID)["a"].Claim
	if _, err := h.store.Rescue(context.Background(), func(jobcontrol.Process) (bool, bool) { return false, true }); err != nil {
		t.Fatal(err)
	}
	<-stale // its context was cancelled
	if r := h.finish(t, run.ID); r.State != jobcontrol.RunSuccessful {
		t.Errorf("run %s", r.State)
	}
	b := h.builds(t, run.ID)["a"]
	if string(b.Result) != `"new"` || b.Lost != 1 || b.Attempts != 2 || b.Claim.Number <= before.Number {
		t.Errorf("a: %+v", b)
	}
	if s := p.Stats(); s.LostLeases != 1 {
		t.Errorf("%+v", s)
	}
	e := jobcontrol.Ended{State: jobcontrol.Failed, Attempt: jobcontrol.Attempt{Build: b.ID, Number: 1}}
	if _, err := h.store.Finish(context.Background(), before, e); !errors.Is(err, jobcontrol.ErrLeaseLost) {
		t.Errorf("a stale write: %v", err)
	}
}

// TestFencesItself: a pool that cannot renew its lease ends its attempts before
// the lease ends, and begins anew when the store is back.
func TestFencesItself(t *testing.T) { onEachStore(t, testFencesItself) }

func testFencesItself(t *testing.T, open opener) {
	g := newGate()
	ended := make(chan struct{})
	store := storetest.Faulty(open(t))
	h := build(t, store, 2, map[string]function{"f": func(ctx context.Context, h *house, x *jobcontrol.Execution) (any, error) {
		if x.Fence > 1 && h.noted() != "" {
			return "new", nil
		}
		h.note("%s", x.Job.ID)
		err := g.pass(ctx, x)
		close(ended)
		return nil, err
	}},
		&jobcontrol.Job{ID: "a", Run: call("f")})
	p := h.pool(t, func(c *worker.PoolConfig) { c.TTL = 600 * time.Millisecond })
	run := h.submit(t, runJob("a"))
	<-g.came
	store.Set(storetest.Fault{Method: "Renew"})
	<-ended
	workers, err := h.Workers(context.Background())
	if err != nil || len(workers) != 1 {
		t.Fatalf("workers %+v, %v", workers, err)
	}
	if now, err := store.Now(context.Background()); err != nil || !now.Before(workers[0].LeaseUntil) {
		t.Errorf("ended at %v, the lease at %v", now, workers[0].LeaseUntil)
	}
	store.Set()
	if r := h.finish(t, run.ID); r.State != jobcontrol.RunSuccessful {
		t.Errorf("run %s", r.State)
	}
	if s := p.Stats(); s.LostLeases == 0 {
		t.Errorf("%+v", s)
	}
}

// TestStoreAway: the store is away for a while; attempts go on, and their ends
// are stored when it is back.
func TestStoreAway(t *testing.T) { onEachStore(t, testStoreAway) }

func testStoreAway(t *testing.T, open opener) {
	g := newGate()
	store := storetest.Faulty(open(t))
	h := build(t, store, 2, map[string]function{"f": func(ctx context.Context, h *house, x *jobcontrol.Execution) (any, error) {
		h.note("%s%d", x.Job.ID, x.Attempt)
		return nil, g.pass(ctx, x)
	}},
		&jobcontrol.Job{ID: "a", Run: call("f"), Tries: 1},
		&jobcontrol.Job{ID: "b", Run: call("f"), Tries: 1, Dependencies: []string{"a"}})
	p := h.pool(t, nil)
	run := h.submit(t, runJob("b"))
	<-g.came
	store.Set(storetest.Fault{})
	close(g.open)
	until(t, "its end was tried to be stored", func() bool { return store.Calls("Finish") > 1 })
	store.Set()
	if r := h.finish(t, run.ID); r.State != jobcontrol.RunSuccessful || h.noted() != "a1 b1" {
		t.Errorf("run %s, noted %s", r.State, h.noted())
	}
	if s := p.Stats(); s.LostLeases != 0 {
		t.Errorf("%+v", s)
	}
}

// TestDeadNeighbour: what a dead worker had is executed by another: what it had
// started is a suspect, and executed alone.
func TestDeadNeighbour(t *testing.T) { onEachStore(t, testDeadNeighbour) }

func testDeadNeighbour(t *testing.T, open opener) {
	store := open(t)
	var active, most atomic.Int32
	h := build(t, store, 2, map[string]function{"f": func(ctx context.Context, h *house, x *jobcontrol.Execution) (any, error) {
		n := active.Add(1)
		defer active.Add(-1)
		if x.Job.ID == "killer" {
			most.Store(n)
			for range 100 { // others would start now
				time.Sleep(100 * time.Microsecond)
				most.Store(max(most.Load(), active.Load()))
			}
		}
		return nil, nil
	}},
		&jobcontrol.Job{ID: "killer", Run: call("f")},
		&jobcontrol.Job{ID: "other", Run: call("f")})
	ctx := context.Background()
	dead := worker.Self()
	dead.StartTime--
	lease, err := store.Register(ctx, dead, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	killer, other := h.submit(t, runJob("killer")), h.submit(t, runJob("other"))
	got, err := store.Claim(ctx, lease, jobcontrol.Wanted{Services: []string{jobcontrol.DefaultService}, N: 2})
	if err != nil || len(got.Builds) != 2 {
		t.Fatalf("claimed %+v, %v", got, err)
	}
	if err := store.Start(ctx, []jobcontrol.Claim{got.Builds[0].Claim}, []time.Time{jobcontrol.Micros(time.Now())}); err != nil {
		t.Fatal(err)
	}
	p := h.pool(t, nil)
	// A stream of others, so that the pool is never idle by itself.
	flow, done := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		job := &jobcontrol.Job{ID: "flow", Run: call("f")}
		for flow.Err() == nil {
			if ids, err := h.EnqueueMany(ctx, job, make([]jobcontrol.Enqueued, 10)); err == nil {
				_, _ = h.Wait(flow, ids[9])
			}
		}
	})
	for run, lost := range map[int64]int{killer.ID: 1, other.ID: 0} {
		if r := h.finish(t, run); r.State != jobcontrol.RunSuccessful {
			t.Errorf("run %s", r.State)
		}
		for _, b := range h.builds(t, run) {
			if b.Lost != lost {
				t.Errorf("%s was lost %d times, want %d", b.Job, b.Lost, lost)
			}
		}
	}
	done()
	wg.Wait()
	if most.Load() != 1 {
		t.Errorf("%d were executed beside the suspect", most.Load()-1)
	}
	if s := p.Stats(); s.Rescues != 1 {
		t.Errorf("%+v", s)
	}
}

// TestFallback: a build that exceeds its soft timeout gets one extra try in the
// fallback lane of its service.
func TestFallback(t *testing.T) { onEachStore(t, testFallback) }

func testFallback(t *testing.T, open opener) {
	h := build(t, open(t), 2, map[string]function{"f": func(ctx context.Context, h *house, x *jobcontrol.Execution) (any, error) {
		h.note("%d", x.Attempt)
		if x.Attempt == 1 || x.Job.ID == "never" {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return "slow", nil
	}},
		&jobcontrol.Job{ID: "slow", Run: call("f"), Tries: 1, SoftTimeout: 10 * time.Millisecond, Service: "fast"},
		&jobcontrol.Job{ID: "never", Run: call("f"), Tries: 1, SoftTimeout: 10 * time.Millisecond, Service: "fast"})
	if err := h.PutServices(context.Background(), []jobcontrol.Service{{Name: "fast", Fallback: "lane"}, {Name: "lane"}}); err != nil {
		t.Fatal(err)
	}
	h.pool(t, func(c *worker.PoolConfig) { c.Services = []string{"fast"} })
	h.pool(t, func(c *worker.PoolConfig) { c.Services = []string{"lane"} })
	for job, want := range map[string]string{"slow": "successful 2 lane", "never": "failed 2 lane"} {
		run := h.submit(t, runJob(job))
		h.finish(t, run.ID)
		b := h.builds(t, run.ID)[job]
		if got := fmt.Sprintf("%s %d %s", b.State, b.Attempts, b.Service); got != want {
			t.Errorf("%s: %s, want %s", job, got, want)
		}
	}
}

// TestLimits: a service's concurrency holds over all pools.
func TestLimits(t *testing.T) { onEachStore(t, testLimits) }

func testLimits(t *testing.T, open opener) {
	var active, most atomic.Int32
	h := build(t, open(t), 2, map[string]function{"f": func(ctx context.Context, h *house, x *jobcontrol.Execution) (any, error) {
		n := active.Add(1)
		defer active.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(time.Millisecond)
		return nil, nil
	}})
	ctx := context.Background()
	if err := h.PutServices(ctx, []jobcontrol.Service{{Name: "few", Concurrency: 3}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		h.pool(t, func(c *worker.PoolConfig) { c.Services = []string{"few"} })
	}
	ids, err := h.EnqueueMany(ctx, &jobcontrol.Job{ID: "f", Run: call("f"), Service: "few"}, make([]jobcontrol.Enqueued, 100))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if b, err := h.Wait(ctx, id); err != nil || b.State != jobcontrol.Successful {
			t.Fatalf("%+v, %v", b, err)
		}
	}
	if most.Load() > 3 {
		t.Errorf("%d at a time", most.Load())
	}
}

// TestScheduled: a build is executed when its time has come.
func TestScheduled(t *testing.T) { onEachStore(t, testScheduled) }

func testScheduled(t *testing.T, open opener) {
	h := build(t, open(t), 2, map[string]function{"f": func(context.Context, *house, *jobcontrol.Execution) (any, error) { return nil, nil }})
	h.pool(t, nil)
	ctx := context.Background()
	now, err := h.store.Now(ctx)
	if err != nil {
		t.Fatal(err)
	}
	at := jobcontrol.Micros(now.Add(50 * time.Millisecond))
	id, err := h.Enqueue(ctx, &jobcontrol.Job{ID: "f", Run: call("f")}, jobcontrol.Enqueued{ReadyAt: at})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := h.Wait(ctx, id); err != nil || b.StartedAt.Before(at) {
		t.Errorf("%+v, %v", b, err)
	}
}

// TestPoolFaults: whichever call of the store fails once, or is executed and its
// answer lost, nothing is lost and nothing is stored twice.
func TestPoolFaults(t *testing.T) { onEachStore(t, testPoolFaults) }

func testPoolFaults(t *testing.T, open opener) {
	methods := []string{
		"Now", "Register", "Claim", "Start", "Finish", "Retry", "MarkRan", "Promote", "ClaimCleanup", "Cleaned", "Definition", "Attempts", "Renew", "Report",
		"Workers", "StopRequests", "Listen", "Build", "Unregister", "GiveBack", "Services",
	}
	ats := 3
	if strings.Contains(t.Name(), "postgres") {
		ats = 1 // opening one takes long
	}
	for _, method := range methods {
		for _, mode := range []storetest.Mode{storetest.FailBefore, storetest.FailAfter} {
			for at := range ats {
				t.Run(fmt.Sprintf("%s-%d-%d", method, mode, at+1), func(t *testing.T) {
					t.Parallel()
					faultyPool(t, open(t), storetest.Fault{Method: method, At: at + 1, Mode: mode})
				})
			}
		}
	}
}

func faultyPool(t *testing.T, store jobcontrol.Store, faults ...storetest.Fault) storetest.FaultyStore {
	faulty := storetest.Faulty(store, faults...)
	h := build(t, store, 2, map[string]function{
		"run": func(ctx context.Context, h *house, x *jobcontrol.Execution) (any, error) {
			h.note("%s%d", x.Job.ID, x.Attempt)
			jobcontrol.Logger(ctx, "test").Info("line")
			switch {
			case x.Job.ID == "a" && x.Attempt == 1:
				return nil, jobcontrol.Retry(time.Millisecond, "once more")
			case x.Job.ID == "long":
				time.Sleep(150 * time.Millisecond)
			}
			return x.Job.ID, nil
		},
		"clean": func(_ context.Context, h *house, x *jobcontrol.Execution) (any, error) {
			h.note("clean-%s", x.Job.ID)
			return nil, nil
		},
	},
		&jobcontrol.Job{ID: "a", Run: call("run"), Cleanup: call("clean")},
		&jobcontrol.Job{ID: "long", Run: call("run")},
		&jobcontrol.Job{ID: "b", Run: call("run"), Dependencies: []string{"a", "long"}, Args: []any{jobcontrol.Retval{Job: "a"}}})
	p := h.pool(t, func(c *worker.PoolConfig) { c.Store, c.TTL = faulty, 2*time.Second })
	run := h.submit(t, runJob("b"))
	if r := h.finish(t, run.ID); r.State != jobcontrol.RunSuccessful {
		t.Errorf("run %s", r.State)
	}
	p.end(t)
	notes := strings.Fields(h.noted())
	slices.Sort(notes)
	if diff := cmp.Diff("a1 a2 b1 clean-a long1", strings.Join(notes, " ")); diff != "" {
		t.Errorf("executed (-want +got)\n%s", diff)
	}
	for _, b := range h.builds(t, run.ID) {
		if b.Lost != 0 {
			t.Errorf("%s was lost %d times", b.Job, b.Lost)
		}
	}
	// A worker that was registered and does not know it: its lease ends by itself.
	unknown := faults[0].Method == "Register" && faults[0].Mode == storetest.FailAfter
	if workers, err := h.Workers(context.Background()); err != nil || len(workers) != 0 && !unknown {
		t.Errorf("workers %+v, %v", workers, err)
	}
	return faulty
}
