package postgres

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// release is what the ends of its dependencies do to a build.
type release struct {
	n, phase, cause int64
}

func add(released map[int64]*release, id, phase, cause int64) {
	r := released[id]
	if r == nil {
		r = &release{}
		released[id] = r
	}
	r.n, r.phase, r.cause = r.n+1, max(r.phase, phase), cause
}

// dependants releases and blocks what waited for builds that ended.
func (t *tx) dependants(done []finished) error {
	released := map[int64]*release{}
	ops := map[int64]*finishOp{}
	var blocked []int64
	causes := map[int64]int64{}
	for i := range done {
		f := &done[i]
		if len(f.dependants) == 0 {
			continue
		}
		ids, err := codec.DecodeIDs(f.id, f.dependants)
		if err != nil {
			return err
		}
		ops[f.id] = f.o
		if !f.state.Satisfied() {
			for _, id := range ids {
				if id < 0 {
					add(released, -id, 0, f.id)
				} else if causes[id] == 0 {
					causes[id] = f.id
					blocked = append(blocked, id)
				}
			}
			continue
		}
		if f.state == jobcontrol.Skipped {
			if err := t.pinPrevious(f.head, ids); err != nil {
				return err
			}
		}
		for _, id := range ids {
			add(released, max(id, -id), f.phase, f.id)
		}
	}
	if len(released) > 0 {
		if err := t.release(released, func(cause int64, b jobcontrol.Build) {
			if o := ops[cause]; o != nil {
				o.released.Ready = append(o.released.Ready, b)
			}
		}); err != nil {
			return err
		}
	}
	return t.block(blocked, causes, func(cause, id int64) {
		if o := ops[cause]; o != nil {
			o.released.Blocked = append(o.released.Blocked, id)
		}
	})
}

// readyColumns are those of a brief build in Released.Ready, with its cause.
const readyColumns = `b.id, b.run, b.state, b.phase, b.place, b.deps_left, b.ready_at, b.worker, b.epoch, b.claim, b.cause, CASE WHEN b.deps_left = 0 THEN b.pins END, b.detached,
	(SELECT h.project FROM {heads} h WHERE h.id = b.head), (SELECT h.job FROM {heads} h WHERE h.id = b.head)`

func scanReady(r *row) (b jobcontrol.Build, cause int64, detached bool, err error) {
	b.ID, b.Run = r.int(), r.int()
	b.State, b.Phase, b.Place, b.DepsLeft, b.ReadyAt = r.state(), int(r.int()), int(r.int()), int(r.int()), r.time()
	b.Claim = jobcontrol.Claim{Build: b.ID, Worker: r.int(), Epoch: r.int(), Number: r.int()}
	if b.Claim.Number == 0 {
		b.Claim = jobcontrol.Claim{}
	}
	cause = r.int()
	b.Pins, err = codec.DecodePins(r.json())
	detached = r.bool()
	b.Project, b.Job = r.text(), r.text()
	return b, cause, detached, err
}

// release takes the satisfied ones from the dependencies that builds wait for.
// With the last one a build becomes ready; one that is held stays so.
func (t *tx) release(released map[int64]*release, ready func(cause int64, b jobcontrol.Build)) error {
	ids := slices.Sorted(maps.Keys(released))
	var ns, phases, causes []int64
	for _, id := range ids {
		r := released[id]
		ns, phases, causes = append(ns, r.n), append(phases, r.phase), append(causes, r.cause)
	}
	return t.each(func(r *row) error {
		b, cause, detached, err := scanReady(r)
		if err != nil || b.DepsLeft > 0 || b.State != jobcontrol.Queued && b.State != jobcontrol.Scheduled {
			return err
		}
		t.news.ready = t.news.ready || detached && b.State == jobcontrol.Queued
		t.news.scheduled = t.news.scheduled || detached && b.State == jobcontrol.Scheduled
		ready(cause, b)
		return nil
	}, `UPDATE {builds} b SET deps_left = b.deps_left - u.n, phase = greatest(b.phase, u.phase),
			cause = CASE WHEN b.deps_left = u.n THEN u.cause ELSE b.cause END,
			state = CASE WHEN b.deps_left = u.n AND b.state = 2 THEN CASE WHEN b.ready_at > `+present+` THEN 3 ELSE 4 END ELSE b.state END
		FROM unnest($1, $2, $3, $4) u(id, n, phase, cause) WHERE b.id = u.id AND b.deps_left >= u.n RETURNING `+readyColumns,
		ids, ns, phases, causes)
}

