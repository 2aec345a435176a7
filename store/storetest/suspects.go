package storetest

import (
	"github.com/jobcontrol/jobcontrol"
)

// testSuspects: what may have killed its worker is given alone, and is running
// before it is executed.
func testSuspects(w *world) {
	l := w.register(2)
	m := w.free("killer", "other")
	got := w.takes(l, "killer other")
	w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{got.claim("killer")}, nil))
	w.kill(2)
	w.states(m, "killer=queued other=queued")
	w.equal("lost", []int{1, 0}, []int{w.build(m, "killer").Lost, w.build(m, "other").Lost})

	c := w.ask(w.l, want(10))
	w.equal("without the suspect", "other", jobs(c.Builds))
	w.equal("suspects", true, c.Suspects)
	c = w.ask(w.l, want(10))
	w.equal("without the suspect", "", jobs(c.Builds))
	w.equal("suspects", true, c.Suspects)

	later := w.free("later")
	alone := want(10)
	alone.Alone = true
	c = w.ask(w.l, alone)
	w.equal("the suspect alone", "killer", jobs(c.Builds))
	w.equal("suspects, more", []bool{false, true}, []bool{c.Suspects, c.More})
	b := w.claimed(m, "killer", w.l)
	w.equal("state", jobcontrol.Running, b.State)
	w.equal("attempts", 1, b.Attempts)
	b.Dependants = nil
	w.equal("claimed build", b, c.Builds[0])
	w.equal("others are given to who is not alone", "later", jobs(w.ask(w.l, want(10)).Builds))
	w.drop(later)
	mustFinish(w, c.Builds[0].Claim, ended(jobcontrol.Successful, 2))

	// A job with on_lost: fail is a suspect from the first attempt on.
	n := w.detached("x")
	n.Builds[0] = w.newBuild(&jobcontrol.Job{ID: "once", OnLost: "fail", Run: &jobcontrol.Task{Shell: "true"}})
	m = w.create(n)
	c = w.ask(w.l, want(10))
	w.equal("without the suspect", []any{"", true}, []any{jobs(c.Builds), c.Suspects})
	c = w.ask(w.l, alone)
	w.equal("the suspect alone", "once", jobs(c.Builds))
	at := c.Builds[0].StartedAt
	if c.Builds[0].State != jobcontrol.Running || at.IsZero() {
		w.Fatalf("the suspect is %s since %v", c.Builds[0].State, at)
	}
	w.equal("stored", at, w.build(m, "once").StartedAt)
	c = w.ask(w.l, alone)
	w.equal("nothing is left", []any{"", false}, []any{jobs(c.Builds), c.Suspects})
}

// testSuspectsOfLeases: a lease that ended while nobody saw the worker makes a
// suspect only of what was lost before, or may not be lost again; a worker that was
// seen to be gone always.
func testSuspectsOfLeases(w *world) {
	m := w.free("a", "b")
	alone := want(10)
	alone.Alone = true
	expires := func(started ...string) {
		w.Helper()
		l := w.register(2)
		got := w.takes(l, "a b")
		for _, job := range started {
			w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{got.claim(job)}, nil))
		}
		w.ok(w.s.Renew(w.ctx, l, 0))
		_, err := w.s.Rescue(w.ctx, unknown)
		w.ok(err)
	}
	expires("a")
	w.equal("lost", []int{1, 0}, []int{w.build(m, "a").Lost, w.build(m, "b").Lost})
	l := w.register(3)
	c := w.ask(l, want(10))
	w.equal("after one lease", []any{"a b", false}, []any{jobs(c.Builds), c.Suspects})
	w.ok(w.s.Unregister(w.ctx, l))

	expires("a")
	w.equal("lost", []int{2, 0}, []int{w.build(m, "a").Lost, w.build(m, "b").Lost})
	c = w.ask(w.l, alone)
	w.equal("after two", []any{"a", jobcontrol.Running}, []any{jobs(c.Builds), c.Builds[0].State})
	mustFinish(w, c.Builds[0].Claim, ended(jobcontrol.Successful, 3))
	w.drop(m)

	m = w.free("a", "b")
	expires("b")
	l = w.register(4)
	got := w.takes(l, "a b")
	w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{got.claim("a")}, nil))
	w.kill(4)
	c = w.ask(w.l, want(10))
	w.equal("after a death", []any{"b", true}, []any{jobs(c.Builds), c.Suspects})
	w.drop(m)

	// Whoever may be lost only once more is alone then.
	n := w.detached("a", "b")
	n.Builds[1] = w.newBuild(&jobcontrol.Job{ID: "b", MaxLost: ptr(1), Run: &jobcontrol.Task{Shell: "true"}})
	m = w.create(n)
	expires("a", "b")
	c = w.ask(w.l, want(10))
	w.equal("without the suspect", []any{"a", true}, []any{jobs(c.Builds), c.Suspects})
	w.drop(m)

	// Deaths while it was claimed are forgotten when an attempt ends, also of a build
	// that was lost.
	w.free("a", "b")
	expires("a")
	for pid := 5; pid < 5+jobcontrol.MaxUnproven; pid++ {
		w.ask(w.register(pid), want(1))
		w.kill(pid)
	}
	c = w.ask(w.l, alone)
	w.equal("the suspect", []any{"a", jobcontrol.Running}, []any{jobs(c.Builds), c.Builds[0].State})
	_, err := w.s.Retry(w.ctx, c.Builds[0].Claim, ended(jobcontrol.Failed, 2))
	w.ok(err)
	c = w.ask(w.l, want(10))
	w.equal("proven", []any{"b a", false}, []any{jobs(c.Builds), c.Suspects})
}

