package postgres

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// writer writes what comes in thousands: plain new builds, ends of attempts,
// reports. Callers put operations into its queue and wait; a few goroutines,
// each with a connection, take all that wait and write them in one transaction,
// with few statements for each kind. So a commit is paid once for many, and a
// lone operation waits for nobody. Where nobody waits for the answer, a function is
// called with it.
//
// Who brings an operation while nobody writes does it himself: that spares two
// changes of goroutines where operations come one by one. What came meanwhile is
// left to a goroutine of its own, which ends when nothing waits. One at a time is
// best where a transaction takes little: the next one is the larger, and two would
// wait for each other's heads. Others help where it takes long, or much waits.
//
// An operation gets its own answer. One that the transaction cannot contain (its
// claim is lost, it is a repetition …) is not written, and answered by a
// transaction of its own afterwards. If the transaction fails, each operation is
// executed alone, so that the one at fault harms no other.
type writer struct {
	s *Store

	mu      sync.Mutex
	queue   []*queued
	waiting int       // rows of the queue
	writing int       // how many write
	slow    int       // transactions, one after the other, that took long
	idle    sync.Cond // one of them ended
	closed  bool
	ends    map[context.Context]func() bool // of the operations that nobody waits for; stops looking out for the end
}

// op is one operation of the writer.
type op interface {
	// kind decides which statement it is part of.
	kind() kind
	// size is how many rows it writes.
	size() int
	// alone answers the operation in a transaction of its own; after write told
	// that it is not part of the batch, or that failed.
	alone(ctx context.Context, s *Store) error
}

// kind is a kind of operations that are written together.
type kind int

const (
	kindCreate kind = iota
	kindFinish
	kindReport
	kinds
)

// queued is an operation that waits for the writer.
type queued struct {
	op    op
	ctx   context.Context // of the caller
	state atomic.Int32    // of its life: waiting, then taken or dropped
	done  chan struct{}   // closed when it is answered; nil: then is called
	then  func(error)
	err   error
	apart bool // it was not written with the others
}

const (
	opWaiting = iota
	opTaken
	opDropped
)

// maxBatch is about how many rows one transaction writes.
const maxBatch = 4000

func newWriter(s *Store) *writer {
	w := &writer{s: s}
	w.idle.L = &w.mu
	return w
}

// do has an operation executed and waits for its answer.
func (w *writer) do(ctx context.Context, o op) error {
	if err := ctx.Err(); err != nil {
		return w.s.public(err)
	}
	q := &queued{op: o, ctx: ctx, done: make(chan struct{})}
	itself, ok := w.add(q)
	if !ok {
		return errClosed
	}
	if itself && w.next() {
		go w.run()
	}
	select {
	case <-q.done:
	case <-ctx.Done():
		if q.state.CompareAndSwap(opWaiting, opDropped) {
			return w.s.public(ctx.Err())
		}
		<-q.done
	}
	if q.apart {
		return o.alone(ctx, w.s)
	}
	return w.s.public(q.err)
}

// add puts an operation into the queue, unless the writer is closed. itself: the
// caller has to write, with next or run.
func (w *writer) add(q *queued) (itself, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false, false
	}
	w.queue = append(w.queue, q)
	w.waiting += q.op.size()
	if itself = w.writing == 0 || w.writing < w.s.opts.Writers && w.helps(); itself {
		w.writing++
	} else if len(w.queue) == 1 && w.writing < w.s.opts.Writers {
		time.AfterFunc(stuckFor, w.help)
	}
	if q.then != nil && w.ends[q.ctx] == nil && q.ctx.Done() != nil {
		if w.ends == nil {
			w.ends = map[context.Context]func() bool{}
		}
		w.ends[q.ctx] = context.AfterFunc(q.ctx, func() { w.drop(q.ctx) })
	}
	return itself, true
}

// later has an operation executed and calls then with the answer.
func (w *writer) later(ctx context.Context, o op, then func(error)) {
	err := ctx.Err()
	if err == nil {
		itself, ok := w.add(&queued{op: o, ctx: ctx, then: then})
		if itself {
			go w.run()
		}
		if !ok {
			err = errClosed
		}
	}
	if err != nil {
		then(w.s.public(err))
	}
}

// drop gives up the operations that nobody waits for whose context has ended and
// that were not begun.
func (w *writer) drop(ctx context.Context) {
	w.mu.Lock()
	delete(w.ends, ctx)
	var dropped []*queued
	for _, q := range w.queue {
		if q.then != nil && q.ctx == ctx && q.state.CompareAndSwap(opWaiting, opDropped) {
			dropped = append(dropped, q)
		}
	}
	w.mu.Unlock()
	for _, q := range dropped {
		q.then(w.s.public(ctx.Err()))
	}
}

// answer tells who waits for an operation that it was served.
func (w *writer) answer(q *queued) {
	switch {
	case q.then == nil:
		close(q.done)
	case q.apart:
		go func() { q.then(q.op.alone(q.ctx, w.s)) }()
	default:
		q.then(w.s.public(q.err))
	}
}

// stop refuses further operations and returns when nobody writes.
func (w *writer) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for w.writing > 0 {
		w.idle.Wait()
	}
	for _, stop := range w.ends {
		stop()
	}
}

// run writes until nothing waits.
func (w *writer) run() {
	for w.next() {
	}
}

