package sqlite

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// newBuild is a build of a NewRun with what creating it decides.
type newBuild struct {
	*jobcontrol.NewBuild
	build      jobcontrol.Build
	dependants []int64 // indexes while the Run is prepared, then ids
	skipped    []int   // members that are created skipped
	body       json.RawMessage
	frames     json.RawMessage
}

// CreateRun stores a Run; see [jobcontrol.Runs].
func (s *Store) CreateRun(ctx context.Context, n jobcontrol.NewRun) (*jobcontrol.Run, []jobcontrol.Build, error) {
	var run *jobcontrol.Run
	var builds []jobcontrol.Build
	err := s.write(ctx, "create", func(t *tx) error {
		run, builds = nil, nil
		if n.Key != "" {
			old, err := t.number(`SELECT run FROM run_keys WHERE key = ?`, n.Key)
			if err != nil {
				return err
			}
			if old != 0 {
				run, builds, err = t.runWithBuilds(old)
				return err
			}
		}
		var err error
		run, builds, err = t.createRun(n)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return run, builds, nil
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

func (t *tx) createRun(n jobcontrol.NewRun) (*jobcontrol.Run, []jobcontrol.Build, error) {
	if n.Lease != nil {
		if err := t.held(*n.Lease); err != nil {
			return nil, nil, err
		}
	}
	builds, err := t.prepare(n)
	if err != nil {
		return nil, nil, err
	}
	origin, err := t.origin(n.Run)
	if err != nil {
		return nil, nil, err
	}

	lone := len(builds) == 1
	size := int64(len(builds))
	ids := size
	if !lone {
		ids++
	}
	var first, claim int64
	claims := int64(0)
	if n.Lease != nil {
		claims = size
	}
	if _, err := t.returning(func(r *row) { first, claim = r.int()-ids+1, r.int()-claims+1 },
		`UPDATE sequences SET id = id + ?, claim = claim + ? RETURNING id, claim`, ids, claims); err != nil {
		return nil, nil, err
	}

	run := &jobcontrol.Run{
		ID: first, Project: n.Run.Project, Verb: n.Run.Verb, Targets: n.Run.Targets, State: jobcontrol.RunRunning,
		NoCleanup: n.Run.NoCleanup, By: n.Run.By, File: n.Run.File, CreatedAt: t.now, Counts: jobcontrol.Counts{}, Lone: lone,
	}
	if n.Lease != nil {
		run.Worker = n.Lease.Worker
	}
	base := first
	if lone {
		run.Targets = []string{n.Builds[0].Build.Job}
	} else {
		base++
		if err := t.insertRun(run, size, origin, n.Lease); err != nil {
			return nil, nil, err
		}
		origin = 0
	}
	if n.Key != "" {
		if _, err := t.exec(`INSERT INTO run_keys (key, run, created_at) VALUES (?, ?, ?)`, n.Key, run.ID, t.now); err != nil {
			return nil, nil, err
		}
	}

	out := make([]jobcontrol.Build, len(builds))
	for i := range builds {
		b := &builds[i]
		b.build.ID, b.build.Run = base+int64(i), run.ID
		if n.Lease != nil {
			b.build.Claim = jobcontrol.Claim{Build: b.build.ID, Worker: n.Lease.Worker, Epoch: n.Lease.Epoch, Number: claim + int64(i)}
		}
		for j := range b.dependants {
			b.dependants[j] += base
		}
		b.build.Dependants = b.dependants
		if err := t.pinMembers(b, builds, base); err != nil {
			return nil, nil, err
		}
		if err := t.insertBuild(b, origin); err != nil {
			return nil, nil, err
		}
		run.Counts[b.build.State]++
		out[i] = b.build
	}
	if lone {
		if out[0].State.Final() {
			run.State, run.FinishedAt = run.Counts.Outcome(), t.now
		}
	}
	return run, out, nil
}

// prepare decides the state and the dependants of each build.
func (t *tx) prepare(n jobcontrol.NewRun) ([]newBuild, error) {
	if len(n.Builds) == 0 {
		return nil, jobcontrol.Errorf(jobcontrol.Invalid, "create run: there is no build in it")
	}
	builds := make([]newBuild, len(n.Builds))
	left := make([]int, len(builds)) // members that were not visited yet
	for i := range builds {
		in := &n.Builds[i]
		builds[i].NewBuild = in
		for _, m := range in.Members {
			if m < 0 || m >= len(builds) || m == i {
				return nil, jobcontrol.Errorf(jobcontrol.Invalid, "create run: build %d (%s) cannot depend on build %d", i, in.Build.Job, m)
			}
			builds[m].dependants = append(builds[m].dependants, int64(i))
			left[i]++
		}
		var err error
		if builds[i].body, builds[i].frames, err = encodeFailure(in.Failure); err != nil {
			return nil, err
		}
	}
	var ready []int
	for i := range builds {
		if left[i] == 0 {
			ready = append(ready, i)
		}
	}
	visited := 0
	for ; len(ready) > 0; visited++ {
		i := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		if err := t.decide(n.Run.Project, builds, i); err != nil {
			return nil, err
		}
		for _, d := range builds[i].dependants {
			if left[d]--; left[d] == 0 {
				ready = append(ready, int(d))
			}
		}
	}
	if visited < len(builds) {
		return nil, jobcontrol.Errorf(jobcontrol.Invalid, "create run: the builds depend on each other in a circle")
	}
	return builds, nil
}

// decide sets what is known of build i from its members, which were decided.
func (t *tx) decide(project string, builds []newBuild, i int) error {
	b := &builds[i]
	in := b.NewBuild
	b.build = jobcontrol.Build{
		Project: project, Job: in.Build.Job, Definition: in.Hash, Args: in.Build.Args, Kwargs: in.Build.Kwargs,
		Place: i, Tries: in.Build.Tries, RetryDelay: in.Build.RetryDelay, CreatedAt: t.now,
		ReadyAt: jobcontrol.Micros(in.Build.ReadyAt), AgainOf: in.Build.AgainOf, Why: in.Build.Why,
	}
	blocked := false
	for _, m := range in.Members {
		switch member := &builds[m]; {
		case !member.build.State.Final():
			b.build.DepsLeft++
		case member.build.State == jobcontrol.Skipped:
			b.skipped = append(b.skipped, m)
		case member.build.State != jobcontrol.Successful:
			blocked = true
		}
	}
	switch {
	case in.Final && !in.Build.State.Final():
		return jobcontrol.Errorf(jobcontrol.Invalid, "create run: build %d (%s) cannot be created %s", i, in.Build.Job, in.Build.State)
	case in.Final:
		b.build.State, b.build.Failure = in.Build.State, in.Failure
	case blocked:
		b.build.State = jobcontrol.Blocked
	case in.Build.State == jobcontrol.Held:
		b.build.State = jobcontrol.Held
	case b.build.DepsLeft > 0:
		b.build.State = jobcontrol.Waiting
	default:
		b.build.State = readyState(b.build.ReadyAt, t.now)
	}
	if b.build.State.Final() {
		b.build.FinishedAt = t.now
		if b.build.State == jobcontrol.Successful {
			changed := in.Build.Changed != nil && *in.Build.Changed
			b.build.Changed, b.build.Result = &changed, in.Build.Result
		}
	}
	return nil
}

// readyState is the state of a build that waits for nothing but its time.
func readyState(at, now time.Time) jobcontrol.State {
	if at.After(now) {
		return jobcontrol.Scheduled
	}
	return jobcontrol.Queued
}

// pinMembers sets the pins of a build: those given, and its members' builds.
func (t *tx) pinMembers(b *newBuild, builds []newBuild, base int64) error {
	given := b.NewBuild.Build.Pins
	if len(given)+len(b.Members) == 0 {
		return nil
	}
	pins := make(map[string]int64, len(given)+len(b.Members))
	for job, id := range given {
		pins[job] = id
	}
	for _, m := range b.Members {
		pins[builds[m].build.Job] = base + int64(m)
	}
	for _, m := range b.skipped {
		good, err := t.number(`SELECT good FROM heads WHERE job = ? AND project = ?`, builds[m].build.Job, b.build.Project)
		if err != nil {
			return err
		}
		pins[builds[m].build.Job] = good
	}
	b.build.Pins = pins
	return nil
}

func (t *tx) insertRun(r *jobcontrol.Run, size, origin int64, l *jobcontrol.Lease) error {
	var worker jobcontrol.Lease
	if l != nil {
		worker = *l
	}
	targets, err := json.Marshal(r.Targets)
	if err != nil {
		return err
	}
	_, err = t.exec(`INSERT INTO runs (id, size, project, origin, state, worker, epoch, created_at, targets)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		r.ID, size, r.Project, origin, r.State, worker.Worker, worker.Epoch, r.CreatedAt, string(targets))
	return err
}

func (t *tx) insertBuild(b *newBuild, origin int64) error {
	definition, err := t.definition(b.Hash, b.NewBuild.Definition)
	if err != nil {
		return err
	}
	v := &b.build
	var open, loneOrigin any
	if origin != 0 {
		loneOrigin = origin
		if !v.State.Final() {
			open = int64(jobcontrol.RunRunning)
		}
	}
	head, good, err := t.headOfNew(v)
	if err != nil {
		return err
	}
	var changed any
	if v.Changed != nil {
		changed = *v.Changed
		if !*v.Changed && len(v.Result) == 0 {
			v.ResultOf = good
		}
	}
	c := v.Claim
	if _, err := t.exec(`INSERT INTO builds (id, run, head, definition, origin, open, state, deps_left, changed,
		tries, retry_delay, created_at, ready_at, finished_at, worker, epoch, claim, result_of, again_of,
		dependants, pins, why, args, kwargs, room) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, zeroblob(72))`,
		v.ID, v.Run, head, definition, loneOrigin, open, v.State, v.DepsLeft, changed,
		v.Tries, int64(v.RetryDelay), v.CreatedAt, v.ReadyAt, v.FinishedAt, c.Worker, c.Epoch, c.Number, v.ResultOf, v.AgainOf,
		encodeIDs(v.ID, v.Dependants), encodePins(v.Pins), optional(v.Why), v.Args, v.Kwargs); err != nil {
		return err
	}
	if !v.State.Final() {
		return nil
	}
	if len(b.body) > 0 || len(v.Result) > 0 {
		if _, err := t.exec(`UPDATE builds SET failure = ?, frames = ?, result = ? WHERE id = ?`, b.body, b.frames, v.Result, v.ID); err != nil {
			return err
		}
	}
	return t.headEnded(&ended{
		id: v.ID, head: head, definition: definition, state: v.State, at: v.FinishedAt, pins: encodePins(v.Pins),
		changed: v.Changed != nil && *v.Changed, result: resultOf(v),
	})
}

// optional makes an empty string NULL.
func optional(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// definition returns the number of a definition, stored if it is new.
func (t *tx) definition(hash string, body []byte) (int64, error) {
	id, err := t.number(`SELECT id FROM definitions WHERE hash = ?`, hash)
	if err != nil || id != 0 {
		return id, err
	}
	_, err = t.returning(func(r *row) { id = r.int() },
		`INSERT INTO definitions (hash, body) VALUES (?, ?) RETURNING id`, hash, string(body))
	return id, err
}

// origin returns the number of how a Run came to be, stored if it is new.
func (t *tx) origin(r jobcontrol.Run) (int64, error) {
	id, err := t.number(`SELECT id FROM origins WHERE verb = ? AND author = ? AND file = ? AND no_cleanup = ?`,
		string(r.Verb), r.By, r.File, r.NoCleanup)
	if err != nil || id != 0 {
		return id, err
	}
	_, err = t.returning(func(r *row) { id = r.int() },
		`INSERT INTO origins (verb, author, file, no_cleanup) VALUES (?, ?, ?, ?) RETURNING id`,
		string(r.Verb), r.By, r.File, r.NoCleanup)
	return id, err
}
