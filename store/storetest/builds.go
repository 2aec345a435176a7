package storetest

import (
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// testListBuilds: JobControl's filters: nil is any, else exactly so; by id.
func testListBuilds(w *world) {
	var all []made
	for _, state := range states {
		all = append(all, w.in(state))
	}
	n := w.graph("a", "z")
	n.Run.Project = "p"
	project := w.create(n)
	list := func(f jobcontrol.BuildFilter) []jobcontrol.Build {
		w.Helper()
		builds, err := w.s.ListBuilds(w.ctx, f)
		w.ok(err)
		for i, b := range builds {
			if i > 0 && (builds[i-1].ID < b.ID) != f.Asc {
				w.Fatalf("build %d after %d", b.ID, builds[i-1].ID)
			}
			one, err := w.s.Build(w.ctx, b.ID)
			w.ok(err)
			if f.Brief {
				one.Result, one.Pins, one.Dependants = nil, nil, nil
				if one.Failure != nil {
					one.Failure.Frames = nil
				}
			}
			w.equal("listed build", *one, b)
		}
		return builds
	}
	everything := list(jobcontrol.BuildFilter{Limit: -1})
	w.equal("all", 3*len(states)+2, len(everything))
	w.equal("oldest", all[0].id("a"), list(jobcontrol.BuildFilter{Asc: true, Limit: 1})[0].ID)
	w.equal("newest", project.id("z"), list(jobcontrol.BuildFilter{Limit: 1})[0].ID)
	w.equal("run", "a b c", jobs(list(jobcontrol.BuildFilter{Run: all[3].ID, Asc: true})))
	w.equal("no such run", 0, len(list(jobcontrol.BuildFilter{Run: all[3].id("b")})))
	w.equal("project", "z a", jobs(list(jobcontrol.BuildFilter{Project: "p"})))
	w.equal("job", len(states)+1, len(list(jobcontrol.BuildFilter{Job: "a"})))
	w.equal("job of a project", 1, len(list(jobcontrol.BuildFilter{Job: "a", Project: "p"})))
	w.equal("no such job", 0, len(list(jobcontrol.BuildFilter{Job: "nobody"})))
	w.equal("lone", "x", jobs(list(jobcontrol.BuildFilter{Run: w.run("x").ID})))

	yes, no := ptr(true), ptr(false)
	everything = list(jobcontrol.BuildFilter{Limit: -1})
	for name, test := range map[string]struct {
		filter jobcontrol.BuildFilter
		want   func(b jobcontrol.Build) bool
	}{
		"started":      {jobcontrol.BuildFilter{Started: yes}, func(b jobcontrol.Build) bool { return !b.StartedAt.IsZero() }},
		"not started":  {jobcontrol.BuildFilter{Started: no}, func(b jobcontrol.Build) bool { return b.StartedAt.IsZero() }},
		"finished":     {jobcontrol.BuildFilter{Finished: yes}, func(b jobcontrol.Build) bool { return b.State.Final() }},
		"not finished": {jobcontrol.BuildFilter{Finished: no}, func(b jobcontrol.Build) bool { return !b.State.Final() }},
		"success":      {jobcontrol.BuildFilter{Success: yes}, func(b jobcontrol.Build) bool { return b.State.Satisfied() }},
		"no success":   {jobcontrol.BuildFilter{Success: no}, func(b jobcontrol.Build) bool { return !b.State.Satisfied() }},
		"skipped":      {jobcontrol.BuildFilter{Skipped: yes}, func(b jobcontrol.Build) bool { return b.State == jobcontrol.Skipped }},
		"not skipped":  {jobcontrol.BuildFilter{Skipped: no}, func(b jobcontrol.Build) bool { return b.State != jobcontrol.Skipped }},
		"built": {jobcontrol.BuildFilter{Started: yes, Finished: yes, Success: yes, Skipped: no}, func(b jobcontrol.Build) bool {
			return b.State == jobcontrol.Successful
		}},
		"running": {jobcontrol.BuildFilter{States: []jobcontrol.State{jobcontrol.Running}}, func(b jobcontrol.Build) bool {
			return b.State == jobcontrol.Running
		}},
		"two states": {jobcontrol.BuildFilter{States: []jobcontrol.State{jobcontrol.Failed, jobcontrol.Held}}, func(b jobcontrol.Build) bool {
			return b.State == jobcontrol.Failed || b.State == jobcontrol.Held
		}},
		"job and state": {jobcontrol.BuildFilter{Job: "b", Success: yes}, func(b jobcontrol.Build) bool {
			return b.Job == "b" && b.State.Satisfied()
		}},
	} {
		want := 0
		for _, b := range everything {
			if test.want(b) {
				want++
			}
		}
		for _, brief := range []bool{false, true} {
			test.filter.Brief, test.filter.Limit = brief, -1
			w.equal(name, want, len(list(test.filter)))
		}
		test.filter.Asc, test.filter.Limit = true, 2
		w.equal(name+", limited", min(want, 2), len(list(test.filter)))
	}

	at := everything[0].CreatedAt
	w.equal("until", 0, len(list(jobcontrol.BuildFilter{Job: "x", Until: at})))
	w.equal("until", 1, len(list(jobcontrol.BuildFilter{Job: "x", Until: at.Add(time.Microsecond)})))
	w.equal("since", 1, len(list(jobcontrol.BuildFilter{Job: "x", Since: at})))
	w.equal("since", 0, len(list(jobcontrol.BuildFilter{Job: "x", Since: at.Add(time.Microsecond)})))

	// Pages: each begins below the last id of the one before.
	for name, f := range map[string]jobcontrol.BuildFilter{
		"all": {}, "job": {Job: "b"}, "run": {Run: everything[0].Run}, "built": {Started: yes, Success: yes}, "states": {States: []jobcontrol.State{jobcontrol.Failed, jobcontrol.Successful}},
	} {
		f.Limit = -1
		want := list(f)
		var got []jobcontrol.Build
		for f.Limit = 2; ; f.Before = got[len(got)-1].ID {
			page := list(f)
			if got = append(got, page...); len(page) < 2 {
				break
			}
		}
		w.equal("pages of "+name, want, got)
		if len(want) > 0 {
			f.Before = want[len(want)-1].ID
			w.equal("before the first of "+name, 0, len(list(f)))
			f.Before, f.Asc = want[0].ID, true
			w.equal("before the last of "+name, min(2, len(want)-1), len(list(f)))
		}
	}

	for range 60 {
		w.run("many", "more")
	}
	w.equal("default limit", 100, len(list(jobcontrol.BuildFilter{})))
	w.equal("no limit", len(everything)+120, len(list(jobcontrol.BuildFilter{Limit: -1})))
}

func (w *world) head(job string) jobcontrol.Head {
	w.Helper()
	heads, err := w.s.Heads(w.ctx, "", []string{job})
	w.ok(err)
	return heads[job]
}

// testHeads: what is known of a job at a glance.
func testHeads(w *world) {
	heads, err := w.s.Heads(w.ctx, "", nil)
	w.ok(err)
	w.equal("none", 0, len(heads))

	m := w.run("x", "a<x")
	w.equal("head", jobcontrol.Head{Job: "a", Latest: m.id("a"), LatestState: jobcontrol.Waiting, Unfinished: 1}, w.head("a"))
	w.finish(m, "x", jobcontrol.Successful)
	w.equal("state", jobcontrol.Queued, w.head("a").LatestState)
	w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{m.claim("a")}, nil))
	w.equal("head", jobcontrol.Head{Job: "a", Latest: m.id("a"), LatestState: jobcontrol.Running, Unfinished: 1, RunningBuilds: 1}, w.head("a"))
	e := ended(jobcontrol.Successful, 1)
	mustFinish(w, m.claim("a"), e)
	want := jobcontrol.Head{
		Job: "a", Latest: m.id("a"), LatestState: jobcontrol.Successful, LatestFinished: m.id("a"), FinishedState: jobcontrol.Successful,
		Good: m.id("a"), GoodAt: e.Attempt.FinishedAt, GoodPins: map[string]int64{"x": m.id("x")}, GoodDefinition: m.of("a").Definition,
		GoodChanged: m.id("a"), GoodChangedAt: e.Attempt.FinishedAt,
	}
	w.equal("head", want, w.head("a"))

	// A good build that changed nothing.
	next := w.run("a", "b")
	e = ended(jobcontrol.Successful, 5)
	e.Changed = false
	mustFinish(w, next.claim("a"), e)
	want.Latest, want.LatestFinished, want.Good = next.id("a"), next.id("a"), next.id("a")
	want.GoodAt, want.GoodPins, want.GoodDefinition = e.Attempt.FinishedAt, nil, next.of("a").Definition
	w.equal("head", want, w.head("a"))

	// What is no success does not change the good ones.
	for _, state := range []jobcontrol.State{jobcontrol.Skipped, jobcontrol.Failed, jobcontrol.Cancelled} {
		m := w.run("a", "y")
		w.finish(m, "a", state)
		want.Latest, want.LatestState = m.id("a"), state
		if state != jobcontrol.Cancelled {
			want.LatestFinished, want.FinishedState = m.id("a"), state
		}
		w.equal("head", want, w.head("a"))
	}
	m = w.run("y", "a<y")
	w.finish(m, "y", jobcontrol.Failed)
	want.Latest, want.LatestState = m.id("a"), jobcontrol.Blocked
	w.equal("head", want, w.head("a"))

	// The newest counts, whichever ends last.
	first, second := w.run("o", "p"), w.run("o", "p")
	w.finish(second, "o", jobcontrol.Successful)
	late := ended(jobcontrol.Successful, 50)
	mustFinish(w, first.claim("o"), late)
	head := w.head("o")
	w.equal("newest", []int64{second.id("o"), second.id("o"), second.id("o"), second.id("o"), 0},
		[]int64{head.Latest, head.LatestFinished, head.Good, head.GoodChanged, int64(head.Unfinished)})
	first, second = w.run("o"), w.run("o")
	w.finish(second, "o", jobcontrol.Successful)
	late.Changed = false
	mustFinish(w, first.claim("o"), late)
	head = w.head("o")
	w.equal("newest", []int64{second.id("o"), second.id("o")}, []int64{head.LatestFinished, head.Good})
	third, fourth := w.run("o"), w.run("o")
	w.finish(fourth, "o", jobcontrol.Failed)
	w.finish(third, "o", jobcontrol.Successful)
	head = w.head("o")
	w.equal("newest", []int64{fourth.id("o"), third.id("o"), third.id("o")}, []int64{head.LatestFinished, head.Good, head.GoodChanged})
	w.equal("state", jobcontrol.Failed, head.FinishedState)

	// Only what was asked for; projects are apart.
	heads, err = w.s.Heads(w.ctx, "", []string{"a", "nobody", "o"})
	w.ok(err)
	w.equal("jobs", []string{"a", "o"}, keys(heads))
	heads, err = w.s.Heads(w.ctx, "", []string{})
	w.ok(err)
	w.equal("no jobs", 0, len(heads))
	n := w.graph("a", "only")
	n.Run.Project = "p"
	w.create(n)
	heads, err = w.s.Heads(w.ctx, "p", nil)
	w.ok(err)
	w.equal("jobs", []string{"a", "only"}, keys(heads))
	w.equal("head", want, w.head("a"))
	heads, err = w.s.Heads(w.ctx, "", nil)
	w.ok(err)
	w.equal("jobs", []string{"a", "b", "o", "p", "x", "y"}, keys(heads))
}

