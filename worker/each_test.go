package worker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/storetest"
	"github.com/jobcontrol/jobcontrol/worker"
)

// executing is how a test has a request executed: by the program, or by a pool.
type executing func(h *house, r jobcontrol.Request) *jobcontrol.Run

// eachWay has a test executed with every kind of store, in the foreground and by a pool.
func eachWay(t *testing.T, test func(t *testing.T, store jobcontrol.Store, do executing)) {
	onEachStore(t, func(t *testing.T, open opener) {
		t.Run("foreground", func(t *testing.T) {
			test(t, open(t), func(h *house, r jobcontrol.Request) *jobcontrol.Run {
				run, err := h.Execute(context.Background(), r, nil)
				if err != nil {
					t.Fatal(err)
				}
				return run
			})
		})
		t.Run("pool", func(t *testing.T) {
			var p *pool
			test(t, open(t), func(h *house, r jobcontrol.Request) *jobcontrol.Run {
				if p == nil {
					p = h.pool(t, nil)
				}
				return h.finish(t, h.submit(t, r).ID)
			})
		})
	})
}

// pages are a job with results, one with a build for each of them, and one that
// depends on that. bad are the items that fail, after tries.
func pages(t *testing.T, store jobcontrol.Store, bad *atomic.Value, change func(process *jobcontrol.Job), list ...string) *house {
	return site(t, store, bad, func() []string { return list }, change)
}

// site is pages whose list may change.
func site(t *testing.T, store jobcontrol.Store, bad *atomic.Value, list func() []string, change func(process *jobcontrol.Job)) *house {
	process := &jobcontrol.Job{
		ID: "process", Run: call("process"), Dependencies: []string{"crawl"}, Kwargs: map[string]any{"base": jobcontrol.Retval{Job: "crawl", Path: "base"}},
		ForEach: &jobcontrol.ForEach{Items: jobcontrol.Retval{Job: "crawl", Path: "pages"}}, RetryDelay: new(time.Duration),
	}
	if change != nil {
		change(process)
	}
	return build(t, store, 3, map[string]function{
		"crawl": func(context.Context, *house, *jobcontrol.Execution) (any, error) {
			return map[string]any{"base": "b", "pages": list()}, nil
		},
		"process": func(_ context.Context, h *house, x *jobcontrol.Execution) (any, error) {
			item, _ := x.Kwargs["item"].(string)
			h.note("%s", x.Job.ID)
			for _, b := range bad.Load().([]string) {
				if b == item {
					return nil, errors.New(item + " is bad")
				}
			}
			if item == "skip" {
				return nil, jobcontrol.Skip("nothing to do")
			}
			return fmt.Sprint(x.Kwargs["base"], "-", item), nil
		},
		"each": func(_ context.Context, h *house, x *jobcontrol.Execution) (any, error) {
			h.note("%s=%v", x.Job.ID, x.Kwargs["result"])
			return nil, nil
		},
		"sum": func(_ context.Context, h *house, x *jobcontrol.Execution) (any, error) {
			h.note("sum:%s", strings.ReplaceAll(fmt.Sprint(x.Args), " ", ","))
			return nil, nil
		},
	},
		&jobcontrol.Job{ID: "crawl", Run: call("crawl")},
		process,
		&jobcontrol.Job{ID: "each", Run: call("each"), Dependencies: []string{"process"}, ForEach: &jobcontrol.ForEach{Items: jobcontrol.Retval{Job: "process"}, As: "result"}},
		&jobcontrol.Job{ID: "sum", Run: call("sum"), Dependencies: []string{"process"}, Args: []any{jobcontrol.Retval{Job: "process"}, jobcontrol.Retval{Job: "process", Path: "[a]"}}},
		&jobcontrol.Job{ID: "all", Dependencies: []string{"each", "sum"}},
	)
}

func badItems(items ...string) *atomic.Value {
	v := &atomic.Value{}
	v.Store(append([]string{}, items...))
	return v
}

// sorted are the notes in an order of their own.
func (h *house) sorted() string {
	notes := strings.Fields(h.noted())
	slices.Sort(notes)
	return strings.Join(notes, " ")
}

func (h *house) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notes = nil
}

