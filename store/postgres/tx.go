package postgres

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/internal/fault"
)

// tx is a transaction that writes. What it changes of Runs and heads is kept
// until its end, and then written in the order of their ids: every transaction
// locks workers, then services, builds, Runs and heads.
type tx struct {
	*conn
	now         time.Time                 // when the transaction began, by the server's clock
	alive       map[jobcontrol.Lease]bool // leases that were seen to be held; they stay so until its end
	heads       map[int64]*headChange
	runs        map[int64]*runChange
	logs, trims []logRow
	steps       []progressRow
	news        news // what others may want to know once it is committed
}

// settings make the plans of our statements what they were written for, whatever
// the statistics say, and let nothing take forever. A machine that dies, or cannot
// be reached any more, leaves transactions that lock its worker's row, and who
// takes its builds over waits for these: the server must have ended them long
// before the worker's lease has.
var settings = [][2]string{
	{"enable_seqscan", "off"},
	{"enable_hashjoin", "off"},
	{"enable_mergejoin", "off"},
	{"enable_bitmapscan", "off"},
	{"jit", "off"},
	{"plan_cache_mode", "force_generic_plan"},
	{"lock_timeout", "10s"},
	{"statement_timeout", "30s"},
	{"idle_in_transaction_session_timeout", "5s"},
	{"tcp_user_timeout", "10s"},
}

// begin begins a transaction with these settings; began where the session has them.
var begin = func() string {
	text := began
	for _, v := range settings {
		text += `, set_config('` + v[0] + `', '` + v[1] + `', true)`
	}
	return text
}()

const began = `SELECT ` + present

// tries is how often a transaction is executed that others make fail.
const tries = 10

// read executes f in a snapshot. f may be executed more than once, each time
// from the start.
func (s *Store) read(ctx context.Context, f func(*conn) error) error {
	return s.reading(ctx, func(c *conn) error {
		c.queue(nil, `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY`)
		err := f(c)
		if _, end := c.exec(`ROLLBACK`); err == nil {
			err = end
		}
		return err
	})
}

// readOne executes f outside of a transaction, for what is one statement.
func (s *Store) readOne(ctx context.Context, f func(*conn) error) error { return s.reading(ctx, f) }

func (s *Store) reading(ctx context.Context, f func(*conn) error) error {
	var err error
	for n := range 3 {
		err = s.use(ctx, f)
		var connect *pgconn.ConnectError
		if !disconnected(err) || errors.As(err, &connect) || ctx.Err() != nil || s.closed.Load() || !pause(ctx, n) {
			break
		}
	}
	return s.public(err)
}

