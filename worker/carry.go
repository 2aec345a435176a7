package worker

import (
	"context"
	"errors"
	"log/slog"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/engine"
	"github.com/jobcontrol/jobcontrol/internal/fault"
)

// carry executes an attempt and has its end stored. Where others may have the
// build already, since this process was stopped for a while, the engine begins nothing.
func (t *term) carry(k *holding) {
	if t.at("worker.trusted") != nil {
		t.released(k)
		t.forget(k)
		return
	}
	t.stats.started.Add(1)
	t.stats.queued.Add(int64(t.queuedFor(k)))
	ctx, cancel := context.WithCancelCause(t.attempts)
	ended, err := t.attempt(ctx, cancel, k)
	cause := context.Cause(ctx)
	cancel(nil) // whatever the task left behind in this process
	k.result = len(ended.Result)
	t.released(k)
	if err == nil && ended.State == jobcontrol.Successful && t.finisher != nil && t.at("worker.trusted") == nil {
		t.finisher.FinishThen(t.life, k.build.Claim, &ended, func(r *jobcontrol.Released, err error) {
			if err == nil && !fault.Enabled {
				t.finished(k, &ended, r)
				t.forget(k)
				return
			}
			t.group.Go(func() { t.answered(k, &ended, r, cause, err) })
		})
		return
	}
	t.waits()
	t.conclude(k, &ended, cause, err)
}

// answered takes in the answer to the first request to store an end. If the claim
// is held still, as far as that tells, an end that was not stored is stored once
// more, as if it had not been.
func (t *term) answered(k *holding, e *jobcontrol.Ended, r *jobcontrol.Released, cause, err error) {
	if err == nil {
		err = t.at("worker.finish.after")
	}
	switch {
	case err == nil:
		t.finished(k, e, r)
		t.forget(k)
		return
	case errors.Is(err, jobcontrol.ErrLeaseLost):
		t.conclude(k, e, cause, err)
		return
	case errors.Is(err, jobcontrol.ErrUnavailable):
		t.missed(err, firstPause)
	}
	t.conclude(k, e, cause, nil)
}

// conclude stores the end of an attempt and forgets the build; err is what kept
// the attempt from ending.
func (t *term) conclude(k *holding, e *jobcontrol.Ended, cause, err error) {
	defer t.forget(k)
	if err == nil {
		err = t.store(k, e, cause)
	}
	switch {
	case err == nil:
	case t.life.Err() != nil: // it was lost, and is executed again elsewhere
	case errors.Is(err, jobcontrol.ErrLeaseLost):
		t.stats.refused.Add(1)
		t.log.Warn("the end of an attempt was refused: its claim is no longer held", "build", k.build.ID, "job", k.build.Job)
		t.renewing.ring() // has the whole lease gone?
	default:
		t.log.Error("the end of an attempt could not be stored", "build", k.build.ID, "job", k.build.Job, "error", err)
	}
}

// queuedFor is how long a build was due before it was started.
func (t *term) queuedFor(k *holding) int64 {
	due := k.build.CreatedAt
	if k.build.ReadyAt.After(due) {
		due = k.build.ReadyAt
	}
	return int64(max(t.now().Sub(due), 0))
}

// attempt executes an attempt of a build. The error is of the store.
func (t *term) attempt(ctx context.Context, cancel context.CancelCauseFunc, k *holding) (jobcontrol.Ended, error) {
	t.mu.Lock()
	k.cancel = cancel
	why := k.why
	t.mu.Unlock()
	if why != nil { // it was asked for before the attempt could be told
		cancel(why)
	}
	var err error
	if k.job, err = t.definition(k.build.Definition); err != nil {
		if t.life.Err() != nil || errors.Is(err, jobcontrol.ErrUnavailable) {
			return jobcontrol.Ended{}, err
		}
		k.job = &jobcontrol.Job{ID: k.build.Job}
		return t.refusal(&k.build, k.build.Attempts+1, err), nil
	}
	k.job = k.job.Named(k.build.Job)
	if err := t.at("worker.attempt.before"); err != nil {
		return jobcontrol.Ended{}, err
	}
	ended, err := t.eng.Attempt(ctx, engine.Input{Build: &k.build, Job: k.job, Number: k.build.Attempts + 1, Cancel: cancel})
	if err == nil {
		err = t.at("worker.attempt.after")
	}
	if t.forGood(err) {
		return t.refusal(&k.build, k.build.Attempts+1, err), nil // another try would be the same
	}
	return ended, err
}

// refusal is the end of an attempt whose build the store does not accept.
func (t *term) refusal(b *jobcontrol.Build, number int, err error) jobcontrol.Ended {
	now := jobcontrol.Micros(t.now())
	return jobcontrol.Ended{State: jobcontrol.Failed, Attempt: jobcontrol.Attempt{
		Build: b.ID, Number: number, StartedAt: now, FinishedAt: now, Worker: b.Claim.Worker, Claim: b.Claim.Number,
		Failure: jobcontrol.FailureOf(&jobcontrol.Failure{Kind: jobcontrol.FailUser, Message: "the attempt could not be executed: " + err.Error()}, ""),
	}}
}

// definition returns a frozen definition.
func (t *term) definition(hash string) (*jobcontrol.Job, error) {
	if j := t.defs.find(hash); j != nil {
		return j, nil
	}
	var j *jobcontrol.Job
	err := t.persist(func(ctx context.Context) (err error) {
		j, err = t.cfg.Store.Definition(ctx, hash)
		return err
	})
	if err == nil {
		t.defs.keep(hash, j)
	}
	return j, err
}

