//go:build linux

package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

const (
	maxOpen     = 60              // Runs of a client that are not final
	callTimeout = 8 * time.Second // of one call; then the answer is unknown
	callTries   = 40              // of a call whose answer is unknown
	callPause   = 50 * time.Millisecond
	lookPause   = 20 * time.Millisecond
	longWork    = 400 // ms: long enough to be cancelled while it runs
)

// client submits work and writes down what it was told.
type client struct {
	store   jobcontrol.Store
	planner *jobcontrol.Planner
	journal *Journal
	rng     *rand.Rand
	name    string // unique among all clients of the cluster, restarted ones too
	calls   int
	open    []int64 // Runs to look after
	shapes  []shape
}

// shape is a kind of request, and how often it is made.
type shape struct {
	weight int
	make   func(c *client, ctx context.Context)
}

// newClient returns a client with every shape that a load has.
func newClient(store jobcontrol.Store, journal *Journal, name string, seed uint64, load Load) (*client, error) {
	jobs, err := jobSet()
	if err != nil {
		return nil, err
	}
	t := &tasks{}
	c := &client{
		store: store, journal: journal, name: name, rng: rand.New(rand.NewPCG(seed, 1)),
		planner: &jobcontrol.Planner{Jobs: jobs, Builds: store, Registry: t.registry()},
	}
	c.shapes = []shape{
		{8, (*client).lone},
		{3, (*client).batch},
		{3, (*client).chain},
		{2, (*client).fan},
		{1, (*client).blocked},
		{2, (*client).cleaned},
		{1, (*client).converge},
		{2, (*client).unique},
		{1, (*client).later},
	}
	if load.Steer {
		c.shapes = append(c.shapes, shape{2, (*client).hold}, shape{2, (*client).cancel}, shape{2, (*client).suspend}, shape{1, (*client).cancelRun})
	}
	if load.Each > 0 {
		c.shapes = append(c.shapes, shape{load.Each, (*client).each}, shape{max(1, load.Each/4), (*client).eachAlone})
		if load.Steer {
			c.shapes = append(c.shapes, shape{max(1, load.Each/4), (*client).cancelEach})
		}
	}
	if load.Poison > 0 {
		c.shapes = append(c.shapes, shape{load.Poison, (*client).poison})
	}
	return c, nil
}

// run submits until ctx ends.
func (c *client) run(ctx context.Context) {
	total := 0
	for _, s := range c.shapes {
		total += s.weight
	}
	for ctx.Err() == nil {
		n := c.rng.IntN(total)
		for _, s := range c.shapes {
			if n -= s.weight; n < 0 {
				s.make(c, ctx)
				break
			}
		}
		c.look(ctx)
		for len(c.open) > maxOpen && ctx.Err() == nil {
			pause(ctx, lookPause)
			c.look(ctx)
		}
	}
}

// pause waits between two calls; what is waited for is not awaited so.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// call makes a call until its answer is known, and tells whether it was accepted.
// Each try is written down for itself.
func (c *client) call(ctx context.Context, e Entry, f func(context.Context) (ids []int64, state string, err error)) bool {
	for try := 0; try < callTries && ctx.Err() == nil; try++ {
		c.calls++
		e.Kind, e.ID = entryCall, fmt.Sprintf("%s.%d", c.name, c.calls)
		c.journal.Write(e)
		limited, cancel := context.WithTimeout(ctx, callTimeout)
		ids, state, err := f(limited)
		cancel()
		answer := Entry{Kind: entryAnswer, ID: e.ID, Op: e.Op, Key: e.Key, Run: e.Run, Build: e.Build, IDs: ids, State: state}
		if err != nil {
			answer.Err = err.Error()
			answer.What = "unknown"
			if refused(err) {
				answer.What = "refused"
			}
		}
		c.journal.Write(answer)
		if err == nil || refused(err) {
			return err == nil
		}
		pause(ctx, callPause)
	}
	return false
}

// refused tells whether an error says that a call changed nothing.
func refused(err error) bool {
	return errors.Is(err, jobcontrol.ErrConflict) || errors.Is(err, jobcontrol.ErrNotFound) || errors.Is(err, jobcontrol.ErrInvalid)
}

// request is a Run to make.
type request struct {
	verb    jobcontrol.Verb
	job     string
	do      string            // of every member …
	other   map[string]string // … but these
	ms      int64             // the longest that a member takes
	u       string
	n       int64 // items
	hold    bool
	readyAt time.Duration
}

