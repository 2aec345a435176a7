package worker

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/engine"
)

const (
	stopsEvery = time.Second           // while attempts take longer than that
	stopsLeast = 20 * time.Millisecond // between two looks when something is told
)

// stopCause is why an attempt is asked to stop.
func stopCause(r jobcontrol.StopRequest) error {
	if r.Suspend {
		return &jobcontrol.Failure{Kind: jobcontrol.FailSuspend, Message: cmp.Or(r.Reason, "suspended by request")}
	}
	return engine.Cancelled(cmp.Or(r.Reason, "cancelled by request"))
}

// obeyStops carries out requests to stop builds that this worker has claimed,
// until ctx ends. It asks for them when something is told, and every second while
// an attempt takes longer than that.
func (t *term) obeyStops(ctx context.Context) {
	asked := time.Now()
	repeat(ctx, t.stopping, stopsEvery, stopsLeast, func(ctx context.Context) time.Duration {
		long, some := t.longRunning(time.Now())
		if some && (long || t.asked.Swap(false) || time.Since(asked) >= t.cfg.TTL/3) {
			asked = time.Now()
			t.stopAll(ctx)
		}
		return stopsEvery
	})
}

// longRunning tells whether an attempt has been executed for a second, and
// whether anything is claimed.
func (t *term) longRunning(now time.Time) (long, some bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range t.begun {
		if now.Sub(k.started) >= stopsEvery {
			return true, true
		}
	}
	return false, t.busy()
}

// stopAll asks for requests and carries them out.
func (t *term) stopAll(ctx context.Context) {
	t.mu.Lock()
	claims := t.claims
	t.mu.Unlock()
	requests, err := t.cfg.Store.StopRequests(ctx, t.lease)
	if ctx.Err() != nil {
		return
	}
	t.reached(err)
	switch {
	case errors.Is(err, jobcontrol.ErrLeaseLost):
		t.lose(err)
		return
	case err != nil && !errors.Is(err, jobcontrol.ErrUnavailable):
		t.log.Error("requests to stop builds could not be read", "error", err)
	}
	var unstarted []jobcontrol.Claim
	for _, r := range requests {
		if t.stop(r, claims) {
			unstarted = append(unstarted, r.Claim)
		}
	}
	if len(unstarted) > 0 {
		t.giveBack(unstarted) // that carries the requests out
	}
}

// stop asks the attempt of a build to stop. It tells whether the build has not
// been started; then it will not be. claims is what was claimed when the requests
// were asked for: a build that is unknown may have come since.
func (t *term) stop(r jobcontrol.StopRequest, claims int64) (unstarted bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range t.begun {
		if k.build.Claim != r.Claim {
			continue
		}
		if k.why == nil {
			k.why = stopCause(r)
			if k.cancel != nil {
				k.cancel(k.why)
			}
		}
		return false
	}
	i := slices.IndexFunc(t.queue[t.head:], func(k *holding) bool { return k.build.Claim == r.Claim })
	if i < 0 {
		// Claimed, but the answer is not here yet, or was lost, or its end was just stored.
		return claims%2 == 0 && claims == t.claims
	}
	t.queue = slices.Delete(t.queue, t.head+i, t.head+i+1)
	return true
}
