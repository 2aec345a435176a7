package worker

import (
	"context"
	"sync"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

const (
	// maxClaim is the most builds that are claimed at a time.
	maxClaim = 1000
	// maxAhead is the most builds that are claimed beyond the free slots.
	maxAhead = 4000
	// claimAhead is how much work is claimed beyond the free slots.
	claimAhead = 100 * time.Millisecond
	// minCrew is how many goroutines may at least store the ends of attempts at a
	// time, however few slots there are: so that they share a commit.
	minCrew = 1024
	// waitingEnds is how many ends may wait to be stored, for each goroutine of the crew.
	waitingEnds = 4
	// maxResults is how many bytes of results may wait to be stored: with more
	// nothing is started, so that a store that is away does not fill the memory.
	maxResults = 64 << 20
	// meanOf is how many attempts the mean duration follows.
	meanOf = 16
)

// slots is what the duties of a term share: what is claimed, what is executed, and
// the goroutines that do it. An attempt occupies a slot until its task has ended;
// its end is stored while another one may have the slot.
//
// A goroutine of the crew executes an attempt, sees to it that its end is stored,
// and takes the next build, as long as there are some. One at a time is woken to
// look for a build, and wakes the next when it has found one: so builds of
// microseconds are executed one after the other by as many goroutines as there are
// cores, and others by as many as there are slots.
type slots struct {
	parallel int
	maxCrew  int
	maxBegun int

	mu        sync.Mutex
	queue     []*holding      // claimed and not started, in order; queue[:head] are gone
	head      int             //
	begun     []*holding      // started, and their ends not stored yet; in no order
	executing int             // of them, occupying a slot
	results   int             // bytes of what they returned
	crew      int             // goroutines
	idle      []chan struct{} // of the crew, waiting to be woken; closed: they are sent home
	looking   bool            // one was woken, or is new, and has not looked for a build yet
	steps     int             // clean-up steps that are executed
	mean      time.Duration   // of attempts; 0: not known

	dry      bool          // nothing more is ready, as far as is known
	hinted   bool          // since the last claim was asked for: there may be more
	closing  bool          // nothing new is claimed or started
	alone    bool          // a suspect is executed, or may be claimed just now, and nothing beside it
	draining bool          // nothing is claimed until nothing is executed
	claims   int64         // beginnings and ends of claims: odd while one is made, and until it is taken in
	quiet    chan struct{} // closed when nothing is executed any more; nil: nobody asked
	sleeping bool          // the marker waits for an attempt to begin
	group    sync.WaitGroup
}

// holding is a claimed build, and the attempt that is executed of it.
type holding struct {
	build   jobcontrol.Build
	job     *jobcontrol.Job
	claimed time.Time
	cancel  context.CancelCauseFunc // ends the attempt
	started time.Time
	index   int           // in slots.begun
	result  int           // bytes of what it returned
	ended   bool          // the task has ended; its end is being stored
	marked  bool          // as running, or about to be
	marking chan struct{} // closed when that is stored; nil: it is not being stored
	why     error         // it is asked to stop; nil: it is not
}

func (s *slots) init(parallel int) {
	s.parallel, s.maxCrew = parallel, max(minCrew, parallel)
	s.maxBegun = waitingEnds * s.maxCrew
}

// waiting is the number of builds that are claimed and not started; s.mu is held.
func (s *slots) waiting() int { return len(s.queue) - s.head }

// busy tells whether anything is claimed; s.mu is held.
func (s *slots) busy() bool { return len(s.begun) > 0 || s.waiting() > 0 }

// nothing tells whether nothing is executed, nor claimed; s.mu is held.
func (s *slots) nothing() bool { return !s.busy() && s.steps == 0 }

// room is how many builds are to be claimed now: as many as there are free slots,
// and what will be done in claimAhead beyond; none, unless a slot would else be
// idle, or half of what was claimed ahead is used. s.mu is held.
func (s *slots) room() int {
	if s.closing || s.alone || s.draining {
		return 0
	}
	ahead := 0
	if s.mean > 0 && s.mean < claimAhead {
		ahead = int(min(int64(s.parallel)*int64(claimAhead)/int64(max(s.mean, time.Microsecond)), maxAhead))
	}
	free := s.parallel - s.executing - s.waiting()
	n := free + ahead
	if free <= 0 && (n <= 0 || n < ahead/2) {
		return 0
	}
	return min(n, maxClaim)
}

// take makes the first waiting build an attempt; s.mu is held.
func (s *slots) take(now time.Time) *holding {
	k := s.queue[s.head]
	s.queue[s.head] = nil
	s.head++
	if s.head == len(s.queue) {
		s.queue, s.head = s.queue[:0], 0
	}
	s.executing++
	k.started, k.index = now, len(s.begun)
	s.begun = append(s.begun, k)
	return k
}

// mayStart tells whether a waiting build may be started; s.mu is held.
func (s *slots) mayStart() bool {
	return s.waiting() > 0 && s.executing < s.parallel && len(s.begun) < s.maxBegun && s.results < maxResults && !s.closing
}

// dispatch has a goroutine look for a build where one may be started, unless one
// is about to; t.mu is held.
func (t *term) dispatch() {
	if t.looking || !t.mayStart() {
		return
	}
	if n := len(t.idle); n > 0 {
		t.looking = true
		t.idle[n-1] <- struct{}{} // never blocks
		t.idle = t.idle[:n-1]
		return
	}
	if t.crew >= t.maxCrew {
		return // one of them looks when it has stored an end
	}
	t.looking = true
	t.crew++
	t.group.Go(t.work)
}

// lookAfter wakes the duties that have something to do now; t.mu is held.
func (t *term) lookAfter() {
	if !t.dry && t.room() > 0 {
		t.hungry.ring()
	}
	if t.sleeping && len(t.begun) > 0 {
		t.sleeping = false
		t.marking.ring()
	}
}

// add adds builds that were claimed and starts what it can.
func (t *term) add(builds []jobcontrol.Build) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range builds {
		// A copy: one that takes long does not keep those that came with it.
		t.queue = append(t.queue, &holding{build: builds[i], claimed: now, marked: builds[i].State == jobcontrol.Running})
	}
	t.dispatch()
	t.lookAfter()
}

