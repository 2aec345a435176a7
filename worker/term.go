package worker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/engine"
)

// term is a pool's time under one lease. Its duties, each a goroutine and a file
// of its own, claim builds, keep the lease, promote, rescue, look for requests to
// stop, and execute clean-up steps; slots.go has what they share.
type term struct {
	unheard atomic.Bool // a claim of a clean-up step failed, and may have been made all the same
	*Pool
	lease jobcontrol.Lease
	eng   *engine.Engine
	// finisher is the store, where it can store ends without one goroutine for each.
	finisher jobcontrol.Finisher
	clock    atomic.Pointer[clock]
	trust    trust
	over     bool // the pool is to end with this term

	life      context.Context // ends when the lease is lost
	endLife   context.CancelCauseFunc
	attempts  context.Context // of the attempts; ends when they have to stop
	cancelAll context.CancelCauseFunc
	spent     chan struct{} // closed when another lease is better
	spend     sync.Once
	losing    sync.Once

	said sync.Map // what was told of a duty that fails, by its name

	asked   atomic.Bool // the store told something since requests to stop were asked for
	changed atomic.Bool // … and since the workers were read

	scheduled                                                                  chan time.Time // when builds are due that were scheduled here
	hungry, promoting, stopping, cleaning, rescuing, marking, renewing, naming bell

	slots
}

// hurryFor is how long attempts may take to end that have to at once.
const hurryFor = 2 * time.Second

// leaveFor is how long a pool that ends waits for the store.
const leaveFor = 5 * time.Second

// shutdown is why attempts are ended that can be given back: the worker shuts down.
type shutdown struct {
	*jobcontrol.Failure
	hard bool
}

func newShutdown(hard bool) *shutdown {
	return &shutdown{&jobcontrol.Failure{Kind: jobcontrol.FailCancel, Message: "the worker shuts down"}, hard}
}

// Hard tells whether processes are killed at once.
func (s *shutdown) Hard() bool { return s.hard }

// Unwrap makes it a failure of kind cancel.
func (s *shutdown) Unwrap() error { return s.Failure }

// heard takes notice of how a call of the store ended that a duty makes again and
// again. What is wrong is told once, until it is something else or well again.
func (t *term) heard(duty string, err error) {
	t.reached(err)
	if err == nil {
		t.said.Delete(duty)
		return
	}
	if !t.forGood(err) {
		return
	}
	if last, _ := t.said.Swap(duty, err.Error()); last != err.Error() {
		t.log.Warn(duty+": the store refuses it; it is tried again", "error", err)
	}
}

// forGood tells whether the store would say the same again: it is there, and the
// lease is held.
func (t *term) forGood(err error) bool {
	return err != nil && t.life.Err() == nil && !errors.Is(err, jobcontrol.ErrLeaseLost) && !errors.Is(err, jobcontrol.ErrUnavailable)
}

// expired is why attempts are ended at once: the lease was lost.
type expired struct{ *lost }

// Hard tells that processes are killed at once.
func (e expired) Hard() bool { return true }

// Unwrap makes it what it holds.
func (e expired) Unwrap() error { return e.lost }

// newTerm registers a worker.
func (p *Pool) newTerm(ctx context.Context) (*term, error) {
	t := &term{
		Pool: p, spent: make(chan struct{}), scheduled: make(chan time.Time, 16),
		hungry: newBell(), promoting: newBell(), stopping: newBell(), cleaning: newBell(), rescuing: newBell(), marking: newBell(), renewing: newBell(), naming: newBell(),
	}
	t.slots.init(p.cfg.Parallel)
	t.finisher, _ = p.cfg.Store.(jobcontrol.Finisher)
	t.life, t.endLife = context.WithCancelCause(context.WithoutCancel(ctx))
	t.attempts, t.cancelAll = context.WithCancelCause(t.life)
	limited, cancel := context.WithTimeout(ctx, p.cfg.TTL)
	defer cancel()
	now, err := p.cfg.Store.Now(limited)
	if err != nil {
		return nil, err
	}
	t.clock.Store(&clock{store: now, here: time.Now()})
	begin := sinceBoot()
	if t.lease, err = p.cfg.Store.Register(limited, p.cfg.Process, p.cfg.TTL); err != nil {
		return nil, err
	}
	t.trust.watchdog = time.AfterFunc(p.cfg.TTL, t.watch)
	t.trusted(begin)
	t.eng = t.engine()
	return t, nil
}

