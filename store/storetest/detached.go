package storetest

import (
	"fmt"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// ends executes everything in the services that there is, until nothing is
// given any more: each build ends in the state named, else successful.
func (w *world) ends(l jobcontrol.Lease, states map[string]jobcontrol.State) {
	w.Helper()
	for {
		m := w.take(l)
		if len(m.builds) == 0 {
			return
		}
		for _, b := range m.builds {
			state, ok := states[b.Job]
			if !ok {
				state = jobcontrol.Successful
			}
			mustFinish(w, b.Claim, ended(state, b.Attempts+1))
		}
	}
}

// testDetached: builds of a Run go to any worker, and the store ends the Run.
func testDetached(w *world) {
	other := w.register(2)
	n := w.detached("a", "b<a", "c<a", "d<b,c")
	n.Builds[1].Build.Pins = map[string]int64{"x": 5}
	m := w.create(n)
	w.equal("run", []any{jobcontrol.RunRunning, int64(0), false}, []any{m.State, m.Worker, m.Lone})
	a := w.takes(w.l, "a")
	r := mustFinish(w, a.claim("a"), ended(jobcontrol.Successful, 1))
	w.equal("released", "b c", released(r))
	w.equal("claim of what was released", jobcontrol.Claim{}, r.Ready[0].Claim)
	w.equal("pins", map[string]int64{"a": m.id("a"), "x": 5}, r.Ready[0].Pins)
	w.unchanged("a repeated Finish", func() {
		w.equal("answer", r, mustFinish(w, a.claim("a"), ended(jobcontrol.Successful, 1)))
	})
	bc := w.takes(other, "b c")
	w.equal("pins", map[string]int64{"a": m.id("a"), "x": 5}, bc.of("b").Pins)
	w.unchanged("the worker of another build", func() {
		_, err := w.s.Finish(w.ctx, jobcontrol.Claim{Build: m.id("b"), Worker: w.l.Worker, Epoch: w.l.Epoch, Number: bc.claim("b").Number}, ended(jobcontrol.Successful, 1))
		w.refused(err, jobcontrol.ErrLeaseLost)
	})
	mustFinish(w, bc.claim("b"), ended(jobcontrol.Skipped, 1))
	w.equal("released", "d", released(mustFinish(w, bc.claim("c"), ended(jobcontrol.Successful, 1))))
	w.equal("state", jobcontrol.RunRunning, w.runOf(m).State)
	d := w.takes(w.l, "d")
	w.equal("pins", map[string]int64{"b": 0, "c": m.id("c")}, d.of("d").Pins)
	e := ended(jobcontrol.Successful, 1)
	mustFinish(w, d.claim("d"), e)
	run := w.runOf(m)
	w.equal("run", []any{jobcontrol.RunSuccessful, jobcontrol.Counts{jobcontrol.Successful: 3, jobcontrol.Skipped: 1}}, []any{run.State, run.Counts})
	if run.FinishedAt.IsZero() {
		w.Fatal("it has no end")
	}
	w.unchanged("a repeated last Finish", func() { mustFinish(w, d.claim("d"), e) })
	// Its end is the store's, but asking for it does no harm.
	w.unchanged("FinishRun of a final run", func() {
		again, err := w.s.FinishRun(w.ctx, m.ID, w.l)
		w.ok(err)
		w.equal("answer", &run, again)
	})
	m = w.free("a", "b<a")
	w.unchanged("FinishRun and StartCleaning of a detached run", func() {
		_, err := w.s.FinishRun(w.ctx, m.ID, w.l)
		w.refused(err, jobcontrol.ErrConflict)
		_, err = w.s.StartCleaning(w.ctx, m.ID, w.l)
		w.refused(err, jobcontrol.ErrConflict)
		_, _, err = w.s.Adopt(w.ctx, m.ID, w.l)
		w.refused(err, jobcontrol.ErrConflict)
	})
}

// testDetachedEnds: the state in which the store ends a Run follows from its
// builds, whichever write makes the last one final.
func testDetachedEnds(w *world) {
	s, k, f, c := jobcontrol.Successful, jobcontrol.Skipped, jobcontrol.Failed, jobcontrol.Cancelled
	for _, test := range []struct {
		a, b jobcontrol.State
		want jobcontrol.RunState
	}{
		{s, s, jobcontrol.RunSuccessful},
		{s, k, jobcontrol.RunSuccessful},
		{s, f, jobcontrol.RunPartial},
		{f, f, jobcontrol.RunFailed},
		{s, c, jobcontrol.RunCancelled},
		{f, c, jobcontrol.RunCancelled},
	} {
		m := w.free("a", "b")
		w.ends(w.l, map[string]jobcontrol.State{"a": test.a, "b": test.b})
		run := w.runOf(m)
		counts := jobcontrol.Counts{test.a: 1}
		counts[test.b]++
		w.equal("run", []any{test.want, counts}, []any{run.State, run.Counts})

		lone := w.free("a")
		w.equal("state", jobcontrol.RunRunning, w.runOf(lone).State)
		w.takesAnd(func(got made) {
			run = w.runOf(lone)
			w.equal("claimed", []any{jobcontrol.RunRunning, int64(0)}, []any{run.State, run.Worker})
			mustFinish(w, got.claim("a"), ended(test.a, 1))
		})
		run = w.runOf(lone)
		w.equal("lone run", []any{jobcontrol.Counts{test.a: 1}.Outcome(), jobcontrol.Counts{test.a: 1}}, []any{run.State, run.Counts})
		w.equal("end", w.build(lone, "a").FinishedAt, run.FinishedAt)
	}

	// A failure blocks the rest, and ends the Run.
	m := w.free("a", "b<a", "c<b")
	w.ends(w.l, map[string]jobcontrol.State{"a": f})
	w.states(m, "a=failed b=blocked c=blocked")
	w.equal("state", jobcontrol.RunFailed, w.runOf(m).State)

	// So does Cancel, of what nobody has claimed.
	m = w.free("a", "b<a")
	w.ok(w.s.Cancel(w.ctx, []jobcontrol.Claim{{Build: m.id("a")}}, "by hand"))
	w.states(m, "a=cancelled b=blocked")
	w.equal("state", jobcontrol.RunCancelled, w.runOf(m).State)

	// A Run of builds that are all created final has ended.
	n := w.detached("a", "b")
	for i := range n.Builds {
		n.Builds[i].Final, n.Builds[i].Build.State = true, jobcontrol.Skipped
	}
	m = w.create(n)
	w.equal("state", []jobcontrol.RunState{jobcontrol.RunSuccessful, jobcontrol.RunSuccessful}, []jobcontrol.RunState{m.State, w.runOf(m).State})
	if w.runOf(m).FinishedAt.IsZero() {
		w.Fatal("it has no end")
	}
	open, err := w.s.ListRuns(w.ctx, jobcontrol.RunFilter{States: []jobcontrol.RunState{jobcontrol.RunRunning, jobcontrol.RunCleaning}})
	w.ok(err)
	w.equal("unfinished runs", 0, len(open))
}

// takesAnd takes what there is and calls f with it.
func (w *world) takesAnd(f func(got made)) {
	w.Helper()
	f(w.take(w.l))
}

// testDetachedList: unfinished Runs are found, whatever their builds do.
func testDetachedList(w *world) {
	var want []string
	for _, state := range states {
		m := w.away(state)
		if !m.State.Final() && !w.runOf(m).State.Final() {
			want = append([]string{fmt.Sprint(m.ID)}, want...)
		}
		n := w.detached("lone")
		switch state {
		case jobcontrol.Held:
			n.Builds[0].Build.State = jobcontrol.Held
		case jobcontrol.Scheduled:
			n.Builds[0].Build.ReadyAt = w.now().Add(time.Hour)
		}
		lone := w.create(n)
		if state == jobcontrol.Running || state == jobcontrol.Suspended {
			got := w.takes(w.l, "lone")
			w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{got.claim("lone")}, nil))
			if state == jobcontrol.Suspended {
				mustFinish(w, got.claim("lone"), ended(jobcontrol.Suspended, 1))
			}
		}
		if state.Final() {
			w.drop(lone)
		} else {
			want = append([]string{fmt.Sprint(lone.ID)}, want...)
		}
		w.hide()
	}
	var got []string
	open, err := w.s.ListRuns(w.ctx, jobcontrol.RunFilter{States: []jobcontrol.RunState{jobcontrol.RunRunning}})
	w.ok(err)
	for _, r := range open {
		got = append(got, fmt.Sprint(r.ID))
	}
	w.equal("unfinished runs", want, got)
	few, err := w.s.ListRuns(w.ctx, jobcontrol.RunFilter{States: []jobcontrol.RunState{jobcontrol.RunRunning}, Limit: 3})
	w.ok(err)
	w.equal("newest unfinished runs", open[:3], few)
}

