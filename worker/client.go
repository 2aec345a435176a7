package worker

import (
	"context"
	"errors"
	"os/user"
	"runtime"
	"slices"
	"strconv"
	"sync"
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
// Runs in the foreground of the program.
type Client struct {
	cfg Config

	mu          sync.Mutex
	definitions map[string]*jobcontrol.Job  // by hash
	finished    map[int64]*jobcontrol.Build // final builds with small results
}

var _ jobcontrol.Client = (*Client)(nil)

// NewClient returns a client.
func NewClient(cfg Config) *Client {
	if cfg.Parallel <= 0 {
		cfg.Parallel = runtime.GOMAXPROCS(0)
	}
	return &Client{cfg: cfg, definitions: map[string]*jobcontrol.Job{}, finished: map[int64]*jobcontrol.Build{}}
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
	return c.definition(ctx, b)
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
	r.Project = c.cfg.Project
	if r.File == "" {
		r.File = c.cfg.File
	}
	if r.By == "" {
		if u, err := user.Current(); err == nil {
			r.By = u.Username
		}
	}
	plan, err := c.planner().Select(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := plan.Refusal(); err != nil {
		return nil, err
	}
	n := jobcontrol.NewRun{
		Run: jobcontrol.Run{
			Project: r.Project, Verb: r.Verb, Targets: r.Jobs, NoCleanup: r.NoCleanup, By: r.By, File: r.File,
		},
		Builds: make([]jobcontrol.NewBuild, len(plan.Items)),
	}
	for i := range plan.Items {
		n.Builds[i] = plan.Items[i].New
		c.define(plan.Items[i].New.Hash, plan.Items[i].Job)
	}
	return c.owned(ctx, watch, func(l jobcontrol.Lease) (*jobcontrol.Run, []jobcontrol.Build, error) {
		n.Lease = &l
		return c.cfg.Store.CreateRun(ctx, n)
	})
}

// Resume implements [jobcontrol.Operator].
func (c *Client) Resume(ctx context.Context, run int64, watch jobcontrol.Watch) (*jobcontrol.Run, error) {
	return c.owned(ctx, watch, func(l jobcontrol.Lease) (*jobcontrol.Run, []jobcontrol.Build, error) {
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
	return c.owned(ctx, watch, func(l jobcontrol.Lease) (*jobcontrol.Run, []jobcontrol.Build, error) {
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
	job, err := c.definition(ctx, b)
	if err != nil {
		return err
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
func (c *Client) owned(ctx context.Context, watch jobcontrol.Watch, own func(jobcontrol.Lease) (*jobcontrol.Run, []jobcontrol.Build, error)) (*jobcontrol.Run, error) {
	now, err := c.cfg.Store.Now(ctx)
	if err != nil {
		return nil, err
	}
	lease, err := c.cfg.Store.Register(ctx, Self(), leaseTTL)
	if err != nil {
		return nil, err
	}
	f := &foreground{c: c, lease: lease, watch: watch, clock: clock{store: now, here: time.Now()}}
	f.eng = &engine.Engine{
		Executor: c.cfg.Executor, Build: c.result, Shared: c.cfg.Store, Report: c.cfg.Store.Report,
		MarkRan: c.cfg.Store.MarkRan, Secret: c.cfg.Secret, Now: f.clock.now,
	}
	run, builds, err := own(lease)
	if err == nil {
		f.run = run
		run, err = f.execute(ctx, builds)
	}
	if errors.Is(err, jobcontrol.ErrUnavailable) || errors.Is(err, jobcontrol.ErrLeaseLost) {
		return run, err // the worker's row stays: the next start says what happened
	}
	if uerr := c.cfg.Store.Unregister(context.WithoutCancel(ctx), lease); err == nil && uerr != nil {
		err = uerr
	}
	return run, err
}

// define keeps a definition, so that it need not be read back.
func (c *Client) define(hash string, j *jobcontrol.Job) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.definitions[hash] = j
}

// definition returns the frozen definition of a build.
func (c *Client) definition(ctx context.Context, b *jobcontrol.Build) (*jobcontrol.Job, error) {
	c.mu.Lock()
	j, ok := c.definitions[b.Definition]
	c.mu.Unlock()
	if ok {
		return j, nil
	}
	j, err := c.cfg.Store.Definition(ctx, b.Definition)
	if err != nil {
		return nil, err
	}
	c.define(b.Definition, j)
	return j, nil
}

// keptResult is the largest result that is kept in memory for dependants.
const keptResult = 16 << 10

// remember keeps a final build whose result is its own and small.
func (c *Client) remember(b *jobcontrol.Build) {
	if b.State != jobcontrol.Successful || len(b.Result) > keptResult || len(b.Result) == 0 && !*b.Changed {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.finished[b.ID] = b
}

// result returns a build whose result is wanted.
func (c *Client) result(ctx context.Context, id int64) (*jobcontrol.Build, error) {
	c.mu.Lock()
	b, ok := c.finished[id]
	c.mu.Unlock()
	if ok {
		return b, nil
	}
	return c.cfg.Store.Build(ctx, id)
}
