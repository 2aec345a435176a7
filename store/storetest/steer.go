package storetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// steered are the transitions that Steer may be asked for, and their targets.
var steered = map[jobcontrol.Transition][]jobcontrol.State{
	jobcontrol.ToHold:    {jobcontrol.Held},
	jobcontrol.ToRelease: {jobcontrol.Waiting, jobcontrol.Scheduled, jobcontrol.Queued},
	jobcontrol.ToSuspend: {jobcontrol.Suspended},
	jobcontrol.ToResume:  {jobcontrol.Waiting, jobcontrol.Scheduled, jobcontrol.Queued},
	jobcontrol.ToCancel:  {jobcontrol.Cancelled},
}

// testSteer: what a person may ask of a build that nobody has claimed is a row
// of jobcontrol.Transitions; all else is a conflict and changes nothing.
func testSteer(w *world) {
	for _, from := range states {
		if from == jobcontrol.Running {
			continue
		}
		for transition, targets := range steered {
			what := fmt.Sprintf("%s from %s", transition, from)
			m := w.away(from)
			w.hideBut(m)
			allowed := slices.ContainsFunc(targets, func(to jobcontrol.State) bool { return transition.Check(from, to) == nil })
			before := w.build(m, "b")
			b, err := w.s.Steer(w.ctx, m.id("b"), transition)
			if !allowed {
				w.refused(err, jobcontrol.ErrConflict)
				for _, word := range []string{fmt.Sprint(m.id("b")), from.String()} {
					if !strings.Contains(err.Error(), word) {
						w.Fatalf("%s: the error does not say %s: %v", what, word, err)
					}
				}
				w.equal(what, before, w.build(m, "b"))
				w.drop(m)
				continue
			}
			if err != nil {
				w.Fatalf("%s: %v", what, err)
			}
			if !slices.Contains(targets, b.State) {
				w.Fatalf("%s: it is %s", what, b.State)
			}
			w.equal(what, *b, w.build(m, "b"))
			w.equal("stopping", jobcontrol.Transition(""), b.Stopping)
			c := jobcontrol.Waiting
			if transition == jobcontrol.ToCancel {
				c = jobcontrol.Blocked
				w.equal("failure", &jobcontrol.Failure{Kind: jobcontrol.FailCancel, Message: b.Failure.Message}, b.Failure)
			}
			w.equal(what+": dependant", c, w.build(m, "c").State)
			w.drop(m)
		}
	}
	for _, transition := range []jobcontrol.Transition{jobcontrol.ToStart, jobcontrol.ToFail, jobcontrol.ToPromote, "", "x"} {
		_, err := w.s.Steer(w.ctx, w.free("a").ID, transition)
		w.refused(err, jobcontrol.ErrInvalid)
	}
	_, err := w.s.Steer(w.ctx, 1<<40, jobcontrol.ToHold)
	w.refused(err, jobcontrol.ErrNotFound)
	m := w.free("a", "b")
	_, err = w.s.Steer(w.ctx, m.ID, jobcontrol.ToHold)
	w.refused(err, jobcontrol.ErrNotFound)
}

// hideBut claims what there is but the builds of a Run.
func (w *world) hideBut(m made) {
	w.Helper()
	var back []jobcontrol.Claim
	for _, b := range w.take(w.l).builds {
		if b.Run == m.ID {
			back = append(back, b.Claim)
		}
	}
	w.ok(w.s.GiveBack(w.ctx, back))
}

