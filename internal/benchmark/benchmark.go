package benchmark

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
	"github.com/jobcontrol/jobcontrol/worker"
)

// Names are the measurements that there are.
var Names = []string{"enqueue", "drain", "mixed", "latency"}

// Measurement says what is measured. Store and Name are required.
type Measurement struct {
	Name      string
	Store     jobcontrol.Store
	StoreName string // what the report calls it

	Jobs    int     // builds that are measured; 0: 10,000, for latency 500
	Workers int     // slots of the pool; 0: 100, for latency 4
	Callers int     // goroutines that enqueue; 0: 16
	Batch   int     // builds in a call of EnqueueMany; 0: 1, by Enqueue
	Rate    float64 // of latency, builds a second; 0: 50
	Payload int     // bytes of each build's argument
	History int     // builds that were executed before
	Waiting int     // builds that are queued for a service that nobody serves

	// Remote starts a worker in another process: [Serve] with the project of the
	// measurement and its slots. It returns when that is ready, with what ends it.
	// Nil: this process executes the builds. Only latency uses it.
	Remote func(ctx context.Context, project string, workers int) (stop func() error, err error)
}

// Report is what was measured. It is a contract: fields are added only.
type Report struct {
	Name      string   `json:"name"`
	Store     string   `json:"store"`
	Jobs      int      `json:"jobs"`
	Workers   int      `json:"workers"` // slots; 0: no pool was used
	Callers   int      `json:"callers"` // that enqueued while it was measured; 0: none
	Batch     int      `json:"batch"`
	Payload   int      `json:"payload"`
	History   int      `json:"history"`
	Waiting   int      `json:"waiting"`
	Seconds   float64  `json:"seconds"`
	PerSecond float64  `json:"per_second"`
	P50       *float64 `json:"p50_us"` // null: no latency was measured
	P99       *float64 `json:"p99_us"`
	CPU       float64  `json:"cpu_client_us_per_job"` // of this process, user and system
}

// function is what every build of a measurement calls.
const function = "bench:noop"

// input is what a build is given, and output what it returns.
type (
	input struct {
		At   int64  `json:"at"` // when it was enqueued, ns
		Data string `json:"data,omitempty"`
	}
	output struct {
		Waited int64 `json:"waited"` // from then to its start, ns
	}
)

// bench is a measurement that is under way.
type bench struct {
	Measurement
	project string
	client  *worker.Client
	noop    *jobcontrol.Function[input, output]
	job     *jobcontrol.Job
	data    string
}

// Run measures.
func Run(ctx context.Context, m Measurement) (*Report, error) {
	measure := map[string]func(*bench, context.Context) (*Report, error){
		"enqueue": (*bench).enqueue, "drain": (*bench).drain, "mixed": (*bench).mixed, "latency": (*bench).latency,
	}[m.Name]
	if measure == nil {
		return nil, jobcontrol.Errorf(jobcontrol.Invalid, "there is no measurement %q: use %s", m.Name, strings.Join(Names, ", "))
	}
	jobs, workers := 10_000, 100
	if m.Name == "latency" {
		jobs, workers = 500, 4
	}
	m.Jobs, m.Workers = cmp.Or(m.Jobs, jobs), cmp.Or(m.Workers, workers)
	m.Callers, m.Batch, m.Rate = cmp.Or(m.Callers, 16), cmp.Or(m.Batch, 1), cmp.Or(m.Rate, 50)
	b := &bench{Measurement: m, project: "bench-" + strings.ToLower(rand.Text()[:10]), data: strings.Repeat("x", m.Payload)}
	reg, noop := registry()
	b.noop, b.job = noop, &jobcontrol.Job{ID: function, Run: &jobcontrol.Task{Function: function}}
	jobsOf, err := jobcontrol.NewJobs(nil)
	if err != nil {
		return nil, err
	}
	x := executor.New(executor.Config{Registry: reg})
	defer x.Close()
	b.client = worker.NewClient(worker.Config{Store: m.Store, Jobs: jobsOf, Executor: x, Registry: reg, Project: b.project})
	if err := b.prepare(ctx); err != nil {
		return nil, fmt.Errorf("bench %s: prepare: %w", m.Name, err)
	}
	r, err := measure(b, ctx)
	if err != nil {
		return nil, fmt.Errorf("bench %s: %w", m.Name, err)
	}
	return r, nil
}

