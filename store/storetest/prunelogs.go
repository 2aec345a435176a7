package storetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// pruneLogs calls PruneLogs until it was at all builds, and returns the sums.
func (w *world) pruneLogs(p jobcontrol.LogPruning, n int) (records, bytes int64) {
	w.Helper()
	r, ok := w.s.(jobcontrol.Retention)
	if !ok {
		w.Fatal("the store cannot remove what is old")
	}
	for {
		done, err := r.PruneLogs(w.ctx, p, n)
		w.ok(err)
		records, bytes = records+done.Records, bytes+done.Bytes
		if done.Next == 0 {
			return records, bytes
		}
		if done.Next <= p.After {
			w.Fatalf("PruneLogs after %d goes on at %d", p.After, done.Next)
		}
		p.After = done.Next
	}
}

// lines are the messages of a log.
func (w *world) lines(build int64) string {
	w.Helper()
	var out []string
	last := int64(0)
	whole := w.logs(build, jobcontrol.LogFilter{})
	for n := 1; n <= len(whole); n++ {
		w.equal("the end of a log", whole[len(whole)-n:], w.logs(build, jobcontrol.LogFilter{Tail: n}))
	}
	for _, r := range whole {
		if r.Seq <= last {
			w.Errorf("record %d follows record %d", r.Seq, last)
		}
		last = r.Seq
		if r.Dropped > 0 {
			r.Message = fmt.Sprintf("[%d]", r.Dropped)
		}
		out = append(out, r.Message)
	}
	return strings.Join(out, " ")
}

// testPruneLogs: of the logs of final builds goes what a rule selects, and nothing else.
func testPruneLogs(w *world) {
	base := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(day int, level jobcontrol.Level, message string) jobcontrol.LogRecord {
		return jobcontrol.LogRecord{Time: base.Add(time.Duration(day) * 24 * time.Hour), Level: level, Logger: "x", Message: message}
	}
	const debug, info, failed = jobcontrol.LevelDebug, jobcontrol.LevelInfo, jobcontrol.LevelError
	// Each report is a chunk: one of one kind, a mixed one, one of another kind.
	reports := [][]jobcontrol.LogRecord{
		{at(1, debug, "d1"), at(1, debug, "d1")},
		{at(2, info, "i2"), at(1, debug, "dd1"), at(2, failed, "e2"), at(9, debug, "d9")},
		{at(3, info, "i3")},
		{at(4, 15, "x4"), at(4, failed, "e4")},
	}
	fill := func(job string) made {
		m := w.run(job)
		for _, r := range reports {
			w.ok(w.s.Report(w.ctx, m.claim(job), r, nil))
		}
		return m
	}
	rule := func(day int, level jobcontrol.Level) jobcontrol.LogRule {
		return jobcontrol.LogRule{Before: at(day, 0, "").Time, Level: level}
	}
	a, b, open := fill("a"), fill("b"), fill("a")
	for _, m := range []made{a, b} {
		w.finish(m, m.builds[0].Job, jobcontrol.Successful)
		_, err := w.s.FinishRun(w.ctx, m.ID, w.l)
		w.ok(err)
	}
	const all = "d1 d1 i2 dd1 e2 d9 i3 x4 e4"
	debugs := jobcontrol.LogPruning{Rules: []jobcontrol.LogRule{rule(5, debug)}}

	w.unchanged("a dry run", func() {
		p := debugs
		p.DryRun = true
		records, _ := w.pruneLogs(p, 1)
		w.equal("records", int64(6), records)
	})
	w.unchanged("no rule", func() {
		records, _ := w.pruneLogs(jobcontrol.LogPruning{}, 10)
		w.equal("records", int64(0), records)
	})
	w.unchanged("rules before any record", func() {
		records, _ := w.pruneLogs(jobcontrol.LogPruning{Rules: []jobcontrol.LogRule{rule(1, 0), {}}}, 10)
		w.equal("records", int64(0), records)
	})

	one := debugs
	one.Job, one.Project = "a", "nobody's"
	records, _ := w.pruneLogs(one, 10)
	w.equal("records of another project", int64(0), records)
	one.Project = ""
	one.Build = b.ID
	records, _ = w.pruneLogs(one, 10)
	w.equal("records of another job's build", int64(0), records)
	one.Build = a.ID
	records, bytes := w.pruneLogs(one, 10)
	w.equal("records", int64(3), records)
	if bytes <= 0 {
		w.Errorf("%d bytes were removed", bytes)
	}
	w.equal("log", "[7] i2 e2 d9 i3 x4 e4", w.lines(a.ID)) // the first chunk's, and what is gone of the second
	w.equal("log", all, w.lines(b.ID))

	records, _ = w.pruneLogs(debugs, 1)
	w.equal("records", int64(3), records)
	w.equal("log", w.lines(a.ID), w.lines(b.ID))
	w.unchanged("a repeated call", func() { w.pruneLogs(debugs, 10) })

	// More rules, each with its own age: a level between two names goes with the higher one.
	records, _ = w.pruneLogs(jobcontrol.LogPruning{Build: a.ID, Rules: []jobcontrol.LogRule{rule(3, 0), rule(5, info)}}, 10)
	w.equal("records", int64(4), records)
	w.equal("log", "[11] d9 [2] e4", strings.ReplaceAll(w.lines(a.ID), "[4]", "[2]"))
	records, _ = w.pruneLogs(jobcontrol.LogPruning{Rules: []jobcontrol.LogRule{rule(10, 0)}}, 10)
	w.equal("records", int64(8), records)
	w.equal("log", "", w.lines(a.ID))
	w.equal("log", "", w.lines(b.ID))
	w.equal("log of a build that is not final", all, w.lines(open.ID))
	_, err := w.s.DeleteBuild(w.ctx, a.ID)
	w.ok(err)
}
