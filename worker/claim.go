package worker

import (
	"context"
	"errors"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// settleFor is how long a pool waits for its attempts when it does not know
// what it has claimed.
const settleFor = 2 * time.Second

// hint has the claimer look for builds.
func (t *term) hint() {
	t.mu.Lock()
	t.dry, t.hinted = false, true
	ring := t.room() > 0 || t.claims%2 == 1 // it may have been told after the store had answered
	t.mu.Unlock()
	if ring {
		t.hungry.ring()
	}
}

// claimer is the duty that claims builds. One goroutine owns it.
type claimer struct {
	*term
	poll     poll
	suspects turns
	unsure   time.Time // when a claim failed, and may have been made all the same; zero: never
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
	if rest := time.Until(c.suspects.next); rest > 0 {
		wait = min(wait, rest)
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
	now := time.Now()
	c.mu.Lock()
	others := !c.alone && c.suspects.over(now)
	if others {
		c.suspects.end(now)
	}
	nothing := c.nothing()
	alone := nothing && !others
	c.draining = !alone && (c.suspects.due(now) || !c.unsure.IsZero() && time.Since(c.unsure) < settleFor)
	n := c.room()
	if n == 0 || c.dry && !(alone && !c.suspects.next.IsZero()) {
		c.mu.Unlock()
		return false
	}
	c.claims++
	c.hinted = false
	c.alone = alone // nothing begins while the store may be giving us a suspect
	c.mu.Unlock()
	defer c.claimed(alone)
	w := jobcontrol.Wanted{Project: c.cfg.Project, Services: c.services(), N: n, Alone: alone}
	limited, cancel := context.WithTimeout(c.life, c.cfg.TTL)
	got, err := c.cfg.Store.Claim(limited, c.lease, w)
	cancel()
	if err == nil {
		err = c.at("worker.claim.after")
	}
	c.reached(err)
	if err != nil {
		c.mu.Lock()
		c.alone = false
		c.mu.Unlock()
		return c.failed(err)
	}
	now = time.Now()
	if alone {
		c.suspects.given(got, now)
	}
	c.take(got, n)
	if got.Suspects {
		c.suspects.seen(now, nothing && len(got.Builds) == 0)
	}
	return len(got.Builds) > 0 || others && got.Suspects
}

// claimed ends a claim: what it brought is in the queue. A request to stop a build
// that is not found there is only then one for a build that is not here.
func (t *term) claimed(alone bool) {
	t.mu.Lock()
	t.claims++
	ring := alone && !t.alone
	t.mu.Unlock()
	if ring {
		t.cleaning.ring() // a step may have been refused meanwhile
	}
}

// take takes in what was claimed.
func (c *claimer) take(got *jobcontrol.Claimed, n int) {
	c.stats.claimed.Add(int64(len(got.Builds)))
	if len(got.Builds) > 0 {
		c.poll.soon()
	}
	c.mu.Lock()
	c.dry = !got.More && len(got.Builds) < n && !c.hinted
	c.alone = suspect(got)
	c.dry = c.dry && !c.alone
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
	if c.unsure.IsZero() && c.unheard.Load() {
		c.unsure = time.Now()
	}
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
