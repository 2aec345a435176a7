package worker

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// PoolConfig says what a [Pool] works with. Store and Executor are required; the
// zero value of everything else is the default.
type PoolConfig struct {
	Store    jobcontrol.Store
	Executor jobcontrol.Executor
	// Secret reads a secret; nil: there are none.
	Secret func(ctx context.Context, name string) (string, error)

	Project  string
	Services []string // whose builds are executed; nil: [jobcontrol.DefaultService]
	// AllServices has the pool execute the builds of every other service of the
	// project, too, also of those that come into being later.
	AllServices bool
	Parallel    int // attempts that execute at a time; 0: the number of cores

	// TTL is how long the lease holds without being renewed; 0: 15 s. It is
	// renewed three times as often, and given up an eighth before it ends.
	TTL time.Duration
	// Grace is how long attempts may go on when the pool shuts down, before they
	// are asked to stop and have their job's own grace; 0: 10 s, < 0: none.
	Grace time.Duration
	// Abort ends the pool at once when it is closed: attempts are killed, and
	// their builds given back. Nil: never.
	Abort <-chan struct{}

	// Guardian is told until when the commands of this process may go on; may be
	// nil. Pools of one process do not share one.
	Guardian interface{ Trust(until time.Time) }
	// Process is what other workers look for to see whether this one lives; the
	// zero value: [Self].
	Process jobcontrol.Process
	// Alive tells whether the process of another worker lives; nil: [Alive].
	Alive func(jobcontrol.Process) (alive, known bool)
	// EndLeft ends what a process of this machine that has died left behind, before
	// its builds are given to others, as EndLeft of package executor does; nil: its
	// guardian alone does.
	EndLeft func(ctx context.Context, p jobcontrol.Process) error
	// Log takes what a person should know; nil: slog's default logger.
	Log *slog.Logger
}

// Pool executes builds of detached Runs: those of some services of a project.
// It is one worker of the store: it registers, keeps its lease, and looks after
// what its neighbours leave behind. See the package documentation.
type Pool struct {
	cfg    PoolConfig
	log    *slog.Logger
	stats  counters
	defs   definitions
	serves atomic.Pointer[[]string] // the services; never written after it is stored
	deaf   atomic.Bool              // the store cannot tell what happens
	away   atomic.Bool              // the store could not be reached when it was last asked
	ready  chan struct{}
	once   sync.Once
}

// Stats are the counters of a pool since its start.
type Stats struct {
	Claimed    int64         // builds
	Started    int64         // attempts
	Finished   int64         // builds that ended here, in whatever final state
	Failed     int64         // of them, failed
	Retried    int64         // attempts that will be followed by another
	GivenBack  int64         // builds
	Refused    int64         // writes that came too late: the claim was no longer held
	LostLeases int64         //
	Rescues    int64         // workers of which something was found to be gone
	Queued     time.Duration // sum, over started attempts, of the time from when they were due
	Executed   time.Duration // sum of the time that attempts took, without storing their ends
}

type counters struct {
	claimed, started, finished, failed, retried, givenBack, refused, lostLeases, rescues, queued, executed atomic.Int64
}