// testSteerClaimed: of a build that a worker has, suspending and cancelling are
// requests; its worker carries them out, if it does not succeed before.
func testSteerClaimed(w *world) {
	for _, started := range []bool{false, true} {
		claimed := func() made {
			m := w.free("a", "b<a")
			m.builds[0] = w.takes(w.l, "a").builds[0]
			if started {
				w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{m.claim("a")}, nil))
			}
			return m
		}
		m := claimed()
		w.unchanged("hold, release and resume of what is claimed", func() {
			for _, transition := range []jobcontrol.Transition{jobcontrol.ToHold, jobcontrol.ToRelease, jobcontrol.ToResume} {
				_, err := w.s.Steer(w.ctx, m.id("a"), transition)
				w.refused(err, jobcontrol.ErrConflict)
			}
		})
		w.equal("requests", 0, len(w.requests(w.l)))
		want := w.build(m, "a")
		want.Stopping = jobcontrol.ToSuspend
		b, err := w.s.Steer(w.ctx, m.id("a"), jobcontrol.ToSuspend)
		w.ok(err)
		w.equal("build", want, *b)
		w.equal("stored build", want, w.build(m, "a"))
		w.unchanged("the same request", func() {
			again, err := w.s.Steer(w.ctx, m.id("a"), jobcontrol.ToSuspend)
			w.ok(err)
			w.equal("answer", b, again)
		})
		r := w.requests(w.l)
		w.equal("requests", []jobcontrol.StopRequest{{Claim: m.claim("a"), Suspend: true, Reason: r[0].Reason}}, r)
		if r[0].Reason == "" {
			w.Fatal("the request has no reason")
		}
		w.equal("requests of another worker", 0, len(w.requests(w.register(2))))

		// To cancel is more than to suspend; not the other way round.
		b, err = w.s.Steer(w.ctx, m.id("a"), jobcontrol.ToCancel)
		w.ok(err)
		w.equal("stopping", jobcontrol.ToCancel, b.Stopping)
		w.unchanged("less than was asked for", func() {
			_, err := w.s.Steer(w.ctx, m.id("a"), jobcontrol.ToSuspend)
			w.refused(err, jobcontrol.ErrConflict)
		})
		r = w.requests(w.l)
		w.equal("requests", []jobcontrol.StopRequest{{Claim: m.claim("a"), Reason: r[0].Reason}}, r)
		mustFinish(w, m.claim("a"), ended(jobcontrol.Cancelled, 1))
		w.states(m, "a=cancelled b=blocked")
		w.equal("stopping", jobcontrol.Transition(""), w.build(m, "a").Stopping)
		w.equal("requests", 0, len(w.requests(w.l)))

		// Its worker may do it with Cancel, or have succeeded before.
		m = claimed()
		_, err = w.s.Steer(w.ctx, m.id("a"), jobcontrol.ToCancel)
		w.ok(err)
		w.ok(w.s.Cancel(w.ctx, []jobcontrol.Claim{m.claim("a")}, "as you wish"))
		w.states(m, "a=cancelled b=blocked")
		m = claimed()
		_, err = w.s.Steer(w.ctx, m.id("a"), jobcontrol.ToSuspend)
		w.ok(err)
		mustFinish(w, m.claim("a"), ended(jobcontrol.Suspended, 1))
		w.equal("build", []any{jobcontrol.Suspended, jobcontrol.Transition("")}, []any{w.build(m, "a").State, w.build(m, "a").Stopping})
		w.drop(m)
		m = claimed()
		_, err = w.s.Steer(w.ctx, m.id("a"), jobcontrol.ToCancel)
		w.ok(err)
		w.finish(m, "a", jobcontrol.Successful)
		w.states(m, "a=successful b=queued")
		w.equal("stopping", jobcontrol.Transition(""), w.build(m, "a").Stopping)
		w.drop(m)

		// What ends a claim otherwise carries the request out.
		for transition, state := range map[jobcontrol.Transition]jobcontrol.State{
			jobcontrol.ToCancel: jobcontrol.Cancelled, jobcontrol.ToSuspend: jobcontrol.Suspended,
		} {
			m = claimed()
			_, err = w.s.Steer(w.ctx, m.id("a"), transition)
			w.ok(err)
			e := ended(jobcontrol.Failed, 1)
			b, err = w.s.Retry(w.ctx, m.claim("a"), e)
			w.ok(err)
			w.equal("after Retry", []any{state, jobcontrol.Transition(""), 1, 1}, []any{b.State, b.Stopping, b.Attempts, b.TriesUsed})
			w.unchanged("a repeated Retry", func() {
				again, err := w.s.Retry(w.ctx, m.claim("a"), e)
				w.ok(err)
				w.equal("answer", b, again)
			})
			w.drop(m)
			m = claimed()
			_, err = w.s.Steer(w.ctx, m.id("a"), transition)
			w.ok(err)
			w.ok(w.s.GiveBack(w.ctx, []jobcontrol.Claim{m.claim("a")}))
			w.equal("after GiveBack", state, w.build(m, "a").State)
			w.drop(m)
		}
		m = claimed()
		_, err = w.s.Steer(w.ctx, m.id("a"), jobcontrol.ToCancel)
		w.ok(err)
		mustFinish(w, m.claim("a"), ended(jobcontrol.Suspended, 1))
		w.states(m, "a=cancelled b=blocked")
	}
}

