package worker

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/engine"
)

const (
	// markAfter is how long an attempt is executed before it is marked as
	// running in the store; a shorter one is written once, when it has ended.
	markAfter = 25 * time.Millisecond
	// maxUnstored bounds the ends of attempts that wait for the store.
	maxUnstored = 4096
)

// foreground executes one Run. What happens is taken in by the goroutine that
// brings it, under a lock: an attempt whose end makes its dependant due goes on
// with that itself, and nobody else has to be woken for it.
type foreground struct {
	c      *Client
	run    *jobcontrol.Run
	lease  jobcontrol.Lease
	leased time.Time // when it was last renewed, at the earliest
	eng    *engine.Engine
	watch  jobcontrol.Watch
	clock  clock

	telling sync.Mutex // while the watcher is told something

	mu     sync.Mutex // of all that follows, but for channels, contexts and what has a lock of its own
	builds map[int64]*member
	jobs   map[string]*jobcontrol.Job // definitions by hash
	kept   results

	due      byOrder       // builds to start, smallest (phase, place) first
	later    byTime        // builds whose time has not come
	active   int           // attempts that occupy a slot
	unstored int           // attempts, and marks, that are not stored yet
	unmarked []*member     // attempts that are not marked as running yet
	alone    bool          // a build that was lost before is executed, and nothing beside it
	stopping bool          // nothing new is started
	fault    error         // of the store
	armed    time.Time     // when the loop will look by itself, by the store's clock
	wake     chan struct{} // has the loop look now
	stops    chan error    // wishes to cancel, from elsewhere
	crew     chan order    // takes the next attempt, where a goroutine is free for it
	kin      atomic.Int32  // goroutines of the crew

	gated      int            // attempts that are being prepared
	discarding sync.WaitGroup // attempts that were prepared and not started

	life      context.Context // ends when the lease is lost
	endLife   context.CancelCauseFunc
	attempts  context.Context // of the attempts; ends when they have to stop
	cancelAll context.CancelCauseFunc
}

// member is a build of the Run with its definition. While an attempt is executed
// its goroutine reads build; the loop changes it only between attempts.
type member struct {
	build   *jobcontrol.Build
	job     *jobcontrol.Job
	started time.Time // of the attempt that is being executed; zero: none is
	marked  bool
	attempt int  // its number
	free    bool // its slot is free: the task has ended

	missing int       // dependencies in the Run that are not finished
	early   bool      // dependants may be prepared while its end is stored
	gate    chan bool // an attempt is being prepared, and goes on when true comes; nil: none is
	heirs   []*member // whose attempts are being prepared while this one's end is stored

	storing sync.Mutex // held while a mark, or how an attempt ended, is stored
	ended   int        // the number of the last attempt whose end was stored; under storing
}

// stored tells that the end of an attempt is stored.
type stored struct {
	m        *member
	ended    jobcontrol.Ended
	again    *jobcontrol.Build    // it will be tried again
	expanded *jobcontrol.Expanded // builds of its items were made
	released *jobcontrol.Released
	err      error
}

// lost is why attempts are ended when nothing can be stored any more.
type lost struct {
	*jobcontrol.Failure
	err error
}

func newLost(err error) *lost {
	return &lost{&jobcontrol.Failure{Kind: jobcontrol.FailLost, Message: "the store failed: " + err.Error()}, err}
}

// Unwrap makes it a failure of kind lost and the error behind it.
func (l *lost) Unwrap() []error { return []error{l.Failure, l.err} }

// clock converts between the store's clock and this process's monotonic one.
type clock struct {
	store time.Time
	here  time.Time
}

func (c clock) now() time.Time { return c.store.Add(time.Since(c.here)) }

// execute executes the Run's builds until all are final, then its clean-up steps.
func (f *foreground) execute(ctx context.Context, builds []jobcontrol.Build) (*jobcontrol.Run, error) {
	f.wake, f.stops, f.crew = make(chan struct{}, 1), make(chan error, 1), make(chan order)
	defer close(f.crew)
	defer f.discarding.Wait()
	f.life, f.endLife = context.WithCancelCause(context.WithoutCancel(ctx))
	defer f.endLife(nil)
	f.attempts, f.cancelAll = context.WithCancelCause(f.life)
	defer f.cancelAll(nil)
	defer f.keepLease()()
	if err := f.take(ctx, builds); err != nil {
		return nil, err
	}
	f.tell(jobcontrol.Event{Kind: jobcontrol.EventRun})
	f.loop(ctx)
	if f.fault != nil {
		return nil, f.fault
	}
	if f.stopping {
		if err := f.cancelRest(ctx); err != nil {
			return nil, err
		}
	}
	if n := f.waiting(); n > 0 {
		f.tell(jobcontrol.Event{Kind: jobcontrol.EventTrouble, Message: fmt.Sprintf(
			"builds of run %d are suspended or held, or wait for such a one: %d; `jobcontrol runs resume %d` goes on with them, `runs cancel %d` gives them up",
			f.run.ID, n, f.run.ID, f.run.ID)})
		return nil, errWaiting
	}
	if !f.run.NoCleanup {
		if err := f.cleanup(ctx); err != nil {
			return nil, err
		}
	}
	durable := context.WithoutCancel(ctx)
	var run *jobcontrol.Run
	err := persist(durable, func() (err error) {
		run, err = f.c.cfg.Store.FinishRun(durable, f.run.ID, f.lease)
		return err
	})
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return run, &jobcontrol.Error{Code: jobcontrol.Interrupted, Message: "interrupted"}
	}
	return run, nil
}