// TestForEach: one build per item of a result, its dependants over all and per
// key; what fails is named, and done again alone.
func TestForEach(t *testing.T) {
	eachWay(t, func(t *testing.T, store jobcontrol.Store, do executing) {
		bad := badItems("c")
		h := pages(t, store, bad, nil, "a", "b", "c", "skip")
		r := runJob("all")
		r.Tries = 2
		run := do(h, r)
		builds := h.builds(t, run.ID)
		if diff := cmp.Diff("process[a] process[b] process[c] process[c] process[skip]", h.sorted()); diff != "" {
			t.Errorf("executed (-want +got)\n%s", diff)
		}
		p := builds["process"]
		if p.State != jobcontrol.Failed || p.Failure.Kind != jobcontrol.FailUser || p.Failure.Message != "1 of 4 items failed: c" || builds["all"].State != jobcontrol.Blocked {
			t.Fatalf("process %s: %+v, all %s", p.State, p.Failure, builds["all"].State)
		}
		if c := builds["process[c]"]; c.State != jobcontrol.Failed || c.Attempts != 2 || c.Pins["crawl"] != builds["crawl"].ID || p.Pins["process[c]"] != c.ID {
			t.Errorf("item: %+v", c)
		}
		if run.State != jobcontrol.RunPartial || run.Counts.Total() != 9 || run.Counts[jobcontrol.Blocked] != 3 {
			t.Errorf("run %s %v", run.State, run.Counts)
		}

		// Only what failed, with the same crawl.
		bad.Store([]string{})
		h.reset()
		r = buildJob("process")
		r.AgainOf = map[string]int64{"process": p.ID}
		run = do(h, r)
		builds = h.builds(t, run.ID)
		again := builds["process"]
		if diff := cmp.Diff("process[c] process[skip]", h.sorted()); diff != "" || run.State != jobcontrol.RunSuccessful {
			t.Fatalf("run %s, executed (-want +got)\n%s", run.State, diff)
		}
		if diff := cmp.Diff(`{"a":"b-a","b":"b-b","c":"b-c","skip":null}`, string(again.Result)); diff != "" {
			t.Errorf("result (-want +got)\n%s", diff)
		}
		if again.Pins["process[a]"] != p.Pins["process[a]"] || again.Pins["process[c]"] == p.Pins["process[c]"] || !*again.Changed {
			t.Errorf("pins %v, before %v", again.Pins, p.Pins)
		}
		var lines []string
		if err := h.Log(context.Background(), again.ID, jobcontrol.LogFilter{}, func(l jobcontrol.LogRecord) bool {
			lines = append(lines, l.Level.String()+" "+l.Message)
			return true
		}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{fmt.Sprintf("INFO 2 of 4 items are taken from build %d", p.ID)}, lines); diff != "" {
			t.Errorf("log (-want +got)\n%s", diff)
		}
		// Nothing is left to do: then it is all of it.
		h.reset()
		r.AgainOf["process"] = again.ID
		if do(h, r); h.sorted() != "process[a] process[b] process[c] process[skip]" {
			t.Errorf("executed %s", h.sorted())
		}
		// Per key, and over all.
		h.reset()
		do(h, buildJob("each"))
		do(h, buildJob("sum"))
		if diff := cmp.Diff("each[a]=b-a each[b]=b-b each[c]=b-c each[skip]=<nil> sum:[map[a:b-a,b:b-b,c:b-c,skip:<nil>],b-a]", h.sorted()); diff != "" {
			t.Errorf("executed (-want +got)\n%s", diff)
		}
	})
}

