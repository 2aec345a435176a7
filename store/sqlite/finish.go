package sqlite

import (
	"context"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// endings are the transitions that Finish may be asked for, by their target.
var endings = map[jobcontrol.State]struct {
	transition jobcontrol.Transition
	update     [2]string // in the foreground, and detached
}{
	jobcontrol.Successful: {jobcontrol.ToSucceed, finishFrom(jobcontrol.ToSucceed)},
	jobcontrol.Skipped:    {jobcontrol.ToSkip, finishFrom(jobcontrol.ToSkip)},
	jobcontrol.Failed:     {jobcontrol.ToFail, finishFrom(jobcontrol.ToFail)},
	jobcontrol.Cancelled:  {jobcontrol.ToCancel, finishFrom(jobcontrol.ToCancel)},
	jobcontrol.Suspended:  {transition: jobcontrol.ToSuspend},
}

// closeLone is how a lone build that ends leaves its Run: to be cleaned up where
// its run phase was executed, until FinishRun, else final.
const closeLone = `open = CASE WHEN ran > 0 AND cleaned = 0 AND (open IS NOT NULL OR detached = 1 AND run = id) THEN 2 END`

// finishFrom is the one statement that ends a build, guarded by its claim and
// by the states from which the transition may lead. There are two, since that
// for detached builds has more indexes to keep.
func finishFrom(t jobcontrol.Transition) [2]string {
	return [2]string{finishOf(t, "", 0), finishOf(t, "stop = 0, queue = NULL, ", 1)}
}

func finishOf(t jobcontrol.Transition, set string, detached int64) string {
	return `UPDATE builds SET state = ?, changed = ?, result = ?, result_of = ?, attempts = max(attempts, ?),
		tries_used = tries_used + ?, started_at = CASE started_at WHEN 0 THEN ? ELSE started_at END, finished_at = ?,
		failure = ?, frames = ?, last = ?, room = NULL, ` + set + closeLone + `
		WHERE id = ? AND detached = ` + itoa(detached) + ` AND claim = ? AND worker = ? AND epoch = ? AND (attempts < ? OR ? = 0) AND state ` +
		stateIn(jobcontrol.Transitions[t].From) + `
		AND EXISTS (SELECT 1 FROM workers w WHERE w.id = builds.worker AND w.epoch = builds.epoch AND w.gone = 0)
		RETURNING format('%d %d %d %d %d %d %d', head, definition, phase, detached, run, open, service), dependants, pins`
}

// Finish ends a build and releases or blocks its dependants; see [jobcontrol.Executions].
func (s *Store) Finish(ctx context.Context, c jobcontrol.Claim, e jobcontrol.Ended) (*jobcontrol.Released, error) {
	o, err := s.finishOp(c, &e)
	if err != nil {
		return nil, err
	}
	o.done = make(chan struct{})
	if err := s.do(ctx, &o.op); err != nil {
		return nil, err
	}
	return &o.released, nil
}

// FinishThen is Finish that does not wait; see [jobcontrol.Finisher].
func (s *Store) FinishThen(ctx context.Context, c jobcontrol.Claim, e *jobcontrol.Ended, then func(*jobcontrol.Released, error)) {
	o, err := s.finishOp(c, e)
	if err != nil {
		then(nil, err)
		return
	}
	o.ctx = ctx
	o.then = func(err error) {
		if err != nil {
			then(nil, err)
			return
		}
		then(&o.released, nil)
	}
	s.later(&o.op)
}

// finishOp is the end of a build.
type finishOp struct {
	op
	plain    finishing
	packed   codec.Packed
	released jobcontrol.Released
}

func (s *Store) finishOp(c jobcontrol.Claim, e *jobcontrol.Ended) (*finishOp, error) {
	end, ok := endings[e.State]
	if !ok {
		return nil, jobcontrol.Errorf(jobcontrol.Invalid, "build %d: an attempt cannot end %s", c.Build, e.State)
	}
	o := &finishOp{}
	p := &o.packed
	if err := p.Pack(c, e, s.clock()); err != nil {
		return nil, err
	}
	o.name = "finish"
	o.f = func(t *tx) (err error) {
		o.released = jobcontrol.Released{}
		if p.State == jobcontrol.Suspended {
			return t.suspend(p)
		}
		return t.finish(p, end.transition, end.update, &o.released)
	}
	if plainEnd(p) {
		o.plain.p = p
		o.finishing = &o.plain
	}
	return o, nil
}

func (t *tx) finish(p *codec.Packed, transition jobcontrol.Transition, update [2]string, released *jobcontrol.Released) error {
	c := p.Claim
	var changed any
	var standing int64
	if p.State == jobcontrol.Successful {
		changed = p.Changed
		if !p.Changed && len(p.Result) == 0 {
			head, err := t.number(`SELECT head FROM builds WHERE id = ?`, c.Build)
			if err != nil {
				return err
			}
			if standing, err = t.standing(head, c.Build); err != nil {
				return err
			}
		}
	}
	var last any
	if p.Attempt.Number > 0 {
		last = p.Data
	}
	e := &ended{id: c.Build, state: p.State, at: p.Finished(t.now), changed: p.Changed, result: standing}
	if len(p.Result) > 0 {
		e.result = c.Build
	}
	end := rowEnd{ended: e}
	if t.pools[c.Worker] {
		update[0], update[1] = update[1], update[0] // the likely one first
		if _, err := t.spreadWith(c.Build); err != nil {
			return err
		}
	}
	found, err := t.end(update, p, &end, changed, standing, last)
	if err == nil && !found {
		var spread bool
		if spread, err = t.spreadWith(c.Build); spread && err == nil { // another handle had claimed it
			found, err = t.end(update, p, &end, changed, standing, last)
		}
	}
	if err != nil {
		return err
	}
	if !found {
		return t.notFinished(p, transition, released)
	}
	if err := t.follow(&end, released); err != nil {
		return err
	}
	return t.report(c.Build, p.Log, p.Progress)
}

// end executes the statements that end a build until one finds it.
func (t *tx) end(update [2]string, p *codec.Packed, e *rowEnd, changed any, standing int64, last any) (found bool, err error) {
	c := p.Claim
	for i := 0; i < len(update) && !found && err == nil; i++ {
		found, err = t.returning(func(r *row) {
			next := r.numbers()
			e.head, e.definition, e.phase, e.detached, e.run = next(), next(), next(), next() != 0, next()
			e.open, e.service = jobcontrol.RunState(next()), next()
			e.dependants, e.pins = r.blob(), r.json()
		},
			update[i], p.State, changed, p.Result, standing, p.Attempt.Number,
			p.UsesTry(), p.Started(t.now), e.at, p.Failure, p.Frames, last,
			c.Build, c.Number, c.Worker, c.Epoch, p.Attempt.Number, p.Attempt.Number)
	}
	return found, err
}

// rowEnd is what the row of a build that ended tells.
type rowEnd struct {
	*ended
	phase, service int64
	open           jobcontrol.RunState
	dependants     []byte
}

// follow does what follows from the end of a build: in its head, its Run, and for
// those that wait for it.
func (t *tx) follow(e *rowEnd, released *jobcontrol.Released) error {
	if err := t.ended(e.ended); err != nil {
		return err
	}
	if e.detached {
		t.freed(e.service)
		if e.run == e.id {
			if err := t.loneEnded(e.id, e.open); err != nil {
				return err
			}
		}
	}
	ids, err := codec.DecodeIDs(e.id, e.dependants)
	if err != nil {
		return err
	}
	if !e.state.Satisfied() {
		released.Ready, released.Blocked, err = t.block(e.id, ids)
	} else {
		released.Ready, err = t.release(e.ended, e.phase, ids)
	}
	return err
}

// notFinished says why the guarded statement hit no row: the claim is lost, the
// state forbids it, or it had been executed before, which is no error.
func (t *tx) notFinished(p *codec.Packed, transition jobcontrol.Transition, released *jobcontrol.Released) error {
	if err := t.held(jobcontrol.Lease{Worker: p.Claim.Worker, Epoch: p.Claim.Epoch}); err != nil {
		return err
	}
	g, err := t.guarded(p.Claim.Build)
	if err != nil {
		return err
	}
	var last jobcontrol.Attempt
	if len(g.last) > 0 {
		if last, err = codec.DecodeAttempt(g.id, g.last); err != nil {
			return err
		}
	}
	// A clean-up step of a detached build has a claim of its own.
	if !g.holds(p.Claim) && !(g.detached && last.Claim == p.Claim.Number && last.Worker == p.Claim.Worker && last.Number > 0) {
		return notHeld(p.Claim)
	}
	if g.state != p.State {
		if err := check(transition, g.id, g.state, p.State); err != nil {
			return err
		}
		return jobcontrol.Errorf(jobcontrol.Conflict, "build %d: attempt %d was stored before", g.id, p.Attempt.Number)
	}
	if last.Number != p.Attempt.Number {
		return check(transition, g.id, g.state, p.State)
	}
	ids, err := codec.DecodeIDs(g.id, g.dependants)
	if err != nil {
		return err
	}
	if released.Ready, err = t.releasedBy(g.id, ids); err == nil && !p.State.Satisfied() {
		released.Blocked, err = t.blockedBy(g.id, ids)
	}
	return err
}

// suspend ends an attempt and puts the build aside; its dependants keep waiting.
func (t *tx) suspend(p *codec.Packed) error {
	g, again, err := t.attempted(p)
	if err != nil || again {
		return err
	}
	if err := check(jobcontrol.ToSuspend, g.id, g.state, jobcontrol.Suspended); err != nil {
		return err
	}
	if _, err := t.exec(`UPDATE builds SET state = 6, attempts = max(attempts, ?), started_at = CASE started_at WHEN 0 THEN ? ELSE started_at END,
		failure = ?, frames = ? WHERE id = ?`, p.Attempt.Number, p.Started(t.now), p.Failure, p.Frames, g.id); err != nil {
		return err
	}
	if p.Attempt.Number == 0 {
		err = t.report(g.id, p.Log, p.Progress)
	} else {
		err = t.insertAttempt(p)
	}
	if err != nil || !g.detached {
		return err
	}
	t.hint, g.state = true, jobcontrol.Suspended
	if _, err := t.exec(`UPDATE builds SET worker = 0, epoch = 0, queue = 4, stop = 0, `+proven+` WHERE id = ?`, g.id); err != nil {
		return err
	}
	if g.stop == stopSuspend {
		g.stop = 0 // that is done
	}
	return t.carryOut(g)
}

// readyColumns are those of a brief build in Released.Ready.
const readyColumns = `format('%d %d %d %d %d %d %d %d %d', id, run, state, phase, deps_left, ready_at, worker, epoch, claim),
	(SELECT project FROM heads WHERE id = head), (SELECT job FROM heads WHERE id = head),
	CASE deps_left WHEN 0 THEN coalesce((SELECT x.pins FROM expansions x WHERE x.parent = builds.id), pins) END`

func scanReady(r *row) (b jobcontrol.Build, pins []byte) {
	next := r.numbers()
	b.ID, b.Run, b.State, b.Phase, b.DepsLeft = next(), next(), jobcontrol.State(next()), int(next()), int(next())
	b.ReadyAt = codec.TimeOf(next())
	if b.Claim = (jobcontrol.Claim{Build: b.ID, Worker: next(), Epoch: next(), Number: next()}); b.Claim.Worker == 0 {
		b.Claim = jobcontrol.Claim{}
	}
	b.Place = int(b.ID - b.Run - 1)
	b.Project, b.Job = r.text(), r.text()
	return b, r.json()
}

// releaseOne takes one from the dependencies that a build waits for. With the
// last one it becomes ready; one that is held stays so.
var releaseOne = releaseAnd("")

// releaseQueued is releaseOne for a detached build.
var releaseQueued = releaseAnd(` queue = CASE WHEN deps_left = 1 AND state ` + stateIn(jobcontrol.Transitions[jobcontrol.ToReady].From) + `
	THEN CASE WHEN ready_at > ? THEN 3 ELSE 1 END ELSE queue END,`)

func releaseAnd(set string) string {
	return `UPDATE builds SET deps_left = deps_left - 1, phase = max(phase, ?), cause = CASE deps_left WHEN 1 THEN ? ELSE cause END,` + set + `
	state = CASE WHEN deps_left = 1 AND state ` + stateIn(jobcontrol.Transitions[jobcontrol.ToReady].From) + `
		THEN CASE WHEN ready_at > ? THEN 3 ELSE 4 END ELSE state END
	WHERE id = ? AND deps_left > 0 AND state < 7 RETURNING ` + readyColumns
}

// release tells the dependants of a build that it was satisfied, and returns
// those that became ready.
func (t *tx) release(e *ended, phase int64, dependants []int64) ([]jobcontrol.Build, error) {
	var ready []jobcontrol.Build
	var pin func(id int64) error
	if e.state == jobcontrol.Skipped && len(dependants) > 0 {
		var err error
		if pin, err = t.pinPrevious(e.head); err != nil {
			return nil, err
		}
	}
	for _, id := range dependants {
		if pin != nil && id > 0 {
			if err := pin(id); err != nil {
				return nil, err
			}
		}
		b, err := t.releaseFrom(e.id, phase, e.detached, max(id, -id))
		if err != nil {
			return nil, err
		}
		if b != nil {
			ready = append(ready, *b)
		}
	}
	return ready, nil
}

// releaseFrom tells a build that one it waits for has ended, and returns it if it
// is ready now.
func (t *tx) releaseFrom(cause, phase int64, detached bool, id int64) (*jobcontrol.Build, error) {
	var b jobcontrol.Build
	var pins []byte
	var found bool
	var err error
	scan := func(r *row) { b, pins = scanReady(r) }
	if detached {
		found, err = t.returning(scan, releaseQueued, phase, cause, t.now, t.now, id)
	} else {
		found, err = t.returning(scan, releaseOne, phase, cause, t.now, id)
	}
	if err != nil || !found || b.DepsLeft > 0 || b.State != jobcontrol.Queued && b.State != jobcontrol.Scheduled {
		return nil, err
	}
	t.hint = t.hint || detached
	b.Pins, err = codec.DecodePins(pins)
	return &b, err
}

// pinPrevious returns a function that sets a dependant's pin of a job to its
// latest good build: what a skipped member is replaced by.
func (t *tx) pinPrevious(head int64) (func(id int64) error, error) {
	var job string
	var good int64
	if err := t.settleHeads(); err != nil {
		return nil, err
	}
	if _, err := t.first(func(r *row) { job, good = r.text(), r.int() }, `SELECT job, good FROM heads WHERE id = ?`, head); err != nil {
		return nil, err
	}
	return func(id int64) error {
		var text []byte
		found, err := t.first(func(r *row) { text = r.json() }, `SELECT pins FROM builds WHERE id = ? AND state < 7`, id)
		if err != nil || !found {
			return err
		}
		pins, err := codec.DecodePins(text)
		if err != nil {
			return err
		}
		if pins == nil {
			pins = map[string]int64{}
		}
		pins[job] = good
		_, err = t.exec(`UPDATE builds SET pins = ? WHERE id = ?`, codec.EncodePins(pins), id)
		return err
	}, nil
}

// releasedBy returns those of the dependants that the end of a build released
// and that are still ready.
func (t *tx) releasedBy(id int64, dependants []int64) ([]jobcontrol.Build, error) {
	var ready []jobcontrol.Build
	for _, d := range dependants {
		err := t.each(func(r *row) error {
			b, pins := scanReady(r)
			var err error
			b.Pins, err = codec.DecodePins(pins)
			ready = append(ready, b)
			return err
		}, `SELECT `+readyColumns+` FROM builds WHERE id = ? AND cause = ? AND deps_left = 0 AND state IN (3, 4)`, max(d, -d), id)
		if err != nil {
			return nil, err
		}
	}
	return ready, nil
}

// block makes all builds that wait for those given, directly or not, blocked.
// It returns them in order of discovery, and those that became ready, since they
// wait for the end of an item, whatever that is.
func (t *tx) block(cause int64, dependants []int64) (ready []jobcontrol.Build, blocked []int64, err error) {
	for todo := dependants; len(todo) > 0; todo = todo[1:] {
		g, err := t.guarded(max(todo[0], -todo[0]))
		if refused(err) {
			continue // it was deleted
		}
		if err != nil {
			return nil, nil, err
		}
		if todo[0] < 0 {
			b, err := t.releaseFrom(cause, 0, g.detached, g.id)
			if err != nil {
				return nil, nil, err
			}
			if b != nil {
				ready = append(ready, *b)
			}
			continue
		}
		if jobcontrol.ToBlock.Check(g.state, jobcontrol.Blocked) != nil {
			continue // it is final already, or suspended
		}
		if _, err := t.exec(`UPDATE builds SET state = 11, queue = NULL, cause = ?, finished_at = ? WHERE id = ?`, cause, t.now, g.id); err != nil {
			return nil, nil, err
		}
		if err := t.ended(g.end(jobcontrol.Blocked)); err != nil {
			return nil, nil, err
		}
		ids, err := codec.DecodeIDs(g.id, g.dependants)
		if err != nil {
			return nil, nil, err
		}
		blocked = append(blocked, g.id)
		todo = append(todo, ids...)
	}
	return ready, blocked, nil
}

// blockedBy returns those of the dependants, directly or not, that the end of a
// build blocked.
func (t *tx) blockedBy(cause int64, dependants []int64) ([]int64, error) {
	var blocked []int64
	seen := map[int64]bool{}
	for todo := dependants; len(todo) > 0; todo = todo[1:] {
		id := todo[0]
		var data []byte
		found, err := t.first(func(r *row) { data = r.blob() }, `SELECT dependants FROM builds WHERE id = ? AND cause = ? AND state = 11`, id, cause)
		if err != nil {
			return nil, err
		}
		if !found || seen[id] {
			continue
		}
		seen[id] = true
		ids, err := codec.DecodeIDs(id, data)
		if err != nil {
			return nil, err
		}
		blocked = append(blocked, id)
		todo = append(todo, ids...)
	}
	return blocked, nil
}
