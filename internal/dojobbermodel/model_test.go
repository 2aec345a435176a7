package dojobbermodel

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// execute runs an input that is known to be a graph.
func execute(t *testing.T, in Input) *Result {
	t.Helper()
	res, err := Execute(in)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// equal compares two values and shows the difference.
func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// lines returns the non-empty lines of a text, trimmed.
func lines(text string) []string {
	var out []string
	for l := range strings.Lines(text) {
		if l = strings.TrimSpace(l); l != "" {
			out = append(out, l)
		}
	}
	return out
}

const (
	tv    = `TurnOnTV.recheck: fail "Remote batteries are dead."`
	couch = `SitOnCouch.recheck: fail "No space on couch."`
	bowl  = `PopcornBowl.recheck: fail "Dishwasher cycle not done yet."`
	pizza = `Pizza.recheck: fail "Giordano's did not arrive yet."`
	pop   = `Popcorn.recheck: fail "Still popping..."`
)

// recheckFailures are the events of failed rechecks.
func recheckFailures(res *Result) []string {
	return slices.DeleteFunc(slices.Clone(res.Events), func(e string) bool {
		return !strings.Contains(e, ".recheck: fail")
	})
}

// DJ-V1.
func TestMovieRecheckFailures(t *testing.T) {
	res := execute(t, Movie(MovieOptions{Bowl: 6, Popcorn: 3, Pizza: 3}))
	want := []string{
		tv, couch, bowl, pizza,
		tv, couch, bowl, pizza,
		tv, couch, bowl,
		bowl, bowl,
		pop, pop,
	}
	equal(t, "recheck failures", recheckFailures(res), want)
	equal(t, "success", res.Success, false)
}

// DJ-V2 and DJ-V19.
func TestMoviePhasesAndTriesLeft(t *testing.T) {
	res := execute(t, Movie(MovieOptions{Bowl: 8, Popcorn: 5}))
	want := []string{
		tv, couch, bowl, pizza,
		tv, couch, bowl, pizza,
		tv, couch, bowl,
		bowl, bowl, bowl, bowl,
		pop, pop, pop, pop,
	}
	equal(t, "recheck failures", recheckFailures(res), want)
	equal(t, "phases", res.Phases, 12)
	equal(t, "tries left", res.TriesLeft, map[string]int{
		"TurnOnTV": 0, "SitOnCouch": 0, "Popcorn": 0, "PopcornBowl": 0, "Pizza": 0,
		"ValidateMovie": 2, "PickTimeAndDate": 2, "DetermineDetails": 2, "InviteFriends": 2,
		"FriendsArrive": 2, "CleanCouch": 2, "FluffPillows": 2, "PrepareRoom": 2,
		"FindTVRemote": 2, "InsertDVD": 2, "Food": 2,
		"StartMovie": 3, "WatchMovie": 3,
	})
	equal(t, "StartMovie", res.Status["StartMovie"], Untested)
	equal(t, "Food", res.Status["Food"], True)
	equal(t, "TurnOnTV", res.Status["TurnOnTV"], False)
	equal(t, "errors", len(res.Errors), 2)
}

// DJ-V3.
func TestMovieFirstRound(t *testing.T) {
	res := execute(t, Movie(MovieOptions{Bowl: 8, Popcorn: 5}))
	first := res.Events[:slices.Index(res.PhaseOf, 1)]
	equal(t, "first round", first, lines(`
		ValidateMovie.check: pass
		PickTimeAndDate.check: fail
		PickTimeAndDate.run: pass
		PickTimeAndDate.recheck: pass
		DetermineDetails.check: pass
		InviteFriends.check: pass
		FriendsArrive.check: pass
		CleanCouch.check: fail
		CleanCouch.run: pass
		CleanCouch.recheck: pass
		FluffPillows.check: fail
		FluffPillows.run: pass
		FluffPillows.recheck: pass
		PrepareRoom.check: pass
		FindTVRemote.check: pass
		TurnOnTV.check: fail
		TurnOnTV.run: pass
		TurnOnTV.recheck: fail "Remote batteries are dead."
		InsertDVD.check: pass
		SitOnCouch.check: fail
		SitOnCouch.run: pass
		SitOnCouch.recheck: fail "No space on couch."
		PopcornBowl.check: fail
		PopcornBowl.run: pass
		PopcornBowl.recheck: fail "Dishwasher cycle not done yet."
		Pizza.check: fail
		Pizza.run: fail
		Pizza.recheck: fail "Giordano's did not arrive yet."
	`))
}

// DJ-V4: what waited for a node is attempted in the phase in which it passed.
func TestMovieLastLines(t *testing.T) {
	res := execute(t, Movie(MovieOptions{Bowl: 6, Popcorn: 3}))
	i := slices.Index(res.Events, "PopcornBowl.recheck: pass")
	equal(t, "bowl passes in phase", res.PhaseOf[i], 5)
	equal(t, "from there", res.Events[i:], lines(`
		PopcornBowl.recheck: pass
		Popcorn.check: fail
		Popcorn.run: pass
		Popcorn.recheck: fail "Still popping..."
		Popcorn.check: fail
		Popcorn.run: pass
		Popcorn.recheck: fail "Still popping..."
		Popcorn.check: fail
		Popcorn.run: pass
		Popcorn.recheck: pass
		Food.check: pass
	`))
	equal(t, "first popcorn in phase", res.PhaseOf[i+1], 5)
	equal(t, "last phases", res.PhaseOf[len(res.PhaseOf)-2:], []int{7, 7})
	equal(t, "phases", res.Phases, 8)
}

// DJ-V15.
func TestMovieNoAct(t *testing.T) {
	in := Movie(MovieOptions{})
	in.NoAct = true
	res := execute(t, in)
	equal(t, "events", res.Events, lines(`
		ValidateMovie.check: pass
		PickTimeAndDate.check: fail
		CleanCouch.check: fail
		FluffPillows.check: fail
		FindTVRemote.check: pass
		TurnOnTV.check: fail
		InsertDVD.check: pass
		PopcornBowl.check: fail
		Pizza.check: fail
	`))
	status := map[Status][]string{}
	for id, s := range res.Status {
		status[s] = append(status[s], id)
	}
	for s := range status {
		slices.Sort(status[s])
	}
	equal(t, "true", status[True], []string{"FindTVRemote", "InsertDVD", "ValidateMovie"})
	equal(t, "false", status[False], []string{
		"CleanCouch", "FluffPillows", "PickTimeAndDate", "Pizza", "PopcornBowl", "TurnOnTV",
	})
	equal(t, "number of null", len(status[Untested]), 9)
	equal(t, "phases", res.Phases, 1)
}

func TestNoActSucceeds(t *testing.T) {
	res := execute(t, Input{Nodes: []Node{{ID: "a"}}, NoAct: true})
	equal(t, "success", res.Success, true)
}

func TestMovieSucceeds(t *testing.T) {
	res := execute(t, Movie(MovieOptions{Batteries: true, Couch: true}))
	equal(t, "success", res.Success, true)
	equal(t, "last event", res.Events[len(res.Events)-1], "WatchMovie.recheck: pass")
}

// DJ-V18.
func TestTries(t *testing.T) {
	in := Input{
		Nodes: []Node{
			{ID: "Root", Deps: []string{"Foo", "Bar"}, Kind: Dummy},
			{ID: "Foo", Tries: 10},
			{ID: "Bar"},
		},
		DefaultTries: 1,
		Outcome:      func(string, int, Step) error { return errors.New("no") },
	}
	res := execute(t, in)
	count := map[string]int{}
	for _, e := range res.Events {
		count[e]++
	}
	equal(t, "events", count, map[string]int{
		"Foo.check: fail": 10, "Foo.run: fail": 10, `Foo.recheck: fail "no"`: 10,
		"Bar.check: fail": 1, "Bar.run: fail": 1, `Bar.recheck: fail "no"`: 1,
	})
	equal(t, "phases", res.Phases, 10)
}

// TestTruthTable is the table of requirements for one attempt of node A, on
// which B depends.
func TestTruthTable(t *testing.T) {
	const yes, no = true, false
	for _, c := range []struct {
		name                string
		kind                Kind
		noAct               bool
		check, run, recheck bool
		events              string
		status              Status
		err                 string
	}{
		{"passes at once", Job, no, yes, no, no, "A.check: pass", True, ""},
		{"run and recheck pass", Job, no, no, yes, yes, "A.check: fail,A.run: pass,A.recheck: pass", True, ""},
		{"error of run ignored", Job, no, no, no, yes, "A.check: fail,A.run: fail,A.recheck: pass", True, ""},
		{"recheck fails", Job, no, no, yes, no, `A.check: fail,A.run: pass,A.recheck: fail "recheck"`, False, "recheck"},
		{"all fail", Job, no, no, no, no, `A.check: fail,A.run: fail,A.recheck: fail "recheck"`, False, "recheck"},
		{"dry, passes", Job, yes, yes, no, no, "A.check: pass", True, ""},
		{"dry, fails", Job, yes, no, yes, yes, "A.check: fail", False, "check"},
		{"run-only", RunOnly, no, yes, yes, no, "A.check: fail,A.run: pass,A.recheck: pass", True, ""},
		{"run-only fails", RunOnly, no, yes, no, yes, `A.check: fail,A.run: fail,A.recheck: fail "run"`, False, "run"},
		{"run-only dry", RunOnly, yes, yes, yes, yes, "A.check: fail", False, errFirst.Error()},
		{"dummy", Dummy, no, no, no, no, "A.check: pass", True, ""},
		{"dummy dry", Dummy, yes, no, no, no, "A.check: pass", True, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			pass := map[Step]bool{Check: c.check, Run: c.run, Recheck: c.recheck}
			res := execute(t, Input{
				Nodes:        []Node{{ID: "B", Deps: []string{"A"}, Kind: Dummy}, {ID: "A", Kind: c.kind}},
				DefaultTries: 1,
				NoAct:        c.noAct,
				Outcome: func(_ string, _ int, s Step) error {
					if pass[s] {
						return nil
					}
					return errors.New(string(s))
				},
			})
			events := strings.Split(c.events, ",")
			dependant := Untested
			if c.status == True {
				events = append(events, "B.check: pass")
				dependant = True
			}
			equal(t, "events", res.Events, events)
			equal(t, "status", res.Status, map[string]Status{"A": c.status, "B": dependant})
			got := ""
			if err := res.Errors["A"]; err != nil {
				got = err.Error()
			}
			equal(t, "error", got, c.err)
			equal(t, "tries left of A", res.TriesLeft["A"], 0)
		})
	}
}

