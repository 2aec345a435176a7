package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/internal/fault"
)

// op is one write that waits for the writer.
type op struct {
	name      string
	f         func(*tx) error
	finishing *finishing      // nil: it is executed alone
	state     atomic.Int32    // of its life: waiting, then started or dropped
	done      chan struct{}   // closed when err is the answer; nil: then is called
	ctx       context.Context // of an op with then: it is not begun after its end
	then      func(error)
	err       error
}

const (
	opWaiting = iota
	opStarted
	opDropped
)

// writer writes: one goroutine at a time. All writes that wait while it commits
// are its next transaction: a commit is as dear for one write as for a thousand.
//
// Who brings a write while nobody is writing does it himself: that spares two
// changes of goroutines where writes come one by one. What came meanwhile is left
// to a goroutine of its own, which ends when nothing waits.
type writer struct {
	s *Store
	c *conn // of who is writing
	t *tx   // likewise; nil before first use

	mu     sync.Mutex
	queue  []*op
	busy   bool      // somebody is writing
	idle   sync.Cond // nobody is
	closed bool
	forgot bool  // what the system had of the log before; see forget
	fatal  error // nothing is written any more

	answers sync.WaitGroup // of large batches, which are given while the next one is written
}

func newWriter(s *Store, c *conn) *writer {
	w := &writer{s: s, c: c}
	w.idle.L = &w.mu
	return w
}

// tx is the transaction that the writer is in.
type tx struct {
	*conn
	s       *Store
	now     time.Time                 // the time of everything that it writes
	changes int64                     // rows that were changed
	alive   map[jobcontrol.Lease]bool // leases that were seen to be held
	cache
	postponed
	args   []any // of the bulk statements
	hinted bool  // settle has written a hint
	hints  int64 // its number

	pools  map[int64]bool // workers that have claimed something through this handle
	claims claims
}

// cache is what a transaction has read of rows that do not change in it.
type cache struct {
	definitions map[string]definition
	origins     map[origin]int64
	services    map[headName]*service // with their name for the job
}

// begun returns the writer's tx for a new transaction.
func (w *writer) begun() *tx {
	if w.t == nil {
		w.t = &tx{
			conn: w.c, s: w.s, alive: map[jobcontrol.Lease]bool{}, pools: map[int64]bool{},
			cache:     cache{map[string]definition{}, map[origin]int64{}, map[headName]*service{}},
			claims:    claims{builds: map[int64]claimed{}},
			postponed: postponed{heads: map[int64]*headChange{}, names: map[headName]*headChange{}, runs: map[int64]int{}},
		}
	}
	t := w.t
	clear(t.alive)
	clear(t.definitions)
	clear(t.origins)
	clear(t.services)
	clear(t.heads)
	clear(t.names)
	clear(t.runs)
	t.claims.looked, t.claims.spread = false, 0
	t.now, t.changes, t.nextID, t.plain, t.hint, t.hinted, t.hints = w.s.clock(), 0, 0, t.plain[:0], false, false, 0
	return t
}

// exec is conn.exec, counted.
func (t *tx) exec(text string, args ...any) (int64, error) {
	n, err := t.conn.exec(text, args...)
	t.changes += n
	return n, err
}

// returning is conn.first for a statement that changes a row: it has a RETURNING clause.
func (t *tx) returning(f func(r *row), text string, args ...any) (found bool, err error) {
	found, err = t.first(f, text, args...)
	if found {
		t.changes++
	}
	return found, err
}

// write has f executed in a transaction and waits until that is durable. f may
// be executed more than once, each time from the start.
func (s *Store) write(ctx context.Context, name string, f func(*tx) error) error {
	return s.do(ctx, &op{name: name, f: f, done: make(chan struct{})})
}

// later has an op executed and calls its function with the answer.
func (s *Store) later(o *op) {
	first, err := s.w.add(o)
	switch {
	case err != nil:
		o.then(s.public(err))
	case first:
		go s.w.run()
	}
}

func (s *Store) do(ctx context.Context, o *op) error {
	if err := ctx.Err(); err != nil {
		return s.public(err)
	}
	first, err := s.w.add(o)
	if err != nil {
		return err
	}
	if first {
		if s.w.next() {
			go s.w.run()
		}
	}
	select {
	case <-o.done:
	case <-ctx.Done():
		if o.state.CompareAndSwap(opWaiting, opDropped) {
			return s.public(ctx.Err())
		}
		<-o.done
	}
	return s.public(o.err)
}

