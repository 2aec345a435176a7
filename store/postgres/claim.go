package postgres

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// valid is the condition that the lease of worker $1 with epoch $2 has not ended.
const valid = `w.id = $1 AND w.epoch = $2 AND NOT w.gone AND w.lease_until > ` + clock

// claimReady claims the builds of services without limits that stand first:
// those after the given positions. It looks for one more than it claims, and
// passes over what others are just claiming. If one of the services has a
// limit, it claims nothing. The rows of pages have room for their claims, and no
// index has the columns that a claim sets.
const claimReady = `WITH w AS MATERIALIZED (SELECT 1 FROM {workers} w WHERE ` + valid + ` FOR KEY SHARE),
	s AS MATERIALIZED (SELECT u.* FROM unnest($3, $4, $5, $6, $7) u(service, rank, phase, place, id) JOIN {services} v ON v.id = u.service AND NOT v.paused
		WHERE EXISTS (SELECT 1 FROM w) AND NOT EXISTS (SELECT 1 FROM {services} v WHERE v.id = ANY($3) AND ` + limited + `)),
	c AS MATERIALIZED (SELECT q.* FROM s CROSS JOIN LATERAL (SELECT b.ctid AS tid, b.rank, b.phase, b.place, b.id FROM {builds} b
			WHERE b.service = s.service AND b.state = 4 AND b.detached AND NOT b.suspect AND b.claim IS NULL
				AND (b.rank, b.phase, b.place, b.id) > (s.rank, s.phase, s.place, s.id)
			ORDER BY b.rank, b.phase, b.place, b.id LIMIT $8 + 1 FOR UPDATE SKIP LOCKED) q
		ORDER BY q.rank, q.phase, q.place, q.id LIMIT $8 + 1)
	UPDATE {builds} b SET worker = $1, epoch = $2, claim = nextval('{claims}')
	WHERE b.ctid = ANY (ARRAY(SELECT c.tid FROM c LIMIT $8)) RETURNING ` + claimedColumns + `, (SELECT count(*) FROM c)`

// limited is the condition that a claim has to count what others have claimed.
const limited = `(v.concurrency > 0 OR v.key_concurrency > 0 OR v.rate > 0)`

// claimedColumns are those of a build that was claimed, with its rank. What is
// NULL costs least.
const claimedColumns = `b.rank, b.id, nullif(b.run, b.id), b.head, b.definition, b.service, b.state, nullif(b.phase, 0), nullif(b.place, 0), nullif(b.deps_left, 0),
	b.tries, b.retry_delay, nullif(b.tries_used, 0), nullif(b.attempts, 0), nullif(b.lost, 0), nullif(b.asked, 0), nullif(b.priority, 0),
	b.created_at, b.ready_at, b.started_at, b.ran, b.again_of, b.claim, b.unique_key, b.key, b.why, b.failure, b.frames, b.args, b.kwargs, b.pins`

// claimedRow is a build that was claimed.
type claimedRow struct {
	jobcontrol.Build
	rank                      int64
	head, definition, service int64
	unique                    string // with its project
}

func scanClaimed(r *row, l jobcontrol.Lease) (b claimedRow, err error) {
	b.rank, b.ID, b.Run, b.head, b.definition, b.service = r.int(), r.int(), r.int(), r.int(), r.int(), r.int()
	b.Run = cmp.Or(b.Run, b.ID)
	b.State, b.Phase, b.Place, b.DepsLeft = r.state(), int(r.int()), int(r.int()), int(r.int())
	b.Tries, b.RetryDelay, b.TriesUsed = int(r.int()), time.Duration(r.int()), int(r.int())
	b.Attempts, b.Lost, b.Asked, b.Priority = int(r.int()), int(r.int()), int(r.int()), int(r.int())
	b.CreatedAt, b.ReadyAt, b.StartedAt = r.time(), r.time(), r.time()
	b.Ran, b.AgainOf = r.int(), r.int()
	b.Claim = jobcontrol.Claim{Build: b.ID, Worker: l.Worker, Epoch: l.Epoch, Number: r.int()}
	b.unique, b.Key, b.Why = r.text(), r.text(), r.text()
	failure, frames := r.json(), r.json()
	if failure != nil {
		if b.Failure, err = codec.DecodeFailure(failure, frames); err != nil {
			return b, err
		}
	}
	b.Args, b.Kwargs = r.json(), r.json()
	if pins := r.json(); pins != nil {
		b.Pins, err = codec.DecodePins(pins)
	}
	return b, err
}

func (b *claimedRow) position() position {
	return position{b.rank, int64(b.Phase), int64(b.Place), b.ID}
}

