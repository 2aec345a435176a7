package sqlite

import (
	"errors"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/internal/fault"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// The plain case in bulk. Of lone detached builds there may be thousands a
// second, most of them alike: such ones are inserted and finished by statements
// of many rows, since a statement costs more than a row. What is not plain is
// left to the statements for one build.

// bulkRows is how many rows such a statement has.
const bulkRows = 32

// values is a list of so many rows of parameters. They have no numbers, which
// would be names to the driver: it looks for the name of each one at each execution.
func values(rows, columns int) string {
	row := "(" + strings.TrimPrefix(strings.Repeat(", ?", columns), ", ") + ")"
	return strings.TrimPrefix(strings.Repeat(", "+row, rows), ", ")
}

// plainBuild is a new build of which only this is to be stored.
type plainBuild struct {
	id, head, definition, origin, service, rank int64
	tries                                       int
	retryDelay                                  time.Duration
	args, kwargs                                []byte
	why                                         string
}

var plainInsert = `INSERT INTO builds (id, run, head, definition, origin, state, tries, retry_delay, created_at, detached, queue, service, rank, why, args, kwargs, room)
	SELECT column1, column1, column2, column3, column4, 4, column5, column6, ?, 1, 1, column7, column8, column9, column10, column11, zeroblob(72)
	FROM (VALUES ` + values(bulkRows, 11) + `)`

// plain tells whether a new detached lone build may be inserted with others.
func plain(b *newBuild) bool {
	v := &b.Made
	return v.State == jobcontrol.Queued && v.ReadyAt.IsZero() && v.Priority == 0 && v.Unique == "" && v.Key == "" && v.AgainOf == 0 && len(v.Pins) == 0
}

// insertPlain inserts builds that were collected, all of them or as many as fill statements.
func (t *tx) insertPlain(all bool) error {
	rows := t.plain
	for len(rows) >= bulkRows {
		args := append(t.args[:0], t.now)
		for i := range bulkRows {
			b := &rows[i]
			args = append(args, b.id, b.head, b.definition, b.origin, b.tries, int64(b.retryDelay), b.service, b.rank, optional(b.why), text(b.args), text(b.kwargs))
		}
		t.args = args
		if _, err := t.exec(plainInsert, args...); err != nil {
			return err
		}
		rows = rows[bulkRows:]
	}
	if all {
		for i := range rows {
			b := &rows[i]
			if _, err := t.exec(`INSERT INTO builds (id, run, head, definition, origin, state, tries, retry_delay, created_at, detached, queue, service, rank,
				why, args, kwargs, room) VALUES (?, ?, ?, ?, ?, 4, ?, ?, ?, 1, 1, ?, ?, ?, ?, ?, zeroblob(72))`,
				b.id, b.id, b.head, b.definition, b.origin, b.tries, int64(b.retryDelay), t.now, b.service, b.rank, optional(b.why), text(b.args), text(b.kwargs)); err != nil {
				return err
			}
		}
		rows = nil
	}
	t.plain = append(t.plain[:0], rows...)
	return nil
}

// text makes JSON a text, and none NULL.
func text(data []byte) any {
	if len(data) == 0 {
		return nil
	}
	return string(data)
}

// freshBuild is what the end of a lone build needs that this handle claimed before
// it was ever executed; it never changes.
type freshBuild struct{ head, definition, service int64 }

// freshBuilds remembers builds from their claim to their end.
type freshBuilds struct {
	mu sync.Mutex
	m  map[int64]freshBuild
}

// maxFresh is how many are remembered: the ends of those that were forgotten are
// written one by one.
const maxFresh = 1 << 16

func (f *freshBuilds) add(builds map[int64]freshBuild) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.m == nil || len(f.m) > maxFresh {
		f.m = map[int64]freshBuild{} // most of them came to another end
	}
	maps.Copy(f.m, builds)
}

// remove forgets builds that end, and enters what is known of them.
func (f *freshBuilds) remove(ends []*finishing) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range ends {
		if b, ok := f.m[e.p.Claim.Build]; ok {
			e.fresh = b
			delete(f.m, e.p.Claim.Build)
		}
	}
}

// finishing is a Finish that may be executed with others.
type finishing struct {
	p     *codec.Packed
	fresh freshBuild // zero: nothing is known
	done  bool       // it was; else it is executed alone
}

