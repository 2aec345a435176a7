package worker

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// clockEvery is how many renewals pass before the store's clock is read anew.
const clockEvery = 12

// trust is until when the lease is surely not given to another, on the clock of
// sinceBoot.
type trust struct {
	until    atomic.Int64
	watchdog *time.Timer // fires when it has come to an end
}

// margin is what it may take to end everything.
func (t *term) margin() time.Duration { return t.cfg.TTL / 8 }

// trusted notes a renewal that began then.
func (t *term) trusted(began time.Duration) {
	until := began + t.cfg.TTL - t.margin()
	t.trust.until.Store(int64(until))
	t.trust.watchdog.Reset(until - sinceBoot())
	if t.cfg.Guardian != nil {
		// Later than the worker itself, which may have more to say.
		t.cfg.Guardian.Trust(time.Now().Add(until - sinceBoot() + t.margin()/2))
	}
}

// isTrusted tells whether nobody else can have the lease.
func (t *term) isTrusted() bool { return int64(sinceBoot()) < t.trust.until.Load() }

// stillHeld ends the term, and returns why, if others can have the lease: this
// process was stopped, or the machine slept.
func (t *term) stillHeld() error {
	if t.isTrusted() {
		return nil
	}
	t.lose(errUntrusted)
	return errUntrusted
}

// watch loses the lease if it is not trusted any more.
func (t *term) watch() {
	left := time.Duration(t.trust.until.Load()) - sinceBoot()
	if left > 0 {
		t.trust.watchdog.Reset(left)
		return
	}
	t.lose(errUntrusted)
}

// errUntrusted is why a lease is given up that others may have by now.
var errUntrusted = jobcontrol.Errorf(jobcontrol.Unavailable, "it was not renewed in time")

// lose ends everything at once: the lease was lost, or is not trusted any more.
func (t *term) lose(err error) {
	t.losing.Do(func() {
		t.stats.lostLeases.Add(1)
		t.log.Error("the worker has lost its lease: its attempts are ended, and it begins anew", "worker", t.lease.Worker, "error", err)
		t.endLife(expired{newLost(fmt.Errorf("worker %d: the lease was lost: %w", t.lease.Worker, err))})
	})
}

// keepLease renews the lease until ctx ends or it is lost.
func (t *term) keepLease(ctx context.Context) {
	renewals, pause := 0, 50*time.Millisecond
	repeat(ctx, t.renewing, t.cfg.TTL/3, t.cfg.TTL/20, func(ctx context.Context) time.Duration {
		if !t.isTrusted() {
			t.watch()
			return t.cfg.TTL
		}
		began := sinceBoot()
		if t.at("worker.renew.before") != nil {
			return t.cfg.TTL
		}
		limited, cancel := context.WithTimeout(ctx, t.cfg.TTL/3)
		err := t.cfg.Store.Renew(limited, t.lease, t.cfg.TTL)
		cancel()
		if err == nil {
			err = t.at("worker.renew.after")
		}
		if ctx.Err() == nil {
			t.heard("renew the lease", err)
		}
		switch {
		case err == nil:
			t.trusted(began)
			pause = 50 * time.Millisecond
			if renewals++; renewals%clockEvery == 0 {
				t.readClock(ctx)
			}
			t.rescuing.ring()
			return t.cfg.TTL / 3
		case ctx.Err() != nil:
			return t.cfg.TTL
		case errors.Is(err, jobcontrol.ErrLeaseLost):
			t.lose(err)
			return t.cfg.TTL
		}
		wait := vary(pause)
		pause = min(2*pause, t.cfg.TTL/10)
		return wait
	})
}

// readClock reads the store's clock, which this process follows by its own.
func (t *term) readClock(ctx context.Context) {
	begin := time.Now()
	now, err := t.cfg.Store.Now(ctx)
	if err == nil {
		t.clock.Store(&clock{store: now, here: begin.Add(time.Since(begin) / 2)})
	}
}
