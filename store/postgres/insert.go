package postgres

import (
	"encoding/json"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// insertBuilds stores builds that are not final. Where the id is NULL, one is
// drawn and is that of the Run, too. A state of 0 follows from the time.
const insertBuilds = `INSERT INTO {builds} (id, run, rank, created_at, retry_delay, head, definition, service, place, deps_left,
		tries, priority, state, detached, suspect, open, origin, ready_at, worker, epoch, claim, again_of, unique_key, key,
		dependants, pins, why, args, kwargs)
	SELECT n.id, coalesce(n.run, n.id), coalesce(n.ready_at, n.now) - n.priority * 60000000, n.now, n.retry_delay, n.head, n.definition, n.service,
		n.place, n.deps_left, n.tries, n.priority,
		CASE WHEN n.state <> 0 THEN n.state WHEN n.ready_at > n.now THEN 3 ELSE 4 END,
		n.worker IS NULL, n.suspect, CASE WHEN n.run IS NULL OR n.run = n.id THEN 1 END, n.origin, n.ready_at, n.worker, n.epoch, n.claim,
		n.again_of, n.unique_key, n.key, n.dependants, n.pins, n.why, n.args, n.kwargs
	FROM (SELECT coalesce(u.given, nextval('{ids}')) AS id, (SELECT ` + present + `) AS now, u.*
		FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25)
		u(given, run, head, definition, service, origin, place, deps_left, tries, priority, state, suspect, retry_delay, ready_at,
			worker, epoch, claim, again_of, unique_key, key, dependants, pins, why, args, kwargs)) n`

// rows are builds as the arguments of insertBuilds.
type rows struct {
	n                                                                                    int
	id, run, head, definition, service, origin, place, depsLeft, tries, priority, state  *list
	suspect, retryDelay, readyAt, worker, epoch, claim, againOf, unique, key, deps, pins *list
	why, args, kwargs                                                                    *list
}

func newRows(n int) *rows {
	ints := func() *list { return newList(oidInt, n, 12) }
	text := func(size int) *list { return newList(oidText, n, size) }
	return &rows{
		id: ints(), run: ints(), head: ints(), definition: ints(), service: ints(), origin: ints(), place: ints(), depsLeft: ints(),
		tries: ints(), priority: ints(), state: ints(), suspect: newList(oidBool, n, 5), retryDelay: ints(), readyAt: ints(),
		worker: ints(), epoch: ints(), claim: ints(), againOf: ints(), unique: text(4), key: text(4), deps: newList(oidBytes, n, 4),
		pins: text(4), why: text(4), args: text(32), kwargs: text(32),
	}
}

// add adds a build. origin is 0 for a member of a larger Run.
func (r *rows) add(b *jobcontrol.Build, head, service, origin int64, d definition) {
	r.n++
	r.id.unset(b.ID)
	r.run.unset(b.Run)
	r.head.int(head)
	r.definition.int(d.id)
	r.service.int(service)
	r.origin.unset(origin)
	r.place.int(int64(b.Place))
	r.depsLeft.int(int64(b.DepsLeft))
	r.tries.int(int64(b.Tries))
	r.priority.int(int64(b.Priority))
	r.state.int(int64(b.State))
	r.suspect.bool(d.suspect)
	r.retryDelay.int(int64(b.RetryDelay))
	r.readyAt.unset(codec.Micros(b.ReadyAt))
	r.worker.unset(b.Claim.Worker)
	r.epoch.unset(b.Claim.Epoch)
	r.claim.unset(b.Claim.Number)
	r.againOf.unset(b.AgainOf)
	r.unique.optional(uniqueKey(b.Project, b.Unique))
	r.key.optional(b.Key)
	r.deps.blob(codec.EncodeIDs(b.ID, b.Dependants))
	r.pins.json(codec.EncodePins(b.Pins))
	r.why.optional(b.Why)
	r.args.json(b.Args)
	r.kwargs.json(b.Kwargs)
}

func (r *rows) arguments() []any {
	return []any{
		r.id, r.run, r.head, r.definition, r.service, r.origin, r.place, r.depsLeft, r.tries, r.priority, r.state, r.suspect,
		r.retryDelay, r.readyAt, r.worker, r.epoch, r.claim, r.againOf, r.unique, r.key, r.deps, r.pins, r.why, r.args, r.kwargs,
	}
}

// insertKey queues the entry of the Run that was made, or met, with a key.
func (t *tx) insertKey(key string, run int64) {
	t.queue(nil, `INSERT INTO {run_keys} (key, run, created_at) VALUES ($1, $2, $3)`, key, run, t.now)
}

// insert stores a Run with its builds.
func (t *tx) insert(n *jobcontrol.NewRun, run *jobcontrol.Run, builds []newBuild, known *needs) error {
	origin := known.origins[originOf(&n.Run)]
	if n.Key != "" {
		t.insertKey(n.Key, run.ID)
	}
	if !run.Lone {
		if err := t.insertRun(run, len(builds), origin, n.Lease); err != nil {
			return err
		}
		origin = 0
	}
	open := newRows(len(builds))
	for i := range builds {
		v := &builds[i].Made
		head := known.heads[jobKey{v.Project, v.Job}]
		service := known.services[jobKey{v.Project, serviceOf(v.Service)}]
		d := known.definitions[v.Definition]
		t.headNew(head, v.ID)
		if v.State.Final() {
			if err := t.insertFinal(&builds[i], n.Lease == nil, head, service, origin, d); err != nil {
				return err
			}
			continue
		}
		open.add(v, head, service, origin, d)
	}
	if open.n > 0 {
		t.queue(nil, insertBuilds, open.arguments()...)
	}
	return t.send()
}

func (t *tx) insertRun(r *jobcontrol.Run, size int, origin int64, l *jobcontrol.Lease) error {
	var worker jobcontrol.Lease
	if l != nil {
		worker = *l
	}
	targets, err := json.Marshal(r.Targets)
	if err != nil {
		return err
	}
	t.queue(nil, `INSERT INTO {runs} (id, size, remaining, project, origin, state, detached, worker, epoch, created_at, targets)
		VALUES ($1, $2, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		r.ID, size, r.Project, origin, r.State, l == nil, worker.Worker, worker.Epoch, r.CreatedAt, string(targets))
	return nil
}

// insertFinal stores a build that is created final.
func (t *tx) insertFinal(b *newBuild, detached bool, head, service, origin int64, d definition) error {
	v := &b.Made
	var changed any = (*int64)(nil)
	if v.Changed != nil {
		one := int64(bit(*v.Changed))
		changed = &one
		if !*v.Changed && len(v.Result) == 0 {
			var err error
			// It is the newest of its job.
			if v.ResultOf, err = t.number(`SELECT good_result FROM {heads} WHERE id = $1`, head); err != nil {
				return err
			}
		}
	}
	c := v.Claim
	t.queue(nil, `INSERT INTO {history} (id, run, finished_at, created_at, retry_delay, head, definition, service, place, tries, priority,
			state, detached, changed, origin, ready_at, worker, epoch, claim, result_of, again_of, unique_key, key, dependants, pins, why,
			failure, frames, args, kwargs, result)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14::bigint <> 0, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26,
			$27, $28, $29, $30, $31)`,
		v.ID, v.Run, v.FinishedAt, v.CreatedAt, int64(v.RetryDelay), head, d.id, service, v.Place, v.Tries, v.Priority,
		v.State, detached, changed, unset(origin), unset(codec.Micros(v.ReadyAt)), unset(c.Worker), unset(c.Epoch), unset(c.Number),
		unset(v.ResultOf), unset(v.AgainOf), nullText(uniqueKey(v.Project, v.Unique)), nullText(v.Key), codec.EncodeIDs(v.ID, v.Dependants),
		codec.EncodePins(v.Pins), nullText(v.Why), b.body, b.frames, v.Args, v.Kwargs, v.Result)
	t.ended(&ended{
		id: v.ID, run: v.Run, head: head, definition: d.id, state: v.State, at: v.FinishedAt, pins: codec.EncodePins(v.Pins),
		changed: v.Changed != nil && *v.Changed, result: codec.ResultOf(v),
	})
	return nil
}
