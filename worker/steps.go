package worker

import (
	"context"
	"errors"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/engine"
)

const (
	cleanEvery = 10 * time.Second      // where nothing is told
	cleanLeast = 10 * time.Millisecond // between two looks when something is told
)

// cleanUp claims and executes the clean-up steps of detached Runs until ctx ends,
// beside the builds, in as many goroutines as there are slots.
func (t *term) cleanUp(ctx context.Context) {
	repeat(ctx, t.cleaning, 0, cleanLeast, func(ctx context.Context) time.Duration {
		for ctx.Err() == nil && t.claimStep() {
		}
		if t.deaf.Load() {
			return vary(time.Second)
		}
		return vary(cleanEvery)
	})
}

// claimStep claims a step, if there is one and a slot for it, and starts it.
func (t *term) claimStep() bool {
	t.mu.Lock()
	full := t.steps >= t.parallel || t.alone || t.draining || t.closing
	if !full {
		t.steps++
	}
	t.mu.Unlock()
	if full {
		return false
	}
	w := jobcontrol.Wanted{Project: t.cfg.Project, Services: t.services(), N: 1}
	limited, cancel := context.WithTimeout(t.life, t.cfg.TTL)
	b, err := t.cfg.Store.ClaimCleanup(limited, t.lease, w)
	cancel()
	t.reached(err)
	if err != nil || b == nil {
		t.stepDone()
		switch {
		case errors.Is(err, jobcontrol.ErrLeaseLost):
			t.lose(err)
		case errors.Is(err, jobcontrol.ErrUnavailable) || t.life.Err() == nil && errors.Is(err, context.DeadlineExceeded):
			t.unheard.Store(true)
			t.hungry.ring()
		case err != nil && t.life.Err() == nil:
			t.log.Error("clean-up steps could not be claimed", "error", err)
		}
		return false
	}
	t.group.Go(func() {
		defer t.cleaning.ring()
		defer t.stepDone()
		if err := t.step(b); err != nil && t.life.Err() == nil {
			t.log.Error("the end of a clean-up step could not be stored: it is executed again when this worker has ended", "build", b.ID, "job", b.Job, "error", err)
		}
	})
	return true
}

func (t *term) stepDone() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.steps--
	t.sayQuiet()
	if t.draining {
		t.hungry.ring()
	}
}

// step executes and stores one clean-up step. One that was stopped is given back.
func (t *term) step(b *jobcontrol.Build) error {
	if err := t.stillHeld(); err != nil {
		return err
	}
	if err := t.at("worker.step.before"); err != nil {
		return err
	}
	var attempts []jobcontrol.Attempt
	err := t.persist(func(ctx context.Context) (err error) {
		attempts, err = t.cfg.Store.Attempts(ctx, b.ID)
		return err
	})
	if err != nil {
		return err
	}
	local := jobcontrol.NewLocal(nil)
	number := b.Attempts + 1
	for _, a := range attempts {
		number = max(number, a.Number+1)
		if len(a.Local) > 0 {
			local = jobcontrol.NewLocal(a.Local)
		}
	}
	var ended jobcontrol.Ended
	job, err := t.definition(b.Definition)
	switch {
	case err == nil:
		ended, err = t.eng.Cleanup(t.attempts, engine.Input{Build: b, Job: job.Named(b.Job), Number: number}, local)
		if err == nil {
			err = t.at("worker.step.after")
		}
		if err == nil && t.attempts.Err() != nil && ended.Attempt.Failure != nil {
			t.giveBack([]jobcontrol.Claim{b.Claim})
			return nil
		}
	case t.life.Err() != nil:
		return err
	}
	if err == nil {
		err = t.cleaned(b, ended)
	}
	if t.forGood(err) { // the rest of the steps shall be executed
		t.log.Error("a clean-up step fails: it could not be executed, or the store refuses how it ended", "build", b.ID, "job", b.Job, "error", err)
		ended = t.refusal(b, number, err)
		ended.Attempt.Cleanup = true
		err = t.cleaned(b, ended)
	}
	return err
}

func (t *term) cleaned(b *jobcontrol.Build, ended jobcontrol.Ended) error {
	return t.persist(func(ctx context.Context) error { return t.cfg.Store.Cleaned(ctx, b.Claim, ended) })
}