// TestForEachPartial: what failed is told, and dependants go on with the rest; if
// nothing succeeded there is no rest.
func TestForEachPartial(t *testing.T) {
	eachWay(t, func(t *testing.T, store jobcontrol.Store, do executing) {
		bad := badItems("b", "c")
		h := pages(t, store, bad, func(j *jobcontrol.Job) { j.ForEach.Partial, j.Tries = true, 1 }, "a", "b", "c")
		run := do(h, runJob("all"))
		builds := h.builds(t, run.ID)
		if p := builds["process"]; p.State != jobcontrol.Successful || string(p.Result) != `{"a":"b-a"}` || builds["each"].State != jobcontrol.Successful || builds["each[b]"].ID != 0 {
			t.Errorf("process %s %s, each %s", p.State, p.Result, builds["each"].State)
		}
		var lines []string
		if err := h.Log(context.Background(), builds["process"].ID, jobcontrol.LogFilter{}, func(l jobcontrol.LogRecord) bool {
			lines = append(lines, l.Level.String()+" "+l.Message)
			return true
		}); err != nil {
			t.Fatal(err)
		}
		want := []string{
			fmt.Sprintf("WARNING item b, build %d, failed: b is bad", builds["process[b]"].ID),
			fmt.Sprintf("WARNING item c, build %d, failed: c is bad", builds["process[c]"].ID), "WARNING 2 of 3 items failed: b, c",
		}
		if diff := cmp.Diff(want, lines); diff != "" {
			t.Errorf("log (-want +got)\n%s", diff)
		}
		// Its items that failed are done again although it is successful.
		h.reset()
		bad.Store([]string{"b"})
		r := buildJob("process")
		r.AgainOf = map[string]int64{"process": builds["process"].ID}
		if do(h, r); h.sorted() != "process[b] process[c]" {
			t.Errorf("executed %s", h.sorted())
		}
		bad.Store([]string{"a", "b", "c"})
		run = do(h, runJob("all"))
		if p := h.builds(t, run.ID)["process"]; p.State != jobcontrol.Failed || p.Failure.Message != "3 of 3 items failed: a, b, c" {
			t.Errorf("process %s %+v", p.State, p.Failure)
		}
	})
}

// TestForEachItems: what becomes a build, and what cannot.
func TestForEachItems(t *testing.T) {
	eachWay(t, func(t *testing.T, store jobcontrol.Store, do executing) {
		list := badItems()
		h := site(t, store, badItems(), func() []string { return list.Load().([]string) }, nil)
		for _, c := range []struct {
			items         []string
			jobs, failure string
		}{
			{[]string{}, "", ""},
			{[]string{"a", "a"}, "", `for_each: items 0 and 1 have the same key "a"`},
			{[]string{"", "x/y", "u[v]"}, "process[12ae32cb1ec0] process[2adc656efaf1] process[b9cba98c8020]", ""},
		} {
			list.Store(c.items)
			h.reset()
			run := do(h, runJob("each"))
			p := h.builds(t, run.ID)["process"]
			switch {
			case c.failure != "" && (p.State != jobcontrol.Failed || p.Failure.Message != c.failure || p.Failure.Kind != jobcontrol.FailUser):
				t.Errorf("%q: %s %+v", c.items, p.State, p.Failure)
			case c.failure == "" && (p.State != jobcontrol.Successful || run.State != jobcontrol.RunSuccessful):
				t.Errorf("%q: %s %+v", c.items, p.State, p.Failure)
			case len(c.items) == 0 && string(p.Result) != "{}":
				t.Errorf("%q: result %s", c.items, p.Result)
			}
			var jobs []string
			for _, note := range strings.Fields(h.sorted()) {
				if strings.HasPrefix(note, "process") {
					jobs = append(jobs, note)
				}
			}
			if got := strings.Join(jobs, " "); got != c.jobs {
				t.Errorf("%q: executed %s, want %s", c.items, got, c.jobs)
			}
		}
	})
}

// TestForEachFaults: an expansion whose answer was lost, or that came late, makes
// its builds once.
func TestForEachFaults(t *testing.T) {
	eachWay(t, func(t *testing.T, store jobcontrol.Store, do executing) {
		for _, fault := range []storetest.Fault{
			{Method: "Expand", At: 1, Mode: storetest.FailBefore},
			{Method: "Expand", At: 1, Mode: storetest.FailAfter},
			{Method: "Expand", At: 1, Mode: storetest.Delay, Wait: 60 * time.Millisecond}, // it is marked as running meanwhile
			{Method: "Build", At: 1, Mode: storetest.FailAfter},
			{Method: "FinishThen", At: 1, Mode: storetest.FailAfter}, // of the build whose result the items are
			{Method: "FinishThen", At: 2, Mode: storetest.FailAfter}, // of an item
			{Method: "FinishThen", At: 3, Mode: storetest.FailAfter}, // of the build that stands for them
		} {
			faulty := storetest.Faulty(store, fault)
			if _, ok := faulty.(jobcontrol.Finisher); fault.Method == "FinishThen" && (!ok || strings.Contains(t.Name(), "foreground")) {
				continue // nobody calls it
			}
			h := pages(t, faulty, badItems("b"), func(j *jobcontrol.Job) { j.ForEach.Partial, j.Tries = true, 1 }, "a", "b")
			if fault.Method == "Build" && strings.Contains(t.Name(), "foreground") {
				continue // there results are kept
			}
			ctx, cancel := context.WithCancel(context.Background())
			var run *jobcontrol.Run
			var err error
			if strings.Contains(t.Name(), "pool") {
				p := h.pool(t, func(c *worker.PoolConfig) { c.Store = faulty })
				run = h.finish(t, h.submit(t, runJob("process")).ID)
				p.end(t)
			} else if run, err = h.Execute(ctx, runJob("process"), nil); err != nil {
				t.Fatal(err)
			}
			cancel()
			builds, err := h.Builds(context.Background(), jobcontrol.BuildFilter{Run: run.ID, Limit: -1})
			if err != nil || len(builds) != 4 || h.sorted() != "process[a] process[b]" || faulty.Fired() == 0 {
				t.Errorf("%+v: %d builds, executed %s, %v", fault, len(builds), h.sorted(), err)
			}
			for _, b := range builds {
				if b.Lost != 0 {
					t.Errorf("%+v: %s was lost", fault, b.Job)
				}
			}
		}
	})
}

