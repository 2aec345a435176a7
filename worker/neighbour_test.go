package worker_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/worker"
)

// TestAllServices: services that nobody named are served, and those that come
// into being later.
func TestAllServices(t *testing.T) {
	t.Parallel()
	h := build(t, openStore(t), 2, map[string]function{
		"f": func(context.Context, *house, *jobcontrol.Execution) (any, error) { return nil, nil },
	})
	ctx := context.Background()
	enqueue := func(service string) int64 {
		t.Helper()
		ids, err := h.EnqueueMany(ctx, &jobcontrol.Job{ID: "in-" + service, Service: service, Run: call("f")}, make([]jobcontrol.Enqueued, 1))
		if err != nil {
			t.Fatal(err)
		}
		return ids[0]
	}
	early := enqueue("early")
	p := h.pool(t, func(c *worker.PoolConfig) { c.AllServices = true })
	for _, id := range []int64{early, enqueue(""), enqueue("late")} {
		if b, err := h.Wait(ctx, id); err != nil || b.State != jobcontrol.Successful {
			t.Errorf("%+v, %v", b, err)
		}
	}
	if s := p.Stats(); s.Finished != 3 {
		t.Errorf("%+v", s)
	}
}

// TestLeftBehind: while something runs that a dead worker left behind, its builds
// are given to nobody, until its lease ends. One that the pool has not heard of is
// looked at, too.
func TestLeftBehind(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	h := build(t, store, 2, map[string]function{
		"f": func(context.Context, *house, *jobcontrol.Execution) (any, error) { return nil, nil },
	})
	var looks atomic.Int32
	var ended atomic.Bool
	p := h.pool(t, func(c *worker.PoolConfig) {
		c.EndLeft = func(context.Context, jobcontrol.Process) error {
			looks.Add(1)
			if ended.Load() {
				return nil
			}
			return errors.New("still running")
		}
	})
	ctx := context.Background()
	dead := worker.Self()
	dead.StartTime--
	lease, err := store.Register(ctx, dead, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	gone := func() bool {
		all, err := store.Workers(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range all {
			if w.ID == lease.Worker {
				return false
			}
		}
		return true
	}
	until(t, "it was looked at three times", func() bool { return looks.Load() >= 3 })
	if gone() {
		t.Fatal("its lease was taken away")
	}
	ended.Store(true)
	until(t, "it is gone", gone)
	until(t, "it was counted", func() bool { return p.Stats().Rescues == 1 })
}

// TestSuspectsInARow: builds that several workers died with do not keep each other
// waiting for long while there is always something else to be executed.
func TestSuspectsInARow(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	var active, beside atomic.Int32
	h := build(t, store, 2, map[string]function{
		"f": func(context.Context, *house, *jobcontrol.Execution) (any, error) {
			active.Add(1)
			defer active.Add(-1)
			return nil, nil
		},
		"suspect": func(context.Context, *house, *jobcontrol.Execution) (any, error) {
			beside.Add(active.Load())
			return nil, nil
		},
	})
	ctx := context.Background()
	flow, suspect := &jobcontrol.Job{ID: "flow", Run: call("f")}, &jobcontrol.Job{ID: "suspect", Run: call("suspect")}
	// They stand between others.
	var suspects, all []int64
	for range 10 {
		for _, job := range []*jobcontrol.Job{suspect, flow} {
			ids, err := h.EnqueueMany(ctx, job, make([]jobcontrol.Enqueued, 1))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, ids[0])
			if job == suspect {
				suspects = append(suspects, ids[0])
			}
		}
	}
	for range jobcontrol.MaxUnproven {
		lease, err := store.Register(ctx, jobcontrol.Process{PID: 1}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		got, err := store.Claim(ctx, lease, jobcontrol.Wanted{Services: []string{""}, N: len(all)})
		if err != nil || len(got.Builds) != len(all) {
			t.Fatalf("%d builds, %v", len(got.Builds), err)
		}
		var back []jobcontrol.Claim
		for _, b := range got.Builds {
			if b.Job == "flow" {
				back = append(back, b.Claim)
			}
		}
		if err := store.GiveBack(ctx, back); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Rescue(ctx, func(p jobcontrol.Process) (bool, bool) { return false, p.PID == 1 }); err != nil {
			t.Fatal(err)
		}
	}
	h.pool(t, nil)
	for _, id := range all {
		if b, err := h.Wait(ctx, id); err != nil || b.State != jobcontrol.Successful || b.Lost > 0 {
			t.Errorf("%+v, %v", b, err)
		}
	}
	if beside.Load() != 0 {
		t.Errorf("%d were executed beside suspects", beside.Load())
	}
	for _, id := range suspects {
		if b, err := h.Build(ctx, id); err != nil || b.Attempts != 1 {
			t.Errorf("%+v, %v", b, err)
		}
	}
}
