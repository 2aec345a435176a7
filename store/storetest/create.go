package storetest

import (
	"fmt"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// testInstall: Install is idempotent, Uninstall removes everything, and both may
// be repeated.
func testInstall(w *world) {
	w.ok(w.s.Install(w.ctx))
	m := w.run("a", "b<a")
	w.ok(w.s.Install(w.ctx))
	w.states(m, "a=queued b=waiting")

	w.ok(w.s.Uninstall(w.ctx))
	w.ok(w.s.Uninstall(w.ctx))
	_, err := w.s.Build(w.ctx, m.id("a"))
	w.refused(err, jobcontrol.ErrUnavailable)
	_, err = w.s.RequestCancel(w.ctx, m.ID)
	w.refused(err, jobcontrol.ErrUnavailable)
	w.ok(w.s.Install(w.ctx))
	_, err = w.s.Build(w.ctx, m.id("a"))
	w.refused(err, jobcontrol.ErrNotFound)
	w.l = w.register(1)
	w.states(w.run("a", "b<a"), "a=queued b=waiting")
}

// testCreate: what CreateRun stores and returns is what is read.
func testCreate(w *world) {
	before := w.now()
	ready := before.Add(time.Hour).Truncate(time.Second)
	n := w.graph("a", "b<a", "c<a,b")
	n.Run = jobcontrol.Run{
		ID: 99, Project: "p", Verb: jobcontrol.VerbBuild, Targets: []string{"c", "ü"}, State: jobcontrol.RunFailed,
		NoCleanup: true, By: "somebody", File: "/etc/jobs \"1\".yaml", Message: "ignored",
	}
	n.Builds[1].Build.Args = raw([]any{1, "x\x00y", nil})
	n.Builds[1].Build.Kwargs = raw(map[string]any{"k": 1.5})
	n.Builds[1].Build.Pins = map[string]int64{"other": 7, "a": 8}
	n.Builds[1].Build.AgainOf = 5
	n.Builds[1].Build.Why = "because"
	n.Builds[1].Build.ReadyAt = ready
	n.Builds[1].Build.Tries = 4
	n.Builds[1].Build.RetryDelay = 1500 * time.Millisecond
	m := w.create(n)

	run := m.Run
	if run.ID <= 0 || run.ID == 99 || run.CreatedAt.Before(before) || run.CreatedAt.Location() != time.UTC {
		w.Fatalf("run %d, created at %v", run.ID, run.CreatedAt)
	}
	w.equal("run", &jobcontrol.Run{
		ID: run.ID, Project: "p", Verb: jobcontrol.VerbBuild, Targets: []string{"c", "ü"}, State: jobcontrol.RunRunning,
		NoCleanup: true, By: "somebody", File: "/etc/jobs \"1\".yaml", CreatedAt: run.CreatedAt, Worker: w.l.Worker,
		Counts: jobcontrol.Counts{jobcontrol.Queued: 1, jobcontrol.Waiting: 2},
	}, run)
	got, err := w.s.Run(w.ctx, run.ID)
	w.ok(err)
	w.equal("stored run", run, got)

	a, b, c := m.builds[0], m.builds[1], m.builds[2]
	if !(run.ID < a.ID && a.ID < b.ID && b.ID < c.ID) {
		w.Fatalf("ids %d: %d %d %d do not grow", run.ID, a.ID, b.ID, c.ID)
	}
	if a.Claim.Number <= 0 || b.Claim.Number <= a.Claim.Number || c.Claim.Number <= b.Claim.Number {
		w.Fatalf("claims %d %d %d do not grow", a.Claim.Number, b.Claim.Number, c.Claim.Number)
	}
	w.equal("build", jobcontrol.Build{
		ID: b.ID, Run: run.ID, Project: "p", Job: "b", Definition: n.Builds[1].Hash, State: jobcontrol.Waiting,
		Args: raw([]any{1, "x\x00y", nil}), Kwargs: raw(map[string]any{"k": 1.5}),
		Place: 1, DepsLeft: 1, Tries: 4, RetryDelay: 1500 * time.Millisecond, CreatedAt: run.CreatedAt, ReadyAt: ready,
		Pins: map[string]int64{"other": 7, "a": a.ID}, AgainOf: 5, Why: "because", Dependants: []int64{c.ID},
		Claim: jobcontrol.Claim{Build: b.ID, Worker: w.l.Worker, Epoch: w.l.Epoch, Number: b.Claim.Number},
	}, b)
	for _, want := range m.builds {
		got, err := w.s.Build(w.ctx, want.ID)
		w.ok(err)
		w.equal("stored build", &want, got)
	}

	// A build of a Run is not a Run, and what does not exist is NotFound.
	_, err = w.s.Run(w.ctx, b.ID)
	w.refused(err, jobcontrol.ErrNotFound)
	_, err = w.s.Run(w.ctx, c.ID+100)
	w.refused(err, jobcontrol.ErrNotFound)
	_, err = w.s.Build(w.ctx, run.ID)
	w.refused(err, jobcontrol.ErrNotFound)

	// A build alone is its own Run.
	n = w.graph("alone")
	n.Run.By, n.Run.File, n.Run.NoCleanup = "me", "file", true
	one := w.create(n)
	if one.ID != one.id("alone") || one.ID <= c.ID {
		w.Fatalf("run %d of the build %d", one.ID, one.id("alone"))
	}
	want := &jobcontrol.Run{
		ID: one.ID, Verb: jobcontrol.VerbRun, Targets: []string{"alone"}, State: jobcontrol.RunRunning, NoCleanup: true, By: "me", File: "file",
		CreatedAt: one.CreatedAt, Worker: w.l.Worker, Counts: jobcontrol.Counts{jobcontrol.Queued: 1}, Lone: true,
	}
	w.equal("lone run", want, one.Run)
	got, err = w.s.Run(w.ctx, one.ID)
	w.ok(err)
	w.equal("stored lone run", want, got)
	alone := w.build(one, "alone")
	w.equal("lone build", one.builds[0], alone)

	// Without a lease nobody has claimed the builds.
	n = w.graph("x", "y<x")
	n.Lease = nil
	free := w.create(n)
	w.equal("claim", jobcontrol.Claim{}, w.build(free, "x").Claim)
	w.equal("worker", int64(0), free.Worker)

	// With a lease that is not held nothing is made.
	n = w.graph("x", "y<x")
	n.Lease = &jobcontrol.Lease{Worker: w.l.Worker, Epoch: w.l.Epoch + 1}
	w.unchanged("a refused run", func() {
		_, _, err := w.s.CreateRun(w.ctx, n)
		w.refused(err, jobcontrol.ErrLeaseLost)
	})
}

// testCreateStates: a build waits for its unfinished members, else for its time.
func testCreateStates(w *world) {
	now := w.now()
	n := w.graph("now", "past", "future", "held", "a<now", "b<future", "c<held")
	n.Builds[1].Build.ReadyAt = now.Add(-time.Hour)
	n.Builds[2].Build.ReadyAt = now.Add(time.Hour)
	n.Builds[3].Build.State = jobcontrol.Held
	m := w.create(n)
	w.states(m, "now=queued past=queued future=scheduled held=held a=waiting b=waiting c=waiting")
	for i, b := range m.builds {
		w.equal("place", i, b.Place)
		w.equal("phase", 0, b.Phase)
	}
	// Members may come after those that depend on them.
	n = w.graph("first", "second")
	n.Builds[0].Members = []int{1}
	m = w.create(n)
	w.states(m, "first=waiting second=queued")
	w.equal("dependants", []int64{m.id("first")}, w.build(m, "second").Dependants)
	w.equal("released", "first", released(w.finish(m, "second", jobcontrol.Successful)))
	w.equal("place", 0, w.build(m, "first").Place)
}

// testCreateFinal: a member that is not executed is created in its final state,
// and its dependants are as if it had ended so.
func testCreateFinal(w *world) {
	old := w.run("skip")
	w.finish(old, "skip", jobcontrol.Successful)

	n := w.graph("done", "skip", "new", "fail", "a<done", "b<skip,new", "c<fail", "d<c", "e<done,c", "f<a")
	for i, state := range []jobcontrol.State{jobcontrol.Successful, jobcontrol.Skipped, jobcontrol.Skipped, jobcontrol.Failed} {
		n.Builds[i].Final, n.Builds[i].Build.State = true, state
	}
	n.Builds[3].Failure = &jobcontrol.Failure{
		Kind: jobcontrol.FailUser, Message: "no build", Frames: []jobcontrol.Frame{{Function: "f", File: "x.go", Line: 3}},
	}
	m := w.create(n)
	w.states(m, "done=successful skip=skipped new=skipped fail=failed a=queued b=queued c=blocked d=blocked e=blocked f=waiting")
	w.equal("failure", n.Builds[3].Failure, w.build(m, "fail").Failure)
	w.equal("changed", ptr(false), w.build(m, "done").Changed)
	w.equal("pins", map[string]int64{"done": m.id("done")}, w.build(m, "a").Pins)
	w.equal("pins of skipped members", map[string]int64{"skip": old.id("skip"), "new": 0}, w.build(m, "b").Pins)
	if b := w.build(m, "d"); b.FinishedAt.IsZero() || b.Failure != nil {
		w.Fatalf("blocked build: finished at %v, failure %v", b.FinishedAt, b.Failure)
	}
	heads, err := w.s.Heads(w.ctx, "", []string{"done", "fail", "c"})
	w.ok(err)
	w.equal("good", m.id("done"), heads["done"].Good)
	w.equal("finished", m.id("fail"), heads["fail"].LatestFinished)
	w.equal("blocked is not finished", int64(0), heads["c"].LatestFinished)

	n = w.graph("lone")
	n.Builds[0].Final, n.Builds[0].Build.State = true, jobcontrol.Cancelled
	lone := w.create(n)
	w.equal("run", jobcontrol.RunCancelled, lone.State)
}

// testCreateKey: a key makes CreateRun repeatable.
func testCreateKey(w *world) {
	n := w.graph("a", "b<a")
	n.Key = "key"
	first := w.create(n)
	w.finish(first, "a", jobcontrol.Successful)
	w.unchanged("a repeated CreateRun", func() {
		again := w.create(n)
		w.equal("run", first.ID, again.ID)
		w.equal("jobs", "a b", jobs(again.builds))
		w.equal("state", jobcontrol.Queued, again.of("b").State)
	})
	n.Key = "another"
	if w.create(n).ID == first.ID {
		w.Fatal("another key returned the first run")
	}
	n = w.graph("a")
	n.Key = "lone"
	w.equal("lone", w.create(n).ID, w.create(n).ID)

	// So it does where the answer was a Run that there was: after its end, too.
	n = w.unique("x", "u")
	met := w.create(n)
	n.Key = "met"
	w.equal("met", met.ID, w.create(n).ID)
	many := w.unique("x", "u")
	many.Key = "met by many"
	ids, err := w.s.CreateRuns(w.ctx, []jobcontrol.NewRun{many})
	w.ok(err)
	w.equal("met by many", []int64{met.ID}, ids)
	mustFinish(w, w.takes(w.l, "x").claim("x"), ended(jobcontrol.Successful, 1))
	w.unchanged("a repeated CreateRun", func() {
		again := w.create(n)
		w.equal("run", w.runOf(met), *again.Run)
		w.equal("builds", []jobcontrol.Build{w.build(met, "x")}, again.builds)
		ids, err := w.s.CreateRuns(w.ctx, []jobcontrol.NewRun{many, n})
		w.ok(err)
		w.equal("ids", []int64{met.ID, met.ID}, ids)
	})
	n.Key = "later"
	if w.create(n).ID == met.ID {
		w.Fatal("the unique key was not freed")
	}
}

// testCreateInvalid: what cannot be executed is refused.
func testCreateInvalid(w *world) {
	for name, change := range map[string]func(n *jobcontrol.NewRun){
		"no builds":      func(n *jobcontrol.NewRun) { n.Builds = nil },
		"unknown member": func(n *jobcontrol.NewRun) { n.Builds[0].Members = []int{3} },
		"negative":       func(n *jobcontrol.NewRun) { n.Builds[0].Members = []int{-1} },
		"itself":         func(n *jobcontrol.NewRun) { n.Builds[0].Members = []int{0} },
		"circle":         func(n *jobcontrol.NewRun) { n.Builds[0].Members = []int{2} },
		"not final":      func(n *jobcontrol.NewRun) { n.Builds[1].Final, n.Builds[1].Build.State = true, jobcontrol.Queued },
	} {
		n := w.graph("a", "b<a", "c<b")
		change(&n)
		w.unchanged(name, func() {
			_, _, err := w.s.CreateRun(w.ctx, n)
			w.refused(err, jobcontrol.ErrInvalid)
		})
	}
}

// testDefinitions: a definition is stored once, whoever has it, and never changes.
func testDefinitions(w *world) {
	job := &jobcontrol.Job{ID: "a", Title: "ü", Kwargs: map[string]any{"x": int64(1)}, Check: &jobcontrol.Task{Command: []string{"true"}}}
	body, hash, err := job.Definition()
	w.ok(err)
	for range 2 {
		n := jobcontrol.NewRun{Run: jobcontrol.Run{Verb: jobcontrol.VerbRun}, Builds: []jobcontrol.NewBuild{w.newBuild(job), w.newBuild(job)}}
		m := w.create(n)
		w.equal("definition", hash, m.builds[1].Definition)
		w.equal("definition", hash, w.build(m, "a").Definition)
	}
	n := jobcontrol.NewRun{Run: jobcontrol.Run{Verb: jobcontrol.VerbRun}, Builds: []jobcontrol.NewBuild{w.newBuild(job)}}
	n.Builds[0].Definition = []byte(`{"id": "another"}`)
	w.create(n)
	got, err := w.s.Definition(w.ctx, hash)
	w.ok(err)
	again, _, err := got.Definition()
	w.ok(err)
	w.equal("body", string(body), string(again))
	_, err = w.s.Definition(w.ctx, "no such hash")
	w.refused(err, jobcontrol.ErrNotFound)

	// Many at once.
	var many jobcontrol.NewRun
	many.Run.Verb = jobcontrol.VerbRun
	for i := range 500 {
		many.Builds = append(many.Builds, w.newBuild(&jobcontrol.Job{ID: fmt.Sprintf("job %d", i), Title: fmt.Sprint(i % 7)}))
	}
	w.create(many)
	for _, b := range many.Builds {
		got, err := w.s.Definition(w.ctx, b.Hash)
		w.ok(err)
		w.equal("id", b.Build.Job, got.ID)
	}
}
