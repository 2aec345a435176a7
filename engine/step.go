package engine

import (
	"context"
	"errors"

	"github.com/jobcontrol/jobcontrol"
)

// Cleanup executes the clean-up step of a build whose run phase was executed.
// The result's State is successful or failed. The error is a fault of the store.
func (e *Engine) Cleanup(ctx context.Context, in Input, local *jobcontrol.LocalValues) (jobcontrol.Ended, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a := &attempt{Engine: e, Input: in, cancel: cancel, local: local, started: e.now()}
	a.record()
	var o outcome
	if err := a.readSecrets(ctx); err != nil {
		o.failure = jobcontrol.FailureOf(err, jobcontrol.PhaseCleanup)
	} else {
		limited, stop := a.limit(ctx)
		o = a.phase(limited, jobcontrol.PhaseCleanup)
		stop()
	}
	logs, progress, err := a.rec.close()
	if err = errors.Join(o.err, err); err != nil {
		return jobcontrol.Ended{}, err
	}
	ended := jobcontrol.Ended{Logs: logs, Progress: progress}
	a.end(&ended, o.failure)
	ended.Attempt.Cleanup = true
	if o.failure != nil {
		ended.State = jobcontrol.Failed
	}
	return ended, nil
}

// Check executes a job's check where nothing is being built, for a Plan, with
// arguments in which no placeholder but secrets is left. What it logs is dropped.
func (e *Engine) Check(ctx context.Context, j *jobcontrol.Job, args *jobcontrol.Resolved) (any, error) {
	check, job := *j.Check, *j
	check.Args, check.Kwargs = nil, nil
	job.Check, job.Args, job.Kwargs, job.Env = &check, args.Args, args.Kwargs, args.Env
	a := e.apart(&jobcontrol.Build{Job: j.ID}, &job, 1)
	a.results = args.Results // a request resolves its own placeholders
	if err := a.readSecrets(ctx); err != nil {
		return nil, err
	}
	limited, stop := a.limit(ctx)
	defer stop()
	o := a.phase(limited, jobcontrol.PhaseCheck)
	switch {
	case o.err != nil:
		return nil, o.err
	case o.failure != nil:
		return nil, a.redactFailure(o.failure)
	case o.value == nil:
		return nil, nil
	}
	return o.value, nil
}

// apart is an attempt of which nothing is recorded.
func (e *Engine) apart(b *jobcontrol.Build, j *jobcontrol.Job, number int) *attempt {
	plain := *e
	plain.Report, plain.MarkRan, plain.Trusted = nil, nil, nil
	a := &attempt{
		Engine: &plain, Input: Input{Build: b, Job: j, Number: number},
		cancel: func(error) {}, local: jobcontrol.NewLocal(nil), started: e.now(),
	}
	a.record()
	a.rec.closed = true
	return a
}

// OnDelete calls a job's on_delete function with a build that was deleted.
func (e *Engine) OnDelete(ctx context.Context, j *jobcontrol.Job, b *jobcontrol.Build) error {
	a := e.apart(b, j, b.Attempts+1)
	call := a.callWith(jobcontrol.PhaseOnDelete, &jobcontrol.Resolved{}, nil)
	call.Deleted = b
	execute := func(ctx context.Context) (any, error) { return a.Executor.Execute(ctx, call) }
	if o := safely(ctx, jobcontrol.PhaseOnDelete, execute); o.failure != nil {
		return o.failure
	}
	return nil
}
