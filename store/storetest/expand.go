package storetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// expansion is the end of an attempt that found the items, of a build of job.
func (w *world) expansion(number int, job string, items ...string) jobcontrol.Ended {
	w.Helper()
	e := ended(jobcontrol.Waiting, number)
	e.Attempt.Phases = []jobcontrol.PhaseResult{{Phase: jobcontrol.PhaseExpand, Passed: true, Duration: time.Second}}
	e.Expansion = &jobcontrol.Expansion{}
	for _, key := range items {
		n := w.newBuild(&jobcontrol.Job{ID: job, Run: &jobcontrol.Task{Shell: "true"}, Cleanup: &jobcontrol.Task{Shell: "true"}})
		n.Build.Job = jobcontrol.ItemJob(job, key)
		n.Build.Kwargs = raw(map[string]string{"item": key})
		n.Build.Pins = map[string]int64{"before": 7}
		n.Build.Why = "an item"
		e.Expansion.Builds = append(e.Expansion.Builds, n)
	}
	return e
}

func (w *world) expand(c jobcontrol.Claim, e jobcontrol.Ended) *jobcontrol.Expanded {
	w.Helper()
	x, err := w.s.Expand(w.ctx, c, e)
	w.ok(err)
	return x
}

// expanded makes a Run "a", "j<a", "z<j" whose build j was expanded to items.
func (w *world) expanded(items ...string) made {
	w.Helper()
	m := w.run("a", "j<a", "z<j")
	w.finish(m, "a", jobcontrol.Successful)
	m.builds = append(m.builds, w.expand(m.claim("j"), w.expansion(1, "j", items...)).Children...)
	return m
}

// wholes is graph whose job j has items.
func (w *world) wholes(nodes ...string) jobcontrol.NewRun {
	w.Helper()
	n := w.graph(nodes...)
	for i := range n.Builds {
		b := &n.Builds[i]
		if b.Build.Job != "j" {
			continue
		}
		var job jobcontrol.Job
		w.ok(json.Unmarshal(b.Definition, &job))
		job.ForEach = &jobcontrol.ForEach{Items: []any{}}
		var err error
		b.Definition, b.Hash, err = job.Definition()
		w.ok(err)
	}
	return n
}

