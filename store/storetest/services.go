package storetest

import (
	"fmt"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

func (w *world) services(project string) []jobcontrol.ServiceStatus {
	w.Helper()
	s, err := w.s.Services(w.ctx, project)
	w.ok(err)
	return s
}

func (w *world) put(services ...jobcontrol.Service) {
	w.Helper()
	w.ok(w.s.PutServices(w.ctx, "", services))
}

// service returns one service of the project "".
func (w *world) service(name string) jobcontrol.ServiceStatus {
	w.Helper()
	for _, s := range w.services("") {
		if s.Name == name {
			return s
		}
	}
	return jobcontrol.ServiceStatus{}
}

// freeIn makes a lone detached build of a job in a service.
func (w *world) freeIn(service, job, key string) made {
	w.Helper()
	n := w.detached(job)
	n.Builds[0].Build.Service, n.Builds[0].Build.Key = service, key
	return w.create(n)
}

// testServices: how services are described, by a file and by hand.
func testServices(w *world) {
	w.equal("none", 0, len(w.services("")))
	a := jobcontrol.Service{
		Name: "a", Concurrency: 3, Key: []string{"kwargs.site", "args.0"}, KeyConcurrency: 2, Rate: 10, RatePer: time.Minute, Priority: -5, Fallback: "slow",
	}
	b := jobcontrol.Service{Name: "b"}
	w.put(b, a)
	described := func(services ...jobcontrol.Service) {
		w.Helper()
		var got []jobcontrol.Service
		for _, s := range w.services("") {
			got = append(got, s.Service)
		}
		w.equal("services", services, got)
	}
	described(a, b)
	w.unchanged("the same again", func() { w.put(a, b) })
	w.equal("of another project", 0, len(w.services("p")))
	w.ok(w.s.PutServices(w.ctx, "p", []jobcontrol.Service{{Name: "a", Rate: 1}}))
	w.equal("of another project", 1, len(w.services("p")))
	described(a, b)

	// A file changes all but what is set by hand; paused and draining stay.
	a.Concurrency, a.Paused = 4, true
	w.put(a)
	a.Paused = false
	described(a, b)
	hand := jobcontrol.Service{Name: "b", Concurrency: 1, Paused: true, Draining: true, Manual: true}
	w.put(hand)
	w.put(jobcontrol.Service{Name: "b", Concurrency: 7})
	described(a, hand)
	hand.Paused = false
	w.put(hand)
	described(a, hand)

	// Reset: as if nobody had described it; the next file does.
	w.ok(w.s.ResetService(w.ctx, "", "b", nil))
	w.unchanged("a repeated reset", func() { w.ok(w.s.ResetService(w.ctx, "", "b", nil)) })
	described(a)
	b.Concurrency = 7
	w.put(b)
	described(a, b)
	w.ok(w.s.ResetService(w.ctx, "", "nobody", nil))

	// Reset to how it is described: what was set by hand is gone, in one write.
	w.put(hand)
	described(a, hand)
	w.ok(w.s.ResetService(w.ctx, "", "b", &b))
	described(a, b)
	w.put(jobcontrol.Service{Name: "b", Concurrency: 9})
	b.Concurrency = 9
	described(a, b)
	w.unchanged("a reset to what is invalid", func() {
		w.refused(w.s.ResetService(w.ctx, "", "b", &jobcontrol.Service{Rate: -1}), jobcontrol.ErrInvalid)
	})

	// What is wrong is refused, and changes nothing.
	w.unchanged("an invalid service", func() {
		err := w.s.PutServices(w.ctx, "", []jobcontrol.Service{{Name: "c"}, {Name: "d", Rate: -1}})
		w.refused(err, jobcontrol.ErrInvalid)
		err = w.s.PutServices(w.ctx, "", []jobcontrol.Service{{Name: "c"}, {Name: "d"}, {Name: "c", Rate: 1}})
		w.refused(err, jobcontrol.ErrInvalid)
		err = w.s.PutServices(w.ctx, "", []jobcontrol.Service{{Name: "c", Fallback: "d"}, {Name: "d", Fallback: "c"}})
		w.refused(err, jobcontrol.ErrInvalid)
	})
	// One without a description is listed while it has builds.
	m := w.freeIn("c", "x", "")
	described(a, b, jobcontrol.Service{Name: "c"})
	w.drop(m)
	described(a, b)
}

// testServiceCounts: the numbers of builds that are not final.
func testServiceCounts(w *world) {
	counts := func(want jobcontrol.ServiceStatus) {
		w.Helper()
		want.Name = jobcontrol.DefaultService
		w.equal("counts", want, w.service(jobcontrol.DefaultService))
	}
	w.run("f", "g<f") // in the foreground: of no service
	w.equal("none", 0, len(w.services("")))
	n := w.detached("a", "b<a", "c", "d", "e", "s")
	n.Builds[4].Build.State = jobcontrol.Held
	n.Builds[5].Build.ReadyAt = w.now().Add(time.Hour)
	m := w.create(n)
	counts(jobcontrol.ServiceStatus{Waiting: 2, Scheduled: 1, Queued: 3})
	got := w.ask(w.l, want(2))
	counts(jobcontrol.ServiceStatus{Waiting: 2, Scheduled: 1, Queued: 1, Claimed: 2})
	w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{got.Builds[0].Claim}, nil))
	counts(jobcontrol.ServiceStatus{Waiting: 2, Scheduled: 1, Queued: 1, Claimed: 1, Running: 1})
	mustFinish(w, got.Builds[0].Claim, ended(jobcontrol.Successful, 1))
	mustFinish(w, got.Builds[1].Claim, ended(jobcontrol.Suspended, 1))
	counts(jobcontrol.ServiceStatus{Waiting: 2, Scheduled: 1, Queued: 2})
	w.freeIn("x", "lone", "")
	w.equal("another service", jobcontrol.ServiceStatus{Service: jobcontrol.Service{Name: "x"}, Queued: 1}, w.service("x"))
	w.drop(m)
	w.equal("none", jobcontrol.ServiceStatus{}, w.service(jobcontrol.DefaultService))
}

