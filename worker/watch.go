package worker

import (
	"context"
	"errors"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// The shortest and the longest time between two looks where nothing is told: not
// every store tells what ends.
const (
	awaitFirst = 2 * time.Millisecond
	awaitMost  = 250 * time.Millisecond
)

// Wait implements [jobcontrol.Queuer].
func (c *Client) Wait(ctx context.Context, build int64) (*jobcontrol.Build, error) {
	var b *jobcontrol.Build
	err := c.await(ctx, func() (done bool, err error) {
		b, err = c.cfg.Store.Build(ctx, build)
		return err == nil && b.State.Final(), err
	})
	return b, err
}

// await calls look until it is done or fails: when the store tells something, and
// now and then. That the store is away for a while is waited for.
func (c *Client) await(ctx context.Context, look func() (done bool, err error)) error {
	var told bell // nil for the first look, after which many need no other
	var again poll
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		begin := time.Now()
		done, err := look()
		switch {
		case ctx.Err() != nil:
			return &jobcontrol.Error{Code: jobcontrol.Interrupted, Message: "interrupted", Cause: context.Cause(ctx)}
		case err != nil && !errors.Is(err, jobcontrol.ErrUnavailable):
			return err
		case err == nil && done:
			return nil
		}
		took := time.Since(begin)
		if told == nil {
			var leave func()
			told, leave = c.hints.listen(c.cfg.Store)
			defer leave()
		}
		timer.Reset(max(again.next(awaitFirst, awaitMost), 3*took))
		// Looking at much takes at most a quarter of the time, however much is told.
		select {
		case <-ctx.Done():
			return &jobcontrol.Error{Code: jobcontrol.Interrupted, Message: "interrupted", Cause: context.Cause(ctx)}
		case <-told:
			if rest := 3 * took; rest > 5*time.Millisecond {
				select {
				case <-time.After(rest):
				case <-ctx.Done():
				}
			}
		case <-timer.C:
		}
	}
}

// Watch implements [jobcontrol.Queuer].
func (c *Client) Watch(ctx context.Context, run int64, watch jobcontrol.Watch) (*jobcontrol.Run, error) {
	now, err := c.cfg.Store.Now(ctx)
	if err != nil {
		return nil, err
	}
	o := &onlooker{store: c.cfg.Store, id: run, watch: watch, clock: clock{store: now, here: time.Now()}}
	if watch == nil {
		o.watch = func(jobcontrol.Event) {}
	}
	err = c.await(ctx, func() (bool, error) { return o.look(ctx) })
	if err != nil {
		return nil, err
	}
	return o.run, nil
}

// onlooker tells what changes in a Run from what the store shows. One goroutine owns it.
type onlooker struct {
	store jobcontrol.Store
	id    int64
	watch jobcontrol.Watch
	clock clock
	run   *jobcontrol.Run
	seen  map[int64]*glance
	jobs  map[string]*jobcontrol.Job
}

// glance is how far a build's story was told.
type glance struct {
	state    jobcontrol.State
	started  int // number of the last attempt whose start was told
	attempts int // number of the last attempt whose end was told
	cleaned  bool
}

// look tells what is new and whether the Run has ended. What it told before an
// error is not told again.
func (o *onlooker) look(ctx context.Context) (ended bool, err error) {
	// The Run before its builds: when it is final nothing of them changes any more.
	run, err := o.store.Run(ctx, o.id)
	if err != nil {
		return false, err
	}
	first := o.run == nil
	o.run = run
	if first {
		o.seen, o.jobs = map[int64]*glance{}, map[string]*jobcontrol.Job{}
		o.tell(jobcontrol.Event{Kind: jobcontrol.EventRun})
	}
	builds, err := o.store.ListBuilds(ctx, jobcontrol.BuildFilter{Run: o.id, Asc: true, Limit: -1, Brief: true})
	if err != nil {
		return false, err
	}
	for i := range builds {
		if err := o.compare(ctx, &builds[i]); err != nil {
			return false, err
		}
	}
	return run.State.Final() || run.State == jobcontrol.RunInterrupted, nil
}

