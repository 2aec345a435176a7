package worker

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

const (
	// suspectsEvery is how often, at most, a pool stops claiming to execute a
	// suspect alone; when varies, so that not all pools do.
	suspectsEvery = 3 * time.Second
	// settleFor is how long a pool waits for its attempts when it does not know
	// what it has claimed.
	settleFor = 2 * time.Second
)

// hint has the claimer look for builds.
func (t *term) hint() {
	t.mu.Lock()
	t.dry = false
	ring := t.room() > 0
	t.mu.Unlock()
	if ring {
		t.hungry.ring()
	}
}

// claimer is the duty that claims builds. One goroutine owns it.
type claimer struct {
	*term
	poll   poll
	next   time.Time // when a suspect may be asked for by draining; zero: no suspects were seen
	unsure time.Time // when a claim failed, and may have been made all the same; zero: never
}

// claimBuilds claims builds until ctx ends, while there is room for them: at once
// when a slot is free or the store tells something, else now and then.
func (t *term) claimBuilds(ctx context.Context) {
	c := &claimer{term: t}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		for c.claim() && ctx.Err() == nil {
		}
		timer.Reset(c.pause())
		select {
		case <-ctx.Done():
		case <-t.hungry:
		case <-timer.C:
			t.mu.Lock()
			t.dry = false
			t.mu.Unlock()
		}
	}
}

// pause is how long nothing is claimed unless something happens.
func (c *claimer) pause() time.Duration {
	limit := pollTold
	if c.deaf.Load() {
		limit = pollDeaf
	}
	wait := c.poll.next(pollFirst, limit)
	if !c.next.IsZero() {
		wait = min(wait, max(time.Until(c.next), time.Millisecond))
	}
	if !c.unsure.IsZero() {
		wait = min(wait, settleFor)
	}
	return wait
}

// claim claims builds once, if there is room, and tells whether to do so again.
func (c *claimer) claim() (again bool) {
	if c.settle() {
		return false
	}
	c.mu.Lock()
	c.draining = !c.next.IsZero() && !time.Now().Before(c.next) || !c.unsure.IsZero() && time.Since(c.unsure) < settleFor
	alone := c.nothing()
	if alone {
		c.draining = false
	}
	n := c.room()
	if n == 0 || c.dry && !(alone && !c.next.IsZero()) {
		c.mu.Unlock()
		return false
	}
	c.claims++
	c.mu.Unlock()
	w := jobcontrol.Wanted{Project: c.cfg.Project, Services: c.cfg.Services, N: n, Alone: alone}
	limited, cancel := context.WithTimeout(c.life, c.cfg.TTL)
	got, err := c.cfg.Store.Claim(limited, c.lease, w)
	cancel()
	c.mu.Lock()
	c.claims++
	c.mu.Unlock()
	c.reached(err)
	if err != nil {
		return c.failed(err)
	}
	if w.Alone {
		c.next = time.Time{}
	}
	c.take(got, n)
	return len(got.Builds) > 0
}

// take takes in what was claimed.
func (c *claimer) take(got *jobcontrol.Claimed, n int) {
	c.stats.claimed.Add(int64(len(got.Builds)))
	if len(got.Builds) > 0 {
		c.poll.soon()
	}
	if got.Suspects && c.next.IsZero() {
		c.next = time.Now().Add(suspectsEvery + rand.N(suspectsEvery))
	}
	c.mu.Lock()
	c.dry = !got.More && len(got.Builds) < n
	if len(got.Builds) == 1 && got.Builds[0].State == jobcontrol.Running {
		c.alone = true // a suspect, already marked
		c.dry = false
	}
	c.mu.Unlock()
	c.add(got.Builds)
}

// failed takes in that a claim failed.
func (c *claimer) failed(err error) (again bool) {
	c.mu.Lock()
	c.dry = true // until the next poll
	c.mu.Unlock()
	switch {
	case errors.Is(err, jobcontrol.ErrLeaseLost):
		c.lose(err)
	case errors.Is(err, jobcontrol.ErrUnavailable) || c.life.Err() == nil && errors.Is(err, context.DeadlineExceeded):
		c.unsure = time.Now()
	case c.life.Err() == nil:
		c.log.Error("builds could not be claimed", "error", err)
	}
	return false
}

// settle ends the term where a claim may have been made whose answer was lost:
// the end of the lease gives back what it is. It waits until nothing is executed,
// for a while at a time.
func (c *claimer) settle() bool {
	if c.unsure.IsZero() {
		return false
	}
	c.mu.Lock()
	nothing := c.nothing()
	c.mu.Unlock()
	if nothing {
		c.spend.Do(func() { close(c.spent) })
	}
	return nothing
}
