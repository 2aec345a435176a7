package engine_test

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/engine"
)

// preparing prepares what its script executes, and writes down what becomes of it.
type preparing struct {
	script
	prepared, executed, discarded *int
}

func newPreparing(s script) preparing { return preparing{s, new(int), new(int), new(int)} }

func (p preparing) Prepare(c *jobcontrol.Call) jobcontrol.Prepared {
	*p.prepared++
	return preparedCall{p, c}
}

type preparedCall struct {
	preparing
	c *jobcontrol.Call
}

func (p preparedCall) Execute(ctx context.Context) (any, error) {
	*p.executed++
	return p.script.Execute(ctx, p.c)
}

func (p preparedCall) Discard() { *p.discarded++ }

func TestPreparedAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		task := &jobcontrol.Task{Shell: "x"}
		x := newPreparing(script{
			"check": context.DeadlineExceeded, "recheck": 3,
			"run": func(ctx context.Context, c *jobcontrol.Call) (any, error) {
				c.Record.Log(jobcontrol.LogRecord{Message: "here"})
				return 2, ctx.Err()
			},
		})
		e := engine.Engine{Executor: x}
		in := engine.Input{Build: &jobcontrol.Build{ID: 7, Run: 7, Tries: 3}, Number: 1}
		in.Job = &jobcontrol.Job{ID: "a", Check: task, Run: task, SoftTimeout: time.Second}
		p := e.Prepare(in)
		time.Sleep(time.Minute)
		begin := time.Now()
		ended, err := p.Attempt(context.Background())
		if err != nil || ended.State != jobcontrol.Successful || string(ended.Result) != "3" || len(ended.Attempt.Phases) != 3 || len(ended.Logs) != 1 {
			t.Errorf("%+v, %v", ended, err)
		}
		if ended.Attempt.StartedAt.Before(jobcontrol.Micros(begin)) {
			t.Error("its time began when it was prepared")
		}
		if *x.prepared != 1 || *x.executed != 1 || *x.discarded != 0 {
			t.Errorf("prepared %d, executed %d, discarded %d", *x.prepared, *x.executed, *x.discarded)
		}
		e.Prepare(in).Discard()
		cancelled, cancel := context.WithCancelCause(context.Background())
		cancel(engine.Cancelled("enough"))
		if ended, err := e.Prepare(in).Attempt(cancelled); err != nil || ended.State != jobcontrol.Cancelled {
			t.Errorf("%+v, %v", ended, err)
		}
		if *x.executed != 1 || *x.discarded != 2 {
			t.Errorf("executed %d, discarded %d", *x.executed, *x.discarded)
		}
	})
}

func TestPreparedOnlyIfAllIsKnown(t *testing.T) {
	task := &jobcontrol.Task{Shell: "x"}
	retval, err := jobcontrol.EncodeArguments([]any{jobcontrol.Retval{Job: "b"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		job   jobcontrol.Job
		args  json.RawMessage
		phase jobcontrol.Phase // "": it is not prepared
	}{
		"run":              {job: jobcontrol.Job{Run: task}, phase: jobcontrol.PhaseRun},
		"check":            {job: jobcontrol.Job{Check: task, Run: task}, phase: jobcontrol.PhaseCheck},
		"one time limit":   {job: jobcontrol.Job{Run: task, Timeout: time.Hour}, phase: jobcontrol.PhaseRun},
		"group":            {},
		"both time limits": {job: jobcontrol.Job{Run: task, SoftTimeout: time.Hour, Timeout: time.Hour}},
		"result":           {job: jobcontrol.Job{Run: task, Kwargs: map[string]any{"n": jobcontrol.Retval{Job: "b"}}}},
		"result of build":  {job: jobcontrol.Job{Run: task}, args: retval},
		"result in env":    {job: jobcontrol.Job{Run: task, Env: map[string]any{"N": jobcontrol.Retval{Job: "b"}}}},
		"secret":           {job: jobcontrol.Job{Run: task, Env: map[string]any{"N": jobcontrol.Secret{Name: "s"}}}},
	} {
		x := newPreparing(script{})
		e := engine.Engine{Executor: x}
		p := e.Prepare(engine.Input{Build: &jobcontrol.Build{ID: 7, Run: 7, Args: jobcontrol.EncodedArguments(c.args)}, Job: &c.job, Number: 1})
		if p != nil {
			p.Discard()
		}
		if (p != nil) != (c.phase != "") || *x.prepared != *x.discarded {
			t.Errorf("%s: prepared %v, %d discarded of %d", name, p != nil, *x.discarded, *x.prepared)
		}
	}
	if e := (&engine.Engine{Executor: script{}}); e.Prepare(engine.Input{Build: &jobcontrol.Build{}, Job: &jobcontrol.Job{Run: task}}) != nil {
		t.Error("an executor that cannot has prepared")
	}
}