func (w *world) requests(l jobcontrol.Lease) []jobcontrol.StopRequest {
	w.Helper()
	r, err := w.s.StopRequests(w.ctx, l)
	w.ok(err)
	return r
}

// testSteerReady: what is released or resumed waits for its dependencies, then
// for its time; if one of its dependencies has failed meanwhile, it is blocked.
func testSteerReady(w *world) {
	steer := func(m made, job string, t jobcontrol.Transition, want jobcontrol.State) {
		w.Helper()
		b, err := w.s.Steer(w.ctx, m.id(job), t)
		w.ok(err)
		w.equal(string(t), want, b.State)
	}
	pairs := []struct{ away, back jobcontrol.Transition }{
		{jobcontrol.ToHold, jobcontrol.ToRelease}, {jobcontrol.ToSuspend, jobcontrol.ToResume},
	}
	for _, p := range pairs {
		aside := map[jobcontrol.Transition]jobcontrol.State{jobcontrol.ToHold: jobcontrol.Held, jobcontrol.ToSuspend: jobcontrol.Suspended}[p.away]
		n := w.detached("a", "b<a", "c<a", "d")
		n.Builds[2].Build.ReadyAt = w.now().Add(time.Hour)
		m := w.create(n)
		steer(m, "b", p.away, aside)
		steer(m, "b", p.back, jobcontrol.Waiting)
		for _, job := range []string{"b", "c", "d"} {
			steer(m, job, p.away, aside)
		}
		r := mustFinish(w, w.takes(w.l, "a").claim("a"), ended(jobcontrol.Successful, 1))
		w.equal("released", "", released(r))
		w.equal("nothing is given", 0, len(w.take(w.l).builds))
		steer(m, "b", p.back, jobcontrol.Queued)
		steer(m, "c", p.back, jobcontrol.Scheduled)
		steer(m, "d", p.back, jobcontrol.Queued)
		w.takes(w.l, "b d")
		w.drop(m)

		// A failed dependency blocks what is held at once, and what is suspended
		// when it is resumed.
		m = w.free("a", "x", "b<a,x", "c<b")
		steer(m, "b", p.away, aside)
		got := w.takes(w.l, "a x")
		mustFinish(w, got.claim("a"), ended(jobcontrol.Failed, 1))
		if p.away == jobcontrol.ToHold {
			w.states(m, "a=failed x=queued b=blocked c=blocked")
		} else {
			w.states(m, "a=failed x=queued b=suspended c=waiting")
			steer(m, "b", p.back, jobcontrol.Blocked)
			w.states(m, "a=failed x=queued b=blocked c=blocked")
		}
		mustFinish(w, got.claim("x"), ended(jobcontrol.Successful, 1))
		w.equal("run", jobcontrol.RunPartial, w.runOf(m).State)
	}

	// The last build that is cancelled ends its Run; a lone one is its Run.
	m := w.free("a", "b")
	mustFinish(w, w.takes(w.l, "a b").claim("a"), ended(jobcontrol.Successful, 1))
	w.equal("run", jobcontrol.RunRunning, w.runOf(m).State)
	m = w.free("a", "b<a")
	steer(m, "a", jobcontrol.ToCancel, jobcontrol.Cancelled)
	w.equal("run", jobcontrol.RunCancelled, w.runOf(m).State)
	m = w.free("a")
	steer(m, "a", jobcontrol.ToHold, jobcontrol.Held)
	steer(m, "a", jobcontrol.ToCancel, jobcontrol.Cancelled)
	w.equal("run", jobcontrol.RunCancelled, w.runOf(m).State)

	// Held from the beginning.
	n := w.detached("a")
	n.Builds[0].Build.State = jobcontrol.Held
	m = w.create(n)
	w.equal("nothing is given", 0, len(w.take(w.l).builds))
	steer(m, "a", jobcontrol.ToRelease, jobcontrol.Queued)
	w.takes(w.l, "a")
}

