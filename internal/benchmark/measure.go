package benchmark

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/worker"
)

func (b *bench) enqueue(ctx context.Context) (*Report, error) {
	b.Workers = 0
	m := start()
	latencies, err := b.callers(ctx)
	if err != nil {
		return nil, err
	}
	return b.report(m, latencies), nil
}

// callers enqueues all builds and returns how long each call took.
func (b *bench) callers(ctx context.Context) ([]time.Duration, error) {
	var (
		next  atomic.Int64
		group sync.WaitGroup
		mu    sync.Mutex
		fault error
		all   []time.Duration
	)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for range b.Callers {
		group.Go(func() {
			own, err := b.caller(ctx, &next)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, own...)
			if err != nil && fault == nil {
				fault = err
				cancel()
			}
		})
	}
	group.Wait()
	return all, fault
}

// caller enqueues one batch after the other until all are taken.
func (b *bench) caller(ctx context.Context, next *atomic.Int64) (latencies []time.Duration, err error) {
	for {
		first := int(next.Add(int64(b.Batch))) - b.Batch
		n := min(b.Batch, b.Jobs-first)
		if n <= 0 {
			return latencies, nil
		}
		begin := time.Now()
		if b.Batch == 1 {
			_, err = b.noop.Enqueue(ctx, b.client, input{At: begin.UnixNano(), Data: b.data}, jobcontrol.EnqueueOptions{Job: b.job})
		} else {
			many := make([]jobcontrol.Enqueued, n)
			for i := range many {
				if many[i], err = b.build(); err != nil {
					return nil, err
				}
			}
			_, err = b.client.EnqueueMany(ctx, b.job, many)
		}
		if err != nil {
			return nil, err
		}
		latencies = append(latencies, time.Since(begin))
	}
}

func (b *bench) drain(ctx context.Context) (r *Report, err error) {
	b.Callers, b.Batch = 0, 0
	if err := b.fill(ctx, b.job, b.Jobs); err != nil {
		return nil, err
	}
	m := start()
	err = b.withPool(ctx, b.Workers, func(p *worker.Pool) error {
		if err := executed(ctx, p, b.Jobs); err != nil {
			return err
		}
		r = b.report(m, nil)
		return nil
	})
	return r, err
}

func (b *bench) mixed(ctx context.Context) (r *Report, err error) {
	after, err := b.newest(ctx)
	if err != nil {
		return nil, err
	}
	err = b.withPool(ctx, b.Workers, func(p *worker.Pool) error {
		m := start()
		if _, err := b.callers(ctx); err != nil {
			return err
		}
		if err := executed(ctx, p, b.Jobs); err != nil {
			return err
		}
		r = b.report(m, nil)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r, b.addWaited(ctx, r, after)
}

func (b *bench) latency(ctx context.Context) (r *Report, err error) {
	b.Callers, b.Batch = 1, 1
	after, err := b.newest(ctx)
	if err != nil {
		return nil, err
	}
	if b.Remote == nil {
		err = b.withPool(ctx, b.Workers, func(*worker.Pool) error {
			r, err = b.steadily(ctx)
			return err
		})
	} else {
		stop, startErr := b.Remote(ctx, b.project, b.Workers)
		if startErr != nil {
			return nil, startErr
		}
		r, err = b.steadily(ctx)
		if stopErr := stop(); err == nil {
			err = stopErr
		}
	}
	if err != nil {
		return nil, err
	}
	return r, b.addWaited(ctx, r, after)
}

// steadily enqueues Rate builds a second and waits for the last one.
func (b *bench) steadily(ctx context.Context) (*Report, error) {
	tick := time.NewTicker(time.Duration(float64(time.Second) / b.Rate))
	defer tick.Stop()
	m := start()
	last := int64(0)
	for range b.Jobs {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
		var err error
		last, err = b.noop.Enqueue(ctx, b.client, input{At: time.Now().UnixNano(), Data: b.data}, jobcontrol.EnqueueOptions{Job: b.job})
		if err != nil {
			return nil, err
		}
	}
	if _, err := b.client.Wait(ctx, last); err != nil {
		return nil, err
	}
	return b.report(m, nil), nil
}

// newest is the latest build of the project, 0: there is none.
func (b *bench) newest(ctx context.Context) (int64, error) {
	builds, err := b.client.Builds(ctx, jobcontrol.BuildFilter{Project: b.project, Limit: 1, Brief: true})
	if err != nil || len(builds) == 0 {
		return 0, err
	}
	return builds[0].ID, nil
}

// addWaited adds the times from enqueueing to start, as the builds returned them.
func (b *bench) addWaited(ctx context.Context, r *Report, after int64) error {
	builds, err := b.client.Builds(ctx, jobcontrol.BuildFilter{
		Project: b.project, Job: b.job.ID, States: []jobcontrol.State{jobcontrol.Successful}, Limit: b.Jobs,
	})
	if err != nil {
		return err
	}
	var latencies []time.Duration
	for i := range builds {
		var out output
		if builds[i].ID <= after {
			continue
		}
		if err := json.Unmarshal(builds[i].Result, &out); err != nil {
			return err
		}
		latencies = append(latencies, time.Duration(out.Waited))
	}
	r.latencies(latencies)
	return nil
}
