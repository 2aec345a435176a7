package sqlite

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// The plain case in bulk. Of lone detached builds there may be thousands a
// second, most of them alike: such ones are inserted and finished by statements
// of many rows, since a statement costs more than a row. What is not plain is
// left to the statements for one build.

// bulkRows is how many rows such a statement has, if nothing else is said.
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

// enter remembers what is known of the builds that were claimed.
func (f *freshBuilds) enter(claimed []jobcontrol.Build, known map[int64]freshBuild) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.m == nil || len(f.m) > maxFresh {
		f.m = map[int64]freshBuild{} // most of them came to another end
	}
	for i := range claimed {
		if b, ok := known[claimed[i].ID]; ok {
			f.m[claimed[i].ID] = b
		} else {
			delete(f.m, claimed[i].ID) // it was claimed before
		}
	}
}

// clear forgets all of them.
func (f *freshBuilds) clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.m)
}

// forget forgets one: its end is written alone.
func (f *freshBuilds) forget(id int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.m, id)
}

// remove forgets builds that end, and returns the ends of those that it knew, with
// what it knew of them.
func (f *freshBuilds) remove(ends []*finishing) []*finishing {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(ends, func(e *finishing) (unknown bool) {
		e.fresh = f.m[e.p.Claim.Build]
		unknown = e.fresh.head == 0
		delete(f.m, e.p.Claim.Build)
		return unknown
	})
}

// finishing is a Finish that may be executed with others.
type finishing struct {
	p     *codec.Packed
	fresh freshBuild
	done  bool // it was; else it is executed alone
}

// plainFinish ends lone detached builds that succeeded at their first attempt. The
// first form is for those that are claimed in their rows, with the lease after the
// rows, the other one for those of table claims, with the lease before them.
func plainFinish(rows int) [2]string {
	of := func(set, started, held string) string {
		return `UPDATE builds SET ` + set + `state = 7, changed = v.column3, result = v.column4, attempts = 1, tries_used = 1, started_at = ` + started + `,
			finished_at = v.column6, last = v.column7, room = NULL, queue = NULL
		FROM (VALUES ` + values(rows, 7) + `) v WHERE builds.id = v.column1 AND attempts = 0 AND ` + held
	}
	return [2]string{
		of(``, `CASE started_at WHEN 0 THEN v.column5 ELSE started_at END`, `claim = v.column2 AND +queue = 2 AND state IN (4, 5) AND +worker = ? AND epoch = ?
			AND tries_used = 0 AND run = builds.id AND ran = 0 AND stop = 0 AND pins IS NULL AND failure IS NULL AND frames IS NULL`),
		// Nothing else has happened to them since they were found to be fresh: else they were spread.
		of(`worker = ?, epoch = ?, claim = v.column2, `, `v.column5`, `+queue = 1 AND state = 4`),
	}
}

// The bulk statements that end builds, by their rows: a large one costs less for
// each. A build of table claims has its end written by one of them in any case,
// lest its neighbours are spread.
var plainFinishes = []struct {
	rows  int
	texts [2]string
}{
	{8 * bulkRows, plainFinish(8 * bulkRows)},
	{bulkRows, plainFinish(bulkRows)},
	{bulkRows / 4, [2]string{1: plainFinish(bulkRows / 4)[1]}},
	{1, [2]string{1: plainFinish(1)[1]}},
}

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
		if t.pools[o.finishing.p.Claim.Worker] {
			plain = append(plain, o.finishing)
		}
	}
	if len(plain) == 0 {
		return nil
	}
	if plain = t.s.fresh.remove(plain); len(plain) == 0 {
		return nil
	}
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
		if err := t.held(l); refused(err) {
			continue
		} else if err != nil {
			return err
		}
		for _, s := range plainFinishes {
			for ; len(list) >= s.rows && s.texts[k.many] != ""; list = list[s.rows:] {
				if err := t.finishRows(s.texts[k.many], l, k.many == 1, list[:s.rows]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (t *tx) finishRows(query string, l jobcontrol.Lease, many bool, list []*finishing) error {
	args := t.args[:0]
	if many {
		args = append(args, l.Worker, l.Epoch)
	}
	for _, f := range list {
		p := f.p
		args = append(args, p.Claim.Build, p.Claim.Number, p.Changed, text(p.Result), codec.Micros(p.Started(t.now)), codec.Micros(p.Finished(t.now)), p.Data)
	}
	if !many {
		args = append(args, l.Worker, l.Epoch)
	}
	t.args = args
	if err := passed("finish", "before", len(list)); err != nil {
		return err
	}
	n, err := t.exec(query, args...)
	if err == nil && n != int64(len(list)) {
		err = errNotPlain
	}
	if err == nil {
		err = passed("finish", "after", len(list))
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
