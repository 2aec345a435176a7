package sqlite

import (
	"cmp"
	"context"
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
	err := s.write(ctx, "claim", func(t *tx) (err error) {
		if err := t.valid(l); err != nil {
			return err
		}
		out, err = t.claim(l, w)
		return err
	})
	if err != nil {
		return nil, err
	}
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

// claims draws n numbers of claims and returns the first.
func (t *tx) claims(n int) (first int64, err error) {
	_, err = t.returning(func(r *row) { first = r.int() - int64(n) + 1 }, `UPDATE sequences SET claim = claim + ? RETURNING claim`, n)
	return first, err
}

// candidate is a build that may be claimed, and its place in the queue.
type candidate struct {
	id, rank, phase, place int64
	service                *service
}

func (a *candidate) compare(b *candidate) int {
	return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.phase, b.phase), cmp.Compare(a.place, b.place), cmp.Compare(a.id, b.id))
}

// claim chooses builds, those of smallest rank over all services, and claims them.
func (t *tx) claim(l jobcontrol.Lease, w jobcontrol.Wanted) (*jobcontrol.Claimed, error) {
	out := &jobcontrol.Claimed{}
	if err := t.insertPlain(true); err != nil {
		return nil, err
	}
	services, err := t.wanted(w)
	if err != nil {
		return nil, err
	}
	var ready []candidate
	var suspect *candidate
	for _, v := range services {
		room, err := t.room(v, w.N+1)
		if err != nil {
			return nil, err
		}
		if room.n <= 0 {
			continue
		}
		first := room
		first.n = 1
		suspects, err := t.candidates(nil, v, 1, first)
		if err != nil {
			return nil, err
		}
		if len(suspects) > 0 && (suspect == nil || suspects[0].compare(suspect) < 0) {
			suspect = &suspects[0]
		}
		if ready, err = t.candidates(ready, v, 0, room); err != nil {
			return nil, err
		}
	}
	if len(services) > 1 {
		slices.SortFunc(ready, func(a, b candidate) int { return a.compare(&b) })
	}
	if w.Alone && suspect != nil && (len(ready) == 0 || suspect.compare(&ready[0]) < 0) {
		out.More = len(ready) > 0
		out.Builds, err = t.take(l, w.Project, []candidate{*suspect}, true)
		return out, err
	}
	taken := ready[:min(w.N, len(ready))]
	rest := ready[len(taken):]
	out.More = len(rest) > 0
	out.Suspects = suspect != nil && (len(rest) == 0 || suspect.compare(&rest[0]) < 0)
	if len(taken) > 0 {
		out.Builds, err = t.take(l, w.Project, taken, false)
	}
	return out, err
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
			if _, err := t.exec(`UPDATE services SET rate_at = ? WHERE id = ?`, full, v.id); err != nil {
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

// free are the builds of a service that may be claimed, as index builds_queue has
// them; alone: suspects. What is said twice lets SQLite see that the index is meant.
const free = ` FROM builds WHERE service = ? AND queue = 1 AND queue <> 2 AND alone = ?
	ORDER BY rank, phase, max(id - run - 1, 0), id`

// candidates adds to a list what may be claimed of a service, in order.
func (t *tx) candidates(list []candidate, v *service, alone int64, r room) ([]candidate, error) {
	if r.keys == nil {
		list = slices.Grow(list, min(r.n, 1024))
		err := t.each(func(row *row) error {
			list = append(list, candidate{row.int(), row.int(), row.int(), row.int(), v})
			return nil
		}, `SELECT id, rank, phase, max(id - run - 1, 0)`+free+` LIMIT ?`, v.id, alone, r.n)
		return list, err
	}
	err := t.each(func(row *row) error {
		c := candidate{row.int(), row.int(), row.int(), row.int(), v}
		key := row.text()
		if key != "" && r.keys[key] >= v.KeyConcurrency {
			return nil
		}
		if alone == 0 && key != "" {
			r.keys[key]++
		}
		if list = append(list, c); r.n == 1 {
			return errEnough
		}
		r.n--
		return nil
	}, `SELECT id, rank, phase, max(id - run - 1, 0), service_key`+free, v.id, alone)
	if err == errEnough {
		err = nil
	}
	return list, err
}

// take claims builds; start: it also marks them as running.
func (t *tx) take(l jobcontrol.Lease, project string, chosen []candidate, start bool) ([]jobcontrol.Build, error) {
	t.pools[l.Worker] = true
	number, err := t.claims(len(chosen))
	if err != nil {
		return nil, err
	}
	builds := make([]jobcontrol.Build, 0, len(chosen))
	for rest := chosen; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].id == rest[n-1].id+1 {
			n++
		}
		first, last := rest[0].id, rest[n-1].id
		if _, err := t.exec(`UPDATE builds SET worker = ?, epoch = ?, claim = ? + id, queue = 2 WHERE id >= ? AND id <= ?`,
			l.Worker, l.Epoch, number-first, first, last); err != nil {
			return nil, err
		}
		number += int64(n)
		if start {
			if err := t.start(first, t.now); err != nil {
				return nil, err
			}
		}
		if builds, err = t.taken(builds, project, rest[:n]); err != nil {
			return nil, err
		}
		rest = rest[n:]
	}
	return builds, t.useTokens(chosen)
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
		if _, err := t.exec(`UPDATE services SET rate_at = ? WHERE id = ?`, v.rateAt, v.id); err != nil {
			return err
		}
	}
	return nil
}