func TestSeveralTargets(t *testing.T) {
	in := Input{
		Nodes: []Node{
			{ID: "unrelated"},
			{ID: "a", Deps: []string{"x"}, Kind: Dummy},
			{ID: "b", Deps: []string{"x"}, Kind: Dummy},
			{ID: "x", Kind: Dummy},
		},
		Targets: []string{"b", "a"},
	}
	res := execute(t, in)
	equal(t, "events", res.Events, []string{"x.check: pass", "b.check: pass", "a.check: pass"})
	equal(t, "phases", res.Phases, 1)
	equal(t, "success", res.Success, true)
	equal(t, "no target, no success", execute(t, Input{}).Success, false)
}

func TestBadInput(t *testing.T) {
	for name, c := range map[string]struct {
		nodes []Node
		want  string
	}{
		"unknown":   {[]Node{{ID: "a", Deps: []string{"b"}}}, `unknown node "b"`},
		"duplicate": {[]Node{{ID: "a"}, {ID: "a"}}, `duplicate node "a"`},
		"cycle":     {[]Node{{ID: "a", Deps: []string{"b"}}, {ID: "b", Deps: []string{"a"}}}, `graph contains cycles: ["a" "b" "a"]`},
		"tries":     {[]Node{{ID: "a", Tries: -1}}, `TRIES "-1" must be >= 1.`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Execute(Input{Nodes: c.nodes})
			equal(t, "error", fmt.Sprint(err), c.want)
		})
	}
}

