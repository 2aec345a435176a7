package sqlite

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jobcontrol/jobcontrol"
	"pgregory.net/rapid"
)

// TestLogModel: whatever is reported, in whatever batches, the log is its first
// and its last records, and between them the number of bytes that are missing.
func TestLogModel(t *testing.T) {
	s, l := openTest(t, Options{logBytes: 20000})
	ctx := context.Background()
	rapid.Check(t, func(t *rapid.T) {
		b := func() jobcontrol.Build {
			_, builds, err := s.CreateRun(ctx, jobcontrol.NewRun{Run: jobcontrol.Run{Verb: "run"}, Lease: &l, Builds: []jobcontrol.NewBuild{
				{Build: jobcontrol.Build{Job: "a"}, Hash: "h", Definition: []byte("{}")},
			}})
			if err != nil {
				t.Fatal(err)
			}
			return builds[0]
		}()
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		var all []jobcontrol.LogRecord
		var bytes int64
		for batch := range rapid.IntRange(0, 60).Draw(t, "batches") {
			var records []jobcontrol.LogRecord
			for i := range rng.IntN(6) {
				message := strings.Repeat(string(rune('a'+rng.IntN(26))), rng.IntN(800))
				if rng.IntN(2) == 0 {
					data := []byte(message)
					for i := range data {
						data[i] = byte(rng.Uint32())
					}
					message = string(data)
				}
				r := jobcontrol.LogRecord{
					Time: time.UnixMicro(int64(1 + batch*100 + i)).UTC(), Level: jobcontrol.Level(10 * (1 + rng.IntN(5))),
					Logger: []string{"", "stdout", "stderr"}[rng.IntN(3)], Message: message,
				}
				records = append(records, r)
				r.Seq = int64(len(all) + 1)
				all = append(all, r)
				bytes += int64(len(message))
			}
			if err := s.Report(ctx, b.Claim, records, nil); err != nil {
				t.Fatal(err)
			}
		}
		var got []jobcontrol.LogRecord
		if err := s.Log(ctx, b.ID, jobcontrol.LogFilter{}, func(r jobcontrol.LogRecord) bool {
			got = append(got, r)
			return true
		}); err != nil {
			t.Fatal(err)
		}
		gap := slices.IndexFunc(got, func(r jobcontrol.LogRecord) bool { return r.Dropped > 0 })
		if gap < 0 {
			if d := cmp.Diff(all, got); d != "" {
				t.Fatalf("log (-want +got):\n%s", d)
			}
			return
		}
		tail := len(got) - gap - 1
		missing := all[gap : len(all)-tail]
		var dropped int64
		for _, r := range missing {
			dropped += int64(len(r.Message))
		}
		want := append(slices.Clone(all[:gap]), jobcontrol.LogRecord{
			Seq: missing[len(missing)-1].Seq, Time: got[gap].Time, Level: jobcontrol.LevelWarning, Dropped: dropped,
		})
		want = append(want, all[len(all)-tail:]...)
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("log (-want +got):\n%s", d)
		}
		if kept := bytes - dropped; kept > 20000 || kept < 20000-2*2*5*800 {
			t.Fatalf("%d of %d bytes are kept", kept, bytes)
		}
		// A reader who follows it sees each record that is kept, or a gap, once.
		for after := range len(all) {
			var first int64
			if err := s.Log(ctx, b.ID, jobcontrol.LogFilter{AfterSeq: int64(after)}, func(r jobcontrol.LogRecord) bool {
				first = r.Seq
				return false
			}); err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(got, func(r jobcontrol.LogRecord) bool { return r.Seq > int64(after) })
			if first != got[i].Seq {
				t.Fatalf("after record %d comes %d, want %d", after, first, got[i].Seq)
			}
		}
	})
}

