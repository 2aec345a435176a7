package storetest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// detached is graph for a Run that any worker may execute.
func (w *world) detached(nodes ...string) jobcontrol.NewRun {
	w.Helper()
	n := w.graph(nodes...)
	n.Lease = nil
	return n
}

// free creates what detached describes.
func (w *world) free(nodes ...string) made {
	w.Helper()
	return w.create(w.detached(nodes...))
}

// want asks for n builds of the services; none named: of the default one.
func want(n int, services ...string) jobcontrol.Wanted {
	if len(services) == 0 {
		services = []string{jobcontrol.DefaultService}
	}
	return jobcontrol.Wanted{N: n, Services: services}
}

// ask is Claim.
func (w *world) ask(l jobcontrol.Lease, wanted jobcontrol.Wanted) *jobcontrol.Claimed {
	w.Helper()
	c, err := w.s.Claim(w.ctx, l, wanted)
	w.ok(err)
	if c == nil {
		w.Fatal("Claim answered nothing")
	}
	return c
}

// take claims what there is in the services, a hundred builds at most.
func (w *world) take(l jobcontrol.Lease, services ...string) made {
	w.Helper()
	return made{builds: w.ask(l, want(100, services...)).Builds}
}

// takes is take that must give the jobs, in this order.
func (w *world) takes(l jobcontrol.Lease, names string, services ...string) made {
	w.Helper()
	m := w.take(l, services...)
	w.equal("claimed", names, jobs(m.builds))
	return m
}

// drop empties the queue: what is unfinished and detached is cancelled.
func (w *world) drop(runs ...made) {
	w.Helper()
	for _, m := range runs {
		if _, err := w.s.RequestCancel(w.ctx, m.ID); err != nil {
			w.refused(err, jobcontrol.ErrConflict)
		}
	}
}

// claimed returns a job's build, which the worker must have claimed.
func (w *world) claimed(m made, job string, l jobcontrol.Lease) jobcontrol.Build {
	w.Helper()
	b := w.build(m, job)
	if b.Claim.Worker != l.Worker || b.Claim.Epoch != l.Epoch || b.Claim.Build != b.ID || b.Claim.Number <= 0 {
		w.Fatalf("build %d has the claim %+v, want one of %+v", b.ID, b.Claim, l)
	}
	return b
}

// testClaim: what a worker is given is complete, and its own.
func testClaim(w *world) {
	n := w.detached("a", "b<a", "c")
	n.Builds[2].Build = jobcontrol.Build{
		Job: "c", Tries: 5, RetryDelay: 7 * time.Second, Args: raw([]any{1, "x"}), Kwargs: raw(map[string]any{"k": nil}),
		Pins: map[string]int64{"old": 12}, AgainOf: 3, Why: "because", Priority: 2,
	}
	m := w.create(n)
	w.equal("worker of the run", int64(0), m.Worker)
	for _, b := range m.builds {
		w.equal("claim of what nobody has claimed", jobcontrol.Claim{}, b.Claim)
	}
	w.equal("none of another service", 0, len(w.take(w.l, "other").builds))
	w.equal("none of no service", 0, len(w.ask(w.l, jobcontrol.Wanted{N: 1}).Builds))
	wanted := want(1)
	wanted.Project = "other"
	w.equal("none of another project", 0, len(w.ask(w.l, wanted).Builds))
	_, err := w.s.Claim(w.ctx, w.l, want(0))
	w.refused(err, jobcontrol.ErrInvalid)

	c := w.ask(w.l, want(10))
	w.equal("claimed", "c a", jobs(c.Builds))
	w.equal("more, suspects", []bool{false, false}, []bool{c.More, c.Suspects})
	w.states(m, "a=queued b=waiting c=queued")
	for _, b := range c.Builds {
		want := w.claimed(m, b.Job, w.l)
		want.Dependants = nil
		w.equal("claimed build", want, b)
	}
	if c.Builds[0].Claim.Number == c.Builds[1].Claim.Number {
		w.Fatal("two builds have the same number")
	}
	w.equal("args", `[1,"x"]`, string(c.Builds[0].Args))
	w.equal("nothing is given twice", 0, len(w.take(w.l).builds))
	w.equal("nor to another", 0, len(w.take(w.register(2)).builds))

	// Claims that are not marked as started are no running builds.
	heads, err := w.s.Heads(w.ctx, "", []string{"a"})
	w.ok(err)
	w.equal("running", 0, heads["a"].RunningBuilds)
	at := w.now()
	w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{c.Builds[1].Claim}, []time.Time{at}))
	w.states(m, "a=running b=waiting c=queued")
	w.equal("started", at, w.build(m, "a").StartedAt)

	// A project's builds are its own.
	n = w.detached("x")
	n.Run.Project = "p"
	p := w.create(n)
	w.equal("not of the project", 0, len(w.take(w.l).builds))
	wanted = want(1)
	wanted.Project = "p"
	w.equal("of the project", p.ID, w.ask(w.l, wanted).Builds[0].ID)
}