// literal is the order as the requirements word it: for a node, the post-order
// of all its descendants, each visited recursively if it is not true; then the
// node itself if all of them are true. It takes exponential time.
func (m *model) literal(id string) {
	sub := &model{nodes: m.nodes}
	_ = sub.collect(id, nil)
	ready := true
	for _, d := range sub.order[:len(sub.order)-1] {
		if m.res.Status[d] != True {
			m.literal(d)
		}
		ready = ready && m.res.Status[d] == True
	}
	if ready && m.res.Status[id] != True && m.tried[id] != m.phase+1 && m.res.TriesLeft[id] > 0 {
		m.attempt(id)
	}
}

// TestVisitIsLiteral holds that visiting direct dependencies, each node once
// in a phase, does the same as the literal wording.
func TestVisitIsLiteral(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 7).Draw(t, "nodes")
		in := Input{DefaultTries: 2, NoAct: rapid.Bool().Draw(t, "no_act")}
		passes := map[string]int{}
		for i := range n {
			node := Node{ID: string(rune('a' + i)), Kind: Kind(rapid.IntRange(0, 2).Draw(t, "kind"))}
			node.Tries = rapid.IntRange(0, 4).Draw(t, "tries")
			for k := i + 1; k < n; k++ {
				if rapid.Bool().Draw(t, "edge") {
					node.Deps = append(node.Deps, string(rune('a'+k)))
				}
			}
			passes[node.ID] = rapid.IntRange(0, 4).Draw(t, "passes")
			in.Nodes = append(in.Nodes, node)
		}
		in.Outcome = func(id string, attempt int, s Step) error {
			if attempt > passes[id] || attempt == passes[id] && s == Recheck {
				return nil
			}
			return errors.New("no")
		}
		got, err := Execute(in)
		if err != nil {
			t.Fatal(err)
		}
		want := literalResult(t, in)
		if d := cmp.Diff(want.Events, got.Events); d != "" {
			t.Fatalf("events (-literal +got):\n%s", d)
		}
		if got.Phases != want.Phases || !cmp.Equal(got.Status, want.Status) || !cmp.Equal(got.TriesLeft, want.TriesLeft) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	})
}

// literalResult is [Execute] by the literal wording, for the first node.
func literalResult(t *rapid.T, in Input) *Result {
	m := &model{
		in: in, nodes: map[string]Node{}, tried: map[string]int{},
		res: &Result{Status: map[string]Status{}, TriesLeft: map[string]int{}, Errors: map[string]error{}},
	}
	if err := m.configure(); err != nil {
		t.Fatal(err)
	}
	for {
		m.literal(in.Nodes[0].ID)
		m.phase++
		m.res.Phases = m.phase
		if m.finished() || in.NoAct {
			return m.res
		}
	}
}
