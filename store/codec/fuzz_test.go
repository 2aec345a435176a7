package codec

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/internal/bounds"
)

// damaged fails the test unless an error says that a row is damaged.
func damaged(t *testing.T, err error) {
	t.Helper()
	var d *Damaged
	if !errors.As(err, &d) || d.Error() == "" {
		t.Fatalf("%T %v", err, err)
	}
}

// FuzzRecords: a record comes back as it was, and what is no chunk is damaged.
func FuzzRecords(f *testing.F) {
	f.Add("message", "logger", "file", int64(1), 3, []byte("\x01\x00\x02"))
	f.Add("\xff\x00", "", "", int64(-1), 0, []byte("\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Add("", "", "", int64(-1), 4, []byte("\x01\x10\x00\x00\x00\x04null"))
	f.Fuzz(func(t *testing.T, message, logger, file string, at int64, line int, raw []byte) {
		if len(raw) > 16<<10 {
			return
		}
		if at = at % (1 << 55); at == 0 {
			at = 1
		}
		r := jobcontrol.LogRecord{
			Seq: 1, Time: time.UnixMicro(at).UTC(), Level: jobcontrol.Level(line % 100), Logger: logger, Message: message,
			Attempt: line % 7, Phase: jobcontrol.Phase(file), File: file, Line: line, Function: logger, Continued: line%2 == 0, Dropped: at % 3,
		}
		if line%5 == 0 {
			r.Attrs = map[string]any{strings.ToValidUTF8(logger, "?"): []any{true, strings.ToValidUTF8(file, "?")}}
		}
		var w chunkWriter
		second := r
		second.Seq = 2
		for _, r := range []jobcontrol.LogRecord{r, second} {
			if err := w.add(&r); err != nil {
				t.Fatal(err)
			}
		}
		c := w.chunk()
		c.First = 1
		got, err := c.Records()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]jobcontrol.LogRecord{r, second}, got); d != "" {
			t.Fatalf("-want +got:\n%s", d)
		}
		for _, packed := range []bool{false, true} {
			for _, size := range []int64{int64(len(raw)), at} {
				c := Chunk{Data: raw, Packed: packed, Size: size, Count: 1, First: at}
				bounds.Hold(t, func() { _, err = c.Records() })
				if err != nil {
					damaged(t, err)
				}
			}
		}
	})
}

// FuzzPackLog packs a log of lines, repeated: its chunks have all its bytes in their
// order, their sums are right, and a log that follows another one counts on.
func FuzzPackLog(f *testing.F) {
	f.Add("one\ntwo\n\x00\xff\n\n", 3, int64(1000))
	f.Add(strings.Repeat("x", 3000), 100, int64(10))
	f.Fuzz(func(t *testing.T, text string, repeat int, half int64) {
		text = strings.Repeat(text, max(1, min(repeat, (400<<10)/(len(text)+1))))
		lines := strings.Split(text, "\n")
		if len(lines) > 2000 {
			lines = append(lines[:2000:2000], strings.Join(lines[2000:], "\n")) // one record may hold many lines
		}
		var records []jobcontrol.LogRecord
		for i, l := range lines {
			records = append(records, jobcontrol.LogRecord{Message: l, Logger: "stdout", Level: jobcontrol.Level(i % 50)})
		}
		var l *Log
		var err error
		bounds.Hold(t, func() { l, err = PackLog(records, time.UnixMicro(5)) })
		if err != nil {
			t.Fatal(err)
		}
		first := l.After(Chunk{}, half)
		if again := l.After(first[len(first)-1], half); again != nil {
			t.Fatalf("a repetition of %d chunks has %d", len(first), len(again))
		}
		l.Batch++
		checkChunks(t, append(first, l.After(first[len(first)-1], half)...), text+"\n"+text, half)
	})
}

