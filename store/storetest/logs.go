package storetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// testLogs: any bytes come back as they were, in order, with all that belongs to
// a record.
func testLogs(w *world) {
	m := w.run("a", "b<a")
	c := m.claim("a")
	id := m.id("a")
	at := time.Date(2024, 1, 2, 3, 4, 5, 678901000, time.UTC)
	var every strings.Builder
	for i := range 256 {
		every.WriteByte(byte(i))
	}
	batches := [][]jobcontrol.LogRecord{
		{{Time: at, Level: jobcontrol.LevelInfo, Logger: "stdout", Message: "plain"}},
		nil,
		{
			{
				Time: at.Add(-time.Hour), Level: jobcontrol.LevelCritical, Logger: "x.y", Message: every.String(), Attempt: 3, Phase: jobcontrol.PhaseRecheck,
				File: "/x/y.go", Line: 42, Function: "f", Attrs: map[string]any{"k": "v", "n": 1.5, "nil": nil, "l": []any{"x"}},
				Continued: true, Dropped: 0,
			},
			{Time: at, Level: jobcontrol.LevelDebug, Message: ""},
			{Time: at.Add(time.Microsecond), Level: 35, Logger: "x.y", Message: "\xff\xfe\x00", Dropped: 12},
			{Time: at.Add(time.Microsecond), Level: 35, Logger: "x.y", Message: "\x1b[31m\r\n"},
		},
		{{Time: at, Level: jobcontrol.LevelInfo, Logger: "stdout", Message: strings.Repeat("compressible ", 1000)}},
	}
	var want []jobcontrol.LogRecord
	for _, batch := range batches {
		w.ok(w.s.Report(w.ctx, c, batch, nil))
		for _, r := range batch {
			r.Seq = int64(len(want) + 1)
			want = append(want, r)
		}
		w.equal("log", want, w.logs(id, jobcontrol.LogFilter{}))
	}
	w.unchanged("a repeated Report", func() { w.ok(w.s.Report(w.ctx, c, batches[3], nil)) })
	w.equal("another log", 0, len(w.logs(m.id("b"), jobcontrol.LogFilter{})))

	// A record without a time gets the store's; one that is too long is split.
	before := w.now()
	long := make([]byte, 2*jobcontrol.MaxLogRecord+5)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range long {
		long[i] = byte(rng.Uint32())
	}
	w.ok(w.s.Report(w.ctx, c, []jobcontrol.LogRecord{
		{Level: jobcontrol.LevelInfo, Logger: "stderr", Message: string(long), Attempt: 2},
		{Level: jobcontrol.LevelInfo, Message: string(long[:jobcontrol.MaxLogRecord])},
		{Level: jobcontrol.LevelInfo, Message: string(long[:jobcontrol.MaxLogRecord+1]), Continued: true},
	}, nil))
	got := w.logs(id, jobcontrol.LogFilter{})[len(want):]
	var joined []byte
	var continued []bool
	for i, r := range got {
		if r.Time.Before(before) {
			w.Fatalf("record at %v, before %v", r.Time, before)
		}
		if len(r.Message) > jobcontrol.MaxLogRecord {
			w.Fatalf("a record of %d bytes", len(r.Message))
		}
		w.equal("seq", int64(len(want)+i+1), r.Seq)
		continued = append(continued, r.Continued)
		if i < 3 {
			joined = append(joined, r.Message...)
			w.equal("record", []any{"stderr", 2}, []any{r.Logger, r.Attempt})
		}
	}
	w.equal("continued", []bool{true, true, false, false, true, true}, continued)
	if !bytes.Equal(joined, long) {
		w.Fatal("a long record came back otherwise")
	}
	err := w.s.Log(w.ctx, 1<<30, jobcontrol.LogFilter{}, func(jobcontrol.LogRecord) bool { return true })
	w.refused(err, jobcontrol.ErrNotFound)
}