func (t *term) now() time.Time { return t.clock.Load().now() }

// engine returns the engine of the term's attempts. While the store is away they
// wait for it, as long as the lease is trusted.
func (t *term) engine() *engine.Engine {
	store := t.cfg.Store
	return &engine.Engine{
		Executor: t.cfg.Executor, Shared: store, Secret: t.cfg.Secret, Now: t.now,
		Build: func(ctx context.Context, id int64) (b *jobcontrol.Build, err error) {
			err = t.persist(func(ctx context.Context) error {
				b, err = store.Build(ctx, id)
				return err
			})
			return b, err
		},
		Report: func(_ context.Context, c jobcontrol.Claim, logs []jobcontrol.LogRecord, progress []jobcontrol.Progress) error {
			return t.persist(func(ctx context.Context) error { return store.Report(ctx, c, logs, progress) })
		},
		Trusted: t.stillHeld,
		Services: func(context.Context) (described []jobcontrol.Service, err error) {
			err = t.persist(func(ctx context.Context) error {
				list, err := store.Services(ctx, t.cfg.Project)
				described = make([]jobcontrol.Service, len(list))
				for i := range list {
					described[i] = list[i].Service
				}
				return err
			})
			return described, err
		},
		MarkRan: func(_ context.Context, c jobcontrol.Claim, at time.Time) error {
			return t.persist(func(ctx context.Context) error { return store.MarkRan(ctx, c, at) })
		},
	}
}

// persist repeats a call of the store until that could be reached, or the lease
// is lost: then the call's error is returned.
func (t *term) persist(call func(ctx context.Context) error) error {
	for pause := firstPause; ; {
		err := call(t.life)
		if !errors.Is(err, jobcontrol.ErrUnavailable) {
			if err == nil {
				t.reached(nil)
			}
			return err
		}
		if pause = t.missed(err, pause); t.life.Err() != nil {
			return err
		}
	}
}

// firstPause is how long a call of the store waits that is repeated.
const firstPause = 20 * time.Millisecond

// missed takes notice of a call that did not reach the store and waits before it is
// repeated, or until the lease is lost. It returns how long the next one waits.
func (t *term) missed(err error, pause time.Duration) time.Duration {
	t.reached(err)
	select {
	case <-time.After(vary(pause)):
	case <-t.life.Done():
	}
	return min(2*pause, 2*time.Second)
}

// run works until ctx ends, the lease is lost, or another one is better. Then
// everything has ended that was begun.
func (t *term) run(ctx context.Context) error {
	defer t.end()
	if t.cfg.Guardian != nil {
		defer t.cfg.Guardian.Trust(time.Time{}) // no bound
	}
	taking, stopTaking := context.WithCancel(t.life)
	defer stopTaking()
	keeping, stopKeeping := context.WithCancel(t.life)
	defer stopKeeping()
	var takers, keepers sync.WaitGroup
	takers.Go(func() { t.claimBuilds(taking) })
	takers.Go(func() { t.promote(taking) })
	takers.Go(func() { t.rescue(taking) })
	takers.Go(func() { t.cleanUp(taking) })
	if t.cfg.AllServices {
		takers.Go(func() { t.serveAll(taking) })
	}
	takers.Go(func() { listen(taking, t.cfg.Store, t.told, t.deaf.Store) })
	keepers.Go(func() { t.keepLease(keeping) })
	keepers.Go(func() { t.obeyStops(keeping) })
	keepers.Go(func() { t.mark(keeping) })
	select {
	case <-ctx.Done():
		t.over = true
	case <-t.cfg.Abort:
		t.over = true
	case <-t.spent:
	case <-t.life.Done():
	}
	quiet := t.whenQuiet()
	stopTaking()
	takers.Wait()
	t.giveBackQueue()
	left := t.await(ctx, quiet)
	stopKeeping()
	keepers.Wait()
	if left {
		return jobcontrol.Errorf(jobcontrol.Interrupted, "worker %d: attempts did not end at once and were left behind", t.lease.Worker)
	}
	t.sendHome()
	return t.unregister(ctx)
}