// testExpand: an expanded build waits for those of its items, which are like it
// and of its Run, and is due again when the last one is final.
func testExpand(w *world) {
	n := w.wholes("a", "j<a", "z<j")
	n.Builds[1].Build.Service, n.Builds[1].Build.Priority = "s", 3
	m := w.create(n)
	w.finish(m, "a", jobcontrol.Successful)
	w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{m.claim("j")}, nil))
	e := w.expansion(1, "j", "x", "y/", "w")
	e.Logs = []jobcontrol.LogRecord{{Time: e.Attempt.FinishedAt, Message: "three items"}}
	x := w.expand(m.claim("j"), e)
	w.equal("children", "j[x] j[y/] j[w]", jobs(x.Children))
	w.equal("stored build", *x.Build, w.build(m, "j"))
	j := x.Build
	w.equal("build", []any{jobcontrol.Waiting, 3, 1, 0, m.claim("j"), 0}, []any{j.State, j.DepsLeft, j.Attempts, j.TriesUsed, j.Claim, j.Lost})
	pins := map[string]int64{"a": m.id("a")}
	for i := range x.Children {
		b := &x.Children[i]
		pins[b.Job] = b.ID
		stored, err := w.s.Build(w.ctx, b.ID)
		w.ok(err)
		w.equal("stored child", *stored, *b)
		if b.Claim.Number <= 0 || b.Claim.Build != b.ID || b.Claim.Worker != w.l.Worker || b.Claim.Epoch != w.l.Epoch {
			w.Fatalf("the child has the claim %+v", b.Claim)
		}
		want := jobcontrol.Build{
			ID: b.ID, Run: m.ID, Job: b.Job, Definition: e.Expansion.Builds[i].Hash, Kwargs: e.Expansion.Builds[i].Build.Kwargs,
			State: jobcontrol.Queued, Service: "s", Priority: 3, Phase: j.Phase, Place: j.Place, Tries: 3, RetryDelay: time.Second,
			CreatedAt: b.CreatedAt, Pins: map[string]int64{"before": 7}, Dependants: []int64{-j.ID}, Why: "an item", Claim: b.Claim,
		}
		w.equal("child", want, *b)
		w.equal("item of", j.ID, b.ItemOf())
	}
	w.equal("pins", pins, j.Pins)
	attempts, err := w.s.Attempts(w.ctx, j.ID)
	w.ok(err)
	w.equal("attempts", 1, len(attempts))
	w.equal("log", "three items", w.logs(j.ID, jobcontrol.LogFilter{})[0].Message)
	w.equal("counts", jobcontrol.Counts{jobcontrol.Successful: 1, jobcontrol.Waiting: 2, jobcontrol.Queued: 3}, w.runOf(m).Counts)
	w.states(m, "a=successful j=waiting z=waiting j[x]=queued j[y/]=queued j[w]=queued")
	w.equal("head", 1, w.head("j[x]").Unfinished)
	w.unchanged("a repeated Expand", func() { w.equal("answer", x, w.expand(m.claim("j"), e)) })
	w.unchanged("a second Expand", func() {
		_, err := w.s.Expand(w.ctx, m.claim("j"), w.expansion(2, "j", "v"))
		w.refused(err, jobcontrol.ErrConflict)
	})

	m.builds = append(m.builds, x.Children...)
	w.ok(w.s.MarkRan(w.ctx, m.claim("j[y/]"), w.now()))
	w.equal("released", "", released(w.finish(m, "j[x]", jobcontrol.Successful)))
	w.equal("released", "", released(w.finish(m, "j[w]", jobcontrol.Skipped)))
	f := w.finish(m, "j[y/]", jobcontrol.Failed)
	w.equal("released", "j", released(f))
	w.equal("pins of what was released", pins, f.Ready[0].Pins)
	w.unchanged("a repeated Finish", func() { w.equal("answer", f, w.finish(m, "j[y/]", jobcontrol.Failed)) })
	w.unchanged("a second Expand", func() {
		_, err := w.s.Expand(w.ctx, m.claim("j"), w.expansion(2, "j", "v"))
		w.refused(err, jobcontrol.ErrConflict)
	})
	w.unchanged("a repeated Expand", func() {
		again := w.expand(m.claim("j"), e)
		w.equal("children", "j[x] j[y/] j[w]", jobs(again.Children))
	})
	r, err := w.s.Finish(w.ctx, m.claim("j"), ended(jobcontrol.Successful, 2))
	w.ok(err)
	w.equal("released", "z", released(r))
	w.equal("pins of the job", map[string]int64{"a": m.id("a")}, w.head("j").GoodPins)
	w.finish(m, "z", jobcontrol.Successful)
	due, err := w.s.StartCleaning(w.ctx, m.ID, w.l)
	w.ok(err)
	w.equal("to clean up", "j[y/]", jobs(due))
	w.ok(w.s.Cleaned(w.ctx, m.claim("j[y/]"), ended(jobcontrol.Successful, 2)))
	run, err := w.s.FinishRun(w.ctx, m.ID, w.l)
	w.ok(err)
	w.equal("run", []any{jobcontrol.RunPartial, jobcontrol.Counts{jobcontrol.Successful: 4, jobcontrol.Skipped: 1, jobcontrol.Failed: 1}}, []any{run.State, run.Counts})

	// Nor is anything left when all of it is deleted.
	for _, b := range m.builds {
		_, err := w.s.DeleteBuild(w.ctx, b.ID)
		w.ok(err)
	}
	_, err = w.s.Run(w.ctx, m.ID)
	w.refused(err, jobcontrol.ErrNotFound)
	_, err = w.s.Expand(w.ctx, m.claim("j"), ended(jobcontrol.Waiting, 1))
	w.refused(err, jobcontrol.ErrInvalid)
}

// testExpandNone: without new builds the build is due at once, and has the pins
// that were taken for its items.
func testExpandNone(w *world) {
	for _, lease := range []*jobcontrol.Lease{&w.l, nil} {
		n := w.wholes("j")
		n.Grows, n.Lease = true, lease
		m := w.create(n)
		w.equal("lone", false, m.Lone)
		w.equal("run", m.ID, m.of("j").Run)
		if lease == nil {
			m.builds = w.takes(w.l, "j").builds
		}
		e := w.expansion(1, "j")
		e.Expansion.Pins = map[string]int64{"j[x]": 12}
		x := w.expand(m.claim("j"), e)
		w.equal("build", []any{jobcontrol.Queued, 0, map[string]int64{"j[x]": 12}}, []any{x.Build.State, x.Build.DepsLeft, x.Build.Pins})
		w.equal("children", 0, len(x.Children))
		w.unchanged("a repeated Expand", func() { w.equal("answer", x, w.expand(m.claim("j"), e)) })
		if lease == nil {
			m.builds = w.takes(w.l, "j").builds
			w.equal("pins", map[string]int64{"j[x]": 12}, m.of("j").Pins)
		}
		mustFinish(w, m.claim("j"), ended(jobcontrol.Successful, 2))
		w.equal("pins", map[string]int64{"j[x]": 12}, w.build(m, "j").Pins)
		w.equal("pins of the job", 0, len(w.head("j").GoodPins))
	}
	// A lone build has no Run that could grow.
	m := w.run("j")
	w.unchanged("a lone build", func() {
		_, err := w.s.Expand(w.ctx, m.claim("j"), w.expansion(1, "j", "x"))
		w.refused(err, jobcontrol.ErrConflict)
	})
}

