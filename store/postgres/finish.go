package postgres

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// endings are the transitions that Finish may be asked for, by their target.
var endings = map[jobcontrol.State]jobcontrol.Transition{
	jobcontrol.Successful: jobcontrol.ToSucceed,
	jobcontrol.Skipped:    jobcontrol.ToSkip,
	jobcontrol.Failed:     jobcontrol.ToFail,
	jobcontrol.Cancelled:  jobcontrol.ToCancel,
	jobcontrol.Suspended:  jobcontrol.ToSuspend,
}

// Finish ends a build and releases or blocks its dependants; see [jobcontrol.Executions].
func (s *Store) Finish(ctx context.Context, c jobcontrol.Claim, e jobcontrol.Ended) (*jobcontrol.Released, error) {
	o, err := s.finishOp(ctx, c, &e)
	if err != nil {
		return nil, err
	}
	if e.State == jobcontrol.Suspended {
		err = s.write(ctx, "finish", func(t *tx) error { return t.suspend(&o.Packed) })
	} else {
		err = s.w.do(ctx, o)
	}
	if err != nil {
		return nil, err
	}
	return &o.released, nil
}

// FinishThen is Finish that does not wait; see [jobcontrol.Finisher].
func (s *Store) FinishThen(ctx context.Context, c jobcontrol.Claim, e *jobcontrol.Ended, then func(*jobcontrol.Released, error)) {
	if e.State == jobcontrol.Suspended || e.Attempt.FinishedAt.IsZero() { // a transaction of its own, or a question to the server
		go func() { then(s.Finish(ctx, c, *e)) }()
		return
	}
	o, err := s.finishOp(ctx, c, e)
	if err != nil {
		then(nil, err)
		return
	}
	s.w.later(ctx, o, func(err error) {
		if err != nil {
			then(nil, err)
			return
		}
		then(&o.released, nil)
	})
}

func (s *Store) finishOp(ctx context.Context, c jobcontrol.Claim, e *jobcontrol.Ended) (*finishOp, error) {
	if _, ok := endings[e.State]; !ok {
		return nil, jobcontrol.Errorf(jobcontrol.Invalid, "build %d: an attempt cannot end %s", c.Build, e.State)
	}
	now, err := s.timeOfLogs(ctx, e.Attempt.FinishedAt, e.Logs)
	if err != nil {
		return nil, err
	}
	o := &finishOp{}
	if err := o.Pack(c, e, now); err != nil {
		return nil, err
	}
	o.plain = o.isPlain()
	return o, nil
}

// finishOp is the end of a build.
type finishOp struct {
	codec.Packed
	plain    bool
	released jobcontrol.Released
}

func (o *finishOp) kind() kind { return kindFinish }
func (o *finishOp) size() int  { return 1 }

// alone ends the build in a transaction of its own, or says why that is not
// possible: the claim is lost, the state forbids it, or it had been executed
// before, which is no error.
func (o *finishOp) alone(ctx context.Context, s *Store) error {
	return s.write(ctx, "finish", func(t *tx) error {
		o.released = jobcontrol.Released{}
		hit, err := t.finish([]*finishOp{o})
		if err != nil || hit[0] {
			return err
		}
		return t.notFinished(o)
	})
}

// finishBuilds moves builds to history whose claim is held and whose attempt is
// a new one, and returns those that it moved. Times of 0 are the present.
const finishBuilds = `WITH w AS MATERIALIZED (SELECT id, epoch FROM {workers} WHERE id = ANY($1) AND NOT gone ORDER BY id FOR KEY SHARE),
	d AS (DELETE FROM {builds} b
		USING unnest($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
			u(id, worker, epoch, claim, state, number, used, started, finished, changed, result, failure, frames, last), w
		WHERE b.id = u.id AND b.claim = u.claim AND b.worker = u.worker AND b.epoch = u.epoch AND w.id = u.worker AND w.epoch = u.epoch
			AND (b.state IN (3, 4, 5) OR u.state = 10) AND (b.attempts < u.number OR u.number = 0)
		RETURNING b.*, u.state AS new_state, u.number, u.used, u.started, u.finished, u.changed, u.result, u.failure AS new_failure,
			u.frames AS new_frames, u.last)
	INSERT INTO {history} (` + moved + `, state, attempts, tries_used, lost, started_at, finished_at, open,
		changed, result_of, last, failure, frames, result)
	SELECT ` + moved + `, d.new_state, greatest(d.attempts, d.number), d.tries_used + d.used, d.lost, ` + startedAt + `, ` + finishedAt + `, ` + openAfter + `,
		CASE WHEN d.new_state = 7 THEN d.changed END,
		CASE WHEN d.new_state = 7 AND NOT d.changed AND d.result IS NULL THEN ` + standing + ` END,
		d.last, d.new_failure, d.new_frames, d.result
	FROM d RETURNING id, run, head, definition, phase, finished_at, result_of, dependants, pins`

