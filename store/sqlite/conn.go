package sqlite

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// conn is one connection with its prepared statements. It is used by one
// goroutine at a time. It works below database/sql, which costs a third of the
// time of a short statement.
type conn struct {
	dc    driver.Conn
	stmts map[string]*stmt // by their text; kept until the connection is closed
}

type stmt struct {
	driver.Stmt
	args []driver.NamedValue // reused by every execution
	row  row                 // likewise
}

func newConn(dc driver.Conn) *conn { return &conn{dc: dc, stmts: map[string]*stmt{}} }

func (c *conn) close() error {
	for _, s := range c.stmts {
		_ = s.Close() // it repeats the error of its last execution
	}
	return c.dc.Close()
}

// script executes statements without arguments, which may be many.
func (c *conn) script(text string) error {
	_, err := c.dc.(driver.ExecerContext).ExecContext(context.Background(), text, nil)
	return err
}

func (c *conn) prepare(text string) (*stmt, error) {
	if s := c.stmts[text]; s != nil {
		return s, nil
	}
	d, err := c.dc.(driver.ConnPrepareContext).PrepareContext(context.Background(), text)
	if err != nil {
		return nil, err
	}
	s := &stmt{Stmt: d}
	c.stmts[text] = s
	return s, nil
}

// exec executes a statement and returns how many rows it changed.
func (c *conn) exec(text string, args ...any) (int64, error) {
	s, err := c.prepare(text)
	if err != nil {
		return 0, err
	}
	res, err := s.Stmt.(driver.StmtExecContext).ExecContext(context.Background(), s.bind(args))
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// each calls f for every row. The statement must not be executed again before
// it returns, and f must not keep the row.
func (c *conn) each(f func(r *row) error, text string, args ...any) (err error) {
	s, err := c.prepare(text)
	if err != nil {
		return err
	}
	rows, err := s.Stmt.(driver.StmtQueryContext).QueryContext(context.Background(), s.bind(args))
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := rows.Close(); err == nil {
			err = closeErr
		}
	}()
	r := &s.row
	if r.values == nil {
		r.values = make([]driver.Value, len(rows.Columns()))
	}
	for {
		switch err := rows.Next(r.values); {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		r.next, r.err = 0, nil
		if err := f(r); err != nil {
			return err
		}
		if r.err != nil {
			return r.err
		}
	}
}

// first calls f for the first row, if there is one, and tells whether there was.
func (c *conn) first(f func(r *row), text string, args ...any) (found bool, err error) {
	err = c.each(func(r *row) error {
		if !found {
			f(r)
		}
		found = true
		return nil
	}, text, args...)
	return found, err
}

// number returns the first column of the first row; 0: there is no row.
func (c *conn) number(text string, args ...any) (n int64, err error) {
	_, err = c.first(func(r *row) { n = r.int() }, text, args...)
	return n, err
}

// bind makes driver values of Go values. Times are microseconds since 1970, the
// zero time is 0; an empty JSON value is NULL.
func (s *stmt) bind(args []any) []driver.NamedValue {
	if s.args == nil {
		s.args = make([]driver.NamedValue, len(args))
		for i := range s.args {
			s.args[i].Ordinal = i + 1
		}
	}
	for i, a := range args {
		v := &s.args[i].Value
		switch a := a.(type) {
		case nil, int64, string, []byte:
			*v = a
		case int:
			*v = int64(a)
		case bool:
			*v = int64(0)
			if a {
				*v = int64(1)
			}
		case time.Time:
			*v = codec.Micros(a)
		case json.RawMessage:
			*v = nil
			if len(a) > 0 {
				*v = string(a)
			}
		case jobcontrol.State:
			*v = int64(a)
		case jobcontrol.RunState:
			*v = int64(a)
		default:
			panic(fmt.Sprintf("sqlite: cannot bind a %T", a))
		}
	}
	return s.args
}

// row gives the columns of a row one after the other. A column of an unexpected
// type, which only a damaged file has, is an error that each returns.
type row struct {
	values []driver.Value
	next   int
	err    error
}

func (r *row) value() driver.Value {
	r.next++
	return r.values[r.next-1]
}

func (r *row) bad(v driver.Value) {
	if r.err == nil {
		r.err = &codec.Damaged{What: fmt.Sprintf("column %d is a %T", r.next, v)}
	}
}

func (r *row) int() int64 {
	switch v := r.value().(type) {
	case int64:
		return v
	case nil:
		return 0
	default:
		r.bad(v)
		return 0
	}
}

func (r *row) bool() bool { return r.int() != 0 }

func (r *row) text() string {
	switch v := r.value().(type) {
	case string:
		return v
	case nil:
		return ""
	default:
		r.bad(v)
		return ""
	}
}

func (r *row) blob() []byte {
	switch v := r.value().(type) {
	case []byte:
		return v
	case nil:
		return nil
	default:
		r.bad(v)
		return nil
	}
}

func (r *row) json() json.RawMessage {
	if s := r.text(); s != "" {
		return json.RawMessage(s)
	}
	return nil
}

// numbers reads a column that is made by format('%d %d …', …): many columns cost
// more than a text that has to be taken apart. next returns one number after the
// other; NULL is 0.
func (r *row) numbers() (next func() int64) {
	text := r.text()
	return func() int64 {
		field := text
		if i := strings.IndexByte(text, ' '); i >= 0 {
			field, text = text[:i], text[i+1:]
		}
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil && r.err == nil {
			r.err = &codec.Damaged{What: "numbers of a row"}
		}
		return n
	}
}

func (r *row) time() time.Time { return codec.TimeOf(r.int()) }

func (r *row) state() jobcontrol.State { return jobcontrol.State(r.int()) }

// optional returns nil for NULL.
func (r *row) optional() *int64 {
	v := r.value()
	if v == nil {
		return nil
	}
	n, ok := v.(int64)
	if !ok {
		r.bad(v)
	}
	return &n
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
