//go:build linux

package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/internal/benchmark"
	"github.com/jobcontrol/jobcontrol/store/sqlite"
	"github.com/jobcontrol/jobcontrol/worker"
)

var sizeFaults = []fault{
	{"F25", "claims beside 1,000,000 finished builds (SQLite); results and arguments of 64 MB", "claim p99 ≤ 2 × that of an empty store; refused with a named error, RSS < 200 MB for a result of a command", large},
	{"F42", "results that are huge, cyclic or not JSON, by functions and commands", "the build fails with a named error, none is lost", results},
}

func large(ctx context.Context, t *trial) {
	t.claims(ctx, scaled(1_000_000, 2000))
	t.largeValues(ctx)
}

// claims measures claims of one build, before there is history and after that.
func (t *trial) claims(ctx context.Context, history int) {
	t.Helper()
	s, err := sqlite.Open(ctx, filepath.Join(t.dir, "claims.db"), sqlite.Options{})
	t.must(err)
	defer s.Close()
	t.must(s.Install(ctx))
	before := t.claimTimes(ctx, s)
	_, err = benchmark.Run(ctx, benchmark.Measurement{Name: "drain", Store: s, StoreName: "sqlite", Jobs: 1000, History: history})
	t.must(err)
	after := t.claimTimes(ctx, s)
	t.n += history
	p99 := func(took []time.Duration) time.Duration { return took[len(took)*99/100] }
	t.figure("claim p99 %v empty, %v beside %d", p99(before).Round(time.Microsecond), p99(after).Round(time.Microsecond), history)
	if timed() && p99(after) > 2*p99(before) {
		t.Errorf("claims take %v beside a history, %v without", p99(after), p99(before))
	}
}

// claimTimes are the sorted times of claims, each of one build.
func (t *trial) claimTimes(ctx context.Context, s *sqlite.Store) (took []time.Duration) {
	t.Helper()
	j := &jobcontrol.Job{ID: "claimed", Tries: 1, Run: &jobcontrol.Task{Shell: "true"}}
	list, err := jobcontrol.NewJobs([]*jobcontrol.Job{j})
	t.must(err)
	c := worker.NewClient(worker.Config{Store: s, Jobs: list, Project: "claims"})
	n := scaled(5000, 200)
	_, err = c.EnqueueMany(ctx, j, make([]jobcontrol.Enqueued, n))
	t.must(err)
	l, err := s.Register(ctx, worker.Self(), time.Hour)
	t.must(err)
	var claims []jobcontrol.Build
	for range n {
		begin := time.Now()
		got, err := s.Claim(ctx, l, jobcontrol.Wanted{Project: "claims", Services: []string{jobcontrol.DefaultService}, N: 1})
		t.must(err)
		took = append(took, time.Since(begin))
		claims = append(claims, got.Builds...)
	}
	if len(claims) != n {
		t.Fatalf("%d builds of %d were claimed", len(claims), n)
	}
	for i := range claims {
		_, err := s.Finish(ctx, claims[i].Claim, jobcontrol.Ended{
			State: jobcontrol.Successful, Attempt: jobcontrol.Attempt{Number: 1, StartedAt: time.Now(), FinishedAt: time.Now()},
		})
		t.must(err)
	}
	t.must(s.Unregister(ctx, l))
	slices.Sort(took)
	return took
}

// largeValues has commands and callers give 64 MB.
func (t *trial) largeValues(ctx context.Context) {
	t.Helper()
	size := scaled(64<<20, 4<<20)
	dir := t.project(jobs(
		fmt.Sprintf(`  - {id: stdout, tries: 1, result: stdout, run: "head -c %d /dev/zero | tr '\\0' x"}`, size),
		fmt.Sprintf(`  - {id: json, tries: 1, result: json, run: "printf '\"'; head -c %d /dev/zero | tr '\\0' x; printf '\"'"}`, size),
		fmt.Sprintf(`  - {id: told, tries: 1, run: "(printf '{\"result\":\"'; head -c %d /dev/zero | tr '\\0' x; printf '\"}\\n') >&3"}`, size),
		`  - {id: function, tries: 1, function: "results:huge", kwargs: {size: `+fmt.Sprint(size)+`}}`,
	))
	rss := 0
	for _, job := range []string{"stdout", "json", "told", "function"} {
		t.n++
		r := t.run(ctx, dir, "build", job)
		if r.status != 1 {
			t.Errorf("%s: exit status %d", job, r.status)
		}
		if job != "function" { // which makes the value itself
			rss = max(rss, r.rss)
		}
	}
	for _, b := range t.builds(ctx, dir) {
		if b.State != "failed" || b.Failure == nil || !strings.Contains(b.Failure.Message, "store it elsewhere and return a pointer") && b.Job != "told" || string(b.Result) != "null" {
			t.Errorf("%s ended %s, %+v, with a result of %d bytes", b.Job, b.State, b.Failure, len(b.Result))
		}
		if b.Failure != nil {
			t.Logf("%s: %.150s", b.Job, b.Failure.Message)
		}
	}
	t.figure("RSS %d MB", rss)
	if rss > 200 {
		t.Errorf("a large result takes %d MB", rss)
	}
	t.n++
	j := &jobcontrol.Job{ID: "big", Run: &jobcontrol.Task{Shell: "true"}}
	list, err := jobcontrol.NewJobs([]*jobcontrol.Job{j})
	t.must(err)
	s, err := sqlite.Open(ctx, state(dir), sqlite.Options{})
	t.must(err)
	defer s.Close()
	_, err = worker.NewClient(worker.Config{Store: s, Jobs: list}).Enqueue(ctx, j, jobcontrol.Enqueued{Kwargs: json.RawMessage(`{"x":"` + strings.Repeat("x", size) + `"}`)})
	if jobcontrol.CodeOf(err) != jobcontrol.Invalid || !strings.Contains(err.Error(), "arguments have") {
		t.Errorf("arguments of %d bytes: %.200v", size, err)
	}
}

