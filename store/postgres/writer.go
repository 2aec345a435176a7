package postgres

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jobcontrol/jobcontrol/internal/fault"
)

// writer writes what comes in thousands: plain new builds, ends of attempts,
// reports. Callers put operations into its queue and wait; a few goroutines,
// each with a connection, take all that wait and write them in one transaction,
// with one statement for each kind. So a commit is paid once for many, and a
// lone operation waits for nobody. Where nobody waits for the answer, a function is
// called with it.
//
// An operation gets its own answer. One that the transaction cannot contain (its
// claim is lost, it is a repetition …) is not written, and answered by a
// transaction of its own afterwards. If the transaction fails, each operation is
// executed alone, so that the one at fault harms no other.
type writer struct {
	s *Store

	mu      sync.Mutex
	queue   []*queued
	writing int       // goroutines that write
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
	if !w.add(q) {
		return errClosed
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

// add puts an operation into the queue, unless the writer is closed.
func (w *writer) add(q *queued) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	w.queue = append(w.queue, q)
	if w.writing < w.s.opts.Writers {
		w.writing++
		go w.run()
	}
	if q.then != nil && w.ends[q.ctx] == nil && q.ctx.Done() != nil {
		if w.ends == nil {
			w.ends = map[context.Context]func() bool{}
		}
		w.ends[q.ctx] = context.AfterFunc(q.ctx, func() { w.drop(q.ctx) })
	}
	return true
}

// later has an operation executed and calls then with the answer.
func (w *writer) later(ctx context.Context, o op, then func(error)) {
	err := ctx.Err()
	if err == nil && !w.add(&queued{op: o, ctx: ctx, then: then}) {
		err = errClosed
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

// take returns the operations that are written next; none: there are no more,
// and the caller has ended.
func (w *writer) take() []*queued {
	w.mu.Lock()
	defer w.mu.Unlock()
	var batch []*queued
	for len(batch) == 0 && len(w.queue) > 0 {
		batch = w.choose()
	}
	switch {
	case len(batch) == 0:
		w.writing--
		w.idle.Broadcast()
	case len(w.queue) > 0 && w.writing < w.s.opts.Writers:
		w.writing++
		go w.run()
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

func (w *writer) run() {
	for {
		batch := w.take()
		if len(batch) == 0 {
			return
		}
		w.serve(batch)
		for _, q := range batch {
			w.answer(q)
		}
	}
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

// useWriter gives f a connection of the pool: there is one for each writer.
func (s *Store) useWriter(ctx context.Context, f func(*conn) error) error {
	p, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer giveUp(p)
	return f(newConn(ctx, s, p.Conn().PgConn()))
}

// transaction writes a batch. Operations that it cannot contain are marked.
func (w *writer) transaction(c *conn, batch []*queued) (sent bool, told news, err error) {
	var by [kinds][]*queued
	for _, q := range batch {
		k := q.op.kind()
		by[k] = append(by[k], q)
	}
	creates := ops[*createOp](by[kindCreate])
	n, err := w.prepare(c, creates)
	if err != nil {
		return false, told, err
	}
	if len(creates) == len(batch) && !fault.Enabled {
		// One statement is a transaction.
		return w.onlyCreate(c, creates, n)
	}
	return w.s.transact(c, "batch", func(t *tx) error {
		if len(creates) > 0 {
			if err := t.step("create", func(t *tx) error { return t.createPlain(creates, n) }); err != nil {
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