// hide claims what there is, so that later tests do not find it.
func (w *world) hide() { w.take(w.l) }

// away makes a detached Run "a", "b<a", "c<b" whose build b is in the state.
func (w *world) away(state jobcontrol.State) made {
	w.Helper()
	n := w.detached("a", "b<a", "c<b")
	switch state {
	case jobcontrol.Held:
		n.Builds[1].Build.State = jobcontrol.Held
	case jobcontrol.Scheduled:
		n.Builds[1].Build.ReadyAt = w.now().Add(time.Hour)
	}
	m := w.create(n)
	if state == jobcontrol.Waiting {
		return m
	}
	first := jobcontrol.Successful
	if state == jobcontrol.Blocked {
		first = jobcontrol.Failed
	}
	mustFinish(w, w.takes(w.l, "a").claim("a"), ended(first, 1))
	switch state {
	case jobcontrol.Held, jobcontrol.Scheduled, jobcontrol.Queued, jobcontrol.Blocked:
		return m
	}
	m.builds[1] = w.takes(w.l, "b").builds[0]
	if state == jobcontrol.Running {
		w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{m.claim("b")}, []time.Time{w.now()}))
		return m
	}
	mustFinish(w, m.claim("b"), ended(state, 1))
	return m
}

// testDetachedRetry: after a failed attempt any worker may take the build; the
// old claim only recognises what it has done.
func testDetachedRetry(w *world) {
	other := w.register(2)
	for _, nodes := range [][]string{{"a", "b<a"}, {"a"}} {
		m := w.free(nodes...)
		got := w.takes(w.l, "a")
		e := ended(jobcontrol.Failed, 1)
		e.Attempt.Failure.Kind = jobcontrol.FailRetry
		b, err := w.s.Retry(w.ctx, got.claim("a"), e)
		w.ok(err)
		w.equal("build", []any{jobcontrol.Queued, 1, 1, 1, jobcontrol.Claim{}}, []any{b.State, b.Phase, b.Attempts, b.Asked, b.Claim})
		w.equal("stored build", *b, w.build(m, "a"))
		w.unchanged("a repeated Retry", func() {
			again, err := w.s.Retry(w.ctx, got.claim("a"), e)
			w.ok(err)
			w.equal("answer", b, again)
		})
		for name, call := range w.writes(m.ID, got.claim("a"), jobcontrol.Lease{}) {
			w.unchanged("the old claim: "+name, func() { w.refused(call(), jobcontrol.ErrLeaseLost) })
		}
		theirs := w.takes(other, "a")
		w.equal("attempts", 1, theirs.of("a").Attempts)
		w.unchanged("a repeated Retry while another has it", func() {
			_, err := w.s.Retry(w.ctx, got.claim("a"), e)
			w.ok(err)
		})
		w.unchanged("another attempt under the old claim", func() {
			_, err := w.s.Retry(w.ctx, got.claim("a"), ended(jobcontrol.Failed, 2))
			w.refused(err, jobcontrol.ErrLeaseLost)
		})

		// Put aside, likewise; then it needs a person.
		s := ended(jobcontrol.Suspended, 2)
		r := mustFinish(w, theirs.claim("a"), s)
		w.equal("suspended", []any{jobcontrol.Suspended, jobcontrol.Claim{}}, []any{w.build(m, "a").State, w.build(m, "a").Claim})
		w.unchanged("a repeated suspension", func() { w.equal("answer", r, mustFinish(w, theirs.claim("a"), s)) })
		w.equal("nothing is given", 0, len(w.take(w.l).builds))
		w.equal("state", jobcontrol.RunRunning, w.runOf(m).State)
		_, err = w.s.Steer(w.ctx, m.id("a"), jobcontrol.ToResume)
		w.ok(err)
		last := w.takes(w.l, "a")
		w.unchanged("a repeated suspension while another has it", func() { mustFinish(w, theirs.claim("a"), s) })
		done := ended(jobcontrol.Successful, 3)
		mustFinish(w, last.claim("a"), done)
		w.unchanged("all of them repeated", func() {
			mustFinish(w, last.claim("a"), done)
			mustFinish(w, theirs.claim("a"), s)
			_, err := w.s.Retry(w.ctx, got.claim("a"), e)
			w.ok(err)
		})
		if len(nodes) > 1 {
			w.equal("phase", 1, w.build(m, "b").Phase)
		}
		w.drop(m)
	}
}