// Serve executes the builds of a project's measurement until ctx ends. ready is
// called when it does.
func Serve(ctx context.Context, s jobcontrol.Store, project string, workers int, ready func()) error {
	p, free := newPool(s, project, workers)
	defer free()
	go func() {
		select {
		case <-p.Ready():
			ready()
		case <-ctx.Done():
		}
	}()
	return p.Run(ctx)
}

func registry() (*jobcontrol.Registry, *jobcontrol.Function[input, output]) {
	reg := jobcontrol.NewRegistry()
	return reg, jobcontrol.Handle(reg, function, func(_ context.Context, in input) (output, error) {
		return output{time.Now().UnixNano() - in.At}, nil
	})
}

func newPool(s jobcontrol.Store, project string, workers int) (p *worker.Pool, free func()) {
	reg, _ := registry()
	x := executor.New(executor.Config{Registry: reg})
	return worker.NewPool(worker.PoolConfig{
		Store: s, Executor: x, Project: project, Parallel: workers, Log: slog.New(slog.DiscardHandler),
	}), x.Close
}

// prepare makes the history and what waits.
func (b *bench) prepare(ctx context.Context) error {
	if b.Waiting > 0 {
		j := *b.job
		j.Service = "nobody"
		if err := b.fill(ctx, &j, b.Waiting); err != nil {
			return err
		}
	}
	if b.History == 0 {
		return nil
	}
	const most = 100_000 // queued at a time
	return b.withPool(ctx, 256, func(p *worker.Pool) error {
		for done := 0; done < b.History; {
			n := min(most, b.History-done)
			if err := b.fill(ctx, b.job, n); err != nil {
				return err
			}
			done += n
			if err := executed(ctx, p, done); err != nil {
				return err
			}
		}
		return nil
	})
}

// fill enqueues n builds as fast as it goes.
func (b *bench) fill(ctx context.Context, j *jobcontrol.Job, n int) error {
	const batch = 1000
	for n > 0 {
		many := make([]jobcontrol.Enqueued, min(batch, n))
		for i := range many {
			e, err := b.build()
			if err != nil {
				return err
			}
			many[i] = e
		}
		if _, err := b.client.EnqueueMany(ctx, j, many); err != nil {
			return err
		}
		n -= len(many)
	}
	return nil
}

// build is a build to enqueue now.
func (b *bench) build() (jobcontrol.Enqueued, error) {
	kwargs, err := jobcontrol.EncodeArguments(map[string]any{"at": time.Now().UnixNano(), "data": b.data})
	return jobcontrol.Enqueued{Args: jobcontrol.EncodedArguments("[]"), Kwargs: kwargs}, err
}

// withPool calls f while a pool executes builds.
func (b *bench) withPool(ctx context.Context, workers int, f func(*worker.Pool) error) error {
	p, free := newPool(b.Store, b.project, workers)
	defer free()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	select {
	case <-p.Ready():
	case err := <-ended:
		return err
	}
	err := f(p)
	cancel()
	if runErr := <-ended; err == nil {
		err = runErr
	}
	return err
}

// executed waits until a pool has ended n builds.
func executed(ctx context.Context, p *worker.Pool, n int) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		s := p.Stats()
		switch {
		case s.Failed > 0 || s.LostLeases > 0:
			return fmt.Errorf("%d builds failed, %d leases were lost", s.Failed, s.LostLeases)
		case s.Finished >= int64(n):
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// meter measures time and CPU.
type meter struct {
	begin time.Time
	cpu   time.Duration
}

func start() meter { return meter{time.Now(), cpuTime()} }

// report ends the measuring.
func (b *bench) report(m meter, latencies []time.Duration) *Report {
	took, cpu := time.Since(m.begin), cpuTime()-m.cpu
	r := &Report{
		Name: b.Name, Store: b.StoreName, Jobs: b.Jobs, Workers: b.Workers, Callers: b.Callers, Batch: b.Batch,
		Payload: b.Payload, History: b.History, Waiting: b.Waiting,
		Seconds: took.Seconds(), PerSecond: float64(b.Jobs) / took.Seconds(), CPU: float64(cpu.Microseconds()) / float64(b.Jobs),
	}
	r.latencies(latencies)
	return r
}

func (r *Report) latencies(l []time.Duration) {
	if len(l) == 0 {
		return
	}
	slices.Sort(l)
	at := func(share float64) *float64 {
		us := float64(l[min(int(share*float64(len(l))), len(l)-1)].Nanoseconds()) / 1000
		return &us
	}
	r.P50, r.P99 = at(0.5), at(0.99)
}