// testClaimOrder: rank, then phase, then place, then id; over all services that
// are asked for.
func testClaimOrder(w *world) {
	base := w.now().Add(-time.Hour).Truncate(time.Second)
	make := func(name string, at time.Time, priority int, service string) {
		n := w.detached(name)
		n.Builds[0].Build.ReadyAt, n.Builds[0].Build.Priority, n.Builds[0].Build.Service = at, priority, service
		w.create(n)
	}
	// A point of priority is worth a minute.
	make("later", base.Add(30*time.Second), 0, "")
	make("first", base.Add(3*time.Minute), 4, "")
	make("base", base, 0, "")
	make("last", base.Add(-time.Minute), -3, "")
	make("minute", base.Add(59*time.Second), 1, "")
	var order []string
	for range 5 {
		c := w.ask(w.l, want(1))
		w.equal("more", len(order) < 4, c.More)
		order = append(order, jobs(c.Builds))
	}
	w.equal("one by one", "first minute base later last", strings.Join(order, " "))

	// Without a time, it is that of the creation.
	w.free("young")
	make("old", base, 0, "")
	w.takes(w.l, "old young")

	// The same rank: the phase, the place, the id.
	same := func(nodes ...string) made {
		n := w.detached(nodes...)
		for i := range n.Builds {
			n.Builds[i].Build.ReadyAt = base
		}
		return w.create(n)
	}
	same("a0", "a1", "a2")
	same("b0", "b1")
	same("lone")
	m := w.takes(w.l, "a0 b0 lone a1 b1 a2")
	for _, job := range []string{"a0", "b1", "lone"} {
		e := ended(jobcontrol.Failed, 1)
		e.ReadyAt = base
		_, err := w.s.Retry(w.ctx, m.claim(job), e)
		w.ok(err)
	}
	same("c0", "c1")
	same("d")
	w.takes(w.l, "c0 d c1 a0 lone b1")
}

// testClaimServices: the best of several services goes first.
func testClaimServices(w *world) {
	base := w.now().Add(-time.Hour).Truncate(time.Second)
	for i, service := range []string{"x", "", "y", "default", "x", "y", "x"} {
		n := w.detached(fmt.Sprintf("%d%s", i, cmp.Or(service, "d")))
		n.Builds[0].Build.Service, n.Builds[0].Build.ReadyAt = service, base.Add(time.Duration(i)*time.Second)
		m := w.create(n)
		if service == jobcontrol.DefaultService {
			service = ""
		}
		w.equal("service", service, w.build(m, n.Builds[0].Build.Job).Service)
	}
	c := w.ask(w.l, want(2, "x", "y", "default"))
	w.equal("the first two", "0x 1d", jobs(c.Builds))
	w.equal("more", true, c.More)
	w.takes(w.l, "2y 5y", "y")
	c = w.ask(w.l, want(2, "y", "default", "nobody", "x"))
	w.equal("the next two", "3default 4x", jobs(c.Builds))
	w.equal("more", true, c.More)
	c = w.ask(w.l, want(1, "x"))
	w.equal("the rest", "6x", jobs(c.Builds))
	w.equal("no more", false, c.More)
}