// testLogFilter: since is inclusive, until exclusive; a filter selects records,
// not batches.
func testLogFilter(w *world) {
	m := w.run("a")
	at := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	var all []jobcontrol.LogRecord
	rng := rand.New(rand.NewPCG(3, 4))
	levels := []jobcontrol.Level{jobcontrol.LevelDebug, jobcontrol.LevelInfo, jobcontrol.LevelWarning, jobcontrol.LevelError, jobcontrol.LevelCritical, 25}
	for batch := range 40 {
		var records []jobcontrol.LogRecord
		for i := range 1 + rng.IntN(9) {
			r := jobcontrol.LogRecord{
				Time: at.Add(time.Duration(batch*10+rng.IntN(15)) * time.Second), Level: levels[rng.IntN(len(levels))],
				Message: fmt.Sprintf("record %d of batch %d", i, batch),
			}
			records = append(records, r)
			r.Seq = int64(len(all) + 1)
			all = append(all, r)
		}
		w.ok(w.s.Report(w.ctx, m.claim("a"), records, nil))
	}
	for range 200 {
		var f jobcontrol.LogFilter
		if rng.IntN(2) == 0 {
			f.MinLevel = levels[rng.IntN(len(levels))]
		}
		if rng.IntN(2) == 0 {
			f.Since = all[rng.IntN(len(all))].Time
		}
		if rng.IntN(2) == 0 {
			f.Until = all[rng.IntN(len(all))].Time
		}
		if rng.IntN(2) == 0 {
			f.AfterSeq = int64(rng.IntN(len(all) + 2))
		}
		if rng.IntN(2) == 0 {
			f.Limit = 1 + rng.IntN(30)
		}
		if rng.IntN(2) == 0 {
			f.Tail = 1 + rng.IntN(60)
		}
		var want []jobcontrol.LogRecord
		for _, r := range all {
			if r.Level >= f.MinLevel && r.Seq > f.AfterSeq && (f.Since.IsZero() || !r.Time.Before(f.Since)) &&
				(f.Until.IsZero() || r.Time.Before(f.Until)) {
				want = append(want, r)
			}
		}
		if f.Tail > 0 {
			want = want[max(0, len(want)-f.Tail):]
		}
		if f.Limit > 0 {
			want = want[:min(len(want), f.Limit)]
		}
		w.equal(fmt.Sprintf("%+v", f), want, w.logs(m.id("a"), f))
	}
	// The reader may stop, and may call the store.
	n := 0
	w.ok(w.s.Log(w.ctx, m.id("a"), jobcontrol.LogFilter{}, func(r jobcontrol.LogRecord) bool {
		n++
		w.build(m, "a")
		w.ok(w.s.Report(w.ctx, m.claim("a"), nil, []jobcontrol.Progress{{Status: fmt.Sprint(n)}}))
		return n < 3
	}))
	w.equal("records", 3, n)
	n = 0
	w.ok(w.s.Log(w.ctx, m.id("a"), jobcontrol.LogFilter{Tail: 5}, func(jobcontrol.LogRecord) bool {
		n++
		w.build(m, "a")
		return n < 3
	}))
	w.equal("records of a tail", 3, n)
	err := w.s.Log(w.ctx, 1<<30, jobcontrol.LogFilter{Tail: 1}, func(jobcontrol.LogRecord) bool { return true })
	w.refused(err, jobcontrol.ErrNotFound)
	w.equal("the tail of nothing", 0, len(w.logs(w.run("b").id("b"), jobcontrol.LogFilter{Tail: 3})))
}

