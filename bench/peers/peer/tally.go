package peer

import (
	"sync/atomic"
	"time"
)

// few is how many jobs there are at most for the start of each to be kept.
const few = 20_000

// tally counts executions. It may be used from many goroutines.
type tally struct {
	first    int64
	times    []atomic.Uint32 // how often each job was executed
	started  []atomic.Int64  // when; nil: too many jobs
	latency  []atomic.Int64
	executed atomic.Int64
	distinct atomic.Int64
	strange  atomic.Int64 // jobs with numbers that were not expected
	want     int64        // 0: no end
	all      chan struct{}
}

func newTally(first, n, want int64) *tally {
	t := &tally{first: first, times: make([]atomic.Uint32, n), want: want, all: make(chan struct{})}
	if n <= few {
		t.started = make([]atomic.Int64, n)
		t.latency = make([]atomic.Int64, n)
	}
	return t
}

// handle is what all programs execute as their job.
func (t *tally) handle(j Job) {
	i := j.First + j.Seq - t.first
	if i < 0 || i >= int64(len(t.times)) {
		t.strange.Add(1)
		return
	}
	if t.started != nil {
		now := time.Now().UnixNano()
		t.started[i].Store(now)
		t.latency[i].Store(now - j.Sent)
	}
	if t.times[i].Add(1) == 1 && t.distinct.Add(1) == t.want {
		close(t.all)
	}
	t.executed.Add(1)
}

// event returns the tally as it is.
func (t *tally) event(name string, each bool) Event {
	e := Event{
		Event: name, At: time.Now().UnixNano(),
		Executed: t.executed.Load() + t.strange.Load(), Distinct: t.distinct.Load(),
	}
	if !each || t.started == nil {
		return e
	}
	for i := range t.started {
		e.Started = append(e.Started, t.started[i].Load())
		e.Latency = append(e.Latency, float64(t.latency[i].Load())/1e6)
	}
	return e
}
