package postgres

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// COPY is what the server takes many rows by with the least work: it looks at
// nothing but their values, and writes a page's rows to its log as one. It casts
// nothing, so each value is written in its column's size.

// Columns of plain builds that are copied: those that each has, then those that few have.
const (
	copyPlain     = `COPY {builds} (id, run, rank, created_at, retry_delay, head, definition, service, tries, priority, state, detached, suspect, open, origin, args, kwargs`
	copyRare      = `, ready_at, again_of, key, pins, why`
	copyEnd       = `) FROM STDIN (FORMAT binary)`
	usualColumns  = 17
	rareColumns   = 5
	copySignature = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"
)

// copyPlain stores new builds.
func (t *tx) copyPlain(rows []plainRow) error {
	if len(rows) == 0 {
		return nil
	}
	rare, size := false, 32
	for i := range rows {
		r := &rows[i]
		rare = rare || !r.usual()
		size += 160 + len(r.args) + len(r.kwargs)
	}
	text, columns := copyPlain, usualColumns
	if rare {
		text, columns = text+copyRare, columns+rareColumns
	}
	b := binaryRows{buf: append(make([]byte, 0, size), copySignature...)}
	now := codec.Micros(t.now)
	for i := range rows {
		r := &rows[i]
		due, state := now, jobcontrol.Queued
		if r.readyAt != 0 {
			due = r.readyAt
		}
		if r.state != 0 {
			state = r.state
		} else if r.readyAt > now {
			state = jobcontrol.Scheduled
		}
		b.begin(columns)
		b.int8(r.id)
		b.int8(r.id)
		b.int8(due - int64(r.priority)*60_000_000)
		b.int8(now)
		b.int8(r.retryDelay)
		b.int4(r.head)
		b.int4(r.definition)
		b.int4(r.service)
		b.int4(int64(r.tries))
		b.int4(int64(r.priority))
		b.int2(int16(state))
		b.bool(true)
		b.bool(r.suspect)
		b.int2(1)
		b.int4(r.origin)
		b.json(r.args)
		b.json(r.kwargs)
		if rare {
			b.unset(r.readyAt)
			b.unset(r.againOf)
			b.optional(r.key)
			b.optional(r.pins)
			b.optional(r.why)
		}
	}
	return t.copy(text+copyEnd, &b)
}

// copy sends what was queued, then rows.
func (t *tx) copy(text string, b *binaryRows) error {
	if err := t.send(); err != nil {
		return err
	}
	if b.tooGreat != 0 {
		return jobcontrol.Errorf(jobcontrol.Invalid, "create: %d is more than the database holds there", b.tooGreat)
	}
	b.buf = append(b.buf, 0xff, 0xff)
	if _, err := t.pg.CopyFrom(t.ctx, bytes.NewReader(b.buf), t.s.sql(text)); err != nil {
		return fmt.Errorf("%w (in %s)", err, oneLine(text))
	}
	return nil
}

// binaryRows are rows in the binary format of COPY.
type binaryRows struct {
	buf      []byte
	tooGreat int64 // a number that its column cannot hold; 0: none
}

func (b *binaryRows) begin(columns int) {
	b.buf = binary.BigEndian.AppendUint16(b.buf, uint16(columns))
}

func (b *binaryRows) int8(v int64) {
	b.buf = append(b.buf, 0, 0, 0, 8)
	b.buf = binary.BigEndian.AppendUint64(b.buf, uint64(v))
}

func (b *binaryRows) int4(v int64) {
	if v != int64(int32(v)) {
		b.tooGreat = v
	}
	b.buf = append(b.buf, 0, 0, 0, 4)
	b.buf = binary.BigEndian.AppendUint32(b.buf, uint32(v))
}

func (b *binaryRows) int2(v int16) {
	b.buf = append(b.buf, 0, 0, 0, 2, byte(v>>8), byte(v))
}

func (b *binaryRows) bool(v bool) { b.buf = append(b.buf, 0, 0, 0, 1, bit(v)) }

func (b *binaryRows) null() { b.buf = append(b.buf, 0xff, 0xff, 0xff, 0xff) }

// unset writes a number; 0 is NULL.
func (b *binaryRows) unset(v int64) {
	if v == 0 {
		b.null()
		return
	}
	b.int8(v)
}

// json writes a text; an empty one is NULL.
func (b *binaryRows) json(v []byte) {
	if len(v) == 0 {
		b.null()
		return
	}
	v = cleanBytes(v)
	b.buf = binary.BigEndian.AppendUint32(b.buf, uint32(len(v)))
	b.buf = append(b.buf, v...)
}

// optional writes a text; an empty one is NULL.
func (b *binaryRows) optional(v string) {
	if v == "" {
		b.null()
		return
	}
	v = clean(v)
	b.buf = binary.BigEndian.AppendUint32(b.buf, uint32(len(v)))
	b.buf = append(b.buf, v...)
}
