package postgres

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// newBuild is a build of a NewRun with what creating it decides.
type newBuild struct {
	jobcontrol.Draft
	body   json.RawMessage
	frames json.RawMessage
}

// plain tells whether a Run is a lone detached build of which nothing has to be
// looked up: those are written in batches.
func plain(n *jobcontrol.NewRun) bool {
	if !n.Lone() || n.Lease != nil || n.Key != "" {
		return false
	}
	b := &n.Builds[0]
	return !b.Final && len(b.Members) == 0 && b.Build.Unique == "" && b.Failure == nil
}

// CreateRun stores a Run; see [jobcontrol.Runs].
func (s *Store) CreateRun(ctx context.Context, n jobcontrol.NewRun) (*jobcontrol.Run, []jobcontrol.Build, error) {
	if plain(&n) {
		o := &createOp{many: []jobcontrol.NewRun{n}}
		err := s.w.do(ctx, o)
		if err != nil {
			return nil, nil, err
		}
		if o.written {
			run, b := o.answer(0)
			return run, []jobcontrol.Build{*b}, nil
		}
	}
	var run *jobcontrol.Run
	var builds []jobcontrol.Build
	err := s.create(ctx, []jobcontrol.NewRun{n}, func(_ int, r *jobcontrol.Run, b []jobcontrol.Build) { run, builds = r, b })
	if err != nil {
		return nil, nil, err
	}
	return run, builds, nil
}

// CreateRuns stores many Runs; see [jobcontrol.Runs].
func (s *Store) CreateRuns(ctx context.Context, many []jobcontrol.NewRun) ([]int64, error) {
	all := true
	for i := range many {
		all = all && plain(&many[i])
	}
	if len(many) == 0 {
		return nil, nil
	}
	if all {
		o := &createOp{many: many}
		if err := s.w.do(ctx, o); err != nil {
			return nil, err
		}
		if o.written {
			return o.ids, nil
		}
	}
	ids := make([]int64, len(many))
	err := s.create(ctx, many, func(i int, r *jobcontrol.Run, _ []jobcontrol.Build) { ids[i] = r.ID })
	if err != nil {
		return nil, err
	}
	return ids, nil
}

// create stores Runs of any kind in one transaction, one after the other.
func (s *Store) create(ctx context.Context, many []jobcontrol.NewRun, made func(int, *jobcontrol.Run, []jobcontrol.Build)) error {
	n := newNeeds()
	for i := range many {
		n.add(&many[i])
	}
	learned := false
	return s.writeAfter(ctx, "create", func(c *conn) error {
		if learned && s.known.fill(n) {
			return nil
		}
		learned = true
		return s.learn(c, n)
	}, func(t *tx) error {
		for i := range many {
			run, builds, err := t.createOrFind(&many[i], n)
			if err != nil {
				return err
			}
			made(i, run, builds)
		}
		return nil
	})
}

// createOrFind returns the Run that was made before under this key, or whose
// build is the unfinished one of this unique key; else it makes one.
func (t *tx) createOrFind(n *jobcontrol.NewRun, known *needs) (*jobcontrol.Run, []jobcontrol.Build, error) {
	if n.Key != "" {
		old, err := t.number(`SELECT run FROM {run_keys} WHERE key = $1`, n.Key)
		if err != nil {
			return nil, nil, err
		}
		if old != 0 {
			return t.runWithBuilds(old)
		}
	}
	if n.Lease != nil {
		if err := t.held(*n.Lease); err != nil {
			return nil, nil, err
		}
	}
	builds, err := t.prepare(n)
	if err != nil {
		return nil, nil, err
	}
	old, err := t.meets(n, builds)
	if err != nil {
		return nil, nil, err
	}
	if old == 0 {
		return t.createRun(n, builds, known)
	}
	run, met, err := t.existing(old)
	if err != nil || n.Key == "" {
		return run, met, err
	}
	t.insertKey(n.Key, run.ID)
	return run, met, t.send()
}

// meets returns the unfinished build that a lone one meets by its unique key; a
// member of a larger Run that meets one is a conflict. What is final when it is
// made meets none.
func (t *tx) meets(n *jobcontrol.NewRun, builds []newBuild) (old int64, err error) {
	mine := map[string]string{} // jobs
	for i := range builds {
		b := &builds[i].Made
		if b.Unique == "" || b.State.Final() {
			continue
		}
		if other, twice := mine[b.Unique]; twice {
			return 0, jobcontrol.UniqueMemberConflict(b.Job, other)
		}
		mine[b.Unique] = b.Job
		old, err = t.number(`SELECT id FROM {builds} WHERE unique_key = $1`, uniqueKey(n.Run.Project, b.Unique))
		if err != nil {
			return 0, err
		}
		if old != 0 && len(builds) > 1 {
			return 0, jobcontrol.UniqueConflict(b.Job, old)
		}
	}
	return old, nil
}

func uniqueKey(project, key string) string {
	if key == "" {
		return ""
	}
	return project + "/" + key
}

// existing returns a build with its Run.
func (t *tx) existing(id int64) (*jobcontrol.Run, []jobcontrol.Build, error) {
	b, err := t.build(id)
	if err != nil {
		return nil, nil, err
	}
	r, err := t.run(b.Run)
	if err != nil {
		return nil, nil, err
	}
	return &r.Run, []jobcontrol.Build{*b}, nil
}

