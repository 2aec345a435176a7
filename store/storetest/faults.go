package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// testFaults: whichever call of a write fails, before it was executed or after,
// repeating it leads to the state that there would be without the fault.
func testFaults(t *testing.T, open Open) {
	plain := newWorld(t, open)
	counter := Faulty(plain.s)
	plain.s = counter
	counter.Set()
	plain.story(func(_ string, call func() error) { plain.ok(call()) })
	calls := map[string]int{}
	for _, method := range writers {
		if calls[method] = counter.Calls(method); calls[method] == 0 {
			t.Fatalf("the story does not call %s", method)
		}
	}
	want := timeless(plain.snapshot())
	methods := writers
	if _, ok := counter.(jobcontrol.Finisher); ok {
		methods = append(slices.Clip(writers), "FinishThen") // once every call is enough, beside the same of Finish
	}

	for _, method := range methods {
		step := method // of the story
		if method == "FinishThen" {
			step = "Finish"
		}
		for _, mode := range []Mode{FailBefore, FailAfter} {
			for at := range calls[method] + 1 { // 0: every call once
				t.Run(fmt.Sprintf("%s/%d/%d", method, mode, at), func(t *testing.T) {
					w := newWorld(t, open)
					f := Faulty(w.s)
					w.s = f
					if method != step {
						w.s = byThen(t, f)
					}
					n := 0
					w.story(func(name string, call func() error) {
						if name == step {
							n++
							if at == 0 || at == n {
								f.Set(Fault{Method: method, At: 1, Mode: mode})
							}
						}
						err := call()
						if name == step && (at == 0 || at == n) && f.Fired() == 0 {
							w.Fatalf("%s was not called", method)
						}
						if err != nil && f.Fired() > 0 {
							w.refused(err, jobcontrol.ErrUnavailable)
							f.Set()
							err = call()
							if name == "SharedSet" && mode == FailAfter && errors.Is(err, jobcontrol.ErrConflict) {
								err = nil // a compare-and-set that was executed
							}
							if (name == "DeleteBuild" || name == "RequestCancel" || name == "Steer") && mode == FailAfter && err != nil {
								err = nil // it is deleted, cancelled or held already
							}
						}
						w.ok(err)
					})
					f.Set()
					w.equal("state after a fault", want, timeless(w.snapshot()))
				})
			}
		}
	}
}

// writers are the methods that write. Register is not among them: repeated, it
// makes another worker. Nor are Claim and ClaimCleanup: what was claimed by a
// call whose answer was lost, rescue gives to others when the lease has ended.
var writers = []string{
	"CreateRun", "StartCleaning", "FinishRun", "RequestCancel", "Adopt", "DeleteBuild", "Start", "MarkRan", "Finish",
	"Retry", "Expand", "Cancel", "Cleaned", "Report", "Renew", "Unregister", "Rescue", "SharedSet",
	"CreateRuns", "GiveBack", "Promote", "Steer", "PutServices", "ResetService",
}