// next writes what waits, and tells whether more came meanwhile; else the caller
// does not write any more.
func (w *writer) next() (more bool) {
	if batch := w.take(); len(batch) > 0 {
		began := time.Now()
		w.serve(batch)
		w.took(time.Since(began), batch)
		for _, q := range batch {
			w.answer(q)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) > 0 && (w.writing == 1 || w.helps()) {
		return true
	}
	w.writing--
	w.idle.Broadcast()
	return false
}

// stuckFor is how long operations wait for a transaction that may be waiting itself,
// for a row that somebody else has locked.
const stuckFor = 20 * time.Millisecond

// help has another one write if something waits still.
func (w *writer) help() {
	w.mu.Lock()
	ok := len(w.queue) > 0 && w.writing < w.s.opts.Writers && !w.closed
	if ok {
		w.writing++
	}
	w.mu.Unlock()
	if ok {
		w.run()
	}
}

// helps tells whether it is good that another one writes beside those who do.
func (w *writer) helps() bool { return w.waiting >= muchWaits || w.slow >= 8 }

// Much waits from so many rows on. A transaction takes long beyond the time that
// its rows may take: the server, or its disk, is far.
const (
	muchWaits = 1000
	farAway   = time.Millisecond
	eachRow   = 20 * time.Microsecond
)

// took enters how long a transaction took.
func (w *writer) took(d time.Duration, batch []*queued) {
	rows := 0
	for _, q := range batch {
		rows += q.op.size()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if d > farAway+time.Duration(rows)*eachRow {
		w.slow++
	} else {
		w.slow = 0
	}
}

// take returns the operations that are written next.
func (w *writer) take() []*queued {
	w.mu.Lock()
	defer w.mu.Unlock()
	var batch []*queued
	for len(batch) == 0 && len(w.queue) > 0 {
		batch = w.choose()
	}
	return batch
}

// choose takes operations out of the queue that one transaction writes. w.mu is held.
func (w *writer) choose() []*queued {
	var batch, left []*queued
	var end *finishOp
	size, n := 0, 0
	for _, q := range w.queue {
		if size >= maxBatch {
			break
		}
		n++
		// Ends that do not fit the first one go into another transaction: so that
		// one statement takes all locks, in order.
		if o, ok := q.op.(*finishOp); ok {
			if end == nil {
				end = o
			} else if !o.fits(end) {
				left = append(left, q)
				continue
			}
		}
		w.waiting -= q.op.size()
		if q.state.CompareAndSwap(opWaiting, opTaken) {
			batch = append(batch, q)
			size += q.op.size()
		}
	}
	if w.queue = w.queue[n:]; len(left) > 0 {
		w.queue = append(left, w.queue...)
	}
	if len(w.queue) == 0 {
		w.queue = nil
	}
	return batch
}

// writePatience is how long a batch may take, waiting for others included.
const writePatience = 30 * time.Second

// serve answers all operations of a batch.
func (w *writer) serve(batch []*queued) {
	ctx, cancel := context.WithTimeout(context.Background(), writePatience)
	defer cancel()
	var err error
	for n := range tries {
		var sent bool
		var told news
		err = w.s.useWriter(ctx, func(c *conn) (err error) {
			sent, told, err = w.transaction(c, batch)
			return err
		})
		if err == nil {
			w.s.hints.tell(told)
			return
		}
		if stale(err) {
			w.s.known.clear()
		}
		for _, q := range batch {
			q.apart = false
			if o, ok := q.op.(*createOp); ok {
				o.written = false
			}
		}
		var connect *pgconn.ConnectError
		lost := disconnected(err)
		if !passing(err) && !stale(err) && (!lost || sent || errors.As(err, &connect) || n > 2) || !pause(ctx, n) {
			break
		}
	}
	// What the server refused, it refused because of one of them.
	suspects := codeOf(err) != "" && !disconnected(err) && !passing(err) || refused(err)
	for _, q := range batch {
		if q.err = err; suspects {
			q.apart = true
		}
	}
}

// useWriter gives f a connection of the writers.
func (s *Store) useWriter(ctx context.Context, f func(*conn) error) error {
	p, err := s.writers.Acquire(ctx)
	if err != nil {
		return err
	}
	defer giveUp(p)
	c := newConn(ctx, s, p.Conn().PgConn())
	c.set = !s.opts.Pooled
	return f(c)
}

// transaction writes a batch. Operations that it cannot contain are marked.
func (w *writer) transaction(c *conn, batch []*queued) (sent bool, told news, err error) {
	var by [kinds][]*queued
	for _, q := range batch {
		k := q.op.kind()
		by[k] = append(by[k], q)
	}
	creates := ops[*createOp](by[kindCreate])
	refs, err := w.s.refer(c, creates)
	if err != nil {
		return false, told, err
	}
	if len(creates) == len(batch) {
		if groups := grouped(creates, refs); groups != nil {
			return w.createGroups(c, groups)
		}
	}
	return w.s.transact(c, "batch", func(t *tx) error {
		if len(creates) > 0 {
			if err := t.step("create", func(t *tx) error { return t.createPlain(creates, refs) }); err != nil {
				return err
			}
		}
		if len(by[kindFinish]) > 0 {
			if err := t.step("finish", func(t *tx) error { return t.finishBatch(by[kindFinish]) }); err != nil {
				return err
			}
		}
		if len(by[kindReport]) > 0 {
			return t.step("report", func(t *tx) error { return t.reportBatch(by[kindReport]) })
		}
		return nil
	})
}

// ops are the operations of a kind.
func ops[T op](batch []*queued) []T {
	out := make([]T, len(batch))
	for i, q := range batch {
		out[i] = q.op.(T)
	}
	return out
}