// work executes attempts until the goroutine is not wanted any more.
func (t *term) work() {
	wake := make(chan struct{}, 1)
	for k := t.next(wake, true); k != nil; k = t.next(wake, false) {
		t.carry(k)
	}
}

// next returns the next build that is executed; nil: the goroutine ends. woken: it
// is the one that was to look for a build.
func (t *term) next(wake chan struct{}, woken bool) *holding {
	for {
		t.mu.Lock()
		if woken {
			t.looking = false
		}
		if t.mayStart() {
			k := t.take(time.Now())
			t.dispatch()
			t.lookAfter()
			t.mu.Unlock()
			return k
		}
		if t.closing || len(t.idle) >= t.maxCrew/2 {
			t.crew--
			t.mu.Unlock()
			return nil
		}
		t.idle = append(t.idle, wake)
		t.mu.Unlock()
		if _, woken = <-wake; !woken {
			return nil
		}
	}
}

// released frees the slot of an attempt whose task has ended. It returns when its mark is stored.
func (t *term) released(k *holding) {
	took := time.Since(k.started)
	t.mu.Lock()
	k.ended = true
	marking := k.marking
	t.executing--
	t.results += k.result
	if t.mean == 0 {
		t.mean = took
	}
	t.mean += (took - t.mean) / meanOf
	if marking != nil {
		t.dispatch()
	}
	t.lookAfter()
	t.mu.Unlock()
	t.stats.executed.Add(int64(took))
	if marking != nil {
		<-marking
	}
}

// waits is called by a goroutine that is going to wait: another one executes what
// is due.
func (t *term) waits() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dispatch()
}

// forget forgets a build whose end is stored.
func (t *term) forget(k *holding) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.results -= k.result
	last := len(t.begun) - 1
	t.begun[k.index] = t.begun[last]
	t.begun[k.index].index = k.index
	t.begun[last] = nil
	t.begun = t.begun[:last]
	if last == 0 {
		if t.alone {
			t.alone = false
			t.cleaning.ring()
		}
		if t.draining {
			t.hungry.ring()
		}
		t.sayQuiet()
	}
	t.dispatch()
	t.lookAfter()
}

// sayQuiet says that nothing is executed any more, if that is so; t.mu is held.
func (t *term) sayQuiet() {
	if t.quiet != nil && len(t.begun) == 0 && t.steps == 0 {
		close(t.quiet)
		t.quiet = nil
	}
}

// whenQuiet returns a channel that is closed when nothing is executed any more.
// Nothing is started from now on.
func (t *term) whenQuiet() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closing = true
	quiet := make(chan struct{})
	t.quiet = quiet
	t.sayQuiet()
	return quiet
}

// sendHome ends the crew.
func (t *term) sendHome() {
	t.mu.Lock()
	for _, c := range t.idle {
		close(c)
	}
	t.idle = nil
	t.mu.Unlock()
	t.group.Wait()
}

// unqueue takes all waiting builds out of the queue, and nothing is started of them.
func (t *term) unqueue() []*holding {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := append([]*holding(nil), t.queue[t.head:]...)
	clear(t.queue)
	t.queue, t.head = t.queue[:0], 0
	return out
}

// giveBackQueue gives back what was claimed and not started.
func (t *term) giveBackQueue() {
	waiting := t.unqueue()
	if len(waiting) == 0 {
		return
	}
	claims := make([]jobcontrol.Claim, len(waiting))
	for i, k := range waiting {
		claims[i] = k.build.Claim
	}
	t.giveBack(claims)
}

// giveBack ends claims; where that cannot be stored, the end of the term does it.
func (t *term) giveBack(claims []jobcontrol.Claim) {
	err := t.persist(func(ctx context.Context) error { return t.cfg.Store.GiveBack(ctx, claims) })
	if err != nil {
		t.log.Warn("builds could not be given back", "builds", len(claims), "error", err)
		return
	}
	t.stats.givenBack.Add(int64(len(claims)))
}