// testServicePaused: nothing is given; what is claimed goes on. Draining:
// nothing new is accepted, what is there is given.
func testServicePaused(w *world) {
	m := w.freeIn("s", "a", "")
	got := w.takes(w.l, "a", "s")
	w.freeIn("s", "b", "")
	w.put(jobcontrol.Service{Name: "s", Paused: true, Manual: true})
	c := w.ask(w.l, want(1, "s"))
	w.equal("of a paused service", []any{0, false, false}, []any{len(c.Builds), c.More, c.Suspects})
	w.freeIn("", "d", "")
	w.takes(w.l, "d", "s", "default")
	mustFinish(w, got.claim("a"), ended(jobcontrol.Successful, 1))
	w.equal("run", jobcontrol.RunSuccessful, w.runOf(m).State)
	w.freeIn("s", "c", "")
	w.ok(w.s.ResetService(w.ctx, "", "s", nil))
	w.takes(w.l, "b c", "s")

	lone := w.detached("x")
	lone.Builds[0].Build.Service = "s"
	several := w.detached("x", "y<x")
	several.Builds[1].Build.Service = "s"
	old := w.create(lone)
	w.put(jobcontrol.Service{Name: "s", Draining: true, Manual: true})
	w.unchanged("a draining service", func() {
		for _, n := range []jobcontrol.NewRun{lone, several} {
			_, _, err := w.s.CreateRun(w.ctx, n)
			w.refused(err, jobcontrol.ErrConflict)
			last := n.Builds[len(n.Builds)-1].Build.Job
			w.equal("error", jobcontrol.DrainingConflict(last, "s").Error(), err.Error())
			w.equal("hint", jobcontrol.HintOf(jobcontrol.DrainingConflict(last, "s")), jobcontrol.HintOf(err))
			_, err = w.s.CreateRuns(w.ctx, []jobcontrol.NewRun{w.detached("ok"), n})
			w.refused(err, jobcontrol.ErrConflict)
		}
	})
	w.acceptedWhileDraining()
	got = w.takes(w.l, "x", "s")
	_, err := w.s.Retry(w.ctx, got.claim("x"), ended(jobcontrol.Failed, 1))
	w.ok(err)
	mustFinish(w, w.takes(w.l, "x", "s").claim("x"), ended(jobcontrol.Successful, 2))
	w.equal("run", jobcontrol.RunSuccessful, w.runOf(old).State)
	// What a program executes itself needs no worker of the service.
	f := w.graph("x")
	f.Builds[0].Build.Service = "s"
	w.create(f)
}

// acceptedWhileDraining: the service s drains, and what is nothing to execute for
// it is no reason to refuse a Run: members that are final when they are made, as
// they are given, or since what they depend on has failed.
func (w *world) acceptedWhileDraining() {
	w.Helper()
	n := w.detached("failed", "blocked<failed", "skipped", "other")
	for i := range 3 {
		n.Builds[i].Build.Service = "s"
	}
	for i, state := range map[int]jobcontrol.State{0: jobcontrol.Failed, 2: jobcontrol.Skipped} {
		n.Builds[i].Final, n.Builds[i].Build.State = true, state
	}
	n.Builds[3].Build.Service = "t"
	m := w.create(n)
	w.states(m, "failed=failed blocked=blocked skipped=skipped other=queued")
	w.drop(m)
	// All of them together are a Run that has ended.
	n = w.detached("failed", "blocked<failed")
	for i := range n.Builds {
		n.Builds[i].Build.Service = "s"
	}
	n.Builds[0].Final, n.Builds[0].Build.State = true, jobcontrol.Failed
	w.equal("run", jobcontrol.RunFailed, w.create(n).State)
}