// taken adds builds to a list that were claimed just now, whose ids follow each other.
func (t *tx) taken(builds []jobcontrol.Build, project string, chosen []candidate) ([]jobcontrol.Build, error) {
	from := len(builds)
	var rest []int // those of which there is more to read
	err := t.each(func(r *row) error {
		b := jobcontrol.Build{Project: project, State: jobcontrol.Queued}
		head, definition, fresh := scanFresh(r, &b)
		if !fresh {
			rest = append(rest, len(builds))
		} else {
			var err error
			if b.Job, err = t.jobOf(head); err != nil {
				return err
			}
			if b.Definition, err = t.hashOf(definition); err != nil {
				return err
			}
			if b.Run == b.ID {
				t.fresh.add(b.ID, freshBuild{head, definition, chosen[len(builds)-from].service.id})
			}
		}
		if b.Service = chosen[len(builds)-from].service.Name; b.Service == jobcontrol.DefaultService {
			b.Service = ""
		}
		builds = append(builds, b)
		return nil
	}, selectFresh, chosen[0].id, chosen[len(chosen)-1].id)
	if err != nil {
		return nil, err
	}
	for _, i := range rest {
		b, err := t.build(builds[i].ID)
		if err != nil {
			return nil, err
		}
		b.Dependants = nil
		builds[i] = *b
	}
	return builds, nil
}

// selectFresh reads what a fresh build has: one that was never executed. The
// numbers are one text: to read a column costs more than to decode a number.
const selectFresh = `SELECT format('%d %d %d %d %d %d %d %d %d %d %d %d %d %d',
		(tries_used | attempts | lost | asked | started_at | ran | again_of) = 0
			AND failure IS NULL AND pins IS NULL AND unique_key IS NULL AND service_key IS NULL,
		id, run, phase, head, definition, tries, retry_delay, created_at, ready_at, priority, worker, epoch, claim),
	args, kwargs, why FROM builds WHERE id >= ? AND id <= ?`

// scanFresh reads a row of selectFresh and tells whether that is all.
func scanFresh(r *row, b *jobcontrol.Build) (head, definition int64, fresh bool) {
	next := r.numbers()
	fresh = next() == 1
	b.ID, b.Run, b.Phase, head, definition = next(), next(), int(next()), next(), next()
	b.Tries, b.RetryDelay = int(next()), time.Duration(next())
	b.CreatedAt, b.ReadyAt = codec.TimeOf(next()), codec.TimeOf(next())
	b.Priority = int(next())
	b.Claim = jobcontrol.Claim{Build: b.ID, Worker: next(), Epoch: next(), Number: next()}
	if b.Run != b.ID {
		b.Place = int(b.ID - b.Run - 1)
	}
	b.Args, b.Kwargs, b.Why = r.json(), r.json(), r.text()
	return head, definition, fresh
}

// jobOf returns the job of a head.
func (t *tx) jobOf(head int64) (job string, err error) {
	if job, ok := t.jobs[head]; ok {
		return job, nil
	}
	_, err = t.first(func(r *row) { job = r.text() }, `SELECT job FROM heads WHERE id = ?`, head)
	t.jobs[head] = job
	return job, err
}

// hashOf returns the hash of a definition.
func (t *tx) hashOf(definition int64) (hash string, err error) {
	if hash, ok := t.hashes[definition]; ok {
		return hash, nil
	}
	_, err = t.first(func(r *row) { hash = r.text() }, `SELECT hash FROM definitions WHERE id = ?`, definition)
	t.hashes[definition] = hash
	return hash, err
}
