package worker_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
	"github.com/jobcontrol/jobcontrol/store/storetest"
	"github.com/jobcontrol/jobcontrol/worker"
)

// refusing is a fault of a store that does not accept a call.
func refusing(method string, at int) storetest.Fault {
	return storetest.Fault{Method: method, At: at, Err: jobcontrol.Errorf(jobcontrol.Invalid, "not like this")}
}

// TestFinishThenFaults: whatever becomes of an end that nobody waits for, and of
// its repetition, it is stored once.
func TestFinishThenFaults(t *testing.T) {
	var cases [][]storetest.Fault
	modes := []storetest.Mode{storetest.FailBefore, storetest.FailAfter}
	for _, mode := range modes {
		for at := range 3 {
			cases = append(cases, []storetest.Fault{{Method: "FinishThen", At: at + 1, Mode: mode}})
		}
		for _, again := range modes {
			cases = append(cases, []storetest.Fault{{Method: "FinishThen", Mode: mode}, {Method: "Finish", At: 1, Mode: again}, {Method: "Finish", At: 2, Mode: again}})
		}
	}
	cases = append(cases, []storetest.Fault{{Method: "FinishThen", Mode: storetest.Delay, Wait: 50 * time.Millisecond}}, []storetest.Fault{refusing("FinishThen", 0)})
	for _, faults := range cases {
		t.Run(strings.ReplaceAll(fmt.Sprintf("%v", faults), " ", "-"), func(t *testing.T) {
			t.Parallel()
			if f := faultyPool(t, openPostgres(t), faults...); f.Fired() < len(faults) {
				t.Errorf("%d faults fired, of %d", f.Fired(), len(faults))
			}
		})
	}
}

// TestFinishThenRefused: an end that the store does not accept, nor when it is
// repeated, is the build's failure.
func TestFinishThenRefused(t *testing.T) {
	store := storetest.Faulty(openPostgres(t), refusing("FinishThen", 1), refusing("Finish", 1))
	h := build(t, store, 2, map[string]function{"f": func(_ context.Context, h *house, x *jobcontrol.Execution) (any, error) {
		h.note("%s", x.Job.ID)
		return nil, nil
	}},
		&jobcontrol.Job{ID: "a", Run: call("f")},
		&jobcontrol.Job{ID: "b", Run: call("f"), Dependencies: []string{"a"}})
	h.pool(t, nil)
	run := h.submit(t, runJob("b"))
	if r := h.finish(t, run.ID); r.State != jobcontrol.RunFailed {
		t.Errorf("run %s", r.State)
	}
	builds := h.builds(t, run.ID)
	if a, b := builds["a"], builds["b"]; a.Failure == nil || !strings.Contains(a.Failure.Message, "not like this") || b.State != jobcontrol.Blocked || h.noted() != "a" {
		t.Errorf("%+v, %+v, executed %s", a, b, h.noted())
	}
}

// TestFinishThenShutdown: a pool that ends waits for the answer.
func TestFinishThenShutdown(t *testing.T) {
	store := storetest.Faulty(openPostgres(t), storetest.Fault{Method: "FinishThen", Mode: storetest.Delay, Wait: 200 * time.Millisecond})
	h := build(t, store, 2, map[string]function{"f": func(context.Context, *house, *jobcontrol.Execution) (any, error) { return "done", nil }},
		&jobcontrol.Job{ID: "a", Run: call("f")})
	p := h.pool(t, nil)
	run := h.submit(t, runJob("a"))
	until(t, "its end is being stored", func() bool { return store.Calls("FinishThen") > 0 })
	p.end(t)
	if b := h.builds(t, run.ID)["a"]; b.State != jobcontrol.Successful || b.Attempts != 1 || p.Stats().Finished != 1 || p.Stats().GivenBack != 0 {
		t.Errorf("%+v, %+v", b, p.Stats())
	}
}

// TestFinishThenLost: the lease is lost while an end has no answer: it is not
// stored any more, and the build is executed again.
func TestFinishThenLost(t *testing.T) {
	store := storetest.Faulty(openPostgres(t), storetest.Fault{Method: "FinishThen", At: 1, Mode: storetest.Delay, Wait: time.Hour}, storetest.Fault{Method: "Renew"})
	h := build(t, store, 2, map[string]function{"f": func(_ context.Context, h *house, x *jobcontrol.Execution) (any, error) {
		h.note("%s", x.Job.ID)
		return x.Fence, nil
	}},
		&jobcontrol.Job{ID: "a", Run: call("f")})
	p := h.pool(t, func(c *worker.PoolConfig) { c.TTL = 400 * time.Millisecond })
	run := h.submit(t, runJob("a"))
	until(t, "the lease was lost", func() bool { return p.Stats().LostLeases > 0 })
	store.Set()
	if r := h.finish(t, run.ID); r.State != jobcontrol.RunSuccessful || h.noted() != "a a" {
		t.Errorf("run %s, executed %s", r.State, h.noted())
	}
	if b := h.builds(t, run.ID)["a"]; string(b.Result) == "1" || b.Attempts != 1 && b.Lost == 0 {
		t.Errorf("%+v", b)
	}
}

// TestEndRefused: the end of an attempt is refused, since the lease was taken away
// and the worker does not know: it begins anew, and the build is executed again.
func TestEndRefused(t *testing.T) { onEachStore(t, testEndRefused) }