// add adds a write to those that wait. first: nobody is writing, so the caller
// has to, with next and run.
func (w *writer) add(o *op) (first bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fatal != nil {
		return false, w.fatal
	}
	if w.closed {
		return false, jobcontrol.Errorf(jobcontrol.Unavailable, "store unavailable: it is closed")
	}
	w.queue = append(w.queue, o)
	first = !w.busy
	w.busy = true
	return first, nil
}

// run serves writes until none waits.
func (w *writer) run() {
	for w.next() {
	}
}

// next serves all writes that wait and tells whether more came meanwhile; else
// nobody is writing any more.
func (w *writer) next() (more bool) {
	// A file that is truncated by somebody else makes memory vanish that is
	// mapped: that shall be a panic, which is recovered, and not the end.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	w.mu.Lock()
	batch := w.queue
	w.queue = nil
	w.mu.Unlock()
	w.serve(batch)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) > 0 {
		return true
	}
	w.busy = false
	w.idle.Broadcast()
	return false
}

// stop refuses further writes and returns when nobody is writing.
func (w *writer) stop() {
	w.mu.Lock()
	w.closed = true
	for w.busy {
		w.idle.Wait()
	}
	w.mu.Unlock()
	w.answers.Wait()
}

// serve answers all ops of a batch.
func (w *writer) serve(batch []*op) {
	live := batch[:0]
	for _, o := range batch {
		if o.then != nil && o.ctx.Err() != nil {
			o.then(w.s.public(o.ctx.Err()))
		} else if o.state.CompareAndSwap(opWaiting, opStarted) {
			live = append(live, o)
		}
	}
	if len(live) == 0 {
		return
	}
	if again := w.transaction(live); again {
		for _, o := range live {
			w.transaction([]*op{o})
		}
	}
	if len(live) < bulkRows {
		w.answer(live)
		return
	}
	w.answers.Go(func() { w.answer(live) })
}

// answer tells those who brought ops that they were served.
func (w *writer) answer(ops []*op) {
	for _, o := range ops {
		if o.then != nil {
			o.then(w.s.public(o.err))
		} else {
			close(o.done)
		}
	}
}

// transaction executes ops in one transaction and sets their answers. It asks
// to be called again with each op alone when it rolled back because of one of
// several.
func (w *writer) transaction(ops []*op) (again bool) {
	fail := func(err error) bool {
		err = w.s.public(err)
		f := (*final)(nil)
		if known := errors.As(err, &f); known || deadly(err) {
			if !known {
				err = &final{err}
			}
			w.mu.Lock()
			w.fatal = err
			w.mu.Unlock()
		}
		for _, o := range ops {
			o.err = err
		}
		return false
	}
	w.mu.Lock()
	fatal := w.fatal
	w.mu.Unlock()
	if fatal != nil {
		return fail(fatal)
	}
	if err := w.s.file.same(); err != nil {
		return fail(err)
	}
	if err := w.begin(); err != nil {
		return fail(err)
	}
	if !w.forgot {
		// Whoever failed to write the log before this handle had it open was told so,
		// and this one is not. Nobody else writes now.
		if err := forget(w.s.path + "-wal"); err != nil {
			_ = w.control("ROLLBACK") // the first error is the one that matters
			return fail(unavailable(err))
		}
		w.forgot = true
	}
	t := w.begun()
	kept := false
	defer func() { t.claims.known = t.claims.known && kept }()
	if err := t.executeAll(ops); err != nil {
		return w.rollback(ops, err, fail)
	}
	if t.changes == 0 {
		// Nothing was written: there is nothing to make durable.
		if err := w.control("ROLLBACK"); err != nil {
			return fail(err)
		}
		kept = true
		return false
	}
	if err := w.commit(); err != nil {
		_ = w.control("ROLLBACK") // SQLite itself may have rolled back
		return fail(err)
	}
	kept = true
	if t.hinted {
		w.s.hints.tell(t.hints)
	}
	return false
}

