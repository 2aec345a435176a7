package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/internal/fault"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// createOp stores plain Runs; see plain. If one of the services is draining it
// writes nothing, and written stays false.
type createOp struct {
	many    []jobcontrol.NewRun
	written bool
	ids     []int64
	created time.Time
}

func (o *createOp) kind() kind { return kindCreate }
func (o *createOp) size() int  { return len(o.many) }

// alone leaves the operation to [Store.create], which finds out what is wrong:
// a batch that failed wrote nothing.
func (o *createOp) alone(context.Context, *Store) error {
	o.written = false
	return nil
}

// answer makes what CreateRun returns.
func (o *createOp) answer(i int) (*jobcontrol.Run, *jobcontrol.Build) {
	n := &o.many[i]
	b := n.Builds[0].Make(n.Run.Project)
	b.ID, b.Run, b.State, b.CreatedAt = o.ids[i], o.ids[i], o.state(i), o.created
	b.Pins = n.Builds[0].Build.Pins
	return &jobcontrol.Run{
		ID: b.ID, Project: b.Project, Verb: n.Run.Verb, Targets: []string{b.Job}, State: jobcontrol.RunRunning, NoCleanup: n.Run.NoCleanup,
		By: n.Run.By, File: n.Run.File, CreatedAt: b.CreatedAt, Counts: jobcontrol.Counts{b.State: 1}, Lone: true,
	}, &b
}

// state is that of a build that was created.
func (o *createOp) state(i int) jobcontrol.State {
	b := &o.many[i].Builds[0].Build
	if b.State == jobcontrol.Held {
		return jobcontrol.Held
	}
	return jobcontrol.ReadyState(jobcontrol.Micros(b.ReadyAt), o.created)
}

// wrote gives the operation its answer: it has the first of the ids. The rest is returned.
func (o *createOp) wrote(ids []int64, created time.Time, told *news) []int64 {
	o.written, o.created = true, created
	o.ids = ids[:len(o.many):len(o.many)]
	for i := range o.many {
		switch o.state(i) {
		case jobcontrol.Queued:
			told.ready = true
		case jobcontrol.Scheduled:
			told.scheduled = true
		}
	}
	return ids[len(o.many):]
}

// refs are the ids of what a plain build refers to.
type refs struct {
	head, service, definition, origin int64
	suspect                           bool
}

// like is what a plain build is but for its arguments: those that are equal in
// it are written by one statement.
type like struct {
	refs
	state               jobcontrol.State // Held, or 0: it follows from the time
	tries, priority     int
	retryDelay, readyAt int64
	againOf             int64
	key, pins, why      string
}

func likeOf(n *jobcontrol.NewRun, r *refs) like {
	b := &n.Builds[0].Build
	l := like{
		refs: *r, tries: b.Tries, priority: b.Priority, retryDelay: int64(b.RetryDelay), readyAt: codec.Micros(b.ReadyAt),
		againOf: b.AgainOf, key: b.Key, why: b.Why,
	}
	if b.State == jobcontrol.Held {
		l.state = jobcontrol.Held
	}
	if len(b.Pins) > 0 {
		l.pins = string(codec.EncodePins(b.Pins))
	}
	return l
}

// refer finds the ids of what new plain builds refer to, in their order, and
// makes the rows that do not exist.
func (s *Store) refer(c *conn, creates []*createOp) ([]refs, error) {
	n := 0
	for _, o := range creates {
		n += len(o.many)
	}
	found := make([]refs, 0, n)
	if found, ok := s.known.refer(found, creates); ok {
		return found, nil
	}
	needs := newNeeds()
	for _, o := range creates {
		for i := range o.many {
			needs.add(&o.many[i])
		}
	}
	if err := s.learn(c, needs); err != nil {
		return nil, err
	}
	found, ok := s.known.refer(found[:0], creates)
	if !ok {
		return nil, errStale // somebody forgot it meanwhile
	}
	return found, nil
}

// group are builds that are alike, in the order of their operations.
type group struct {
	like
	ops  []*createOp
	size int
}