// errWaiting says that what is left of a Run waits for a person.
var errWaiting = errors.New("builds are suspended or held")

// waiting is the number of builds that are not final and cannot go on by themselves.
func (f *foreground) waiting() int {
	n := 0
	for _, m := range f.builds {
		if !m.build.State.Final() {
			n++
		}
	}
	return n
}

// take makes members of the Run's builds and puts them where their state says.
func (f *foreground) take(ctx context.Context, builds []jobcontrol.Build) error {
	f.builds = make(map[int64]*member, len(builds))
	members := make([]member, len(builds))
	for i := range builds {
		b := &builds[i]
		m := &members[i]
		m.build, m.missing = b, b.DepsLeft
		var err error
		if m.job, err = f.definition(ctx, b); err != nil {
			return err
		}
		f.builds[b.ID] = m
		f.put(m)
	}
	f.findEarly()
	heap.Init(&f.due)
	heap.Init(&f.later)
	return nil
}

// definition returns the frozen definition of a build.
func (f *foreground) definition(ctx context.Context, b *jobcontrol.Build) (*jobcontrol.Job, error) {
	j, ok := f.jobs[b.Definition]
	if !ok {
		var err error
		if j, err = f.c.cfg.Store.Definition(ctx, b.Definition); err != nil {
			return nil, err
		}
		f.jobs[b.Definition] = j
	}
	return j.Named(b.Job), nil
}

// put files a build where its state says; the heaps are not kept.
func (f *foreground) put(m *member) {
	switch m.build.State {
	case jobcontrol.Queued, jobcontrol.Running:
		f.due = append(f.due, m)
	case jobcontrol.Scheduled:
		f.later = append(f.later, m)
	}
}

// loop starts what is due, and watches over time and wishes, until nothing is left.
func (f *foreground) loop(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	interrupted, ended := ctx.Done(), f.life.Done()
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.goesOn() {
		f.start()
		now := f.clock.now()
		f.armed = f.nextLook(now)
		timer.Reset(f.armed.Sub(now))
		f.mu.Unlock()
		select {
		case <-f.wake:
			f.mu.Lock()
		case <-timer.C:
			f.mu.Lock()
			f.promote()
			f.mark()
		case why := <-f.stops:
			f.mu.Lock()
			if !f.stopping {
				f.tell(jobcontrol.Event{Kind: jobcontrol.EventTrouble, Message: why.Error()})
				f.stop(why)
			}
		case <-interrupted:
			f.mu.Lock()
			interrupted = nil
			f.stop(engine.Cancelled("interrupted"))
		case <-ended:
			f.mu.Lock()
			ended = nil
			var l *lost
			if errors.As(context.Cause(f.life), &l) {
				f.failed(l.err)
			}
		}
	}
}

// goesOn tells whether attempts are being executed or stored, or may yet be.
func (f *foreground) goesOn() bool {
	return f.active > 0 || f.unstored > 0 || !f.stopping && f.progressPossible()
}

// bring has what happened taken in, starts what is due then, and wakes the
// loop only if that has to do something.
func (f *foreground) bring(what func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	what()
	f.start()
	if !f.goesOn() || f.nextLook(f.clock.now()).Before(f.armed) {
		select {
		case f.wake <- struct{}{}:
		default: // it will look
		}
	}
}

// progressPossible tells whether any build can still become due by itself: a
// held or suspended dependency keeps its dependants waiting for a person.
func (f *foreground) progressPossible() bool {
	return len(f.due) > 0 || len(f.later) > 0 || f.active > 0 || f.unstored > 0
}

// stop ends the Run: nothing new is started, attempts are asked to stop.
func (f *foreground) stop(cause error) {
	f.stopping = true
	f.cancelAll(cause)
}