// executeAll executes ops and sets their answers. An error is a fault, or an
// answer that came too late: the transaction has to be rolled back.
func (t *tx) executeAll(ops []*op) error {
	if err := safely(func() error { return t.finishPlain(ops) }); err != nil {
		ops[0].err = err
		return err
	}
	for _, o := range ops {
		if o.finishing != nil && o.finishing.done {
			o.err = nil
			continue
		}
		if !hurried[o.name] {
			if o.err = safely(t.settle); o.err == nil && !beside[o.name] {
				o.err = safely(t.spread)
			}
			if o.err != nil {
				return o.err
			}
		}
		changes := t.changes - t.claims.spread
		o.err = t.execute(o)
		if o.err != nil && (!refused(o.err) || t.changes-t.claims.spread != changes) {
			return o.err
		}
	}
	err := safely(t.settle)
	if err != nil {
		ops[0].err = err
	}
	return err
}

// rollback ends a transaction because of an error of one of its ops, which are
// then to be executed each alone, if there are several.
func (w *writer) rollback(ops []*op, cause error, fail func(error) bool) (again bool) {
	w.t.claims.known = false
	// SQLite itself may have rolled back, then there is nothing to roll back.
	err := w.control("ROLLBACK")
	switch {
	case deadly(cause):
		return fail(cause)
	case err != nil && codeOf(err) != codeError:
		return fail(err)
	case errors.Is(cause, errNotPlain):
		for _, o := range ops {
			o.finishing = nil
		}
		return w.transaction(ops)
	}
	return len(ops) > 1
}

// hurried are the ops that see to what is postponed themselves, and to table
// claims; before any other one that is settled, and spread.
var hurried = map[string]bool{
	"create": true, "create-many": true, "claim": true, "start": true, "ran": true, "report": true, "finish": true, "retry": true, "renew": true,
}

// beside are other ops before which claims need not be spread: they change no build
// that may be claimed by another one than they see to, and count none. The last two
// change the table itself.
var beside = map[string]bool{
	"claim-cleanup": true, "promote": true, "register": true, "shared": true, "install": true, "uninstall": true,
}

// execute executes one op of a transaction.
func (t *tx) execute(o *op) error {
	if err := passed(o.name, "before", 1); err != nil {
		return err
	}
	if err := safely(func() error { return o.f(t) }); err != nil {
		return err
	}
	return passed(o.name, "after", 1)
}

// passed goes through a fail point of an op, as often as there are such ops.
func passed(name, when string, n int) error {
	for range n {
		if !fault.Enabled {
			break
		}
		if err := fault.Point("sqlite." + name + "." + when); err != nil {
			return unavailable(err)
		}
	}
	return nil
}

func unavailable(err error) error {
	return &jobcontrol.Error{Code: jobcontrol.Unavailable, Message: "store unavailable", Cause: err}
}

// begin takes the write lock. Writers of other processes hold it for
// milliseconds, so it asks often; SQLite itself would sleep up to 100 ms.
func (w *writer) begin() error {
	return w.s.patiently(func() error { return w.control("BEGIN IMMEDIATE") })
}

// control begins or ends a transaction.
func (w *writer) control(text string) error {
	return safely(func() error {
		_, err := w.c.exec(text)
		return err
	})
}

// commit makes a transaction durable, in the file that the path leads to.
func (w *writer) commit() error {
	if err := fault.Point("sqlite.commit.before"); err != nil {
		return unavailable(err)
	}
	if err := w.control("COMMIT"); err != nil {
		return err
	}
	if err := fault.Point("sqlite.commit.after"); err != nil {
		return unavailable(err)
	}
	if err := w.s.file.same(); err != nil || w.s.temp != "" {
		return err
	}
	if err := noticed(w.s.path); err != nil {
		return &final{&jobcontrol.Error{
			Code:    jobcontrol.Unavailable,
			Message: fmt.Sprintf("store unavailable: whether %s keeps the write is unknown", w.s.name),
			Hint:    "check the disk, then start again",
			Cause:   err,
		}}
	}
	return nil
}

// patiently repeats f while the database is busy, until the patience of the
// store has ended.
func (s *Store) patiently(f func() error) error {
	end := time.Now().Add(s.opts.BusyTimeout)
	for {
		err := f()
		if err == nil || !isBusy(err) || time.Now().After(end) {
			return err
		}
		time.Sleep(time.Duration(200+rand.IntN(1800)) * time.Microsecond)
	}
}
