package storetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// unknown is what is said of processes that cannot be seen.
func unknown(jobcontrol.Process) (alive, known bool) { return false, false }

func living(jobcontrol.Process) (alive, known bool) { return true, true }

func (w *world) workers() []int {
	w.Helper()
	workers, err := w.s.Workers(w.ctx)
	w.ok(err)
	var pids []int
	for _, v := range workers {
		if v.Gone {
			w.Fatalf("worker %d is gone", v.ID)
		}
		pids = append(pids, v.Process.PID)
	}
	return pids
}

// testLeases: registered, renewed, taken away.
func testLeases(w *world) {
	p := jobcontrol.Process{PID: 7, StartTime: 1 << 62, BootID: "b", PIDSpace: "s", Host: "h"}
	before := w.now()
	l, err := w.s.Register(w.ctx, p, time.Hour)
	w.ok(err)
	workers, err := w.s.Workers(w.ctx)
	w.ok(err)
	w.equal("workers", 2, len(workers))
	got := workers[1]
	if d := got.LeaseUntil.Sub(before); d < time.Hour-time.Second || d > time.Hour+time.Minute {
		w.Fatalf("the lease ends in %v", d)
	}
	if got.StartedAt.Before(before) {
		w.Fatalf("started at %v, before %v", got.StartedAt, before)
	}
	got.LeaseUntil, got.StartedAt = time.Time{}, time.Time{}
	w.equal("worker", jobcontrol.Worker{ID: l.Worker, Epoch: l.Epoch, Process: p}, got)

	w.ok(w.s.Renew(w.ctx, l, 2*time.Hour))
	workers, err = w.s.Workers(w.ctx)
	w.ok(err)
	if d := workers[1].LeaseUntil.Sub(before); d < 2*time.Hour-time.Second {
		w.Fatalf("the renewed lease ends in %v", d)
	}
	wrong := l
	wrong.Epoch++
	w.refused(w.s.Renew(w.ctx, wrong, time.Hour), jobcontrol.ErrLeaseLost)
	w.refused(w.s.Unregister(w.ctx, wrong), jobcontrol.ErrLeaseLost)
	w.refused(w.s.Renew(w.ctx, jobcontrol.Lease{Worker: 1 << 40, Epoch: 1}, time.Hour), jobcontrol.ErrLeaseLost)

	// A lease is taken away by proof, or, where nothing is seen, at its end.
	short, err := w.s.Register(w.ctx, jobcontrol.Process{PID: 8}, 0)
	w.ok(err)
	found, err := w.s.Rescue(w.ctx, living)
	w.ok(err)
	w.equal("all live", 0, len(found))
	w.equal("workers", []int{1, 7, 8}, w.workers())
	w.ok(w.s.Renew(w.ctx, short, 0))
	_, err = w.s.Rescue(w.ctx, unknown)
	w.ok(err)
	w.equal("one had ended", []int{1, 7}, w.workers())
	w.refused(w.s.Renew(w.ctx, short, time.Hour), jobcontrol.ErrLeaseLost)
	w.refused(w.s.Unregister(w.ctx, short), jobcontrol.ErrLeaseLost)
	w.kill(7)
	w.equal("one was killed", []int{1}, w.workers())
	w.refused(w.s.Renew(w.ctx, l, time.Hour), jobcontrol.ErrLeaseLost)
	w.equal("nothing is left to rescue", 0, len(w.kill(7)))
	w.ok(w.s.Renew(w.ctx, w.l, time.Hour))

	// Numbers of workers are not used again.
	next := w.register(9)
	if next.Worker <= short.Worker {
		w.Fatalf("worker %d after worker %d", next.Worker, short.Worker)
	}
}