// story is a life of a store in which every writing method is called. Each call
// goes through do, which may repeat it.
func (w *world) story(do func(name string, call func() error)) {
	other := w.register(2)
	step := func(name string, call func() error) { do(name, call) }
	finish := func(m *made, job string, state jobcontrol.State, number int, want string) {
		step("Finish", func() error {
			e := ended(state, number)
			e.Logs = []jobcontrol.LogRecord{{Time: e.Attempt.FinishedAt, Message: "tail of " + job}}
			e.Progress = []jobcontrol.Progress{{Path: []string{job}, Status: "done"}}
			r, err := w.s.Finish(w.ctx, m.claim(job), e)
			if err == nil {
				w.equal("released", want, released(r))
			}
			return err
		})
	}
	create := func(key string, l jobcontrol.Lease, nodes ...string) *made {
		m := &made{}
		step("CreateRun", func() (err error) {
			n := w.graph(nodes...)
			n.Key, n.Lease = key, &l
			m.Run, m.builds, err = w.s.CreateRun(w.ctx, n)
			return err
		})
		return m
	}
	at := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)

	// A Run under a worker that dies, adopted by another.
	m := create("one", other, "a", "b<a", "c<a,b", "d", "e<d", "f")
	step("Start", func() error {
		return w.s.Start(w.ctx, []jobcontrol.Claim{m.claim("a"), m.claim("d")}, []time.Time{at, at})
	})
	step("MarkRan", func() error { return w.s.MarkRan(w.ctx, m.claim("a"), at) })
	step("MarkRan", func() error { return w.s.MarkRan(w.ctx, m.claim("f"), at) })
	for i := range 3 {
		step("Report", func() error {
			return w.s.Report(w.ctx, m.claim("a"), []jobcontrol.LogRecord{{Time: at.Add(time.Duration(i) * time.Second), Message: fmt.Sprint("line ", i)}},
				[]jobcontrol.Progress{{Path: []string{fmt.Sprint(i)}, Current: ptr(int64(i))}})
		})
		step("SharedSet", func() error {
			_, err := w.s.SharedSet(w.ctx, m.claim("a"), "k", raw(i), int64(i))
			return err
		})
	}
	step("SharedSet", func() error {
		_, err := w.s.SharedSet(w.ctx, m.claim("a"), "k", raw("any"), -1)
		return err
	})
	step("Retry", func() error {
		_, err := w.s.Retry(w.ctx, m.claim("a"), ended(jobcontrol.Failed, 1))
		return err
	})
	finish(m, "a", jobcontrol.Successful, 2, "b")
	finish(m, "f", jobcontrol.Skipped, 1, "")
	step("Renew", func() error { return w.s.Renew(w.ctx, other, time.Hour) })
	step("Rescue", func() error {
		_, err := w.s.Rescue(w.ctx, dead(2))
		return err
	})
	step("Adopt", func() (err error) {
		_, m.builds, err = w.s.Adopt(w.ctx, m.ID, w.l)
		return err
	})
	finish(m, "b", jobcontrol.Failed, 1, "blocked 1")
	finish(m, "d", jobcontrol.Suspended, 2, "")
	step("Cancel", func() error { return w.s.Cancel(w.ctx, []jobcontrol.Claim{m.claim("d")}, "enough") })
	step("StartCleaning", func() error {
		_, err := w.s.StartCleaning(w.ctx, m.ID, w.l)
		return err
	})
	for job, number := range map[string]int{"f": 2, "a": 3} {
		step("Cleaned", func() error { return w.s.Cleaned(w.ctx, m.claim(job), ended(jobcontrol.Successful, number)) })
	}
	step("FinishRun", func() error {
		_, err := w.s.FinishRun(w.ctx, m.ID, w.l)
		return err
	})

	// Runs that are cancelled: of this worker, and of one that goes.
	mine := create("two", w.l, "a", "b<a")
	step("RequestCancel", func() error {
		_, err := w.s.RequestCancel(w.ctx, mine.ID)
		return err
	})
	leaving := w.register(3)
	theirs := create("three", leaving, "a", "b<a")
	lone := create("four", leaving, "a")
	step("Unregister", func() error { return w.s.Unregister(w.ctx, leaving) })
	step("RequestCancel", func() error {
		_, err := w.s.RequestCancel(w.ctx, theirs.ID)
		return err
	})
	step("Adopt", func() (err error) {
		_, lone.builds, err = w.s.Adopt(w.ctx, lone.ID, w.l)
		return err
	})
	finish(lone, "a", jobcontrol.Successful, 1, "")

	each := create("six", w.l, "a", "j<a", "z<j")
	finish(each, "a", jobcontrol.Successful, 1, "j")
	step("Expand", func() error {
		x, err := w.s.Expand(w.ctx, each.claim("j"), w.expansion(1, "j", "x", "y"))
		if err == nil {
			each.builds = append(each.builds[:3], x.Children...)
		}
		return err
	})
	finish(each, "j[x]", jobcontrol.Failed, 1, "")
	finish(each, "j[y]", jobcontrol.Successful, 1, "j")
	finish(each, "j", jobcontrol.Successful, 2, "z")

	last := create("five", w.l, "x")
	finish(last, "x", jobcontrol.Successful, 1, "")
	step("DeleteBuild", func() error {
		_, err := w.s.DeleteBuild(w.ctx, last.ID)
		return err
	})
	w.queueStory(step)
}