// testExpandEnds: whatever becomes of the last item, its parent is due.
func testExpandEnds(w *world) {
	for _, state := range []jobcontrol.State{jobcontrol.Successful, jobcontrol.Skipped, jobcontrol.Failed, jobcontrol.Cancelled} {
		m := w.expanded("x", "y")
		w.equal("released", "", released(w.finish(m, "j[y]", jobcontrol.Failed)))
		w.equal("released", "j", released(w.finish(m, "j[x]", state)))
		w.states(m, fmt.Sprintf("a=successful j=queued z=waiting j[x]=%s j[y]=failed", state))
	}
	// Skipped items are no reason to use an older build of theirs.
	m := w.expanded("x")
	r := w.finish(m, "j[x]", jobcontrol.Skipped)
	w.equal("pin", m.id("j[x]"), r.Ready[0].Pins["j[x]"])

	// By Cancel, of all items at once.
	m = w.expanded("x", "y", "z")
	w.ok(w.s.Cancel(w.ctx, []jobcontrol.Claim{m.claim("j[x]"), m.claim("j[z]"), m.claim("j[y]")}, "enough"))
	w.states(m, "a=successful j=queued z=waiting j[x]=cancelled j[y]=cancelled j[z]=cancelled")
	// With their parent.
	m = w.expanded("x", "y")
	w.ok(w.s.Cancel(w.ctx, []jobcontrol.Claim{m.claim("j"), m.claim("j[x]"), m.claim("j[y]")}, "enough"))
	w.states(m, "a=successful j=cancelled z=blocked j[x]=cancelled j[y]=cancelled")
	// An item that goes on does its parent nothing.
	m = w.expanded("x")
	w.ok(w.s.Cancel(w.ctx, []jobcontrol.Claim{m.claim("j")}, "enough"))
	w.equal("released", "", released(w.finish(m, "j[x]", jobcontrol.Successful)))
	w.states(m, "a=successful j=cancelled z=blocked j[x]=successful")

	// An item that is lost for good.
	zombie := w.register(20)
	n := w.wholes("j")
	n.Grows, n.Lease = true, &zombie
	m = w.create(n)
	e := w.expansion(1, "j")
	lost := w.newBuild(&jobcontrol.Job{ID: "j", OnLost: "fail", Run: &jobcontrol.Task{Shell: "true"}})
	lost.Build.Job = "j[x]"
	e.Expansion.Builds = []jobcontrol.NewBuild{lost}
	m.builds = append(m.builds, w.expand(m.claim("j"), e).Children...)
	w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{m.claim("j[x]")}, nil))
	w.equal("interrupted", 1, len(w.kill(20)))
	w.states(m, "j=queued j[x]=failed")
}

