package engine

import (
	"context"
	"errors"

	"github.com/jobcontrol/jobcontrol"
)

// Prepared is an attempt that has begun as far as it may before its
// dependencies' ends are durable: nothing of the job was executed, recorded or told.
type Prepared struct{ a *attempt }

var errUnknown = errors.New("a dependency's result is not known yet")

// Prepare prepares an attempt, whose Pins are not looked at yet; nil: it has to
// be executed with [Engine.Attempt]. That is so where the executor cannot
// prepare the task, and where a secret or a dependency's result is needed. The
// same goroutine calls one of the methods, once.
func (e *Engine) Prepare(in Input) *Prepared {
	preparer, able := e.Executor.(jobcontrol.Preparer)
	p := jobcontrol.PhaseCheck
	if in.Job.Check == nil {
		p = jobcontrol.PhaseRun
	}
	// With both time limits the job gets a grace of its own when it starts.
	if !able || in.Job.TaskOf(p) == nil || in.Job.SoftTimeout > 0 && in.Job.Timeout > 0 || len(secretNames(in.Job, in.Build)) > 0 {
		return nil
	}
	a := e.attempt(in)
	c, err := a.call(p, func(jobcontrol.Retval) (any, error) { return nil, errUnknown })
	if err != nil {
		return nil
	}
	if a.held = preparer.Prepare(c); a.held == nil {
		return nil
	}
	return &Prepared{a}
}

// Attempt executes the attempt as [Engine.Attempt] does. It starts now.
func (p *Prepared) Attempt(ctx context.Context) (jobcontrol.Ended, error) {
	defer p.Discard() // where it did not come to be executed
	return p.a.goThrough(ctx)
}

// Discard frees what was prepared.
func (p *Prepared) Discard() {
	if p.a.held != nil {
		p.a.held.Discard()
		p.a.held = nil
	}
}
