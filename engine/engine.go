package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/internal/fault"
	"github.com/jobcontrol/jobcontrol/internal/redact"
)

// Engine executes attempts. It is safe for concurrent use.
type Engine struct {
	Executor jobcontrol.Executor
	// Build returns a build whose result may be used as an argument.
	Build func(ctx context.Context, id int64) (*jobcontrol.Build, error)
	// Shared and Report may be nil where nothing is being built.
	Shared jobcontrol.SharedValues
	Report func(ctx context.Context, c jobcontrol.Claim, logs []jobcontrol.LogRecord, progress []jobcontrol.Progress) error
	// MarkRan is called before the run phase of a job with a clean-up step.
	MarkRan func(ctx context.Context, c jobcontrol.Claim, at time.Time) error
	// Trusted is asked just before a task is executed; what it returns is a fault of
	// the store: others may have the build, and nothing is begun. Nil: nobody is asked.
	Trusted func() error
	// Services are those that are described; asked for the keys of builds of items.
	// Nil: these need none.
	Services func(ctx context.Context) ([]jobcontrol.Service, error)
	// Secret reads a secret; nil: there are none.
	Secret func(ctx context.Context, name string) (string, error)
	// Now is the store's clock; nil: the system's.
	Now func() time.Time
}

// Input is one attempt to execute.
type Input struct {
	Build  *jobcontrol.Build // with its claim
	Job    *jobcontrol.Job   // its frozen definition
	Number int               // of the attempt, from 1
	// Cancel ends the context that the attempt is executed with, and that alone;
	// nil: the engine makes one.
	Cancel context.CancelCauseFunc
	// Observe is told how each phase ended, in DoJobber's terms: a run-only job
	// has a check that fails and a recheck that passes as its run did, a group a
	// check that passes. May be nil.
	Observe func(phase jobcontrol.Phase, passed bool, f *jobcontrol.Failure)
}

// attempt is the state of one attempt; one goroutine owns it.
type attempt struct {
	*Engine
	Input
	rec     *recorder
	cancel  context.CancelCauseFunc
	local   *jobcontrol.LocalValues
	secrets map[string]string
	results map[string]any // of dependencies, where they are known already
	red     *redact.Redactor
	phases  []jobcontrol.PhaseResult
	started time.Time
	ran     bool
	held    jobcontrol.Prepared // the first phase's task; nil: it was not prepared, or is executed

	recording recorder                  // of rec
	own       jobcontrol.LocalValues    // of local, where it begins with none
	single    [1]jobcontrol.PhaseResult // of phases, while there is one
}

func (e *Engine) now() time.Time {
	if e.Now != nil {
		return jobcontrol.Micros(e.Now())
	}
	return jobcontrol.Micros(time.Now())
}

// Attempt executes one attempt and returns how it ended: its State is
// successful, skipped, suspended, cancelled or failed, or waiting where it found
// the items of a job with for_each: then its Expansion is to be stored. The error is a fault of
// the store, or ErrLeaseLost: then the attempt was ended and nothing is known.
func (e *Engine) Attempt(ctx context.Context, in Input) (jobcontrol.Ended, error) {
	return e.attempt(in).goThrough(ctx)
}

func (e *Engine) attempt(in Input) *attempt {
	a := &attempt{Engine: e, Input: in}
	a.local = &a.own
	a.record()
	return a
}

func (a *attempt) goThrough(ctx context.Context) (jobcontrol.Ended, error) {
	if a.cancel = a.Cancel; a.cancel == nil {
		ctx, a.cancel = context.WithCancelCause(ctx)
		defer a.cancel(nil)
	}
	a.started = a.now()
	if a.Job.ForEach != nil {
		return a.each(ctx)
	}
	ended := jobcontrol.Ended{}
	value, failure, err := a.execute(ctx)
	logs, progress, rerr := a.rec.close()
	if err == nil {
		err = rerr
	}
	if err != nil {
		return jobcontrol.Ended{}, err
	}
	ended.Logs, ended.Progress = logs, progress
	ended.Changed = a.ran
	if a.Job.Kind() == jobcontrol.KindGroup && failure == nil {
		if ended.Changed, err = a.dependencyChanged(ctx); err != nil {
			return jobcontrol.Ended{}, err
		}
	}
	if failure == nil && value != nil {
		ended.Result = a.redactJSON(value)
	}
	a.end(&ended, failure)
	return ended, nil
}