// moved are the columns that a build takes to history as they are. A finished
// row of builds is called d.
const (
	moved = `id, run, created_at, retry_delay, head, definition, service, phase, place, deps_left, tries, asked, priority,
		detached, cancel, origin, ready_at, worker, epoch, claim, ran, again_of, unique_key, key, dependants, pins, why, args, kwargs`
	startedAt  = `coalesce(d.started_at, nullif(d.started, 0), (SELECT ` + present + `))`
	finishedAt = `coalesce(nullif(d.finished, 0), (SELECT ` + present + `))`

	// A lone build whose run phase was executed leaves its Run to be cleaned up.
	openAfter = `CASE WHEN d.open IS NOT NULL AND d.ran IS NOT NULL
		AND NOT (d.detached AND (SELECT o.no_cleanup FROM {origins} o WHERE o.id = d.origin)) THEN 2 END`

	// The build whose result stands before this one.
	standing = `(SELECT nullif(CASE WHEN h.good < d.id THEN h.good_result ELSE
		(SELECT CASE WHEN p.result IS NULL THEN p.result_of ELSE p.id END FROM {history} p
			WHERE p.head = d.head AND p.id < d.id AND p.state = 7 ORDER BY p.id DESC LIMIT 1) END, 0) FROM {heads} h WHERE h.id = d.head)`
)

// finishBatch ends builds that are independent of each other.
func (t *tx) finishBatch(batch []*queued) error {
	// Locks are taken in the order of ids.
	slices.SortStableFunc(batch, func(a, b *queued) int {
		return cmp.Compare(a.op.(*finishOp).Claim.Build, b.op.(*finishOp).Claim.Build)
	})
	rest := batch[:0:0]
	for i, q := range batch {
		if i > 0 && q.op.(*finishOp).Claim.Build == batch[i-1].op.(*finishOp).Claim.Build {
			q.apart = true // a repetition
			continue
		}
		rest = append(rest, q)
	}
	hit, err := t.finish(ops[*finishOp](rest))
	if err != nil {
		return err
	}
	for i, q := range rest {
		q.apart = !hit[i]
	}
	return nil
}

// finished is a build that finishBuilds moved.
type finished struct {
	ended
	o          *finishOp
	phase      int64
	dependants []byte
}

// finish ends builds, which are sorted and fit each other, and tells which; the
// others were not changed.
func (t *tx) finish(ends []*finishOp) (hit []bool, err error) {
	plain := ends[0].plain
	text, arguments := finishBuilds, finishArguments
	if plain {
		text, arguments = finishPlain, plainArguments
	}
	done := make([]finished, 0, len(ends))
	t.queue(func(r *row) error {
		f := finished{}
		f.id, f.run, f.head, f.definition, f.phase, f.at, f.result = r.int(), r.int(), r.int(), r.int(), r.int(), r.time(), r.int()
		f.dependants, f.pins = r.blob(), r.json()
		done = append(done, f)
		return nil
	}, text, arguments(ends)...)
	logs := t.queueLastChunks(ends)
	if err := t.send(); err != nil {
		return nil, err
	}
	hit = make([]bool, len(ends))
	for i := range done {
		f := &done[i]
		n, ok := slices.BinarySearchFunc(ends, f.id, func(o *finishOp, id int64) int { return cmp.Compare(o.Claim.Build, id) })
		if !ok {
			continue
		}
		hit[n], f.o = true, ends[n]
		f.state, f.changed = f.o.State, f.o.Changed
		if plain {
			f.run, f.at = cmp.Or(f.run, f.id), f.o.Attempt.FinishedAt
		}
		if err := t.withoutItems(&f.ended); err != nil {
			return nil, err
		}
		if len(f.o.Result) > 0 {
			f.result = f.id
		}
		t.ended(&f.ended)
		if f.o.Log != nil {
			t.appendLog(f.id, f.o.Log, logs)
		}
	}
	for i, o := range ends {
		if hit[i] && len(o.Progress) > 0 {
			if err := t.putProgress(o.Claim.Build, o.Progress); err != nil {
				return nil, err
			}
		}
	}
	return hit, t.dependants(done)
}

