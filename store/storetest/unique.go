package storetest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// unique is a lone detached build with a unique key.
func (w *world) unique(job, key string) jobcontrol.NewRun {
	w.Helper()
	n := w.detached(job)
	n.Builds[0].Build.Unique = key
	return n
}

// testUnique: while an unfinished build with the key exists, a lone one is not
// made; its Run is that build's.
func testUnique(w *world) {
	m := w.create(w.unique("a", "k"))
	w.unchanged("the same key", func() {
		again := w.create(w.unique("a", "k"))
		w.equal("run", w.runOf(m), *again.Run)
		w.equal("builds", []jobcontrol.Build{w.build(m, "a")}, again.builds)
		ids, err := w.s.CreateRuns(w.ctx, []jobcontrol.NewRun{w.unique("a", "k"), w.unique("b", "k")})
		w.ok(err)
		w.equal("ids", []int64{m.ID, m.ID}, ids)
	})
	n := w.unique("a", "k")
	n.Run.Project = "p"
	if p := w.create(n); p.ID == m.ID {
		w.Fatal("the key of another project")
	}
	if other := w.create(w.unique("a", "l")); other.ID == m.ID {
		w.Fatal("another key")
	}
	w.drop(w.create(w.unique("a", "l")))

	// In whichever state it is, until it is final.
	steps := []struct {
		name string
		do   func()
	}{
		{"held", func() { _, err := w.s.Steer(w.ctx, m.ID, jobcontrol.ToHold); w.ok(err) }},
		{"released", func() { _, err := w.s.Steer(w.ctx, m.ID, jobcontrol.ToRelease); w.ok(err) }},
		{"claimed", func() { m.builds = w.takes(w.l, "a").builds }},
		{"running", func() { w.ok(w.s.Start(w.ctx, []jobcontrol.Claim{m.claim("a")}, nil)) }},
		{"suspended", func() { mustFinish(w, m.claim("a"), ended(jobcontrol.Suspended, 1)) }},
		{"resumed", func() { _, err := w.s.Steer(w.ctx, m.ID, jobcontrol.ToResume); w.ok(err) }},
		{"scheduled", func() {
			e := ended(jobcontrol.Failed, 2)
			e.ReadyAt = w.now().Add(time.Hour)
			_, err := w.s.Retry(w.ctx, w.takes(w.l, "a").claim("a"), e)
			w.ok(err)
		}},
	}
	for _, step := range steps {
		step.do()
		w.equal(step.name, m.ID, w.create(w.unique("a", "k")).ID)
	}
	w.drop(m)
	last := m.ID
	for _, state := range []jobcontrol.State{jobcontrol.Successful, jobcontrol.Skipped, jobcontrol.Failed, jobcontrol.Cancelled} {
		m = w.create(w.unique("a", "k"))
		if m.ID == last {
			w.Fatalf("the key was not freed before %s", state)
		}
		mustFinish(w, w.takes(w.l, "a").claim("a"), ended(state, 1))
		last = m.ID
	}

	// Who meets one makes nothing new, so a service that drains refuses nothing.
	n = w.unique("d", "d")
	n.Builds[0].Build.Service = "d"
	kept := w.create(n)
	w.put(jobcontrol.Service{Name: "d", Draining: true, Manual: true})
	w.equal("met in a draining service", kept.ID, w.create(n).ID)
	w.drop(kept)
	_, _, err := w.s.CreateRun(w.ctx, n)
	w.refused(err, jobcontrol.ErrConflict)

	// A foreground build holds its key, too, and is met.
	f := w.graph("f")
	f.Builds[0].Build.Unique = "f"
	mine := w.create(f)
	w.equal("met in the foreground", mine.ID, w.create(f).ID)
	w.equal("met by a detached one", mine.ID, w.create(w.unique("f", "f")).ID)
	w.finish(mine, "f", jobcontrol.Successful)
	if w.create(f).ID == mine.ID {
		w.Fatal("the key was not freed")
	}

	// What is created final holds nothing.
	n = w.unique("z", "z")
	n.Builds[0].Final, n.Builds[0].Build.State = true, jobcontrol.Skipped
	first := w.create(n)
	if w.create(n).ID == first.ID {
		w.Fatal("a final build holds a key")
	}
}

// testUniqueMembers: a member of a larger Run that meets one is a conflict.
func testUniqueMembers(w *world) {
	lone := w.create(w.unique("a", "k"))
	several := func(keys ...string) jobcontrol.NewRun {
		n := w.detached("x", "y<x", "z")
		for i, k := range keys {
			n.Builds[i].Build.Unique = k
		}
		return n
	}
	conflict := func(n jobcontrol.NewRun, words ...string) {
		w.Helper()
		w.unchanged("a conflict", func() {
			_, _, err := w.s.CreateRun(w.ctx, n)
			w.refused(err, jobcontrol.ErrConflict)
			if jobcontrol.HintOf(err) == "" {
				w.Fatalf("the error has no hint: %v", err)
			}
			for _, word := range words {
				if !strings.Contains(err.Error(), word) {
					w.Fatalf("the error does not say %s: %v", word, err)
				}
			}
			_, err = w.s.CreateRuns(w.ctx, []jobcontrol.NewRun{w.detached("before"), n, w.detached("after")})
			w.refused(err, jobcontrol.ErrConflict)
		})
	}
	conflict(several("", "k"), "y", fmt.Sprint(lone.ID))
	conflict(several("m", "", "m"), "x", "z")
	// One that is blocked when it is made is final, and meets none.
	n := several("", "k", "k")
	n.Builds[0].Final, n.Builds[0].Build.State = true, jobcontrol.Failed
	conflict(n, "z", fmt.Sprint(lone.ID))
	n.Builds[2].Build.Unique = ""
	w.drop(w.create(n))
	w.drop(lone)
	m := w.create(several("", "k", "m"))
	conflict(several("m"), "x", fmt.Sprint(m.id("z")))

	// A lone build that meets a member gets its Run, and that build.
	again := w.create(w.unique("a", "k"))
	w.equal("run", w.runOf(m), *again.Run)
	w.equal("build", []jobcontrol.Build{w.build(m, "y")}, again.builds)

	// What is blocked is final.
	mustFinish(w, w.takes(w.l, "x z").claim("x"), ended(jobcontrol.Failed, 1))
	if again = w.create(w.unique("a", "k")); again.ID == m.ID {
		w.Fatal("the key was not freed")
	}

	// Many at once make one.
	var mu sync.Mutex
	var errs []error
	ids := map[int64]bool{}
	var wg sync.WaitGroup
	for range 16 {
		n := w.unique("c", "race")
		wg.Go(func() {
			r, _, err := w.s.CreateRun(w.ctx, n)
			mu.Lock()
			defer mu.Unlock()
			if errs = append(errs, err); err == nil {
				ids[r.ID] = true
			}
		})
	}
	wg.Wait()
	w.ok(errors.Join(errs...))
	w.equal("runs", 1, len(ids))
}