// inQueue compares builds as their queue does.
func inQueue(a, b *claimedRow) int {
	if a.position().less(b.position()) {
		return -1
	}
	return 1
}

// Claim gives a worker builds; see [jobcontrol.Queue].
func (s *Store) Claim(ctx context.Context, l jobcontrol.Lease, w jobcontrol.Wanted) (*jobcontrol.Claimed, error) {
	if w.N <= 0 {
		return nil, jobcontrol.Errorf(jobcontrol.Invalid, "claim: %d builds are asked for", w.N)
	}
	cl := s.claimers.of(l)
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.doubt {
		if err := s.takeBack(ctx, l, cl.last); err != nil {
			return nil, err
		}
		cl.doubt = false
	}
	var out *jobcontrol.Claimed
	var rows []claimedRow
	var err error
	slowly := w.Alone
	if !slowly {
		out, rows, slowly, err = s.claimQuickly(ctx, l, &w, cl.rows[:0])
	}
	if err == nil && slowly {
		out, rows, err = s.claimWithLimits(ctx, l, &w)
	}
	if err != nil {
		// What was claimed and did not arrive is taken back by the next claim.
		cl.doubt = cl.doubt || !refused(err)
		return nil, s.public(err)
	}
	if err := s.complete(ctx, rows); err != nil {
		cl.doubt = true
		return nil, s.public(err)
	}
	for i := range rows {
		cl.last = max(cl.last, rows[i].Claim.Number)
	}
	order := make([]*claimedRow, len(rows))
	for i := range rows {
		order[i] = &rows[i]
	}
	slices.SortFunc(order, inQueue)
	out.Builds = make([]jobcontrol.Build, len(rows))
	for i, b := range order {
		out.Builds[i] = b.Build
	}
	clear(rows)
	cl.rows = rows
	return out, nil
}