// Builds are written by a statement for each group where they are at most so
// many, in at most so many groups.
const (
	maxGrouped = 1000
	maxGroups  = 8
)

// grouped puts operations in groups, in the order of their heads; nil: there
// are too many, or an operation would be in several.
func grouped(creates []*createOp, all []refs) []*group {
	if len(all) > maxGrouped {
		return nil
	}
	groups := make([]*group, 0, 1)
	for _, o := range creates {
		first := likeOf(&o.many[0], &all[0])
		for i := 1; i < len(o.many); i++ {
			if likeOf(&o.many[i], &all[i]) != first {
				return nil
			}
		}
		all = all[len(o.many):]
		at := slices.IndexFunc(groups, func(g *group) bool { return g.like == first })
		if at < 0 {
			if len(groups) == maxGroups {
				return nil
			}
			at = len(groups)
			groups = append(groups, &group{like: first})
		}
		g := groups[at]
		g.ops = append(g.ops, o)
		g.size += len(o.many)
	}
	slices.SortFunc(groups, func(a, b *group) int { return cmp.Compare(a.head, b.head) })
	return groups
}

// insertAlike stores builds that are alike and enters them in their head, unless
// the service is draining or something is gone: then it stores nothing and
// returns no row. The ids that it returns are in the order of the arguments.
const insertAlike = `WITH n AS (INSERT INTO {builds} (id, run, rank, created_at, retry_delay, head, definition, service, tries, priority,
			state, detached, suspect, open, origin, ready_at, again_of, key, pins, why, args, kwargs)
		SELECT n.id, n.id, coalesce($9, n.now) - $7 * 60000000, n.now, $8, n.head, $3, n.service, $6, $7,
			CASE WHEN $5 <> 0 THEN $5 WHEN $9 > n.now THEN 3 ELSE 4 END, true, $10, 1, $4, $9, $11, $12, $13, $14, n.args, n.kwargs
		FROM (SELECT nextval('{ids}') AS id, unnest($15) AS args, unnest($16) AS kwargs, h.id AS head, s.id AS service, (SELECT ` + present + `) AS now
			FROM {heads} h, {services} s WHERE h.id = $1 AND s.id = $2 AND NOT s.draining OFFSET 0) n
		RETURNING id, created_at),
	c AS (SELECT array_agg(n.id) AS ids, max(n.created_at) AS at, count(*)::integer AS n FROM n)
	UPDATE {heads} h SET unfinished = h.unfinished + c.n, latest = greatest(h.latest, c.ids[c.n]),
		latest_state = CASE WHEN c.ids[c.n] > h.latest THEN 0 ELSE h.latest_state END
	FROM c WHERE h.id = $1 AND c.n > 0 RETURNING c.ids, c.at`

// insertLone is insertAlike for a single build with nothing that few builds have.
// The id is drawn when the head is locked: so it is the greatest there.
const insertLone = `WITH h AS (UPDATE {heads} SET unfinished = unfinished + 1, latest = nextval('{ids}'), latest_state = 0
		WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM {services} WHERE id = $2 AND draining) RETURNING latest AS id, ` + present + ` AS now)
	INSERT INTO {builds} (id, run, rank, created_at, retry_delay, head, definition, service, tries, priority, state, detached, suspect, open, origin,
			args, kwargs)
		SELECT h.id, h.id, h.now - $6 * 60000000, h.now, $7, $1, $3, $2, $5, $6, 4, true, $8, 1, $4, $9, $10 FROM h
		RETURNING id, created_at`

// usual tells that the build has nothing that few have.
func (l *like) usual() bool {
	return l.state == 0 && l.readyAt == 0 && l.againOf == 0 && l.key == "" && l.pins == "" && l.why == ""
}

