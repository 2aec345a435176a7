package storetest

import (
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// writes are all methods that write under a claim or a lease, called for a build
// of a Run.
func (w *world) writes(run int64, c jobcontrol.Claim, l jobcontrol.Lease) map[string]func() error {
	e := func(state jobcontrol.State) jobcontrol.Ended {
		e := ended(state, 9)
		e.Logs = []jobcontrol.LogRecord{{Message: "stale"}}
		e.Progress = []jobcontrol.Progress{{Status: "stale"}}
		e.Result = raw("stale")
		return e
	}
	calls := map[string]func() error{
		"Start":   func() error { return w.s.Start(w.ctx, []jobcontrol.Claim{c}, []time.Time{w.now()}) },
		"MarkRan": func() error { return w.s.MarkRan(w.ctx, c, w.now()) },
		"Retry": func() error {
			_, err := w.s.Retry(w.ctx, c, e(jobcontrol.Failed))
			return err
		},
		"Expand": func() error {
			_, err := w.s.Expand(w.ctx, c, w.expansion(9, "x", "stale"))
			return err
		},
		"Cancel":  func() error { return w.s.Cancel(w.ctx, []jobcontrol.Claim{c}, "stale") },
		"Cleaned": func() error { return w.s.Cleaned(w.ctx, c, e(jobcontrol.Successful)) },
		"Report": func() error {
			return w.s.Report(w.ctx, c, []jobcontrol.LogRecord{{Message: "stale"}}, []jobcontrol.Progress{{Status: "stale"}})
		},
		"SharedSet": func() error {
			_, err := w.s.SharedSet(w.ctx, c, "key", raw("stale"), -1)
			return err
		},
	}
	for _, state := range []jobcontrol.State{
		jobcontrol.Successful, jobcontrol.Skipped, jobcontrol.Failed, jobcontrol.Cancelled, jobcontrol.Suspended,
	} {
		calls["Finish "+state.String()] = func() error {
			_, err := w.s.Finish(w.ctx, c, e(state))
			return err
		}
	}
	if l != (jobcontrol.Lease{}) {
		n := w.graph("new")
		n.Lease = &l
		calls["CreateRun"] = func() error {
			_, _, err := w.s.CreateRun(w.ctx, n)
			return err
		}
		calls["Renew"] = func() error { return w.s.Renew(w.ctx, l, time.Hour) }
		calls["Unregister"] = func() error { return w.s.Unregister(w.ctx, l) }
		calls["StartCleaning"] = func() error {
			_, err := w.s.StartCleaning(w.ctx, run, l)
			return err
		}
		calls["FinishRun"] = func() error {
			_, err := w.s.FinishRun(w.ctx, run, l)
			return err
		}
		calls["Adopt"] = func() error {
			_, _, err := w.s.Adopt(w.ctx, run, l)
			return err
		}
	}
	return calls
}

// kill lets Rescue find that the processes with these numbers are gone.
func (w *world) kill(pids ...int) []jobcontrol.Interruption {
	w.Helper()
	found, err := w.s.Rescue(w.ctx, dead(pids...))
	w.ok(err)
	return found
}

func dead(pids ...int) func(jobcontrol.Process) (alive, known bool) {
	return func(p jobcontrol.Process) (alive, known bool) {
		for _, pid := range pids {
			if p.PID == pid {
				return false, true
			}
		}
		return true, true
	}
}

// testFence: what a worker writes after its lease was taken away is refused and
// changes nothing, whatever the state of its builds has become.
func testFence(w *world) {
	zombie := w.register(2)
	n := w.graph("a", "b<a", "c<b", "d")
	n.Lease = &zombie
	m := w.create(n)
	for _, job := range []string{"a", "d"} {
		w.ok(w.s.MarkRan(w.ctx, m.claim(job), w.now()))
	}
	w.ok(w.s.Report(w.ctx, m.claim("a"), []jobcontrol.LogRecord{{Message: "alive"}}, []jobcontrol.Progress{{Status: "alive"}}))
	_, err := w.s.SharedSet(w.ctx, m.claim("a"), "key", raw("alive"), 0)
	w.ok(err)
	mustFinish(w, m.claim("d"), ended(jobcontrol.Failed, 1))

	stale := func(when string) {
		w.Helper()
		for _, job := range []string{"a", "b", "d"} {
			for name, call := range w.writes(m.ID, m.claim(job), zombie) {
				w.unchanged(when+": "+name+" of "+job, func() { w.refused(call(), jobcontrol.ErrLeaseLost) })
			}
		}
	}
	w.equal("interrupted", 1, len(w.kill(2)))
	stale("after the rescue")

	_, builds, err := w.s.Adopt(w.ctx, m.ID, w.l)
	w.ok(err)
	adopted := made{m.Run, builds}
	stale("after the adoption")
	// Nor does an old number hold under a lease that is held.
	for _, job := range []string{"a", "b"} {
		c := m.claim(job)
		c.Worker, c.Epoch = w.l.Worker, w.l.Epoch
		for name, call := range w.writes(m.ID, c, jobcontrol.Lease{}) {
			w.unchanged("old number: "+name, func() { w.refused(call(), jobcontrol.ErrLeaseLost) })
		}
	}
	w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{adopted.claim("a")}, nil))
	stale("while another executes it")
	mustFinish(w, adopted.claim("a"), ended(jobcontrol.Successful, 2))
	stale("after another has finished it")
	w.states(m, "a=successful b=queued c=waiting d=failed")
}

