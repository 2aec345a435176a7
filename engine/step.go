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
	a.rec = newRecorder(a)
	var f *jobcontrol.Failure
	var err error
	if serr := a.readSecrets(ctx); serr != nil {
		f = jobcontrol.FailureOf(serr, jobcontrol.PhaseCleanup)
	} else {
		limited, stop := a.limit(ctx)
		_, f, err = a.phase(limited, jobcontrol.PhaseCleanup)
		stop()
	}
	logs, progress, rerr := a.rec.close()
	if err = errors.Join(err, rerr); err != nil {
		return jobcontrol.Ended{}, err
	}
	ended := jobcontrol.Ended{Logs: logs, Progress: progress}
	a.end(&ended, f)
	ended.Attempt.Cleanup = true
	if f != nil {
		ended.State = jobcontrol.Failed
	}
	return ended, nil
}

// Check executes a job's check where nothing is being built, for a Plan. What it
// logs is dropped.
func (e *Engine) Check(ctx context.Context, j *jobcontrol.Job, args []any, kwargs map[string]any) (any, error) {
	encodedArgs, err := jobcontrol.EncodeArguments(emptyList(args))
	if err != nil {
		return nil, err
	}
	encodedKwargs, err := jobcontrol.EncodeArguments(emptyMap(kwargs))
	if err != nil {
		return nil, err
	}
	check := *j.Check
	check.Args, check.Kwargs = encodedArgs, encodedKwargs
	job := *j
	job.Check = &check
	plain := *e
	plain.Report, plain.MarkRan = nil, nil
	a := &attempt{
		Engine: &plain, Input: Input{Build: &jobcontrol.Build{Job: j.ID}, Job: &job, Number: 1},
		cancel: func(error) {}, local: jobcontrol.NewLocal(nil), started: e.now(),
	}
	a.rec = newRecorder(a)
	a.rec.closed = true
	if err := a.readSecrets(ctx); err != nil {
		return nil, err
	}
	limited, stop := a.limit(ctx)
	defer stop()
	value, f, err := a.phase(limited, jobcontrol.PhaseCheck)
	switch {
	case err != nil:
		return nil, err
	case f != nil:
		return nil, a.redactFailure(f)
	case value == nil:
		return nil, nil
	}
	return value, nil
}

// OnDelete calls a job's on_delete function with a build that was deleted.
func (e *Engine) OnDelete(ctx context.Context, j *jobcontrol.Job, b *jobcontrol.Build) error {
	plain := *e
	plain.Report, plain.MarkRan = nil, nil
	job := *j
	job.Args, job.Kwargs = nil, nil
	a := &attempt{
		Engine: &plain, Input: Input{Build: b, Job: &job, Number: b.Attempts + 1},
		cancel: func(error) {}, local: jobcontrol.NewLocal(nil), started: e.now(),
	}
	a.rec = newRecorder(a)
	a.rec.closed = true
	call := a.call(jobcontrol.PhaseOnDelete, nil, nil, nil)
	call.Deleted = b
	_, err := e.Executor.Execute(ctx, call)
	return err
}

func emptyList(l []any) any {
	if l == nil {
		return []any{}
	}
	return l
}

func emptyMap(m map[string]any) any {
	if m == nil {
		return map[string]any{}
	}
	return m
}