// end fills in the attempt's row and the state that follows from its failure.
func (a *attempt) end(ended *jobcontrol.Ended, f *jobcontrol.Failure) {
	f = a.redactFailure(f)
	ended.State = stateOf(f)
	ended.Attempt = jobcontrol.Attempt{
		Build: a.Input.Build.ID, Number: a.Number, Phases: a.phases, StartedAt: a.started, FinishedAt: a.now(),
		Worker: a.Input.Build.Claim.Worker, Claim: a.Input.Build.Claim.Number, Failure: f,
	}
	if a.ran && a.Job.Cleanup != nil {
		ended.Attempt.Local = a.local.All()
	}
}

func stateOf(f *jobcontrol.Failure) jobcontrol.State {
	if f == nil {
		return jobcontrol.Successful
	}
	switch f.Kind {
	case jobcontrol.FailSkip:
		return jobcontrol.Skipped
	case jobcontrol.FailSuspend:
		return jobcontrol.Suspended
	case jobcontrol.FailCancel:
		return jobcontrol.Cancelled
	}
	return jobcontrol.Failed
}

// execute goes through the phases. A fault of the store is the third result.
func (a *attempt) execute(ctx context.Context) (json.RawMessage, *jobcontrol.Failure, error) {
	if err := a.readSecrets(ctx); err != nil {
		return nil, jobcontrol.FailureOf(err, ""), nil
	}
	limited, stop := a.limit(ctx)
	defer stop()
	var check, run, recheck outcome
	switch a.Job.Kind() {
	case jobcontrol.KindGroup:
		a.observe(jobcontrol.PhaseCheck, nil)
		return nil, nil, nil
	case jobcontrol.KindRunOnly:
		a.observe(jobcontrol.PhaseCheck, runOnlyCheck)
	default:
		check = a.phase(limited, jobcontrol.PhaseCheck)
		if check.err != nil || check.failure == nil || check.final || a.Job.Run == nil || timedOut(limited) {
			return check.value, check.failure, check.err
		}
	}
	run = a.phase(limited, jobcontrol.PhaseRun)
	if a.Job.Check == nil {
		a.observe(jobcontrol.PhaseRecheck, run.failure)
	}
	if run.err != nil || run.final || a.Job.Check == nil {
		return run.value, run.failure, run.err
	}
	if timedOut(limited) { // the recheck still follows, with limits of its own
		var stop2 func()
		limited, stop2 = a.limit(ctx)
		defer stop2()
	}
	recheck = a.phase(limited, jobcontrol.PhaseRecheck)
	switch {
	case recheck.err != nil:
		return nil, nil, recheck.err
	case recheck.failure == nil && recheck.value == nil:
		return run.value, nil, nil
	case recheck.failure != nil && run.failure != nil && !recheck.final:
		return nil, both(recheck.failure, run.failure), nil
	}
	return recheck.value, recheck.failure, nil
}

// runOnlyCheck is what DoJobber's run-only nodes say.
var runOnlyCheck = &jobcontrol.Failure{
	Kind: jobcontrol.FailError, Phase: jobcontrol.PhaseCheck,
	Message: "Runonly node check intentionally fails first time.",
}