// make makes the Run that a request asks for, with a new key.
func (c *client) make(ctx context.Context, r request) (jobcontrol.NewRun, error) {
	c.calls++
	key := fmt.Sprintf("%s.k%d", c.name, c.calls)
	q := jobcontrol.Request{Verb: r.verb, Jobs: []string{r.job}, By: c.name, Hold: r.hold}
	if r.readyAt > 0 {
		now, err := c.store.Now(ctx)
		if err != nil {
			return jobcontrol.NewRun{}, err
		}
		q.ReadyAt = now.Add(r.readyAt)
	}
	plan, err := c.planner.Select(ctx, q)
	if err != nil {
		return jobcontrol.NewRun{}, err
	}
	n := jobcontrol.NewRun{Run: jobcontrol.Run{Verb: r.verb, Targets: []string{r.job}, By: c.name}, Key: key}
	for i := range plan.Items {
		it := &plan.Items[i]
		kwargs := map[string]any{}
		for k, v := range it.Job.Kwargs {
			kwargs[k] = v
		}
		kwargs["k"], kwargs["do"], kwargs["ms"] = key, r.do, int64(0)
		if do, ok := r.other[it.Job.ID]; ok {
			kwargs["do"] = do
		}
		if r.ms > 0 {
			kwargs["ms"] = c.rng.Int64N(r.ms + 1)
		}
		if r.u != "" {
			kwargs["u"] = r.u
		}
		if _, ok := kwargs["n"]; ok {
			kwargs["n"] = r.n
		}
		n.Grows = n.Grows || it.Job.ForEach != nil
		b := &it.New.Build
		b.Tries, b.RetryDelay = 3, 10*time.Millisecond
		if b.Kwargs, err = jobcontrol.EncodeArguments(kwargs); err != nil {
			return n, err
		}
		if err := c.planner.Enqueueing(it.Job, b); err != nil {
			return n, err
		}
		n.Builds = append(n.Builds, it.New)
	}
	return n, nil
}

// submit makes a Run and returns its builds; nil: it was not acknowledged.
func (c *client) submit(ctx context.Context, r request) []jobcontrol.Build {
	var n jobcontrol.NewRun
	made := c.call(ctx, Entry{Op: "plan"}, func(ctx context.Context) (ids []int64, state string, err error) {
		n, err = c.make(ctx, r)
		return nil, "", err
	})
	if !made {
		return nil
	}
	var builds []jobcontrol.Build
	op := "create"
	if r.u != "" {
		op = "unique"
	}
	c.call(ctx, Entry{Op: op, Key: n.Key, Job: r.job, N: int64(len(n.Builds))}, func(ctx context.Context) ([]int64, string, error) {
		run, list, err := c.store.CreateRun(ctx, n)
		if err != nil {
			return nil, "", err
		}
		builds = list
		c.open = append(c.open, run.ID)
		ids := []int64{run.ID}
		for i := range list {
			ids = append(ids, list[i].ID)
		}
		return ids, "", nil
	})
	return builds
}

func (c *client) pick(list ...string) string { return list[c.rng.IntN(len(list))] }

func (c *client) lone(ctx context.Context) {
	c.submit(ctx, request{verb: jobcontrol.VerbBuild, job: c.pick("go", "go", "cmd"), do: c.pick(doOK, doOK, doOK, doFlaky, doRetry, doFail, doSkip), ms: 60})
}

// batch makes many lone builds in one call.
func (c *client) batch(ctx context.Context) {
	var many []jobcontrol.NewRun
	var keys []string
	for range 5 + c.rng.IntN(30) {
		n, err := c.make(ctx, request{verb: jobcontrol.VerbBuild, job: "go", do: doOK, ms: 5})
		if err != nil {
			return
		}
		many, keys = append(many, n), append(keys, n.Key)
	}
	c.call(ctx, Entry{Op: "create-many", Key: strings.Join(keys, " "), N: int64(len(many))}, func(ctx context.Context) ([]int64, string, error) {
		ids, err := c.store.CreateRuns(ctx, many)
		if err == nil {
			c.open = append(c.open, ids[0])
		}
		return ids, "", err
	})
}

func (c *client) chain(ctx context.Context) {
	c.submit(ctx, request{
		verb: jobcontrol.VerbRun, job: fmt.Sprintf("chain%d", 1+c.rng.IntN(chainLength-1)), do: c.pick(doOK, doOK, doFlaky), ms: 20,
	})
}

func (c *client) fan(ctx context.Context) {
	c.submit(ctx, request{verb: jobcontrol.VerbRun, job: "join", do: doOK, ms: 30, other: map[string]string{"leaf3": c.pick(doOK, doFlaky, doRetry)}})
}

func (c *client) blocked(ctx context.Context) {
	c.submit(ctx, request{verb: jobcontrol.VerbRun, job: "after", do: doOK, other: map[string]string{"before": doFail}, ms: 10})
}

func (c *client) cleaned(ctx context.Context) {
	last := fmt.Sprintf("clean%d", cleanLength-1)
	c.submit(ctx, request{verb: jobcontrol.VerbRun, job: last, do: doOK, other: map[string]string{last: c.pick(doOK, doFail)}, ms: 20})
}