// start starts attempts while there are slots and builds that are due.
func (f *foreground) start() {
	f.promote()
	for !f.stopping && !f.alone && f.active < f.c.cfg.Parallel && f.unstored < maxUnstored && len(f.due) > 0 {
		if f.due[0].build.Lost > 0 {
			// It may kill this program, too: then no other build is charged.
			if f.active > 0 || f.unstored > 0 {
				break
			}
			f.alone = true
		}
		m := heap.Pop(&f.due).(*member)
		m.started, m.marked, m.free = f.clock.now(), false, false
		f.active++
		f.unstored++
		f.unmarked = append(f.unmarked, m)
		number := m.build.Attempts + 1
		m.attempt = number
		f.tell(jobcontrol.Event{Kind: jobcontrol.EventStarted, Build: m.build, Job: m.job, Attempt: number})
		if m.gate != nil {
			f.open(m, true)
		} else {
			f.employ(order{m, number, nil})
		}
	}
}

// promote moves builds whose time has come to those that are due.
func (f *foreground) promote() {
	now := f.clock.now()
	for len(f.later) > 0 && !f.later[0].build.ReadyAt.After(now) {
		heap.Push(&f.due, heap.Pop(&f.later))
	}
}

// nextLook is when the next build's time comes or the next mark is due, whichever is first.
func (f *foreground) nextLook(now time.Time) time.Time {
	next := now.Add(time.Hour)
	if len(f.later) > 0 && f.active < f.c.cfg.Parallel {
		next = f.later[0].build.ReadyAt
	}
	for len(f.unmarked) > 0 && (f.unmarked[0].started.IsZero() || f.unmarked[0].marked) {
		f.unmarked = f.unmarked[1:]
	}
	if len(f.unmarked) > 0 {
		if due := f.unmarked[0].started.Add(markAfter); due.Before(next) {
			next = due
		}
	}
	return next
}

// mark marks attempts that have been executed for a while as running.
func (f *foreground) mark() {
	now := f.clock.now()
	n := 0
	for ; n < len(f.unmarked); n++ {
		m := f.unmarked[n]
		if m.started.IsZero() || m.marked {
			continue
		}
		if now.Sub(m.started) < markAfter {
			break
		}
		m.marked = true
		f.unstored++
		go f.storeMark(m, m.build.Claim, jobcontrol.Micros(m.started), m.attempt)
	}
	f.unmarked = f.unmarked[n:]
}

// storeMark marks an attempt as running unless its end is being stored. Several
// at a time are one commit; each is a write of its own, so that one that comes
// too late hinders no other.
func (f *foreground) storeMark(m *member, c jobcontrol.Claim, at time.Time, attempt int) {
	m.storing.Lock()
	defer m.storing.Unlock()
	var err error
	if m.ended < attempt {
		err = f.c.cfg.Store.Start(context.Background(), []jobcontrol.Claim{c}, []time.Time{at})
	}
	f.bring(func() {
		f.unstored--
		if err != nil {
			f.failed(err)
		}
	})
}

// executed takes in that the task of m's attempt has ended, whose end is now to
// be stored. The slot is used meanwhile where a build waits for one, which with
// one slot may be one that this end releases; else dependants are prepared. The
// first of them is the caller's to prepare.
func (f *foreground) executed(m *member, successful bool) (heir *order) {
	f.bring(func() {
		switch {
		case len(f.due) > 0 && !f.stopping:
			if f.c.cfg.Parallel > 1 {
				m.free = true
				f.active--
			}
		case m.early && successful:
			heir = f.prepare(m)
		}
	})
	return heir
}

// stored takes in that the end of an attempt is stored, or cannot be.
func (f *foreground) stored(e stored) {
	f.bring(func() {
		e.m.started = time.Time{}
		f.unstored--
		f.alone = false
		if !e.m.free {
			f.active--
		}
		f.takeIn(e)
		f.discard(e.m)
	})
}

// failed notes a fault of the store: the Run cannot go on.
func (f *foreground) failed(err error) {
	if f.fault == nil {
		f.fault = err
		f.stop(newLost(err))
	}
}

