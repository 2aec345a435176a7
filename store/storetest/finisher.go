package storetest

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/jobcontrol/jobcontrol"
)

// testFinishThen: what holds for Finish holds for FinishThen, of a store that has it.
func testFinishThen(w *world) {
	if _, ok := w.s.(jobcontrol.Finisher); !ok {
		w.Skip("the store is no Finisher")
	}
	for name, test := range map[string]func(*world){
		"Stores": testFinishStores, "Releases": testFinishReleases, "Blocks": testFinishBlocks, "Skipped": testFinishSkipped,
		"Suspended": testFinishSuspended, "Held": testFinishHeld, "Repeated": testFinishRepeated, "ResultOf": testResultOf,
		"Fence": testFence, "ForeignClaims": testForeignClaims, "DetachedEnds": testDetachedEnds, "Concurrency": testConcurrency, "Context": testContext,
	} {
		w.Run(name, func(t *testing.T) {
			x := newWorld(t, w.open)
			x.s = byThen(t, x.s)
			test(x)
		})
	}
}

// thenStore is a store that ends builds by FinishThen.
type thenStore struct {
	jobcontrol.Store
	t *testing.T
}

// byThen returns a store whose Finish is the FinishThen of s.
func byThen(t *testing.T, s jobcontrol.Store) jobcontrol.Store { return &thenStore{s, t} }

// Finish waits for the answer of FinishThen, which must come just once.
func (s *thenStore) Finish(ctx context.Context, c jobcontrol.Claim, e jobcontrol.Ended) (r *jobcontrol.Released, err error) {
	answered := make(chan struct{})
	var answers atomic.Int32
	s.Store.(jobcontrol.Finisher).FinishThen(ctx, c, &e, func(released *jobcontrol.Released, failed error) {
		if answers.Add(1) > 1 {
			s.t.Errorf("build %d: the end of attempt %d was answered twice", c.Build, e.Attempt.Number)
			return
		}
		r, err = released, failed
		close(answered)
	})
	<-answered
	return r, err
}