func checkChunks(t *testing.T, chunks []Chunk, want string, half int64) {
	t.Helper()
	var got strings.Builder
	next, size, bytes := int64(1), int64(0), int64(0)
	for i, c := range chunks {
		size, bytes = size+c.Size, bytes+c.Bytes
		if c.Number != int64(i+1) || c.First != next || c.SizeEnd != size || c.BytesEnd != bytes || c.Since != 5 || c.Until != 5 ||
			(c.Tail != 0) != (size > half) {
			t.Fatalf("chunk %d: %+v, want first %d, sums %d and %d", i, c, next, size, bytes)
		}
		records, err := c.Records()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			if len(r.Message) > jobcontrol.MaxLogRecord || r.Seq != next || r.Level > c.Level {
				t.Fatalf("record %d of %d bytes, want number %d", r.Seq, len(r.Message), next)
			}
			got.WriteString(r.Message)
			if next++; !r.Continued {
				got.WriteByte('\n')
			}
		}
	}
	if got.String() != want+"\n" {
		t.Fatalf("%d bytes became %d others", len(want), got.Len()-1)
	}
}

// FuzzAttempt: bytes are damaged, or an attempt that comes back from its encoding as
// it was; so are lists of builds.
func FuzzAttempt(f *testing.F) {
	f.Add([]byte{formatAttempt}, int64(1))
	f.Add(EncodeAttempt(&jobcontrol.Attempt{
		Number: 3, Cleanup: true, StartedAt: time.UnixMicro(7), FinishedAt: time.UnixMicro(-9), Worker: -1, Claim: 1 << 60,
		Phases: []jobcontrol.PhaseResult{{Phase: jobcontrol.PhaseRun, Passed: true, Error: "e", Duration: -1}, {}},
		Local:  map[string]json.RawMessage{"a": json.RawMessage("1"), "": nil},
	}), int64(-5))
	f.Add([]byte("\x01\x01\x00\x00\x00\x00\x00\xff\xff\xff\xff\x0f"), int64(1)<<62)
	f.Fuzz(func(t *testing.T, data []byte, base int64) {
		if len(data) > 16<<10 {
			return
		}
		var a jobcontrol.Attempt
		var ids []int64
		var err, idsErr error
		bounds.Hold(t, func() {
			a, err = DecodeAttempt(base, data)
			ids, idsErr = DecodeIDs(base, data)
		})
		if err != nil {
			damaged(t, err)
		} else {
			back, err := DecodeAttempt(base, EncodeAttempt(&a))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(a, back, cmpopts.EquateEmpty()); d != "" {
				t.Fatalf("attempt (-want +got):\n%s", d)
			}
		}
		if idsErr != nil {
			damaged(t, idsErr)
			return
		}
		back, err := DecodeIDs(base, EncodeIDs(base, ids))
		if d := cmp.Diff(ids, back); d != "" || err != nil {
			t.Fatalf("ids (-want +got):\n%s%v", d, err)
		}
	})
}

// FuzzJSONColumns: a failure, pins and counts are damaged, or come back from their
// encoding as they were.
func FuzzJSONColumns(f *testing.F) {
	f.Add([]byte(`{"kind":"user","message":"m","after":5}`), []byte(`[{"file":"a.py","line":3}]`))
	f.Add([]byte(`{"a":5,"b":-1}`), []byte(`null`))
	f.Add([]byte(`null`), []byte(`{}`))
	f.Fuzz(func(t *testing.T, body, frames []byte) {
		if len(body)+len(frames) > 16<<10 {
			return
		}
		var failure *jobcontrol.Failure
		var err error
		bounds.Hold(t, func() { failure, err = DecodeFailure(body, frames) })
		if err != nil {
			damaged(t, err)
		} else {
			b, fr, err := EncodeFailure(failure)
			if err != nil {
				t.Fatal(err)
			}
			back, err := DecodeFailure(b, fr)
			if d := cmp.Diff(failure, back, cmpopts.EquateEmpty()); d != "" || err != nil {
				t.Fatalf("failure (-want +got):\n%s%v", d, err)
			}
		}
		if pins, err := DecodePins(body); err != nil {
			damaged(t, err)
		} else if back, err := DecodePins(EncodePins(pins)); err != nil || !cmp.Equal(pins, back, cmpopts.EquateEmpty()) {
			t.Fatalf("pins %v became %v, %v", pins, back, err)
		}
		if counts, err := DecodeCounts(body); err != nil {
			damaged(t, err)
		} else if back, err := DecodeCounts(EncodeCounts(counts)); err != nil || !cmp.Equal(counts, back, cmpopts.EquateEmpty()) {
			t.Fatalf("counts %v became %v, %v", counts, back, err)
		}
	})
}