// TestForEachCancel: a cancelled Run cancels what is left of the items, and so
// does who cancels the build that stands for them.
func TestForEachCancel(t *testing.T) {
	onEachStore(t, func(t *testing.T, open opener) {
		g := newGate()
		h := build(t, open(t), 1, map[string]function{
			"run": func(ctx context.Context, _ *house, x *jobcontrol.Execution) (any, error) { return nil, g.pass(ctx, x) },
		}, &jobcontrol.Job{ID: "j", Run: call("run"), ForEach: &jobcontrol.ForEach{Items: []any{"a", "b", "c"}}}, &jobcontrol.Job{ID: "after", Run: call("run"), Dependencies: []string{"j"}})
		h.pool(t, func(c *worker.PoolConfig) { c.Parallel = 1 })
		for _, whole := range []bool{true, false} {
			run := h.submit(t, runJob("after"))
			<-g.came
			if whole {
				if _, err := h.Cancel(context.Background(), run.ID); err != nil {
					t.Fatal(err)
				}
			} else {
				h.steer(t, h.builds(t, run.ID)["j"].ID, jobcontrol.ToCancel)
			}
			r := h.finish(t, run.ID)
			builds := h.builds(t, run.ID)
			want := jobcontrol.Counts{jobcontrol.Cancelled: 5}
			if !whole {
				want = jobcontrol.Counts{jobcontrol.Cancelled: 4, jobcontrol.Blocked: 1}
			}
			if diff := cmp.Diff(want, r.Counts); diff != "" || r.State != jobcontrol.RunCancelled || len(builds) != 5 {
				t.Errorf("run %s (-want +got)\n%s", r.State, diff)
			}
		}
	})
}

// TestForEachForeground: a build that is interrupted cancels its items, and one
// whose program cannot go on is resumed where it was.
func TestForEachForeground(t *testing.T) {
	onEachStore(t, func(t *testing.T, open opener) {
		g := newGate()
		store := storetest.Faulty(open(t))
		h := build(t, store, 1, map[string]function{
			"run": func(ctx context.Context, h *house, x *jobcontrol.Execution) (any, error) {
				h.note("%s", x.Job.ID)
				return x.Kwargs["item"], g.pass(ctx, x)
			},
		}, &jobcontrol.Job{ID: "j", Run: call("run"), ForEach: &jobcontrol.ForEach{Items: map[string]any{"a": 1, "b": 2}}})
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			<-g.came
			cancel()
		}()
		run, err := h.Execute(ctx, runJob("j"), nil)
		if !errors.Is(err, &jobcontrol.Error{Code: jobcontrol.Interrupted}) && jobcontrol.CodeOf(err) != jobcontrol.Interrupted {
			t.Fatal(err)
		}
		if diff := cmp.Diff(jobcontrol.Counts{jobcontrol.Cancelled: 3}, run.Counts); diff != "" {
			t.Errorf("interrupted (-want +got)\n%s", diff)
		}
		close(g.open)
		h.reset()
		// The end of the second item cannot be stored.
		store.Set(storetest.Fault{Method: "Finish", At: 2}, storetest.Fault{Method: "Finish", At: 3}, storetest.Fault{Method: "Finish", At: 4}, storetest.Fault{Method: "Finish", At: 5})
		if _, err := h.Execute(context.Background(), runJob("j"), nil); !errors.Is(err, jobcontrol.ErrUnavailable) {
			t.Fatal(err)
		}
		store.Set()
		runs, err := h.Runs(context.Background(), jobcontrol.RunFilter{States: []jobcontrol.RunState{jobcontrol.RunInterrupted}})
		if err != nil || len(runs) != 1 {
			t.Fatalf("%+v, %v", runs, err)
		}
		var events []string
		run, err = h.Resume(context.Background(), runs[0].ID, func(e jobcontrol.Event) {
			if e.Kind == jobcontrol.EventFinished {
				events = append(events, e.Job.ID)
			}
		})
		if err != nil || run.State != jobcontrol.RunSuccessful || strings.Join(events, " ") != "j[b] j" {
			t.Errorf("resumed: %+v, %v, %v", run, err, events)
		}
		if got := string(h.builds(t, run.ID)["j"].Result); got != `{"a":1,"b":2}` {
			t.Errorf("result %s", got)
		}
		if h.noted() != "j[a] j[b] j[b]" {
			t.Errorf("executed %s", h.noted())
		}
	})
}

