package worker

import (
	"context"
	"slices"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

const (
	lookEvery   = 500 * time.Millisecond // at the processes of other workers on this host
	refreshFor  = 2 * time.Second        // knowledge of the workers is used so long when something is told
	rescueAfter = 200 * time.Millisecond // after a lease has ended
	endLeftFor  = 2 * time.Second        // is what a dead process left behind waited for to end
)

// rescuer is the duty that looks after other workers. One goroutine owns it.
type rescuer struct {
	*term
	workers []jobcontrol.Worker // of others, that are not gone
	read    time.Time           // when they were read; zero: never
	failed  bool                // the last rescue
}

// rescue looks whether other workers live, until ctx ends: at the processes that
// it can see twice a second, without asking the store, and at the leases of all
// when one of them should have ended.
func (t *term) rescue(ctx context.Context) {
	r := &rescuer{term: t}
	repeat(ctx, t.rescuing, 0, lookEvery, r.look)
}

// look looks once and says when to do so again.
func (r *rescuer) look(ctx context.Context) time.Duration {
	if r.stale() && !r.refresh(ctx) {
		return vary(time.Second)
	}
	now := r.now()
	gone, ended := false, false
	for i := range r.workers {
		w := &r.workers[i]
		alive, known := r.cfg.Alive(w.Process)
		gone = gone || known && !alive
		ended = ended || now.After(w.LeaseUntil.Add(rescueAfter))
	}
	if ended && !gone { // it may have been renewed since
		if !r.refresh(ctx) {
			return vary(time.Second)
		}
		ended = false
		for i := range r.workers {
			ended = ended || r.now().After(r.workers[i].LeaseUntil)
		}
	}
	if gone || ended || r.failed {
		r.takeAway(ctx)
	}
	return lookEvery
}

// stale tells whether the workers are to be read again.
func (r *rescuer) stale() bool {
	age := time.Since(r.read)
	return r.read.IsZero() || age >= r.cfg.TTL/2 || age >= refreshFor && r.changed.Swap(false)
}

// refresh reads the workers.
func (r *rescuer) refresh(ctx context.Context) bool {
	all, err := r.cfg.Store.Workers(ctx)
	if ctx.Err() != nil {
		return false
	}
	r.heard("look for other workers", err)
	if err != nil {
		return false
	}
	r.workers, r.read = r.workers[:0], time.Now()
	for _, w := range all {
		if w.ID != r.lease.Worker {
			r.workers = append(r.workers, w)
		}
	}
	return true
}

// dead tells whether the process of a worker has died and nothing of it is left
// that could go on executing its builds. What is left is ended before.
func (r *rescuer) dead(ctx context.Context, p jobcontrol.Process) bool {
	if alive, known := r.cfg.Alive(p); alive || !known {
		return false
	}
	if r.cfg.EndLeft == nil || p.BootID != r.cfg.Process.BootID {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, endLeftFor)
	defer cancel()
	err := r.cfg.EndLeft(ctx, p)
	if err != nil && ctx.Err() != context.Canceled {
		r.log.Warn("what a dead worker left behind does not end: its builds stay its own until its lease ends", "process", p.PID, "error", err)
	}
	return err == nil
}

// takeAway takes the leases of dead workers away. One whose process lives and
// that did not renew its lease is dead, too: it has ended its attempts itself, or
// is stopped, and then its guardian has. So of a process that lives, or of which
// something is left, its lease decides.
func (r *rescuer) takeAway(ctx context.Context) {
	if r.at("worker.rescue.before") != nil {
		return
	}
	found, err := r.cfg.Store.Rescue(ctx, func(p jobcontrol.Process) (alive, known bool) {
		return false, r.dead(ctx, p)
	})
	if err == nil {
		err = r.at("worker.rescue.after")
	}
	r.failed = err != nil
	if ctx.Err() != nil {
		return
	}
	r.reached(err)
	if err != nil {
		r.log.Warn("dead workers could not be taken away", "error", err)
		return
	}
	for _, i := range found {
		r.log.Warn("a run was interrupted: its program is gone", "run", i.Run, "process", i.Worker.Process.PID, "host", i.Worker.Process.Host)
	}
	before := slices.Clone(r.workers)
	if !r.refresh(ctx) {
		return
	}
	for _, w := range before {
		if !slices.ContainsFunc(r.workers, func(o jobcontrol.Worker) bool { return o.ID == w.ID }) {
			r.stats.rescues.Add(1)
			r.log.Warn("a worker is gone: what it had is queued again", "worker", w.ID, "process", w.Process.PID, "host", w.Process.Host)
		}
	}
	r.hint()
	r.cleaning.ring()
}