// testRescue: running builds are queued again, foreground Runs are interrupted.
func testRescue(w *world) {
	l := w.register(2)
	n := w.graph("a", "b<a", "c", "d", "e")
	n.Lease = &l
	m := w.create(n)
	at := w.now().Add(-time.Minute)
	mustFinish(w, m.claim("d"), ended(jobcontrol.Successful, 1))
	_, err := w.s.Retry(w.ctx, m.claim("c"), ended(jobcontrol.Failed, 1))
	w.ok(err)
	w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{m.claim("a"), m.claim("c")}, []time.Time{at, at}))
	mine := w.run("a", "b<a")
	w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{mine.claim("a")}, nil))

	found := w.kill(2)
	w.equal("interruptions", 1, len(found))
	w.equal("run, builds", []any{m.ID, []int64{m.id("a"), m.id("c")}}, []any{found[0].Run, found[0].Builds})
	w.equal("worker", []any{l.Worker, 2, true}, []any{found[0].Worker.ID, found[0].Worker.Process.PID, found[0].Worker.Gone})
	w.states(m, "a=queued b=waiting c=queued d=successful e=queued")
	w.states(mine, "a=running b=waiting")
	r := w.runOf(m)
	w.equal("state", jobcontrol.RunInterrupted, r.State)
	if !strings.Contains(r.Message, "2") {
		w.Fatalf("the message does not name the process: %q", r.Message)
	}
	for job, attempts := range map[string]int{"a": 1, "c": 2} {
		b := w.build(m, job)
		w.equal("lost, attempts, tries", []int{1, attempts, attempts - 1}, []int{b.Lost, b.Attempts, b.TriesUsed})
		list, err := w.s.Attempts(w.ctx, b.ID)
		w.ok(err)
		last := list[len(list)-1]
		w.equal("attempt", []any{attempts, jobcontrol.FailLost, l.Worker, m.claim(job).Number, at, 16},
			[]any{last.Number, last.Failure.Kind, last.Worker, last.Claim, last.StartedAt, len(last.Failure.Report)})
	}
	e := w.build(m, "e")
	w.equal("what was not started is not lost", []int{0, 0}, []int{e.Lost, e.Attempts})
	w.equal("nothing more to find", 0, len(w.kill(2)))

	_, err = w.s.FinishRun(w.ctx, m.ID, w.l)
	w.refused(err, jobcontrol.ErrLeaseLost)

	// The number of the lost attempt is not used again.
	_, builds, err := w.s.Adopt(w.ctx, m.ID, w.l)
	w.ok(err)
	adopted := made{m.Run, builds}
	w.unchanged("the lost attempt", func() {
		_, err := w.s.Retry(w.ctx, adopted.claim("a"), ended(jobcontrol.Failed, 1))
		w.refused(err, jobcontrol.ErrConflict)
		_, err = w.s.Finish(w.ctx, adopted.claim("a"), ended(jobcontrol.Successful, 1))
		w.refused(err, jobcontrol.ErrConflict)
	})
}

