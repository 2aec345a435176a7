package worker_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
	"github.com/jobcontrol/jobcontrol/worker"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := server.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// house is a client with its store and what its functions wrote down.
type house struct {
	*worker.Client
	store jobcontrol.Store
	reg   *jobcontrol.Registry
	mu    sync.Mutex
	notes []string
}

func (h *house) note(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notes = append(h.notes, fmt.Sprintf(format, args...))
}

func (h *house) noted() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.notes, " ")
}

// function is a task of a test: it may do anything with the execution.
type function func(ctx context.Context, h *house, x *jobcontrol.Execution) (any, error)

// build makes a client whose jobs use the given functions.
func build(t testing.TB, store jobcontrol.Store, parallel int, functions map[string]function, list ...*jobcontrol.Job) *house {
	t.Helper()
	reg := jobcontrol.NewRegistry()
	h := &house{store: store, reg: reg}
	for name, f := range functions {
		jobcontrol.Handle(reg, name, func(ctx context.Context, _ jobcontrol.Arguments) (any, error) {
			x, err := jobcontrol.Current(ctx)
			if err != nil {
				return nil, err
			}
			return f(ctx, h, x)
		})
	}
	jobs, err := jobcontrol.NewJobs(list)
	if err != nil {
		t.Fatal(err)
	}
	h.Client = worker.NewClient(worker.Config{
		Store: store, Jobs: jobs, Registry: reg, Parallel: parallel, Executor: executor.New(executor.Config{Registry: reg}),
	})
	return h
}

// execute runs targets and returns the Run and its builds by job.
func (h *house) execute(t *testing.T, r jobcontrol.Request) (*jobcontrol.Run, map[string]jobcontrol.Build) {
	t.Helper()
	run, err := h.Execute(context.Background(), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return run, h.builds(t, run.ID)
}

func (h *house) builds(t *testing.T, run int64) map[string]jobcontrol.Build {
	t.Helper()
	list, err := h.Builds(context.Background(), jobcontrol.BuildFilter{Run: run, Limit: -1})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]jobcontrol.Build{}
	for _, b := range list {
		out[b.Job] = b
	}
	return out
}

func call(name string) *jobcontrol.Task { return &jobcontrol.Task{Function: name} }

func runJob(jobs ...string) jobcontrol.Request {
	return jobcontrol.Request{Verb: jobcontrol.VerbRun, Jobs: jobs}
}

func buildJob(job string) jobcontrol.Request {
	return jobcontrol.Request{Verb: jobcontrol.VerbBuild, Jobs: []string{job}}
}

// TestRetval is JC-V1: arguments and the result of another job.
func TestRetval(t *testing.T) {
	h := build(t, openStore(t), 2, map[string]function{
		"f": func(_ context.Context, h *house, x *jobcontrol.Execution) (any, error) {
			h.note("%v %v", x.Args, x.Kwargs)
			return nil, nil
		},
		"other": func(context.Context, *house, *jobcontrol.Execution) (any, error) {
			return map[string]any{"pages": []string{"p0", "p1"}}, nil
		},
	},
		&jobcontrol.Job{ID: "other", Run: call("other")},
		&jobcontrol.Job{
			ID: "job", Run: call("f"), Dependencies: []string{"other"}, Args: []any{"spam", "eggs", "bacon"},
			Kwargs: map[string]any{"foobar": "x", "blah": jobcontrol.Retval{Job: "other"}, "first": jobcontrol.Retval{Job: "other", Path: "pages[0]"}},
		})
	run, builds := h.execute(t, runJob("job"))
	want := "[spam eggs bacon] map[blah:map[pages:[p0 p1]] first:p0 foobar:x]"
	if diff := cmp.Diff(want, h.noted()); diff != "" || run.State != jobcontrol.RunSuccessful {
		t.Errorf("run %s (-want +got)\n%s", run.State, diff)
	}
	if got := builds["job"].Pins["other"]; got != builds["other"].ID {
		t.Errorf("pinned %d, want %d", got, builds["other"].ID)
	}
}

