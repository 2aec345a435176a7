package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// hardTimeout is the cause of a context whose task has to be killed at once.
type hardTimeout struct{ f *jobcontrol.Failure }

func (h hardTimeout) Error() string { return h.f.Message }
func (h hardTimeout) Unwrap() error { return h.f }
func (h hardTimeout) Hard() bool    { return true }

// Cancelled is the cause with which a context is cancelled to end attempts
// gracefully: the task is asked to stop and gets its grace.
func Cancelled(reason string) error {
	return &jobcontrol.Failure{Kind: jobcontrol.FailCancel, Message: reason}
}

// limit returns a context that ends at the job's time limits. Where both are
// set, the grace after the soft one is at most the time until the hard one.
func (a *attempt) limit(ctx context.Context) (context.Context, func()) {
	soft, hard := a.Job.SoftTimeout, a.Job.Timeout
	if soft <= 0 && hard <= 0 {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var timers []*time.Timer
	after := func(d time.Duration, cause error) {
		timers = append(timers, time.AfterFunc(d, func() { cancel(cause) }))
	}
	if soft > 0 {
		after(soft, &jobcontrol.Failure{Kind: jobcontrol.FailTimeout, Soft: true, Message: fmt.Sprintf("timed out after %v (soft_timeout)", soft)})
		if rest := hard - soft; hard > 0 && rest < a.Job.GraceOrDefault() {
			j := *a.Job
			j.Grace = max(rest, time.Millisecond)
			a.Job = &j
		}
	}
	if hard > 0 {
		after(hard, hardTimeout{&jobcontrol.Failure{Kind: jobcontrol.FailTimeout, Message: fmt.Sprintf("timed out after %v", hard)}})
	}
	return ctx, func() {
		for _, t := range timers {
			t.Stop()
		}
		cancel(nil)
	}
}

// timedOut tells whether a context ended at a time limit.
func timedOut(ctx context.Context) bool {
	if ctx.Err() == nil {
		return false
	}
	var f *jobcontrol.Failure
	return errors.As(context.Cause(ctx), &f) && f.Kind == jobcontrol.FailTimeout
}