// testUnproven: a build that kills its worker before it is marked as running is
// found all the same, since workers die holding its claim.
func testUnproven(w *world) {
	m := w.free("killer", "neighbour")
	lone := w.free("lone")
	alone := want(10)
	alone.Alone = true
	dies := func(pid int, claimed string) {
		w.Helper()
		w.takes(w.register(pid), claimed)
		w.equal("no run is interrupted", 0, len(w.kill(pid)))
	}
	uncharged := func() {
		w.Helper()
		b := w.build(m, "killer")
		w.equal("killer", []any{jobcontrol.Queued, 0, 0, 0, jobcontrol.Claim{}}, []any{b.State, b.Lost, b.Attempts, b.TriesUsed, b.Claim})
	}
	dies(2, "killer neighbour lone")
	uncharged()

	// Whoever goes in peace, or gives back, proves nothing; nor is anything forgotten.
	l := w.register(3)
	w.takes(l, "killer neighbour lone")
	w.ok(w.s.Unregister(w.ctx, l))
	got := w.takes(w.l, "killer neighbour lone")
	w.ok(w.s.GiveBack(w.ctx, []jobcontrol.Claim{got.claim("killer"), got.claim("lone")}))
	// An attempt that ended proves that the build can be executed.
	_, err := w.s.Retry(w.ctx, got.claim("neighbour"), ended(jobcontrol.Failed, 1))
	w.ok(err)

	dies(4, "killer neighbour lone")
	uncharged()
	c := w.ask(w.l, want(10))
	w.equal("without the suspects", []any{"neighbour", true}, []any{jobs(c.Builds), c.Suspects})
	w.ok(w.s.GiveBack(w.ctx, []jobcontrol.Claim{c.Builds[0].Claim}))

	// Its next death is its own.
	l = w.register(5)
	c = w.ask(l, alone)
	w.equal("the suspect", []any{"killer", jobcontrol.Running}, []any{jobs(c.Builds), c.Builds[0].State})
	w.kill(5)
	b := w.build(m, "killer")
	w.equal("killer", []any{jobcontrol.Queued, 1, 1}, []any{b.State, b.Lost, b.Attempts})
	w.drop(m)

	// A suspect whose attempt ends is none any more, also where it is put aside.
	c = w.ask(w.l, alone)
	w.equal("the suspect", "lone", jobs(c.Builds))
	b2, err := w.s.Retry(w.ctx, c.Builds[0].Claim, ended(jobcontrol.Failed, 1))
	w.ok(err)
	w.equal("state", jobcontrol.Queued, b2.State)
	dies(6, "lone")
	dies(7, "lone")
	c = w.ask(w.l, alone)
	w.equal("the suspect", []any{"lone", jobcontrol.Running}, []any{jobs(c.Builds), c.Builds[0].State})
	mustFinish(w, c.Builds[0].Claim, ended(jobcontrol.Suspended, 2))
	_, err = w.s.Steer(w.ctx, lone.ID, jobcontrol.ToResume)
	w.ok(err)
	w.takes(w.l, "lone")
}