// testDetachedFallback: a build that is tried again elsewhere.
func testDetachedFallback(w *world) {
	m := w.free("a", "b<a")
	got := w.takes(w.l, "a")
	e := ended(jobcontrol.Failed, 1)
	e.Service = "slow"
	b, err := w.s.Retry(w.ctx, got.claim("a"), e)
	w.ok(err)
	w.equal("service", "slow", b.Service)
	w.equal("nothing is given", 0, len(w.take(w.l).builds))
	slow := w.takes(w.l, "a", "slow")
	w.equal("service", "slow", slow.of("a").Service)
	e = ended(jobcontrol.Failed, 2)
	_, err = w.s.Retry(w.ctx, slow.claim("a"), e)
	w.ok(err)
	mustFinish(w, w.takes(w.l, "a", "slow").claim("a"), ended(jobcontrol.Successful, 3))
	w.equal("service of the dependant", "", w.build(m, "b").Service)
	w.takes(w.l, "b")

	// A time, too: it is scheduled there.
	m = w.free("x")
	e = ended(jobcontrol.Failed, 1)
	e.Service, e.ReadyAt = "slow", w.now().Add(time.Hour)
	b, err = w.s.Retry(w.ctx, w.takes(w.l, "x").claim("x"), e)
	w.ok(err)
	w.equal("scheduled", []any{jobcontrol.Scheduled, "slow"}, []any{b.State, b.Service})
	w.equal("nothing is given", 0, len(w.take(w.l, "slow", "default").builds))
	w.drop(m)

	// In the foreground nobody else takes it.
	f := w.run("f")
	e = ended(jobcontrol.Failed, 1)
	e.Service = "slow"
	b, err = w.s.Retry(w.ctx, f.claim("f"), e)
	w.ok(err)
	w.equal("in the foreground", []any{"slow", f.claim("f")}, []any{b.Service, b.Claim})
	w.equal("nothing is given", 0, len(w.take(w.l, "slow").builds))
}