// serviceIDs returns the services of a project that exist.
func (s *Store) serviceIDs(c *conn, project string, names []string) ([]int64, error) {
	var ids []int64
	var unknown []string
	k := &s.known
	k.mu.RLock()
	for _, name := range names {
		if id := k.services[jobKey{project, serviceOf(name)}]; id != 0 {
			ids = append(ids, id)
		} else {
			unknown = append(unknown, serviceOf(name))
		}
	}
	k.mu.RUnlock()
	if len(unknown) > 0 {
		if err := c.each(func(r *row) error {
			id, name := r.int(), r.text()
			k.rememberService(id, jobKey{project, name})
			ids = append(ids, id)
			return nil
		}, `SELECT id, name FROM {services} WHERE project = $1 AND name = ANY($2)`, project, unknown); err != nil {
			return nil, err
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// claimQuickly claims in services that have no limits, in one round trip, and adds
// what it claimed to none; slowly tells that one has some.
func (s *Store) claimQuickly(ctx context.Context, l jobcontrol.Lease, w *jobcontrol.Wanted, none []claimedRow) (out *jobcontrol.Claimed, rows []claimedRow, slowly bool, err error) {
	n := w.N
	rows = none
	var services []int64
	if err := s.readOne(ctx, func(c *conn) (err error) {
		services, err = s.serviceIDs(c, w.Project, w.Services)
		return err
	}); err != nil {
		return nil, nil, false, err
	}
	from, full := s.claimers.starts(services, time.Now())
	for {
		var more bool
		had := len(rows)
		began := time.Now()
		before := out
		out, rows, slowly, more, err = s.claimFrom(ctx, l, n-had, services, from, rows)
		if slowly && had > 0 { // a limit came between: what was claimed already is claimed
			before.More = true
			return before, rows, false, nil
		}
		if err != nil || slowly {
			return nil, nil, slowly, err
		}
		last := map[int64]position{}
		for i := range rows[had:] {
			b := &rows[had+i]
			if p, ok := last[b.service]; !ok || p.less(b.position()) {
				last[b.service] = b.position()
			}
		}
		s.claimers.searched(services, from, last, len(rows)-had, began)
		out.More = more
		if full || len(rows) == n {
			return out, rows, false, nil
		}
		// There may be something before the cursors.
		full = true
		for i := range from {
			from[i] = first
		}
	}
}

// claimFrom adds what it claims after the given positions to the rows before.
func (s *Store) claimFrom(ctx context.Context, l jobcontrol.Lease, n int, services []int64, from []position, before []claimedRow) (out *jobcontrol.Claimed, rows []claimedRow, slowly, more bool, err error) {
	lists := make([][]int64, 4)
	for _, p := range from {
		for i, v := range []int64{p.rank, p.phase, p.place, p.id} {
			lists[i] = append(lists[i], v)
		}
	}
	err = s.use(ctx, func(c *conn) error {
		out, rows, slowly, more = &jobcontrol.Claimed{}, before, false, false
		alive := false
		c.queue(nil, begin)
		c.queue(func(r *row) error {
			b, err := scanClaimed(r, l)
			rows = append(rows, b)
			more = r.int() > int64(n)
			return err
		}, claimReady, l.Worker, l.Epoch, services, lists[0], lists[1], lists[2], lists[3], n)
		err := c.each(func(r *row) error {
			alive, slowly, out.Suspects = r.bool(), r.bool(), r.bool()
			return nil
		}, `SELECT EXISTS (SELECT 1 FROM {workers} w WHERE `+valid+`),
			EXISTS (SELECT 1 FROM {services} v WHERE v.id = ANY($3) AND `+limited+`),
			EXISTS (SELECT 1 FROM {services} v JOIN {builds} b ON b.service = v.id AND b.state = 4 AND b.detached AND b.suspect
				WHERE v.id = ANY($3) AND NOT v.paused)`, l.Worker, l.Epoch, services)
		none := len(rows) == len(before)
		if err == nil && !alive && none {
			err = leaseLost(l)
		}
		slowly = slowly && none
		return err
	})
	return out, rows, slowly, more, err
}

// complete sets what is not in the rows of builds: their jobs, services and definitions.
func (s *Store) complete(ctx context.Context, rows []claimedRow) error {
	for learned := false; ; learned = true {
		var heads, services, definitions []int64
		k := &s.known
		k.mu.RLock()
		for i := range rows {
			b := &rows[i]
			head, ok := k.jobs[b.head]
			if !ok {
				heads = append(heads, b.head)
			}
			name := k.names[b.service]
			if name == "" {
				services = append(services, b.service)
			}
			hash := k.hashes[b.definition]
			if hash == "" {
				definitions = append(definitions, b.definition)
			}
			if name == jobcontrol.DefaultService {
				name = ""
			}
			b.Project, b.Job, b.Service, b.Definition = head.project, head.name, name, hash
			b.Unique = strings.TrimPrefix(b.unique, head.project+"/")
		}
		k.mu.RUnlock()
		if len(heads)+len(services)+len(definitions) == 0 {
			return nil
		}
		if learned {
			return errStale
		}
		if err := s.learnIDs(ctx, heads, services, definitions); err != nil {
			return err
		}
	}
}

// learnIDs reads rows that are remembered by their ids.
func (s *Store) learnIDs(ctx context.Context, heads, services, definitions []int64) error {
	k := &s.known
	return s.readOne(ctx, func(c *conn) error {
		c.queue(func(r *row) error {
			k.rememberHead(r.int(), jobKey{r.text(), r.text()})
			return nil
		}, `SELECT id, project, job FROM {heads} WHERE id = ANY($1)`, heads)
		c.queue(func(r *row) error {
			k.rememberService(r.int(), jobKey{r.text(), r.text()})
			return nil
		}, `SELECT id, project, name FROM {services} WHERE id = ANY($1)`, services)
		return c.each(func(r *row) error {
			k.rememberDefinition(r.int(), r.text(), r.bool())
			return nil
		}, `SELECT id, hash, suspect FROM {definitions} WHERE id = ANY($1)`, definitions)
	})
}

// takeBack ends the claims of a worker that it was never told of.
func (s *Store) takeBack(ctx context.Context, l jobcontrol.Lease, last int64) error {
	return s.write(ctx, "take-back", func(t *tx) error {
		if err := t.held(l); err != nil {
			return err
		}
		var lost []*guarded
		add := func(r *row) error {
			lost = append(lost, scanGuarded(r))
			return nil
		}
		t.queue(nil, `UPDATE {history} SET cleaning = false, worker = NULL, epoch = NULL, claim = NULL
			WHERE cleaning AND NOT cleaned AND worker = $1 AND epoch = $2 AND claim > $3 AND detached`, l.Worker, l.Epoch, last)
		t.queue(add, guardHot+`WHERE state = 4 AND detached AND NOT suspect AND worker = $1 AND epoch = $2 AND claim > $3 ORDER BY id FOR UPDATE`,
			l.Worker, l.Epoch, last)
		if err := t.each(add, guardHot+`WHERE state = 5 AND detached AND worker = $1 AND epoch = $2 AND claim > $3 ORDER BY id FOR UPDATE`,
			l.Worker, l.Epoch, last); err != nil {
			return err
		}
		t.news.ready = true
		return t.free(lost)
	})
}
