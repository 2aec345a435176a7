package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os/user"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/engine"
)

// Config says what a [Client] works with. Store, Jobs and Executor are required.
type Config struct {
	Store    jobcontrol.Store
	Jobs     *jobcontrol.Jobs // the definitions of today
	Executor jobcontrol.Executor
	Registry *jobcontrol.Registry // may be nil
	// Secret reads a secret; nil: there are none.
	Secret func(ctx context.Context, name string) (string, error)
	// Parallel is how many attempts execute at a time; 0: the number of cores.
	Parallel int
	Project  string // whose jobs these are
	File     string // where they come from; kept with each Run
}

// Client is the client of a program that has a store of its own. It executes
// Runs in the foreground of the program, and leaves others to workers.
type Client struct {
	cfg   Config
	queue enqueuer
	hints hub
}

var _ jobcontrol.Client = (*Client)(nil)

// NewClient returns a client.
func NewClient(cfg Config) *Client {
	if cfg.Parallel <= 0 {
		cfg.Parallel = runtime.GOMAXPROCS(0)
	}
	return &Client{cfg: cfg}
}

// Rescue takes the leases of programs that died away and says what they left.
func (c *Client) Rescue(ctx context.Context) ([]jobcontrol.Interruption, error) {
	return c.cfg.Store.Rescue(ctx, Alive)
}

// Jobs implements [jobcontrol.Reader].
func (c *Client) Jobs(ctx context.Context, tags []string) ([]jobcontrol.JobInfo, error) {
	heads, err := c.cfg.Store.Heads(ctx, c.cfg.Project, nil)
	if err != nil {
		return nil, err
	}
	statuses := jobcontrol.Statuses(c.cfg.Jobs, heads)
	g := c.cfg.Jobs.Graph()
	var out []jobcontrol.JobInfo
	for i, j := range c.cfg.Jobs.All() {
		if !hasAll(j.Tags, tags) {
			continue
		}
		out = append(out, jobcontrol.JobInfo{Job: j, Status: statuses[i], Dependants: g.IDs(g.Dependants(int32(i)))})
	}
	return out, nil
}

func hasAll(have, want []string) bool {
	for _, t := range want {
		if !slices.Contains(have, t) {
			return false
		}
	}
	return true
}

// Job implements [jobcontrol.Reader].
func (c *Client) Job(ctx context.Context, id string) (*jobcontrol.JobInfo, error) {
	if _, err := c.cfg.Jobs.Job(id); err != nil {
		return nil, err
	}
	all, err := c.Jobs(ctx, nil)
	if err != nil {
		return nil, err
	}
	i, _ := c.cfg.Jobs.Graph().Index(id)
	return &all[i], nil
}

// Builds implements [jobcontrol.Reader].
func (c *Client) Builds(ctx context.Context, f jobcontrol.BuildFilter) ([]jobcontrol.Build, error) {
	return c.cfg.Store.ListBuilds(ctx, f)
}

// Build implements [jobcontrol.Reader].
func (c *Client) Build(ctx context.Context, id int64) (*jobcontrol.Build, error) {
	return c.cfg.Store.Build(ctx, id)
}

// Definition implements [jobcontrol.Reader].
func (c *Client) Definition(ctx context.Context, b *jobcontrol.Build) (*jobcontrol.Job, error) {
	j, err := c.cfg.Store.Definition(ctx, b.Definition)
	if err != nil {
		return nil, err
	}
	return j.Named(b.Job), nil
}

// Attempts implements [jobcontrol.Reader].
func (c *Client) Attempts(ctx context.Context, build int64) ([]jobcontrol.Attempt, error) {
	return c.cfg.Store.Attempts(ctx, build)
}

// Progress implements [jobcontrol.Reader].
func (c *Client) Progress(ctx context.Context, build int64) (*jobcontrol.ProgressNode, error) {
	rows, err := c.cfg.Store.Progress(ctx, build)
	if err != nil {
		return nil, err
	}
	return jobcontrol.ProgressTree(rows), nil
}

// Log implements [jobcontrol.Reader].
func (c *Client) Log(ctx context.Context, build int64, f jobcontrol.LogFilter, yield func(jobcontrol.LogRecord) bool) error {
	if _, err := c.cfg.Store.Build(ctx, build); err != nil {
		return err
	}
	return c.cfg.Store.Log(ctx, build, f, yield)
}

// Runs implements [jobcontrol.Reader].
func (c *Client) Runs(ctx context.Context, f jobcontrol.RunFilter) ([]jobcontrol.Run, error) {
	return c.cfg.Store.ListRuns(ctx, f)
}