func (c *client) converge(ctx context.Context) {
	c.submit(ctx, request{verb: jobcontrol.VerbRun, job: "converge", do: doOK, ms: 20})
}

func (c *client) unique(ctx context.Context) {
	c.submit(ctx, request{verb: jobcontrol.VerbBuild, job: "only", do: doOK, ms: 150, u: fmt.Sprintf("u%d", c.rng.IntN(4))})
}

func (c *client) later(ctx context.Context) {
	c.submit(ctx, request{verb: jobcontrol.VerbBuild, job: "go", do: doOK, readyAt: time.Duration(c.rng.IntN(700)) * time.Millisecond})
}

func (c *client) poison(ctx context.Context) {
	c.submit(ctx, request{verb: jobcontrol.VerbBuild, job: c.pick("poison-go", "poison-cmd"), do: doPoison})
}

// steer asks for a transition of a build.
func (c *client) steer(ctx context.Context, build int64, t jobcontrol.Transition) bool {
	return c.call(ctx, Entry{Op: string(t), Build: build}, func(ctx context.Context) ([]int64, string, error) {
		b, err := c.store.Steer(ctx, build, t)
		if err != nil {
			return nil, "", err
		}
		return nil, b.State.String(), nil
	})
}

func (c *client) hold(ctx context.Context) {
	r := request{verb: jobcontrol.VerbBuild, job: c.pick("go", "cmd"), do: doOK, hold: c.rng.IntN(2) == 0}
	if !r.hold {
		r.readyAt = time.Duration(c.rng.IntN(200)) * time.Millisecond
	}
	builds := c.submit(ctx, r)
	if len(builds) != 1 || !r.hold && !c.steer(ctx, builds[0].ID, jobcontrol.ToHold) {
		return
	}
	pause(ctx, time.Duration(c.rng.IntN(100))*time.Millisecond)
	c.steer(ctx, builds[0].ID, jobcontrol.ToRelease)
}

// long submits a build and waits until it may be running.
func (c *client) long(ctx context.Context) []jobcontrol.Build {
	builds := c.submit(ctx, request{verb: jobcontrol.VerbBuild, job: c.pick("go", "cmd"), do: doOK, ms: longWork})
	pause(ctx, time.Duration(c.rng.IntN(150))*time.Millisecond)
	return builds
}

func (c *client) cancel(ctx context.Context) {
	if builds := c.long(ctx); len(builds) == 1 {
		c.steer(ctx, builds[0].ID, jobcontrol.ToCancel)
	}
}

func (c *client) suspend(ctx context.Context) {
	builds := c.long(ctx)
	if len(builds) != 1 || !c.steer(ctx, builds[0].ID, jobcontrol.ToSuspend) {
		return
	}
	pause(ctx, 100*time.Millisecond)
	c.steer(ctx, builds[0].ID, jobcontrol.ToResume) // refused where it is not suspended yet: then the drain does it
}

func (c *client) cancelRun(ctx context.Context) {
	builds := c.submit(ctx, request{verb: jobcontrol.VerbRun, job: fmt.Sprintf("clean%d", cleanLength-1), do: doOK, ms: 100})
	if len(builds) == 0 {
		return
	}
	c.endRun(ctx, builds[0].Run)
}

// endRun cancels a Run after a while.
func (c *client) endRun(ctx context.Context, run int64) {
	pause(ctx, time.Duration(c.rng.IntN(200))*time.Millisecond)
	c.call(ctx, Entry{Op: "cancel-run", Run: run}, func(ctx context.Context) ([]int64, string, error) {
		r, err := c.store.RequestCancel(ctx, run)
		if err != nil {
			return nil, "", err
		}
		return nil, r.State.String(), nil
	})
}

// look writes down which of the client's Runs are final and what became of their builds.
func (c *client) look(ctx context.Context) {
	if len(c.open) == 0 {
		return
	}
	// The oldest, and one by chance: a held one does not hide the others.
	for _, i := range []int{0, c.rng.IntN(len(c.open))} {
		if i >= len(c.open) {
			continue
		}
		limited, cancel := context.WithTimeout(ctx, callTimeout)
		r, err := c.store.Run(limited, c.open[i])
		if err == nil && r.State.Final() {
			var builds []jobcontrol.Build
			if builds, err = c.store.ListBuilds(limited, jobcontrol.BuildFilter{Run: r.ID, Limit: -1}); err == nil {
				for k := range builds {
					c.saw(&builds[k])
				}
				c.open = append(c.open[:i], c.open[i+1:]...)
			}
		}
		cancel()
	}
}

// saw writes down a build that is final.
func (c *client) saw(b *jobcontrol.Build) {
	c.journal.Write(Entry{Kind: entrySeen, Run: b.Run, Build: b.ID, Job: b.Job, State: b.State.String(), Attempt: b.Attempts, Fence: fenceOf(b), N: b.FinishedAt.UnixMicro()})
}