// runWithBuilds returns a Run and all its builds.
func (t *tx) runWithBuilds(id int64) (*jobcontrol.Run, []jobcontrol.Build, error) {
	r, err := t.run(id)
	if err != nil {
		return nil, nil, err
	}
	builds, err := t.builds(r, "")
	if err != nil {
		return nil, nil, err
	}
	return &r.Run, builds, nil
}

func (t *tx) createRun(n *jobcontrol.NewRun, builds []newBuild, known *needs) (*jobcontrol.Run, []jobcontrol.Build, error) {
	if n.Lease == nil {
		if err := t.refuseDraining(n, builds, known); err != nil {
			return nil, nil, err
		}
	}
	lone := n.Lone()
	ids, claims, err := t.draw(n, lone)
	if err != nil {
		return nil, nil, err
	}
	run := &jobcontrol.Run{
		ID: ids[0], Project: n.Run.Project, Verb: n.Run.Verb, Targets: n.Run.Targets, State: jobcontrol.RunRunning,
		NoCleanup: n.Run.NoCleanup, By: n.Run.By, File: n.Run.File, CreatedAt: t.now, Counts: jobcontrol.Counts{}, Lone: lone,
	}
	if n.Lease != nil {
		run.Worker = n.Lease.Worker
	}
	if lone {
		run.Targets = []string{n.Builds[0].Build.Job}
	} else {
		ids = ids[1:]
	}
	for i := range builds {
		b := &builds[i]
		b.Made.ID, b.Made.Run = ids[i], run.ID
		if n.Lease != nil {
			b.Made.Claim = jobcontrol.Claim{Build: ids[i], Worker: n.Lease.Worker, Epoch: n.Lease.Epoch, Number: claims[i]}
		}
		for j := range b.Dependants {
			b.Dependants[j] = ids[b.Dependants[j]]
		}
		b.Made.Dependants = b.Dependants
		if err := t.pinMembers(b, builds, ids, known); err != nil {
			return nil, nil, err
		}
		run.Counts[b.Made.State]++
	}
	if err := t.insert(n, run, builds, known); err != nil {
		return nil, nil, err
	}
	out := make([]jobcontrol.Build, len(builds))
	left := 0
	for i := range builds {
		out[i] = builds[i].Made
		if !out[i].State.Final() {
			left++
		}
		// Its claim is what counts, not its rank, for a program in the foreground.
		t.news.ready = t.news.ready || n.Lease == nil && out[i].State == jobcontrol.Queued
		t.news.scheduled = t.news.scheduled || n.Lease == nil && out[i].State == jobcontrol.Scheduled
	}
	if (lone || n.Lease == nil) && left == 0 {
		run.State, run.FinishedAt = run.Counts.Outcome(), t.now
	}
	return run, out, nil
}

// draw draws the ids of a Run and its builds, and their claims if they have any.
func (t *tx) draw(n *jobcontrol.NewRun, lone bool) (ids, claims []int64, err error) {
	size := len(n.Builds)
	if !lone {
		size++
	}
	t.queue(func(r *row) error {
		ids = append(ids, r.int())
		return nil
	}, `SELECT nextval('{ids}') FROM generate_series(1, $1::bigint)`, size)
	if n.Lease != nil {
		t.queue(func(r *row) error {
			claims = append(claims, r.int())
			return nil
		}, `SELECT nextval('{claims}') FROM generate_series(1, $1::bigint)`, len(n.Builds))
	}
	err = t.send()
	return ids, claims, err
}

// refuseDraining returns a conflict if a service of the builds accepts no more.
// What is final when it is made is nothing for a service to execute.
func (t *tx) refuseDraining(n *jobcontrol.NewRun, builds []newBuild, known *needs) error {
	var ids []int64
	var jobs []string
	for i := range builds {
		if b := &builds[i].Made; !b.State.Final() {
			ids = append(ids, known.services[jobKey{n.Run.Project, serviceOf(b.Service)}])
			jobs = append(jobs, b.Job)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	var id int64
	var draining string
	found, err := t.first(func(r *row) { id, draining = r.int(), r.text() }, `SELECT id, name FROM {services} WHERE id = ANY($1) AND draining LIMIT 1`, ids)
	if err == nil && found {
		err = jobcontrol.DrainingConflict(jobs[slices.Index(ids, id)], draining)
	}
	return err
}

// prepare decides the state and the dependants of each build.
func (t *tx) prepare(n *jobcontrol.NewRun) ([]newBuild, error) {
	drafts, err := n.Drafts(t.now)
	if err != nil {
		return nil, err
	}
	builds := make([]newBuild, len(drafts))
	for i := range drafts {
		b := &builds[i]
		b.Draft = drafts[i]
		if b.body, b.frames, err = codec.EncodeFailure(b.Failure); err != nil {
			return nil, err
		}
	}
	return builds, nil
}

// pinMembers sets the pins of a build: those given, and its members' builds.
func (t *tx) pinMembers(b *newBuild, builds []newBuild, ids []int64, known *needs) error {
	given := b.NewBuild.Build.Pins
	if len(given)+len(b.Members) == 0 {
		return nil
	}
	pins := make(map[string]int64, len(given)+len(b.Members))
	for job, id := range given {
		pins[job] = id
	}
	for _, m := range b.Members {
		pins[builds[m].Made.Job] = ids[m]
	}
	for _, m := range b.Skipped {
		good, err := t.number(`SELECT good FROM {heads} WHERE id = $1`, known.heads[jobKey{b.Made.Project, builds[m].Made.Job}])
		if err != nil {
			return err
		}
		pins[builds[m].Made.Job] = good
	}
	b.Made.Pins = pins
	return nil
}
