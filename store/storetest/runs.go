package storetest

import (
	"fmt"
	"strings"

	"github.com/jobcontrol/jobcontrol"
)

func (w *world) runOf(m made) jobcontrol.Run {
	w.Helper()
	r, err := w.s.Run(w.ctx, m.ID)
	w.ok(err)
	return *r
}

// testRuns: the final state of a Run follows from its builds.
func testRuns(w *world) {
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
		m := w.run("a", "b")
		w.finish(m, "a", test.a)
		w.unchanged("an early FinishRun", func() {
			_, err := w.s.FinishRun(w.ctx, m.ID, w.l)
			w.refused(err, jobcontrol.ErrConflict)
		})
		w.finish(m, "b", test.b)
		w.equal("state", jobcontrol.RunRunning, w.runOf(m).State)
		r, err := w.s.FinishRun(w.ctx, m.ID, w.l)
		w.ok(err)
		w.equal("state", test.want, r.State)
		w.equal("stored run", *r, w.runOf(m))
		if r.FinishedAt.IsZero() {
			w.Fatal("it has no end")
		}
		w.unchanged("a repeated FinishRun", func() {
			again, err := w.s.FinishRun(w.ctx, m.ID, w.l)
			w.ok(err)
			w.equal("answer", r, again)
		})

		// A lone build's Run is as the build.
		lone := w.run("a")
		w.equal("state", jobcontrol.RunRunning, w.runOf(lone).State)
		w.finish(lone, "a", test.a)
		r, err = w.s.FinishRun(w.ctx, lone.ID, w.l)
		w.ok(err)
		w.equal("state", jobcontrol.Counts{test.a: 1}.Outcome(), r.State)
		w.equal("end", w.build(lone, "a").FinishedAt, r.FinishedAt)
		w.equal("stored run", *r, w.runOf(lone))
	}
	_, err := w.s.FinishRun(w.ctx, 1<<30, w.l)
	w.refused(err, jobcontrol.ErrNotFound)
}

// testListRuns: newest first, lone builds included, by project and state.
func testListRuns(w *world) {
	var ids []int64
	for i := range 130 {
		nodes := []string{"a"}
		if i%3 == 0 {
			nodes = append(nodes, "b<a", "c")
		}
		n := w.graph(nodes...)
		if i%10 == 0 {
			n.Run.Project = "p"
		}
		m := w.create(n)
		ids = append(ids, m.ID)
		if i%2 == 0 {
			w.finish(m, "a", jobcontrol.Failed)
			if i%3 == 0 {
				w.finish(m, "c", jobcontrol.Successful)
				if i%4 == 0 {
					_, err := w.s.FinishRun(w.ctx, m.ID, w.l)
					w.ok(err)
				}
			}
		}
	}
	list := func(f jobcontrol.RunFilter) []jobcontrol.Run {
		w.Helper()
		runs, err := w.s.ListRuns(w.ctx, f)
		w.ok(err)
		for i := range runs {
			if i > 0 && runs[i].ID >= runs[i-1].ID {
				w.Fatalf("run %d after run %d", runs[i].ID, runs[i-1].ID)
			}
			one, err := w.s.Run(w.ctx, runs[i].ID)
			w.ok(err)
			w.equal("listed run", *one, runs[i])
		}
		return runs
	}
	all := list(jobcontrol.RunFilter{Limit: -1})
	w.equal("all", 130, len(all))
	w.equal("newest", ids[129], all[0].ID)
	w.equal("default", 100, len(list(jobcontrol.RunFilter{})))
	w.equal("limit", 7, len(list(jobcontrol.RunFilter{Limit: 7})))
	w.equal("project", 13, len(list(jobcontrol.RunFilter{Project: "p", Limit: -1})))
	w.equal("no such project", 0, len(list(jobcontrol.RunFilter{Project: "q"})))
	for _, states := range [][]jobcontrol.RunState{
		{jobcontrol.RunRunning},
		{jobcontrol.RunFailed},
		{jobcontrol.RunPartial},
		{jobcontrol.RunPartial, jobcontrol.RunRunning},
		{jobcontrol.RunInterrupted, jobcontrol.RunCleaning},
		{},
	} {
		want := 0
		for _, r := range all {
			if len(states) == 0 || strings.Contains(fmt.Sprint(states), r.State.String()) {
				want++
			}
		}
		w.equal(fmt.Sprint(states), want, len(list(jobcontrol.RunFilter{States: states, Limit: -1})))
	}
	w.equal("limited", 3, len(list(jobcontrol.RunFilter{States: []jobcontrol.RunState{jobcontrol.RunRunning}, Limit: 3})))
}

