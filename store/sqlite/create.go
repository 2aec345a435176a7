package sqlite

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// newBuild is a build of a NewRun with what creating it decides.
type newBuild struct {
	*jobcontrol.NewBuild
	service    *service
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
		old, err := t.keyed(&n)
		if err != nil {
			return err
		}
		if old != 0 {
			run, builds, err = t.runWithBuilds(old)
			return err
		}
		old, run, builds, err = t.createRun(&n)
		if err != nil || old == 0 {
			return err
		}
		run, builds, err = t.runWithBuild(old)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return run, builds, nil
}

// CreateRuns stores many Runs; see [jobcontrol.Runs].
func (s *Store) CreateRuns(ctx context.Context, many []jobcontrol.NewRun) ([]int64, error) {
	if len(many) == 0 {
		return nil, ctx.Err()
	}
	var ids []int64
	err := s.write(ctx, "create-many", func(t *tx) error {
		ids = make([]int64, len(many))
		for i := range many {
			id, err := t.createOne(&many[i])
			if err != nil {
				return err
			}
			ids[i] = id
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
}

// createOne returns the id of a Run that it makes, or that there is.
func (t *tx) createOne(n *jobcontrol.NewRun) (int64, error) {
	old, err := t.keyed(n)
	if err != nil || old != 0 {
		return old, err
	}
	old, run, _, err := t.createRun(n)
	if err != nil {
		return 0, err
	}
	if old != 0 {
		return t.number(`SELECT run FROM builds WHERE id = ?`, old)
	}
	return run.ID, nil
}

// keyed returns the Run that was made with the key before; 0: none.
func (t *tx) keyed(n *jobcontrol.NewRun) (int64, error) {
	if n.Key == "" {
		return 0, nil
	}
	return t.number(`SELECT run FROM run_keys WHERE key = ?`, n.Key)
}

// runWithBuild returns a build and its Run.
func (t *tx) runWithBuild(id int64) (*jobcontrol.Run, []jobcontrol.Build, error) {
	if err := t.settle(); err != nil {
		return nil, nil, err
	}
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
	if err := t.settle(); err != nil {
		return nil, nil, err
	}
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

// createRun makes a Run; old: nothing was made, since this unfinished build has
// the unique key of the lone one.
func (t *tx) createRun(n *jobcontrol.NewRun) (old int64, _ *jobcontrol.Run, _ []jobcontrol.Build, err error) {
	if n.Lease != nil {
		if err := t.held(*n.Lease); err != nil {
			return 0, nil, nil, err
		}
	}
	builds, err := t.prepare(n)
	if err != nil {
		return 0, nil, nil, err
	}
	if old, err = t.admit(n, builds); err != nil || old != 0 {
		return old, nil, nil, err
	}
	run, out, err := t.insert(n, builds)
	return 0, run, out, err
}

// admit returns the unfinished build that a lone one meets by its unique key; a
// member of a larger Run that meets one is a conflict, and so is a service that
// drains. Nothing is written before.
func (t *tx) admit(n *jobcontrol.NewRun, builds []newBuild) (met int64, err error) {
	var mine map[string]*newBuild
	for i := range builds {
		b := &builds[i]
		if n.Lease == nil || b.build.Service != "" {
			if b.service, err = t.service(n.Run.Project, b.build.Service); err != nil {
				return 0, err
			}
			if n.Lease == nil && b.service.Draining && !b.build.State.Final() {
				return 0, jobcontrol.Errorf(jobcontrol.Conflict, "cannot create a build of %s: service %s drains and accepts nothing new", b.build.Job, b.service.Name)
			}
		}
		if b.build.Unique == "" || b.build.State.Final() {
			continue
		}
		if other := mine[b.build.Unique]; other != nil {
			return 0, jobcontrol.Errorf(jobcontrol.Conflict, "cannot create a build of %s: it is unique, and equals that of %s in the same run", b.build.Job, other.build.Job)
		}
		met = 0
		if _, err = t.first(func(r *row) {
			if id := r.int(); !r.state().Final() {
				met = id
			}
		}, `SELECT id, state FROM builds WHERE unique_key = ? AND unique_key IS NOT NULL ORDER BY id DESC LIMIT 1`,
			uniqueKey(n.Run.Project, b.build.Unique)); err != nil {
			return 0, err
		}
		if met != 0 && len(builds) > 1 {
			return 0, jobcontrol.Errorf(jobcontrol.Conflict, "cannot create a build of %s: it is unique, and build %d is not finished", b.build.Job, met)
		}
		if mine == nil {
			mine = map[string]*newBuild{}
		}
		mine[b.build.Unique] = b
	}
	if met != 0 && n.Key != "" {
		run, err := t.number(`SELECT run FROM builds WHERE id = ?`, met)
		if err != nil {
			return 0, err
		}
		return met, t.insertKey(n.Key, run)
	}
	return met, nil
}

// uniqueKey is builds.unique_key.
func uniqueKey(project, key string) string { return project + "\n" + key }

func (t *tx) insertKey(key string, run int64) error {
	_, err := t.exec(`INSERT INTO run_keys (key, run, created_at) VALUES (?, ?, ?)`, key, run, t.now)
	return err
}

func (t *tx) insert(n *jobcontrol.NewRun, builds []newBuild) (*jobcontrol.Run, []jobcontrol.Build, error) {
	origin, err := t.origin(&n.Run)
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
	if n.Lease != nil {
		if err := t.settle(); err != nil {
			return nil, nil, err
		}
		_, err = t.returning(func(r *row) { first, claim = r.int()-ids+1, r.int()-size+1 },
			`UPDATE sequences SET id = id + ?, claim = claim + ? RETURNING id, claim`, ids, size)
	} else {
		first, err = t.ids(ids)
	}
	if err != nil {
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
		if err := t.insertRun(run, builds, origin, n.Lease); err != nil {
			return nil, nil, err
		}
		origin = 0
	}
	if n.Key != "" {
		if err := t.insertKey(n.Key, run.ID); err != nil {
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
		if err := t.insertBuild(b, origin, n.Lease == nil); err != nil {
			return nil, nil, err
		}
		run.Counts[b.build.State]++
		out[i] = b.build
	}
	if lone && out[0].State.Final() {
		run.State, run.FinishedAt = run.Counts.Outcome(), t.now
	}
	if n.Lease == nil && !lone && run.Counts[jobcontrol.Successful]+run.Counts[jobcontrol.Skipped]+run.Counts[jobcontrol.Failed]+
		run.Counts[jobcontrol.Cancelled]+run.Counts[jobcontrol.Blocked] == len(out) {
		run.State, run.FinishedAt = run.Counts.Outcome(), t.now
		return run, out, t.endRun(&runRow{Run: *run, size: size})
	}
	return run, out, nil
}

// prepare decides the state and the dependants of each build.
func (t *tx) prepare(n *jobcontrol.NewRun) ([]newBuild, error) {
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
		if builds[i].body, builds[i].frames, err = codec.EncodeFailure(in.Failure); err != nil {
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
		Service: in.Build.Service, Priority: in.Build.Priority, Unique: in.Build.Unique, Key: in.Build.Key,
	}
	if b.build.Service == jobcontrol.DefaultService {
		b.build.Service = ""
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
	if len(b.skipped) > 0 {
		if err := t.settleHeads(); err != nil {
			return err
		}
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

func (t *tx) insertRun(r *jobcontrol.Run, builds []newBuild, origin int64, l *jobcontrol.Lease) error {
	var worker jobcontrol.Lease
	left := 0
	if l != nil {
		worker = *l
	} else {
		for i := range builds {
			if !builds[i].build.State.Final() {
				left++
			}
		}
	}
	targets, err := json.Marshal(r.Targets)
	if err != nil {
		return err
	}
	_, err = t.exec(`INSERT INTO runs (id, size, project, origin, state, worker, epoch, created_at, targets, detached, left)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		r.ID, len(builds), r.Project, origin, r.State, worker.Worker, worker.Epoch, r.CreatedAt, string(targets), l == nil, left)
	return err
}

// headOfBuild enters a new build in its head.
func (t *tx) headOfBuild(v *jobcontrol.Build, detached bool) (head, good int64, err error) {
	if !detached || v.State.Final() {
		return t.headOfNew(v)
	}
	h, err := t.headOf(v.Project, v.Job)
	if err != nil {
		return 0, 0, err
	}
	h.latest = v.ID
	h.created++
	return h.id, 0, nil
}

func (t *tx) insertBuild(b *newBuild, origin int64, detached bool) error {
	definition, err := t.definition(b.Hash, b.NewBuild.Definition)
	if err != nil {
		return err
	}
	v := &b.build
	var open, loneOrigin, unique, rank, queue any
	if origin != 0 {
		loneOrigin = origin
		if !v.State.Final() && !detached {
			open = int64(jobcontrol.RunRunning)
		}
	}
	head, good, err := t.headOfBuild(v, detached)
	if err != nil {
		return err
	}
	service := int64(0)
	if b.service != nil {
		if b.service, err = t.makeService(v.Project, b.service.Name); err != nil {
			return err
		}
		service = b.service.id
	}
	rank = int64(0)
	if detached {
		rank, queue = rankOf(v), queueOf(v.State)
		t.hint = t.hint || v.State == jobcontrol.Queued || v.State == jobcontrol.Scheduled
	}
	if detached && origin != 0 && !definition.alone && plain(b) {
		t.plain = append(t.plain, plainBuild{
			id: v.ID, head: head, definition: definition.id, origin: origin, service: service, rank: rankOf(v), tries: v.Tries,
			retryDelay: v.RetryDelay, why: v.Why, args: v.Args, kwargs: v.Kwargs,
		})
		t.changes++
		return t.insertPlain(false)
	}
	if v.Unique != "" {
		unique = uniqueKey(v.Project, v.Unique)
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
		dependants, pins, why, args, kwargs, detached, queue, service, priority, rank, alone, unique_key, service_key, room)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, zeroblob(64))`,
		v.ID, v.Run, head, definition.id, loneOrigin, open, v.State, v.DepsLeft, changed,
		v.Tries, int64(v.RetryDelay), v.CreatedAt, v.ReadyAt, v.FinishedAt, c.Worker, c.Epoch, c.Number, v.ResultOf, v.AgainOf,
		codec.EncodeIDs(v.ID, v.Dependants), codec.EncodePins(v.Pins), optional(v.Why), v.Args, v.Kwargs,
		detached, queue, service, v.Priority, rank, detached && definition.alone, unique, optional(v.Key)); err != nil {
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
		id: v.ID, head: head, definition: definition.id, state: v.State, at: v.FinishedAt, pins: codec.EncodePins(v.Pins),
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

// definition is a row of table definitions.
type definition struct {
	id    int64
	alone bool // on_lost: fail
}

// definition returns a definition, stored if it is new.
func (t *tx) definition(hash string, body []byte) (definition, error) {
	if d, ok := t.definitions[hash]; ok {
		return d, nil
	}
	d := definition{alone: fatal(body)}
	var err error
	d.id, err = t.number(`SELECT id FROM definitions WHERE hash = ?`, hash)
	if err == nil && d.id == 0 {
		_, err = t.returning(func(r *row) { d.id = r.int() },
			`INSERT INTO definitions (hash, body) VALUES (?, ?) RETURNING id`, hash, string(body))
	}
	if err == nil {
		t.definitions[hash] = d
	}
	return d, err
}

// fatal tells whether a lost attempt of the job fails its build.
func fatal(body []byte) bool {
	if !bytes.Contains(body, []byte(`"on_lost"`)) {
		return false
	}
	var job struct {
		OnLost string `json:"on_lost"`
	}
	return json.Unmarshal(body, &job) == nil && job.OnLost == "fail"
}

// origin is how a Run came to be.
type origin struct {
	verb      jobcontrol.Verb
	by, file  string
	noCleanup bool
}

// origin returns the number of how a Run came to be, stored if it is new.
func (t *tx) origin(r *jobcontrol.Run) (int64, error) {
	o := origin{r.Verb, r.By, r.File, r.NoCleanup}
	if id := t.origins[o]; id != 0 {
		return id, nil
	}
	id, err := t.number(`SELECT id FROM origins WHERE verb = ? AND author = ? AND file = ? AND no_cleanup = ?`,
		string(r.Verb), r.By, r.File, r.NoCleanup)
	if err == nil && id == 0 {
		_, err = t.returning(func(r *row) { id = r.int() },
			`INSERT INTO origins (verb, author, file, no_cleanup) VALUES (?, ?, ?, ?) RETURNING id`,
			string(r.Verb), r.By, r.File, r.NoCleanup)
	}
	if err == nil {
		t.origins[o] = id
	}
	return id, err
}