// testRescueLone: a lone build in the foreground is interrupted, too.
func testRescueLone(w *world) {
	l := w.register(2)
	n := w.graph("a")
	n.Lease = &l
	running, idle, done, unclean := w.create(n), w.create(n), w.create(n), w.create(n)
	w.ok(w.s.MarkRan(w.ctx, unclean.claim("a"), w.now()))
	mustFinish(w, unclean.claim("a"), ended(jobcontrol.Failed, 1))
	w.equal("a clean-up step is due", jobcontrol.RunCleaning, w.runOf(unclean).State)
	w.ok(w.s.MarkRan(w.ctx, running.claim("a"), w.now()))
	mustFinish(w, done.claim("a"), ended(jobcontrol.Successful, 1))
	found := w.kill(2)
	w.equal("interruptions", 3, len(found))
	w.equal("builds", []any{running.ID, []int64{running.ID}, idle.ID, 0, unclean.ID, 0},
		[]any{found[0].Run, found[0].Builds, found[1].Run, len(found[1].Builds), found[2].Run, len(found[2].Builds)})
	for _, m := range []made{running, idle} {
		r := w.runOf(m)
		w.equal("state", jobcontrol.RunInterrupted, r.State)
		w.equal("nobody's", []int64{0, 0}, []int64{r.Worker, w.build(m, "a").Claim.Number})
		if r.Message == "" {
			w.Fatal("no message")
		}
	}
	w.equal("state", jobcontrol.RunSuccessful, w.runOf(done).State)
	runs, err := w.s.ListRuns(w.ctx, jobcontrol.RunFilter{States: []jobcontrol.RunState{jobcontrol.RunInterrupted}})
	w.ok(err)
	w.equal("interrupted", 3, len(runs))

	r, builds, err := w.s.Adopt(w.ctx, running.ID, w.l)
	w.ok(err)
	w.equal("run", []any{jobcontrol.RunRunning, w.l.Worker, ""}, []any{r.State, r.Worker, r.Message})
	mustFinish(w, builds[0].Claim, ended(jobcontrol.Successful, 2))
	cleaning, err := w.s.StartCleaning(w.ctx, running.ID, w.l)
	w.ok(err)
	w.equal("to clean up", 1, len(cleaning))

	// The worker dies while it cleans up.
	w.kill(1)
	w.equal("state", jobcontrol.RunInterrupted, w.runOf(running).State)
	w.equal("build", jobcontrol.Successful, w.build(running, "a").State)
	w.l = w.register(3)
	r, builds, err = w.s.Adopt(w.ctx, running.ID, w.l)
	w.ok(err)
	w.equal("state", jobcontrol.RunCleaning, r.State)
	w.ok(w.s.Cleaned(w.ctx, builds[0].Claim, ended(jobcontrol.Successful, 3)))
	r, err = w.s.FinishRun(w.ctx, running.ID, w.l)
	w.ok(err)
	w.equal("state", jobcontrol.RunSuccessful, r.State)

	r, _, err = w.s.Adopt(w.ctx, unclean.ID, w.l)
	w.ok(err)
	w.equal("state", jobcontrol.RunCleaning, r.State)
	r, err = w.s.FinishRun(w.ctx, unclean.ID, w.l)
	w.ok(err)
	w.equal("state", jobcontrol.RunFailed, r.State)

	r, err = w.s.RequestCancel(w.ctx, idle.ID)
	w.ok(err)
	w.equal("state", jobcontrol.RunCancelled, r.State)
}

// testRescueMaxLost: a build that takes its workers with it fails at last.
func testRescueMaxLost(w *world) {
	for _, test := range []struct {
		job  jobcontrol.Job
		lost int // how often until it fails
	}{
		{jobcontrol.Job{ID: "default"}, 4},
		{jobcontrol.Job{ID: "once", MaxLost: ptr(1)}, 2},
		{jobcontrol.Job{ID: "never", MaxLost: ptr(0)}, 1},
		{jobcontrol.Job{ID: "fail", OnLost: "fail"}, 1},
	} {
		n := w.graph("other", "next<other", "after<next")
		n.Builds[0] = w.newBuild(&test.job)
		pid := 100
		l := w.register(pid)
		n.Lease = &l
		m := w.create(n)
		builds := m.builds
		for i := 1; ; i++ {
			if i > 1 {
				pid++
				l = w.register(pid)
				var err error
				_, builds, err = w.s.Adopt(w.ctx, m.ID, l)
				w.ok(err)
			}
			w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{builds[0].Claim}, nil))
			found := w.kill(pid)
			w.equal("found", []int64{m.builds[0].ID}, found[0].Builds)
			b, err := w.s.Build(w.ctx, m.builds[0].ID)
			w.ok(err)
			w.equal("lost", []int{i, i}, []int{b.Lost, b.Attempts})
			if i < test.lost {
				w.equal("state", jobcontrol.Queued, b.State)
				continue
			}
			w.states(m, test.job.ID+"=failed next=blocked after=blocked")
			w.equal("kind", jobcontrol.FailLost, b.Failure.Kind)
			if !strings.Contains(b.Failure.Message, fmt.Sprint("process ", pid)) {
				w.Fatalf("the message does not name the process: %q", b.Failure.Message)
			}
			attempts, err := w.s.Attempts(w.ctx, b.ID)
			w.ok(err)
			w.equal("attempts", i, len(attempts))
			w.equal("state", jobcontrol.RunInterrupted, w.runOf(m).State)
			break
		}
	}
}

