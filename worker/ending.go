package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/engine"
)

const (
	leaseTTL    = 15 * time.Second
	leaseMargin = 2 * time.Second // what it takes to end everything
	renewEvery  = leaseTTL / 3
	askEvery    = time.Second // how often the wish to cancel is looked for
)

// keepLease renews the lease and looks whether somebody asked to cancel the
// Run. The returned function ends it and waits for its end.
func (f *foreground) keepLease() func() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f.watchOver(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// watchOver returns when ctx ends or the lease is lost: then life has ended, too.
func (f *foreground) watchOver(ctx context.Context) {
	ask := time.NewTicker(askEvery)
	defer ask.Stop()
	renewed, asked := f.leased, false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ask.C:
		}
		if begin := time.Now(); begin.Sub(renewed) >= renewEvery {
			limited, cancel := context.WithTimeout(ctx, renewEvery)
			err := f.c.cfg.Store.Renew(limited, f.lease, leaseTTL)
			cancel()
			switch {
			case err == nil:
				renewed = begin
			case ctx.Err() != nil:
				return
			case errors.Is(err, jobcontrol.ErrLeaseLost) || time.Since(renewed) > leaseTTL-leaseMargin:
				f.endLife(newLost(fmt.Errorf("run %d: its lease could not be renewed: %w", f.run.ID, err)))
				return
			}
		}
		if asked {
			continue
		}
		if wish, err := f.c.cfg.Store.CancelRequested(ctx, f.run.ID); err == nil && wish {
			asked = true
			f.stops <- engine.Cancelled("cancelled by request")
		}
	}
}

// cancelRest cancels the builds that were not executed.
func (f *foreground) cancelRest(ctx context.Context) error {
	var claims []jobcontrol.Claim
	for _, m := range f.builds {
		if !m.build.State.Final() {
			claims = append(claims, m.build.Claim)
		}
	}
	if len(claims) == 0 {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	err := persist(ctx, func() error {
		return f.c.cfg.Store.Cancel(ctx, claims, context.Cause(f.attempts).Error())
	})
	if err != nil {
		return err
	}
	for _, m := range f.builds {
		if !m.build.State.Final() {
			m.build.State = jobcontrol.Cancelled
			f.tell(jobcontrol.Event{Kind: jobcontrol.EventFinished, Build: m.build, Job: m.job})
		}
	}
	return nil
}

// cleanup executes the clean-up steps, last run first. A step that fails is
// told and the others still run. Who interrupts it leaves the rest to `runs cleanup`.
func (f *foreground) cleanup(ctx context.Context) error {
	durable := context.WithoutCancel(ctx)
	var due []jobcontrol.Build
	err := persist(durable, func() (err error) {
		due, err = f.c.cfg.Store.StartCleaning(durable, f.run.ID, f.lease)
		return err
	})
	if err != nil {
		return err
	}
	steps, cancel := context.WithCancelCause(f.life)
	defer cancel(nil)
	if ctx.Err() == nil {
		defer context.AfterFunc(ctx, func() { cancel(engine.Cancelled("interrupted")) })()
	}
	go func() {
		select {
		case why := <-f.stops:
			cancel(why)
		case <-steps.Done():
		}
	}()
	for i := range due {
		if steps.Err() == nil {
			if err = f.cleanOne(steps, &due[i]); err != nil {
				return err
			}
		}
		if steps.Err() != nil {
			var l *lost
			if errors.As(context.Cause(steps), &l) {
				return l.err
			}
			f.tell(jobcontrol.Event{Kind: jobcontrol.EventTrouble, Message: fmt.Sprintf(
				"the clean-up was stopped: `jobcontrol runs cleanup %d` does the rest", f.run.ID)})
			return nil
		}
	}
	return nil
}

// cleanOne executes and stores one clean-up step; one that was stopped is not stored.
func (f *foreground) cleanOne(ctx context.Context, b *jobcontrol.Build) error {
	durable := context.WithoutCancel(ctx)
	job, err := f.definition(durable, b)
	if err != nil || job.Cleanup == nil {
		return err
	}
	attempts, err := f.c.cfg.Store.Attempts(durable, b.ID)
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
	f.tell(jobcontrol.Event{Kind: jobcontrol.EventCleanup, Build: b, Job: job, Attempt: number, Phase: jobcontrol.PhaseCleanup})
	ended, err := f.eng.Cleanup(ctx, engine.Input{Build: b, Job: job, Number: number}, local)
	fail := ended.Attempt.Failure
	if err == nil && ctx.Err() != nil && fail != nil {
		return nil
	}
	if err == nil {
		err = persist(durable, func() error { return f.c.cfg.Store.Cleaned(durable, b.Claim, ended) })
	}
	if err != nil {
		return fmt.Errorf("clean-up of build %d of job %q: %w", b.ID, b.Job, err)
	}
	f.tell(jobcontrol.Event{Kind: jobcontrol.EventCleaned, Build: b, Job: job, Attempt: number, Phase: jobcontrol.PhaseCleanup, Passed: fail == nil, Failure: fail})
	return nil
}