// both joins the failures of recheck and run: the recheck decides, but where the
// run forbids another try that stands.
func both(recheck, ran *jobcontrol.Failure) *jobcontrol.Failure {
	f := *recheck
	if !ran.Kind.Repeatable() || ran.Kind == jobcontrol.FailTimeout && f.Kind == jobcontrol.FailError {
		f.Kind, f.Soft = ran.Kind, ran.Soft
	}
	f.Causes = append([]string{"run: " + ran.Message}, f.Causes...)
	if len(f.Frames) == 0 {
		f.Frames = ran.Frames
	}
	if f.ExitCode == nil {
		f.ExitCode, f.Signal = ran.ExitCode, ran.Signal
	}
	return &f
}

// outcome is how a phase ended.
type outcome struct {
	value   json.RawMessage
	failure *jobcontrol.Failure
	final   bool  // the failure ends the attempt
	err     error // a fault of the store; the rest is unknown
}

// phase executes one phase and records and tells how it ended.
func (a *attempt) phase(ctx context.Context, p jobcontrol.Phase) outcome {
	begin := time.Now()
	o := a.perform(ctx, p)
	if o.err != nil {
		return o
	}
	f := o.failure
	result := jobcontrol.PhaseResult{Phase: p, Passed: f == nil, Duration: time.Since(begin)}
	if f != nil {
		o.final = o.final || f.Kind.EndsAttempt()
		result.Error = a.redactFailure(f).Message
	}
	if a.phases == nil {
		a.phases = a.single[:0]
	}
	a.phases = append(a.phases, result)
	a.observe(p, f)
	return o
}

func (a *attempt) perform(ctx context.Context, p jobcontrol.Phase) outcome {
	if ctx.Err() != nil { // nothing is started any more
		return outcome{failure: jobcontrol.FailureOf(context.Cause(ctx), p), final: true}
	}
	durable := context.WithoutCancel(ctx)
	var execute func(context.Context) (any, error)
	if a.held != nil {
		execute = a.held.Execute
	} else {
		c, err := a.call(p, func(rv jobcontrol.Retval) (any, error) {
			if v, ok := a.results[rv.Job]; ok {
				return v, nil
			}
			return jobcontrol.ResultOf(durable, a.Engine.Build, rv.Job, a.Input.Build.Pins[rv.Job])
		})
		switch {
		case storeFault(err):
			return outcome{err: err}
		case err != nil: // another try would be the same, and nothing else can be executed without
			return outcome{failure: noTry(jobcontrol.FailureOf(err, p)), final: true}
		}
		execute = func(ctx context.Context) (any, error) { return a.Executor.Execute(ctx, c) }
	}
	if p == jobcontrol.PhaseRun {
		if a.Job.Cleanup != nil && a.MarkRan != nil {
			if err := a.MarkRan(durable, a.Input.Build.Claim, a.started); err != nil {
				return outcome{err: err}
			}
		}
		a.ran = true
	}
	a.rec.setPhase(p)
	if p == jobcontrol.PhaseRun {
		if err := fault.Point("engine.run.before"); err != nil {
			return outcome{failure: jobcontrol.FailureOf(err, p)}
		}
	}
	if a.Trusted != nil {
		if err := a.Trusted(); err != nil {
			return outcome{err: err}
		}
	}
	a.held = nil
	o := safely(ctx, p, execute)
	if err := pointAfter(p); err != nil {
		return outcome{failure: jobcontrol.FailureOf(err, p)}
	}
	if o.failure != nil && o.failure.Kind == jobcontrol.FailLost {
		if err := a.rec.failed(); err != nil {
			return outcome{err: err}
		}
	}
	return o
}

// pointAfter passes the fail point after a phase.
func pointAfter(p jobcontrol.Phase) error {
	switch p {
	case jobcontrol.PhaseCheck:
		return fault.Point("engine.check.after")
	case jobcontrol.PhaseRun:
		return fault.Point("engine.run.after")
	case jobcontrol.PhaseRecheck:
		return fault.Point("engine.recheck.after")
	}
	return nil
}

