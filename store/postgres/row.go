package postgres

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// row is read from its first column to its last. NULL reads as zero. An error
// is returned by the call that reads the rows.
type row struct {
	values [][]byte
	next   int
	err    error
}

func (r *row) value() []byte {
	if r.next >= len(r.values) {
		r.err = fmt.Errorf("a row has %d columns, not more", len(r.values))
		return nil
	}
	v := r.values[r.next]
	r.next++
	return v
}

// int reads a whole number of any size, or a bool as 0 or 1.
func (r *row) int() int64 {
	switch v := r.value(); len(v) {
	case 0:
		return 0
	case 8:
		return int64(binary.BigEndian.Uint64(v))
	case 4:
		return int64(int32(binary.BigEndian.Uint32(v)))
	case 2:
		return int64(int16(binary.BigEndian.Uint16(v)))
	case 1:
		return int64(v[0])
	default:
		r.err = &codec.Damaged{What: fmt.Sprintf("column %d is not a number", r.next)}
		return 0
	}
}

func (r *row) bool() bool { return r.int() != 0 }

// float reads a double.
func (r *row) float() float64 { return math.Float64frombits(uint64(r.int())) }

func (r *row) state() jobcontrol.State { return jobcontrol.State(r.int()) }

func (r *row) time() time.Time { return codec.TimeOf(r.int()) }

// ints reads an array of whole numbers without NULL, each of eight bytes; NULL is nil.
func (r *row) ints() []int64 {
	const head, each = 20, 12
	v := r.value()
	if len(v) < head {
		return nil // NULL, or no element
	}
	n := int(binary.BigEndian.Uint32(v[12:]))
	if len(v) != head+n*each {
		r.err = &codec.Damaged{What: fmt.Sprintf("column %d is not a list of numbers", r.next)}
		return nil
	}
	out := make([]int64, n)
	for i := range out {
		out[i] = int64(binary.BigEndian.Uint64(v[head+i*each+4:]))
	}
	return out
}

// optional reads a number that may be NULL, which is nil.
func (r *row) optional() *int64 {
	if r.next < len(r.values) && r.values[r.next] == nil {
		r.next++
		return nil
	}
	v := r.int()
	return &v
}

func (r *row) text() string { return string(r.value()) }

// json returns a copy; NULL is nil.
func (r *row) json() json.RawMessage { return r.blob() }

// blob returns a copy; NULL is nil.
func (r *row) blob() []byte {
	v := r.value()
	if v == nil {
		return nil
	}
	return append(make([]byte, 0, len(v)), v...)
}