// store stores how an attempt ended: another try, the build's end, or, where the
// worker shuts down, that nothing came of it; cause is why it was asked to stop. Of a build that was asked to stop
// meanwhile the store makes what was asked for instead of another try.
func (t *term) store(k *holding, e *jobcontrol.Ended, cause error) error {
	if t.life.Err() != nil {
		return context.Cause(t.life)
	}
	if e.State == jobcontrol.Failed && !t.isTrusted() {
		// The guardian ends commands then, and that is not the build's failure.
		t.renewing.ring()
		<-t.life.Done()
		return context.Cause(t.life)
	}
	if err := t.at("worker.trusted"); err != nil {
		return err
	}
	if e.Expansion != nil {
		return t.expand(k, e)
	}
	retry, at := engine.Next(&k.build, k.job, e)
	var down *shutdown
	if cause != nil && errors.As(cause, &down) &&
		(e.State == jobcontrol.Cancelled || e.State == jobcontrol.Failed && (retry || e.Attempt.Failure.Kind != jobcontrol.FailUser)) {
		return t.putBack(k, e)
	}
	if engine.TimedOutSoftly(e) {
		service, err := t.fallback(k)
		if err != nil {
			return err
		}
		if service != "" {
			retry, at, e.Service = true, e.Attempt.FinishedAt, service
		}
	}
	if retry {
		e.ReadyAt = jobcontrol.Micros(at)
		return t.retry(k, e)
	}
	return t.finish(k, e)
}

// retry stores that an attempt will be followed by another.
func (t *term) retry(k *holding, e *jobcontrol.Ended) error {
	var b *jobcontrol.Build
	err := t.persist(func(ctx context.Context) (err error) {
		b, err = t.cfg.Store.Retry(ctx, k.build.Claim, *e)
		return err
	})
	if err == nil {
		err = t.at("worker.retry.after")
	}
	if err != nil {
		return err
	}
	t.stats.retried.Add(1)
	t.due(b)
	return nil
}

// expand stores the builds of a build's items. It fails where the store does not
// accept them.
func (t *term) expand(k *holding, e *jobcontrol.Ended) error {
	var x *jobcontrol.Expanded
	err := t.persist(func(ctx context.Context) (err error) {
		x, err = t.cfg.Store.Expand(ctx, k.build.Claim, *e)
		return err
	})
	if t.forGood(err) {
		*e = t.refusal(&k.build, e.Attempt.Number, err)
		return t.finish(k, e)
	}
	if err == nil {
		err = t.at("worker.expand.after")
	}
	if err != nil {
		return err
	}
	t.due(x.Build)
	if len(x.Children) > 0 {
		t.due(&x.Children[0]) // they have a service and a time in common
	}
	return nil
}

// finish stores a build's end.
func (t *term) finish(k *holding, e *jobcontrol.Ended) error {
	end := func() (r *jobcontrol.Released, err error) {
		err = t.persist(func(ctx context.Context) (err error) {
			r, err = t.cfg.Store.Finish(ctx, k.build.Claim, *e)
			return err
		})
		return r, err
	}
	r, err := end()
	if t.forGood(err) {
		t.log.Error("the store refuses how a build ended: it fails", "build", k.build.ID, "job", k.build.Job, "error", err)
		*e = t.refusal(&k.build, e.Attempt.Number, err)
		r, err = end()
	}
	if err == nil {
		err = t.at("worker.finish.after")
	}
	if err == nil {
		t.finished(k, e, r)
	}
	return err
}

// finished takes notice of a build's end that is stored.
func (t *term) finished(k *holding, e *jobcontrol.Ended, r *jobcontrol.Released) {
	t.stats.finished.Add(1)
	if t.log.Enabled(t.life, slog.LevelDebug) {
		t.log.Debug("build ended", "build", k.build.ID, "job", k.build.Job, "state", e.State, "attempt", e.Attempt.Number,
			"took", e.Attempt.FinishedAt.Sub(e.Attempt.StartedAt))
	}
	if e.State == jobcontrol.Failed {
		t.stats.failed.Add(1)
	}
	for i := range r.Ready {
		t.due(&r.Ready[i])
	}
	if k.build.Run != k.build.ID || k.job.Cleanup != nil {
		t.cleaning.ring()
	}
}

// putBack stores what an attempt logged that was stopped since the worker shuts
// down, and gives its build back.
func (t *term) putBack(k *holding, e *jobcontrol.Ended) error {
	if err := t.at("worker.putback.before"); err != nil {
		return err
	}
	if len(e.Logs) > 0 || len(e.Progress) > 0 {
		err := t.persist(func(ctx context.Context) error { return t.cfg.Store.Report(ctx, k.build.Claim, e.Logs, e.Progress) })
		if err != nil {
			return err
		}
	}
	t.giveBack([]jobcontrol.Claim{k.build.Claim})
	return t.at("worker.putback.after")
}

// fallback returns the service where a build that exceeded its soft timeout is
// tried once more; "": there is none.
func (t *term) fallback(k *holding) (string, error) {
	var list []jobcontrol.ServiceStatus
	err := t.persist(func(ctx context.Context) (err error) {
		list, err = t.cfg.Store.Services(ctx, t.cfg.Project)
		return err
	})
	if err != nil {
		return "", err
	}
	return engine.Fallback(&k.build, list), nil
}
