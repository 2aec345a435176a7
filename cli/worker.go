package cli

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
	"github.com/jobcontrol/jobcontrol/worker"
)

// workerOptions are the flags of `worker` and `serve`.
type workerOptions struct {
	parallel int
	grace    string
	lease    string
	verbose  bool
	services []string // nil: all that are known
}

func newWorker(e *environment) *cobra.Command {
	var o workerOptions
	cmd := &cobra.Command{
		Use:   "worker [SERVICE...]",
		Short: "Execute the builds of services, until it is stopped",
		Long: `Execute builds that were left to workers (run --detach), those of the named
services; without a name those of the service default, of the services that the
file describes, and of those that its jobs name. Any number of workers, on any
number of machines, may work on one store in PostgreSQL; on an SQLite file, any
number on its machine. Every machine needs the same file, paths, programs,
functions and secrets. Jobs are executed in the directory of the worker, unless
they name their own (cwd).

The first Ctrl-C (or SIGTERM) stops it gently: it takes nothing new, its builds
have --grace to end, then they are asked to stop. The second one ends them at
once. What has not ended is given back to the other workers and uses no try.
A worker that dies is noticed by the others, which take over its builds.

Exit status 0 after a gentle stop.`,
		Example: `  jobcontrol worker
  jobcontrol worker mail -j 2 --grace 5m
  jobcontrol -c /etc/shop/jobs.yaml worker`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.services = args
			if err := o.check(cmd); err != nil {
				return err
			}
			return work(cmd.Context(), e, o)
		},
	}
	o.flags(cmd)
	return cmd
}

func (o *workerOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.IntVarP(&o.parallel, "parallel", "j", 0, fmt.Sprintf("execute `n` builds at a time (default the cores: %d)", runtime.GOMAXPROCS(0)))
	f.StringVar(&o.grace, "grace", "10s", "how much `time` builds have to end when it is stopped, before they are asked to stop")
	f.StringVar(&o.lease, "lease", "15s", "after so much `time` without a sign of life others take over its builds")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "on standard error, more about what it does")
}

func (o *workerOptions) check(cmd *cobra.Command) error {
	if cmd.Flags().Changed("parallel") && o.parallel < 1 {
		return usage("", "-j %d is less than 1", o.parallel)
	}
	for _, name := range o.services {
		if err := jobcontrol.CheckName("service", name); err != nil {
			return err
		}
	}
	if _, err := parseDuration(o.grace); err != nil {
		return usage("a number of seconds, or 5m, 1h30m", "--grace %q is no time", o.grace)
	}
	d, err := parseDuration(o.lease)
	if err != nil {
		return usage("a number of seconds, or 1m", "--lease %q is no time", o.lease)
	}
	if d < time.Second || d > time.Hour {
		return usage("15s suits most", "--lease %s is not between 1s and 1h", o.lease)
	}
	return nil
}

// pool is what the flags say of a pool.
func (o *workerOptions) pool(e *environment, s *opened) worker.PoolConfig {
	cfg := worker.PoolConfig{
		Store: s.store, Executor: s.executor, Secret: s.secret, Project: s.project, Services: s.serves(o.services),
		Parallel: o.parallel, Log: slog.New(&noteHandler{streams: e.streams, debug: o.verbose, told: "worker started"}),
	}
	cfg.TTL, _ = parseDuration(o.lease)
	if cfg.Grace, _ = parseDuration(o.grace); cfg.Grace == 0 {
		cfg.Grace = -1 // none
	}
	if s.guardian != nil {
		cfg.Guardian = s.guardian
		s.guardian.Then(e.rescueCommand(s))
		cfg.EndLeft = endLeft
	}
	return cfg
}

// endLeft ends what a dead worker's process left behind, see [executor.EndLeft].
func endLeft(ctx context.Context, p jobcontrol.Process) error {
	return executor.EndLeft(ctx, p.PID, p.StartTime)
}

// rescueCommand is the command line with which the guardian of a worker that has
// died tells the store at once, for it may have been the last one of its host.
func (e *environment) rescueCommand(s *opened) []string {
	argv := []string{"jobcontrol-rescue"}
	if e.storage == "" {
		path, _ := e.path()
		if abs, err := filepath.Abs(path); err == nil {
			path = abs
		}
		return append(argv, "--config-file", path, "rescue")
	}
	storage := e.storage
	if s.place.postgres == "" {
		storage = s.place.String()
	}
	return append(argv, "--storage", storage, "rescue")
}

// serves are the services that a worker serves: those that are named, else all
// that the file knows.
func (s *opened) serves(named []string) []string {
	list := slices.Clone(named)
	if len(named) == 0 {
		list = append(list, jobcontrol.DefaultService)
		for i := range s.services {
			list = append(list, s.services[i].Name)
		}
		for _, j := range s.jobs.All() {
			if j.Service != "" {
				list = append(list, j.Service)
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func work(ctx context.Context, e *environment, o workerOptions) error {
	s, err := e.openWorker(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if err := e.noteUndescribed(ctx, s, o.services...); err != nil {
		return err
	}
	cfg := o.pool(e, s)
	aborted := e.stopsLikeAWorker(&cfg, o.grace)
	defer e.worker.Store(nil)
	pool := worker.NewPool(cfg)
	go e.noteServes(ctx, pool.Ready(), servesText(cfg.Services, cfg.Parallel, s.place))
	if err := pool.Run(ctx); err != nil {
		return err
	}
	return stopped(aborted)
}

// openWorker opens what a worker needs. What its services are is told to the
// store, so that their limits hold from the first build on. With --format json
// all notes are records from here on.
func (e *environment) openWorker(ctx context.Context) (*opened, error) {
	e.logged = e.json()
	s, err := e.open(ctx, needWorker, 0)
	if err != nil {
		return nil, err
	}
	if s.place.memory {
		err = usage("use --storage sqlite:PATH", "a store in memory is not seen by others: there is nothing to work for")
	} else {
		err = s.describe(ctx)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// stopsLikeAWorker lets the second signal end the pool at once; the channel is
// closed then.
func (e *environment) stopsLikeAWorker(cfg *worker.PoolConfig, grace string) <-chan struct{} {
	abort := make(chan struct{})
	cfg.Abort = abort
	e.worker.Store(&stopper{
		told: fmt.Sprintf("stopping: nothing new is taken, builds have %s to end before they are asked to stop; once more to end them at once",
			elapsed(max(cfg.Grace, 0))),
		abort: sync.OnceFunc(func() { close(abort) }),
	})
	return abort
}

// stopped is how a worker's stop is told by the exit status.
func stopped(aborted <-chan struct{}) error {
	select {
	case <-aborted:
		return reported{jobcontrol.Interrupted}
	default:
		return nil
	}
}

// noteServes says what a worker serves as soon as it does; as a record the pool
// says it itself.
func (e *environment) noteServes(ctx context.Context, ready <-chan struct{}, text string) {
	select {
	case <-ready:
		if !e.logged {
			e.note("%s", text)
		}
	case <-ctx.Done():
	}
}

// servesText says what a worker serves.
func servesText(services []string, parallel int, p place) string {
	if parallel <= 0 {
		parallel = runtime.GOMAXPROCS(0)
	}
	what := "the service " + strings.Join(services, "")
	if len(services) > 1 {
		what = "the services " + strings.Join(services, ", ")
	}
	return fmt.Sprintf("executes builds of %s, %d at a time, of %s", what, parallel, line(p.String()))
}
