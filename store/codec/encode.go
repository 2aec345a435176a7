package codec

import (
	"encoding/binary"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// The encodings of this file are stored: a change needs a new first byte.
const (
	formatAttempt = 1
	formatRecords = 1
)

// Damaged is what reading says of bytes that no encoder wrote.
type Damaged struct{ What string }

// Error names what is damaged.
func (d *Damaged) Error() string { return "damaged row: " + d.What }

// Micros is a time as it is stored.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// TimeOf is the inverse of [Micros].
func TimeOf(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// encoder appends numbers and strings to a buffer.
type encoder struct{ buf []byte }

func (e *encoder) uint(v uint64)    { e.buf = binary.AppendUvarint(e.buf, v) }
func (e *encoder) int(v int64)      { e.buf = binary.AppendVarint(e.buf, v) }
func (e *encoder) time(t time.Time) { e.int(Micros(t)) }

func (e *encoder) string(s string) {
	e.uint(uint64(len(s)))
	e.buf = append(e.buf, s...)
}

// decoder reads what an encoder wrote. After the first value that is not there,
// all are zero and bad is set.
type decoder struct {
	buf []byte
	bad bool
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.buf)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.buf = d.buf[n:]
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.buf)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.buf = d.buf[n:]
	return v
}

func (d *decoder) time() time.Time { return TimeOf(d.int()) }

func (d *decoder) string() string {
	n := d.uint()
	if n > uint64(len(d.buf)) {
		d.fail()
		return ""
	}
	s := string(d.buf[:n])
	d.buf = d.buf[n:]
	return s
}

func (d *decoder) fail() { d.bad, d.buf = true, nil }

// EncodeIDs writes build ids as differences, the first one from base.
func EncodeIDs(base int64, ids []int64) []byte {
	if len(ids) == 0 {
		return nil
	}
	e := encoder{make([]byte, 0, 2*len(ids))}
	for _, id := range ids {
		e.int(id - base)
		base = id
	}
	return e.buf
}

// DecodeIDs is the inverse of EncodeIDs.
func DecodeIDs(base int64, data []byte) ([]int64, error) {
	var ids []int64
	d := decoder{buf: data}
	for len(d.buf) > 0 {
		base += d.int()
		ids = append(ids, base)
	}
	if d.bad {
		return nil, &Damaged{"list of builds"}
	}
	return ids, nil
}

// EncodeAttempt writes all of an attempt but its build and failure.
func EncodeAttempt(a *jobcontrol.Attempt) []byte {
	e := encoder{append(make([]byte, 0, 64), formatAttempt)}
	e.uint(uint64(a.Number))
	var flags uint64
	if a.Cleanup {
		flags = 1
	}
	e.uint(flags)
	e.time(a.StartedAt)
	e.time(a.FinishedAt)
	e.int(a.Worker)
	e.int(a.Claim)
	e.uint(uint64(len(a.Phases)))
	for _, p := range a.Phases {
		e.string(string(p.Phase))
		var passed uint64
		if p.Passed {
			passed = 1
		}
		e.uint(passed)
		e.string(p.Error)
		e.int(int64(p.Duration))
	}
	e.uint(uint64(len(a.Local)))
	for _, k := range slices.Sorted(maps.Keys(a.Local)) {
		e.string(k)
		e.string(string(a.Local[k]))
	}
	return e.buf
}