// end frees what a term holds.
func (t *term) end() {
	t.cancelAll(nil)
	t.endLife(nil)
	t.trust.watchdog.Stop()
}

// reached is that of the pool; everything is looked for when the store has come back.
func (t *term) reached(err error) {
	if t.Pool.reached(err) {
		t.told()
	}
}

// told is called when the store has something to tell.
func (t *term) told() {
	t.asked.Store(true)
	t.changed.Store(true)
	t.hint()
	t.promoting.ring()
	t.stopping.ring()
	t.cleaning.ring()
	t.rescuing.ring()
	t.naming.ring()
}

// await waits for the attempts that are executed. Where the pool is to end they
// have its grace, and are then asked to stop. It tells whether some are left that
// did not end when they had to.
func (t *term) await(ctx context.Context, quiet <-chan struct{}) (left bool) {
	patience := time.NewTimer(t.cfg.Grace)
	defer patience.Stop()
	stop, abort := ctx.Done(), t.cfg.Abort
	var hurry <-chan time.Time
	if !t.over { // another lease takes over: the attempts have all the time
		patience.Stop()
	} else {
		stop = nil
	}
	for {
		select {
		case <-quiet:
			return false
		case <-hurry:
			return true
		case <-stop:
			t.over, stop = true, nil
			patience.Reset(t.cfg.Grace)
		case <-patience.C:
			t.log.Info("attempts are asked to stop: the worker shuts down", "worker", t.lease.Worker)
			t.cancelAll(newShutdown(false))
		case <-abort:
			t.over, abort = true, nil
			t.cancelAll(newShutdown(true))
			if t.cfg.Guardian != nil { // for commands that were asked to stop already
				t.cfg.Guardian.Trust(time.Now())
			}
			hurry = time.After(hurryFor)
		}
	}
}

// unregister ends the worker. What is left of it in the store is queued again by
// that, without being counted as lost: here everything has ended.
func (t *term) unregister(ctx context.Context) error {
	begin, pause := time.Now(), 20*time.Millisecond
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.cfg.TTL)
	defer cancel()
	for {
		err := t.cfg.Store.Unregister(limited, t.lease)
		t.Pool.reached(err)
		t.over = t.over || ctx.Err() != nil
		switch {
		case err == nil || errors.Is(err, jobcontrol.ErrLeaseLost):
			return nil
		case !errors.Is(err, jobcontrol.ErrUnavailable) && limited.Err() == nil:
			return err
		}
		aborted := false
		select {
		case <-time.After(vary(pause)):
			pause = min(2*pause, time.Second)
		case <-limited.Done():
		case <-t.cfg.Abort:
			aborted = true
		}
		if aborted || limited.Err() != nil || t.over && time.Since(begin) > leaveFor {
			t.log.Warn("the worker could not be unregistered: others will find that it is gone", "worker", t.lease.Worker, "error", err)
			return nil
		}
	}
}

// repeat calls do at first after the given time, then after what it returned; or
// when the bell is rung, but not before least has passed; until ctx ends.
func repeat(ctx context.Context, b bell, first, least time.Duration, do func(context.Context) time.Duration) {
	timer := time.NewTimer(first)
	defer timer.Stop()
	begin := time.Now()
	for ; ; timer.Reset(max(do(ctx), 0)) {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			begin = time.Now()
			continue
		case <-b:
		}
		if rest := least - time.Since(begin); rest > 0 {
			timer.Reset(rest)
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
		}
		begin = time.Now()
	}
}
