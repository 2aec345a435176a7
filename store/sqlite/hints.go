package sqlite

import (
	"context"
	"sync"
	"time"
)

// hints tells those who listen that something was written that may concern a
// worker: those of this handle after the commit, those of other processes by the
// number in table sequences, which they look at when the write-ahead log changes.
type hints struct {
	mu     sync.Mutex
	wake   map[int]func() // of those who listen
	next   int
	told   int64              // the last number that was told
	limits map[int64]struct{} // services of which a claim met a limit
}

// tell calls all who listen; number is the one of the write.
func (h *hints) tell(number int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told = max(h.told, number)
	for _, wake := range h.wake {
		wake()
	}
}

// tellOnce is tell, if the number is new.
func (h *hints) tellOnce(number int64) bool {
	h.mu.Lock()
	known := number == h.told
	h.mu.Unlock()
	if !known {
		h.tell(number)
		h.mu.Lock()
		h.told = number // after Uninstall it is a smaller one
		h.mu.Unlock()
	}
	return !known
}

func (h *hints) add(wake func()) (remove func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.wake == nil {
		h.wake = map[int]func(){}
	}
	id := h.next
	h.next++
	h.wake[id] = wake
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.wake, id)
	}
}

// limit remembers that a service has limits, so that the end of a claim concerns others.
func (h *hints) limit(service int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.limits == nil {
		h.limits = map[int64]struct{}{}
	}
	h.limits[service] = struct{}{}
}

func (h *hints) limited(service int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.limits[service]
	return ok
}

const (
	idlePoll  = time.Second            // how often is looked where nothing is known to have happened
	firstPoll = 500 * time.Microsecond // after the log has changed: the commit may still be on its way
)

// Listen calls wake when something was written that may concern a worker; see
// [jobcontrol.Hints]. Writes through this handle are told at once. Those of other
// processes are seen when the log changes, by a look that is repeated at growing
// intervals, since the log changes before a commit can be seen.
func (s *Store) Listen(ctx context.Context, wake func()) error {
	defer s.hints.add(wake)()
	if s.temp != "" {
		<-ctx.Done()
		return nil
	}
	changed, stop := watch(s.path + "-wal")
	defer stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	pause := idlePoll
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			if pause = firstPoll; timer.Stop() {
				timer.Reset(pause)
			}
			continue
		case <-timer.C:
		}
		var number int64
		if err := s.readOne(ctx, func(c *conn) (err error) {
			number, err = c.number(`SELECT hint FROM sequences`)
			return err
		}); err == nil {
			s.hints.tellOnce(number)
		} else if s.closed.Load() {
			return err
		}
		pause = min(2*pause, idlePoll)
		timer.Reset(pause)
	}
}
