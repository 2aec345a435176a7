package storetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// in makes a Run "b<a", "c<b" whose build b is in the state.
func (w *world) in(state jobcontrol.State) made {
	w.Helper()
	n := w.graph("a", "b<a", "c<b")
	switch state {
	case jobcontrol.Held:
		n.Builds[1].Build.State = jobcontrol.Held
	case jobcontrol.Scheduled:
		n.Builds[1].Build.ReadyAt = w.now().Add(time.Hour)
	}
	m := w.create(n)
	switch state {
	case jobcontrol.Waiting:
		return m
	case jobcontrol.Blocked:
		w.finish(m, "a", jobcontrol.Failed)
		return m
	}
	w.finish(m, "a", jobcontrol.Successful)
	switch state {
	case jobcontrol.Held, jobcontrol.Scheduled, jobcontrol.Queued:
	case jobcontrol.Running:
		w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{m.claim("b")}, []time.Time{w.now()}))
	default:
		w.finish(m, "b", state)
	}
	return m
}

// states of a build, all of them.
var states = []jobcontrol.State{
	jobcontrol.Held, jobcontrol.Waiting, jobcontrol.Scheduled, jobcontrol.Queued, jobcontrol.Running, jobcontrol.Suspended,
	jobcontrol.Successful, jobcontrol.Skipped, jobcontrol.Failed, jobcontrol.Cancelled, jobcontrol.Blocked,
}

// testTransitions: what a method does to a build's state is a row of
// jobcontrol.Transitions, in each state; else it is a conflict and changes nothing.
func testTransitions(w *world) {
	finish := func(to jobcontrol.State) func(c jobcontrol.Claim) error {
		return func(c jobcontrol.Claim) error {
			_, err := w.s.Finish(w.ctx, c, ended(to, 7))
			return err
		}
	}
	retry := func(at time.Time) func(c jobcontrol.Claim) error {
		return func(c jobcontrol.Claim) error {
			e := ended(jobcontrol.Failed, 7)
			e.ReadyAt = at
			_, err := w.s.Retry(w.ctx, c, e)
			return err
		}
	}
	methods := []struct {
		name       string
		transition jobcontrol.Transition
		to         jobcontrol.State
		same       bool // in the target state it is a repetition
		call       func(c jobcontrol.Claim) error
	}{
		{"Start", jobcontrol.ToStart, jobcontrol.Running, true, func(c jobcontrol.Claim) error {
			return w.s.Start(w.ctx, []jobcontrol.Claim{c}, []time.Time{w.now()})
		}},
		{"MarkRan", jobcontrol.ToStart, jobcontrol.Running, true, func(c jobcontrol.Claim) error { return w.s.MarkRan(w.ctx, c, w.now()) }},
		{"Finish", jobcontrol.ToSucceed, jobcontrol.Successful, false, finish(jobcontrol.Successful)},
		{"Finish", jobcontrol.ToSkip, jobcontrol.Skipped, false, finish(jobcontrol.Skipped)},
		{"Finish", jobcontrol.ToFail, jobcontrol.Failed, false, finish(jobcontrol.Failed)},
		{"Finish", jobcontrol.ToCancel, jobcontrol.Cancelled, false, finish(jobcontrol.Cancelled)},
		{"Finish", jobcontrol.ToSuspend, jobcontrol.Suspended, false, finish(jobcontrol.Suspended)},
		{"Retry", jobcontrol.ToRetry, jobcontrol.Queued, false, retry(time.Time{})},
		{"Retry", jobcontrol.ToRetry, jobcontrol.Scheduled, false, retry(w.now().Add(time.Hour))},
		{"Expand", jobcontrol.ToExpand, jobcontrol.Waiting, false, func(c jobcontrol.Claim) error {
			_, err := w.s.Expand(w.ctx, c, w.expansion(7, "b", "x"))
			return err
		}},
		{"Expand", jobcontrol.ToExpand, jobcontrol.Queued, false, func(c jobcontrol.Claim) error {
			_, err := w.s.Expand(w.ctx, c, w.expansion(7, "b"))
			return err
		}},
		{"Cancel", jobcontrol.ToCancel, jobcontrol.Cancelled, true, func(c jobcontrol.Claim) error {
			return w.s.Cancel(w.ctx, []jobcontrol.Claim{c}, "reason")
		}},
	}
	for _, from := range states {
		for _, method := range methods {
			what := fmt.Sprintf("%s %s to %s", method.name, from, method.to)
			m := w.in(from)
			if got := w.build(m, "b").State; got != from {
				w.Fatalf("%s: the build is %s", what, got)
			}
			if method.transition.Check(from, method.to) == nil {
				if err := method.call(m.claim("b")); err != nil {
					w.Fatalf("%s: %v", what, err)
				}
				w.equal(what, method.to, w.build(m, "b").State)
				continue
			}
			before := w.build(m, "b")
			err := method.call(m.claim("b"))
			if from == method.to && method.same {
				w.ok(err)
			} else {
				w.refused(err, jobcontrol.ErrConflict)
				for _, word := range []string{fmt.Sprint(m.id("b")), from.String()} {
					if !strings.Contains(err.Error(), word) {
						w.Fatalf("%s: the error does not say %s: %v", what, word, err)
					}
				}
			}
			after := w.build(m, "b")
			if from == jobcontrol.Running && method.name == "MarkRan" {
				after.Ran = 0 // that is what it is for
			}
			w.equal(what, before, after)
		}
	}
}

