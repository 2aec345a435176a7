package worker_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/storetest"
	"github.com/jobcontrol/jobcontrol/worker"
)

// TestStopsUnstarted: a build that was claimed ahead is cancelled, or put aside,
// without being executed; others that wait for a slot for long are given back.
func TestStopsUnstarted(t *testing.T) {
	g := newGate()
	store := openStore(t)
	h := build(t, store, 2, map[string]function{
		"quick": func(context.Context, *house, *jobcontrol.Execution) (any, error) { return nil, nil },
		"long": func(ctx context.Context, h *house, x *jobcontrol.Execution) (any, error) {
			h.note("%s", x.Job.ID)
			return nil, g.pass(ctx, x)
		},
	})
	ctx := context.Background()
	p := h.pool(t, func(c *worker.PoolConfig) { c.Parallel = 1 })
	quick, long := &jobcontrol.Job{ID: "quick", Run: call("quick")}, &jobcontrol.Job{ID: "long", Run: call("long")}
	// So many short ones that what follows them is claimed together with the last of them.
	ids, err := h.EnqueueMany(ctx, quick, make([]jobcontrol.Enqueued, 500))
	if err != nil {
		t.Fatal(err)
	}
	first, err := h.EnqueueMany(ctx, long, make([]jobcontrol.Enqueued, 4))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := h.Wait(ctx, ids[499]); err != nil || b.State != jobcontrol.Successful {
		t.Fatalf("%+v, %v", b, err)
	}
	<-g.came
	// Whether they are claimed or were given back meanwhile, the result is the same.
	for i, want := range map[int]jobcontrol.State{1: jobcontrol.Cancelled, 2: jobcontrol.Suspended} {
		tr := jobcontrol.ToCancel
		if want == jobcontrol.Suspended {
			tr = jobcontrol.ToSuspend
		}
		h.steer(t, first[i], tr)
		until(t, want.String(), func() bool {
			b, err := h.Build(ctx, first[i])
			return err == nil && b.State == want && b.Attempts == 0
		})
	}
	until(t, "the last one was given back", func() bool {
		b, err := h.Build(ctx, first[3])
		return err == nil && b.State == jobcontrol.Queued && b.Claim == (jobcontrol.Claim{})
	})
	close(g.open)
	if b, err := h.Wait(ctx, first[3]); err != nil || b.State != jobcontrol.Successful || b.Attempts != 1 {
		t.Errorf("%+v, %v", b, err)
	}
	if h.noted() != "long long" || p.Stats().LostLeases != 0 {
		t.Errorf("executed %s, %+v", h.noted(), p.Stats())
	}
}

// guardian notes until when it was told to trust the process.
type guardian struct {
	mu    sync.Mutex
	until []time.Time
}

func (g *guardian) Trust(until time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.until = append(g.until, until)
}

func (g *guardian) told() []time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]time.Time(nil), g.until...)
}

// TestGuardianTrust: the guardian's bound ends before the lease, moves on with
// each renewal, and is lifted at the end.
func TestGuardianTrust(t *testing.T) {
	g := &guardian{}
	store := storetest.Faulty(openStore(t))
	h := build(t, store, 2, nil)
	p := h.pool(t, func(c *worker.PoolConfig) { c.TTL, c.Guardian = 300*time.Millisecond, g })
	until(t, "the lease was renewed", func() bool { return store.Calls("Renew") >= 3 })
	workers, err := h.Workers(context.Background())
	if err != nil || len(workers) != 1 {
		t.Fatal(workers, err)
	}
	now, err := store.Now(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	told := g.told()
	if last, lease := time.Until(told[len(told)-1]), workers[0].LeaseUntil.Sub(now); len(told) < 3 || last > lease+100*time.Millisecond {
		t.Errorf("trusted %d times, for %v; the lease ends in %v", len(told), last, lease)
	}
	p.end(t)
	if told := g.told(); !told[len(told)-1].IsZero() {
		t.Errorf("the bound stayed: %v", told[len(told)-1])
	}
}

// TestStaleEnd: the lease is taken away while a function that does not listen is
// executed; its end is refused, and changes nothing.
func TestStaleEnd(t *testing.T) {
	g := newGate()
	var stale atomic.Bool
	ended := make(chan struct{})
	h := build(t, openStore(t), 2, map[string]function{"f": func(_ context.Context, h *house, x *jobcontrol.Execution) (any, error) {
		if stale.Load() {
			return "new", nil
		}
		defer close(ended)
		err := g.pass(context.Background(), x)
		return "old", errors.Join(err, x.Shared.Set(context.Background(), "late", 1))
	}},
		&jobcontrol.Job{ID: "a", Run: call("f"), Grace: time.Millisecond})
	h.pool(t, func(c *worker.PoolConfig) { c.TTL = 300 * time.Millisecond })
	run := h.submit(t, runJob("a"))
	<-g.came
	stale.Store(true)
	if _, err := h.store.Rescue(context.Background(), func(jobcontrol.Process) (bool, bool) { return false, true }); err != nil {
		t.Fatal(err)
	}
	if r := h.finish(t, run.ID); r.State != jobcontrol.RunSuccessful {
		t.Errorf("run %s", r.State)
	}
	close(g.open)
	<-ended
	b := h.builds(t, run.ID)["a"]
	if string(b.Result) != `"new"` {
		t.Errorf("result %s", b.Result)
	}
	if keys, err := h.store.SharedKeys(context.Background(), run.ID); err != nil || len(keys) > 0 {
		t.Errorf("shared values %q, %v", keys, err)
	}
}

// TestWaitFor: who waits learns of what is wrong.
func TestWaitFor(t *testing.T) {
	h := build(t, openStore(t), 2, nil)
	ctx := context.Background()
	if _, err := h.Wait(ctx, 4711); !errors.Is(err, jobcontrol.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if _, err := h.Watch(ctx, 4711, nil); !errors.Is(err, jobcontrol.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	id, err := h.Enqueue(ctx, &jobcontrol.Job{ID: "a", Run: call("f")}, jobcontrol.Enqueued{Hold: true})
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithCancel(ctx)
	told := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() {
		_, err := h.Watch(short, id, func(jobcontrol.Event) { told <- struct{}{} })
		ended <- err
	}()
	<-told
	cancel()
	if err := <-ended; jobcontrol.CodeOf(err) != jobcontrol.Interrupted {
		t.Errorf("got %v", err)
	}
	if b, err := h.Build(ctx, id); err != nil || b.State != jobcontrol.Held {
		t.Errorf("%+v, %v", b, err)
	}
}