// takeIn takes in how an attempt ended and what that did to other builds.
func (f *foreground) takeIn(e stored) {
	if e.err != nil {
		f.failed(fmt.Errorf("build %d of job %q: its end could not be stored: %w", e.m.build.ID, e.m.build.Job, e.err))
		return
	}
	b := e.m.build
	b.Attempts = e.ended.Attempt.Number
	if b.StartedAt.IsZero() {
		b.StartedAt = e.ended.Attempt.StartedAt
	}
	if e.expanded != nil {
		f.takeInItems(e.m, e.expanded)
		return
	}
	b.Failure = e.ended.Attempt.Failure
	if k := e.ended.Attempt.Failure; e.again != nil || k == nil || k.Kind.UsesTry() {
		if k == nil || k.Kind.UsesTry() {
			b.TriesUsed++
		}
	}
	if e.again != nil {
		b.State, b.ReadyAt, b.Phase = e.again.State, e.again.ReadyAt, e.again.Phase
		b.Asked = e.again.Asked
		heap.Push(&f.later, e.m)
		f.tell(jobcontrol.Event{Kind: jobcontrol.EventRetried, Build: b, Job: e.m.job, Attempt: b.Attempts, Failure: b.Failure})
		return
	}
	b.State, b.FinishedAt, b.Result = e.ended.State, e.ended.Attempt.FinishedAt, e.ended.Result
	if b.State == jobcontrol.Successful {
		changed := e.ended.Changed
		b.Changed = &changed
	}
	for _, id := range b.Dependants {
		if m, ok := f.builds[max(id, -id)]; ok {
			m.missing--
		}
	}
	f.kept.keep(b)
	// What is due now starts before anybody is told: it is durable already.
	finished := *b
	b.Result = nil // dependants find it in kept, or in the store
	for _, r := range e.released.Ready {
		m, ok := f.builds[r.ID]
		if !ok || m.build.State != jobcontrol.Waiting {
			continue
		}
		m.build.State, m.build.Phase, m.build.ReadyAt, m.build.Pins = r.State, r.Phase, r.ReadyAt, r.Pins
		if r.State == jobcontrol.Scheduled {
			heap.Push(&f.later, m)
		} else {
			heap.Push(&f.due, m)
		}
	}
	f.start()
	f.tell(jobcontrol.Event{Kind: jobcontrol.EventFinished, Build: &finished, Job: e.m.job, Attempt: b.Attempts, Failure: b.Failure})
	for _, id := range e.released.Blocked {
		if m, ok := f.builds[id]; ok && !m.build.State.Final() {
			m.build.State = jobcontrol.Blocked
			f.tell(jobcontrol.Event{Kind: jobcontrol.EventFinished, Build: m.build, Job: m.job})
		}
	}
}

// takeInItems makes members of the builds of a build's items.
func (f *foreground) takeInItems(parent *member, x *jobcontrol.Expanded) {
	b := parent.build
	b.State, b.Pins, b.DepsLeft, parent.missing = x.Build.State, x.Build.Pins, x.Build.DepsLeft, x.Build.DepsLeft
	if b.State == jobcontrol.Queued {
		heap.Push(&f.due, parent)
	}
	job := parent.job.OfItems()
	members := make([]member, len(x.Children))
	for i := range x.Children {
		m := &members[i]
		m.build = &x.Children[i]
		m.job = job.Named(m.build.Job)
		f.builds[m.build.ID], f.jobs[m.build.Definition] = m, job
		if m.build.State == jobcontrol.Queued {
			heap.Push(&f.due, m)
		}
	}
	f.start()
	f.tell(jobcontrol.Event{Kind: jobcontrol.EventExpanded, Build: b, Job: parent.job, Attempt: b.Attempts})
}

// tell tells the watcher, with a copy of the build. Attempts tell of their phases
// themselves: then the loop need not be woken.
func (f *foreground) tell(e jobcontrol.Event) {
	if f.watch == nil {
		return
	}
	f.telling.Lock()
	defer f.telling.Unlock()
	e.Run, e.Time = f.run, f.clock.now()
	if e.Build != nil {
		b := *e.Build
		e.Build = &b
	}
	f.watch(e)
}

// byOrder is a heap of builds that are due.
type byOrder []*member

func (h byOrder) Len() int { return len(h) }
func (h byOrder) Less(i, j int) bool {
	a, b := h[i].build, h[j].build
	if a.Phase != b.Phase {
		return a.Phase < b.Phase
	}
	if a.Place != b.Place {
		return a.Place < b.Place
	}
	return a.ID < b.ID // items of one build
}
func (h byOrder) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *byOrder) Push(x any)   { *h = append(*h, x.(*member)) }
func (h *byOrder) Pop() any {
	old := *h
	m := old[len(old)-1]
	*h = old[:len(old)-1]
	return m
}

// byTime is a heap of builds whose time has not come.
type byTime []*member

func (h byTime) Len() int { return len(h) }
func (h byTime) Less(i, j int) bool {
	a, b := h[i].build, h[j].build
	if !a.ReadyAt.Equal(b.ReadyAt) {
		return a.ReadyAt.Before(b.ReadyAt)
	}
	if a.Phase != b.Phase {
		return a.Phase < b.Phase
	}
	return a.Place < b.Place
}
func (h byTime) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *byTime) Push(x any)   { *h = append(*h, x.(*member)) }
func (h *byTime) Pop() any {
	old := *h
	m := old[len(old)-1]
	*h = old[:len(old)-1]
	return m
}