// compare tells what is new of one build.
func (o *onlooker) compare(ctx context.Context, b *jobcontrol.Build) error {
	g := o.seen[b.ID]
	if g == nil {
		g = &glance{}
		o.seen[b.ID] = g
	}
	ended := b.State != g.state && (b.State.Final() || b.State == jobcontrol.Suspended)
	running := b.State == jobcontrol.Running && g.started <= b.Attempts
	if !ended && !running && b.Attempts == g.attempts && b.Cleaned == g.cleaned {
		g.state = b.State
		return nil
	}
	job, err := o.job(ctx, b)
	if err != nil {
		return err
	}
	var attempts []jobcontrol.Attempt
	if b.Attempts > g.attempts || b.Cleaned != g.cleaned {
		if attempts, err = o.store.Attempts(ctx, b.ID); err != nil {
			return err
		}
	}
	if ended {
		full, err := o.store.Build(ctx, b.ID)
		if err != nil {
			return err
		}
		if full.State != b.State { // it has gone on: that is for the next look
			return nil
		}
		full.Attempts, full.Cleaned = b.Attempts, b.Cleaned // what came since is not told yet
		b = full
	}
	last := g.attempts // clean-up attempts count on, and are told apart
	for i := range attempts {
		if a := &attempts[i]; !a.Cleanup && a.Number <= b.Attempts {
			last = max(last, a.Number)
		}
	}
	for i := range attempts {
		a := &attempts[i]
		if a.Cleanup || a.Number <= g.attempts || a.Number > last {
			continue
		}
		o.start(g, b, job, a.Number)
		if !ended || a.Number < last {
			kind := jobcontrol.EventRetried
			if len(a.Phases) == 1 && a.Phases[0].Phase == jobcontrol.PhaseExpand && a.Failure == nil {
				kind = jobcontrol.EventExpanded
			}
			o.tell(jobcontrol.Event{Kind: kind, Build: b, Job: job, Attempt: a.Number, Failure: a.Failure})
		}
	}
	g.attempts = b.Attempts
	if running {
		o.start(g, b, job, b.Attempts+1)
	}
	if ended {
		o.tell(jobcontrol.Event{Kind: jobcontrol.EventFinished, Build: b, Job: job, Attempt: last, Failure: b.Failure})
	}
	g.state = b.State
	if b.Cleaned && !g.cleaned {
		g.cleaned = true
		o.cleaned(b, job, attempts)
	}
	return nil
}

// start tells of the start of an attempt, once.
func (o *onlooker) start(g *glance, b *jobcontrol.Build, job *jobcontrol.Job, number int) {
	if number > g.started {
		g.started = number
		o.tell(jobcontrol.Event{Kind: jobcontrol.EventStarted, Build: b, Job: job, Attempt: number})
	}
}

// cleaned tells of a clean-up step that was executed.
func (o *onlooker) cleaned(b *jobcontrol.Build, job *jobcontrol.Job, attempts []jobcontrol.Attempt) {
	for i := range attempts {
		a := &attempts[len(attempts)-1-i]
		if !a.Cleanup {
			continue
		}
		e := jobcontrol.Event{Kind: jobcontrol.EventCleanup, Build: b, Job: job, Attempt: a.Number, Phase: jobcontrol.PhaseCleanup}
		o.tell(e)
		e.Kind, e.Passed, e.Failure = jobcontrol.EventCleaned, a.Failure == nil, a.Failure
		o.tell(e)
		return
	}
}

func (o *onlooker) job(ctx context.Context, b *jobcontrol.Build) (*jobcontrol.Job, error) {
	if j, ok := o.jobs[b.Definition]; ok {
		return j.Named(b.Job), nil
	}
	j, err := o.store.Definition(ctx, b.Definition)
	if err != nil {
		return nil, err
	}
	o.jobs[b.Definition] = j
	return j.Named(b.Job), nil
}

func (o *onlooker) tell(e jobcontrol.Event) {
	e.Run, e.Time = o.run, o.clock.now()
	if e.Build != nil {
		b := *e.Build
		e.Build = &b
	}
	o.watch(e)
}