// testExpandAdopt: the program dies between the expansion and the end; another
// goes on with what is left.
func testExpandAdopt(w *world) {
	zombie := w.register(21)
	n := w.wholes("j", "z<j")
	n.Lease = &zombie
	m := w.create(n)
	e := w.expansion(1, "j", "x", "y")
	m.builds = append(m.builds, w.expand(m.claim("j"), e).Children...)
	w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{m.claim("j[x]")}, nil))
	w.finish(m, "j[y]", jobcontrol.Successful)
	found := w.kill(21)
	w.equal("interrupted", []int64{m.id("j[x]")}, found[0].Builds)
	w.unchanged("the dead worker's Expand", func() {
		_, err := w.s.Expand(w.ctx, m.claim("j"), e)
		w.refused(err, jobcontrol.ErrLeaseLost)
	})
	_, builds, err := w.s.Adopt(w.ctx, m.ID, w.l)
	w.ok(err)
	again := made{m.Run, builds}
	w.equal("builds", "j=waiting z=waiting j[x]=queued j[y]=successful", strings.Join(func() (out []string) {
		for _, job := range []string{"j", "z", "j[x]", "j[y]"} {
			out = append(out, job+"="+again.of(job).State.String())
		}
		return out
	}(), " "))
	numbers := map[int64]bool{}
	for _, job := range []string{"j", "z", "j[x]"} {
		numbers[again.claim(job).Number] = true
		w.equal("worker", w.l.Worker, again.claim(job).Worker)
	}
	w.equal("claims", 3, len(numbers))
	w.equal("place", again.of("j").Place, again.of("j[x]").Place)
	r, err := w.s.Finish(w.ctx, again.claim("j[x]"), ended(jobcontrol.Failed, 2))
	w.ok(err)
	w.equal("released", "j", released(r))
	_, err = w.s.Finish(w.ctx, again.claim("j"), ended(jobcontrol.Failed, 2))
	w.ok(err)
	w.states(m, "j=failed z=blocked j[x]=failed j[y]=successful")
	_, err = w.s.StartCleaning(w.ctx, m.ID, w.l)
	w.ok(err)
	run, err := w.s.FinishRun(w.ctx, m.ID, w.l)
	w.ok(err)
	w.equal("counts", jobcontrol.Counts{jobcontrol.Successful: 1, jobcontrol.Failed: 2, jobcontrol.Blocked: 1}, run.Counts)
}

// testExpandDetached: the items of a detached build go to any worker, and so does
// what is left of the build; the Run ends with the last of them.
func testExpandDetached(w *world) {
	other := w.register(22)
	n := w.detached("j", "z<j")
	n.Builds[0].Build.Service, n.Builds[0].Build.Priority = "s", 2
	m := w.create(n)
	got := w.takes(w.l, "j", "s")
	e := w.expansion(1, "j", "x", "y")
	e.Expansion.Builds[0].Build.Key = "key"
	x := w.expand(got.claim("j"), e)
	w.equal("build", []any{jobcontrol.Waiting, 2, jobcontrol.Claim{}}, []any{x.Build.State, x.Build.DepsLeft, x.Build.Claim})
	w.equal("claim of a child", jobcontrol.Claim{}, x.Children[0].Claim)
	w.unchanged("a repeated Expand", func() { w.equal("answer", x, w.expand(got.claim("j"), e)) })
	w.unchanged("the old claim", func() {
		_, err := w.s.Finish(w.ctx, got.claim("j"), ended(jobcontrol.Successful, 2))
		w.refused(err, jobcontrol.ErrLeaseLost)
	})
	children := w.takes(other, "j[x] j[y]", "s")
	b := children.of("j[x]")
	w.equal("child", []any{"s", 2, "key", map[string]int64{"before": 7}, string(raw(map[string]string{"item": "x"}))},
		[]any{b.Service, b.Priority, b.Key, b.Pins, string(b.Kwargs)})
	w.takes(w.l, "", "s")
	w.ok(w.s.MarkRan(w.ctx, children.claim("j[y]"), time.Time{}))
	mustFinish(w, children.claim("j[x]"), ended(jobcontrol.Successful, 1))
	f := ended(jobcontrol.Failed, 1)
	r := mustFinish(w, children.claim("j[y]"), f)
	w.equal("released", "j", released(r))
	w.unchanged("a repeated Finish", func() { w.equal("answer", r, mustFinish(w, children.claim("j[y]"), f)) })
	again := w.takes(w.l, "j", "s")
	want := map[string]int64{"j[x]": b.ID, "j[y]": children.id("j[y]")}
	w.equal("pins", want, again.of("j").Pins)
	w.unchanged("the first claim", func() {
		x, err := w.s.Expand(w.ctx, got.claim("j"), e)
		w.ok(err)
		w.equal("children", "j[x] j[y]", jobs(x.Children))
	})
	w.unchanged("a second Expand", func() {
		stale := again.claim("j")
		_, err := w.s.Expand(w.ctx, stale, w.expansion(2, "j", "v"))
		w.refused(err, jobcontrol.ErrConflict)
		stale.Number++
		_, err = w.s.Expand(w.ctx, stale, w.expansion(2, "j", "v"))
		w.refused(err, jobcontrol.ErrLeaseLost)
	})
	w.equal("state", jobcontrol.RunRunning, w.runOf(m).State)
	w.equal("released", "z", released(mustFinish(w, again.claim("j"), ended(jobcontrol.Successful, 2))))
	mustFinish(w, w.takes(w.l, "z").claim("z"), ended(jobcontrol.Successful, 1))
	w.equal("state", jobcontrol.RunCleaning, w.runOf(m).State)
	step := w.step(w.l, "j[y]", "s")
	w.ok(w.s.Cleaned(w.ctx, step.Claim, ended(jobcontrol.Successful, 2)))
	run := w.runOf(m)
	w.equal("run", []any{jobcontrol.RunPartial, jobcontrol.Counts{jobcontrol.Successful: 3, jobcontrol.Failed: 1}}, []any{run.State, run.Counts})
}