// DecodeAttempt is the inverse of EncodeAttempt.
func DecodeAttempt(build int64, data []byte) (jobcontrol.Attempt, error) {
	a := jobcontrol.Attempt{Build: build}
	if len(data) == 0 || data[0] != formatAttempt {
		return a, &Damaged{"attempt"}
	}
	d := decoder{buf: data[1:]}
	a.Number = int(d.uint())
	a.Cleanup = d.uint()&1 != 0
	a.StartedAt = d.time()
	a.FinishedAt = d.time()
	a.Worker = d.int()
	a.Claim = d.int()
	n := d.uint()
	if n > uint64(len(d.buf)) {
		d.fail()
		n = 0
	}
	for range n {
		var p jobcontrol.PhaseResult
		p.Phase = jobcontrol.Phase(d.string())
		p.Passed = d.uint() != 0
		p.Error = d.string()
		p.Duration = time.Duration(d.int())
		a.Phases = append(a.Phases, p)
	}
	n = d.uint()
	if n > uint64(len(d.buf)) {
		d.fail()
		n = 0
	}
	for range n {
		if a.Local == nil {
			a.Local = map[string]json.RawMessage{}
		}
		k := d.string()
		a.Local[k] = json.RawMessage(d.string())
	}
	if d.bad {
		return a, &Damaged{"attempt"}
	}
	return a, nil
}

// EncodeFailure makes JSON of a failure and, apart, of its frames.
func EncodeFailure(f *jobcontrol.Failure) (body, frames json.RawMessage, err error) {
	if f == nil {
		return nil, nil, nil
	}
	if len(f.Frames) > 0 {
		if frames, err = json.Marshal(f.Frames); err != nil {
			return nil, nil, jobcontrol.Errorf(jobcontrol.Invalid, "failure: %v", err)
		}
	}
	c := *f
	c.Frames = nil
	if body, err = json.Marshal(&c); err != nil {
		return nil, nil, jobcontrol.Errorf(jobcontrol.Invalid, "failure: %v", err)
	}
	return body, frames, nil
}

// DecodeFailure is the inverse of EncodeFailure.
func DecodeFailure(body, frames json.RawMessage) (*jobcontrol.Failure, error) {
	if len(body) == 0 {
		return nil, nil
	}
	f := &jobcontrol.Failure{}
	if json.Unmarshal(body, f) != nil {
		return nil, &Damaged{"failure"}
	}
	if len(frames) > 0 && json.Unmarshal(frames, &f.Frames) != nil {
		return nil, &Damaged{"frames of a failure"}
	}
	return f, nil
}

// EncodePins makes JSON of pins; none at all is NULL.
func EncodePins(pins map[string]int64) json.RawMessage {
	if len(pins) == 0 {
		return nil
	}
	data, err := json.Marshal(pins)
	if err != nil {
		panic(err) // a map of strings to numbers
	}
	return data
}

// DecodePins is the inverse of EncodePins; none at all is nil.
func DecodePins(data json.RawMessage) (map[string]int64, error) {
	if len(data) == 0 {
		return nil, nil
	}
	var pins map[string]int64
	if json.Unmarshal(data, &pins) != nil {
		return nil, &Damaged{"pins"}
	}
	if len(pins) == 0 {
		return nil, nil
	}
	return pins, nil
}

// EncodeCounts makes JSON of the counts of a Run.
func EncodeCounts(c jobcontrol.Counts) json.RawMessage {
	data, err := json.Marshal(c)
	if err != nil {
		panic(err) // a map of names to numbers
	}
	return data
}

// DecodeCounts is the inverse of EncodeCounts; nothing is nil.
func DecodeCounts(data json.RawMessage) (jobcontrol.Counts, error) {
	if len(data) == 0 {
		return nil, nil
	}
	var c jobcontrol.Counts
	if json.Unmarshal(data, &c) != nil {
		return nil, &Damaged{"counts of a run"}
	}
	return c, nil
}

// PerBuild is how many attempts, rows of log and progress reports a build may
// have: the low bits of their ids. The rows of a build are so neighbours.
const PerBuild = 1 << 28

// Place is the id of a row of a build: an attempt, a chunk of its log, a progress report.
func Place(build, number int64) int64 { return build*PerBuild + number }

// Span is the first and the last id of the rows of a build.
func Span(build int64) (first, last int64) { return Place(build, 0), Place(build, PerBuild-1) }