// finishArguments makes the arguments of finishBuilds.
func finishArguments(ends []*finishOp) []any {
	n := len(ends)
	ints := func() *list { return newList(oidInt, n, 12) }
	text := func() *list { return newList(oidText, n, 32) }
	id, worker, epoch, claim, state, number, used := ints(), ints(), ints(), ints(), ints(), ints(), ints()
	started, finished, changed, last := ints(), ints(), newList(oidBool, n, 5), newList(oidBytes, n, 64)
	result, failure, frames := text(), text(), text()
	var workers []int64
	for _, o := range ends {
		c, a := o.Claim, &o.Attempt
		if len(workers) == 0 || !slices.Contains(workers, c.Worker) {
			workers = append(workers, c.Worker)
		}
		id.int(c.Build)
		worker.int(c.Worker)
		epoch.int(c.Epoch)
		claim.int(c.Number)
		state.int(int64(o.State))
		number.int(int64(a.Number))
		used.int(int64(o.UsesTry()))
		started.int(codec.Micros(a.StartedAt))
		finished.int(codec.Micros(a.FinishedAt))
		changed.bool(o.Changed)
		result.json(o.Result)
		failure.json(o.Failure)
		frames.json(o.Frames)
		if a.Number > 0 {
			last.blob(o.Data)
		} else {
			last.null()
		}
	}
	return []any{workers, id, worker, epoch, claim, state, number, used, started, finished, changed, result, failure, frames, last}
}

// notFinished says why the guarded statement did not move a build.
func (t *tx) notFinished(o *finishOp) error {
	c := o.Claim
	if err := t.held(jobcontrol.Lease{Worker: c.Worker, Epoch: c.Epoch}); err != nil {
		return err
	}
	g, err := t.guarded(c.Build)
	if err != nil {
		return err
	}
	number := 0
	again := g.holds(c)
	if len(g.last) > 0 {
		last, err := codec.DecodeAttempt(g.id, g.last)
		if err != nil {
			return err
		}
		number = last.Number
		// The claim of a clean-up step replaces that of the attempt.
		again = again || last.Claim == c.Number && last.Worker == c.Worker
	}
	if !again {
		return notHeld(c)
	}
	transition := endings[o.State]
	if g.state != o.State || number != o.Attempt.Number {
		if err := check(transition, g.id, g.state, o.State); err != nil {
			return err
		}
		return jobcontrol.Errorf(jobcontrol.Conflict, "build %d: attempt %d was stored before", g.id, o.Attempt.Number)
	}
	ids, err := dependantsOf(g)
	if err != nil {
		return err
	}
	if o.released.Ready, err = t.releasedBy(g.id, ids); err == nil && !o.State.Satisfied() {
		o.released.Blocked, err = t.blockedBy(g.id, ids)
	}
	return err
}

// suspend ends an attempt and puts the build aside; its dependants keep waiting.
// What any worker may execute, any worker may claim when it is resumed.
func (t *tx) suspend(p *codec.Packed) error {
	g, again, err := t.attempted(p)
	if err != nil || again {
		return err
	}
	if err := check(jobcontrol.ToSuspend, g.id, g.state, jobcontrol.Suspended); err != nil {
		return err
	}
	t.queue(nil, `UPDATE {builds} b SET state = 6, attempts = greatest(attempts, $2), started_at = coalesce(started_at, $3), failure = $4, frames = $5,
		stopping = NULL, stop_reason = NULL, attempt_at = NULL, `+proven+`, `+unclaim+` WHERE id = $1`,
		g.id, p.Attempt.Number, p.Started(t.now), p.Failure, p.Frames)
	if p.Attempt.Number == 0 {
		err = t.report(g.id, p.Log, p.Progress)
	} else {
		err = t.insertAttempt(p)
	}
	if err != nil || g.stopping != stopCancel {
		return err
	}
	return t.cancel([]*guarded{g}, stopReason(g))
}

// proven forgets the workers that died holding a build: an attempt of it has ended.
var proven = `suspect = b.suspect AND b.unproven < ` + strconv.Itoa(jobcontrol.MaxUnproven) + `, unproven = 0`

// unclaim ends the claim of a build that any worker may execute.
const unclaim = `worker = CASE WHEN NOT b.detached THEN b.worker END, epoch = CASE WHEN NOT b.detached THEN b.epoch END,
	claim = CASE WHEN NOT b.detached THEN b.claim END`