// testStart: all builds are marked, or none; the first start is kept.
func testStart(w *world) {
	m := w.run("a", "b", "c<a")
	at := w.now().Add(-time.Minute)
	claims := []jobcontrol.Claim{m.claim("a"), m.claim("b")}
	w.ok(w.s.Start(w.ctx, claims, []time.Time{at, at.Add(time.Second)}))
	w.states(m, "a=running b=running c=waiting")
	w.equal("started", at, w.build(m, "a").StartedAt)
	w.equal("started", at.Add(time.Second), w.build(m, "b").StartedAt)
	w.equal("attempts", 0, w.build(m, "a").Attempts)
	w.unchanged("a repeated Start", func() {
		w.ok(w.s.Start(w.ctx, claims, []time.Time{at.Add(time.Hour), at.Add(time.Hour)}))
	})
	w.unchanged("nothing to start", func() { w.ok(w.s.Start(w.ctx, nil, nil)) })

	m = w.run("a", "b", "c<a")
	w.unchanged("a refused Start", func() {
		err := w.s.Start(w.ctx, []jobcontrol.Claim{m.claim("a"), m.claim("c")}, []time.Time{at, at})
		w.refused(err, jobcontrol.ErrConflict)
		stale := m.claim("b")
		stale.Number++
		err = w.s.Start(w.ctx, []jobcontrol.Claim{m.claim("a"), stale}, []time.Time{at, at})
		w.refused(err, jobcontrol.ErrLeaseLost)
	})

	// The second attempt does not change when the build started.
	w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{m.claim("a")}, []time.Time{at}))
	_, err := w.s.Retry(w.ctx, m.claim("a"), ended(jobcontrol.Failed, 1))
	w.ok(err)
	w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{m.claim("a")}, []time.Time{at.Add(time.Hour)}))
	w.equal("started", at, w.build(m, "a").StartedAt)
}

// testMarkRan: the order of first run phases, once per build.
func testMarkRan(w *world) {
	m := w.run("a", "b", "c", "d<a")
	at := w.now()
	w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{m.claim("b")}, []time.Time{at}))
	for _, job := range []string{"c", "b", "a"} {
		w.ok(w.s.MarkRan(w.ctx, m.claim(job), at))
	}
	w.states(m, "a=running b=running c=running d=waiting")
	a, b, c := w.build(m, "a"), w.build(m, "b"), w.build(m, "c")
	if !(0 < c.Ran && c.Ran < b.Ran && b.Ran < a.Ran) {
		w.Fatalf("ran: c %d, b %d, a %d", c.Ran, b.Ran, a.Ran)
	}
	w.equal("started", at, c.StartedAt)
	w.unchanged("a repeated MarkRan", func() { w.ok(w.s.MarkRan(w.ctx, m.claim("c"), at.Add(time.Hour))) })

	// The next attempt keeps the place of the first.
	_, err := w.s.Retry(w.ctx, m.claim("c"), ended(jobcontrol.Failed, 1))
	w.ok(err)
	w.ok(w.s.MarkRan(w.ctx, m.claim("c"), at))
	w.equal("ran", c.Ran, w.build(m, "c").Ran)
	w.equal("state", jobcontrol.Running, w.build(m, "c").State)
}

