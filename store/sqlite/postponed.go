package sqlite

import (
	"cmp"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// postponed is what the writes of a transaction change in rows that many of them
// touch: it is written once, by settle, at the latest before the commit. Only
// detached builds are entered here; whoever reads these rows settles first.
type postponed struct {
	nextID int64 // the last id given out; 0: not read yet
	heads  map[int64]*headChange
	names  map[headName]*headChange
	runs   map[int64]int // builds that ended, by Run
	plain  []plainBuild  // to be inserted
	hint   bool          // something was written that may concern a worker
}

type headName struct{ project, job string }

// headChange is what builds of one job change in its head.
type headChange struct {
	id      int64
	latest  int64 // newest of the new builds; 0: none
	created int
	ended   int // builds that became final

	last          int64 // the newest of them
	lastState     jobcontrol.State
	finished      int64 // likewise, of those that ended successful, skipped or failed
	finishedState jobcontrol.State
	good          ended // likewise, of the successful ones
	changed       int64 // likewise, of those that changed something
	changedAt     time.Time
}

// ids draws ids of Runs and builds and returns the first of them.
func (t *tx) ids(n int64) (int64, error) {
	if t.nextID == 0 {
		last, err := t.number(`SELECT id FROM sequences`)
		if err != nil {
			return 0, err
		}
		t.nextID = last
	}
	first := t.nextID + 1
	t.nextID += n
	return first, nil
}

// headOf returns what is postponed of a job's head, which it makes if the job has none.
func (t *tx) headOf(project, job string) (*headChange, error) {
	name := headName{project, job}
	if h := t.names[name]; h != nil {
		return h, nil
	}
	id, err := t.number(`SELECT id FROM heads WHERE job = ? AND project = ?`, job, project)
	if err == nil && id == 0 {
		_, err = t.returning(func(r *row) { id = r.int() },
			`INSERT INTO heads (project, job, latest, latest_state, unfinished, room) VALUES (?, ?, 0, 0, 0, zeroblob(40)) RETURNING id`, project, job)
	}
	if err != nil {
		return nil, err
	}
	h := t.head(id)
	t.names[name] = h
	return h, nil
}

// head returns what is postponed of a head.
func (t *tx) head(id int64) *headChange {
	h := t.heads[id]
	if h == nil {
		h = &headChange{id: id}
		t.heads[id] = h
	}
	return h
}

// ended enters that a build became final: in its head, and in its Run.
func (t *tx) ended(e *ended) error {
	if !e.detached {
		return t.headEnded(e)
	}
	h := t.head(e.head)
	h.add(e)
	if e.run != e.id {
		t.runs[e.run]++
	}
	return nil
}

func (h *headChange) add(e *ended) {
	h.ended++
	if e.id > h.last {
		h.last, h.lastState = e.id, e.state
	}
	switch e.state {
	case jobcontrol.Cancelled, jobcontrol.Blocked:
		return
	}
	if e.id > h.finished {
		h.finished, h.finishedState = e.id, e.state
	}
	if e.state != jobcontrol.Successful {
		return
	}
	if e.id > h.good.id {
		h.good = *e
	}
	if e.changed && e.id > h.changed {
		h.changed, h.changedAt = e.id, e.at
	}
}

// settle writes what is postponed.
func (t *tx) settle() error {
	if err := t.insertPlain(true); err != nil {
		return err
	}
	if err := t.settleHeads(); err != nil {
		return err
	}
	for run, n := range t.runs {
		delete(t.runs, run)
		if err := t.membersEnded(run, n); err != nil {
			return err
		}
	}
	if t.nextID == 0 && !t.hint {
		return nil
	}
	hint := int64(0)
	if t.hint {
		hint, t.hinted = 1, true
	}
	if t.nextID > 0 {
		_, err := t.returning(func(r *row) { t.hints = r.int() }, `UPDATE sequences SET id = ?, hint = hint + ? RETURNING hint`, t.nextID, hint)
		t.nextID, t.hint = 0, false
		return err
	}
	_, err := t.returning(func(r *row) { t.hints = r.int() }, `UPDATE sequences SET hint = hint + 1 RETURNING hint`)
	t.hint = false
	return err
}

func (t *tx) settleHeads() error {
	if len(t.heads) == 0 {
		return nil
	}
	for _, h := range t.heads {
		if err := t.settleHead(h); err != nil {
			return err
		}
	}
	clear(t.heads)
	clear(t.names)
	return nil
}

func (t *tx) settleHead(h *headChange) error {
	if h.created > 0 {
		if _, err := t.exec(`UPDATE heads SET latest_state = CASE WHEN latest < ? THEN 0 ELSE latest_state END, latest = max(latest, ?),
			unfinished = unfinished + ? WHERE id = ?`, h.latest, h.latest, h.created, h.id); err != nil {
			return err
		}
	}
	if h.ended == 0 {
		return nil
	}
	const (
		always = `UPDATE heads SET unfinished = unfinished - ?, latest_state = CASE latest WHEN ? THEN ? ELSE latest_state END,
			finished_state = CASE WHEN finished < ? THEN ? ELSE finished_state END, finished = max(finished, ?)`
		good = `, room = NULL, good = ?, good_at = ?, good_definition = ?, good_result = ?, good_pins = ?,
			changed = max(changed, ?), changed_at = CASE WHEN changed < ? THEN ? ELSE changed_at END`
	)
	g := &h.good
	if g.id > 0 {
		n, err := t.exec(always+good+` WHERE id = ? AND good < ?`, h.ended, h.last, h.lastState, h.finished, h.finishedState, h.finished,
			g.id, g.at, g.definition, g.result, g.pins, h.changed, h.changed, h.changedAt, h.id, g.id)
		if err != nil || n > 0 {
			return err
		}
	}
	// None was successful, or a newer build was first.
	_, err := t.exec(always+` WHERE id = ?`, h.ended, h.last, h.lastState, h.finished, h.finishedState, h.finished, h.id)
	if err == nil && h.changed > 0 {
		_, err = t.exec(`UPDATE heads SET changed = ?, changed_at = ? WHERE id = ? AND changed < ?`, h.changed, h.changedAt, h.id, h.changed)
	}
	return err
}

// membersEnded counts down the unfinished builds of a detached Run. With the
// last one it is cleaned up, or has ended.
func (t *tx) membersEnded(run int64, n int) error {
	r := runRow{Run: jobcontrol.Run{ID: run}}
	left := int64(-1)
	if _, err := t.returning(func(row *row) { left, r.size, r.State = row.int(), row.int(), jobcontrol.RunState(row.int()) },
		`UPDATE runs SET left = left - ? WHERE id = ? AND detached = 1 RETURNING left, size, state`, n, run); err != nil {
		return err
	}
	if left != 0 || r.State != jobcontrol.RunRunning {
		return nil
	}
	due, err := t.number(`SELECT 1 FROM builds WHERE run = ? AND detached = 1 AND ran > 0 AND cleaned = 0 LIMIT 1`, run)
	if err != nil {
		return err
	}
	if due != 0 {
		if due, err = t.number(`SELECT 1 - o.no_cleanup FROM runs r CROSS JOIN origins o ON o.id = r.origin WHERE r.id = ?`, run); err != nil {
			return err
		}
	}
	if due == 0 {
		return t.endRun(&r)
	}
	t.hint = true
	_, err = t.exec(`UPDATE runs SET state = 2 WHERE id = ?`, run)
	return err
}

// loneEnded ends the Run that a detached lone build is, or has it cleaned up:
// open says which of them closeLone meant.
func (t *tx) loneEnded(id int64, open jobcontrol.RunState) error {
	if open != jobcontrol.RunCleaning {
		return nil
	}
	without, err := t.number(`SELECT o.no_cleanup FROM builds b CROSS JOIN origins o ON o.id = b.origin WHERE b.id = ?`, id)
	if err != nil {
		return err
	}
	if without == 0 {
		t.hint = true
		return nil
	}
	_, err = t.exec(`UPDATE builds SET open = NULL WHERE id = ?`, id)
	return err
}

// queueOf is builds.queue of a detached build that nobody has claimed.
func queueOf(state jobcontrol.State) any {
	switch {
	case state == jobcontrol.Queued:
		return int64(1)
	case state == jobcontrol.Scheduled:
		return int64(3)
	case state.Final():
		return nil
	}
	return int64(4)
}

// rankOf is a build's place in the queue.
func rankOf(b *jobcontrol.Build) int64 {
	at := b.ReadyAt
	if at.IsZero() {
		at = b.CreatedAt
	}
	return at.UnixMicro() - int64(b.Priority)*jobcontrol.PriorityWorth.Microseconds()
}

// serviceName is the name of a service in the table.
func serviceName(name string) string { return cmp.Or(name, jobcontrol.DefaultService) }