// testClaimConcurrent: many workers that ask at once are given each build once.
func testClaimConcurrent(w *world) {
	const workers, size = 8, 300
	var many []jobcontrol.NewRun
	for i := range size {
		n := w.detached(fmt.Sprint("job", i%7))
		n.Builds[0].Build.Service = []string{"", "x", "y"}[i%3]
		many = append(many, n)
	}
	ids, err := w.s.CreateRuns(w.ctx, many)
	w.ok(err)
	w.equal("created", size, len(ids))
	var mu sync.Mutex
	var errs []error
	seen := map[int64]int{}
	var wg sync.WaitGroup
	for i := range workers {
		l := w.register(10 + i)
		wg.Go(func() {
			for {
				c, err := w.s.Claim(w.ctx, l, want(1+i, "default", "y", "x"))
				if err == nil && len(c.Builds) == 0 {
					return
				}
				for j := 0; err == nil && j < len(c.Builds); j++ {
					b := &c.Builds[j]
					mu.Lock()
					seen[b.ID]++
					mu.Unlock()
					if b.Claim.Worker != l.Worker {
						err = fmt.Errorf("the claim is %+v", b.Claim)
						break
					}
					_, err = w.s.Finish(w.ctx, b.Claim, ended(jobcontrol.Successful, 1))
				}
				if err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
					return
				}
			}
		})
	}
	wg.Wait()
	w.ok(errors.Join(errs...))
	w.equal("builds", size, len(seen))
	for id, n := range seen {
		if n != 1 {
			w.Fatalf("build %d was given %d times", id, n)
		}
	}
	for _, id := range ids {
		r, err := w.s.Run(w.ctx, id)
		w.ok(err)
		w.equal("state", jobcontrol.RunSuccessful, r.State)
	}
	heads, err := w.s.Heads(w.ctx, "", nil)
	w.ok(err)
	for job, h := range heads {
		w.equal("unfinished "+job, 0, h.Unfinished)
		w.equal("good "+job, h.Latest, h.Good)
	}
}

// testClaimForeground: what a program executes in the foreground is never given
// to others, nor is it when that program has died.
func testClaimForeground(w *world) {
	l := w.register(2)
	for _, nodes := range [][]string{{"a", "b<a"}, {"a"}} {
		n := w.graph(nodes...)
		n.Lease = &l
		w.create(n)
	}
	w.equal("of a program", 0, len(w.take(w.l).builds))
	w.equal("interrupted", 2, len(w.kill(2)))
	w.equal("of a dead program", 0, len(w.take(w.l).builds))
	n, next, err := w.s.Promote(w.ctx, 10)
	w.ok(err)
	w.equal("promoted", []any{0, true}, []any{n, next.IsZero()})
}

// testClaimLease: a lease that has ended, or was taken away, claims nothing.
func testClaimLease(w *world) {
	w.free("a")
	ended, err := w.s.Register(w.ctx, jobcontrol.Process{PID: 2}, time.Nanosecond)
	w.ok(err)
	gone := w.register(3)
	w.ok(w.s.Unregister(w.ctx, gone))
	dead := w.register(4)
	w.kill(4)
	epoch := w.l
	epoch.Epoch++
	for name, l := range map[string]jobcontrol.Lease{
		"ended": ended, "gone": gone, "dead": dead, "another epoch": epoch, "unknown": {Worker: 1 << 40, Epoch: 1}, "none": {},
	} {
		w.unchanged(name, func() {
			_, err := w.s.Claim(w.ctx, l, want(1))
			w.refused(err, jobcontrol.ErrLeaseLost)
			_, err = w.s.ClaimCleanup(w.ctx, l, want(1))
			w.refused(err, jobcontrol.ErrLeaseLost)
		})
	}
	w.ok(w.s.Renew(w.ctx, ended, time.Hour))
	w.takes(ended, "a")
}

