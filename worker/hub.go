package worker

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

const (
	// pollFirst is how soon the store is asked again after something happened …
	pollFirst = 20 * time.Millisecond
	// … and each further time half as often, down to this where the store tells
	// what happens, and to this where it cannot.
	pollTold = 5 * time.Second
	pollDeaf = 500 * time.Millisecond
)

// bell wakes one goroutine; it may be rung at any time, and rings of which
// nobody took notice are one.
type bell chan struct{}

func newBell() bell { return make(bell, 1) }

func (b bell) ring() {
	select {
	case b <- struct{}{}:
	default:
	}
}

// vary is d, by up to a tenth more or less: so that many do not ask at once.
func vary(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()-0.5)*float64(d)/5)
}

// poll says when to look next where nothing is told, or what is told may get lost:
// soon, and each time half as often. The zero value looks soon.
type poll struct{ last time.Duration }

func (p *poll) soon() { p.last = 0 }

// next is at least first and at most limit.
func (p *poll) next(first, limit time.Duration) time.Duration {
	p.last = min(max(2*p.last, first), limit)
	return vary(p.last)
}

// hub tells all who wait for something in a store, with one listener for them
// all, which ends when nobody waits. The zero value is ready.
type hub struct {
	mu     sync.Mutex
	bells  map[bell]bool
	cancel context.CancelFunc // ends the listener; nil: there is none
	ended  chan struct{}
}

// listen has a bell rung when the store tells something. The function that it
// returns ends this, and returns after the listener has ended if it was the last one.
func (h *hub) listen(store jobcontrol.Hints) (b bell, leave func()) {
	b = newBell()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.bells == nil {
		h.bells = map[bell]bool{}
	}
	h.bells[b] = true
	if h.cancel == nil {
		ctx, cancel := context.WithCancel(context.Background())
		h.cancel, h.ended = cancel, make(chan struct{})
		go h.run(ctx, store, h.ended)
	}
	return b, func() { h.leave(b) }
}

func (h *hub) leave(b bell) {
	h.mu.Lock()
	delete(h.bells, b)
	if len(h.bells) > 0 || h.cancel == nil {
		h.mu.Unlock()
		return
	}
	h.cancel()
	ended := h.ended
	h.cancel = nil
	h.mu.Unlock()
	<-ended
}

func (h *hub) run(ctx context.Context, store jobcontrol.Hints, ended chan struct{}) {
	defer close(ended)
	listen(ctx, store, h.ringAll, func(bool) {})
}

func (h *hub) ringAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for b := range h.bells {
		b.ring()
	}
}

// listen calls wake when the store tells something, until ctx ends. It says when
// the store cannot tell, or cannot at present, and when it can again. What
// happened while it could not was not told, so it wakes once afterwards.
func listen(ctx context.Context, store jobcontrol.Hints, wake func(), deaf func(bool)) {
	pause := pollDeaf
	for {
		deaf(false)
		wake()
		begin := time.Now()
		err := store.Listen(ctx, wake)
		if ctx.Err() != nil {
			return
		}
		deaf(true)
		if err == nil {
			return
		}
		if time.Since(begin) > time.Minute {
			pause = pollDeaf
		}
		select {
		case <-time.After(vary(pause)):
			pause = min(2*pause, 15*time.Second)
		case <-ctx.Done():
			return
		}
	}
}