// testSteerForeground: a program that executes a Run is not disturbed; when it
// has died, a person may steer what it left.
func testSteerForeground(w *world) {
	l := w.register(2)
	for _, nodes := range [][]string{{"a", "b<a"}, {"a"}} {
		n := w.graph(nodes...)
		n.Lease = &l
		m := w.create(n)
		w.unchanged("of a program", func() {
			for t := range steered {
				_, err := w.s.Steer(w.ctx, m.id("a"), t)
				w.refused(err, jobcontrol.ErrConflict)
			}
		})
	}
}

// testDetachedCancel: what nobody has claimed is cancelled at once; workers are
// asked to stop the rest.
func testDetachedCancel(w *world) {
	m := w.free("a", "b<a", "c", "d", "e<d", "f")
	other := w.register(2)
	a := w.ask(w.l, want(1)).Builds[0]
	c := w.ask(other, want(1)).Builds[0]
	d := w.ask(other, want(1)).Builds[0]
	w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{a.Claim}, nil))
	r, err := w.s.RequestCancel(w.ctx, m.ID)
	w.ok(err)
	w.equal("run", []any{jobcontrol.RunRunning, true}, []any{r.State, r.Cancel})
	w.states(m, "a=running b=cancelled c=queued d=queued e=cancelled f=cancelled")
	w.equal("stopping", jobcontrol.ToCancel, w.build(m, "c").Stopping)
	w.equal("kind", jobcontrol.FailCancel, w.build(m, "b").Failure.Kind)
	w.unchanged("a repeated RequestCancel", func() {
		again, err := w.s.RequestCancel(w.ctx, m.ID)
		w.ok(err)
		w.equal("answer", r, again)
	})
	cancel, err := w.s.CancelRequested(w.ctx, m.ID)
	w.ok(err)
	w.equal("requested", true, cancel)
	w.equal("requests", 1, len(w.requests(w.l)))
	w.equal("requests", 2, len(w.requests(other)))
	mustFinish(w, c.Claim, ended(jobcontrol.Successful, 1))
	w.ok(w.s.Cancel(w.ctx, []jobcontrol.Claim{d.Claim}, "cancelled by request"))
	w.equal("state", jobcontrol.RunRunning, w.runOf(m).State)
	mustFinish(w, a.Claim, ended(jobcontrol.Cancelled, 1))
	w.states(m, "a=cancelled b=cancelled c=successful d=cancelled e=cancelled f=cancelled")
	w.equal("state", jobcontrol.RunCancelled, w.runOf(m).State)
	w.equal("kept", true, w.runOf(m).Cancel)
	_, err = w.s.RequestCancel(w.ctx, m.ID)
	w.refused(err, jobcontrol.ErrConflict)

	// What was executed is cleaned up.
	m = w.free("a", "b<a")
	got := w.takes(w.l, "a")
	w.ok(w.s.MarkRan(w.ctx, got.claim("a"), w.now()))
	_, err = w.s.RequestCancel(w.ctx, m.ID)
	w.ok(err)
	mustFinish(w, got.claim("a"), ended(jobcontrol.Cancelled, 1))
	w.equal("state", jobcontrol.RunCleaning, w.runOf(m).State)
	w.ok(w.s.Cleaned(w.ctx, w.step(w.l, "a").Claim, ended(jobcontrol.Successful, 2)))
	w.equal("state", jobcontrol.RunCancelled, w.runOf(m).State)

	// Lone builds: claimed, and not.
	m = w.free("a")
	got = w.takes(w.l, "a")
	r, err = w.s.RequestCancel(w.ctx, m.ID)
	w.ok(err)
	w.equal("run", []any{jobcontrol.RunRunning, true}, []any{r.State, r.Cancel})
	w.equal("requests", 1, len(w.requests(w.l)))
	w.ok(w.s.Cancel(w.ctx, []jobcontrol.Claim{got.claim("a")}, "cancelled by request"))
	w.equal("state", jobcontrol.RunCancelled, w.runOf(m).State)
	m = w.free("a")
	r, err = w.s.RequestCancel(w.ctx, m.ID)
	w.ok(err)
	w.equal("state", jobcontrol.RunCancelled, r.State)
	w.equal("nothing is given", 0, len(w.take(w.l).builds))
}

