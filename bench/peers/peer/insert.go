package peer

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// fill enqueues N jobs, many at once.
func (p *program) fill(ctx context.Context) error {
	begin := time.Now()
	err := p.parallel(func(next func() int64) error {
		for {
			from := next() * int64(p.Chunk)
			if from >= p.N {
				return nil
			}
			jobs := make([]Job, 0, p.Chunk)
			for i := from; i < min(from+int64(p.Chunk), p.N); i++ {
				jobs = append(jobs, p.job(i))
			}
			if err := p.system.InsertMany(ctx, jobs); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return err
	}
	return p.say(Event{Event: "done", Seconds: time.Since(begin).Seconds()})
}

// enqueue enqueues N jobs one at a time: each caller waits for its own.
func (p *program) enqueue(ctx context.Context) error {
	took := make([]float64, p.N)
	begin := time.Now()
	err := p.parallel(func(next func() int64) error {
		for {
			i := next()
			if i >= p.N {
				return nil
			}
			at := time.Now()
			if _, err := p.system.Insert(ctx, p.job(i)); err != nil {
				return err
			}
			took[i] = float64(time.Since(at)) / 1e6
		}
	})
	if err != nil {
		return err
	}
	seconds := time.Since(begin).Seconds()
	return p.say(Event{Event: "done", Seconds: seconds, P50: Quantile(took, 0.5), P99: Quantile(took, 0.99)})
}

// parallel calls f in as many goroutines as there are callers; next counts from 0 over all of them.
func (p *program) parallel(f func(next func() int64) error) error {
	var at atomic.Int64
	next := func() int64 { return at.Add(1) - 1 }
	errs := make([]error, p.Callers)
	var wg sync.WaitGroup
	for c := range p.Callers {
		wg.Go(func() { errs[c] = f(next) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// pace enqueues N jobs at a steady rate, each somewhere in its part of the time.
func (p *program) pace(ctx context.Context) error {
	part := time.Duration(float64(time.Second) / p.Rate)
	errs := make(chan error, p.N)
	begin := time.Now()
	for i := range p.N {
		time.Sleep(time.Until(begin.Add(time.Duration(i)*part + rand.N(part))))
		go func() {
			_, err := p.system.Insert(ctx, p.job(i))
			errs <- err
		}()
	}
	for range p.N {
		if err := <-errs; err != nil {
			return err
		}
	}
	return p.say(Event{Event: "done"})
}

// visible enqueues N jobs, each a while after the one before was seen to be finished.
func (p *program) visible(ctx context.Context) error {
	seen := map[int64]int64{}
	for i := range p.N {
		j := p.job(i)
		id, err := p.system.Insert(ctx, j)
		if err != nil {
			return err
		}
		for final := false; !final; {
			time.Sleep(500 * time.Microsecond)
			if final, err = p.system.Final(ctx, id); err != nil {
				return err
			}
		}
		seen[j.Seq] = time.Now().UnixNano()
		time.Sleep(20*time.Millisecond + rand.N(80*time.Millisecond))
	}
	return p.say(Event{Event: "done", Visible: seen})
}

// shape enqueues N jobs as chains or fans of Size jobs each.
func (p *program) shape(ctx context.Context) error {
	s, ok := p.system.(Shaper)
	if !ok {
		return errors.New("this system has no dependencies")
	}
	begin := time.Now()
	for from := int64(0); from < p.N; from += int64(p.Size) {
		var jobs []Job
		for i := from; i < min(from+int64(p.Size), p.N); i++ {
			jobs = append(jobs, p.job(i))
		}
		if err := s.InsertShape(ctx, p.Shape, jobs); err != nil {
			return err
		}
	}
	return p.say(Event{Event: "done", Seconds: time.Since(begin).Seconds()})
}

// Quantile returns the value below which the part q of the values lies; 0 where there are none.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