// testDelete: a build goes with all that is its own; heads are as if it had
// never been.
func testDelete(w *world) {
	var ids []int64
	var heads []jobcontrol.Head
	step := func(state jobcontrol.State, changed bool) {
		m := w.run("a", "b")
		w.finish(m, "b", jobcontrol.Successful)
		e := ended(state, 1)
		e.Changed = changed
		mustFinish(w, m.claim("a"), e)
		ids = append(ids, m.id("a"))
		heads = append(heads, w.head("a"))
	}
	step(jobcontrol.Failed, false)
	step(jobcontrol.Successful, true)
	step(jobcontrol.Successful, false)
	step(jobcontrol.Skipped, false)
	step(jobcontrol.Cancelled, false)
	step(jobcontrol.Failed, false)
	for i := len(ids) - 1; i > 0; i-- {
		b, err := w.s.Build(w.ctx, ids[i])
		w.ok(err)
		got, err := w.s.DeleteBuild(w.ctx, ids[i])
		w.ok(err)
		w.equal("deleted build", b, got)
		w.equal("head", heads[i-1], w.head("a"))
		_, err = w.s.Build(w.ctx, ids[i])
		w.refused(err, jobcontrol.ErrNotFound)
		_, err = w.s.DeleteBuild(w.ctx, ids[i])
		w.refused(err, jobcontrol.ErrNotFound)
	}
	_, err := w.s.DeleteBuild(w.ctx, ids[0])
	w.ok(err)
	w.equal("no head", jobcontrol.Head{}, w.head("a"))

	// Unfinished ones are not deleted.
	for _, state := range states {
		if m := w.in(state); !state.Final() {
			w.unchanged("DeleteBuild of a "+state.String()+" build", func() {
				_, err := w.s.DeleteBuild(w.ctx, m.id("b"))
				w.refused(err, jobcontrol.ErrConflict)
			})
		}
	}

	// All that belongs to it goes; its Run's counts follow; the Run goes with the last.
	m := w.run("x", "y<x")
	c := m.claim("x")
	w.ok(w.s.Report(w.ctx, c, []jobcontrol.LogRecord{{Message: "line"}}, []jobcontrol.Progress{{Status: "s"}}))
	_, err = w.s.SharedSet(w.ctx, c, "k", raw(1), -1)
	w.ok(err)
	_, err = w.s.Retry(w.ctx, c, ended(jobcontrol.Failed, 1))
	w.ok(err)
	mustFinish(w, c, ended(jobcontrol.Failed, 2))
	r, err := w.s.FinishRun(w.ctx, m.ID, w.l)
	w.ok(err)
	w.equal("counts", jobcontrol.Counts{jobcontrol.Failed: 1, jobcontrol.Blocked: 1}, r.Counts)
	_, err = w.s.DeleteBuild(w.ctx, m.id("x"))
	w.ok(err)
	for name, read := range map[string]func() error{
		"Attempts": func() error { _, err := w.s.Attempts(w.ctx, m.id("x")); return err },
		"Progress": func() error { _, err := w.s.Progress(w.ctx, m.id("x")); return err },
		"Log": func() error {
			return w.s.Log(w.ctx, m.id("x"), jobcontrol.LogFilter{}, func(jobcontrol.LogRecord) bool { return true })
		},
	} {
		if err := read(); jobcontrol.CodeOf(err) != jobcontrol.NotFound {
			w.Fatalf("%s: %v", name, err)
		}
	}
	w.equal("counts", jobcontrol.Counts{jobcontrol.Blocked: 1}, w.runOf(m).Counts)
	w.equal("state", jobcontrol.RunFailed, w.runOf(m).State)
	keys, err := w.s.SharedKeys(w.ctx, m.ID)
	w.ok(err)
	w.equal("keys", []string{"k"}, keys)
	_, err = w.s.DeleteBuild(w.ctx, m.id("y"))
	w.ok(err)
	_, err = w.s.Run(w.ctx, m.ID)
	w.refused(err, jobcontrol.ErrNotFound)
	keys, err = w.s.SharedKeys(w.ctx, m.ID)
	w.ok(err)
	w.equal("keys", 0, len(keys))

	// A result that others return is not lost with the build that has it.
	var chain []int64
	for i := range 4 {
		m := w.run("r")
		e := ended(jobcontrol.Successful, 1)
		if e.Changed = i == 0; e.Changed {
			e.Result = raw("the result")
		}
		mustFinish(w, m.claim("r"), e)
		chain = append(chain, m.ID)
	}
	_, err = w.s.DeleteBuild(w.ctx, chain[0])
	w.ok(err)
	got := []any{}
	for _, id := range chain[1:] {
		b, err := w.s.Build(w.ctx, id)
		w.ok(err)
		got = append(got, string(b.Result), b.ResultOf)
	}
	w.equal("heirs", []any{`"the result"`, int64(0), "", chain[1], "", chain[1]}, got)
	m = w.run("r")
	e := ended(jobcontrol.Successful, 1)
	e.Changed = false
	mustFinish(w, m.claim("r"), e)
	w.equal("stands", chain[1], w.build(m, "r").ResultOf)
}
