package sqlite

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// Claim gives a worker builds; see [jobcontrol.Queue]. Suspects tells that one of
// them is older than what is left of the others.
func (s *Store) Claim(ctx context.Context, l jobcontrol.Lease, w jobcontrol.Wanted) (*jobcontrol.Claimed, error) {
	if w.N <= 0 {
		return nil, jobcontrol.Errorf(jobcontrol.Invalid, "claim: %d builds are asked for", w.N)
	}
	var out *jobcontrol.Claimed
	var taken *taken
	err := s.write(ctx, "claim", func(t *tx) (err error) {
		if err := t.valid(l); err != nil {
			return err
		}
		if out, taken, err = t.claim(l, w); err == nil && taken.n < s.opts.manyClaims {
			out.Builds, err = taken.read(t.conn)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if taken.n >= s.opts.manyClaims {
		// The writer has better things to do. Should this fail, the claims are held by a
		// worker that does not know of them, as where an answer is lost.
		if err = s.read(ctx, func(c *conn) (err error) {
			out.Builds, err = taken.read(c)
			return err
		}); err != nil {
			return nil, s.public(unavailable(err))
		}
	}
	s.fresh.enter(out.Builds, taken.fresh)
	return out, nil
}

// valid returns ErrLeaseLost unless the lease is held and has not ended.
func (t *tx) valid(l jobcontrol.Lease) error {
	if err := t.held(l); err != nil {
		return err
	}
	us, boot, err := t.s.leaseClock()
	if err != nil {
		return err
	}
	n, err := t.number(`SELECT 1 FROM workers WHERE id = ? AND lease_boot = ? AND lease_until > ?`, l.Worker, boot, us)
	if err == nil && n == 0 {
		err = jobcontrol.Errorf(jobcontrol.LeaseLost, "worker %d: its lease has ended", l.Worker)
	}
	return err
}

// claimNumbers draws n numbers of claims and returns the first.
func (t *tx) claimNumbers(n int) (first int64, err error) {
	_, err = t.returning(func(r *row) { first = r.int() - int64(n) + 1 }, `UPDATE sequences SET claim = claim + ? RETURNING claim`, n)
	return first, err
}

// candidate is a build that may be claimed, and, if it is asked for, its place in the queue.
type candidate struct {
	id, rank, order int64
	service         *service
}

func (a *candidate) compare(b *candidate) int {
	return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.order, b.order), cmp.Compare(a.id, b.id))
}

// claim chooses builds, those of smallest rank over all services, and claims them.
func (t *tx) claim(l jobcontrol.Lease, w jobcontrol.Wanted) (*jobcontrol.Claimed, *taken, error) {
	out := &jobcontrol.Claimed{}
	if err := t.insertPlain(true); err != nil {
		return nil, nil, err
	}
	if _, err := t.lookAtClaims(); err != nil {
		return nil, nil, err
	}
	services, err := t.wanted(w)
	if err != nil {
		return nil, nil, err
	}
	var ready []candidate
	var suspect *candidate
	for _, v := range services {
		room, err := t.room(v, w.N+1)
		if err != nil {
			return nil, nil, err
		}
		if room.n <= 0 {
			continue
		}
		first := room
		first.n = 1
		suspects, err := t.candidates(nil, v, suspectBuilds, first, true)
		if err != nil {
			return nil, nil, err
		}
		if len(suspects) > 0 && (suspect == nil || suspects[0].compare(suspect) < 0) {
			suspect = &suspects[0]
		}
		if ready, err = t.candidates(ready, v, freeBuilds, room, len(services) > 1 || suspect != nil); err != nil {
			return nil, nil, err
		}
	}
	if len(services) > 1 {
		slices.SortFunc(ready, func(a, b candidate) int { return a.compare(&b) })
	}
	if w.Alone && suspect != nil && (len(ready) == 0 || suspect.compare(&ready[0]) < 0) {
		out.More = len(ready) > 0
		taken, err := t.take(l, w.Project, []candidate{*suspect}, true)
		return out, taken, err
	}
	chosen := ready[:min(w.N, len(ready))]
	rest := ready[len(chosen):]
	out.More = len(rest) > 0
	out.Suspects = suspect != nil && (len(rest) == 0 || suspect.compare(&rest[0]) < 0)
	taken, err := t.take(l, w.Project, chosen, false)
	return out, taken, err
}

// room is how many builds of a service may be claimed now.
type room struct {
	n    int
	keys map[string]int // claimed builds of each key, where they are limited
}

// room returns how many builds of a service may be claimed, n at most.
func (t *tx) room(v *service, n int) (room, error) {
	r := room{n: n}
	if !v.Limited() {
		return r, nil
	}
	if err := t.spread(); err != nil { // what is claimed is counted
		return r, err
	}
	t.s.hints.limit(v.id)
	if v.Concurrency > 0 {
		active, err := t.number(`SELECT count(*) FROM builds WHERE service = ? AND queue = 2`, v.id)
		if err != nil {
			return r, err
		}
		r.n = min(r.n, v.Concurrency-int(active))
	}
	if v.Rate > 0 {
		if full := v.full(t.now); v.rateAt > full {
			// The rate was another one, or the clock was set back.
			v.rateAt = full
			if _, err := t.exec(`UPDATE services SET tokens_at = ? WHERE id = ?`, full, v.id); err != nil {
				return r, err
			}
		}
		tokens := (v.full(t.now) - max(v.rateAt, t.now.UnixNano())) / v.interval()
		r.n = int(min(int64(r.n), tokens))
	}
	if v.KeyConcurrency > 0 && r.n > 0 {
		r.keys = map[string]int{}
		err := t.each(func(row *row) error {
			key := row.text()
			r.keys[key] = int(row.int())
			return nil
		}, `SELECT service_key, count(*) FROM builds WHERE service = ? AND service_key IS NOT NULL
			AND queue = 2 GROUP BY service_key`, v.id)
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

// order is a build's place among those of its rank.
const order = `(phase << 32) + CASE run WHEN id THEN 0 ELSE id - run - 1 END`

// The builds of a service that may be claimed: those that index builds_free has,
// and suspects. What is said twice lets SQLite see that builds_queue is meant.
const (
	freeBuilds    = ` FROM builds WHERE service = ? AND queue = 1 AND alone = 0 ORDER BY rank, ` + order + `, id`
	suspectBuilds = ` FROM builds WHERE service = ? AND queue = 1 AND queue <> 2 AND alone = 1 ORDER BY rank, ` + order + `, id`
)

// candidates adds to a list what may be claimed of a service, in order; places: with
// their places in the queue, so that they can be compared.
func (t *tx) candidates(list []candidate, v *service, which string, r room, places bool) ([]candidate, error) {
	columns := `SELECT id`
	if places {
		columns += `, rank, ` + order
	}
	if r.keys != nil {
		columns += `, service_key`
	}
	err := t.each(func(row *row) error {
		c := candidate{id: row.int(), service: v}
		if _, ok := t.claims.builds[c.id]; ok {
			return nil
		}
		if places {
			c.rank, c.order = row.int(), row.int()
		}
		if r.keys != nil {
			key := row.text()
			if key != "" && r.keys[key] >= v.KeyConcurrency {
				return nil
			}
			if which == freeBuilds && key != "" {
				r.keys[key]++
			}
		}
		if list = append(list, c); r.n == 1 {
			return errEnough
		}
		r.n--
		return nil
	}, columns+which, v.id)
	if err == errEnough {
		err = nil
	}
	return list, err
}

// take claims builds; start: it also marks them as running.
func (t *tx) take(l jobcontrol.Lease, project string, chosen []candidate, start bool) (*taken, error) {
	out := &taken{s: t.s, lease: l, project: project, state: jobcontrol.Queued, n: len(chosen)}
	if start {
		out.state = jobcontrol.Running
	}
	if len(chosen) == 0 {
		return out, nil
	}
	if err := t.useTokens(chosen); err != nil {
		return nil, err
	}
	t.pools[l.Worker] = true
	number, err := t.claimNumbers(len(chosen))
	if err != nil {
		return nil, err
	}
	many := len(chosen) >= t.s.opts.manyClaims && !start && !slices.ContainsFunc(chosen, func(c candidate) bool { return c.service.Limited() })
	if many {
		if err := t.claimAll(l, number, chosen); err != nil {
			return nil, err
		}
	}
	for len(chosen) > 0 {
		n := 1
		for n < len(chosen) && chosen[n].id == chosen[n-1].id+1 {
			n++
		}
		first := chosen[0].id
		if !many {
			if _, err := t.exec(`UPDATE builds SET worker = ?, epoch = ?, claim = ? + id, queue = 2 WHERE id >= ? AND id <= ?`,
				l.Worker, l.Epoch, number-first, first, chosen[n-1].id); err != nil {
				return nil, err
			}
		}
		if start {
			if err := t.start(first, t.now); err != nil {
				return nil, err
			}
		}
		out.spans = append(out.spans, span{chosen[:n], number})
		number += int64(n)
		chosen = chosen[n:]
	}
	return out, nil
}

// useTokens takes a token of the rate of its service for each build.
func (t *tx) useTokens(chosen []candidate) error {
	used := map[*service]int64{}
	for i := range chosen {
		if chosen[i].service.Rate > 0 {
			used[chosen[i].service]++
		}
	}
	for v, n := range used {
		v.rateAt = max(v.rateAt, t.now.UnixNano()) + n*v.interval()
		if _, err := t.exec(`UPDATE services SET tokens_at = ? WHERE id = ?`, v.rateAt, v.id); err != nil {
			return err
		}
	}
	return nil
}

// taken are builds that were claimed.
type taken struct {
	s       *Store
	lease   jobcontrol.Lease
	project string
	state   jobcontrol.State
	n       int
	spans   []span
	fresh   map[int64]freshBuild // of those that were read
}

// span are builds whose ids and claims follow each other.
type span struct {
	builds []candidate
	number int64 // of the first one's claim
}

// read reads the builds.
func (k *taken) read(c *conn) ([]jobcontrol.Build, error) {
	r := &names{c, map[int64]string{}, map[int64]string{}}
	builds := make([]jobcontrol.Build, 0, k.n)
	k.fresh = make(map[int64]freshBuild, k.n)
	for _, span := range k.spans {
		from := len(builds)
		var rest []int // those of which there is more to read
		err := c.each(func(row *row) (err error) {
			b := jobcontrol.Build{ID: span.builds[0].id + int64(len(builds)-from)}
			head, definition, fresh := scanFresh(row, k.project, &b)
			if !fresh {
				rest = append(rest, len(builds))
			} else if b.Job, b.Definition, err = r.of(head, definition); err == nil && b.Run == b.ID {
				k.fresh[b.ID] = freshBuild{head, definition, span.builds[len(builds)-from].service.id}
			}
			builds = append(builds, b)
			return err
		}, selectFresh, span.builds[0].id, span.builds[len(span.builds)-1].id)
		if err == nil && len(builds)-from != len(span.builds) {
			err = &codec.Damaged{What: "a claimed build is missing"}
		}
		for i := 0; err == nil && i < len(rest); i++ {
			var b *jobcontrol.Build
			if b, err = c.row(builds[rest[i]].ID); err == nil {
				builds[rest[i]] = *b
			}
		}
		if err != nil {
			return nil, err
		}
		for i := range span.builds {
			b := &builds[from+i]
			b.Project, b.State, b.Dependants = k.project, k.state, nil
			b.Claim = jobcontrol.Claim{Build: b.ID, Worker: k.lease.Worker, Epoch: k.lease.Epoch, Number: span.number + int64(i)}
			if b.Service = span.builds[i].service.Name; b.Service == jobcontrol.DefaultService {
				b.Service = ""
			}
		}
	}
	return builds, nil
}

// selectFresh reads what a fresh build has: one that was never executed. It reads
// few columns, since each costs: what few builds have is one of them, and the id is
// that of the row before and one.
const selectFresh = `SELECT CASE WHEN (tries_used | attempts | lost | asked | started_at | ran | again_of) = 0 AND failure IS NULL AND pins IS NULL
		THEN head << 32 | definition ELSE -1 END,
	created_at, tries, retry_delay, args, kwargs,
	CASE WHEN run <> id OR (phase | ready_at | priority) <> 0 OR why IS NOT NULL OR unique_key IS NOT NULL OR service_key IS NOT NULL
		THEN json_object('run', run, 'phase', phase, 'ready', ready_at, 'priority', priority, 'why', why, 'unique', unique_key, 'key', service_key) END
	FROM builds WHERE id >= ? AND id <= ? ORDER BY id`

// scanFresh reads a row of selectFresh and tells whether that is all of the build.
func scanFresh(r *row, project string, b *jobcontrol.Build) (head, definition int64, fresh bool) {
	refs := r.int()
	head, definition, fresh = refs>>32, refs&(1<<32-1), refs >= 0
	b.CreatedAt, b.Tries, b.RetryDelay = r.time(), int(r.int()), time.Duration(r.int())
	b.Args, b.Kwargs, b.Run = r.json(), r.json(), b.ID
	rare := r.json()
	if rare == nil {
		return head, definition, fresh
	}
	var v struct {
		Run, Ready       int64
		Phase, Priority  int
		Why, Unique, Key string
	}
	if err := json.Unmarshal(rare, &v); err != nil {
		r.bad(string(rare))
	}
	b.Run, b.Phase, b.ReadyAt, b.Priority = v.Run, v.Phase, codec.TimeOf(v.Ready), v.Priority
	b.Why, b.Unique, b.Key = v.Why, uniqueOf(project, v.Unique), v.Key
	if b.Run != b.ID {
		b.Place = int(b.ID - b.Run - 1)
	}
	return head, definition, fresh
}

// names finds out what the ids of heads and definitions mean, each once.
type names struct {
	*conn
	jobs, hashes map[int64]string
}

// of returns the job of a head and the hash of a definition.
func (n *names) of(head, definition int64) (job, hash string, err error) {
	if job, err = n.text(n.jobs, head, `SELECT job FROM heads WHERE id = ?`); err == nil {
		hash, err = n.text(n.hashes, definition, `SELECT hash FROM definitions WHERE id = ?`)
	}
	return job, hash, err
}

func (n *names) text(known map[int64]string, id int64, query string) (text string, err error) {
	text, ok := known[id]
	if !ok {
		_, err = n.first(func(r *row) { text = r.text() }, query, id)
		known[id] = text
	}
	return text, err
}
