package worker_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/storetest"
)

// methods are what a Run with a clean-up step calls to write.
var methods = []string{"CreateRun", "Finish", "Retry", "MarkRan", "StartCleaning", "Cleaned", "FinishRun"}

func faultyHouse(t *testing.T, store jobcontrol.Store) *house {
	return build(t, store, 2, map[string]function{
		"run": func(_ context.Context, h *house, x *jobcontrol.Execution) (any, error) {
			h.note("%s%d", x.Job.ID, x.Attempt)
			if x.Job.ID == "a" && x.Attempt == 1 {
				return nil, jobcontrol.Retry(1, "once more")
			}
			return x.Job.ID, nil
		},
		"clean": func(_ context.Context, h *house, x *jobcontrol.Execution) (any, error) {
			h.note("clean-%s", x.Job.ID)
			return nil, nil
		},
	},
		&jobcontrol.Job{ID: "a", Run: call("run"), Cleanup: call("clean")},
		&jobcontrol.Job{ID: "b", Run: call("run"), Dependencies: []string{"a"}})
}

// TestPassingFaults: a write whose answer was lost, or that failed once, is
// repeated; everything is executed and stored exactly once.
func TestPassingFaults(t *testing.T) {
	for _, method := range methods {
		for _, mode := range []storetest.Mode{storetest.FailBefore, storetest.FailAfter} {
			store := storetest.Faulty(openStore(t), storetest.Fault{Method: method, At: 1, Mode: mode})
			h := faultyHouse(t, store)
			run, builds := h.execute(t, runJob("b"))
			if run.State != jobcontrol.RunSuccessful || builds["a"].Attempts != 3 || h.noted() != "a1 a2 b1 clean-a" {
				t.Errorf("%s %v: run %s, a had %d attempts, executed %s", method, mode, run.State, builds["a"].Attempts, h.noted())
			}
			if store.Fired() == 0 {
				t.Errorf("%s was never called", method)
			}
			if runs, err := h.Runs(context.Background(), jobcontrol.RunFilter{}); err != nil || len(runs) != 1 {
				t.Errorf("%s %v: %d runs, %v", method, mode, len(runs), err)
			}
		}
	}
}

// TestLastingFaults: the Run ends with the fault, and can be resumed when it is over.
func TestLastingFaults(t *testing.T) {
	for _, method := range methods[1:] {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			store := storetest.Faulty(openStore(t), storetest.Fault{Method: method, Mode: storetest.FailBefore})
			h := faultyHouse(t, store)
			ctx := context.Background()
			if _, err := h.Execute(ctx, runJob("b"), nil); !errors.Is(err, jobcontrol.ErrUnavailable) {
				t.Fatal(err)
			}
			store.Set()
			runs, err := h.Runs(ctx, jobcontrol.RunFilter{})
			if err != nil || len(runs) != 1 || runs[0].State != jobcontrol.RunInterrupted {
				t.Fatalf("runs %+v, %v", runs, err)
			}
			run, err := h.Resume(ctx, runs[0].ID, nil)
			if err != nil || run.State != jobcontrol.RunSuccessful {
				t.Errorf("resumed: %+v, %v", run, err)
			}
		})
	}
}

// TestSuspended: the program does not wait for a person; who resumes the Run
// resumes its suspended builds, and only then clean-up steps follow.
func TestSuspended(t *testing.T) {
	decided := false
	h := build(t, openStore(t), 2, map[string]function{
		"run": func(_ context.Context, h *house, x *jobcontrol.Execution) (any, error) {
			h.note("%s", x.Job.ID)
			if x.Job.ID == "asks" && !decided {
				return nil, jobcontrol.Suspend("who pays?")
			}
			return nil, nil
		},
		"clean": func(_ context.Context, h *house, x *jobcontrol.Execution) (any, error) {
			h.note("clean-%s", x.Job.ID)
			return nil, nil
		},
	},
		&jobcontrol.Job{ID: "first", Run: call("run"), Cleanup: call("clean")},
		&jobcontrol.Job{ID: "asks", Run: call("run"), Dependencies: []string{"first"}},
		&jobcontrol.Job{ID: "after", Run: call("run"), Dependencies: []string{"asks"}})
	ctx := context.Background()
	run, err := h.Execute(ctx, runJob("after"), nil)
	if err != nil || run.State != jobcontrol.RunInterrupted || run.Counts[jobcontrol.Suspended] != 1 {
		t.Fatalf("%+v, %v", run, err)
	}
	decided = true
	run, err = h.Resume(ctx, run.ID, nil)
	if err != nil || run.State != jobcontrol.RunSuccessful || h.noted() != "first asks asks after clean-first" {
		t.Errorf("%+v, %v, executed %s", run, err, h.noted())
	}
}