// TestPacked: what is long is compressed, what does not get smaller is not.
func TestPacked(t *testing.T) {
	s, _ := openTest(t, Options{})
	noise := make([]byte, 1000)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	for message, want := range map[string]bool{"short": false, strings.Repeat("x", 1000): true, string(noise): false} {
		p, err := s.packLogs([]jobcontrol.LogRecord{{Message: message}})
		if err != nil || len(p.chunks) != 1 || p.chunks[0].packed != want {
			t.Errorf("%.10q: %v, %v", message, p.chunks[0].packed, err)
		}
	}
	var many []jobcontrol.LogRecord
	for range 100 {
		many = append(many, jobcontrol.LogRecord{Message: strings.Repeat(string(noise), 65)})
	}
	p, err := s.packLogs(many)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range p.chunks {
		if len(c.data) > maxChunk+2*jobcontrol.MaxLogRecord {
			t.Errorf("a chunk of %d bytes", len(c.data))
		}
	}
	if _, err := s.packLogs([]jobcontrol.LogRecord{{Attrs: map[string]any{"x": func() {}}}}); jobcontrol.CodeOf(err) != jobcontrol.Invalid {
		t.Errorf("attributes that are no JSON: %v", err)
	}
}

// FuzzRecords: a record comes back as it was, and what is no chunk is an error.
func FuzzRecords(f *testing.F) {
	f.Add("message", "logger", "file", int64(1), 3, []byte("\x01\x00\x02"))
	f.Add("\xff\x00", "", "", int64(-1), 0, []byte("\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, message, logger, file string, at int64, line int, raw []byte) {
		if at = at % (1 << 55); at == 0 {
			at = 1
		}
		r := jobcontrol.LogRecord{
			Seq: 1, Time: time.UnixMicro(at).UTC(), Level: jobcontrol.Level(line % 100), Logger: logger, Message: message,
			Attempt: line % 7, Phase: jobcontrol.Phase(file), File: file, Line: line, Function: logger, Continued: line%2 == 0, Dropped: at % 3,
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
		c.first = 1
		got, err := c.records()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]jobcontrol.LogRecord{r, second}, got); d != "" {
			t.Fatalf("-want +got:\n%s", d)
		}
		for _, packed := range []bool{false, true} {
			c := chunk{data: raw, packed: packed, size: int64(len(raw)), count: 1}
			_, _ = c.records()
		}
		_, _ = decodeAttempt(1, raw)
		_, _ = decodeIDs(1, raw)
	})
}

// TestEncodings: ids and attempts come back as they were.
func TestEncodings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := rapid.Int64Range(1, 1<<35).Draw(t, "base")
		ids := rapid.SliceOf(rapid.Int64Range(1, 1<<35)).Draw(t, "ids")
		if len(ids) == 0 {
			ids = nil
		}
		got, err := decodeIDs(base, encodeIDs(base, ids))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(ids, got); d != "" {
			t.Fatalf("ids (-want +got):\n%s", d)
		}
		a := jobcontrol.Attempt{
			Build: base, Number: rapid.IntRange(0, 1<<30).Draw(t, "number"), Cleanup: rapid.Bool().Draw(t, "cleanup"),
			StartedAt: timeOf(rapid.Int64().Draw(t, "start")), Worker: rapid.Int64().Draw(t, "worker"), Claim: rapid.Int64().Draw(t, "claim"),
		}
		for i := range rapid.IntRange(0, 4).Draw(t, "phases") {
			a.Phases = append(a.Phases, jobcontrol.PhaseResult{
				Phase: jobcontrol.Phase(fmt.Sprint(i)), Passed: rapid.Bool().Draw(t, "passed"), Error: rapid.String().Draw(t, "error"),
				Duration: time.Duration(rapid.Int64().Draw(t, "duration")),
			})
		}
		data := encodeAttempt(&a)
		back, err := decodeAttempt(base, data)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(a, back); d != "" {
			t.Fatalf("attempt (-want +got):\n%s", d)
		}
		if _, err := decodeAttempt(base, bytes.Clone(data[:len(data)-1])); err == nil && len(data) > 8 {
			t.Fatal("a part of an attempt was taken for one")
		}
	})
}
