package sqlite

import (
	"bytes"
	"encoding/json"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

func (t *tx) insertKey(key string, run int64) error {
	_, err := t.exec(`INSERT INTO run_keys (key, run, created_at) VALUES (?, ?, ?)`, key, run, t.now)
	return err
}

// numbers draws the ids of a Run and its builds, and of their claims, and returns
// the first of each.
func (t *tx) numbers(ids, builds int64, claimed bool) (first, claim int64, err error) {
	if !claimed {
		first, err = t.ids(ids)
		return first, 0, err
	}
	if err := t.settle(); err != nil {
		return 0, 0, err
	}
	_, err = t.returning(func(r *row) { first, claim = r.int()-ids+1, r.int()-builds+1 },
		`UPDATE sequences SET id = id + ?, claim = claim + ? RETURNING id, claim`, ids, builds)
	return first, claim, err
}

// insert stores a Run whose builds were admitted.
func (t *tx) insert(n *jobcontrol.NewRun, builds []newBuild) (*jobcontrol.Run, []jobcontrol.Build, error) {
	origin, err := t.origin(&n.Run)
	if err != nil {
		return nil, nil, err
	}

	lone := n.Lone()
	size := int64(len(builds))
	ids := size
	if !lone {
		ids++
	}
	first, claim, err := t.numbers(ids, size, n.Lease != nil)
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

	out, err := t.insertBuilds(n, run, builds, base, claim, origin)
	if err != nil {
		return nil, nil, err
	}
	final := 0
	for state, n := range run.Counts {
		if state.Final() {
			final += n
		}
	}
	if final == len(out) && (lone || n.Lease == nil) {
		run.State, run.FinishedAt = run.Counts.Outcome(), t.now
		if !lone {
			err = t.endRun(&runRow{Run: *run, size: size})
		}
	}
	return run, out, err
}

// insertBuilds stores the builds of a Run, whose ids begin with base.
func (t *tx) insertBuilds(n *jobcontrol.NewRun, run *jobcontrol.Run, builds []newBuild, base, claim, origin int64) ([]jobcontrol.Build, error) {
	out := make([]jobcontrol.Build, len(builds))
	for i := range builds {
		b := &builds[i]
		b.Made.ID, b.Made.Run = base+int64(i), run.ID
		if n.Lease != nil {
			b.Made.Claim = jobcontrol.Claim{Build: b.Made.ID, Worker: n.Lease.Worker, Epoch: n.Lease.Epoch, Number: claim + int64(i)}
		}
		for j := range b.Dependants {
			b.Dependants[j] += base
		}
		b.Made.Dependants = b.Dependants
		if err := t.pinMembers(b, builds, base); err != nil {
			return nil, err
		}
		if err := t.insertBuild(b, origin, n.Lease == nil); err != nil {
			return nil, err
		}
		run.Counts[b.Made.State]++
		out[i] = b.Made
	}
	return out, nil
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
		pins[builds[m].Made.Job] = base + int64(m)
	}
	if len(b.Skipped) > 0 {
		if err := t.settleHeads(); err != nil {
			return err
		}
	}
	for _, m := range b.Skipped {
		good, err := t.number(`SELECT good FROM heads WHERE job = ? AND project = ?`, builds[m].Made.Job, b.Made.Project)
		if err != nil {
			return err
		}
		pins[builds[m].Made.Job] = good
	}
	b.Made.Pins = pins
	return nil
}

func (t *tx) insertRun(r *jobcontrol.Run, builds []newBuild, origin int64, l *jobcontrol.Lease) error {
	var worker jobcontrol.Lease
	left := 0
	if l != nil {
		worker = *l
	} else {
		for i := range builds {
			if !builds[i].Made.State.Final() {
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
	v := &b.Made
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
	return t.insertEnd(b, head, definition.id)
}

// insertEnd stores how a build ended that was created final.
func (t *tx) insertEnd(b *newBuild, head, definition int64) error {
	v := &b.Made
	if len(b.body) > 0 || len(v.Result) > 0 {
		if _, err := t.exec(`UPDATE builds SET failure = ?, frames = ?, result = ? WHERE id = ?`, b.body, b.frames, v.Result, v.ID); err != nil {
			return err
		}
	}
	return t.headEnded(&ended{
		id: v.ID, head: head, definition: definition, state: v.State, at: v.FinishedAt, pins: codec.EncodePins(v.Pins),
		changed: v.Changed != nil && *v.Changed, result: codec.ResultOf(v),
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
	return bytes.Contains(body, []byte(`"on_lost"`)) && codec.PolicyOf(body).Fatal
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