// testExpandStops: what was asked of the worker of a build is carried out instead
// of expanding it; a cancelled Run cancels items, too, and one item alone may be.
func testExpandStops(w *world) {
	claimed := func() (m, got made) {
		m = w.free("j", "z<j")
		return m, w.takes(w.l, "j")
	}
	m, got := claimed()
	_, err := w.s.RequestCancel(w.ctx, m.ID)
	w.ok(err)
	x := w.expand(got.claim("j"), w.expansion(1, "j", "x"))
	w.equal("children", 0, len(x.Children))
	w.states(m, "j=cancelled z=cancelled")
	w.equal("state", jobcontrol.RunCancelled, w.runOf(m).State)

	m, got = claimed()
	_, err = w.s.Steer(w.ctx, m.id("j"), jobcontrol.ToSuspend)
	w.ok(err)
	x = w.expand(got.claim("j"), w.expansion(1, "j", "x"))
	w.equal("children", 0, len(x.Children))
	w.states(m, "j=suspended z=waiting")
	_, err = w.s.Steer(w.ctx, m.id("j"), jobcontrol.ToResume)
	w.ok(err)
	got = w.takes(w.l, "j")
	w.expand(got.claim("j"), w.expansion(2, "j", "x", "y"))
	w.states(m, "j=waiting z=waiting j[x]=queued j[y]=queued")

	// Held while it waits, it stays so.
	_, err = w.s.Steer(w.ctx, m.id("j"), jobcontrol.ToHold)
	w.ok(err)
	children := w.takes(w.l, "j[x] j[y]")
	w.ok(w.s.GiveBack(w.ctx, []jobcontrol.Claim{children.claim("j[y]")}))
	mustFinish(w, children.claim("j[x]"), ended(jobcontrol.Successful, 1))
	_, err = w.s.Steer(w.ctx, children.id("j[y]"), jobcontrol.ToCancel)
	w.ok(err)
	w.states(m, "j=held z=waiting j[x]=successful j[y]=cancelled")
	_, err = w.s.Steer(w.ctx, m.id("j"), jobcontrol.ToRelease)
	w.ok(err)
	mustFinish(w, w.takes(w.l, "j").claim("j"), ended(jobcontrol.Failed, 3))
	w.states(m, "j=failed z=blocked j[x]=successful j[y]=cancelled")
	w.equal("state", jobcontrol.RunCancelled, w.runOf(m).State)

	// The Run: what is claimed is told to stop, the rest is cancelled.
	m, got = claimed()
	w.expand(got.claim("j"), w.expansion(1, "j", "x", "y"))
	one := w.ask(w.l, want(1)).Builds[0]
	_, err = w.s.RequestCancel(w.ctx, m.ID)
	w.ok(err)
	w.states(m, "j=cancelled z=cancelled j[x]=queued j[y]=cancelled")
	w.equal("stopping", jobcontrol.ToCancel, w.requestOf(one.ID))
	w.equal("released", "", released(mustFinish(w, one.Claim, ended(jobcontrol.Cancelled, 1))))
	w.equal("state", jobcontrol.RunCancelled, w.runOf(m).State)

	// Rescue: the claim of an item ends with its worker, and its build goes on elsewhere.
	zombie := w.register(23)
	m, got = claimed()
	w.expand(got.claim("j"), w.expansion(1, "j", "x"))
	lost := w.takes(zombie, "j[x]")
	w.kill(23)
	w.unchanged("the dead worker", func() {
		_, err := w.s.Finish(w.ctx, lost.claim("j[x]"), ended(jobcontrol.Successful, 1))
		w.refused(err, jobcontrol.ErrLeaseLost)
	})
	w.ends(w.l, nil)
	w.states(m, "j=successful z=successful j[x]=successful")
}