func TestSkippedIsNoSourceOfResults(t *testing.T) {
	skip := false
	h := build(t, openStore(t), 1, map[string]function{
		"source": func(context.Context, *house, *jobcontrol.Execution) (any, error) {
			if skip {
				return nil, jobcontrol.Skip("nothing new")
			}
			return 42, nil
		},
		"user": func(_ context.Context, h *house, x *jobcontrol.Execution) (any, error) {
			h.note("%v", x.Args[0])
			return nil, nil
		},
	},
		&jobcontrol.Job{ID: "source", Run: call("source")},
		&jobcontrol.Job{ID: "user", Run: call("user"), Dependencies: []string{"source"}, Args: []any{jobcontrol.Retval{Job: "source"}}})
	skip = true
	run, builds := h.execute(t, runJob("user"))
	if f := builds["user"].Failure; builds["source"].State != jobcontrol.Skipped || f == nil || !strings.Contains(f.Message, `job "source" has no successful build`) {
		t.Errorf("run %s, source %s, user %+v", run.State, builds["source"].State, f)
	}
	skip = false
	_, first := h.execute(t, runJob("user"))
	skip = true
	run, builds = h.execute(t, runJob("user"))
	if run.State != jobcontrol.RunSuccessful || builds["user"].Pins["source"] != first["source"].ID {
		t.Errorf("run %s used %d, want %d", run.State, builds["user"].Pins["source"], first["source"].ID)
	}
	if h.noted() != "42 42" {
		t.Errorf("got %s", h.noted())
	}
}

