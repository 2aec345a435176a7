package worker

import (
	"math/rand/v2"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

const (
	// suspectsEvery is how long, at least, a pool claims as usual when it first sees
	// a suspect, before it stops that to execute it alone; when varies, so that not
	// all pools do.
	suspectsEvery = 3 * time.Second
	// suspectsFor is how long suspects are executed one after the other while others wait.
	suspectsFor = 2 * time.Second
	// othersFor is how long, at least, others are executed before it is the suspects' turn again.
	othersFor = 100 * time.Millisecond
)

// turns divides the time of a pool between suspects, each of which is executed
// while nothing else is, and all other builds. A turn of the suspects begins when
// nothing is claimed any more for their sake; the next one begins when the others
// have had as long. One goroutine owns it.
type turns struct {
	next   time.Time // when the next turn begins; zero: no suspect was seen
	since  time.Time // when the turn that goes on began; zero: none does
	served bool      // a suspect was executed in it
	ended  time.Time // when the last one ended
	took   time.Duration
}

// due tells whether nothing is to be claimed until nothing is executed.
func (s *turns) due(now time.Time) bool {
	if s.next.IsZero() || now.Before(s.next) {
		return false
	}
	if s.since.IsZero() {
		s.since = now
	}
	return !s.over(now)
}

// over tells whether the suspects have had their turn.
func (s *turns) over(now time.Time) bool {
	return s.served && now.Sub(s.since) >= suspectsFor
}

// given takes in what was claimed by a pool that executed nothing and said so.
func (s *turns) given(got *jobcontrol.Claimed, now time.Time) {
	if suspect(got) {
		if s.since.IsZero() {
			s.since = now
		}
		s.served, s.next = true, s.since
		return
	}
	s.end(now)
}

// end ends the turn.
func (s *turns) end(now time.Time) {
	if !s.since.IsZero() {
		s.took, s.ended = now.Sub(s.since), now
	}
	s.since, s.next, s.served = time.Time{}, time.Time{}, false
}

// seen takes in that suspects wait. idle: nothing is executed, and nothing else waits.
func (s *turns) seen(now time.Time, idle bool) {
	switch {
	case !s.next.IsZero():
	case idle:
		s.next = now
	case now.Sub(s.ended) < s.took+suspectsEvery:
		s.next = now.Add(max(othersFor, s.took-now.Sub(s.ended)))
	default:
		s.next = now.Add(suspectsEvery + rand.N(suspectsEvery))
	}
}

// suspect tells whether what was claimed is a suspect.
func suspect(got *jobcontrol.Claimed) bool {
	return len(got.Builds) == 1 && got.Builds[0].State == jobcontrol.Running
}
