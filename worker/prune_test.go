package worker_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
	"github.com/jobcontrol/jobcontrol/worker"
)

// pruning is a store with n builds of each job; those of b have the on_delete that is
// given, those of a one that the program lacks.
func pruning(t *testing.T, a, b int, onDelete func(context.Context) error) (*worker.Client, func() *worker.Pruner) {
	t.Helper()
	store, reg := openStore(t), jobcontrol.NewRegistry()
	jobcontrol.Handle(reg, "t:work", func(context.Context, jobcontrol.None) (int, error) { return 1, nil })
	jobcontrol.Handle(reg, "t:gone", func(ctx context.Context, _ jobcontrol.None) (int, error) { return 1, onDelete(ctx) })
	x := executor.New(executor.Config{Registry: reg})
	t.Cleanup(x.Close)
	jobs, err := jobcontrol.NewJobs([]*jobcontrol.Job{
		{ID: "a", Run: &jobcontrol.Task{Function: "t:work"}, OnDelete: "t:unknown"},
		{ID: "b", Run: &jobcontrol.Task{Function: "t:work"}, OnDelete: "t:gone"},
	})
	if err != nil {
		t.Fatal(err)
	}
	c := worker.NewClient(worker.Config{Store: store, Jobs: jobs, Executor: x, Registry: reg})
	for i := range a + b {
		job := "a"
		if i >= a {
			job = "b"
		}
		if _, err := c.Execute(t.Context(), jobcontrol.Request{Verb: jobcontrol.VerbBuild, Jobs: []string{job}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	return c, func() *worker.Pruner { return &worker.Pruner{Client: c, Store: store, Registry: reg} }
}

func later() time.Time { return time.Now().Add(time.Hour) }

// TestPrunersMeet: two programs that remove the same builds disturb each other only
// in that each finds less.
func TestPrunersMeet(t *testing.T) {
	var calls atomic.Int32
	_, pruner := pruning(t, 0, 40, func(context.Context) error {
		calls.Add(1)
		time.Sleep(2 * time.Millisecond)
		return nil
	})
	pruned := make(chan int, 2)
	for range 2 {
		go func() {
			p := pruner()
			if err := p.Builds(t.Context(), later()); err != nil || len(p.Left) > 0 {
				t.Errorf("%v, %v", err, p.Left)
			}
			pruned <- p.Pruned
		}()
	}
	if n := <-pruned + <-pruned; n != 39 || calls.Load() != 39 {
		t.Errorf("%d were removed, on_delete was executed %d times, want 39", n, calls.Load())
	}
}

// TestPruneBehindLeft: builds that cannot be deleted do not keep others from it.
func TestPruneBehindLeft(t *testing.T) {
	c, pruner := pruning(t, 1005, 5, func(context.Context) error { return nil })
	p := pruner()
	if err := p.Builds(t.Context(), later()); err != nil || p.Pruned != 4 || len(p.Left) != 1004 {
		t.Errorf("%d were removed, %d are left, %v; want 4 and 1004", p.Pruned, len(p.Left), err)
	}
	if list, err := c.Builds(t.Context(), jobcontrol.BuildFilter{Job: "b"}); err != nil || len(list) != 1 {
		t.Errorf("%d builds of b, %v", len(list), err)
	}
}

// TestPruneInterrupted: an on_delete that has begun is not cut off, and no other begins.
func TestPruneInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, pruner := pruning(t, 0, 5, func(on context.Context) error {
		cancel()
		return on.Err()
	})
	p := pruner()
	if err := p.Builds(ctx, later()); !errors.Is(err, context.Canceled) || p.Pruned != 1 || len(p.Left) > 0 {
		t.Errorf("%d were removed, %v, %v", p.Pruned, p.Left, err)
	}
}