// queueStory is the part of the story that happens in the queue.
func (w *world) queueStory(step func(name string, call func() error)) {
	step("PutServices", func() error {
		return w.s.PutServices(w.ctx, "", []jobcontrol.Service{{Name: "s", Concurrency: 5}, {Name: "t", Paused: true, Manual: true}})
	})
	step("ResetService", func() error { return w.s.ResetService(w.ctx, "", "t", nil) })
	var many []jobcontrol.NewRun
	for i, nodes := range [][]string{{"q", "r<q", "s"}, {"lone"}, {"stop"}, {"never", "later"}} {
		n := w.detached(nodes...)
		n.Key = fmt.Sprint("many", i)
		if nodes[0] == "never" {
			n.Builds[0].Build.ReadyAt = w.now().Add(1000 * time.Hour)
			n.Builds[1].Build.State = jobcontrol.Held
		}
		many = append(many, n)
	}
	var ids []int64
	step("CreateRuns", func() (err error) {
		ids, err = w.s.CreateRuns(w.ctx, many)
		return err
	})
	got := w.take(w.l)
	w.equal("claimed", 4, len(got.builds))
	step("GiveBack", func() error { return w.s.GiveBack(w.ctx, []jobcontrol.Claim{got.claim("s")}) })
	step("Steer", func() error {
		_, err := w.s.Steer(w.ctx, got.id("stop"), jobcontrol.ToCancel)
		return err
	})
	step("Retry", func() error {
		_, err := w.s.Retry(w.ctx, got.claim("stop"), ended(jobcontrol.Failed, 1))
		return err
	})
	step("Retry", func() error {
		_, err := w.s.Retry(w.ctx, got.claim("lone"), ended(jobcontrol.Failed, 1))
		return err
	})
	step("MarkRan", func() error { return w.s.MarkRan(w.ctx, got.claim("q"), time.Time{}) })
	finish := func(b jobcontrol.Build, state jobcontrol.State) {
		step("Finish", func() error {
			_, err := w.s.Finish(w.ctx, b.Claim, ended(state, b.Attempts+1))
			return err
		})
	}
	finish(got.of("q"), jobcontrol.Failed)
	rest := w.take(w.l)
	w.equal("claimed", 2, len(rest.builds))
	finish(rest.of("s"), jobcontrol.Successful)
	finish(rest.of("lone"), jobcontrol.Suspended)
	step("Steer", func() error {
		_, err := w.s.Steer(w.ctx, rest.id("lone"), jobcontrol.ToResume)
		return err
	})
	grows := w.detached("g")
	grows.Grows, grows.Builds[0].Build.Service = true, "g"
	w.create(grows)
	g := w.takes(w.l, "g", "g").of("g")
	step("Expand", func() error {
		_, err := w.s.Expand(w.ctx, g.Claim, w.expansion(1, "g", "x"))
		return err
	})
	item := w.takes(w.l, "g[x]", "g")
	finish(item.of("g[x]"), jobcontrol.Failed)
	clean := w.step(w.l, "q")
	step("Cleaned", func() error { return w.s.Cleaned(w.ctx, clean.Claim, ended(jobcontrol.Successful, 2)) })
	due := w.soon(func(at time.Time) made {
		n := w.detached("due")
		n.Builds[0].Build.ReadyAt = at
		return w.create(n)
	})
	step("Promote", func() error {
		_, _, err := w.s.Promote(w.ctx, 10)
		return err
	})
	w.equal("promoted", jobcontrol.Queued, w.build(due, "due").State)
	w.forget(due)
	step("RequestCancel", func() error {
		_, err := w.s.RequestCancel(w.ctx, ids[3])
		return err
	})
}

