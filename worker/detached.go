package worker

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

const (
	// servicesFor is how long, at least, the described services are taken as they
	// were: a build that is enqueued needs their keys and priorities. Reading them
	// counts builds; where that takes long, it takes at most a hundredth of the time.
	servicesFor = 5 * time.Second
	// maxDefinitions bounds the definitions that are kept, in their stored form or decoded.
	maxDefinitions = 4096
)

// enqueuer makes builds from definitions in their stored form. It is safe for
// concurrent use.
type enqueuer struct {
	mu       sync.Mutex
	defs     map[*jobcontrol.Job]definition
	services []jobcontrol.Service
	until    time.Time  // they are read again then; zero: they were never read
	reading  sync.Mutex // held by who reads them
}

// definition is a job's definition in its stored form.
type definition struct {
	body []byte
	hash string
}

// Submit implements [jobcontrol.Queuer].
func (c *Client) Submit(ctx context.Context, r jobcontrol.Request) (*jobcontrol.Run, error) {
	c.complete(&r)
	p := c.planner()
	var err error
	if p.Services, err = c.described(ctx); err != nil {
		return nil, err
	}
	plan, err := p.Select(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := plan.Refusal(); err != nil {
		return nil, err
	}
	n, _ := newRun(plan)
	var run *jobcontrol.Run
	err = persist(ctx, func() (err error) {
		run, _, err = c.cfg.Store.CreateRun(ctx, n)
		return err
	})
	return run, err
}

// Enqueue implements [jobcontrol.Queuer].
func (c *Client) Enqueue(ctx context.Context, j *jobcontrol.Job, b jobcontrol.Enqueued) (int64, error) {
	ids, err := c.EnqueueMany(ctx, j, []jobcontrol.Enqueued{b})
	if err != nil {
		return 0, err
	}
	return ids[0], nil
}

// EnqueueMany implements [jobcontrol.Queuer].
func (c *Client) EnqueueMany(ctx context.Context, j *jobcontrol.Job, many []jobcontrol.Enqueued) ([]int64, error) {
	if len(many) == 0 {
		return nil, nil
	}
	d, err := c.queue.definition(j)
	if err != nil {
		return nil, err
	}
	services, err := c.described(ctx)
	if err != nil {
		return nil, err
	}
	p := jobcontrol.Planner{Services: services}
	runs := make([]jobcontrol.NewRun, len(many))
	builds := make([]jobcontrol.NewBuild, len(many))
	targets := []string{j.ID}
	for i := range many {
		if builds[i], err = p.Lone(c.cfg.Project, j, d.body, d.hash, many[i]); err != nil {
			return nil, err
		}
		runs[i] = jobcontrol.NewRun{
			Run:    jobcontrol.Run{Project: c.cfg.Project, Verb: jobcontrol.VerbBuild, Targets: targets},
			Builds: builds[i : i+1], Key: many[i].Key, Grows: j.ForEach != nil,
		}
	}
	ids, err := c.cfg.Store.CreateRuns(ctx, runs)
	if err != nil || j.ForEach == nil {
		return ids, err
	}
	for i, run := range ids { // it has a row of its own, so its id is not that of the build
		made, err := c.cfg.Store.ListBuilds(ctx, jobcontrol.BuildFilter{Project: c.cfg.Project, Run: run, Job: j.ID, Asc: true, Limit: 1, Brief: true})
		if err != nil {
			return nil, err
		}
		if len(made) > 0 {
			ids[i] = made[0].ID
		}
	}
	return ids, nil
}

// definition returns the stored form of a job, computed once.
func (q *enqueuer) definition(j *jobcontrol.Job) (definition, error) {
	q.mu.Lock()
	d, ok := q.defs[j]
	q.mu.Unlock()
	if ok {
		return d, nil
	}
	if err := jobcontrol.CheckJobID(j.ID); err != nil {
		return definition{}, err
	}
	var err error
	if d.body, d.hash, err = j.Definition(); err != nil {
		return definition{}, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.defs == nil || len(q.defs) >= maxDefinitions {
		q.defs = map[*jobcontrol.Job]definition{}
	}
	q.defs[j] = d
	return d, nil
}

// known returns the services as they were read; fresh: they need not be read yet.
func (q *enqueuer) known() (services []jobcontrol.Service, some, fresh bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.services, !q.until.IsZero(), time.Now().Before(q.until)
}

// described returns the services that are described, as they were a little while
// ago. One caller reads them anew; the others do not wait for him, but for the first.
func (c *Client) described(ctx context.Context) ([]jobcontrol.Service, error) {
	q := &c.queue
	services, some, fresh := q.known()
	if fresh || some && !q.reading.TryLock() {
		return services, nil
	}
	if !some {
		q.reading.Lock()
	}
	defer q.reading.Unlock()
	if services, _, fresh = q.known(); fresh {
		return services, nil
	}
	begin := time.Now()
	list, err := c.cfg.Store.Services(ctx, c.cfg.Project)
	if err != nil {
		return nil, err
	}
	services = make([]jobcontrol.Service, len(list))
	for i := range list {
		services[i] = list[i].Service
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.services, q.until = services, time.Now().Add(max(servicesFor, 100*time.Since(begin)))
	return services, nil
}

// forgetServices has them read again.
func (q *enqueuer) forgetServices() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.until = time.Time{}
}

// Steer implements [jobcontrol.Queuer].
func (c *Client) Steer(ctx context.Context, build int64, t jobcontrol.Transition) (*jobcontrol.Build, error) {
	b, err := c.cfg.Store.Steer(ctx, build, t)
	if err != nil || t != jobcontrol.ToCancel || b.State != jobcontrol.Cancelled {
		return b, err
	}
	items := jobcontrol.ItemPins(b.Job, b.Pins)
	if len(items) == 0 {
		return b, nil
	}
	if job, err := c.Definition(ctx, b); err != nil || job.ForEach == nil {
		return b, err // its dependencies are called so
	}
	// Nobody waits for the builds of its items any more.
	for _, key := range slices.Sorted(maps.Keys(items)) {
		if _, err := c.cfg.Store.Steer(ctx, items[key], t); err != nil && !errors.Is(err, jobcontrol.ErrConflict) && !errors.Is(err, jobcontrol.ErrNotFound) {
			return b, err
		}
	}
	return b, nil
}

// Services implements [jobcontrol.Reader].
func (c *Client) Services(ctx context.Context) ([]jobcontrol.ServiceStatus, error) {
	return c.cfg.Store.Services(ctx, c.cfg.Project)
}

// PutServices implements [jobcontrol.Queuer].
func (c *Client) PutServices(ctx context.Context, services []jobcontrol.Service) error {
	if err := jobcontrol.CheckServices(services); err != nil {
		return err
	}
	defer c.queue.forgetServices()
	return persist(ctx, func() error { return c.cfg.Store.PutServices(ctx, c.cfg.Project, services) })
}

// ResetService implements [jobcontrol.Queuer].
func (c *Client) ResetService(ctx context.Context, name string, as *jobcontrol.Service) error {
	defer c.queue.forgetServices()
	name = cmp.Or(name, jobcontrol.DefaultService)
	return persist(ctx, func() error { return c.cfg.Store.ResetService(ctx, c.cfg.Project, name, as) })
}

// Workers implements [jobcontrol.Reader].
func (c *Client) Workers(ctx context.Context) ([]jobcontrol.Worker, error) {
	return c.cfg.Store.Workers(ctx)
}
