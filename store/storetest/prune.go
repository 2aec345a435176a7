package storetest

import (
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// old is a past in the making: its builds end now, and are removed later, or
// kept, as it says.
type old struct {
	*world
	last    time.Time // when the last one ended
	removed []int64
	kept    []int64
}

// end ends a build now.
func (o *old) end(m made, job string, state jobcontrol.State, change func(e *jobcontrol.Ended)) {
	o.Helper()
	e := ended(state, 1)
	o.last = o.now()
	e.Attempt.StartedAt, e.Attempt.FinishedAt = o.last, o.last
	if change != nil {
		change(&e)
	}
	mustFinish(o.world, m.claim(job), e)
}

// lone makes a lone build that ends now.
func (o *old) lone(job string, state jobcontrol.State, change func(e *jobcontrol.Ended)) int64 {
	o.Helper()
	m := o.run(job)
	o.end(m, job, state, change)
	if _, err := o.s.FinishRun(o.ctx, m.ID, o.l); err != nil {
		o.Fatal(err)
	}
	return m.ID
}

func (o *old) goes(ids ...int64)  { o.removed = append(o.removed, ids...) }
func (o *old) stays(ids ...int64) { o.kept = append(o.kept, ids...) }

// cut returns a time after all that ended so far.
func (o *old) cut() time.Time {
	at := o.now()
	for !at.After(o.last) {
		at = o.now()
	}
	return at
}

// prune calls Prune until there is no more, and returns the sums.
func (w *world) prune(before time.Time, n int) jobcontrol.Pruned {
	w.Helper()
	r, ok := w.s.(jobcontrol.Retention)
	if !ok {
		w.Fatal("the store cannot remove what is old")
	}
	var sum jobcontrol.Pruned
	for range 1000 {
		p, err := r.Prune(w.ctx, before, n)
		w.ok(err)
		if len(p.OnDelete) > n {
			w.Fatalf("%d builds with on_delete, at most %d were wanted", len(p.OnDelete), n)
		}
		sum.Builds, sum.Runs = sum.Builds+p.Builds, sum.Runs+p.Runs
		sum.OnDelete = p.OnDelete
		if !p.More {
			return sum
		}
	}
	w.Fatal("there is always more to remove")
	return sum
}

// testPrune: what ended before a time goes with all that is its own, but what is
// still needed.
func testPrune(w *world) {
	s, f := jobcontrol.Successful, jobcontrol.Failed
	o := &old{world: w}

	// Of a job the latest of all, the latest that finished, that was successful
	// and that changed something are kept.
	full := w.run("a")
	c := full.claim("a")
	w.ok(w.s.Report(w.ctx, c, []jobcontrol.LogRecord{{Message: "line"}}, []jobcontrol.Progress{{Status: "s"}}))
	_, err := w.s.SharedSet(w.ctx, c, "k", raw(1), -1)
	w.ok(err)
	_, err = w.s.Retry(w.ctx, c, ended(f, 1))
	w.ok(err)
	o.end(full, "a", s, func(e *jobcontrol.Ended) { e.Attempt.Number = 2 })
	_, err = w.s.FinishRun(w.ctx, full.ID, w.l)
	w.ok(err)
	unchanged := func(e *jobcontrol.Ended) { e.Changed = false }
	o.goes(full.ID, o.lone("a", f, nil))
	o.stays(o.lone("a", s, nil))
	o.goes(o.lone("a", s, unchanged))
	o.stays(o.lone("a", s, unchanged))
	o.goes(o.lone("a", f, nil))
	o.stays(o.lone("a", f, nil))
	o.goes(o.lone("a", jobcontrol.Cancelled, nil))
	o.stays(o.lone("a", jobcontrol.Cancelled, nil))

	// Runs: one goes as a whole, one in part, one is not final.
	whole := w.run("x", "y<x")
	part := w.run("x", "z<x")
	open := w.run("x", "later<x")
	for _, m := range []made{whole, part} {
		for _, b := range m.builds {
			o.end(m, b.Job, s, nil)
		}
		_, err := w.s.FinishRun(w.ctx, m.ID, w.l)
		w.ok(err)
	}
	o.end(open, "x", s, nil)
	o.stays(o.lone("x", s, nil), o.lone("y", s, nil))
	o.goes(whole.id("x"), whole.id("y"), part.id("x"))
	o.stays(part.id("z"), open.id("x"), open.id("later"))

	// What an unfinished build is pinned to.
	pinned := o.lone("p", s, nil)
	o.goes(o.lone("p", s, nil))
	n := w.graph("q", "r")
	n.Builds[0].Build.Pins = map[string]int64{"p": pinned}
	o.stays(pinned, o.lone("p", s, nil), w.create(n).id("q"))

	// A result that stands for a build that is kept.
	result := func(v string) func(e *jobcontrol.Ended) { return func(e *jobcontrol.Ended) { e.Result = raw(v) } }
	o.goes(o.lone("r", s, result("first")))
	standing := o.lone("r", s, result("second"))
	o.goes(o.lone("r", s, unchanged))
	o.stays(standing)

	// Builds of jobs with on_delete are named, not removed.
	n = w.graph("d")
	n.Builds[0] = w.newBuild(&jobcontrol.Job{ID: "d", Run: &jobcontrol.Task{Shell: "true"}, OnDelete: "some:function"})
	var named []int64
	for range 3 {
		m := w.create(n)
		o.end(m, "d", s, nil)
		_, err := w.s.FinishRun(w.ctx, m.ID, w.l)
		w.ok(err)
		named = append(named, m.ID)
	}
	o.stays(named...)
	named = named[:2]

	before := o.cut()
	o.stays(o.lone("r", s, unchanged), o.lone("r", s, result("third")))
	o.stays(o.lone("young", f, nil), o.lone("young", f, nil))
	heads, err := w.s.Heads(w.ctx, "", nil)
	w.ok(err)

	w.unchanged("Prune before any time", func() { w.equal("pruned", jobcontrol.Pruned{}, w.prune(time.Time{}, 3)) })
	w.unchanged("Prune of none", func() {
		p, err := w.s.(jobcontrol.Retention).Prune(w.ctx, before, 0)
		w.ok(err)
		w.equal("what would be pruned", &jobcontrol.Pruned{Builds: len(o.removed), OnDelete: named}, p)
	})
	got := w.prune(before, 3)
	w.equal("pruned", jobcontrol.Pruned{Builds: len(o.removed), Runs: 1, OnDelete: named}, got)
	for _, id := range o.removed {
		w.gone(id)
	}
	for _, id := range o.kept {
		_, err := w.s.Build(w.ctx, id)
		w.ok(err)
	}
	left, err := w.s.ListBuilds(w.ctx, jobcontrol.BuildFilter{Limit: -1})
	w.ok(err)
	w.equal("builds left", len(o.kept)+1, len(left)) // and "r" beside "q"
	after, err := w.s.Heads(w.ctx, "", nil)
	w.ok(err)
	w.equal("heads", heads, after)
	_, err = w.s.Run(w.ctx, whole.ID)
	w.refused(err, jobcontrol.ErrNotFound)
	w.equal("counts", jobcontrol.Counts{s: 1}, w.runOf(part).Counts)
	w.equal("counts", jobcontrol.Counts{s: 1, jobcontrol.Queued: 1}, w.runOf(open).Counts)
	keys, err := w.s.SharedKeys(w.ctx, full.ID)
	w.ok(err)
	w.equal("shared values", 0, len(keys))

	w.unchanged("a repeated Prune", func() {
		w.equal("pruned", jobcontrol.Pruned{OnDelete: named[:1]}, w.prune(before, 1))
	})
	for _, id := range named {
		_, err := w.s.DeleteBuild(w.ctx, id)
		w.ok(err)
	}
	w.unchanged("Prune without anything old", func() { w.equal("pruned", jobcontrol.Pruned{}, w.prune(before, 1)) })

	// What is not needed any more goes the next time.
	w.finish(open, "later", s)
	_, err = w.s.FinishRun(w.ctx, open.ID, w.l)
	w.ok(err)
	w.equal("pruned", jobcontrol.Pruned{Builds: 1}, w.prune(before, 10))
	w.gone(open.id("x"))
}

// gone fails the test unless a build and what belongs to it are no more.
func (w *world) gone(id int64) {
	w.Helper()
	_, err := w.s.Build(w.ctx, id)
	w.refused(err, jobcontrol.ErrNotFound)
	_, err = w.s.Attempts(w.ctx, id)
	w.refused(err, jobcontrol.ErrNotFound)
	_, err = w.s.Progress(w.ctx, id)
	w.refused(err, jobcontrol.ErrNotFound)
	w.refused(w.s.Log(w.ctx, id, jobcontrol.LogFilter{}, func(jobcontrol.LogRecord) bool { return true }), jobcontrol.ErrNotFound)
}