func (w *world) requestOf(build int64) jobcontrol.Transition {
	w.Helper()
	b, err := w.s.Build(w.ctx, build)
	w.ok(err)
	return b.Stopping
}

// testExpandMany: as many items as there may be, and Runs that are neighbours.
func testExpandMany(w *world) {
	var keys []string
	for i := range 1000 {
		keys = append(keys, fmt.Sprint(i))
	}
	first, second := w.run("j", "k"), w.run("j", "k")
	x := w.expand(second.claim("k"), w.expansion(1, "k", "a", "b"))
	many := w.expand(first.claim("j"), w.expansion(1, "j", keys...))
	more := w.expand(first.claim("k"), w.expansion(1, "k", "a", "b"))
	w.equal("pins", len(keys), len(jobcontrol.ItemPins("j", many.Build.Pins)))
	w.equal("left", len(keys), many.Build.DepsLeft)
	builds, err := w.s.ListBuilds(w.ctx, jobcontrol.BuildFilter{Run: first.ID, Asc: true, Limit: -1, Brief: true})
	w.ok(err)
	w.equal("builds", 2+len(keys)+2, len(builds))
	places := map[int]int{}
	for _, b := range builds {
		places[b.Place]++
	}
	w.equal("places", map[int]int{0: 1 + len(keys), 1: 3}, places)
	w.equal("counts", jobcontrol.Counts{jobcontrol.Waiting: 2, jobcontrol.Queued: len(keys) + 2}, w.runOf(first).Counts)
	w.equal("counts", jobcontrol.Counts{jobcontrol.Waiting: 1, jobcontrol.Queued: 3}, w.runOf(second).Counts)
	for i := range many.Children {
		c := many.Children[len(many.Children)-1-i].Claim
		r := mustFinish(w, c, ended(jobcontrol.Successful, 1))
		w.equal("released", map[bool]string{true: "j"}[i == len(keys)-1], released(r))
	}
	for _, b := range append(more.Children, x.Children...) {
		mustFinish(w, b.Claim, ended(jobcontrol.Failed, 1))
	}
	for _, c := range []jobcontrol.Claim{first.claim("j"), first.claim("k"), second.claim("j"), second.claim("k")} {
		number := 2
		if c == second.claim("j") {
			number = 1
		}
		mustFinish(w, c, ended(jobcontrol.Successful, number))
	}
	w.equal("counts", jobcontrol.Counts{jobcontrol.Successful: 2 + len(keys), jobcontrol.Failed: 2}, w.runOf(first).Counts)
	runs, err := w.s.ListRuns(w.ctx, jobcontrol.RunFilter{})
	w.ok(err)
	ids := map[int64]bool{}
	for _, r := range runs {
		ids[r.ID] = true
	}
	w.equal("runs", map[int64]bool{first.ID: true, second.ID: true}, maps.Clone(ids))
}

// testExpandPrune: what was taken for an item is kept as long as it is to be
// gathered; a Run goes with its items.
func testExpandPrune(w *world) {
	o := &old{world: w}
	taken := o.lone("j[x]", jobcontrol.Successful, nil)
	o.lone("j[x]", jobcontrol.Successful, nil)
	n := w.wholes("j")
	n.Grows = true
	m := w.create(n)
	e := w.expansion(1, "j", "y")
	e.Expansion.Pins = map[string]int64{"j[x]": taken}
	m.builds = append(m.builds, w.expand(m.claim("j"), e).Children...)
	o.end(m, "j[y]", jobcontrol.Failed, nil)
	before := o.cut()
	w.equal("pruned while it is needed", 0, w.prune(before, 10).Builds)
	b, err := w.s.Build(w.ctx, taken)
	w.ok(err)
	w.equal("kept", jobcontrol.Successful, b.State)
	o.end(m, "j", jobcontrol.Successful, func(e *jobcontrol.Ended) { e.Attempt.Number = 2 })
	_, err = w.s.FinishRun(w.ctx, m.ID, w.l)
	w.ok(err)
	for _, job := range []string{"j", "j[y]"} { // newer ones, so that nothing of the Run is kept
		o.lone(job, jobcontrol.Successful, nil)
	}
	w.equal("pruned", jobcontrol.Pruned{Builds: 3, Runs: 1}, w.prune(o.cut(), 10))
	w.gone(taken)
	_, err = w.s.Run(w.ctx, m.ID)
	w.refused(err, jobcontrol.ErrNotFound)
}
