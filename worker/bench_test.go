package worker_test

import (
	"context"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
	"github.com/jobcontrol/jobcontrol/worker"
)

// nothing is a store that has builds without end and stores nothing: what a pool
// takes beside its store.
type nothing struct {
	jobcontrol.Store
	job  *jobcontrol.Job
	hash string

	mu   sync.Mutex
	next int64
	left int64
	done sync.WaitGroup
}

func (s *nothing) Now(context.Context) (time.Time, error) { return time.Now(), nil }
func (s *nothing) Register(context.Context, jobcontrol.Process, time.Duration) (jobcontrol.Lease, error) {
	return jobcontrol.Lease{Worker: 1, Epoch: 1}, nil
}
func (s *nothing) Renew(context.Context, jobcontrol.Lease, time.Duration) error { return nil }
func (s *nothing) Unregister(context.Context, jobcontrol.Lease) error           { return nil }
func (s *nothing) Workers(context.Context) ([]jobcontrol.Worker, error)         { return nil, nil }
func (s *nothing) Start(context.Context, []jobcontrol.Claim, []time.Time) error { return nil }
func (s *nothing) Listen(ctx context.Context, _ func()) error                   { <-ctx.Done(); return nil }

func (s *nothing) Promote(context.Context, int) (int, time.Time, error) { return 0, time.Time{}, nil }

func (s *nothing) Definition(context.Context, string) (*jobcontrol.Job, error) { return s.job, nil }

func (s *nothing) StopRequests(context.Context, jobcontrol.Lease) ([]jobcontrol.StopRequest, error) {
	return nil, nil
}

func (s *nothing) GiveBack(_ context.Context, claims []jobcontrol.Claim) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left += int64(len(claims))
	return nil
}

func (s *nothing) ClaimCleanup(context.Context, jobcontrol.Lease, jobcontrol.Wanted) (*jobcontrol.Build, error) {
	return nil, nil
}

func (s *nothing) Claim(_ context.Context, _ jobcontrol.Lease, w jobcontrol.Wanted) (*jobcontrol.Claimed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(int64(w.N), s.left)
	s.left -= n
	out := &jobcontrol.Claimed{Builds: make([]jobcontrol.Build, n), More: s.left > 0}
	for i := range out.Builds {
		s.next++
		out.Builds[i] = jobcontrol.Build{
			ID: s.next, Run: s.next, Job: s.job.ID, Definition: s.hash, State: jobcontrol.Queued, Tries: 1,
			Kwargs: []byte(`{"n":7}`), Claim: jobcontrol.Claim{Build: s.next, Worker: 1, Epoch: 1, Number: s.next},
		}
	}
	return out, nil
}

func (s *nothing) Finish(context.Context, jobcontrol.Claim, jobcontrol.Ended) (*jobcontrol.Released, error) {
	s.done.Done()
	return &jobcontrol.Released{}, nil
}

type number struct {
	N int `json:"n"`
}

// BenchmarkPool is what an attempt takes beside the store.
func BenchmarkPool(b *testing.B) {
	reg := jobcontrol.NewRegistry()
	f := jobcontrol.Handle(reg, "f", func(_ context.Context, in number) (number, error) { return in, nil })
	job := &jobcontrol.Job{ID: "f", Run: f.Task()}
	_, hash, err := job.Definition()
	if err != nil {
		b.Fatal(err)
	}
	store := &nothing{job: job, hash: hash, left: int64(b.N)}
	store.done.Add(b.N)
	p := worker.NewPool(worker.PoolConfig{
		Store: store, Executor: executor.New(executor.Config{Registry: reg}), Parallel: 1000, Grace: -1, Log: quiet,
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	b.ResetTimer()
	before := processorTime()
	go func() { ended <- p.Run(ctx) }()
	store.done.Wait()
	b.ReportMetric(float64((processorTime()-before).Nanoseconds())/float64(b.N)/1000, "cpu-µs/op")
	b.StopTimer()
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}

// processorTime is what this process has used of the processors.
func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkDrain is a pool of 1,000 slots that executes what waits in a store,
// with results, of functions that do nothing. The processor time is that of this
// process: with SQLite it has the store in it.
func BenchmarkDrain(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) { drain(b, openStore(b)) })
	b.Run("postgres", func(b *testing.B) { drain(b, openPostgres(b)) })
}

func drain(b *testing.B, store jobcontrol.Store) {
	h := build(b, store, 2, nil)
	f := jobcontrol.Handle(h.reg, "f", func(_ context.Context, in number) (number, error) { return in, nil })
	ctx := context.Background()
	job := &jobcontrol.Job{ID: "f", Run: f.Task()}
	for left := b.N; left > 0; left -= min(left, 10_000) {
		if _, err := h.EnqueueMany(ctx, job, slices.Repeat([]jobcontrol.Enqueued{{Kwargs: []byte(`{"n":7}`)}}, min(left, 10_000))); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	before := processorTime()
	p := h.pool(b, func(c *worker.PoolConfig) { c.Parallel = 1000 })
	until(b, "all are done", func() bool { return p.Stats().Finished == int64(b.N) })
	b.ReportMetric(float64((processorTime()-before).Nanoseconds())/float64(b.N)/1000, "cpu-µs/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "builds/s")
	b.StopTimer()
}
