package storetest

import (
	"github.com/jobcontrol/jobcontrol"
)

// step is ClaimCleanup; it must hand out the step of the job, or none ("").
func (w *world) step(l jobcontrol.Lease, job string, services ...string) *jobcontrol.Build {
	w.Helper()
	b, err := w.s.ClaimCleanup(w.ctx, l, want(1, services...))
	w.ok(err)
	got := ""
	if b != nil {
		got = b.Job
	}
	w.equal("clean-up step", job, got)
	return b
}

// ran executes the builds of jobs, in this order, each with a run phase.
func (w *world) ran(m made, names ...string) {
	w.Helper()
	for _, job := range names {
		w.ok(w.s.MarkRan(w.ctx, m.claim(job), w.now()))
	}
	for _, job := range names {
		w.finish(m, job, jobcontrol.Successful)
	}
}

// testDetachedCleaning: the steps of a Run are handed out last run first, one at
// a time; the last one ends the Run.
func testDetachedCleaning(w *world) {
	other := w.register(2)
	m := w.free("a", "b", "c")
	got := w.takes(w.l, "a b c")
	w.ran(got, "b", "a")
	w.step(w.l, "")
	mustFinish(w, got.claim("c"), ended(jobcontrol.Failed, 1))
	run := w.runOf(m)
	w.equal("run", []any{jobcontrol.RunCleaning, true}, []any{run.State, run.FinishedAt.IsZero()})
	w.unchanged("what does not fit", func() {
		w.refused(w.s.Cleaned(w.ctx, got.claim("a"), ended(jobcontrol.Successful, 2)), jobcontrol.ErrConflict)
		w.refused(w.s.Report(w.ctx, got.claim("a"), []jobcontrol.LogRecord{{Message: "late"}}, nil), jobcontrol.ErrConflict)
		_, err := w.s.FinishRun(w.ctx, m.ID, w.l)
		w.refused(err, jobcontrol.ErrConflict)
		w.step(w.l, "", "other")
		wanted := want(1)
		wanted.Project = "other"
		b, err := w.s.ClaimCleanup(w.ctx, w.l, wanted)
		w.ok(err)
		w.equal("of another project", (*jobcontrol.Build)(nil), b)
	})
	w.equal("no build is given", 0, len(w.take(w.l).builds))

	a := w.step(other, "a")
	if a.Claim.Worker != other.Worker || a.Claim.Number <= got.claim("c").Number {
		w.Fatalf("the claim is %+v", a.Claim)
	}
	w.equal("step", []any{jobcontrol.Successful, 1}, []any{a.State, a.Attempts})
	w.step(w.l, "")
	w.unchanged("the old claim", func() {
		w.refused(w.s.Cleaned(w.ctx, got.claim("a"), ended(jobcontrol.Successful, 2)), jobcontrol.ErrLeaseLost)
	})
	w.unchanged("a repeated Finish", func() { mustFinish(w, got.claim("a"), ended(jobcontrol.Successful, 1)) })
	w.ok(w.s.Report(w.ctx, a.Claim, []jobcontrol.LogRecord{{Message: "cleaning", Phase: jobcontrol.PhaseCleanup}}, nil))
	_, err := w.s.SharedSet(w.ctx, a.Claim, "k", raw(1), -1)
	w.ok(err)
	e := ended(jobcontrol.Failed, 2)
	w.ok(w.s.Cleaned(w.ctx, a.Claim, e))
	stored := w.build(m, "a")
	w.equal("build", []any{jobcontrol.Successful, true, 2}, []any{stored.State, stored.Cleaned, stored.Attempts})
	w.unchanged("a repeated Cleaned", func() { w.ok(w.s.Cleaned(w.ctx, a.Claim, e)) })

	// The step of a dead worker, or one that was given back, is handed out again.
	first := w.step(other, "b")
	w.kill(2)
	w.unchanged("the claim of a dead worker", func() {
		w.refused(w.s.Cleaned(w.ctx, first.Claim, ended(jobcontrol.Successful, 2)), jobcontrol.ErrLeaseLost)
	})
	second := w.step(w.l, "b")
	w.ok(w.s.GiveBack(w.ctx, []jobcontrol.Claim{second.Claim}))
	l := w.register(3)
	w.step(l, "b")
	w.ok(w.s.Unregister(w.ctx, l))
	b := w.step(w.l, "b")
	w.equal("state", jobcontrol.RunCleaning, w.runOf(m).State)
	w.ok(w.s.Cleaned(w.ctx, b.Claim, ended(jobcontrol.Successful, 2)))
	run = w.runOf(m)
	w.equal("run", []any{jobcontrol.RunPartial, false}, []any{run.State, run.FinishedAt.IsZero()})
	w.unchanged("the last step, repeated", func() { w.ok(w.s.Cleaned(w.ctx, b.Claim, ended(jobcontrol.Successful, 2))) })
	w.step(w.l, "")
}