// testCleaning: clean-up steps are due for what ran, last first, after the last build.
func testCleaning(w *world) {
	m := w.run("a", "b<a", "c", "d")
	for _, job := range []string{"c", "a"} {
		w.ok(w.s.MarkRan(w.ctx, m.claim(job), w.now()))
		w.finish(m, job, jobcontrol.Successful)
	}
	w.finish(m, "d", jobcontrol.Successful)
	w.unchanged("an early StartCleaning", func() {
		_, err := w.s.StartCleaning(w.ctx, m.ID, w.l)
		w.refused(err, jobcontrol.ErrConflict)
	})
	w.ok(w.s.MarkRan(w.ctx, m.claim("b"), w.now()))
	w.unchanged("an early Cleaned", func() {
		w.refused(w.s.Cleaned(w.ctx, m.claim("b"), ended(jobcontrol.Successful, 2)), jobcontrol.ErrConflict)
	})
	w.finish(m, "b", jobcontrol.Failed)
	w.unchanged("a report of a final build", func() {
		w.refused(w.s.Report(w.ctx, m.claim("b"), []jobcontrol.LogRecord{{Message: "late"}}, nil), jobcontrol.ErrConflict)
		w.refused(w.s.Cleaned(w.ctx, m.claim("b"), ended(jobcontrol.Successful, 2)), jobcontrol.ErrConflict)
	})
	builds, err := w.s.StartCleaning(w.ctx, m.ID, w.l)
	w.ok(err)
	w.equal("to clean up", "b a c", jobs(builds))
	w.equal("state", jobcontrol.RunCleaning, w.runOf(m).State)
	w.equal("build", w.build(m, "b"), builds[0])
	w.unchanged("a repeated StartCleaning", func() {
		again, err := w.s.StartCleaning(w.ctx, m.ID, w.l)
		w.ok(err)
		w.equal("answer", builds, again)
	})

	// What a step reports belongs to the build; so does how it ended.
	w.ok(w.s.Report(w.ctx, m.claim("b"), []jobcontrol.LogRecord{{Message: "cleaning", Phase: jobcontrol.PhaseCleanup}}, nil))
	_, err = w.s.SharedSet(w.ctx, m.claim("b"), "k", raw(1), -1)
	w.ok(err)
	e := ended(jobcontrol.Failed, 2)
	e.Logs = []jobcontrol.LogRecord{{Message: "cleaned"}}
	w.ok(w.s.Cleaned(w.ctx, m.claim("b"), e))
	b := w.build(m, "b")
	w.equal("state", jobcontrol.Failed, b.State)
	w.equal("cleaned", true, b.Cleaned)
	w.equal("attempts, tries", []int{2, 1}, []int{b.Attempts, b.TriesUsed})
	w.equal("log", 2, len(w.logs(b.ID, jobcontrol.LogFilter{})))
	w.unchanged("a repeated Cleaned", func() { w.ok(w.s.Cleaned(w.ctx, m.claim("b"), e)) })
	w.unchanged("a second Cleaned", func() {
		w.refused(w.s.Cleaned(w.ctx, m.claim("b"), ended(jobcontrol.Successful, 3)), jobcontrol.ErrConflict)
		w.refused(w.s.Cleaned(w.ctx, m.claim("d"), ended(jobcontrol.Successful, 2)), jobcontrol.ErrConflict)
		w.refused(w.s.Report(w.ctx, m.claim("b"), []jobcontrol.LogRecord{{Message: "late"}}, nil), jobcontrol.ErrConflict)
	})
	builds, err = w.s.StartCleaning(w.ctx, m.ID, w.l)
	w.ok(err)
	w.equal("left", "a c", jobs(builds))
	r, err := w.s.FinishRun(w.ctx, m.ID, w.l)
	w.ok(err)
	w.equal("state", jobcontrol.RunPartial, r.State)
	_, err = w.s.StartCleaning(w.ctx, m.ID, w.l)
	w.refused(err, jobcontrol.ErrConflict)
}

