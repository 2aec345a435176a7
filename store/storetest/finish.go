package storetest

import (
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// testFinishStores: everything that the end of a build tells, in one write.
func testFinishStores(w *world) {
	m := w.run("a", "b<a")
	want := w.build(m, "a")
	e := ended(jobcontrol.Successful, 1)
	e.Result = raw(map[string]any{"x": []any{1, "\u2028", nil}})
	e.Logs = []jobcontrol.LogRecord{{Time: e.Attempt.StartedAt, Level: jobcontrol.LevelInfo, Message: "tail"}}
	e.Progress = []jobcontrol.Progress{{Current: ptr(int64(1)), Total: ptr(int64(2))}}
	r := mustFinish(w, m.claim("a"), e)
	w.equal("released", "b", released(r))
	want.State, want.Changed, want.Result = jobcontrol.Successful, ptr(true), e.Result
	want.TriesUsed, want.Attempts = 1, 1
	want.StartedAt, want.FinishedAt = e.Attempt.StartedAt, e.Attempt.FinishedAt
	w.equal("build", want, w.build(m, "a"))
	w.equal("log", 1, len(w.logs(m.id("a"), jobcontrol.LogFilter{})))
	p, err := w.s.Progress(w.ctx, m.id("a"))
	w.ok(err)
	w.equal("progress", e.Progress, p)

	// A failure, with all that there is to say.
	m = w.run("a", "b<a")
	e = ended(jobcontrol.Failed, 1)
	e.Attempt.Failure = &jobcontrol.Failure{
		Kind: jobcontrol.FailUser, Message: "no\x00\u00fc", Phase: jobcontrol.PhaseRecheck, Report: "0123456789abcdef",
		Causes: []string{"one", "two"}, ExitCode: ptr(0), Signal: "SIGKILL", Frames: []jobcontrol.Frame{{
			Function: "f", File: "x.py", Line: 1, Source: []jobcontrol.SourceLine{{Line: 1, Text: "\t1/0"}},
			Locals: []jobcontrol.Variable{{Name: "n", Value: "0"}},
		}},
	}
	w.equal("released", "blocked 1", released(mustFinish(w, m.claim("a"), e)))
	b := w.build(m, "a")
	w.equal("failure", e.Attempt.Failure, b.Failure)
	w.equal("changed", (*bool)(nil), b.Changed)
	w.equal("tries", 1, b.TriesUsed)

	// Nothing was changed.
	m = w.run("a")
	e = ended(jobcontrol.Successful, 1)
	e.Changed = false
	mustFinish(w, m.claim("a"), e)
	w.equal("changed", ptr(false), w.build(m, "a").Changed)

	// Without an attempt; no try is used by what does not use one.
	m = w.run("a")
	mustFinish(w, m.claim("a"), jobcontrol.Ended{State: jobcontrol.Skipped})
	b = w.build(m, "a")
	w.equal("attempts", []int{0, 0}, []int{b.Attempts, b.TriesUsed})
	if b.FinishedAt.IsZero() {
		w.Fatal("it has no end")
	}
	m = w.run("a")
	_, err = w.s.Finish(w.ctx, m.claim("a"), ended(jobcontrol.Blocked, 1))
	w.refused(err, jobcontrol.ErrInvalid)
}

// testFinishReleases: the last dependency releases, in the Run's order, into the
// largest phase.
func testFinishReleases(w *world) {
	n := w.graph("a", "b", "c<a,b", "d<a", "e<a", "f<c")
	n.Builds[4].Build.ReadyAt = w.now().Add(time.Hour).Truncate(time.Second)
	n.Builds[3].Build.Pins = map[string]int64{"x": 5}
	m := w.create(n)
	_, err := w.s.Retry(w.ctx, m.claim("a"), ended(jobcontrol.Failed, 1))
	w.ok(err)
	w.states(m, "a=queued b=queued c=waiting d=waiting e=waiting f=waiting")
	r := mustFinish(w, m.claim("a"), ended(jobcontrol.Successful, 2))
	w.states(m, "a=successful b=queued c=waiting d=queued e=scheduled f=waiting")
	w.equal("released", []jobcontrol.Build{
		{
			ID: m.id("d"), Run: m.ID, Job: "d", State: jobcontrol.Queued, Phase: 1, Place: 3,
			Pins: map[string]int64{"a": m.id("a"), "x": 5}, Claim: m.claim("d"),
		},
		{
			ID: m.id("e"), Run: m.ID, Job: "e", State: jobcontrol.Scheduled, Phase: 1, Place: 4, ReadyAt: n.Builds[4].Build.ReadyAt,
			Pins: map[string]int64{"a": m.id("a")}, Claim: m.claim("e"),
		},
	}, r.Ready)
	w.equal("left", 1, w.build(m, "c").DepsLeft)
	w.equal("released", "c", released(w.finish(m, "b", jobcontrol.Successful)))
	c := w.build(m, "c")
	w.equal("phase, left", []int{1, 0}, []int{c.Phase, c.DepsLeft})
	w.equal("pins", map[string]int64{"a": m.id("a"), "b": m.id("b")}, c.Pins)
	w.equal("claim", m.claim("c"), c.Claim)
}

// testFinishBlocks: what fails blocks all that waits for it, directly or not.
func testFinishBlocks(w *world) {
	for _, state := range []jobcontrol.State{jobcontrol.Failed, jobcontrol.Cancelled} {
		m := w.run("a", "x", "b<a", "c<b,x", "d<b,c", "e<x")
		r := w.finish(m, "a", state)
		w.states(m, "a="+state.String()+" x=queued b=blocked c=blocked d=blocked e=waiting")
		w.equal("blocked", []int64{m.id("b"), m.id("c"), m.id("d")}, sorted(r.Blocked))
		w.equal("ready", 0, len(r.Ready))
		b := w.build(m, "d")
		w.equal("failure", (*jobcontrol.Failure)(nil), b.Failure)
		if b.FinishedAt.IsZero() || !b.StartedAt.IsZero() {
			w.Fatalf("blocked build: from %v to %v", b.StartedAt, b.FinishedAt)
		}
		// What was blocked is not released.
		w.equal("released", "e", released(w.finish(m, "x", jobcontrol.Successful)))
		w.equal("state", jobcontrol.Blocked, w.build(m, "c").State)
	}
}

func sorted(ids []int64) []int64 {
	for i := range ids {
		for j := i; j > 0 && ids[j-1] > ids[j]; j-- {
			ids[j-1], ids[j] = ids[j], ids[j-1]
		}
	}
	return ids
}

// testFinishSkipped: a skipped build satisfies its dependants; they use its
// job's latest good build.
func testFinishSkipped(w *world) {
	m := w.run("a", "b<a")
	w.equal("released", "b", released(w.finish(m, "a", jobcontrol.Skipped)))
	w.equal("pins", map[string]int64{"a": 0}, w.build(m, "b").Pins)

	good := w.run("a")
	w.finish(good, "a", jobcontrol.Successful)
	bad := w.run("a")
	w.finish(bad, "a", jobcontrol.Failed)
	m = w.run("a", "b<a", "x", "c<a,x")
	r := w.finish(m, "a", jobcontrol.Skipped)
	w.equal("pins", map[string]int64{"a": good.id("a")}, r.Ready[0].Pins)
	w.equal("pins", map[string]int64{"a": good.id("a")}, w.build(m, "b").Pins)
	w.equal("pins", map[string]int64{"a": good.id("a"), "x": m.id("x")}, w.build(m, "c").Pins)
	w.equal("message", "nothing to do", w.build(m, "a").Failure.Message)
}

// testFinishSuspended: dependants keep waiting, and the build is not final.
func testFinishSuspended(w *world) {
	m := w.run("a", "b<a")
	w.equal("released", "", released(w.finish(m, "a", jobcontrol.Suspended)))
	w.states(m, "a=suspended b=waiting")
	a := w.build(m, "a")
	w.equal("attempts, tries", []int{1, 0}, []int{a.Attempts, a.TriesUsed})
	if !a.FinishedAt.IsZero() {
		w.Fatal("it has an end")
	}
	w.unchanged("a repeated Finish", func() { w.finish(m, "a", jobcontrol.Suspended) })
	_, err := w.s.StartCleaning(w.ctx, m.ID, w.l)
	w.refused(err, jobcontrol.ErrConflict)
}

// testFinishHeld: a held build stays held when its dependencies are satisfied,
// and is blocked when they are not.
func testFinishHeld(w *world) {
	m := w.in(jobcontrol.Held)
	w.equal("left", 0, w.build(m, "b").DepsLeft)
	n := w.graph("a", "b<a", "c<b")
	n.Builds[1].Build.State = jobcontrol.Held
	m = w.create(n)
	w.equal("blocked", "blocked 2", released(w.finish(m, "a", jobcontrol.Failed)))
	w.states(m, "a=failed b=blocked c=blocked")
}

// testFinishRepeated: the same answer, and no effect.
func testFinishRepeated(w *world) {
	for _, state := range []jobcontrol.State{jobcontrol.Successful, jobcontrol.Skipped, jobcontrol.Failed, jobcontrol.Cancelled} {
		m := w.run("a", "x", "b<a", "c<a", "d<a,x", "e<b")
		_, err := w.s.Retry(w.ctx, m.claim("a"), ended(jobcontrol.Failed, 1))
		w.ok(err)
		e := ended(state, 2)
		e.Logs = []jobcontrol.LogRecord{{Message: "tail"}}
		first := mustFinish(w, m.claim("a"), e)
		w.unchanged("a repeated Finish", func() { w.equal("answer", first, mustFinish(w, m.claim("a"), e)) })

		// Another build's end does not become part of the answer.
		w.finish(m, "x", jobcontrol.Successful)
		w.unchanged("a repeated Finish", func() { w.equal("answer", first, mustFinish(w, m.claim("a"), e)) })

		// Another attempt is not a repetition.
		w.unchanged("another Finish", func() {
			_, err := w.s.Finish(w.ctx, m.claim("a"), ended(state, 3))
			w.refused(err, jobcontrol.ErrConflict)
			_, err = w.s.Finish(w.ctx, m.claim("a"), ended(state, 1))
			w.refused(err, jobcontrol.ErrConflict)
		})
	}
}

// testFinishLongChain: a chain of 100,000 builds is blocked in one transaction.
func testFinishLongChain(w *world) {
	size := 100000
	if testing.Short() {
		size = 1000
	}
	job := &jobcontrol.Job{ID: "link"}
	n := jobcontrol.NewRun{Run: jobcontrol.Run{Verb: jobcontrol.VerbRun}, Lease: &w.l}
	n.Builds = append(n.Builds, w.newBuild(job))
	for i := range size - 1 {
		n.Builds = append(n.Builds, w.newBuild(job, i))
	}
	m := w.create(n)
	r := mustFinish(w, m.builds[0].Claim, ended(jobcontrol.Failed, 1))
	w.equal("blocked", size-1, len(r.Blocked))
	run, err := w.s.Run(w.ctx, m.ID)
	w.ok(err)
	w.equal("counts", jobcontrol.Counts{jobcontrol.Failed: 1, jobcontrol.Blocked: size - 1}, run.Counts)
}

// testResultOf: a build that changed nothing and returned nothing has the result
// of the good build before it.
func testResultOf(w *world) {
	step := func(changed bool, result any) jobcontrol.Build {
		m := w.run("a")
		e := ended(jobcontrol.Successful, 1)
		e.Changed = changed
		if result != nil {
			e.Result = raw(result)
		}
		mustFinish(w, m.claim("a"), e)
		return w.build(m, "a")
	}
	w.equal("no result before", int64(0), step(false, nil).ResultOf)
	one := step(true, "one")
	w.equal("own result", int64(0), one.ResultOf)
	w.equal("stands", one.ID, step(false, nil).ResultOf)
	failed := w.run("a")
	w.finish(failed, "a", jobcontrol.Failed)
	skipped := w.run("a")
	w.finish(skipped, "a", jobcontrol.Skipped)
	w.equal("stands still", one.ID, step(false, nil).ResultOf)
	w.equal("result", 0, len(step(false, nil).Result))
	two := step(false, "two")
	w.equal("own result", []any{int64(0), `"two"`}, []any{two.ResultOf, string(two.Result)})
	w.equal("stands", two.ID, step(false, nil).ResultOf)
	w.equal("a change without a result has none", int64(0), step(true, nil).ResultOf)
	w.equal("nothing stands", int64(0), step(false, nil).ResultOf)

	// An older build that ends later has what stood before it, not after.
	three := step(true, "three")
	old := w.run("a")
	step(true, "four")
	e := ended(jobcontrol.Successful, 1)
	e.Changed = false
	mustFinish(w, old.claim("a"), e)
	w.equal("stands", three.ID, w.build(old, "a").ResultOf)
	w.equal("of another job", int64(0), func() int64 {
		m := w.run("z")
		mustFinish(w, m.claim("z"), e)
		return w.build(m, "z").ResultOf
	}())
}