// safely executes a task and encodes what it returns; code of the job's that
// runs on this goroutine, such as that of its values, may panic.
func safely(ctx context.Context, p jobcontrol.Phase, execute func(context.Context) (any, error)) (o outcome) {
	defer func() {
		if v := recover(); v != nil {
			f := &jobcontrol.Failure{Kind: jobcontrol.FailPanic, Message: fmt.Sprintf("panic: %v", v)}
			o = outcome{failure: jobcontrol.FailureOf(f, p)}
		}
	}()
	v, err := execute(ctx)
	if err != nil {
		return outcome{failure: jobcontrol.FailureOf(err, p)}
	}
	value, err := jobcontrol.EncodeResult(v)
	if err != nil { // a result that is refused fails the build at once
		return outcome{failure: jobcontrol.FailureOf(err, p), final: true}
	}
	return outcome{value: value}
}

// storeFault tells whether an error is one of the store, and not of the job.
func storeFault(err error) bool {
	return errors.Is(err, jobcontrol.ErrUnavailable) || errors.Is(err, jobcontrol.ErrLeaseLost)
}

// noTry makes a failure that came before any code was executed one that is not
// tried again: nothing would be different.
func noTry(f *jobcontrol.Failure) *jobcontrol.Failure {
	if f.Kind == jobcontrol.FailError {
		f.Kind = jobcontrol.FailUser
	}
	return f
}

func (a *attempt) observe(p jobcontrol.Phase, f *jobcontrol.Failure) {
	if a.Observe != nil {
		a.Observe(p, f == nil, a.redactFailure(f))
	}
}

// call makes the call of a phase, with its placeholders resolved.
func (a *attempt) call(p jobcontrol.Phase, retval func(jobcontrol.Retval) (any, error)) (*jobcontrol.Call, error) {
	args, env, err := a.arguments(p, retval)
	if err != nil {
		return nil, err
	}
	return a.callWith(p, args, env), nil
}

func (a *attempt) callWith(p jobcontrol.Phase, args *jobcontrol.Resolved, env map[string]string) *jobcontrol.Call {
	b := a.Input.Build
	x := &jobcontrol.Execution{
		Run: b.Run, Build: b.ID, Job: a.Job, Attempt: a.Number, Phase: p, Fence: b.Claim.Number,
		Args: args.Args, Kwargs: args.Kwargs, Local: a.local, Record: a.rec,
		Shared: jobcontrol.NewShared(a.Shared, b.Run, b.Claim),
	}
	c := &jobcontrol.Call{Execution: x, Task: a.Job.TaskOf(p), Env: env, HTTP: args.HTTP}
	if a.red != nil {
		c.Redact = func(s string) string { return a.maskTail(a.redactString(s)) }
	}
	return c
}

// arguments resolves the placeholders of a phase.
func (a *attempt) arguments(p jobcontrol.Phase, retval func(jobcontrol.Retval) (any, error)) (*jobcontrol.Resolved, map[string]string, error) {
	args, err := jobcontrol.ResolveArguments(a.Job, a.Input.Build, p, retval,
		func(s jobcontrol.Secret) (any, error) { return a.secrets[s.Name], nil })
	if err != nil || len(args.Env) == 0 {
		return args, nil, err
	}
	env := make(map[string]string, len(args.Env))
	for k, v := range args.Env {
		env[k] = text(v)
	}
	return args, env, nil
}

// text is a value as a command gets it: strings as they are, others as JSON.
func text(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(data)
}

// dependencyChanged tells whether a dependency changed something in this Run.
func (a *attempt) dependencyChanged(ctx context.Context) (bool, error) {
	ctx = context.WithoutCancel(ctx)
	for _, id := range a.Input.Build.Pins {
		if id == 0 {
			continue
		}
		b, err := a.Engine.Build(ctx, id)
		if storeFault(err) {
			return false, err
		}
		if err == nil && b.Run == a.Input.Build.Run && b.Changed != nil && *b.Changed {
			return true, nil
		}
	}
	return false, nil
}
