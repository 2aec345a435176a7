package sqlite

import (
	"cmp"
	"context"
	"slices"
	"strconv"
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
// them; alone: suspects.
const free = ` FROM builds WHERE service = ? AND queue = 1 AND alone = ?
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
	first, err := t.claims(len(chosen))
	if err != nil {
		return nil, err
	}
	list := idsOf(chosen)
	if _, err := t.exec(`UPDATE builds SET worker = ?, epoch = ?, claim = ? + j.key, queue = 2 FROM json_each(?) j WHERE builds.id = j.value`,
		l.Worker, l.Epoch, first, list); err != nil {
		return nil, err
	}
	if start {
		if err := t.start(chosen[0].id, t.now); err != nil {
			return nil, err
		}
	}
	if err := t.useTokens(chosen); err != nil {
		return nil, err
	}
	return t.taken(project, chosen, list)
}

// idsOf is a JSON list of the candidates' ids.
func idsOf(chosen []candidate) string {
	ids := append(make([]byte, 0, 10*len(chosen)), '[')
	for i := range chosen {
		if i > 0 {
			ids = append(ids, ',')
		}
		ids = strconv.AppendInt(ids, chosen[i].id, 10)
	}
	return string(append(ids, ']'))
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

// taken reads builds that were claimed just now.
func (t *tx) taken(project string, chosen []candidate, list string) ([]jobcontrol.Build, error) {
	builds := make([]jobcontrol.Build, 0, len(chosen))
	var rest []int // those that are not plain
	err := t.each(func(r *row) error {
		b := jobcontrol.Build{Project: project}
		if plain := scanClaimed(r, &b); !plain {
			rest = append(rest, len(builds))
		}
		if b.Service = chosen[len(builds)].service.Name; b.Service == jobcontrol.DefaultService {
			b.Service = ""
		}
		builds = append(builds, b)
		return nil
	}, selectClaimed, list)
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

// selectClaimed reads what most of the claimed builds have, the numbers as one
// text: to read a column costs more than to decode a number. The first one tells
// whether there is more.
const selectClaimed = `SELECT format('%d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d', b.started_at = 0 AND b.failure IS NULL AND b.pins IS NULL AND b.unique_key IS NULL AND b.service_key IS NULL,
		b.id, b.run, b.phase, b.tries, b.retry_delay, b.tries_used, b.attempts, b.lost, b.asked, b.created_at, b.ready_at,
		b.worker, b.epoch, b.claim, b.ran, b.again_of, b.priority),
	h.job, d.hash, b.args, b.kwargs, b.why
	FROM json_each(?) j CROSS JOIN builds b ON b.id = j.value
	CROSS JOIN heads h ON h.id = b.head CROSS JOIN definitions d ON d.id = b.definition`

// scanClaimed reads a row of selectClaimed and tells whether that is all.
func scanClaimed(r *row, b *jobcontrol.Build) (plain bool) {
	next := r.numbers()
	plain = next() == 1
	b.State = jobcontrol.Queued
	b.ID, b.Run, b.Phase, b.Tries, b.RetryDelay = next(), next(), int(next()), int(next()), time.Duration(next())
	b.TriesUsed, b.Attempts, b.Lost, b.Asked = int(next()), int(next()), int(next()), int(next())
	b.CreatedAt, b.ReadyAt = codec.TimeOf(next()), codec.TimeOf(next())
	b.Claim = jobcontrol.Claim{Build: b.ID, Worker: next(), Epoch: next(), Number: next()}
	b.Ran, b.AgainOf, b.Priority = next(), next(), int(next())
	if b.Run != b.ID {
		b.Place = int(b.ID - b.Run - 1)
	}
	b.Job, b.Definition, b.Args, b.Kwargs, b.Why = r.text(), r.text(), r.json(), r.json(), r.text()
	return plain
}