// pinPrevious sets the pins of dependants to the latest good build of a job:
// what a skipped member is replaced by.
func (t *tx) pinPrevious(head int64, dependants []int64) error {
	var job string
	var good int64
	pins := map[int64]json.RawMessage{}
	t.queue(func(r *row) error {
		job, good = r.text(), r.int()
		return nil
	}, `SELECT job, good FROM {heads} WHERE id = $1`, head)
	if err := t.each(func(r *row) error {
		pins[r.int()] = r.json()
		return nil
	}, `SELECT id, pins FROM {builds} WHERE id = ANY($1) ORDER BY id FOR UPDATE`, dependants); err != nil {
		return err
	}
	for id, text := range pins {
		m, err := codec.DecodePins(text)
		if err != nil {
			return err
		}
		if m == nil {
			m = map[string]int64{}
		}
		m[job] = good
		t.queue(nil, `UPDATE {builds} SET pins = $1 WHERE id = $2`, codec.EncodePins(m), id)
	}
	return t.send()
}

// releasedBy returns those of the dependants that the end of a build released
// and that are still ready.
func (t *tx) releasedBy(id int64, dependants []int64) ([]jobcontrol.Build, error) {
	var ready []jobcontrol.Build
	waited := make([]int64, len(dependants))
	for i, d := range dependants {
		waited[i] = max(d, -d)
	}
	err := t.each(func(r *row) error {
		b, _, _, err := scanReady(r)
		ready = append(ready, b)
		return err
	}, `SELECT `+readyColumns+` FROM {builds} b WHERE b.id = ANY($1) AND b.cause = $2 AND b.deps_left = 0 AND b.state IN (3, 4) ORDER BY b.id`, waited, id)
	return ready, err
}

// ending is a build that becomes final, but not by the end of an attempt.
type ending struct {
	id, cause, number, lost int64
	failure                 json.RawMessage
	last                    []byte
}

// endBuilds moves builds to history that are in one of the given states.
const endBuilds = `WITH d AS (DELETE FROM {builds} b USING unnest($2, $3, $4, $5, $6, $7) u(id, cause, number, lost, failure, last)
		WHERE b.id = u.id AND b.state = ANY($8)
		RETURNING b.*, u.cause AS new_cause, u.number, u.lost AS new_lost, u.failure AS new_failure, u.last)
	INSERT INTO {history} (` + moved + `, state, attempts, tries_used, lost, started_at, finished_at, open, cause, last, failure)
	SELECT ` + moved + `, $1, greatest(d.attempts, d.number), d.tries_used, greatest(d.lost, d.new_lost), d.started_at, (SELECT ` + present + `), ` + openAfter + `,
		coalesce(d.new_cause, d.cause), d.last, d.new_failure
	FROM d RETURNING id, run, head, definition, dependants`

// end gives builds a final state and returns those that got it, by id.
func (t *tx) end(state jobcontrol.State, from []jobcontrol.State, ends []ending) (map[int64]*finished, error) {
	slices.SortFunc(ends, func(a, b ending) int { return int(a.id - b.id) })
	n := len(ends)
	ints := func() *list { return newList(oidInt, n, 12) }
	id, cause, number, lost, failure, last := ints(), ints(), ints(), ints(), newList(oidText, n, 64), newList(oidBytes, n, 64)
	for _, e := range ends {
		id.int(e.id)
		cause.unset(e.cause)
		number.int(e.number)
		lost.int(e.lost)
		failure.json(e.failure)
		last.blob(e.last)
	}
	states := make([]int64, len(from))
	for i, s := range from {
		states[i] = int64(s)
	}
	done := map[int64]*finished{}
	err := t.each(func(r *row) error {
		f := &finished{}
		f.id, f.run, f.head, f.definition, f.dependants = r.int(), r.int(), r.int(), r.int(), r.blob()
		f.state, f.at = state, t.now
		done[f.id] = f
		t.ended(&f.ended)
		return nil
	}, endBuilds, state, id, cause, number, lost, failure, last, states)
	return done, err
}