// node is a value that may lead back to itself.
type node struct {
	Next *node `json:"next"`
}

// oddResults are results, and what the failure says of each; "": it is a result.
var oddResults = map[string]struct {
	value func() any
	want  string
}{
	"fine":      {func() any { return map[string]any{"a": 1} }, ""},
	"cyclic":    {func() any { n := &node{}; n.Next = n; return n }, "result refused"},
	"map-cycle": {func() any { m := map[string]any{}; m["m"] = m; return m }, "result refused"},
	"channel":   {func() any { return make(chan int) }, "result refused"},
	"function":  {func() any { return func() {} }, "result refused"},
	"nan":       {func() any { return math.NaN() }, "result refused"},
	"infinite":  {func() any { return []float64{math.Inf(1)} }, "result refused"},
	"bytes":     {func() any { return "\xff\xfe" }, "result refused"},
	"panics":    {func() any { return panicky{} }, ""},
	"raw":       {func() any { return json.RawMessage("{") }, "result refused"},
	"deep": {func() any {
		var v any
		for range 100_000 {
			v = []any{v}
		}
		return v
	}, "result refused"},
	"large": {func() any { return strings.Repeat("x", 2<<20) }, "result refused"},
	"wide":  {func() any { return make([]int, 1<<20) }, "result refused"},
}

// panicky panics where it is encoded.
type panicky struct{}

// MarshalJSON panics.
func (panicky) MarshalJSON() ([]byte, error) { panic("on purpose") }

// registerResults registers functions with odd results.
func registerResults(reg *jobcontrol.Registry) {
	for name, r := range oddResults {
		jobcontrol.Handle(reg, "results:"+name, func(context.Context, jobcontrol.None) (any, error) { return r.value(), nil })
	}
	type size struct {
		Size int `json:"size"`
	}
	jobcontrol.Handle(reg, "results:huge", func(_ context.Context, s size) (string, error) { return strings.Repeat("x", s.Size), nil })
}

// oddOutputs are what commands give as results, with the mode, and what the
// failure says; "": it is a result.
var oddOutputs = []struct{ mode, script, want string }{
	{"json", `echo '{"a": 1}'`, ""},
	{"json", `echo '{"a": '`, "result"},
	{"json", `echo '{} {}'`, "result"},
	{"json", `echo NaN`, "result"},
	{"json", `true`, "result"},
	{"json", `printf '\377'`, "result"},
	{"json", `head -c 100000 /dev/zero | tr '\0' '['`, "result"},
	{"json", `head -c 2000000 /dev/zero | tr '\0' '1'`, "result"},
	{"stdout", `head -c 2000000 /dev/zero`, "result"},
	{"lines", `yes | head -n 2000000`, "result"},
	{"tell", `echo '{"result": {"a": 1}}' >&3`, ""},
	{"tell", `head -c 3000000 /dev/zero | tr '\0' x >&3; echo '{"result": 1}' >&3`, ""},
}

func results(ctx context.Context, t *trial) {
	var lines []string
	want := map[string]string{}
	add := func(id, how, text string) {
		want[id] = text
		lines = append(lines, fmt.Sprintf("  - {id: %s, tries: 1, %s}", id, how))
	}
	for range scaled(10, 1) {
		for name, r := range oddResults {
			add(fmt.Sprintf("r%d-%s", len(want), name), "function: 'results:"+name+"'", r.want)
		}
		for _, o := range oddOutputs {
			how := "run: " + quoted(o.script)
			if o.mode != "tell" {
				how += ", result: " + o.mode
			}
			add(fmt.Sprintf("o%d-%s", len(want), o.mode), how, o.want)
		}
	}
	t.n = len(want)
	dir := t.project(jobs(append(lines, "  - {id: all, dependencies: ["+strings.Join(sortedKeys(want), ", ")+"]}")...))
	w := t.start(dir, "worker", "-j", "4")
	if r := t.run(ctx, dir, "run", "--detach", "all"); r.status != 0 {
		t.Fatalf("exit status %d: %s", r.status, r.err)
	}
	if r := t.run(ctx, dir, "runs", "watch", "1"); r.status != 1 {
		t.Errorf("exit status %d: %s", r.status, r.err)
	}
	if !w.lives() {
		t.Errorf("the worker ended: %s", w.said())
	}
	wrong, seen := 0, 0
	for _, b := range t.builds(ctx, dir) {
		text, ours := want[b.Job]
		if !ours {
			continue
		}
		seen++
		got := ""
		if b.Failure != nil {
			got = b.Failure.Message
		}
		ok := b.State == "failed" && text != "" && strings.Contains(got, text) || b.State == "successful" && text == ""
		if strings.HasSuffix(b.Job, "-panics") {
			ok = b.State == "failed" && got != ""
		}
		if !ok {
			t.Logf("%s ended %s, %.200q, want %q", b.Job, b.State, got, text)
			wrong++
		}
	}
	t.none(wrong, "unnamed ends")
	t.none(t.n-seen, "lost builds")
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