// testRescueCancelled: rescue carries out a cancel whose worker is gone.
func testRescueCancelled(w *world) {
	l := w.register(2)
	n := w.graph("a", "b<a", "c")
	n.Lease = &l
	m := w.create(n)
	mustFinish(w, m.claim("c"), ended(jobcontrol.Successful, 1))
	w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{m.claim("a")}, nil))
	n = w.graph("lone")
	n.Lease = &l
	lone := w.create(n)
	for _, m := range []made{m, lone} {
		_, err := w.s.RequestCancel(w.ctx, m.ID)
		w.ok(err)
	}
	w.equal("interruptions", 0, len(w.kill(2)))
	w.states(m, "a=cancelled b=cancelled c=successful")
	w.equal("state", jobcontrol.RunCancelled, w.runOf(m).State)
	w.equal("state", jobcontrol.RunCancelled, w.runOf(lone).State)
}

// testUnregister: a worker that goes in peace leaves nothing that counts as lost.
func testUnregister(w *world) {
	l := w.register(2)
	w.ok(w.s.Unregister(w.ctx, l))
	w.equal("workers", []int{1}, w.workers())
	w.unchanged("a repeated Unregister", func() { w.ok(w.s.Unregister(w.ctx, l)) })
	w.refused(w.s.Renew(w.ctx, l, time.Hour), jobcontrol.ErrLeaseLost)

	l = w.register(3)
	n := w.graph("a", "b<a")
	n.Lease = &l
	m := w.create(n)
	w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{m.claim("a")}, nil))
	w.ok(w.s.Unregister(w.ctx, l))
	w.states(m, "a=queued b=waiting")
	a := w.build(m, "a")
	w.equal("lost, attempts", []int{0, 0}, []int{a.Lost, a.Attempts})
	w.equal("state", jobcontrol.RunInterrupted, w.runOf(m).State)
	_, err := w.s.Finish(w.ctx, m.claim("a"), ended(jobcontrol.Successful, 1))
	w.refused(err, jobcontrol.ErrLeaseLost)
}

// testAdopt: an interrupted Run goes on under another worker.
func testAdopt(w *world) {
	l := w.register(2)
	ready := w.now().Add(time.Hour).Truncate(time.Second)
	n := w.graph("a", "b<a", "c", "d<c", "e")
	n.Builds[4].Build.ReadyAt = ready
	n.Lease = &l
	m := w.create(n)
	mustFinish(w, m.claim("c"), ended(jobcontrol.Successful, 1))
	w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{m.claim("a")}, nil))
	w.unchanged("Adopt of a running run", func() {
		_, _, err := w.s.Adopt(w.ctx, m.ID, w.l)
		w.refused(err, jobcontrol.ErrConflict)
	})
	w.kill(2)
	r, builds, err := w.s.Adopt(w.ctx, m.ID, w.l)
	w.ok(err)
	w.equal("run", []any{jobcontrol.RunRunning, w.l.Worker, ""}, []any{r.State, r.Worker, r.Message})
	w.equal("stored run", *r, w.runOf(m))
	w.equal("builds", "a b c d e", jobs(builds))
	w.states(m, "a=queued b=waiting c=successful d=queued e=scheduled")
	seen := map[int64]bool{}
	for i, b := range builds {
		stored, err := w.s.Build(w.ctx, b.ID)
		w.ok(err)
		w.equal("build", *stored, b)
		if b.State.Final() {
			w.equal("claim of what is final", m.builds[i].Claim, b.Claim)
			continue
		}
		c := b.Claim
		if c.Worker != w.l.Worker || c.Epoch != w.l.Epoch || c.Number <= m.builds[4].Claim.Number || seen[c.Number] {
			w.Fatalf("claim of build %d: %+v", b.ID, c)
		}
		seen[c.Number] = true
	}
	w.unchanged("a repeated Adopt", func() {
		_, again, err := w.s.Adopt(w.ctx, m.ID, w.l)
		w.ok(err)
		w.equal("answer", builds, again)
	})
	adopted := made{r, builds}
	w.equal("released", "b", released(mustFinish(w, adopted.claim("a"), ended(jobcontrol.Successful, 2))))
	w.finish(adopted, "b", jobcontrol.Successful)
	w.finish(adopted, "d", jobcontrol.Successful)
	w.finish(adopted, "e", jobcontrol.Successful)
	r, err = w.s.FinishRun(w.ctx, m.ID, w.l)
	w.ok(err)
	w.equal("state", jobcontrol.RunSuccessful, r.State)
	w.unchanged("Adopt of a final run", func() {
		_, _, err := w.s.Adopt(w.ctx, m.ID, w.l)
		w.refused(err, jobcontrol.ErrConflict)
	})
	_, _, err = w.s.Adopt(w.ctx, 1<<30, w.l)
	w.refused(err, jobcontrol.ErrNotFound)

	// What is suspended is resumed with its Run.
	l = w.register(3)
	n = w.graph("a", "b<a", "c")
	n.Lease = &l
	m = w.create(n)
	mustFinish(w, m.claim("a"), ended(jobcontrol.Suspended, 1))
	mustFinish(w, m.claim("c"), ended(jobcontrol.Successful, 1))
	w.ok(w.s.Unregister(w.ctx, l))
	r = ptr(w.runOf(m))
	if r.State != jobcontrol.RunInterrupted || !strings.Contains(r.Message, "suspended") {
		w.Fatalf("the run is %s: %q", r.State, r.Message)
	}
	w.states(m, "a=suspended b=waiting c=successful")
	_, builds, err = w.s.Adopt(w.ctx, m.ID, w.l)
	w.ok(err)
	w.states(m, "a=queued b=waiting c=successful")
	w.equal("released", "b", released(mustFinish(w, made{m.Run, builds}.claim("a"), ended(jobcontrol.Successful, 2))))

	n = w.graph("a", "b")
	n.Lease = nil
	free := w.create(n)
	w.unchanged("Adopt of a run in the background", func() {
		_, _, err := w.s.Adopt(w.ctx, free.ID, w.l)
		w.refused(err, jobcontrol.ErrConflict)
	})
}