// plainFinish ends lone detached builds that succeeded at their first attempt.
// The first form is for those that are claimed in their rows, the other one for those of table claims.
func plainFinish(rows int) [2]string {
	of := func(claimed, set, held string) string {
		return `WITH v (id, claim, changed, result, started, finished, last) AS (VALUES ` + values(rows, 7) + `), c (worker, epoch) AS (VALUES (?, ?))
		UPDATE builds SET state = 7, changed = v.changed, result = v.result, attempts = 1, tries_used = 1, started_at = ` + claimed + `,
			finished_at = v.finished, last = v.last, room = NULL, queue = NULL` + set + `
		FROM v CROSS JOIN c WHERE builds.id = v.id AND ` + held + ` AND attempts = 0 AND tries_used = 0
			AND run = builds.id AND ran = 0 AND stop = 0 AND pins IS NULL AND failure IS NULL AND frames IS NULL`
	}
	return [2]string{
		of(`CASE started_at WHEN 0 THEN v.started ELSE started_at END`, ``,
			`queue = 2 AND builds.claim = v.claim AND builds.worker = c.worker AND builds.epoch = c.epoch AND state IN (4, 5)`),
		of(`v.started`, `, worker = c.worker, epoch = c.epoch, claim = v.claim`, `queue = 1 AND state = 4 AND started_at = 0`),
	}
}

// The bulk statements that end builds, by their rows: a large one costs less for each.
var plainFinishes = []struct {
	rows  int
	texts [2]string
}{{8 * bulkRows, plainFinish(8 * bulkRows)}, {bulkRows, plainFinish(bulkRows)}}

// plainEnd tells whether the end of a build may be stored with others.
func plainEnd(p *codec.Packed) bool {
	return p.State == jobcontrol.Successful && p.Attempt.Number == 1 && p.Attempt.Failure == nil && p.Log == nil && len(p.Progress) == 0 &&
		(p.Changed || len(p.Result) > 0)
}

// errNotPlain tells that a bulk statement did not find all of its builds as they
// have to be: the transaction is made anew without such statements.
var errNotPlain = errors.New("not all of the builds are plain")

// finishPlain executes those of the ops that are plain, by worker. It begins
// anew what an earlier try did, which was rolled back.
func (t *tx) finishPlain(ops []*op) error {
	var plain []*finishing
	for _, o := range ops {
		if o.finishing == nil {
			continue
		}
		o.finishing.done = false
		if len(ops) >= bulkRows && !fault.Enabled { // fail points are around single ops
			plain = append(plain, o.finishing)
		}
	}
	if len(plain) < bulkRows {
		return nil
	}
	t.s.fresh.remove(plain)
	if _, err := t.lookAtClaims(); err != nil {
		return err
	}
	type kind struct {
		lease jobcontrol.Lease
		many  int // 1: they are in table claims
	}
	kinds := map[kind][]*finishing{}
	for _, f := range plain {
		k := kind{lease: jobcontrol.Lease{Worker: f.p.Claim.Worker, Epoch: f.p.Claim.Epoch}}
		if f.fresh.head == 0 {
			continue
		}
		if c, ok := t.claims.builds[f.p.Claim.Build]; ok {
			if c.number != f.p.Claim.Number || c.by.lease != k.lease {
				continue
			}
			k.many = 1
		}
		kinds[k] = append(kinds[k], f)
	}
	for k, list := range kinds {
		l := k.lease
		if len(list) < bulkRows {
			continue
		}
		if err := t.held(l); refused(err) {
			continue
		} else if err != nil {
			return err
		}
		for _, s := range plainFinishes {
			for ; len(list) >= s.rows; list = list[s.rows:] {
				if err := t.finishRows(s.texts[k.many], l, list[:s.rows]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (t *tx) finishRows(text string, l jobcontrol.Lease, list []*finishing) error {
	args := t.args[:0]
	for _, f := range list {
		p := f.p
		args = append(args, p.Claim.Build, p.Claim.Number, p.Changed, p.Result, p.Started(t.now), p.Finished(t.now), p.Data)
	}
	args = append(args, l.Worker, l.Epoch)
	t.args = args
	n, err := t.exec(text, args...)
	if err == nil && n != int64(len(list)) {
		err = errNotPlain
	}
	if err != nil {
		return err
	}
	for _, f := range list {
		p := f.p
		id := p.Claim.Build
		b := &f.fresh
		e := ended{id: id, run: id, head: b.head, definition: b.definition, detached: true, state: jobcontrol.Successful, at: p.Finished(t.now), changed: p.Changed}
		if len(p.Result) > 0 {
			e.result = id
		}
		f.done = true
		t.freed(b.service)
		if c, ok := t.claims.builds[id]; ok {
			delete(t.claims.builds, id)
			if c.by.left--; c.by.left == 0 {
				if _, err := t.exec(forgetClaim, c.by.first); err != nil {
					return err
				}
			}
		}
		if err := t.ended(&e); err != nil {
			return err
		}
	}
	return nil
}