func testEndRefused(t *testing.T, open opener) {
	g := newGate()
	store := storetest.Faulty(open(t))
	h := build(t, store, 2, map[string]function{"f": func(_ context.Context, h *house, x *jobcontrol.Execution) (any, error) {
		h.note("%s", x.Job.ID)
		return x.Fence, g.pass(context.Background(), x)
	}},
		&jobcontrol.Job{ID: "a", Run: call("f")})
	p := h.pool(t, func(c *worker.PoolConfig) { c.TTL = 10 * time.Minute })
	run := h.submit(t, runJob("a"))
	<-g.came
	var silent []storetest.Fault // so that the worker learns of it by the end alone
	for _, method := range []string{"Claim", "Start", "Renew", "Workers", "Rescue", "Promote", "StopRequests", "ClaimCleanup"} {
		silent = append(silent, storetest.Fault{Method: method})
	}
	store.Set(silent...)
	time.Sleep(100 * time.Millisecond) // calls that had begun before end before the lease does
	if _, err := store.Unwrap().Rescue(context.Background(), func(jobcontrol.Process) (bool, bool) { return false, true }); err != nil {
		t.Fatal(err)
	}
	close(g.open)
	until(t, "the end was refused", func() bool { return p.Stats().Refused > 0 })
	calls := store.Calls("Finish") + store.Calls("FinishThen")
	store.Set()
	if r := h.finish(t, run.ID); r.State != jobcontrol.RunSuccessful || h.noted() != "a a" {
		t.Errorf("run %s, executed %s", r.State, h.noted())
	}
	if s := p.Stats(); s.Refused != 1 || s.Finished != 1 {
		t.Errorf("%+v", s)
	}
	if calls != 1 {
		t.Errorf("it took %d calls: what was refused was repeated", calls)
	}
}

// away is a store that cannot store the end of its build at first.
type away struct {
	*nothing
	asked  []time.Time
	stored chan struct{}
}

func (a *away) FinishThen(ctx context.Context, c jobcontrol.Claim, e *jobcontrol.Ended, then func(*jobcontrol.Released, error)) {
	go func() { then(a.Finish(ctx, c, *e)) }()
}

func (a *away) Finish(context.Context, jobcontrol.Claim, jobcontrol.Ended) (*jobcontrol.Released, error) {
	a.asked = append(a.asked, time.Now()) // one after the other
	if len(a.asked) < 6 {
		return nil, jobcontrol.Errorf(jobcontrol.Unavailable, "the store is away")
	}
	close(a.stored)
	return &jobcontrol.Released{}, nil
}

// TestFinishThenPause: an end is not repeated at once, and each time later, while
// the store is away.
func TestFinishThenPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := jobcontrol.NewRegistry()
		job := &jobcontrol.Job{ID: "a", Run: jobcontrol.Handle(reg, "f", func(_ context.Context, in number) (number, error) { return in, nil }).Task()}
		store := &away{nothing: &nothing{job: job, left: 1}, stored: make(chan struct{})}
		p := worker.NewPool(worker.PoolConfig{Store: store, Executor: executor.New(executor.Config{Registry: reg, Log: quiet}), Parallel: 1, TTL: time.Hour, Log: quiet})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		<-store.stored
		cancel()
		if err := <-ended; err != nil || p.Stats().Finished != 1 {
			t.Errorf("%v, %+v", err, p.Stats())
		}
		var pauses []time.Duration
		for i := range store.asked[1:] {
			pauses = append(pauses, store.asked[i+1].Sub(store.asked[i]))
		}
		for i, pause := range pauses {
			if pause < 10*time.Millisecond || i > 1 && pause < pauses[i-1]*3/2 {
				t.Fatalf("it was repeated after %v", pauses)
			}
		}
	})
}

// slow is a store that stores ends when it is told to.
type slow struct {
	*nothing
	waiting chan func()
}

func (s *slow) FinishThen(ctx context.Context, c jobcontrol.Claim, e *jobcontrol.Ended, then func(*jobcontrol.Released, error)) {
	s.waiting <- func() { then(s.Finish(ctx, c, *e)) }
}

// TestResultsWait: where results of 64 MiB wait to be stored, nothing more is
// started than what has a slot already, and it goes on when they are stored.
func TestResultsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const builds, parallel, full = 100, 4, 64
		var executed atomic.Int64
		large := strings.Repeat("x", 1<<20-2) // with its quotes 1 MiB
		reg := jobcontrol.NewRegistry()
		job := &jobcontrol.Job{ID: "a", Run: jobcontrol.Handle(reg, "f", func(context.Context, number) (string, error) {
			executed.Add(1)
			return large, nil
		}).Task()}
		store := &slow{&nothing{job: job, left: builds}, make(chan func(), builds)}
		store.done.Add(builds)
		p := worker.NewPool(worker.PoolConfig{Store: store, Executor: executor.New(executor.Config{Registry: reg, Log: quiet}), Parallel: parallel, TTL: time.Hour, Log: quiet})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		time.Sleep(time.Minute)
		if n := executed.Load(); n < full || n >= full+parallel {
			t.Errorf("%d were executed, want %d and less than %d more", n, full, parallel)
		}
		(<-store.waiting)()
		time.Sleep(time.Minute)
		if n := executed.Load(); n < full+1 || n >= full+1+parallel {
			t.Errorf("%d were executed after one was stored", n)
		}
		for range builds - 1 {
			(<-store.waiting)()
		}
		store.done.Wait()
		cancel()
		if err := <-ended; err != nil || p.Stats().Finished != builds {
			t.Errorf("%v, %+v", err, p.Stats())
		}
	})
}