// TestForEachService: the builds of items are of the job's service, each with a
// key and a priority there; clean-up steps and others know them by their names.
func TestForEachService(t *testing.T) {
	onEachStore(t, func(t *testing.T, open opener) {
		store := open(t)
		var mu sync.Mutex
		busy, most := map[string]int{}, map[string]int{}
		g, opened := newGate(), sync.Once{}
		h := build(t, store, 4, map[string]function{
			"run": func(ctx context.Context, h *house, x *jobcontrol.Execution) (any, error) {
				host := x.Kwargs["item"].(map[string]any)["host"].(string)
				mu.Lock()
				busy[host]++
				most[host] = max(most[host], busy[host])
				all := busy["a"] > 0 && busy["b"] > 0
				mu.Unlock()
				if all {
					opened.Do(func() { close(g.open) }) // hosts are not in each other's way
				}
				err := g.pass(ctx, x)
				mu.Lock()
				busy[host]--
				mu.Unlock()
				return nil, err
			},
			"clean": func(_ context.Context, h *house, x *jobcontrol.Execution) (any, error) {
				h.note("%s", x.Job.ID)
				return nil, nil
			},
		}, &jobcontrol.Job{ID: "j", Run: call("run"), Cleanup: call("clean"), Service: "s", Priority: 3, ForEach: &jobcontrol.ForEach{Key: "n", Items: []any{
			map[string]any{"host": "a", "n": 1}, map[string]any{"host": "a", "n": 2}, map[string]any{"host": "a", "n": 3}, map[string]any{"host": "b", "n": 4},
		}}})
		if err := h.PutServices(context.Background(), []jobcontrol.Service{{Name: "s", Key: []string{"kwargs.item.host"}, KeyConcurrency: 1}}); err != nil {
			t.Fatal(err)
		}
		h.pool(t, func(c *worker.PoolConfig) { c.Services = []string{"s"} })
		run := h.finish(t, h.submit(t, buildJob("j")).ID)
		if run.State != jobcontrol.RunSuccessful || most["a"] != 1 || most["b"] != 1 {
			t.Errorf("run %s, at a time %v", run.State, most)
		}
		b := h.builds(t, run.ID)["j[3]"]
		if b.Service != "s" || b.Priority != 3 || b.Unique != "" {
			t.Errorf("%+v", b)
		}
		if h.sorted() != "j[1] j[2] j[3] j[4]" {
			t.Errorf("cleaned up %s", h.sorted())
		}
	})
}

// TestForEachEnqueue: what a program enqueues is the build of the whole, which is
// unique as such.
func TestForEachEnqueue(t *testing.T) {
	onEachStore(t, func(t *testing.T, open opener) {
		ctx := context.Background()
		j := &jobcontrol.Job{ID: "j", Run: call("run"), Unique: []string{"*"}, ForEach: &jobcontrol.ForEach{Items: map[string]any{"a": 1, "b": 2}}}
		h := build(t, open(t), 2, map[string]function{
			"run": func(_ context.Context, _ *house, x *jobcontrol.Execution) (any, error) { return x.Kwargs["item"], nil },
		}, j)
		first, err := h.Enqueue(ctx, j, jobcontrol.Enqueued{Key: "k"})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range []jobcontrol.Enqueued{{}, {Key: "k"}} {
			if again, err := h.Enqueue(ctx, j, e); err != nil || again != first {
				t.Errorf("%d is enqueued again as %d, %v", first, again, err)
			}
		}
		h.pool(t, nil)
		b, err := h.Wait(ctx, first)
		if err != nil || b.Job != "j" || b.State != jobcontrol.Successful || string(b.Result) != `{"a":1,"b":2}` {
			t.Errorf("%+v, %v", b, err)
		}
		many, err := h.EnqueueMany(ctx, j, []jobcontrol.Enqueued{{Args: []byte(`[1]`)}, {Args: []byte(`[2]`)}})
		if err != nil || len(many) != 2 || many[0] == many[1] {
			t.Fatal(many, err)
		}
		for _, id := range many {
			if b, err := h.Wait(ctx, id); err != nil || b.Job != "j" || string(b.Result) != `{"a":1,"b":2}` {
				t.Errorf("%+v, %v", b, err)
			}
		}
	})
}