// testServiceConcurrency: claims of all workers together.
func testServiceConcurrency(w *world) {
	w.put(jobcontrol.Service{Name: "s", Concurrency: 2})
	for i := range 4 {
		w.freeIn("s", fmt.Sprint("s", i), "")
		w.freeIn("", fmt.Sprint("d", i), "")
	}
	other := w.register(2)
	c := w.ask(w.l, want(1, "s"))
	w.equal("the first", []any{"s0", true}, []any{jobs(c.Builds), c.More})
	c = w.ask(other, want(9, "s"))
	w.equal("the second", []any{"s1", false}, []any{jobs(c.Builds), c.More})
	second := made{builds: c.Builds}
	w.takes(w.l, "", "s")
	w.takes(w.l, "d0 d1 d2 d3", "s", "default")
	// A claim that ends, in whichever way, makes room.
	e := ended(jobcontrol.Failed, 1)
	e.ReadyAt = w.now()
	_, err := w.s.Retry(w.ctx, second.claim("s1"), e)
	w.ok(err)
	second = w.takes(other, "s2", "s")
	w.ok(w.s.GiveBack(w.ctx, []jobcontrol.Claim{second.claim("s2")}))
	second = w.takes(w.l, "s2", "s")
	w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{second.claim("s2")}, nil))
	w.takes(w.l, "", "s")
	mustFinish(w, second.claim("s2"), ended(jobcontrol.Suspended, 1))
	second = w.takes(other, "s3", "s")
	w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{second.claim("s3")}, nil))
	w.kill(2)
	w.takes(w.l, "s1", "s") // s3 is a suspect now
	// A limit that is raised, and one that is lowered.
	alone := want(9, "s")
	alone.Alone = true
	w.equal("no room for the suspect", "", jobs(w.ask(w.l, alone).Builds))
	w.put(jobcontrol.Service{Name: "s", Concurrency: 3})
	w.equal("the suspect", "s3", jobs(w.ask(w.l, alone).Builds))
	w.put(jobcontrol.Service{Name: "s", Concurrency: 1})
	w.freeIn("s", "s4", "")
	w.takes(w.l, "", "s")
	w.put(jobcontrol.Service{Name: "s"})
	w.takes(w.l, "s4", "s")
}

// testServiceKeys: builds of one key, whoever has claimed them.
func testServiceKeys(w *world) {
	w.put(jobcontrol.Service{Name: "s", Key: []string{"args.0"}, KeyConcurrency: 2})
	for _, name := range []string{"a1", "a2", "a3", "b1", "-1", "a4", "b2", "-2", "-3", "b3", "c1"} {
		key := name[:1]
		if key == "-" {
			key = ""
		}
		w.freeIn("s", name, key)
	}
	other := w.register(2)
	one := w.ask(w.l, want(1, "s"))
	w.equal("the first", "a1", jobs(one.Builds))
	c := w.ask(other, want(4, "s"))
	w.equal("the next", []any{"a2 b1 -1 b2", true}, []any{jobs(c.Builds), c.More})
	c = w.ask(w.l, want(9, "s"))
	w.equal("the rest", []any{"-2 -3 c1", false}, []any{jobs(c.Builds), c.More})
	w.takes(w.l, "", "s")
	mustFinish(w, one.Builds[0].Claim, ended(jobcontrol.Successful, 1))
	w.takes(w.l, "a3", "s")
	w.kill(2)
	w.takes(w.l, "a2 b1 -1 b2", "s")
}

// testServiceRate: so many at once, and no more before the time has come. The
// rate is so low that none comes back while the test goes on.
func testServiceRate(w *world) {
	w.put(jobcontrol.Service{Name: "s", Rate: 3, RatePer: 1000 * time.Hour})
	for i := range 6 {
		w.freeIn("s", fmt.Sprint("s", i), "")
	}
	got := w.ask(w.l, want(2, "s"))
	w.equal("the first two", "s0 s1", jobs(got.Builds))
	c := w.ask(w.register(2), want(9, "s"))
	w.equal("the third", []any{"s2", false}, []any{jobs(c.Builds), c.More})
	w.takes(w.l, "", "s")
	mustFinish(w, got.Builds[0].Claim, ended(jobcontrol.Successful, 1))
	w.takes(w.l, "", "s")
	w.freeIn("", "d", "")
	w.takes(w.l, "d", "s", "default")
	// With a rate that is fast, it comes back.
	w.put(jobcontrol.Service{Name: "s", Rate: 2, RatePer: 20 * time.Millisecond})
	var all []jobcontrol.Build
	for begin := w.now(); len(all) < 3; {
		all = append(all, w.ask(w.l, want(1, "s")).Builds...)
		if w.now().Sub(begin) > time.Minute {
			w.Fatal("no build is given")
		}
	}
	w.equal("the rest", "s3 s4 s5", jobs(all))
}
