package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/engine"
)

// maxCrew is how many goroutines are kept for further attempts: their stacks have
// grown to what the store needs.
const maxCrew = 32

// prepareFor is how long the end of an attempt waits to be stored while a
// dependant is being prepared.
const prepareFor = 20 * time.Millisecond

// An order is an attempt that a goroutine of the crew executes.
type order struct {
	m      *member
	number int       // of the attempt
	gate   chan bool // not nil: it is prepared first, and executed if true comes
}

// employ gives an order to a goroutine.
func (f *foreground) employ(o order) {
	select {
	case f.crew <- o: // one has just become free
	default:
		go f.work(o)
	}
}

// work executes an attempt and, in the same goroutine, further ones.
func (f *foreground) work(o order) {
	f.begin(o)
	if f.kin.Add(1) > maxCrew {
		f.kin.Add(-1)
		return
	}
	for o := range f.crew {
		f.begin(o)
	}
}

// begin executes an order and, one after the other, those that follow from it.
func (f *foreground) begin(o order) {
	var p *engine.Prepared
	if o.gate != nil {
		p = f.eng.Prepare(f.input(o.m, o.number))
	}
	for {
		if o.gate != nil && !<-o.gate {
			if p != nil {
				p.Discard()
			}
			f.discarding.Done()
			return
		}
		heir, prepared := f.attempt(o.m, o.number, p)
		if heir == nil {
			return
		}
		o, p = *heir, prepared
	}
}

// input is what the engine gets to execute an attempt.
func (f *foreground) input(m *member, number int) engine.Input {
	in := engine.Input{Build: m.build, Job: m.job, Number: number}
	if f.watch != nil {
		in.Observe = func(p jobcontrol.Phase, passed bool, fail *jobcontrol.Failure) {
			f.tell(jobcontrol.Event{Kind: jobcontrol.EventPhase, Build: m.build, Job: m.job, Attempt: number, Phase: p, Passed: passed, Failure: fail})
		}
	}
	return in
}

// attempt executes one attempt of a build, which may have been prepared, and
// stores how it ended. Before it stores that, it prepares the attempt of a
// dependant, the heir, which the caller then goes on with.
func (f *foreground) attempt(m *member, number int, p *engine.Prepared) (heir *order, prepared *engine.Prepared) {
	done := stored{m: m}
	durable := context.WithoutCancel(f.attempts)
	if m.build.Lost > 0 || m.job.OnLost == "fail" {
		// A build that may kill its worker is found: its start is durable first.
		done.err = persist(durable, func() error {
			return f.c.cfg.Store.Start(durable, []jobcontrol.Claim{m.build.Claim}, []time.Time{jobcontrol.Micros(m.started)})
		})
	}
	switch {
	case done.err != nil:
	case p != nil:
		done.ended, done.err = p.Attempt(f.attempts)
	default:
		done.ended, done.err = f.eng.Attempt(f.attempts, f.input(m, number))
	}
	heir = f.executed(m, done.err == nil && done.ended.State == jobcontrol.Successful)
	var once sync.Once
	end := func() {
		once.Do(func() {
			switch {
			case done.err != nil:
			case done.ended.Expansion != nil:
				done.expanded, done.err = f.expand(durable, m, &done.ended)
			default:
				done.again, done.released, done.err = f.store(durable, m, &done.ended)
			}
			f.stored(done)
		})
	}
	if heir != nil {
		late := time.AfterFunc(prepareFor, end) // its directory may be on a disk that does not answer
		prepared = f.eng.Prepare(f.input(heir.m, heir.number))
		late.Stop()
	}
	end()
	return heir, prepared
}

// store stores how an attempt ended: another try, or the build's end. One that
// was ended since nothing can be stored any more is not: it was lost.
func (f *foreground) store(ctx context.Context, m *member, e *jobcontrol.Ended) (again *jobcontrol.Build, r *jobcontrol.Released, err error) {
	retry, at := engine.Next(m.build, m.job, e)
	if f.attempts.Err() != nil && (retry || e.State == jobcontrol.Failed && e.Attempt.Failure.Kind == jobcontrol.FailLost) {
		var l *lost
		if errors.As(context.Cause(f.attempts), &l) {
			return nil, nil, l.err
		}
		retry = false
		e.State = jobcontrol.Cancelled
	}
	m.storing.Lock()
	defer m.storing.Unlock()
	m.ended = e.Attempt.Number
	err = persist(ctx, func() error {
		var err error
		if retry {
			e.ReadyAt = jobcontrol.Micros(at)
			again, err = f.c.cfg.Store.Retry(ctx, m.build.Claim, *e)
			return err
		}
		r, err = f.c.cfg.Store.Finish(ctx, m.build.Claim, *e)
		return err
	})
	return again, r, err
}

// expand stores the builds of a build's items.
func (f *foreground) expand(ctx context.Context, m *member, e *jobcontrol.Ended) (x *jobcontrol.Expanded, err error) {
	m.storing.Lock()
	defer m.storing.Unlock()
	m.ended = e.Attempt.Number
	err = persist(ctx, func() error {
		x, err = f.c.cfg.Store.Expand(ctx, m.build.Claim, *e)
		return err
	})
	return x, err
}

// persist repeats a write that failed for a reason that may pass: "the commit
// failed" means unknown, and every write may be repeated.
func persist(ctx context.Context, write func() error) error {
	err := write()
	for _, pause := range []time.Duration{50 * time.Millisecond, 200 * time.Millisecond, time.Second} {
		if !errors.Is(err, jobcontrol.ErrUnavailable) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
		err = write()
	}
	return err
}