// TestNoItems holds that jobs whose ids look like those of items are dependencies
// as any other.
func TestNoItems(t *testing.T) {
	onEachStore(t, func(t *testing.T, open opener) {
		ctx, begun, over := context.Background(), make(chan string, 2), make(chan struct{})
		h := build(t, open(t), 2, map[string]function{
			"deploy": func(ctx context.Context, _ *house, x *jobcontrol.Execution) (any, error) {
				begun <- x.Job.ID
				select {
				case <-over:
				case <-ctx.Done():
				}
				return nil, ctx.Err()
			},
		},
			&jobcontrol.Job{ID: "deploy[eu]", Run: call("deploy")},
			&jobcontrol.Job{ID: "deploy", Dependencies: []string{"deploy[eu]"}},
		)
		h.pool(t, nil)
		run := h.submit(t, jobcontrol.Request{Verb: jobcontrol.VerbRun, Jobs: []string{"deploy"}})
		<-begun
		list, err := h.Builds(ctx, jobcontrol.BuildFilter{Run: run.ID, Job: "deploy"})
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		if _, err := h.Steer(ctx, list[0].ID, jobcontrol.ToCancel); err != nil {
			t.Fatal(err)
		}
		close(over)
		h.finish(t, run.ID)
		if list, err = h.Builds(ctx, jobcontrol.BuildFilter{Run: run.ID, Job: "deploy[eu]"}); err != nil || list[0].State != jobcontrol.Successful || list[0].Stopping != "" {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

// TestForEachNothingGood holds that one item must succeed where that is enough.
func TestForEachNothingGood(t *testing.T) {
	eachWay(t, func(t *testing.T, store jobcontrol.Store, do executing) {
		h := pages(t, store, badItems("b"), func(p *jobcontrol.Job) { p.ForEach.Partial = true }, "skip", "b")
		run := do(h, jobcontrol.Request{Verb: jobcontrol.VerbBuild, Jobs: []string{"process"}, Deps: "all"})
		list, err := h.Builds(context.Background(), jobcontrol.BuildFilter{Run: run.ID, Job: "process"})
		if err != nil || len(list) != 1 || list[0].State != jobcontrol.Failed {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

// TestForEachTooLarge holds that items have the limits of arguments, each and together.
func TestForEachTooLarge(t *testing.T) {
	large := strings.Repeat("x", jobcontrol.MaxArguments)
	eachWay(t, func(t *testing.T, store jobcontrol.Store, do executing) {
		for what, c := range map[string]struct {
			base string
			list []string
		}{
			"more than 1048576; store it": {"", []string{large}},
			"67108864 bytes":              {large, make([]string, 70)},
		} {
			for i := range c.list {
				c.list[i] += fmt.Sprint(i)
			}
			h := pages(t, store, badItems(), func(p *jobcontrol.Job) {
				p.Kwargs["more"] = c.base
				p.ForEach.Items = anyList(c.list)
			})
			run := do(h, jobcontrol.Request{Verb: jobcontrol.VerbBuild, Jobs: []string{"process"}, Deps: "all"})
			list, err := h.Builds(context.Background(), jobcontrol.BuildFilter{Run: run.ID, Job: "process"})
			if err != nil || len(list) != 1 || list[0].Failure == nil || !strings.Contains(list[0].Failure.Message, what) {
				t.Errorf("%s: %+v, %v", what, list, err)
			}
		}
	})
}

func anyList(texts []string) (out []any) {
	for _, s := range texts {
		out = append(out, s)
	}
	return out
}
