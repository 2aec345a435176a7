package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// conn is one connection while one goroutine uses it. It works below pgx, whose
// conversions cost more than the rest: arguments and results are binary, and an
// array is written by a loop. Statements are prepared once for a connection,
// except where a pooler may give every transaction another one.
//
// Statements are queued and go to the server together: exec, each, first and
// number send what was queued before them in the same round trip.
type conn struct {
	ctx   context.Context // of the call that uses the connection
	s     *Store
	pg    *pgconn.PgConn
	stmts map[string]*pgconn.StatementDescription // by their text; nil: nothing is prepared
	set   bool                                    // its session has the settings of begin
	calls []call
}

// call is a queued statement.
type call struct {
	text string
	args []any
	each func(r *row) error // nil: its rows are not wanted
	rows *int64             // nil, or where the number of rows goes
}

// stmtsKey is where a connection of pgx keeps what we prepared on it.
const stmtsKey = "jobcontrol"

func newConn(ctx context.Context, s *Store, pg *pgconn.PgConn) *conn {
	c := &conn{ctx: ctx, s: s, pg: pg}
	if !s.opts.Pooled {
		c.stmts, _ = pg.CustomData()[stmtsKey].(map[string]*pgconn.StatementDescription)
		if c.stmts == nil {
			c.stmts = map[string]*pgconn.StatementDescription{}
			pg.CustomData()[stmtsKey] = c.stmts
		}
	}
	return c
}

// queue adds a statement to those that are sent next. f is called for its rows
// then, and must not keep the row.
func (c *conn) queue(f func(r *row) error, text string, args ...any) {
	c.calls = append(c.calls, call{text: text, args: args, each: f})
}

// exec executes a statement and returns how many rows it changed.
func (c *conn) exec(text string, args ...any) (n int64, err error) {
	c.calls = append(c.calls, call{text: text, args: args, rows: &n})
	err = c.send()
	return n, err
}

// each calls f for every row, which it must not keep.
func (c *conn) each(f func(r *row) error, text string, args ...any) error {
	c.queue(f, text, args...)
	return c.send()
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

// binaryFormat is that of all arguments and results.
var binaryFormat = []int16{1}

// send executes what was queued, in one round trip. Outside of a transaction it
// is one. The error is that of the first statement that failed.
func (c *conn) send() error {
	calls := c.calls
	c.calls = nil
	if len(calls) == 0 {
		return nil
	}
	batch := &pgconn.Batch{}
	ahead := false // a statement that is no call
	for i := range calls {
		values, oids := bind(calls[i].args)
		if i == 0 && size(values) > largeMessage {
			// The server waits for the first message no longer than for an idle
			// transaction, and then as long as for a statement: the first one is small.
			ahead = true
			batch.ExecParams("SELECT", nil, nil, nil, nil)
		}
		text := c.s.sql(calls[i].text)
		if c.stmts == nil {
			batch.ExecParams(text, values, oids, binaryFormat, binaryFormat)
			continue
		}
		sd := c.stmts[text]
		if sd == nil {
			var err error
			if sd, err = c.pg.Prepare(c.ctx, "jc"+strconv.Itoa(len(c.stmts)), text, oids); err != nil {
				return fmt.Errorf("%w (in %s)", err, oneLine(text))
			}
			c.stmts[text] = sd
		}
		batch.ExecStatement(sd, values, binaryFormat, binaryFormat)
	}
	results := c.pg.ExecBatch(c.ctx, batch)
	var failed error
	i := 0
	if ahead && results.NextResult() {
		_, failed = results.ResultReader().Close()
	}
	for ; results.NextResult(); i++ {
		reader := results.ResultReader()
		r := row{}
		for reader.NextRow() {
			if failed != nil || calls[i].each == nil {
				continue
			}
			r.values, r.next, r.err = reader.Values(), 0, nil
			if failed = calls[i].each(&r); failed == nil {
				failed = r.err
			}
		}
		tag, err := reader.Close()
		if err != nil && failed == nil {
			failed = fmt.Errorf("%w (in %s)", err, oneLine(calls[i].text))
		}
		if calls[i].rows != nil {
			*calls[i].rows = tag.RowsAffected()
		}
	}
	if err := results.Close(); err != nil && failed == nil {
		failed = err
		if i < len(calls) {
			failed = fmt.Errorf("%w (in %s)", err, oneLine(calls[i].text))
		}
	}
	return failed
}

// largeMessage is how many bytes pass as soon as they are sent, over any link.
const largeMessage = 64 << 10

func size(values [][]byte) (n int) {
	for _, v := range values {
		n += len(v)
	}
	return n
}

// oneLine is the beginning of a statement, for errors.
func oneLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > 80 {
		text = text[:80] + "…"
	}
	return text
}

// Kinds of arguments beside Go's own. The type of an argument decides the type
// of the parameter, so a statement must always get the same types.
type (
	unset    int64    // 0 is NULL
	nullText string   // "" is NULL
	texts    []string // with "" as NULL
	unsets   []int64  // with 0 as NULL
)

// Object ids of types.
const (
	oidBool, oidBytes, oidInt, oidText, oidFloat     = 16, 17, 20, 25, 701
	oidBools, oidByteses, oidInts, oidTexts, oidNone = 1000, 1001, 1016, 1009, 0
)

