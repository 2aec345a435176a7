package worker_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/internal/dojobbermodel"
	"github.com/jobcontrol/jobcontrol/store/sqlite"
	"github.com/jobcontrol/jobcontrol/worker"
)

// scripted executes tasks by asking a function how they end.
type scripted func(job string, attempt int, phase jobcontrol.Phase) error

func (s scripted) Execute(_ context.Context, c *jobcontrol.Call) (any, error) {
	return nil, s(c.Job.ID, c.Attempt, c.Phase)
}

// Prepare prepares every task, so that whether a Run prepares one changes nothing.
func (s scripted) Prepare(c *jobcontrol.Call) jobcontrol.Prepared { return scriptedCall{s, c} }

type scriptedCall struct {
	scripted
	c *jobcontrol.Call
}

func (s scriptedCall) Execute(ctx context.Context) (any, error) { return s.scripted.Execute(ctx, s.c) }
func (s scriptedCall) Discard()                                 {}

func openStore(t testing.TB) *sqlite.Store {
	t.Helper()
	ctx := context.Background()
	s, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "state.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Install(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

// line is an event as DoJobber prints it.
func line(e jobcontrol.Event) string {
	if e.Passed {
		return fmt.Sprintf("%s.%s: pass", e.Job.ID, e.Phase)
	}
	if e.Phase == jobcontrol.PhaseRecheck {
		return fmt.Sprintf("%s.%s: fail \"%s\"", e.Job.ID, e.Phase, e.Failure.Message)
	}
	return fmt.Sprintf("%s.%s: fail", e.Job.ID, e.Phase)
}

// jobsOf makes jobs of a model's input, without a delay between attempts.
func jobsOf(in dojobbermodel.Input) (*jobcontrol.Jobs, error) {
	var list []*jobcontrol.Job
	task := &jobcontrol.Task{Shell: "scripted"}
	zero := time.Duration(0)
	for _, n := range in.Nodes {
		j := &jobcontrol.Job{ID: n.ID, Dependencies: n.Deps, Tries: n.Tries, RetryDelay: &zero}
		if n.Kind != dojobbermodel.Dummy {
			j.Run = task
		}
		if n.Kind == dojobbermodel.Job {
			j.Check = task
		}
		list = append(list, j)
	}
	return jobcontrol.NewJobs(list)
}

// dojobber executes a model's input with the real thing, one slot, no delay.
func dojobber(t interface {
	Helper()
	Fatal(...any)
}, store jobcontrol.Store, in dojobbermodel.Input,
) (lines []string, run *jobcontrol.Run, builds map[string]jobcontrol.Build) {
	t.Helper()
	ctx := context.Background()
	jobs, err := jobsOf(in)
	if err != nil {
		t.Fatal(err)
	}
	c := worker.NewClient(worker.Config{
		Store: store, Jobs: jobs, Parallel: 1,
		Executor: scripted(func(job string, attempt int, phase jobcontrol.Phase) error {
			if in.Outcome == nil {
				return nil
			}
			return in.Outcome(job, attempt, dojobbermodel.Step(phase))
		}),
	})
	targets := in.Targets
	if len(targets) == 0 {
		targets = []string{in.Nodes[0].ID}
	}
	run, err = c.Execute(ctx, jobcontrol.Request{Verb: jobcontrol.VerbRun, Jobs: targets, Tries: in.DefaultTries}, func(e jobcontrol.Event) {
		if e.Kind == jobcontrol.EventPhase {
			lines = append(lines, line(e))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	all, err := c.Builds(ctx, jobcontrol.BuildFilter{Run: run.ID, Limit: -1})
	if err != nil {
		t.Fatal(err)
	}
	builds = map[string]jobcontrol.Build{}
	for _, b := range all {
		builds[b.Job] = b
	}
	return lines, run, builds
}

// TestOrderEqualsDoJobber compares the order of everything that is executed,
// and how it ends, with an independent model of DoJobber on random graphs.
func TestOrderEqualsDoJobber(t *testing.T) {
	store := openStore(t)
	for range 30 { // of rapid's hundred graphs each
		rapid.Check(t, func(rt *rapid.T) { compareWithModel(rt, store) })
	}
}

func compareWithModel(rt *rapid.T, store jobcontrol.Store) {
	in := randomInput(rt)
	want, err := dojobbermodel.Execute(in)
	if err != nil {
		rt.Fatal(err)
	}
	lines, run, builds := dojobber(rt, store, in)
	if diff := cmp.Diff(want.Events, lines); diff != "" {
		rt.Fatalf("order differs from DoJobber (-want +got):\n%s", diff)
	}
	if got := run.State == jobcontrol.RunSuccessful; got != want.Success {
		rt.Fatalf("run is %s, DoJobber's success is %v", run.State, want.Success)
	}
	for id, s := range want.Status {
		b, ok := builds[id]
		if !ok {
			continue // not below a target
		}
		wantState := map[dojobbermodel.Status]jobcontrol.State{
			dojobbermodel.True: jobcontrol.Successful, dojobbermodel.False: jobcontrol.Failed, dojobbermodel.Untested: jobcontrol.Blocked,
		}[s]
		if b.State != wantState {
			rt.Fatalf("%s is %s, want %s", id, b.State, wantState)
		}
		if s != dojobbermodel.Untested {
			if left := b.Tries - b.TriesUsed; left != want.TriesLeft[id] {
				rt.Fatalf("%s has %d tries left, want %d", id, left, want.TriesLeft[id])
			}
		}
	}
}

func randomInput(rt *rapid.T) dojobbermodel.Input {
	n := rapid.IntRange(1, 12).Draw(rt, "nodes")
	in := dojobbermodel.Input{DefaultTries: rapid.IntRange(1, 4).Draw(rt, "tries")}
	type key struct {
		node    string
		attempt int
		step    dojobbermodel.Step
	}
	failures := map[key]bool{}
	for i := range n {
		node := dojobbermodel.Node{ID: fmt.Sprintf("n%d", i), Kind: dojobbermodel.Kind(rapid.IntRange(0, 2).Draw(rt, "kind"))}
		if rapid.Bool().Draw(rt, "own tries") {
			node.Tries = rapid.IntRange(1, 5).Draw(rt, "tries")
		}
		for k := i + 1; k < n; k++ {
			if rapid.IntRange(0, 3).Draw(rt, "edge") == 0 {
				node.Deps = append(node.Deps, fmt.Sprintf("n%d", k))
			}
		}
		if len(node.Deps) > 1 && rapid.Bool().Draw(rt, "reverse") {
			for a, b := 0, len(node.Deps)-1; a < b; a, b = a+1, b-1 {
				node.Deps[a], node.Deps[b] = node.Deps[b], node.Deps[a]
			}
		}
		for attempt := 1; attempt <= 5; attempt++ {
			for _, step := range []dojobbermodel.Step{dojobbermodel.Check, dojobbermodel.Run, dojobbermodel.Recheck} {
				if rapid.IntRange(0, 2).Draw(rt, "fails") == 0 {
					failures[key{node.ID, attempt, step}] = true
				}
			}
		}
		in.Nodes = append(in.Nodes, node)
	}
	in.Outcome = func(node string, attempt int, step dojobbermodel.Step) error {
		if failures[key{node, attempt, step}] {
			return errors.New("scripted")
		}
		return nil
	}
	return in
}

// TestMovie runs DoJobber's own example with the vectors of its documentation.
func TestMovie(t *testing.T) {
	for name, o := range map[string]dojobbermodel.MovieOptions{
		"documentation (DJ-V1)": {Bowl: 6, Popcorn: 3, Pizza: 3},
		"source (DJ-V2)":        {Bowl: 8, Popcorn: 5, Pizza: 3},
		"everything works":      {Batteries: true, Couch: true},
	} {
		t.Run(name, func(t *testing.T) {
			want, err := dojobbermodel.Execute(dojobbermodel.Movie(o))
			if err != nil {
				t.Fatal(err)
			}
			lines, run, _ := dojobber(t, openStore(t), dojobbermodel.Movie(o))
			if diff := cmp.Diff(want.Events, lines); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if want.Success != (run.State == jobcontrol.RunSuccessful) {
				t.Errorf("run ended %s, want success %v", run.State, want.Success)
			}
		})
	}
}