// maxLevels is how many levels of dependants are blocked one after the other,
// before a Run is looked at as a whole.
const maxLevels = 4

// block makes all builds that wait for those given, directly or not, blocked.
// It tells of them in order of discovery. causes are the builds whose end it is,
// by waiting build.
func (t *tx) block(level []int64, causes map[int64]int64, tell func(cause, id int64)) error {
	for depth := 0; len(level) > 0; depth++ {
		if depth == maxLevels {
			return t.blockRest(level, causes, tell)
		}
		done, err := t.blockLevel(level, causes)
		if err != nil {
			return err
		}
		waiting := map[int64][]byte{} // what is not there is final already, or suspended, or was deleted
		for id, f := range done {
			waiting[id] = f.dependants
		}
		if level, err = discover(level, waiting, causes, tell); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) blockLevel(ids []int64, causes map[int64]int64) (map[int64]*finished, error) {
	ends := make([]ending, len(ids))
	for i, id := range ids {
		ends[i] = ending{id: id, cause: causes[id]}
	}
	return t.end(jobcontrol.Blocked, jobcontrol.Transitions[jobcontrol.ToBlock].From, ends)
}

// discover tells of those builds of a level that were waiting, and returns the
// next level: their dependants that were not discovered before.
func discover(level []int64, waiting map[int64][]byte, causes map[int64]int64, tell func(cause, id int64)) (next []int64, err error) {
	for _, id := range level {
		data, ok := waiting[id]
		if !ok {
			continue
		}
		tell(causes[id], id)
		ids, err := codec.DecodeIDs(id, data)
		if err != nil {
			return nil, err
		}
		for _, d := range ids {
			if causes[d] == 0 {
				causes[d] = causes[id]
				next = append(next, d)
			}
		}
	}
	return next, nil
}

// blockRest is block for long chains: what may be blocked is read and locked at
// once, with the Runs of the given builds.
func (t *tx) blockRest(level []int64, causes map[int64]int64, tell func(cause, id int64)) error {
	waiting := map[int64][]byte{}
	err := t.each(func(r *row) error {
		id := r.int()
		waiting[id] = r.blob()
		return nil
	}, `SELECT b.id, b.dependants FROM {builds} b WHERE b.run = ANY (ARRAY(SELECT v.run FROM {builds} v WHERE v.id = ANY($1)))
		AND b.run <> b.id AND b.state IN (1, 2) ORDER BY b.id FOR UPDATE`, level)
	if err != nil {
		return err
	}
	var all []int64
	for len(level) > 0 {
		if level, err = discover(level, waiting, causes, func(cause, id int64) {
			all = append(all, id)
			tell(cause, id)
		}); err != nil {
			return err
		}
	}
	_, err = t.blockLevel(all, causes)
	return err
}

// blockedBy returns those of the dependants, directly or not, that the end of a
// build blocked.
func (t *tx) blockedBy(cause int64, dependants []int64) ([]int64, error) {
	found := map[int64][]byte{}
	if err := t.each(func(r *row) error {
		id := r.int()
		found[id] = r.blob()
		return nil
	}, `SELECT h.id, h.dependants FROM {history} h WHERE h.run = ANY (ARRAY(SELECT v.run FROM {history} v WHERE v.id = $1))
		AND h.run <> h.id AND h.cause = $1 AND h.state = 11`, cause); err != nil {
		return nil, err
	}
	var blocked []int64
	causes := map[int64]int64{}
	for _, id := range dependants {
		causes[id] = cause
	}
	for level, err := dependants, error(nil); len(level) > 0; {
		if level, err = discover(level, found, causes, func(_, id int64) { blocked = append(blocked, id) }); err != nil {
			return nil, err
		}
	}
	return blocked, nil
}