// queue queues the statement that stores the builds; what it returns goes to ids and at.
func (g *group) queue(c *conn, ids *[]int64, at *time.Time) {
	if g.size == 1 && g.usual() {
		b := &g.ops[0].many[0].Builds[0].Build
		c.queue(func(r *row) error {
			*ids, *at = []int64{r.int()}, r.time()
			return nil
		}, insertLone, g.head, g.service, g.definition, g.origin, g.tries, g.priority, g.retryDelay, g.suspect, b.Args, b.Kwargs)
		return
	}
	var args *list // nil where no build has some: then unnest fills up with NULL
	kwargs := newList(oidText, g.size, 64)
	for _, o := range g.ops {
		for i := range o.many {
			b := &o.many[i].Builds[0].Build
			if args == nil && len(b.Args) > 0 {
				args = newList(oidText, g.size, 32)
				for range kwargs.n {
					args.null()
				}
			}
			if args != nil {
				args.json(b.Args)
			}
			kwargs.json(b.Kwargs)
		}
	}
	if args == nil {
		args = newList(oidText, 0, 0)
	}
	c.queue(func(r *row) error {
		*ids, *at = r.ints(), r.time()
		return nil
	}, insertAlike, g.head, g.service, g.definition, g.origin, g.state, g.tries, g.priority, g.retryDelay, unset(g.readyAt), g.suspect,
		unset(g.againOf), nullText(g.key), nullText(g.pins), nullText(g.why), args, kwargs)
}

// createGroups stores groups of builds in a transaction that is a single round trip.
func (w *writer) createGroups(c *conn, groups []*group) (sent bool, told news, err error) {
	if !c.set {
		c.queue(nil, begin)
	}
	ids, at := make([][]int64, len(groups)), make([]time.Time, len(groups))
	for i, g := range groups {
		g.queue(c, &ids[i], &at[i])
	}
	if err := fault.Point("postgres.commit.before"); err != nil {
		return false, told, unavailable(err)
	}
	if err := c.send(); err != nil {
		return codeOf(err) == "" || disconnected(err), told, err
	}
	if err := fault.Point("postgres.commit.after"); err != nil {
		return true, told, unavailable(err)
	}
	for i, g := range groups {
		if len(ids[i]) != g.size {
			continue // none: nothing was written
		}
		for _, o := range g.ops {
			ids[i] = o.wrote(ids[i], at[i], &told)
		}
	}
	return true, told, nil
}

// createPlain stores builds as a part of a transaction, which locks heads at its
// end. Operations that name a draining service are left out.
func (t *tx) createPlain(creates []*createOp, all []refs) error {
	services := map[int64]bool{}
	for i := range all {
		services[all[i].service] = true
	}
	ids := make([]int64, 0, len(services))
	for id := range services {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	draining := map[int64]bool{}
	t.queue(func(r *row) error {
		draining[r.int()] = true
		return nil
	}, `SELECT id FROM {services} WHERE id = ANY($1) AND draining`, ids)
	var drawn []int64
	if err := t.each(func(r *row) error {
		drawn = r.ints()
		return nil
	}, `SELECT array_agg(nextval('{ids}')) FROM generate_series(1, $1::bigint)`, len(all)); err != nil {
		return err
	}
	rows := make([]plainRow, 0, len(all))
	for _, o := range creates {
		own := all[:len(o.many)]
		all = all[len(o.many):]
		if len(draining) > 0 && slices.ContainsFunc(own, func(r refs) bool { return draining[r.service] }) {
			continue
		}
		for i := range o.many {
			b := &o.many[i].Builds[0].Build
			rows = append(rows, plainRow{like: likeOf(&o.many[i], &own[i]), id: drawn[len(rows)], args: b.Args, kwargs: b.Kwargs})
		}
		o.wrote(drawn[len(rows)-len(o.many):], t.now, &t.news)
	}
	var head *headChange
	for i := range rows {
		r := &rows[i]
		if head == nil || r.head != rows[i-1].head {
			head = t.head(r.head)
		}
		head.unfinished++
		head.latest = max(head.latest, r.id)
	}
	return t.copyPlain(rows)
}

// plainRow is a plain build as it is stored.
type plainRow struct {
	like
	id           int64
	args, kwargs json.RawMessage
}