// testCleaningLone: a lone build is cleaned up as a Run is.
func testCleaningLone(w *world) {
	m := w.run("a")
	w.ok(w.s.MarkRan(w.ctx, m.claim("a"), w.now()))
	w.finish(m, "a", jobcontrol.Successful)
	builds, err := w.s.StartCleaning(w.ctx, m.ID, w.l)
	w.ok(err)
	w.equal("to clean up", "a", jobs(builds))
	r := w.runOf(m)
	w.equal("state", jobcontrol.RunCleaning, r.State)
	w.equal("no end yet", true, r.FinishedAt.IsZero())
	w.ok(w.s.Cleaned(w.ctx, m.claim("a"), ended(jobcontrol.Successful, 2)))
	done, err := w.s.FinishRun(w.ctx, m.ID, w.l)
	w.ok(err)
	w.equal("state", jobcontrol.RunSuccessful, done.State)

	m = w.run("a")
	w.finish(m, "a", jobcontrol.Failed)
	builds, err = w.s.StartCleaning(w.ctx, m.ID, w.l)
	w.ok(err)
	w.equal("nothing ran", 0, len(builds))
	done, err = w.s.FinishRun(w.ctx, m.ID, w.l)
	w.ok(err)
	w.equal("state", jobcontrol.RunFailed, done.State)
}

// testRequestCancel: whoever runs a Run in the foreground is told; else it is done.
func testRequestCancel(w *world) {
	for _, nodes := range [][]string{{"a", "b<a"}, {"a"}} {
		m := w.run(nodes...)
		cancel, err := w.s.CancelRequested(w.ctx, m.ID)
		w.ok(err)
		w.equal("requested", false, cancel)
		before := w.build(m, "a")
		r, err := w.s.RequestCancel(w.ctx, m.ID)
		w.ok(err)
		w.equal("run", []any{true, jobcontrol.RunRunning}, []any{r.Cancel, r.State})
		w.equal("build", before, w.build(m, "a"))
		cancel, err = w.s.CancelRequested(w.ctx, m.ID)
		w.ok(err)
		w.equal("requested", true, cancel)
		w.unchanged("a repeated RequestCancel", func() {
			again, err := w.s.RequestCancel(w.ctx, m.ID)
			w.ok(err)
			w.equal("answer", r, again)
		})
		w.ok(w.s.Cancel(w.ctx, []jobcontrol.Claim{m.claim("a")}, "requested"))
		_, err = w.s.FinishRun(w.ctx, m.ID, w.l)
		w.ok(err)
		w.unchanged("RequestCancel of a final run", func() {
			_, err = w.s.RequestCancel(w.ctx, m.ID)
			w.refused(err, jobcontrol.ErrConflict)
		})

		// Of a Run that nobody runs.
		n := w.graph(nodes...)
		n.Lease = nil
		m = w.create(n)
		r, err = w.s.RequestCancel(w.ctx, m.ID)
		w.ok(err)
		w.equal("state", jobcontrol.RunCancelled, r.State)
		w.equal("build", jobcontrol.Cancelled, w.build(m, "a").State)
		w.equal("kind", jobcontrol.FailCancel, w.build(m, "a").Failure.Kind)
		_, err = w.s.RequestCancel(w.ctx, m.ID)
		w.refused(err, jobcontrol.ErrConflict)
	}

	// Of an interrupted Run.
	other := w.register(2)
	n := w.graph("a", "b", "c<b")
	n.Lease = &other
	m := w.create(n)
	mustFinish(w, m.claim("a"), ended(jobcontrol.Successful, 1))
	w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{m.claim("b")}, nil))
	w.kill(2)
	r, err := w.s.RequestCancel(w.ctx, m.ID)
	w.ok(err)
	w.equal("state", jobcontrol.RunCancelled, r.State)
	w.states(m, "a=successful b=cancelled c=cancelled")
	for _, id := range []int64{1 << 30, m.id("b")} {
		_, err = w.s.RequestCancel(w.ctx, id)
		w.refused(err, jobcontrol.ErrNotFound)
		_, err = w.s.CancelRequested(w.ctx, id)
		w.refused(err, jobcontrol.ErrNotFound)
	}
}