// testLogQuota: of a log that is too long the first and the last half are kept,
// and what is missing between them is counted to the byte.
func testLogQuota(w *world) {
	m := w.run("a")
	c := m.claim("a")
	line := strings.Repeat("0123456789abcdef", jobcontrol.MaxLogRecord/16)
	total := int64(0)
	seq := int64(0)
	const batch = 16
	for total < jobcontrol.MaxLogBytes*5/4 {
		var records []jobcontrol.LogRecord
		for range batch {
			seq++
			records = append(records, jobcontrol.LogRecord{Level: jobcontrol.LevelInfo, Message: fmt.Sprintf("%08d%s", seq, line[8:])})
			total += int64(len(line))
		}
		w.ok(w.s.Report(w.ctx, c, records, nil))
	}
	var kept, dropped, last int64
	gaps := 0
	read := func(f jobcontrol.LogFilter) {
		kept, dropped, last, gaps = 0, 0, f.AfterSeq, 0
		w.ok(w.s.Log(w.ctx, m.id("a"), f, func(r jobcontrol.LogRecord) bool {
			switch {
			case r.Dropped > 0:
				gaps++
				if r.Dropped != int64(len(line))*(r.Seq-last) && f.AfterSeq == 0 {
					w.Fatalf("after record %d, %d bytes up to record %d are missing", last, r.Dropped, r.Seq)
				}
				dropped += r.Dropped
			case r.Seq != last+1 || !strings.HasPrefix(r.Message, fmt.Sprintf("%08d", r.Seq)):
				w.Fatalf("record %d after record %d: %.12s…", r.Seq, last, r.Message)
			default:
				kept += int64(len(r.Message))
			}
			last = r.Seq
			return true
		}))
	}
	read(jobcontrol.LogFilter{})
	w.equal("gaps", 1, gaps)
	w.equal("kept and dropped", total, kept+dropped)
	w.equal("last", seq, last)
	if kept > jobcontrol.MaxLogBytes || kept < jobcontrol.MaxLogBytes*9/10 {
		w.Fatalf("%d bytes are kept", kept)
	}
	read(jobcontrol.LogFilter{AfterSeq: seq - 5})
	w.equal("the end", int64(5*len(line)), kept)
	read(jobcontrol.LogFilter{AfterSeq: seq / 2})
	w.equal("from within the gap", []any{1, seq}, []any{gaps, last})

	// A tail that reaches over the gap has what stands for it, as the whole log has.
	whole := w.logs(m.id("a"), jobcontrol.LogFilter{})
	at := slices.IndexFunc(whole, func(r jobcontrol.LogRecord) bool { return r.Dropped > 0 })
	for _, n := range []int{1, len(whole) - at - 1, len(whole) - at, len(whole) - at + 1, len(whole) - 1, len(whole), len(whole) + 1} {
		tail := w.logs(m.id("a"), jobcontrol.LogFilter{Tail: n})
		if want := whole[max(0, len(whole)-n):]; !slices.EqualFunc(tail, want, func(a, b jobcontrol.LogRecord) bool {
			return a.Seq == b.Seq && a.Message == b.Message && a.Dropped == b.Dropped && a.Time.Equal(b.Time)
		}) {
			w.Fatalf("the last %d records are %d others", n, len(tail))
		}
	}
	w.equal("a tail from within the gap", w.logs(m.id("a"), jobcontrol.LogFilter{AfterSeq: seq / 2})[0], w.logs(m.id("a"), jobcontrol.LogFilter{AfterSeq: seq / 2, Tail: int(seq)})[0])

	// The log goes on, and goes with its build.
	w.ok(w.s.Report(w.ctx, c, []jobcontrol.LogRecord{{Level: jobcontrol.LevelInfo, Message: "next"}}, nil))
	next := w.logs(m.id("a"), jobcontrol.LogFilter{AfterSeq: seq})
	w.equal("next", []any{seq + 1, "next"}, []any{next[0].Seq, next[0].Message})
	mustFinish(w, c, ended(jobcontrol.Successful, 1))
	_, err := w.s.DeleteBuild(w.ctx, m.id("a"))
	w.ok(err)
}

// testProgress: of each path the last report, in order of first appearance.
func testProgress(w *world) {
	m := w.run("a", "b<a")
	c := m.claim("a")
	p := func(path []string, current, total int64, status string) jobcontrol.Progress {
		return jobcontrol.Progress{Path: path, Current: &current, Total: &total, Status: status}
	}
	read := func() []jobcontrol.Progress {
		w.Helper()
		got, err := w.s.Progress(w.ctx, m.id("a"))
		w.ok(err)
		return got
	}
	w.equal("none", 0, len(read()))
	w.ok(w.s.Report(w.ctx, c, nil, []jobcontrol.Progress{
		p([]string{"x", "1"}, 0, 10, "one"), p(nil, 1, 2, ""), p([]string{"x", "1"}, 5, 10, "two"), p([]string{"a\x00\"::ü"}, 1, 1, "\x1b"),
	}))
	w.ok(w.s.Report(w.ctx, c, nil, []jobcontrol.Progress{{Path: nil, Total: ptr(int64(7))}, p([]string{"x"}, 1, 1, "")}))
	want := []jobcontrol.Progress{
		p([]string{"x", "1"}, 5, 10, "two"), {Total: ptr(int64(7))}, p([]string{"a\x00\"::ü"}, 1, 1, "\x1b"), p([]string{"x"}, 1, 1, ""),
	}
	w.equal("progress", want, read())
	w.unchanged("a repeated Report", func() {
		w.ok(w.s.Report(w.ctx, c, nil, []jobcontrol.Progress{{Path: nil, Total: ptr(int64(7))}, p([]string{"x"}, 1, 1, "")}))
	})

	// Out of bounds.
	w.ok(w.s.Report(w.ctx, c, nil, []jobcontrol.Progress{p([]string{"neg"}, -1, -1, "")}))
	w.equal("clamped", jobcontrol.ClampProgress(p([]string{"neg"}, -1, -1, "")), read()[4])
	var many []jobcontrol.Progress
	for i := range jobcontrol.MaxProgressRows + 10 {
		many = append(many, p([]string{"many", fmt.Sprint(i)}, int64(i), 0, ""))
	}
	w.ok(w.s.Report(w.ctx, c, nil, many))
	w.equal("bounded", jobcontrol.MaxProgressRows, len(read()))
	_, err := w.s.Progress(w.ctx, 1<<30)
	w.refused(err, jobcontrol.ErrNotFound)
}

