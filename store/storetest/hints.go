package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// Another is what a store that the suite opens may have: a second value on the
// same database, as another process has one. The suite closes it.
type Another interface {
	Another(t *testing.T) jobcontrol.Store
}

// deadline is how long an event may take that is sure to come.
const deadline = 20 * time.Second

// listen listens on a store and returns a function that waits for a hint;
// nil: the store cannot tell.
func (w *world) listen(s jobcontrol.Store, poke func()) (await func(what string)) {
	w.Helper()
	ctx, cancel := context.WithCancel(w.ctx)
	hints := make(chan struct{}, 1)
	done := make(chan error, 1)
	go func() {
		done <- s.Listen(ctx, func() {
			select {
			case hints <- struct{}{}:
			default:
			}
		})
	}()
	w.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if ctx.Err() == nil && err != nil {
				w.Errorf("Listen: %v", err)
			}
		case <-time.After(deadline):
			w.Error("Listen does not return")
		}
	})
	// It listens as soon as it has heard something.
	end := time.After(deadline)
	for heard := false; !heard; {
		poke()
		select {
		case <-hints:
			heard = true
		case err := <-done:
			w.ok(err)
			done <- nil
			return nil
		case <-end:
			w.Fatal("no hint has come")
		case <-time.After(10 * time.Millisecond): // poke again
		}
	}
	return func(what string) {
		w.Helper()
		select {
		case <-hints:
		case <-time.After(deadline):
			w.Fatalf("no hint after %s", what)
		}
	}
}

// testListen: who listens is told when something becomes ready, is to stop, or
// when a worker comes or goes.
func testListen(w *world) {
	stores := map[string]jobcontrol.Store{"the same": w.s}
	if a, ok := w.s.(Another); ok {
		s := a.Another(w.T)
		w.Cleanup(func() { w.ok(s.Close()) })
		stores["another"] = s
	}
	for name, s := range stores {
		await := w.listen(s, func() { w.drop(w.free("poke")) })
		if await == nil {
			w.Logf("%s store value does not tell", name)
			continue
		}
		l := w.register(7)
		await(name + ": Register")
		m := w.free("a", "b<a", "c")
		await(name + ": CreateRun")
		got := w.takes(w.l, "a c")
		mustFinish(w, got.claim("a"), ended(jobcontrol.Successful, 1))
		await(name + ": Finish that releases")
		_, err := w.s.Steer(w.ctx, m.id("c"), jobcontrol.ToCancel)
		w.ok(err)
		await(name + ": Steer")
		b := w.takes(w.l, "b")
		_, err = w.s.RequestCancel(w.ctx, m.ID)
		w.ok(err)
		await(name + ": RequestCancel")
		w.ok(w.s.Cancel(w.ctx, []jobcontrol.Claim{got.claim("c"), b.claim("b")}, "stopped"))
		_, err = w.s.CreateRuns(w.ctx, []jobcontrol.NewRun{w.detached("x"), w.detached("x")})
		w.ok(err)
		await(name + ": CreateRuns")
		x := w.takes(l, "x x")
		_, err = w.s.Retry(w.ctx, x.builds[0].Claim, ended(jobcontrol.Failed, 1))
		w.ok(err)
		await(name + ": Retry")
		w.ok(w.s.GiveBack(w.ctx, []jobcontrol.Claim{x.builds[1].Claim}))
		await(name + ": GiveBack")
		w.ok(w.s.Unregister(w.ctx, l))
		await(name + ": Unregister")
		w.hide()
	}
}