// testRetry: what a failed attempt leaves behind.
func testRetry(w *world) {
	m := w.run("a", "b<a")
	at := w.now().Add(time.Hour)
	claim := m.claim("a")
	want := w.build(m, "a")

	e := ended(jobcontrol.Failed, 1)
	e.ReadyAt = at
	e.Attempt.Failure.Frames = []jobcontrol.Frame{{Function: "f", Locals: []jobcontrol.Variable{{Name: "x", Value: "1"}}}}
	e.Logs = []jobcontrol.LogRecord{{Time: at, Level: jobcontrol.LevelInfo, Message: "tail"}}
	e.Progress = []jobcontrol.Progress{{Path: []string{"x"}, Current: ptr(int64(1))}}
	b, err := w.s.Retry(w.ctx, claim, e)
	w.ok(err)
	want.State, want.Phase, want.ReadyAt, want.TriesUsed, want.Attempts = jobcontrol.Scheduled, 1, at, 1, 1
	want.StartedAt = e.Attempt.StartedAt
	w.equal("build", &want, b)
	w.equal("stored build", want, w.build(m, "a"))
	w.equal("log", 1, len(w.logs(b.ID, jobcontrol.LogFilter{})))

	w.unchanged("a repeated Retry", func() {
		again, err := w.s.Retry(w.ctx, claim, e)
		w.ok(err)
		w.equal("answer", b, again)
	})

	// A retry that was asked for uses no try; nor does a lost attempt.
	for i, test := range []struct {
		kind         jobcontrol.FailureKind
		tries, asked int
	}{
		{jobcontrol.FailRetry, 1, 1}, {jobcontrol.FailTimeout, 2, 1}, {jobcontrol.FailLost, 2, 1}, {jobcontrol.FailRetry, 2, 2},
	} {
		e := ended(jobcontrol.Failed, i+2)
		e.Attempt.Failure.Kind = test.kind
		b, err := w.s.Retry(w.ctx, claim, e)
		w.ok(err)
		w.equal(string(test.kind), []int{int(jobcontrol.Queued), i + 2, i + 2, test.tries, test.asked},
			[]int{int(b.State), b.Phase, b.Attempts, b.TriesUsed, b.Asked})
	}
	w.unchanged("an attempt that was stored before", func() {
		_, err := w.s.Retry(w.ctx, claim, ended(jobcontrol.Failed, 0))
		w.refused(err, jobcontrol.ErrConflict)
		_, err = w.s.Finish(w.ctx, claim, ended(jobcontrol.Failed, 3))
		w.refused(err, jobcontrol.ErrConflict)
	})

	// The phase in which it passes is that of its dependants.
	w.equal("released", "b", released(mustFinish(w, claim, ended(jobcontrol.Successful, 6))))
	w.equal("phase", 5, w.build(m, "b").Phase)
	w.equal("tries", 3, w.build(m, "a").TriesUsed)
	w.equal("attempts", 6, w.build(m, "a").Attempts)
}

func mustFinish(w *world, c jobcontrol.Claim, e jobcontrol.Ended) *jobcontrol.Released {
	w.Helper()
	r, err := w.s.Finish(w.ctx, c, e)
	w.ok(err)
	return r
}

