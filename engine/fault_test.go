package engine_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/engine"
)

// explosive panics when it is encoded.
type explosive struct{}

func (explosive) MarshalJSON() ([]byte, error) { panic("cannot be encoded") }

// nilFailure is an error that is not nil and has no value.
func nilFailure() error {
	var f *jobcontrol.Failure
	return f
}

func TestWhatTheJobDoesWrongIsTheJobsFailure(t *testing.T) {
	task := &jobcontrol.Task{Shell: "x"}
	executed := ""
	note := func(name string, v any) func(context.Context, *jobcontrol.Call) (any, error) {
		return func(context.Context, *jobcontrol.Call) (any, error) {
			executed += name + " "
			return v, nil
		}
	}
	found := func(context.Context, int64) (*jobcontrol.Build, error) {
		return &jobcontrol.Build{ID: 1, State: jobcontrol.Successful, Result: []byte(`{"a": 1}`)}, nil
	}
	for name, c := range map[string]struct {
		script   script
		job      jobcontrol.Job
		kind     jobcontrol.FailureKind
		message  string
		executed string
	}{
		"a value that panics":          {script{"run": note("run", explosive{})}, jobcontrol.Job{Run: task}, jobcontrol.FailPanic, "cannot be encoded", "run "},
		"an error without a value":     {script{"run": nilFailure()}, jobcontrol.Job{Run: task}, jobcontrol.FailError, "failed without a message", ""},
		"a passing check's bad value":  {script{"check": note("check", math.Inf(1)), "run": note("run", 1)}, jobcontrol.Job{Check: task, Run: task}, jobcontrol.FailUser, "result refused", "check "},
		"a run's result is too large":  {script{"check": errors.New("c"), "run": note("run", strings.Repeat("x", jobcontrol.MaxResult)), "recheck": note("recheck", nil)}, jobcontrol.Job{Check: task, Run: task}, jobcontrol.FailUser, "store it elsewhere", "run "},
		"a missing path in env":        {script{"run": note("run", 1)}, jobcontrol.Job{Run: task, Env: map[string]any{"V": jobcontrol.Retval{Job: "dep", Path: "y"}}}, jobcontrol.FailUser, `no key "y"`, ""},
		"the check's arguments":        {script{"check": note("check", 1), "run": note("run", 1)}, jobcontrol.Job{Check: &jobcontrol.Task{Shell: "x", Args: []byte(`[{"$retval": {"job": "dep", "path": "y"}}]`)}, Run: task}, jobcontrol.FailUser, `no key "y"`, ""},
		"a secret that is not known":   {script{"run": note("run", 1)}, jobcontrol.Job{Run: task, Kwargs: map[string]any{"t": jobcontrol.Secret{Name: "n"}}}, jobcontrol.FailUser, `secret "n" is not known`, ""},
		"a dependency without a build": {script{"run": note("run", 1)}, jobcontrol.Job{Run: task, Args: []any{jobcontrol.Retval{Job: "other"}}}, jobcontrol.FailUser, `job "other" has no successful build`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			executed = ""
			e := &engine.Engine{Executor: c.script, Build: found}
			c.job.ID = "a"
			b := &jobcontrol.Build{ID: 7, Run: 7, Pins: map[string]int64{"dep": 1}}
			ended, err := e.Attempt(context.Background(), engine.Input{Build: b, Job: &c.job, Number: 1})
			if err != nil {
				t.Fatal(err)
			}
			f := ended.Attempt.Failure
			if ended.State != jobcontrol.Failed || f == nil || f.Kind != c.kind || !strings.Contains(f.Message, c.message) || executed != c.executed {
				t.Errorf("%s, %+v, executed %q", ended.State, f, executed)
			}
		})
	}
}

// TestCancelledBetweenPhases: nothing more is executed, and it is no fault of the store.
func TestCancelledBetweenPhases(t *testing.T) {
	task := &jobcontrol.Task{Shell: "x"}
	ctx, cancel := context.WithCancelCause(context.Background())
	e := &engine.Engine{
		Executor: script{"check": func(context.Context, *jobcontrol.Call) (any, error) {
			cancel(engine.Cancelled("interrupted"))
			return nil, jobcontrol.UserError("not there")
		}, "run": func(context.Context, *jobcontrol.Call) (any, error) {
			t.Error("the run phase was executed")
			return nil, nil
		}},
		MarkRan: func(ctx context.Context, _ jobcontrol.Claim, _ time.Time) error { return ctx.Err() },
	}
	ended, err := e.Attempt(ctx, engine.Input{Build: &jobcontrol.Build{ID: 1}, Job: &jobcontrol.Job{ID: "a", Check: task, Run: task, Cleanup: task}, Number: 1})
	if err != nil || ended.State != jobcontrol.Cancelled {
		t.Errorf("%s, %v", ended.State, err)
	}
}