// testDetachedCleaningLone: the same for lone builds, by service, and without.
func testDetachedCleaningLone(w *world) {
	lone := w.free("a")
	got := w.takes(w.l, "a")
	w.ran(got, "a")
	w.equal("state", jobcontrol.RunCleaning, w.runOf(lone).State)
	open, err := w.s.ListRuns(w.ctx, jobcontrol.RunFilter{States: []jobcontrol.RunState{jobcontrol.RunCleaning}})
	w.ok(err)
	w.equal("cleaning runs", 1, len(open))
	other := w.register(2)
	w.step(other, "a")
	w.step(w.l, "")
	w.kill(2)
	a := w.step(w.l, "a")
	w.ok(w.s.Cleaned(w.ctx, a.Claim, ended(jobcontrol.Successful, 2)))
	w.equal("state", jobcontrol.RunSuccessful, w.runOf(lone).State)
	w.unchanged("repeated", func() {
		w.ok(w.s.Cleaned(w.ctx, a.Claim, ended(jobcontrol.Successful, 2)))
		mustFinish(w, got.claim("a"), ended(jobcontrol.Successful, 1))
	})

	// Each Run has its own order, and each step its service.
	n := w.detached("x", "y")
	n.Builds[1].Build.Service = "far"
	m := w.create(n)
	both := w.take(w.l, "default", "far")
	w.ran(both, "x", "y")
	w.free("z")
	w.ran(w.takes(w.l, "z"), "z")
	w.step(w.l, "z")
	w.step(w.l, "")
	y := w.step(w.l, "y", "default", "far")
	w.ok(w.s.Cleaned(w.ctx, y.Claim, ended(jobcontrol.Successful, 2)))
	x := w.step(w.l, "x")

	// A wish to cancel does not stop what cleans up.
	r, err := w.s.RequestCancel(w.ctx, m.ID)
	w.ok(err)
	w.equal("run", []any{jobcontrol.RunCleaning, true}, []any{r.State, r.Cancel})
	w.ok(w.s.Cleaned(w.ctx, x.Claim, ended(jobcontrol.Successful, 2)))
	w.equal("state", jobcontrol.RunSuccessful, w.runOf(m).State)

	// Without clean-up the Run ends at once; later a program may do it.
	for _, nodes := range [][]string{{"a", "b"}, {"a"}} {
		n := w.detached(nodes...)
		n.Run.NoCleanup = true
		m := w.create(n)
		got := w.take(w.l)
		w.ran(got, nodes...)
		w.equal("state", jobcontrol.RunSuccessful, w.runOf(m).State)
		w.step(w.l, "")
		r, builds, err := w.s.Adopt(w.ctx, m.ID, w.l)
		w.ok(err)
		w.equal("adopted", []any{jobcontrol.RunCleaning, w.l.Worker}, []any{r.State, r.Worker})
		w.step(w.l, "")
		for i := range builds {
			b := &builds[len(builds)-1-i]
			w.ok(w.s.Cleaned(w.ctx, b.Claim, ended(jobcontrol.Successful, 2)))
		}
		r, err = w.s.FinishRun(w.ctx, m.ID, w.l)
		w.ok(err)
		w.equal("state", jobcontrol.RunSuccessful, r.State)
	}

	// A build that is deleted has no step any more.
	m = w.free("a", "b")
	got = w.takes(w.l, "a b")
	w.ran(got, "a")
	mustFinish(w, got.claim("b"), ended(jobcontrol.Failed, 1))
	w.equal("state", jobcontrol.RunCleaning, w.runOf(m).State)
	_, err = w.s.DeleteBuild(w.ctx, m.id("a"))
	w.ok(err)
	w.step(w.l, "")
	w.equal("state", jobcontrol.RunFailed, w.runOf(m).State)
}