// testDetachedRescue: what a dead worker had claimed goes to others. What it had
// not started is not charged; what it had started is lost, too often: failed.
func testDetachedRescue(w *world) {
	m := w.free("a", "b", "c", "d<a")
	lone := w.free("lone")
	pid := 100
	l := w.register(pid)
	got := w.takes(l, "a b c lone")
	w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{got.claim("a"), got.claim("lone")}, nil))
	_, err := w.s.Retry(w.ctx, got.claim("c"), ended(jobcontrol.Failed, 1))
	w.ok(err)
	w.equal("no run is interrupted", 0, len(w.kill(pid)))
	w.states(m, "a=queued b=queued c=queued d=waiting")
	w.equal("run", jobcontrol.RunRunning, w.runOf(m).State)
	w.equal("run", jobcontrol.RunRunning, w.runOf(lone).State)
	for job, lost := range map[string]int{"a": 1, "b": 0} {
		b := w.build(m, job)
		w.equal(job, []any{lost, lost, 0, jobcontrol.Claim{}}, []any{b.Lost, b.Attempts, b.TriesUsed, b.Claim})
	}
	for _, c := range []jobcontrol.Claim{got.claim("a"), got.claim("b"), got.claim("lone")} {
		_, err := w.s.Finish(w.ctx, c, ended(jobcontrol.Successful, 5))
		w.refused(err, jobcontrol.ErrLeaseLost)
	}
	attempts, err := w.s.Attempts(w.ctx, m.id("a"))
	w.ok(err)
	w.equal("attempt", []any{1, jobcontrol.FailLost, l.Worker}, []any{len(attempts), attempts[0].Failure.Kind, attempts[0].Worker})
	w.takes(w.l, "b c")

	// Lost three times more, it fails; the store ends the Run of a lone one.
	alone := want(10)
	alone.Alone = true
	w.ok(w.s.Cancel(w.ctx, []jobcontrol.Claim{{Build: lone.ID}}, ""))
	for i := range 3 {
		l := w.register(pid + 1 + i)
		w.equal("claimed", "a", jobs(w.ask(l, alone).Builds))
		w.kill(pid + 1 + i)
	}
	w.states(m, "a=failed b=queued c=queued d=blocked")
	b := w.build(m, "a")
	w.equal("lost", []any{4, 4, jobcontrol.FailLost}, []any{b.Lost, b.Attempts, b.Failure.Kind})

	n := w.detached("x")
	n.Builds[0] = w.newBuild(&jobcontrol.Job{ID: "once", MaxLost: ptr(0), Run: &jobcontrol.Task{Shell: "true"}})
	lone = w.create(n)
	l = w.register(pid)
	w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{w.takes(l, "once").claim("once")}, nil))
	w.kill(pid)
	w.equal("run", jobcontrol.RunFailed, w.runOf(lone).State)

	// A worker that goes in peace leaves nothing that counts as lost.
	m = w.free("a", "b")
	l = w.register(pid)
	got = w.takes(l, "a b")
	w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{got.claim("a")}, nil))
	w.ok(w.s.Unregister(w.ctx, l))
	w.states(m, "a=queued b=queued")
	w.equal("lost, attempts", []int{0, 0}, []int{w.build(m, "a").Lost, w.build(m, "a").Attempts})
	w.takes(w.l, "a b")
}