// Run implements [jobcontrol.Reader].
func (c *Client) Run(ctx context.Context, id int64) (*jobcontrol.Run, error) {
	return c.cfg.Store.Run(ctx, id)
}

// Plan implements [jobcontrol.Reader].
func (c *Client) Plan(ctx context.Context, r jobcontrol.Request) (*jobcontrol.Plan, error) {
	r.Project = c.cfg.Project
	e := &engine.Engine{Executor: c.cfg.Executor, Build: c.cfg.Store.Build, Secret: c.cfg.Secret}
	return c.planner().Plan(ctx, r, e.Check)
}

func (c *Client) planner() *jobcontrol.Planner {
	return &jobcontrol.Planner{Jobs: c.cfg.Jobs, Builds: c.cfg.Store, Registry: c.cfg.Registry}
}

// Execute implements [jobcontrol.Operator].
func (c *Client) Execute(ctx context.Context, r jobcontrol.Request, watch jobcontrol.Watch) (*jobcontrol.Run, error) {
	c.complete(&r)
	plan, err := c.planner().Select(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := plan.Refusal(); err != nil {
		return nil, err
	}
	n, jobs := newRun(plan)
	return c.owned(ctx, watch, jobs, func(l jobcontrol.Lease) (run *jobcontrol.Run, builds []jobcontrol.Build, err error) {
		n.Lease = &l
		err = persist(ctx, func() error {
			run, builds, err = c.cfg.Store.CreateRun(ctx, n)
			return err
		})
		if err == nil && run.Worker != l.Worker {
			return nil, nil, &jobcontrol.Error{
				Code: jobcontrol.Conflict, Message: fmt.Sprintf("job %q is unique, and build %d of it is not finished", n.Builds[0].Build.Job, builds[0].ID),
				Hint: fmt.Sprintf("`jobcontrol runs watch %d` shows it; with other arguments it is another one", run.ID),
			}
		}
		return run, builds, err
	})
}

// complete sets what a request does not say and the client knows.
func (c *Client) complete(r *jobcontrol.Request) {
	r.Project = c.cfg.Project
	if r.File == "" {
		r.File = c.cfg.File
	}
	if r.By == "" {
		if u, err := user.Current(); err == nil {
			r.By = u.Username
		}
	}
}

// newRun makes the Run of a plan, and the definitions of its jobs by hash.
func newRun(plan *jobcontrol.Plan) (jobcontrol.NewRun, map[string]*jobcontrol.Job) {
	r := &plan.Request
	n := jobcontrol.NewRun{
		Run: jobcontrol.Run{
			Project: r.Project, Verb: r.Verb, Targets: r.Jobs, NoCleanup: r.NoCleanup, By: r.By, File: r.File,
		},
		Builds: make([]jobcontrol.NewBuild, len(plan.Items)),
		Key:    rand.Text(), // so that a commit whose answer was lost can be repeated
	}
	jobs := make(map[string]*jobcontrol.Job, len(plan.Items))
	for i := range plan.Items {
		n.Builds[i] = plan.Items[i].New
		jobs[plan.Items[i].New.Hash] = plan.Items[i].Job
		n.Grows = n.Grows || plan.Items[i].Job.ForEach != nil
	}
	return n, jobs
}

// Resume implements [jobcontrol.Operator].
func (c *Client) Resume(ctx context.Context, run int64, watch jobcontrol.Watch) (*jobcontrol.Run, error) {
	return c.owned(ctx, watch, map[string]*jobcontrol.Job{}, func(l jobcontrol.Lease) (*jobcontrol.Run, []jobcontrol.Build, error) {
		r, err := c.cfg.Store.Run(ctx, run)
		if err != nil {
			return nil, nil, err
		}
		if r.State != jobcontrol.RunInterrupted {
			return nil, nil, jobcontrol.Errorf(jobcontrol.Conflict, "run %d cannot be resumed: it is %s, not interrupted", run, r.State)
		}
		return c.cfg.Store.Adopt(ctx, run, l)
	})
}

// Cleanup implements [jobcontrol.Operator].
func (c *Client) Cleanup(ctx context.Context, run int64, watch jobcontrol.Watch) (*jobcontrol.Run, error) {
	return c.owned(ctx, watch, map[string]*jobcontrol.Job{}, func(l jobcontrol.Lease) (*jobcontrol.Run, []jobcontrol.Build, error) {
		r, err := c.cfg.Store.Run(ctx, run)
		if err != nil {
			return nil, nil, err
		}
		if !r.State.Final() {
			hint := "`runs resume` or `runs cancel` end it first"
			return nil, nil, &jobcontrol.Error{
				Code: jobcontrol.Conflict, Hint: hint,
				Message: "run " + strconv.FormatInt(run, 10) + " cannot be cleaned up: it is " + r.State.String(),
			}
		}
		adopted, builds, err := c.cfg.Store.Adopt(ctx, run, l)
		if err == nil {
			adopted.NoCleanup = false
		}
		return adopted, builds, err
	})
}

// Cancel implements [jobcontrol.Operator].
func (c *Client) Cancel(ctx context.Context, run int64) (*jobcontrol.Run, error) {
	return c.cfg.Store.RequestCancel(ctx, run)
}

// DeleteBuild implements [jobcontrol.Operator].
func (c *Client) DeleteBuild(ctx context.Context, id int64) error {
	b, err := c.cfg.Store.Build(ctx, id)
	if err != nil {
		return err
	}
	job, err := c.Definition(ctx, b)
	if err != nil {
		return err
	}
	if job.ForEach != nil {
		job.OnDelete = "" // it is for the builds of the items
	}
	if job.OnDelete != "" {
		if _, ok := c.cfg.Registry.Lookup(job.OnDelete); !ok {
			return &jobcontrol.Error{
				Code: jobcontrol.Conflict, Message: "build " + strconv.FormatInt(id, 10) + " is not deleted: this program has no function " + job.OnDelete + ", its job's on_delete",
				Hint: "use the program that registers it",
			}
		}
	}
	if b, err = c.cfg.Store.DeleteBuild(ctx, id); err != nil || job.OnDelete == "" {
		return err
	}
	e := &engine.Engine{Executor: c.cfg.Executor, Build: c.cfg.Store.Build, Secret: c.cfg.Secret}
	if err := e.OnDelete(ctx, job, b); err != nil {
		return jobcontrol.Errorf(jobcontrol.BuildFailed, "build %d is deleted, but its on_delete %s failed: %v", id, job.OnDelete, err)
	}
	return nil
}

// owned registers a worker, makes or adopts a Run for it and executes the Run.
func (c *Client) owned(ctx context.Context, watch jobcontrol.Watch, jobs map[string]*jobcontrol.Job, own func(jobcontrol.Lease) (*jobcontrol.Run, []jobcontrol.Build, error)) (*jobcontrol.Run, error) {
	f := &foreground{c: c, watch: watch, jobs: jobs, clock: clock{here: time.Now()}, leased: time.Now()}
	var err error
	if f.clock.store, err = c.cfg.Store.Now(ctx); err != nil {
		return nil, err
	}
	if f.lease, err = c.cfg.Store.Register(ctx, Self(), leaseTTL); err != nil {
		return nil, err
	}
	f.eng = f.engine()
	run, builds, err := own(f.lease)
	if err == nil {
		f.run = run
		run, err = f.execute(ctx, builds)
	}
	// Without a worker what is left of the Run is interrupted, and can be
	// resumed. Where the store is at fault this may fail, too: then the next
	// start finds that this process is gone.
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseTTL)
	defer cancel()
	uerr := c.cfg.Store.Unregister(limited, f.lease)
	switch {
	case errors.Is(err, errWaiting) && uerr == nil:
		return c.cfg.Store.Run(limited, f.run.ID) // interrupted, as it is
	case err == nil || errors.Is(err, errWaiting):
		err = uerr
	}
	return run, err
}

// engine returns the engine of the Run's attempts. What it writes is repeated
// where the store's answer was lost.
func (f *foreground) engine() *engine.Engine {
	store := f.c.cfg.Store
	return &engine.Engine{
		Executor: f.c.cfg.Executor, Shared: store, Secret: f.c.cfg.Secret, Now: f.clock.now,
		Build: func(ctx context.Context, id int64) (*jobcontrol.Build, error) {
			if b := f.kept.find(id); b != nil {
				return b, nil
			}
			return store.Build(ctx, id)
		},
		Report: func(ctx context.Context, c jobcontrol.Claim, logs []jobcontrol.LogRecord, progress []jobcontrol.Progress) error {
			return persist(ctx, func() error { return store.Report(ctx, c, logs, progress) })
		},
		MarkRan: func(ctx context.Context, c jobcontrol.Claim, at time.Time) error {
			return persist(ctx, func() error { return store.MarkRan(ctx, c, at) })
		},
	}
}