// testGiveBack: what is given back is queued again, and counts nothing.
func testGiveBack(w *world) {
	m := w.free("a", "b", "c", "d<c")
	lone := w.free("lone")
	before := map[string]jobcontrol.Build{}
	for _, job := range []string{"a", "b", "c"} {
		before[job] = w.build(m, job)
	}
	got := w.takes(w.l, "a b c lone")
	w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{got.claim("b"), got.claim("lone")}, nil))
	mustFinish(w, got.claim("c"), ended(jobcontrol.Failed, 1))
	foreground := w.run("f")
	stale := got.claim("a")
	stale.Number--
	claims := []jobcontrol.Claim{
		got.claim("b"), stale, got.claim("c"), foreground.claim("f"), {Build: 1 << 30, Worker: w.l.Worker, Epoch: w.l.Epoch, Number: 1}, got.claim("lone"),
	}
	w.ok(w.s.GiveBack(w.ctx, claims))
	w.states(m, "a=queued b=queued c=failed d=blocked")
	w.states(lone, "lone=queued")
	w.equal("state", jobcontrol.Queued, w.build(foreground, "f").State)
	w.equal("claim", foreground.claim("f"), w.build(foreground, "f").Claim)
	b := w.build(m, "b")
	w.equal("claim", jobcontrol.Claim{}, b.Claim)
	w.equal("counts", []int{0, 0, 0, 0}, []int{b.Attempts, b.TriesUsed, b.Lost, b.Phase})
	w.claimed(m, "a", w.l)
	w.unchanged("a repeated GiveBack", func() { w.ok(w.s.GiveBack(w.ctx, claims)) })
	for name, call := range w.writes(m.ID, got.claim("b"), jobcontrol.Lease{}) {
		w.unchanged("what was given back: "+name, func() { w.refused(call(), jobcontrol.ErrLeaseLost) })
	}
	other := w.register(2)
	again := w.takes(other, "b lone")
	if again.claim("b").Number <= got.claim("b").Number {
		w.Fatal("the number of a later claim is not greater")
	}
	w.unchanged("an old claim", func() { w.ok(w.s.GiveBack(w.ctx, claims)) })
	mustFinish(w, again.claim("b"), ended(jobcontrol.Successful, 1))
	w.ok(w.s.GiveBack(w.ctx, []jobcontrol.Claim{got.claim("a")}))
	w.equal("as before", before["a"], w.build(m, "a"))
	w.ok(w.s.GiveBack(w.ctx, nil))
}

// soon creates what make describes, given a time that has not come when it was
// created, and returns when that has come.
func (w *world) soon(make func(at time.Time) made) made {
	w.Helper()
	for delay := 20 * time.Millisecond; ; delay *= 2 {
		at := w.now().Add(delay)
		m := make(at)
		b := slices.IndexFunc(m.builds, func(b jobcontrol.Build) bool { return b.State == jobcontrol.Scheduled })
		if b < 0 {
			w.forget(m) // it took too long
			continue
		}
		for !w.now().After(at) {
		}
		return m
	}
}

// testPromote: what is scheduled is queued when its time has come, in pages.
func testPromote(w *world) {
	n, next, err := w.s.Promote(w.ctx, 10)
	w.ok(err)
	w.equal("nothing", []any{0, true}, []any{n, next.IsZero()})
	far := w.now().Add(time.Hour).Truncate(time.Second)
	scheduled := func(at time.Time, nodes ...string) made {
		n := w.detached(nodes...)
		for i := range n.Builds {
			n.Builds[i].Build.ReadyAt = at
		}
		return w.create(n)
	}
	later := scheduled(far.Add(time.Minute), "later")
	lone := scheduled(far, "far")
	w.equal("state", jobcontrol.Scheduled, w.build(lone, "far").State)
	w.equal("nothing is given", 0, len(w.take(w.l).builds))
	n, next, err = w.s.Promote(w.ctx, 10)
	w.ok(err)
	w.equal("not yet", []any{0, far}, []any{n, next})

	m := w.soon(func(at time.Time) made { return scheduled(at, "a", "b", "c<a", "d", "e") })
	w.equal("nothing is given", 0, len(w.take(w.l).builds))
	n, next, err = w.s.Promote(w.ctx, 3)
	w.ok(err)
	w.equal("a page", 3, n)
	if next.After(w.now()) {
		w.Fatalf("the next one is due at %v", next)
	}
	n, next, err = w.s.Promote(w.ctx, 3)
	w.ok(err)
	w.equal("the rest", []any{1, far}, []any{n, next})
	w.states(m, "a=queued b=queued c=waiting d=queued e=queued")
	w.takes(w.l, "a b d e")
	n, _, err = w.s.Promote(w.ctx, 3)
	w.ok(err)
	w.equal("nothing is left", 0, n)
	w.drop(later, lone)
	_, next, err = w.s.Promote(w.ctx, 3)
	w.ok(err)
	w.equal("none is scheduled", true, next.IsZero())
}

// forget cancels a Run and deletes its builds.
func (w *world) forget(m made) {
	w.Helper()
	w.drop(m)
	for _, b := range m.builds {
		_, err := w.s.DeleteBuild(w.ctx, b.ID)
		w.ok(err)
	}
}