// testDetachedHeads: what is known of a job at a glance follows its builds.
func testDetachedHeads(w *world) {
	var many []jobcontrol.NewRun
	for range 3 {
		many = append(many, w.detached("a"))
	}
	ids, err := w.s.CreateRuns(w.ctx, many)
	w.ok(err)
	head := func() jobcontrol.Head {
		heads, err := w.s.Heads(w.ctx, "", nil)
		w.ok(err)
		return heads["a"]
	}
	h := head()
	w.equal("new", []any{ids[2], jobcontrol.Queued, int64(0), 3}, []any{h.Latest, h.LatestState, h.Good, h.Unfinished})
	got := w.takes(w.l, "a a a").builds
	e := ended(jobcontrol.Successful, 1)
	e.Result = raw("two")
	mustFinish(w, got[1].Claim, e)
	h = head()
	w.equal("one is done", []any{ids[2], jobcontrol.Queued, ids[1], ids[1], ids[1], 2}, []any{h.Latest, h.LatestState, h.Good, h.GoodChanged, h.LatestFinished, h.Unfinished})
	e = ended(jobcontrol.Successful, 2)
	e.Changed = false
	mustFinish(w, got[2].Claim, e)
	b, err := w.s.Build(w.ctx, ids[2])
	w.ok(err)
	w.equal("result", ids[1], b.ResultOf)
	mustFinish(w, got[0].Claim, ended(jobcontrol.Failed, 1))
	h = head()
	w.equal("all are done", jobcontrol.Head{
		Job: "a", Latest: ids[2], LatestState: jobcontrol.Successful, LatestFinished: ids[2], FinishedState: jobcontrol.Successful,
		Good: ids[2], GoodAt: h.GoodAt, GoodDefinition: b.Definition, GoodChanged: ids[1], GoodChangedAt: h.GoodChangedAt,
	}, h)
}
