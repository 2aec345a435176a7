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
	leaseTTL   = 15 * time.Second
	renewEvery = leaseTTL / 3
	askEvery   = time.Second // how often the wish to cancel is looked for
)

// keepLease renews the lease and looks whether somebody asked to cancel the
// Run. The returned function ends it and waits for its end.
func (f *foreground) keepLease() func() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ask := time.NewTicker(askEvery)
		defer ask.Stop()
		renewed := time.Now()
		asked := false
		for {
			select {
			case <-ctx.Done():
				return
			case <-ask.C:
			}
			if !asked {
				wish, err := f.c.cfg.Store.CancelRequested(ctx, f.run.ID)
				if err == nil && wish {
					asked = true
					f.send(ctx, stopRequest{engine.Cancelled("cancelled by request")})
				}
			}
			if time.Since(renewed) < renewEvery {
				continue
			}
			err := f.c.cfg.Store.Renew(ctx, f.lease, leaseTTL)
			switch {
			case err == nil:
				renewed = time.Now()
			case ctx.Err() != nil:
				return
			case errors.Is(err, jobcontrol.ErrLeaseLost):
				f.send(ctx, runLost{fmt.Errorf("run %d: %w", f.run.ID, err)})
				return
			}
		}
	}()
	return func() {
		cancel()
		for {
			select {
			case <-ended:
				return
			case <-f.events: // nobody reads them any more
			}
		}
	}
}

func (f *foreground) send(ctx context.Context, e any) {
	select {
	case f.events <- e:
	case <-ctx.Done():
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
// told and the others still run.
func (f *foreground) cleanup(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	due, err := f.c.cfg.Store.StartCleaning(ctx, f.run.ID, f.lease)
	if err != nil {
		return err
	}
	for i := range due {
		b := &due[i]
		job, err := f.c.definition(ctx, b)
		if err != nil {
			return err
		}
		if job.Cleanup == nil {
			continue
		}
		attempts, err := f.c.cfg.Store.Attempts(ctx, b.ID)
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
		if err == nil {
			err = persist(ctx, func() error { return f.c.cfg.Store.Cleaned(ctx, b.Claim, ended) })
		}
		if err != nil {
			return fmt.Errorf("clean-up of build %d of job %q: %w", b.ID, b.Job, err)
		}
		fail := ended.Attempt.Failure
		f.tell(jobcontrol.Event{Kind: jobcontrol.EventCleaned, Build: b, Job: job, Attempt: number, Phase: jobcontrol.PhaseCleanup, Passed: fail == nil, Failure: fail})
	}
	return nil
}