// timeless makes all times and random numbers equal that the store itself set.
func timeless(s snapshot) snapshot {
	same := func(at *time.Time) {
		if !at.IsZero() && at.Year() != 2024 {
			*at = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
		}
	}
	failure := func(f *jobcontrol.Failure) {
		if f != nil && f.Report != "" {
			f.Report = "report"
		}
	}
	for i := range s.Runs {
		same(&s.Runs[i].CreatedAt)
		same(&s.Runs[i].FinishedAt)
	}
	for i := range s.Builds {
		b := &s.Builds[i]
		for _, at := range []*time.Time{&b.CreatedAt, &b.ReadyAt, &b.StartedAt, &b.FinishedAt} {
			same(at)
		}
		failure(b.Failure)
	}
	for _, attempts := range s.Attempts {
		for i := range attempts {
			same(&attempts[i].StartedAt)
			same(&attempts[i].FinishedAt)
			failure(attempts[i].Failure)
		}
	}
	for job, h := range s.Heads {
		same(&h.GoodAt)
		same(&h.GoodChangedAt)
		s.Heads[job] = h
	}
	for i := range s.Workers {
		same(&s.Workers[i].StartedAt)
	}
	return s
}

// testConcurrency: many goroutines, one effect each.
func testConcurrency(w *world) {
	const width, length = 32, 8
	var nodes []string
	for i := range width {
		nodes = append(nodes, fmt.Sprintf("%d-0", i))
		for j := 1; j < length; j++ {
			nodes = append(nodes, fmt.Sprintf("%d-%d<%d-%d", i, j, i, j-1))
		}
	}
	nodes = append(nodes, "counter")
	m := w.create(w.graph(nodes...))
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	failed := func(err error) bool {
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			errs = append(errs, err)
		}
		return err != nil
	}
	for i := range width {
		wg.Go(func() {
			for j := range length {
				job := fmt.Sprintf("%d-%d", i, j)
				c := m.claim(job)
				for k := range 3 {
					if failed(w.s.Report(w.ctx, c, []jobcontrol.LogRecord{{Message: fmt.Sprint(k)}}, nil)) {
						return
					}
				}
				for {
					value, version, err := w.s.SharedGet(w.ctx, m.ID, "n")
					if failed(err) {
						return
					}
					n := 0
					_, _ = fmt.Sscan(string(value), &n)
					_, err = w.s.SharedSet(w.ctx, c, "n", raw(n+1), version)
					if err == nil {
						break
					}
					if jobcontrol.CodeOf(err) != jobcontrol.Conflict {
						failed(err)
						return
					}
				}
				if failed(w.s.MarkRan(w.ctx, c, w.now())) {
					return
				}
				r, err := w.s.Finish(w.ctx, c, ended(jobcontrol.Successful, 1))
				if failed(err) {
					return
				}
				if j < length-1 && (len(r.Ready) != 1 || r.Ready[0].Job != fmt.Sprintf("%d-%d", i, j+1)) {
					failed(fmt.Errorf("%s released %v", job, r.Ready))
					return
				}
			}
		})
	}
	wg.Wait()
	w.ok(errors.Join(errs...))
	value, version, err := w.s.SharedGet(w.ctx, m.ID, "n")
	w.ok(err)
	w.equal("counter", fmt.Sprint(width*length, " ", width*length), fmt.Sprint(string(value), " ", version))
	w.equal("counts", jobcontrol.Counts{jobcontrol.Successful: width * length, jobcontrol.Queued: 1}, w.runOf(m).Counts)
	for _, b := range m.builds[:width*length] {
		w.equal("log", 3, len(w.logs(b.ID, jobcontrol.LogFilter{})))
	}
	w.finish(m, "counter", jobcontrol.Successful)
	todo, err := w.s.StartCleaning(w.ctx, m.ID, w.l)
	w.ok(err)
	seen := map[int64]bool{}
	for _, b := range todo {
		if seen[b.Ran] {
			w.Fatalf("two builds have the place %d", b.Ran)
		}
		seen[b.Ran] = true
	}
	w.equal("to clean up", width*length, len(todo))
}

// testContext: a call whose context has ended does nothing.
func testContext(w *world) {
	m := w.run("a", "b<a")
	ctx, cancel := context.WithCancel(w.ctx)
	cancel()
	w.unchanged("a cancelled context", func() {
		_, err := w.s.Finish(ctx, m.claim("a"), ended(jobcontrol.Successful, 1))
		if !errors.Is(err, context.Canceled) {
			w.Fatalf("the error is %v", err)
		}
		_, err = w.s.Build(ctx, m.id("a"))
		if !errors.Is(err, context.Canceled) {
			w.Fatalf("the error is %v", err)
		}
	})
}
