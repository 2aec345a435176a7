// Jobcontrol executes the comparison's jobs with ours, on PostgreSQL or SQLite,
// through the API that programs use.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/bench/peers/peer"
	"github.com/jobcontrol/jobcontrol/executor"
	"github.com/jobcontrol/jobcontrol/worker"
)

func main() { os.Exit(peer.Main(open)) }

// output is the result that is stored for each job.
type output struct {
	Seq int64 `json:"seq"`
}

type system struct {
	o      peer.Options
	store  jobcontrol.Store
	client *worker.Client
	noop   *jobcontrol.Function[peer.Job, output]
	job    *jobcontrol.Job
	shapes map[string]*worker.Client // by shape and size
}

func open(ctx context.Context, o peer.Options) (peer.System, error) {
	store, err := openStore(ctx, o)
	if err != nil {
		return nil, err
	}
	s := &system{o: o, store: store, shapes: map[string]*worker.Client{}}
	var reg *jobcontrol.Registry
	reg, s.noop = registry(nil)
	s.job = &jobcontrol.Job{ID: s.noop.Name(), Run: s.noop.Task()}
	s.client, err = s.newClient(reg, nil)
	return s, err
}

func registry(handle func(peer.Job)) (*jobcontrol.Registry, *jobcontrol.Function[peer.Job, output]) {
	reg := jobcontrol.NewRegistry()
	return reg, jobcontrol.Handle(reg, "noop", func(_ context.Context, j peer.Job) (output, error) {
		if handle == nil {
			return output{}, errors.New("this program only enqueues")
		}
		handle(j)
		return output{j.Seq}, nil
	})
}

func (s *system) newClient(reg *jobcontrol.Registry, list []*jobcontrol.Job) (*worker.Client, error) {
	jobs, err := jobcontrol.NewJobs(list)
	if err != nil {
		return nil, err
	}
	return worker.NewClient(worker.Config{
		Store: s.store, Jobs: jobs, Registry: reg, Executor: executor.New(executor.Config{Registry: reg}),
	}), nil
}

// Install implements [peer.System].
func (s *system) Install(ctx context.Context) error { return s.store.Install(ctx) }

// Insert implements [peer.System].
func (s *system) Insert(ctx context.Context, j peer.Job) (string, error) {
	id, err := s.noop.Enqueue(ctx, s.client, j, jobcontrol.EnqueueOptions{})
	return strconv.FormatInt(id, 10), err
}

// InsertMany implements [peer.System].
func (s *system) InsertMany(ctx context.Context, jobs []peer.Job) error {
	many := make([]jobcontrol.Enqueued, len(jobs))
	for i, j := range jobs {
		var err error
		if many[i].Kwargs, err = jobcontrol.EncodeArguments(map[string]any{"seq": j.Seq, "sent": j.Sent, "to": j.To}); err != nil {
			return err
		}
	}
	_, err := s.client.EnqueueMany(ctx, s.job, many)
	return err
}

// Final implements [peer.System].
func (s *system) Final(ctx context.Context, id string) (bool, error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return false, err
	}
	b, err := s.client.Build(ctx, n)
	return err == nil && b.State.Final(), err
}

// Left implements [peer.System].
func (s *system) Left(ctx context.Context) (bool, error) {
	heads, err := s.store.Heads(ctx, "", nil)
	for _, h := range heads {
		if h.Unfinished > 0 {
			return true, err
		}
	}
	return false, err
}

// Count implements [peer.System]. What is recorded it counts itself, from
// outside, since nothing in the API reads millions of builds to count them.
func (s *system) Count(ctx context.Context) (finished, left int64, err error) {
	return countRecorded(ctx, s.o.DSN)
}

// Work implements [peer.System].
func (s *system) Work(ctx context.Context, handle func(peer.Job)) (func(context.Context) error, error) {
	reg, _ := registry(handle)
	pool := worker.NewPool(worker.PoolConfig{
		Store: s.store, Executor: executor.New(executor.Config{Registry: reg}), Parallel: s.o.Slots, Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- pool.Run(ctx) }()
	return func(context.Context) error {
		cancel()
		if err := <-ended; err != nil {
			return err
		}
		if t := pool.Stats(); t.Failed > 0 || t.Retried > 0 || t.LostLeases > 0 || t.Refused > 0 {
			return fmt.Errorf("%d builds failed, %d were retried, %d leases lost, %d writes refused", t.Failed, t.Retried, t.LostLeases, t.Refused)
		}
		return s.close()
	}, nil
}

// close lets the store write out what it may still have to write.
func (s *system) close() error {
	if c, ok := s.store.(interface{ Close() error }); ok {
		return c.Close()
	}
	return nil
}

// InsertShape implements [peer.Shaper]: a detached Run of a target and all that it depends on.
func (s *system) InsertShape(ctx context.Context, shape string, jobs []peer.Job) error {
	kind := shape + strconv.Itoa(len(jobs))
	c := s.shapes[kind]
	if c == nil {
		reg, f := registry(nil)
		list, err := shaped(shape, len(jobs), f.Task())
		if err != nil {
			return err
		}
		if c, err = s.newClient(reg, list); err != nil {
			return err
		}
		s.shapes[kind] = c
	}
	run, err := c.Submit(ctx, jobcontrol.Request{
		Verb: jobcontrol.VerbRun, Jobs: []string{step(len(jobs) - 1)},
		Kwargs: map[string]any{"first": jobs[0].Seq, "sent": jobs[0].Sent},
	})
	if err == nil && run.Counts.Total() != len(jobs) {
		err = fmt.Errorf("the run has %d builds, not %d", run.Counts.Total(), len(jobs))
	}
	return err
}

func step(i int) string { return "step-" + strconv.Itoa(i) }

// shaped makes a chain of n jobs, or one job, n-2 that depend on it, and one that depends on these.
func shaped(shape string, n int, task *jobcontrol.Task) ([]*jobcontrol.Job, error) {
	var list []*jobcontrol.Job
	for i := range n {
		j := &jobcontrol.Job{
			ID: step(i), Run: task,
			Kwargs: map[string]any{"seq": int64(i), "first": int64(0), "sent": int64(0), "to": "somebody@example.com"},
		}
		switch {
		case i == 0:
		case shape == "chain":
			j.Dependencies = []string{step(i - 1)}
		case shape == "fan" && i < n-1:
			j.Dependencies = []string{step(0)}
		case shape == "fan":
			for k := 1; k < n-1; k++ {
				j.Dependencies = append(j.Dependencies, step(k))
			}
		default:
			return nil, errors.New("unknown shape " + shape)
		}
		list = append(list, j)
	}
	return list, nil
}