// testRescueStops: rescue carries out what was asked of a worker that is gone;
// so does Unregister.
func testRescueStops(w *world) {
	for _, gone := range []string{"dead", "left"} {
		l := w.register(2)
		m := w.free("a", "b<a", "c", "d")
		got := w.takes(l, "a c d")
		w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{got.claim("a"), got.claim("d")}, nil))
		_, err := w.s.RequestCancel(w.ctx, m.ID)
		w.ok(err)
		aside := w.free("x", "y<x")
		x := w.takes(l, "x")
		w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{x.claim("x")}, nil))
		_, err = w.s.Steer(w.ctx, aside.id("x"), jobcontrol.ToSuspend)
		w.ok(err)
		lone := w.free("l")
		w.takes(l, "l")
		_, err = w.s.RequestCancel(w.ctx, lone.ID)
		w.ok(err)
		lost := 0
		if gone == "dead" {
			lost = 1
			w.equal("interruptions", 0, len(w.kill(2)))
		} else {
			w.ok(w.s.Unregister(w.ctx, l))
		}
		w.states(m, "a=cancelled b=cancelled c=cancelled d=cancelled")
		w.equal("run", jobcontrol.RunCancelled, w.runOf(m).State)
		w.equal("run", jobcontrol.RunCancelled, w.runOf(lone).State)
		w.states(aside, "x=suspended y=waiting")
		w.equal("lost", []int{lost, lost}, []int{w.build(m, "a").Lost, w.build(aside, "x").Lost})
		w.equal("stopping", jobcontrol.Transition(""), w.build(aside, "x").Stopping)
		w.drop(aside)
	}
}

// testRescueStopsLast: what was asked of a build's worker is carried out even if
// the attempt that is lost with it is one too many.
func testRescueStopsLast(w *world) {
	pid := 100
	for _, test := range []struct {
		job  jobcontrol.Job
		lost int // how often until it would fail
	}{
		{jobcontrol.Job{ID: "never", MaxLost: ptr(0)}, 1},
		{jobcontrol.Job{ID: "once", MaxLost: ptr(1)}, 2},
		{jobcontrol.Job{ID: "fail", OnLost: "fail"}, 1},
	} {
		for _, transition := range []jobcontrol.Transition{jobcontrol.ToCancel, jobcontrol.ToSuspend} {
			n := w.detached("x", "after<x")
			n.Builds[0] = w.newBuild(&test.job)
			m := w.create(n)
			alone := want(1)
			alone.Alone = true
			for i := 1; i <= test.lost; i++ {
				pid++
				b := w.ask(w.register(pid), alone).Builds[0]
				if b.State != jobcontrol.Running {
					w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{b.Claim}, nil))
				}
				if i == test.lost {
					_, err := w.s.Steer(w.ctx, b.ID, transition)
					w.ok(err)
				}
				w.kill(pid)
			}
			b := w.build(m, test.job.ID)
			w.equal("lost", []int{test.lost, test.lost}, []int{b.Lost, b.Attempts})
			w.equal("stopping", jobcontrol.Transition(""), b.Stopping)
			if transition == jobcontrol.ToSuspend {
				w.states(m, test.job.ID+"=suspended after=waiting")
				w.drop(m)
				continue
			}
			w.states(m, test.job.ID+"=cancelled after=blocked")
			w.equal("kind", jobcontrol.FailCancel, b.Failure.Kind)
			attempts, err := w.s.Attempts(w.ctx, b.ID)
			w.ok(err)
			w.equal("attempts", test.lost, len(attempts))
			w.equal("kind of the last attempt", jobcontrol.FailLost, attempts[test.lost-1].Failure.Kind)
			w.equal("run", jobcontrol.RunCancelled, w.runOf(m).State)
		}
	}
}