// TestCleanup: last in first out by first run phase, only of jobs that ran, on
// failure too; an error does not stop the rest.
func TestCleanup(t *testing.T) {
	functions := map[string]function{
		"pass": func(context.Context, *house, *jobcontrol.Execution) (any, error) { return nil, nil },
		"fail": func(context.Context, *house, *jobcontrol.Execution) (any, error) { return nil, errors.New("no") },
		"run": func(_ context.Context, h *house, x *jobcontrol.Execution) (any, error) {
			return nil, x.Local.Set("file", "tmp-"+x.Job.ID)
		},
		"clean": func(_ context.Context, h *house, x *jobcontrol.Execution) (any, error) {
			var file string
			if _, err := x.Local.Load("file", &file); err != nil {
				return nil, err
			}
			h.note("%s:%s:%s", x.Phase, x.Job.ID, file)
			if x.Job.ID == "b" {
				return nil, errors.New("cannot clean")
			}
			return nil, nil
		},
	}
	zero := time.Duration(0)
	jobs := []*jobcontrol.Job{
		{ID: "a", Run: call("run"), Cleanup: call("clean")},
		{ID: "b", Run: call("run"), Cleanup: call("clean"), Dependencies: []string{"a"}},
		{ID: "done", Check: call("pass"), Run: call("run"), Cleanup: call("clean")},
		{ID: "c", Run: call("fail"), Cleanup: call("clean"), Dependencies: []string{"b", "done"}, Tries: 2, RetryDelay: &zero},
	}
	h := build(t, openStore(t), 2, functions, jobs...)
	run, _ := h.execute(t, runJob("c"))
	if want := "cleanup:c: cleanup:b:tmp-b cleanup:a:tmp-a"; h.noted() != want || run.State != jobcontrol.RunPartial {
		t.Errorf("run %s cleaned %q, want %q", run.State, h.noted(), want)
	}
	h = build(t, openStore(t), 2, functions, jobs...)
	r := runJob("b")
	r.NoCleanup = true
	run, _ = h.execute(t, r)
	if h.noted() != "" {
		t.Errorf("--no-cleanup cleaned %s", h.noted())
	}
	if _, err := h.Cleanup(context.Background(), run.ID, nil); err != nil {
		t.Fatal(err)
	}
	if want := "cleanup:b:tmp-b cleanup:a:tmp-a"; h.noted() != want {
		t.Errorf("cleaned %q, want %q", h.noted(), want)
	}
	if _, err := h.Cleanup(context.Background(), run.ID, nil); !errors.Is(err, jobcontrol.ErrConflict) {
		t.Errorf("cleaned twice: %v", err)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, interrupt := context.WithCancel(context.Background())
	h := build(t, openStore(t), 2, map[string]function{
		"quick": func(context.Context, *house, *jobcontrol.Execution) (any, error) { return nil, nil },
		"long": func(ctx context.Context, h *house, x *jobcontrol.Execution) (any, error) {
			interrupt()
			<-ctx.Done()
			return nil, context.Cause(ctx)
		},
		"clean": func(_ context.Context, h *house, x *jobcontrol.Execution) (any, error) {
			h.note("cleaned %s", x.Job.ID)
			return nil, nil
		},
	},
		&jobcontrol.Job{ID: "first", Run: call("quick"), Cleanup: call("clean")},
		&jobcontrol.Job{ID: "long", Run: call("long"), Cleanup: call("clean"), Dependencies: []string{"first"}},
		&jobcontrol.Job{ID: "after", Run: call("quick"), Dependencies: []string{"long"}})
	run, err := h.Execute(ctx, runJob("after"), nil)
	if jobcontrol.CodeOf(err) != jobcontrol.Interrupted || run == nil || run.State != jobcontrol.RunCancelled {
		t.Fatalf("got %+v, %v", run, err)
	}
	states := ""
	for _, id := range []string{"first", "long", "after"} {
		states += h.builds(t, run.ID)[id].State.String() + " "
	}
	if states != "successful cancelled cancelled " && states != "successful cancelled blocked " {
		t.Errorf("states: %s", states)
	}
	if h.noted() != "cleaned long cleaned first" {
		t.Errorf("got %q", h.noted())
	}
}

// TestResume: the program died; another one goes on where it stopped.
func TestResume(t *testing.T) {
	store := openStore(t)
	ctx := context.Background()
	functions := map[string]function{"f": func(_ context.Context, h *house, x *jobcontrol.Execution) (any, error) {
		h.note("%s", x.Job.ID)
		return nil, nil
	}}
	list := []*jobcontrol.Job{
		{ID: "a", Run: call("f")}, {ID: "b", Run: call("f"), Dependencies: []string{"a"}}, {ID: "c", Run: call("f"), Dependencies: []string{"b"}},
	}
	// A Run of a process that is gone: its worker was of an earlier boot.
	self := worker.Self()
	dead := self
	dead.StartTime--
	lease, err := store.Register(ctx, dead, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	n := jobcontrol.NewRun{Run: jobcontrol.Run{Verb: jobcontrol.VerbRun, Targets: []string{"c"}}, Lease: &lease}
	for i, j := range list {
		body, hash, err := j.Definition()
		if err != nil {
			t.Fatal(err)
		}
		nb := jobcontrol.NewBuild{Build: jobcontrol.Build{Job: j.ID, Tries: 3}, Definition: body, Hash: hash}
		if i > 0 {
			nb.Members = []int{i - 1}
		}
		n.Builds = append(n.Builds, nb)
	}
	run, builds, err := store.CreateRun(ctx, n)
	if err != nil {
		t.Fatal(err)
	}
	now := jobcontrol.Micros(time.Now())
	end := func(b jobcontrol.Build) jobcontrol.Ended {
		return jobcontrol.Ended{State: jobcontrol.Successful, Changed: true, Attempt: jobcontrol.Attempt{Build: b.ID, Number: 1, StartedAt: now, FinishedAt: now}}
	}
	if _, err := store.Finish(ctx, builds[0].Claim, end(builds[0])); err != nil {
		t.Fatal(err)
	}
	if err := store.Start(ctx, []jobcontrol.Claim{builds[1].Claim}, []time.Time{now}); err != nil {
		t.Fatal(err)
	}
	h := build(t, store, 2, functions, list...)
	if _, err := h.Resume(ctx, run.ID, nil); !errors.Is(err, jobcontrol.ErrConflict) {
		t.Errorf("a run that is not interrupted was resumed: %v", err)
	}
	found, err := h.Rescue(ctx)
	if err != nil || len(found) != 1 || found[0].Run != run.ID || !slices.Equal(found[0].Builds, []int64{builds[1].ID}) {
		t.Fatalf("found %+v, %v", found, err)
	}
	if _, err := store.Finish(ctx, builds[1].Claim, end(builds[1])); !errors.Is(err, jobcontrol.ErrLeaseLost) {
		t.Errorf("the dead program's write was accepted: %v", err)
	}
	run, err = h.Resume(ctx, run.ID, nil)
	if err != nil || run.State != jobcontrol.RunSuccessful {
		t.Fatalf("got %+v, %v", run, err)
	}
	if h.noted() != "b c" {
		t.Errorf("executed %q, want b c", h.noted())
	}
	if got := h.builds(t, run.ID)["b"]; got.Lost != 1 || got.Attempts != 2 || got.TriesUsed != 1 {
		t.Errorf("b: lost %d, attempts %d, tries used %d", got.Lost, got.Attempts, got.TriesUsed)
	}
}

func TestRetries(t *testing.T) {
	short := 20 * time.Millisecond
	h := build(t, openStore(t), 2, map[string]function{
		"third": func(_ context.Context, h *house, x *jobcontrol.Execution) (any, error) {
			h.note("%s%d", x.Job.ID, x.Attempt)
			if x.Attempt < 3 {
				return nil, fmt.Errorf("attempt %d", x.Attempt)
			}
			return x.Attempt, nil
		},
		"asks": func(_ context.Context, h *house, x *jobcontrol.Execution) (any, error) {
			if x.Attempt < 4 {
				return nil, jobcontrol.Retry(time.Millisecond, "busy")
			}
			return nil, nil
		},
		"user": func(context.Context, *house, *jobcontrol.Execution) (any, error) {
			return nil, jobcontrol.UserError("no such customer")
		},
		"panics": func(context.Context, *house, *jobcontrol.Execution) (any, error) { panic("boom") },
		"suspends": func(context.Context, *house, *jobcontrol.Execution) (any, error) {
			return nil, jobcontrol.Suspend("wait")
		},
	},
		&jobcontrol.Job{ID: "third", Run: call("third"), RetryDelay: &short},
		&jobcontrol.Job{ID: "asks", Run: call("asks"), Tries: 1},
		&jobcontrol.Job{ID: "user", Run: call("user")},
		&jobcontrol.Job{ID: "panics", Run: call("panics")},
		&jobcontrol.Job{ID: "suspends", Run: call("suspends")},
		&jobcontrol.Job{ID: "behind", Dependencies: []string{"suspends"}})
	begin := time.Now()
	run, builds := h.execute(t, runJob("third", "asks", "user", "panics"))
	if run.State != jobcontrol.RunPartial {
		t.Errorf("run %s", run.State)
	}
	if time.Since(begin) < 2*short {
		t.Errorf("two retries took %v, less than their delays", time.Since(begin))
	}
	for id, want := range map[string]string{
		"third": "successful 3 3", "asks": "successful 4 1", "user": "failed 1 1 user no such customer", "panics": "failed 1 1 panic panic: boom",
	} {
		b := builds[id]
		got := fmt.Sprintf("%s %d %d", b.State, b.Attempts, b.TriesUsed)
		if b.Failure != nil && b.State == jobcontrol.Failed {
			got += fmt.Sprintf(" %s %s", b.Failure.Kind, b.Failure.Message)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
	attempts, err := h.Attempts(context.Background(), builds["third"].ID)
	if err != nil || len(attempts) != 3 || attempts[0].Failure.Message != "attempt 1" {
		t.Errorf("attempts: %+v, %v", attempts, err)
	}
}

func TestBuildVerb(t *testing.T) {
	store := openStore(t)
	h := build(t, store, 2, map[string]function{"f": func(_ context.Context, h *house, x *jobcontrol.Execution) (any, error) {
		h.note("%s", x.Job.ID)
		return x.Kwargs["k"], nil
	}},
		&jobcontrol.Job{ID: "a", Run: call("f"), Kwargs: map[string]any{"k": "a"}},
		&jobcontrol.Job{ID: "b", Run: call("f"), Dependencies: []string{"a"}},
		&jobcontrol.Job{ID: "c", Run: call("f"), Dependencies: []string{"b"}},
		&jobcontrol.Job{ID: "p", Run: call("f"), Protected: true})
	ctx := context.Background()
	conflict := func(r jobcontrol.Request, want string) {
		t.Helper()
		_, err := h.Execute(ctx, r, nil)
		if !errors.Is(err, jobcontrol.ErrConflict) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want a conflict with %q", r, err, want)
		}
	}
	conflict(buildJob("b"), `its dependency "a" has no successful build`)
	conflict(buildJob("p"), "protected")
	if all, _ := h.Builds(ctx, jobcontrol.BuildFilter{}); len(all) != 0 {
		t.Errorf("%d builds were created", len(all))
	}
	r := buildJob("c")
	r.Deps = "missing"
	_, builds := h.execute(t, r)
	if h.noted() != "a b c" || builds["c"].Tries != 1 {
		t.Errorf("built %s", h.noted())
	}
	r = buildJob("a")
	r.Kwargs = map[string]any{"k": "other"}
	lone, made := h.execute(t, r)
	if got := string(made["a"].Result); got != `"other"` || lone.ID != made["a"].ID || !lone.Lone {
		t.Errorf("result %s of run %d, build %d", got, lone.ID, made["a"].ID)
	}
	infos, err := h.Jobs(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	status := ""
	for _, i := range infos {
		status += i.Status.Status + " "
	}
	if status != "successful outdated successful not_built " {
		t.Errorf("statuses: %s", status)
	}
	h.notes = nil
	r = buildJob("c")
	r.Deps = "outdated"
	h.execute(t, r)
	if h.noted() != "b c" {
		t.Errorf("--deps outdated built %s", h.noted())
	}
	h.notes = nil
	r = buildJob("a")
	r.Dependants = true
	h.execute(t, r)
	if h.noted() != "a b c" {
		t.Errorf("--dependants built %s", h.noted())
	}
	r = buildJob("b")
	r.Pins = map[string]int64{"a": builds["a"].ID}
	if _, made = h.execute(t, r); made["b"].Pins["a"] != builds["a"].ID {
		t.Errorf("pinned %v", made["b"].Pins)
	}
	r.Pins = map[string]int64{"a": builds["b"].ID}
	conflict(r, "is one of")
	h.notes = nil
	r = buildJob("c")
	r.Deps = "all"
	h.execute(t, r)
	if h.noted() != "a b c" {
		t.Errorf("--deps all built %s", h.noted())
	}
}

func TestSharedAndProgressAndLog(t *testing.T) {
	h := build(t, openStore(t), 2, map[string]function{
		"set": func(ctx context.Context, h *house, x *jobcontrol.Execution) (any, error) {
			jobcontrol.Logger(ctx, "mine").Warn("careful", "n", 3)
			if err := jobcontrol.Report(ctx, "a::b", 3, 10, "half way"); err != nil {
				return nil, err
			}
			return nil, x.Shared.Set(ctx, "when", "18:00")
		},
		"get": func(ctx context.Context, h *house, x *jobcontrol.Execution) (any, error) {
			var when string
			version, err := x.Shared.Load(ctx, "when", &when)
			if err != nil {
				return nil, err
			}
			if _, err := x.Shared.CompareAndSet(ctx, "when", "later", version+1); !errors.Is(err, jobcontrol.ErrConflict) {
				return nil, fmt.Errorf("compare-and-set with a wrong version: %v", err)
			}
			return when, nil
		},
	},
		&jobcontrol.Job{ID: "set", Run: call("set")},
		&jobcontrol.Job{ID: "get", Run: call("get"), Dependencies: []string{"set"}})
	ctx := context.Background()
	run, builds := h.execute(t, runJob("get"))
	if string(builds["get"].Result) != `"18:00"` {
		t.Fatalf("run %s, %+v", run.State, builds["get"].Failure)
	}
	tree, err := h.Progress(ctx, builds["set"].ID)
	if err != nil || tree.Current != 3 || tree.Total != 10 || tree.Children[0].Children[0].Status != "half way" {
		t.Errorf("progress %+v, %v", tree, err)
	}
	var records []jobcontrol.LogRecord
	if err := h.Log(ctx, builds["set"].ID, jobcontrol.LogFilter{MinLevel: jobcontrol.LevelWarning}, func(r jobcontrol.LogRecord) bool {
		records = append(records, r)
		return true
	}); err != nil || len(records) != 1 || records[0].Message != "careful" || records[0].Logger != "mine" || !strings.HasSuffix(records[0].File, "client_test.go") {
		t.Errorf("log %+v, %v", records, err)
	}
	// A new Run starts with no shared values.
	_, again := h.execute(t, runJob("get"))
	if string(again["get"].Result) != `"18:00"` {
		t.Errorf("got %s", again["get"].Result)
	}
}

func TestPlan(t *testing.T) {
	h := build(t, openStore(t), 2, map[string]function{
		"pass": func(context.Context, *house, *jobcontrol.Execution) (any, error) { return "value", nil },
		"fail": func(context.Context, *house, *jobcontrol.Execution) (any, error) { return nil, errors.New("not there") },
		"run": func(_ context.Context, h *house, x *jobcontrol.Execution) (any, error) {
			h.note("executed")
			return nil, nil
		},
		"arg": func(_ context.Context, h *house, x *jobcontrol.Execution) (any, error) {
			h.note("%v", x.Args)
			return nil, nil
		},
	},
		&jobcontrol.Job{ID: "done", Check: call("pass"), Run: call("run")},
		&jobcontrol.Job{ID: "uses", Check: call("arg"), Run: call("run"), Dependencies: []string{"done"}, Args: []any{jobcontrol.Retval{Job: "done"}}},
		&jobcontrol.Job{ID: "todo", Check: call("fail"), Run: call("run"), Dependencies: []string{"uses"}},
		&jobcontrol.Job{ID: "always", Run: call("run")},
		&jobcontrol.Job{ID: "group", Dependencies: []string{"done"}},
		&jobcontrol.Job{ID: "top", Dependencies: []string{"todo", "always", "group"}})
	plan, err := h.Plan(context.Background(), runJob("top"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, it := range plan.Items {
		got = append(got, fmt.Sprintf("%s %s: %s", it.Job.ID, it.Action, it.Why))
	}
	want := []string{
		"done none: its check passes", "uses none: its check passes", "todo run: its check fails: not there",
		"always run: it has no check; needed by top", "group none: all of its dependencies are done", "top unknown: its dependency todo is not done yet",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if h.noted() != "[value]" {
		t.Errorf("executed: %s", h.noted())
	}
	if all, _ := h.Builds(context.Background(), jobcontrol.BuildFilter{}); len(all) != 0 {
		t.Errorf("a plan stored %d builds", len(all))
	}
}