// testCancel: the list is cancelled as one; what waits for it is blocked.
func testCancel(w *world) {
	m := w.run("a", "b<a", "c<b", "d<a", "e", "f<e")
	w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{m.claim("e")}, []time.Time{w.now()}))
	claims := []jobcontrol.Claim{m.claim("b"), m.claim("a"), m.claim("e"), m.claim("b")}
	w.ok(w.s.Cancel(w.ctx, claims, "no more"))
	w.states(m, "a=cancelled b=cancelled c=blocked d=blocked e=cancelled f=blocked")
	b := w.build(m, "b")
	w.equal("failure", &jobcontrol.Failure{Kind: jobcontrol.FailCancel, Message: "no more"}, b.Failure)
	if b.FinishedAt.IsZero() {
		w.Fatal("it has no end")
	}
	w.unchanged("a repeated Cancel", func() { w.ok(w.s.Cancel(w.ctx, claims, "no more")) })

	// One that is refused refuses all.
	m = w.run("a", "b<a", "c")
	w.finish(m, "c", jobcontrol.Successful)
	w.unchanged("a refused Cancel", func() {
		err := w.s.Cancel(w.ctx, []jobcontrol.Claim{m.claim("a"), m.claim("c")}, "")
		w.refused(err, jobcontrol.ErrConflict)
		stale := m.claim("b")
		stale.Number--
		err = w.s.Cancel(w.ctx, []jobcontrol.Claim{m.claim("a"), stale}, "")
		w.refused(err, jobcontrol.ErrLeaseLost)
		err = w.s.Cancel(w.ctx, []jobcontrol.Claim{{Build: m.id("a")}}, "")
		w.refused(err, jobcontrol.ErrLeaseLost)
	})

	// What nobody has claimed, anybody may cancel.
	n := w.graph("a", "b<a")
	n.Lease = nil
	m = w.create(n)
	w.ok(w.s.Cancel(w.ctx, []jobcontrol.Claim{{Build: m.id("a")}}, "by hand"))
	w.states(m, "a=cancelled b=blocked")
}

// testAttempts: all attempts are kept, in order, with their failures.
func testAttempts(w *world) {
	m := w.run("a", "b<a")
	claim := m.claim("a")
	frames := []jobcontrol.Frame{{Function: "f", File: "x.go", Line: 3, Source: []jobcontrol.SourceLine{{Line: 3, Text: "f()"}}}}

	first := ended(jobcontrol.Failed, 1)
	first.Attempt.Failure.Frames = frames
	first.Attempt.Phases = []jobcontrol.PhaseResult{
		{Phase: jobcontrol.PhaseCheck, Error: "not yet\x00", Duration: time.Microsecond}, {Phase: jobcontrol.PhaseRun, Passed: true, Duration: time.Hour},
	}
	_, err := w.s.Retry(w.ctx, claim, first)
	w.ok(err)
	w.ok(w.s.MarkRan(w.ctx, claim, w.now()))
	second := ended(jobcontrol.Failed, 2)
	second.Attempt.Failure.Frames = frames
	second.Attempt.Failure.ExitCode = ptr(3)
	mustFinish(w, claim, second)
	_, err = w.s.StartCleaning(w.ctx, m.ID, w.l)
	w.ok(err)
	clean := ended(jobcontrol.Successful, 3)
	clean.Attempt.Cleanup = true
	clean.Attempt.Phases[0].Phase = jobcontrol.PhaseCleanup
	w.ok(w.s.Cleaned(w.ctx, claim, clean))

	var want []jobcontrol.Attempt
	for _, e := range []jobcontrol.Ended{first, second, clean} {
		a := e.Attempt
		a.Build, a.Worker, a.Claim = m.id("a"), w.l.Worker, claim.Number
		want = append(want, a)
	}
	got, err := w.s.Attempts(w.ctx, m.id("a"))
	w.ok(err)
	w.equal("attempts", want, got)
	w.equal("failure", second.Attempt.Failure, w.build(m, "a").Failure)
	none, err := w.s.Attempts(w.ctx, m.id("b"))
	w.ok(err)
	w.equal("attempts", 0, len(none))
	_, err = w.s.Attempts(w.ctx, m.id("b")+100)
	w.refused(err, jobcontrol.ErrNotFound)
}
