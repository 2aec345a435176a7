package sqlite

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

// encoder appends numbers and strings to a buffer.
type encoder struct{ buf []byte }

func (e *encoder) uint(v uint64)    { e.buf = binary.AppendUvarint(e.buf, v) }
func (e *encoder) int(v int64)      { e.buf = binary.AppendVarint(e.buf, v) }
func (e *encoder) time(t time.Time) { e.int(micros(t)) }

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

func (d *decoder) time() time.Time { return timeOf(d.int()) }

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

// encodeIDs writes build ids as differences, the first one from base.
func encodeIDs(base int64, ids []int64) []byte {
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

// decodeIDs is the inverse of encodeIDs.
func decodeIDs(base int64, data []byte) ([]int64, error) {
	var ids []int64
	d := decoder{buf: data}
	for len(d.buf) > 0 {
		base += d.int()
		ids = append(ids, base)
	}
	if d.bad {
		return nil, &damaged{"list of builds"}
	}
	return ids, nil
}

// encodeAttempt writes all of an attempt but its build and failure.
func encodeAttempt(a *jobcontrol.Attempt) []byte {
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

// decodeAttempt is the inverse of encodeAttempt.
func decodeAttempt(build int64, data []byte) (jobcontrol.Attempt, error) {
	a := jobcontrol.Attempt{Build: build}
	if len(data) == 0 || data[0] != formatAttempt {
		return a, &damaged{"attempt"}
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
		return a, &damaged{"attempt"}
	}
	return a, nil
}

// encodeFailure makes JSON of a failure and, apart, of its frames.
func encodeFailure(f *jobcontrol.Failure) (body, frames json.RawMessage, err error) {
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

// decodeFailure is the inverse of encodeFailure.
func decodeFailure(body, frames json.RawMessage) (*jobcontrol.Failure, error) {
	if len(body) == 0 {
		return nil, nil
	}
	f := &jobcontrol.Failure{}
	if json.Unmarshal(body, f) != nil {
		return nil, &damaged{"failure"}
	}
	if len(frames) > 0 && json.Unmarshal(frames, &f.Frames) != nil {
		return nil, &damaged{"frames of a failure"}
	}
	return f, nil
}

// encodePins makes JSON of pins; none at all is NULL.
func encodePins(pins map[string]int64) json.RawMessage {
	if len(pins) == 0 {
		return nil
	}
	data, err := json.Marshal(pins)
	if err != nil {
		panic(err) // a map of strings to numbers
	}
	return data
}

// decodePins is the inverse of encodePins.
func decodePins(data json.RawMessage) (map[string]int64, error) {
	if len(data) == 0 {
		return nil, nil
	}
	var pins map[string]int64
	if json.Unmarshal(data, &pins) != nil {
		return nil, &damaged{"pins"}
	}
	return pins, nil
}

// perBuild is how many attempts, rows of log and progress reports a build may
// have: the low bits of their ids. The rows of a build are so neighbours.
const perBuild = 1 << 28

func place(build, number int64) int64 { return build*perBuild + number }

// span is the first and the last id of the rows of a build.
func span(build int64) (first, last int64) { return place(build, 0), place(build, perBuild-1) }
