package worker

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

const (
	promotePage  = 1000
	promoteEvery = 10 * time.Second       // where the store tells what happens
	promoteDeaf  = time.Second            // where it cannot
	promoteLeast = 200 * time.Millisecond // between two looks since something was told
)

// promote queues builds whose time has come, until ctx ends: with a timer for the
// next one, as far as it is known. Every pool does; when the time comes each looks
// a little later than the one before.
func (t *term) promote(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var looked time.Time // when the store was asked
	var next time.Time   // when to ask it again; by the clock of this process
	for {
		select {
		case <-ctx.Done():
			return
		case at := <-t.scheduled:
			next = earliest(next, at)
		case <-t.promoting:
			next = earliest(next, looked.Add(promoteLeast))
		case <-timer.C:
		}
		if !time.Now().Before(next) {
			looked = time.Now()
			next = time.Now().Add(t.promoteNow(ctx))
		}
		timer.Reset(time.Until(next))
	}
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// promoteNow queues what is due and returns when to look again.
func (t *term) promoteNow(ctx context.Context) time.Duration {
	wait := vary(promoteEvery)
	if t.deaf.Load() {
		wait = vary(promoteDeaf)
	}
	for {
		n, next, err := t.cfg.Store.Promote(ctx, promotePage)
		if ctx.Err() != nil {
			return wait
		}
		t.heard("queue builds whose time has come", err)
		if err != nil {
			return vary(promoteDeaf)
		}
		if n > 0 {
			t.hint()
		}
		if n < promotePage {
			if !next.IsZero() {
				wait = min(wait, max(next.Sub(t.now()), 0)+rand.N(3*time.Millisecond))
			}
			return wait
		}
	}
}

// due has the duties look for a build that is to be executed.
func (t *term) due(b *jobcontrol.Build) {
	switch b.State {
	case jobcontrol.Queued:
		t.hint()
	case jobcontrol.Scheduled:
		select {
		case t.scheduled <- time.Now().Add(b.ReadyAt.Sub(t.now())):
		default: // it has been told of others, and asks the store soon
			t.promoting.ring()
		}
	}
}