// testShared: the values of a Run, with compare-and-set.
func testShared(w *world) {
	m, other := w.run("a", "b", "c<a"), w.run("a")
	set := func(job, key string, value any, version int64) (int64, error) {
		return w.s.SharedSet(w.ctx, m.claim(job), key, raw(value), version)
	}
	get := func(run int64, key string) string {
		w.Helper()
		value, version, err := w.s.SharedGet(w.ctx, run, key)
		w.ok(err)
		return fmt.Sprint(version, " ", string(value))
	}
	w.equal("none", "0 ", get(m.ID, "k"))
	v, err := set("a", "k", "one", 0)
	w.ok(err)
	w.equal("version", int64(1), v)
	w.equal("value", `1 "one"`, get(m.ID, "k"))
	w.equal("another run", "0 ", get(other.ID, "k"))
	w.unchanged("a conflict", func() {
		for _, version := range []int64{0, 2, 7} {
			_, err = set("b", "k", "two", version)
			w.refused(err, jobcontrol.ErrConflict)
		}
		_, err = set("b", "new", "two", 1)
		w.refused(err, jobcontrol.ErrConflict)
		// Nor does it succeed twice for the same build.
		_, err = set("a", "k", "one", 0)
		w.refused(err, jobcontrol.ErrConflict)
	})
	v, err = set("b", "k", map[string]any{"n": 2}, 1)
	w.ok(err)
	w.equal("version", int64(2), v)
	v, err = set("a", "k", nil, -1)
	w.ok(err)
	w.equal("version", int64(3), v)
	w.unchanged("the same, whatever there was", func() {
		v, err = set("a", "k", nil, -1)
		w.ok(err)
		w.equal("version", int64(3), v)
	})
	w.equal("value", `3 null`, get(m.ID, "k"))
	v, err = set("a", "", "empty key", -1)
	w.ok(err)
	w.equal("version", int64(1), v)
	_, err = set("a", "ü\x00/", 1, -1)
	w.ok(err)
	keys, err := w.s.SharedKeys(w.ctx, m.ID)
	w.ok(err)
	w.equal("keys", []string{"", "k", "ü\x00/"}, keys)
	w.equal("sorted", true, slices.IsSorted(keys))
	keys, err = w.s.SharedKeys(w.ctx, other.ID)
	w.ok(err)
	w.equal("keys", 0, len(keys))

	w.unchanged("not being executed", func() {
		_, err = set("c", "k", 1, -1)
		w.refused(err, jobcontrol.ErrConflict)
	})
	w.finish(m, "a", jobcontrol.Successful)
	w.unchanged("finished", func() {
		_, err = set("a", "k", 1, -1)
		w.refused(err, jobcontrol.ErrConflict)
	})
	_, err = w.s.SharedSet(w.ctx, m.claim("b"), "k", []byte("{"), -1)
	w.refused(err, jobcontrol.ErrInvalid)
	big := strings.Repeat("x", jobcontrol.MaxResult-2)
	_, err = set("b", "big", big, 0)
	w.ok(err)
	w.equal("big", "1 \""+big+"\"", get(m.ID, "big"))
}