// testAdoptForCleaning: a final Run whose clean-up steps were left out can be
// cleaned up later.
func testAdoptForCleaning(w *world) {
	for _, nodes := range [][]string{{"a", "b"}, {"a"}} {
		n := w.graph(nodes...)
		n.Run.NoCleanup = true
		m := w.create(n)
		w.ok(w.s.MarkRan(w.ctx, m.claim("a"), w.now()))
		for _, b := range m.builds {
			w.finish(m, b.Job, jobcontrol.Successful)
		}
		_, err := w.s.FinishRun(w.ctx, m.ID, w.l)
		w.ok(err)

		other := w.register(5)
		r, builds, err := w.s.Adopt(w.ctx, m.ID, other)
		w.ok(err)
		w.equal("run", []any{jobcontrol.RunCleaning, other.Worker, jobcontrol.Successful}, []any{r.State, r.Worker, builds[0].State})
		todo, err := w.s.StartCleaning(w.ctx, m.ID, other)
		w.ok(err)
		w.equal("to clean up", "a", jobs(todo))
		w.unchanged("the old claim", func() {
			w.refused(w.s.Cleaned(w.ctx, m.claim("a"), ended(jobcontrol.Successful, 2)), jobcontrol.ErrLeaseLost)
		})
		w.ok(w.s.Cleaned(w.ctx, todo[0].Claim, ended(jobcontrol.Successful, 2)))
		r, err = w.s.FinishRun(w.ctx, m.ID, other)
		w.ok(err)
		w.equal("state", jobcontrol.RunSuccessful, r.State)
		w.unchanged("nothing is left to clean up", func() {
			_, _, err := w.s.Adopt(w.ctx, m.ID, other)
			w.refused(err, jobcontrol.ErrConflict)
		})
	}

	// A job without a clean-up step leaves none.
	n := w.graph("a", "b")
	job := jobcontrol.Job{ID: "plain", Run: &jobcontrol.Task{Shell: "true"}}
	n.Builds[0] = w.newBuild(&job)
	m := w.create(n)
	w.ok(w.s.MarkRan(w.ctx, m.claim("plain"), w.now()))
	w.finish(m, "plain", jobcontrol.Successful)
	w.finish(m, "b", jobcontrol.Successful)
	_, err := w.s.FinishRun(w.ctx, m.ID, w.l)
	w.ok(err)
	_, _, err = w.s.Adopt(w.ctx, m.ID, w.l)
	w.refused(err, jobcontrol.ErrConflict)
}