// testForeignClaims: a claim is that of one build, worker, epoch and number.
func testForeignClaims(w *world) {
	other := w.register(2)
	m := w.run("a", "b<a", "c")
	for name, change := range map[string]func(c *jobcontrol.Claim){
		"worker":         func(c *jobcontrol.Claim) { c.Worker = other.Worker },
		"unknown worker": func(c *jobcontrol.Claim) { c.Worker = 1 << 40 },
		"epoch":          func(c *jobcontrol.Claim) { c.Epoch++ },
		"number":         func(c *jobcontrol.Claim) { c.Number++ },
		"no number":      func(c *jobcontrol.Claim) { c.Number = 0 },
		"nothing":        func(c *jobcontrol.Claim) { *c = jobcontrol.Claim{Build: c.Build} },
		"build":          func(c *jobcontrol.Claim) { c.Build = m.id("c") },
	} {
		c := m.claim("a")
		change(&c)
		for method, call := range w.writes(m.ID, c, jobcontrol.Lease{}) {
			w.unchanged(name+": "+method, func() { w.refused(call(), jobcontrol.ErrLeaseLost) })
		}
	}
	gone := m.claim("a")
	gone.Build = 1 << 30
	for method, call := range w.writes(m.ID, gone, jobcontrol.Lease{}) {
		w.unchanged("no such build: "+method, func() { w.refused(call(), jobcontrol.ErrNotFound) })
	}
	// What nobody has claimed is not executed.
	n := w.graph("free")
	n.Lease = nil
	free := w.create(n)
	for method, call := range w.writes(free.ID, jobcontrol.Claim{Build: free.id("free")}, jobcontrol.Lease{}) {
		if method != "Cancel" {
			w.unchanged("not claimed: "+method, func() { w.refused(call(), jobcontrol.ErrLeaseLost) })
		}
	}
	// Nor is a Run ended by another worker than its own.
	for name, call := range w.writes(m.ID, m.claim("a"), other) {
		switch name {
		case "StartCleaning", "FinishRun":
			w.unchanged("another worker: "+name, func() { w.refused(call(), jobcontrol.ErrLeaseLost) })
		case "Adopt":
			w.unchanged("another worker: "+name, func() { w.refused(call(), jobcontrol.ErrConflict) })
		}
	}
}
