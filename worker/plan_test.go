package worker_test

import (
	"context"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/internal/dojobbermodel"
	"github.com/jobcontrol/jobcontrol/worker"
)

// TestPlanEqualsNoAct is DJ-V15: a plan executes the checks that DoJobber's
// no_act executes, and knows what that knows.
func TestPlanEqualsNoAct(t *testing.T) {
	in := dojobbermodel.Movie(dojobbermodel.MovieOptions{})
	in.NoAct = true
	want, err := dojobbermodel.Execute(in)
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := jobsOf(in)
	if err != nil {
		t.Fatal(err)
	}
	c := worker.NewClient(worker.Config{
		Store: openStore(t), Jobs: jobs,
		Executor: scripted(func(job string, attempt int, phase jobcontrol.Phase) error {
			if phase != jobcontrol.PhaseCheck {
				t.Errorf("%s of %s was executed", phase, job)
			}
			return in.Outcome(job, attempt, dojobbermodel.Step(phase))
		}),
	})
	plan, err := c.Plan(context.Background(), runJob("WatchMovie"))
	if err != nil {
		t.Fatal(err)
	}
	status := map[jobcontrol.Action]dojobbermodel.Status{
		jobcontrol.ActionNone: dojobbermodel.True, jobcontrol.ActionRun: dojobbermodel.False, jobcontrol.ActionUnknown: dojobbermodel.Untested,
	}
	if len(plan.Items) != len(in.Nodes) {
		t.Errorf("%d jobs are planned, want %d", len(plan.Items), len(in.Nodes))
	}
	for _, it := range plan.Items {
		if got := status[it.Action]; got != want.Status[it.Job.ID] {
			t.Errorf("%s: %s (%s), DoJobber says %s", it.Job.ID, it.Action, it.Why, want.Status[it.Job.ID])
		}
	}
}

// TestTriesAndDelays is DJ-V18: a job's own tries and delay, else the defaults.
func TestTriesAndDelays(t *testing.T) {
	own, byDefault := 2*time.Millisecond, time.Millisecond
	h := build(t, openStore(t), 2, map[string]function{
		"fail": func(context.Context, *house, *jobcontrol.Execution) (any, error) {
			return nil, context.DeadlineExceeded
		},
	},
		&jobcontrol.Job{ID: "Foo", Run: call("fail"), Tries: 10, RetryDelay: &own},
		&jobcontrol.Job{ID: "Bar", Run: call("fail")})
	r := runJob("Foo", "Bar")
	r.Tries, r.RetryDelay = 1, &byDefault
	_, builds := h.execute(t, r)
	for id, want := range map[string]jobcontrol.Build{
		"Foo": {Tries: 10, TriesUsed: 10, RetryDelay: own}, "Bar": {Tries: 1, TriesUsed: 1, RetryDelay: byDefault},
	} {
		b := builds[id]
		if b.Tries != want.Tries || b.TriesUsed != want.TriesUsed || b.RetryDelay != want.RetryDelay {
			t.Errorf("%s: %d of %d tries, delay %v", id, b.TriesUsed, b.Tries, b.RetryDelay)
		}
	}
}