// bind makes the arguments of a statement binary. Times are microseconds since
// 1970, the zero time is 0; an empty JSON value is NULL.
func bind(args []any) (values [][]byte, oids []uint32) {
	values, oids = make([][]byte, len(args)), make([]uint32, len(args))
	numbers := make([]byte, 0, 8*len(args))
	number := func(v int64) []byte {
		n := len(numbers)
		numbers = binary.BigEndian.AppendUint64(numbers, uint64(v))
		return numbers[n:]
	}
	for i, a := range args {
		oid := uint32(oidInt)
		switch a := a.(type) {
		case int64:
			values[i] = number(a)
		case int:
			values[i] = number(int64(a))
		case unset:
			if a != 0 {
				values[i] = number(int64(a))
			}
		case jobcontrol.State:
			values[i] = number(int64(a))
		case jobcontrol.RunState:
			values[i] = number(int64(a))
		case time.Time:
			values[i] = number(codec.Micros(a))
		case *int64:
			if a != nil {
				values[i] = number(*a)
			}
		case bool:
			oid, values[i] = oidBool, []byte{bit(a)}
		case float64:
			oid, values[i] = oidFloat, number(int64(math.Float64bits(a)))
		case string:
			oid, values[i] = oidText, append([]byte{}, clean(a)...)
		case nullText:
			if oid = oidText; a != "" {
				values[i] = []byte(clean(string(a)))
			}
		case json.RawMessage:
			if oid = oidText; len(a) > 0 {
				values[i] = cleanBytes(a)
			}
		case []byte:
			oid, values[i] = oidBytes, a
		default:
			oid, values[i] = bindList(a)
		}
		oids[i] = oid
	}
	return values, oids
}

// bindList makes a list a binary array.
func bindList(arg any) (uint32, []byte) {
	switch a := arg.(type) {
	case []int64:
		l := newList(oidInt, len(a), 12)
		for _, v := range a {
			l.int(v)
		}
		return oidInts, l.bytes()
	case unsets:
		l := newList(oidInt, len(a), 12)
		for _, v := range a {
			l.unset(v)
		}
		return oidInts, l.bytes()
	case []bool:
		l := newList(oidBool, len(a), 5)
		for _, v := range a {
			l.bool(v)
		}
		return oidBools, l.bytes()
	case []string:
		l := newList(oidText, len(a), 16)
		for _, v := range a {
			l.text(v)
		}
		return oidTexts, l.bytes()
	case texts:
		l := newList(oidText, len(a), 16)
		for _, v := range a {
			l.optional(v)
		}
		return oidTexts, l.bytes()
	case *list:
		return a.array, a.bytes()
	}
	panic(fmt.Sprintf("postgres: an argument of type %T", arg))
}

// list is an array that is being written; each element once, in order.
type list struct {
	buf   []byte
	array uint32 // its type
	n     uint32
	nulls bool
}

// newList begins an array of about so many elements of about so many bytes.
func newList(element uint32, n, size int) *list {
	l := &list{buf: make([]byte, 20, 20+n*size)}
	l.array = map[uint32]uint32{oidInt: oidInts, oidBool: oidBools, oidText: oidTexts, oidBytes: oidByteses}[element]
	binary.BigEndian.PutUint32(l.buf[8:], element)
	return l
}

// bytes ends the array.
func (l *list) bytes() []byte {
	b := binary.BigEndian
	if l.n > 0 {
		b.PutUint32(l.buf, 1) // dimensions
	}
	if l.nulls {
		b.PutUint32(l.buf[4:], 1)
	}
	b.PutUint32(l.buf[12:], l.n)
	b.PutUint32(l.buf[16:], 1) // the first index
	if l.n == 0 {
		return l.buf[:12]
	}
	return l.buf
}

func (l *list) int(v int64) {
	l.n++
	l.buf = binary.BigEndian.AppendUint32(l.buf, 8)
	l.buf = binary.BigEndian.AppendUint64(l.buf, uint64(v))
}

func (l *list) unset(v int64) {
	if v == 0 {
		l.null()
		return
	}
	l.int(v)
}

func (l *list) null() {
	l.n++
	l.nulls = true
	l.buf = append(l.buf, 0xff, 0xff, 0xff, 0xff)
}

func (l *list) bool(v bool) {
	l.n++
	l.buf = append(l.buf, 0, 0, 0, 1, bit(v))
}

func (l *list) text(v string) {
	l.n++
	v = clean(v)
	l.buf = binary.BigEndian.AppendUint32(l.buf, uint32(len(v)))
	l.buf = append(l.buf, v...)
}

// optional writes a text; an empty one is NULL.
func (l *list) optional(v string) {
	if v == "" {
		l.null()
		return
	}
	l.text(v)
}

// json writes a text; an empty one is NULL.
func (l *list) json(v []byte) {
	if len(v) == 0 {
		l.null()
		return
	}
	l.raw(cleanBytes(v))
}

// blob writes bytes; none at all are NULL.
func (l *list) blob(v []byte) {
	if len(v) == 0 {
		l.null()
		return
	}
	l.raw(v)
}

func (l *list) raw(v []byte) {
	l.n++
	l.buf = binary.BigEndian.AppendUint32(l.buf, uint32(len(v)))
	l.buf = append(l.buf, v...)
}

func bit(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// clean replaces what a text of PostgreSQL cannot hold: zero bytes and what is
// not UTF-8.
func clean(s string) string {
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

func cleanBytes(v []byte) []byte {
	if utf8.Valid(v) && bytes.IndexByte(v, 0) < 0 {
		return v
	}
	return []byte(clean(string(v)))
}