// use gives f a connection of the pool, when it is the caller's turn.
func (s *Store) use(ctx context.Context, f func(*conn) error) error {
	select {
	case s.turns <- struct{}{}:
		defer func() { <-s.turns }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.useNow(ctx, f)
}

// useNow gives f a connection of the pool.
func (s *Store) useNow(ctx context.Context, f func(*conn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed.Load() {
		return errClosed
	}
	p, err := s.pool.Acquire(ctx)
	if err != nil {
		if s.closed.Load() {
			return errClosed
		}
		return err
	}
	defer giveUp(p)
	return f(newConn(ctx, s, p.Conn().PgConn()))
}

var errClosed = jobcontrol.Errorf(jobcontrol.Unavailable, "store unavailable: it is closed")

// giveUp gives a connection back, or closes it if it is in a transaction still.
func giveUp(p *pgxpool.Conn) {
	if pg := p.Conn().PgConn(); !pg.IsClosed() && pg.TxStatus() != 'I' {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_ = pg.Close(ctx) // the server rolls back
		cancel()
	}
	p.Release()
}

// write executes f in a transaction and returns when that is durable. f may be
// executed more than once, each time from the start.
func (s *Store) write(ctx context.Context, name string, f func(*tx) error) error {
	return s.writeAfter(ctx, name, nil, f)
}

// writeAfter is write, with something to do before the transaction begins.
func (s *Store) writeAfter(ctx context.Context, name string, before func(*conn) error, f func(*tx) error) error {
	var err error
	for n := range tries {
		var sent bool
		var told news
		err = s.use(ctx, func(c *conn) (err error) {
			if before != nil {
				if err := before(c); err != nil {
					return err
				}
			}
			sent, told, err = s.transact(c, name, f)
			return err
		})
		if err == nil {
			s.hints.tell(told)
		}
		if err == nil || !s.mayRepeat(err, sent, n) || !pause(ctx, n) {
			break
		}
	}
	return s.public(err)
}

// mayRepeat tells whether a transaction that failed may be executed again: it
// was certainly not committed, and trying again makes sense.
func (s *Store) mayRepeat(err error, sent bool, n int) bool {
	if s.closed.Load() {
		return false
	}
	if stale(err) {
		s.known.clear()
		return n < 3
	}
	var connect *pgconn.ConnectError
	return passing(err) || codeOf(err) == codeUnique && n < 3 || disconnected(err) && !sent && n < 3 && !errors.As(err, &connect)
}

// errStale says that a row is gone whose id was remembered: the tables were
// removed and made anew.
var errStale = errors.New("a remembered id does not exist")

// stale tells whether err says so, in words or by dividing by zero in a statement.
func stale(err error) bool { return errors.Is(err, errStale) || codeOf(err) == "22012" }

// pause waits a little, longer each time, before something is tried again.
func pause(ctx context.Context, n int) bool {
	d := time.Duration(1+rand.IntN(1<<min(n+2, 8))) * time.Millisecond
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// transact executes f in one transaction. sent: the commit was sent, so that
// after an error it is unknown whether it took place.
func (s *Store) transact(c *conn, name string, f func(*tx) error) (sent bool, told news, err error) {
	t := newTx(c)
	c.queue(nil, `BEGIN`)
	first := begin
	if c.set {
		first = began
	}
	if err := c.each(func(r *row) error { t.now = r.time(); return nil }, first); err != nil {
		return false, told, err
	}
	if err = t.step(name, f); err == nil {
		err = t.flush()
	}
	if err != nil {
		c.calls = nil
		if !c.pg.IsClosed() {
			_, _ = c.exec(`ROLLBACK`) // else the connection is closed
		}
		return false, told, err
	}
	if err := fault.Point("postgres.commit.before"); err != nil {
		return false, told, unavailable(err)
	}
	if err := t.commit(); err != nil {
		// The server says whether it refused.
		return codeOf(err) == "" || disconnected(err), told, err
	}
	if err := fault.Point("postgres.commit.after"); err != nil {
		return true, told, unavailable(err)
	}
	return true, t.news, nil
}

func newTx(c *conn) *tx {
	return &tx{conn: c, alive: map[jobcontrol.Lease]bool{}, heads: map[int64]*headChange{}, runs: map[int64]*runChange{}}
}

// step executes f between the fail points of its name.
func (t *tx) step(name string, f func(*tx) error) error {
	if !fault.Enabled {
		return f(t)
	}
	if err := fault.Point("postgres." + name + ".before"); err != nil {
		return unavailable(err)
	}
	if err := f(t); err != nil {
		return err
	}
	if err := fault.Point("postgres." + name + ".after"); err != nil {
		return unavailable(err)
	}
	return nil
}

// flush writes what was kept for the end.
func (t *tx) flush() error {
	t.flushLogs()
	t.flushProgress()
	t.flushRuns()
	stale := t.flushHeads()
	if len(t.calls) == 0 {
		return nil
	}
	if err := t.send(); err != nil {
		return err
	}
	return stale()
}

// commit makes the transaction durable.
func (t *tx) commit() error {
	// A server that rolls back instead, says so in the answer only.
	t.queue(nil, `COMMIT`)
	if err := t.send(); err != nil {
		return err
	}
	if t.pg.TxStatus() != 'I' {
		return errors.New("the transaction did not end")
	}
	return nil
}

func unavailable(err error) error {
	return &jobcontrol.Error{Code: jobcontrol.Unavailable, Message: "store unavailable", Cause: err}
}