// testCreateRuns: many Runs in one transaction, as one after the other.
func testCreateRuns(w *world) {
	ids, err := w.s.CreateRuns(w.ctx, nil)
	w.ok(err)
	w.equal("none", 0, len(ids))

	keyed := w.detached("k")
	keyed.Key = "key"
	held := w.detached("h")
	held.Builds[0].Build.State = jobcontrol.Held
	later := w.detached("l")
	later.Builds[0].Build.ReadyAt = w.now().Add(time.Hour).Truncate(time.Second)
	full := w.detached("f")
	full.Run = jobcontrol.Run{Verb: jobcontrol.VerbBuild, By: "somebody", File: "file", Targets: []string{"f"}}
	full.Builds[0].Build = jobcontrol.Build{
		Job: "f", Args: raw([]any{1}), Kwargs: raw(map[string]any{"k": "v"}), Service: "s", Priority: -3, Key: "key", Unique: "unique",
		Tries: 7, RetryDelay: time.Minute, Pins: map[string]int64{"x": 9}, AgainOf: 2, Why: "why",
	}
	many := []jobcontrol.NewRun{
		w.detached("a"), w.detached("a", "b<a"), keyed, held, w.graph("g"), later, full, keyed, full, w.graph("g", "i<g"), w.detached("a"),
	}
	ids, err = w.s.CreateRuns(w.ctx, many)
	w.ok(err)
	w.equal("ids", []int{len(many), 0, 0}, []int{len(ids), int(ids[7] - ids[2]), int(ids[8] - ids[6])})
	for i, n := range many {
		if i == 7 || i == 8 {
			continue
		}
		if i > 0 && i < 7 && ids[i] <= ids[i-1] {
			w.Fatalf("ids: %v", ids)
		}
		r, err := w.s.Run(w.ctx, ids[i])
		w.ok(err)
		builds, err := w.s.ListBuilds(w.ctx, jobcontrol.BuildFilter{Run: ids[i], Asc: true})
		w.ok(err)
		// As CreateRun makes it.
		if n.Key != "" {
			n.Key += "2"
		}
		for j := range n.Builds {
			if n.Builds[j].Build.Unique != "" {
				n.Builds[j].Build.Unique += "2"
			}
		}
		one, made, err := w.s.CreateRun(w.ctx, n)
		w.ok(err)
		w.equal("run", []any{one.Verb, one.By, one.File, one.Targets, one.Counts, one.Worker, one.Lone}, []any{r.Verb, r.By, r.File, r.Targets, r.Counts, r.Worker, r.Lone})
		for j := range builds {
			b := &builds[j]
			shift := b.ID - made[j].ID
			b.ID, b.Run, b.CreatedAt, b.Unique = made[j].ID, made[j].Run, made[j].CreatedAt, made[j].Unique
			if b.Claim.Number != 0 {
				b.Claim = made[j].Claim
			}
			for k := range b.Dependants {
				b.Dependants[k] -= shift
			}
			for job, id := range b.Pins {
				if job != "x" {
					b.Pins[job] = id - shift
				}
			}
		}
		w.equal("builds", made, builds)
	}

	// One that is refused refuses all.
	bad := w.detached("bad")
	bad.Builds = nil
	for _, n := range []jobcontrol.NewRun{bad, {Lease: &jobcontrol.Lease{Worker: 1 << 40, Epoch: 1}, Builds: w.graph("x").Builds}} {
		w.unchanged("a refused run among many", func() {
			ids, err := w.s.CreateRuns(w.ctx, []jobcontrol.NewRun{w.detached("new"), w.detached("a"), n, w.detached("a")})
			if err == nil || len(ids) > 0 {
				w.Fatalf("ids %v, error %v", ids, err)
			}
		})
	}

	// In thousands.
	many = nil
	for range 3000 {
		many = append(many, w.detached("many"))
	}
	ids, err = w.s.CreateRuns(w.ctx, many)
	w.ok(err)
	heads, err := w.s.Heads(w.ctx, "", []string{"many"})
	w.ok(err)
	w.equal("head", []any{ids[2999], 3000}, []any{heads["many"].Latest, heads["many"].Unfinished})
	c := w.ask(w.l, want(2000, "default"))
	seen := 0
	for _, b := range c.Builds {
		if b.Job == "many" {
			seen++
		}
	}
	w.equal("claimed", []any{2000, true, true}, []any{len(c.Builds), c.More, seen > 1900})
}