// NewPool returns a pool, which does nothing yet.
func NewPool(cfg PoolConfig) *Pool {
	if cfg.Parallel <= 0 {
		cfg.Parallel = runtime.GOMAXPROCS(0)
	}
	if len(cfg.Services) == 0 {
		cfg.Services = []string{jobcontrol.DefaultService}
	}
	if cfg.TTL <= 0 {
		cfg.TTL = leaseTTL
	}
	switch {
	case cfg.Grace == 0:
		cfg.Grace = 10 * time.Second
	case cfg.Grace < 0:
		cfg.Grace = 0
	}
	if cfg.Process == (jobcontrol.Process{}) {
		cfg.Process = Self()
	}
	if cfg.Alive == nil {
		cfg.Alive = Alive
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	p := &Pool{cfg: cfg, log: cfg.Log, ready: make(chan struct{})}
	p.serves.Store(&cfg.Services)
	return p
}

// Stats returns the counters as they are now.
func (p *Pool) Stats() Stats {
	c := &p.stats
	return Stats{
		Claimed: c.claimed.Load(), Started: c.started.Load(), Finished: c.finished.Load(), Failed: c.failed.Load(),
		Retried: c.retried.Load(), GivenBack: c.givenBack.Load(), Refused: c.refused.Load(), LostLeases: c.lostLeases.Load(),
		Rescues: c.rescues.Load(), Queued: time.Duration(c.queued.Load()), Executed: time.Duration(c.executed.Load()),
	}
}

// Ready is closed when the pool has its first lease.
func (p *Pool) Ready() <-chan struct{} { return p.ready }

// Run executes builds until ctx ends and everything that was begun has ended:
// then nothing new is claimed, what was not started is given back, attempts have
// the pool's grace to end, are then asked to stop, and their builds are given
// back without using a try. It is called once.
//
// It returns an error where the store refuses the pool, or cannot be reached at
// its start; later the store may be away for any time, unless its error has a
// method Final() bool that returns true: then it has to be opened anew.
func (p *Pool) Run(ctx context.Context) error {
	// Never touched, so it takes no memory, but counts for the garbage collector:
	// with a heap of a few megabytes it would look through a thousand stacks again
	// and again.
	ballast := make([]byte, ballastSize)
	defer runtime.KeepAlive(ballast)
	for first := true; ; first = false {
		t, err := p.register(ctx, first)
		switch {
		case err != nil && ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		p.once.Do(func() { close(p.ready) })
		p.log.Info("worker started", "worker", t.lease.Worker, "services", p.services(), "slots", p.cfg.Parallel)
		err = t.run(ctx)
		if t.over {
			p.log.Info("worker ended", "worker", t.lease.Worker)
			return err
		}
	}
}

const ballastSize = 32 << 20

// register begins a term. A pool that had one waits for the store.
func (p *Pool) register(ctx context.Context, first bool) (*term, error) {
	pause := 50 * time.Millisecond
	for {
		t, err := p.newTerm(ctx)
		if err == nil {
			p.reached(nil)
			return t, nil
		}
		p.reached(err)
		if ctx.Err() != nil || !errors.Is(err, jobcontrol.ErrUnavailable) || isFinal(err) || first && pause > time.Second {
			return nil, err
		}
		select {
		case <-time.After(vary(pause)):
		case <-ctx.Done():
			return nil, err
		case <-p.cfg.Abort:
			return nil, err
		}
		pause = min(2*pause, 5*time.Second)
	}
}

// isFinal tells whether the store says that it will never answer again: it has to
// be opened anew, which is the program's.
func isFinal(err error) bool {
	var f interface{ Final() bool }
	return errors.As(err, &f) && f.Final()
}

// reached takes notice of how a call of the store ended, says when the store
// goes away, and tells when it has come back.
func (p *Pool) reached(err error) (back bool) {
	away := errors.Is(err, jobcontrol.ErrUnavailable)
	if err != nil && !away || p.away.Load() == away || !p.away.CompareAndSwap(!away, away) {
		return false
	}
	if away {
		p.log.Warn("the store is away", "error", err)
		return false
	}
	p.log.Info("the store is back")
	return true
}

// definitions keeps definitions by hash. It is safe for concurrent use.
type definitions struct {
	mu   sync.RWMutex
	jobs map[string]*jobcontrol.Job
}

// find returns a definition that is kept.
func (d *definitions) find(hash string) *jobcontrol.Job {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.jobs[hash]
}

func (d *definitions) keep(hash string, j *jobcontrol.Job) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.jobs == nil || len(d.jobs) >= maxDefinitions {
		d.jobs = map[string]*jobcontrol.Job{}
	}
	d.jobs[hash] = j
}
