package graph_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jobcontrol/jobcontrol/graph"
)

// source is the input of a graph: nodes in order with their dependencies.
type source []struct {
	id   string
	deps []string
}

// parse reads lines such as "a: b c".
func parse(text string) source {
	var s source
	for l := range strings.Lines(text) {
		if id, deps, ok := strings.Cut(strings.TrimSpace(l), ":"); ok {
			s = append(s, struct {
				id   string
				deps []string
			}{id, strings.Fields(deps)})
		}
	}
	return s
}

// build makes the graph.
func (s source) build() (*graph.Graph, error) {
	ids := make([]string, len(s))
	for i, n := range s {
		ids[i] = n.id
	}
	return graph.New(ids, func(i int) []string { return s[i].deps })
}

// mustBuild makes the graph of a text that has no faults.
func mustBuild(t testing.TB, text string) *graph.Graph {
	t.Helper()
	g, err := parse(text).build()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// nodes returns the nodes with these ids.
func nodes(t testing.TB, g *graph.Graph, ids string) []int32 {
	t.Helper()
	var list []int32
	for _, id := range strings.Fields(ids) {
		i, ok := g.Index(id)
		if !ok {
			t.Fatalf("no node %q", id)
		}
		list = append(list, i)
	}
	return list
}

// names joins the ids of nodes.
func names(g *graph.Graph, list []int32) string { return strings.Join(g.IDs(list), " ") }

// equal compares two values and shows the difference.
func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

const movie = `
	WatchMovie: StartMovie
	StartMovie: FriendsArrive PrepareRoom TurnOnTV InsertDVD SitOnCouch Food
	FriendsArrive: InviteFriends
	InviteFriends: DetermineDetails
	DetermineDetails: ValidateMovie PickTimeAndDate
	ValidateMovie:
	PickTimeAndDate:
	PrepareRoom: CleanCouch FluffPillows
	CleanCouch:
	FluffPillows:
	TurnOnTV: FindTVRemote
	FindTVRemote:
	InsertDVD: ValidateMovie
	SitOnCouch: PrepareRoom
	Food: Popcorn Pizza
	Popcorn: PopcornBowl
	PopcornBowl:
	Pizza:
`

func TestAccessors(t *testing.T) {
	g := mustBuild(t, movie)
	equal(t, "len", g.Len(), 18)
	i := nodes(t, g, "StartMovie")[0]
	equal(t, "id", g.ID(i), "StartMovie")
	equal(t, "dependencies", names(g, g.Dependencies(i)),
		"FriendsArrive PrepareRoom TurnOnTV InsertDVD SitOnCouch Food")
	equal(t, "dependants", names(g, g.Dependants(i)), "WatchMovie")
	equal(t, "dependants in node order",
		names(g, g.Dependants(nodes(t, g, "ValidateMovie")[0])), "DetermineDetails InsertDVD")
	_, ok := g.Index("nobody")
	equal(t, "unknown id found", ok, false)
}

func TestReturnedSlicesHaveNoRoom(t *testing.T) {
	g := mustBuild(t, "a: b\n b:\n c: a")
	for i := range int32(3) {
		_ = append(g.Dependencies(i), 99)
		_ = append(g.Dependants(i), 99)
	}
	equal(t, "dependencies of c", names(g, g.Dependencies(2)), "a")
	equal(t, "dependants of b", names(g, g.Dependants(1)), "a")
}

func TestNewKeepsNoInput(t *testing.T) {
	ids := []string{"a", "b"}
	g, err := graph.New(ids, nil)
	if err != nil {
		t.Fatal(err)
	}
	ids[0] = "changed"
	equal(t, "id", g.ID(0), "a")
}

func TestBadIndexes(t *testing.T) {
	var zero graph.Graph
	for name, g := range map[string]*graph.Graph{"zero": &zero, "one node": mustBuild(t, "a:")} {
		t.Run(name, func(t *testing.T) {
			for _, i := range []int32{-1 << 31, -1, 1, 1<<31 - 1} {
				equal(t, "id", g.ID(i), "")
				equal(t, "ids", g.IDs([]int32{i}), []string{""})
				equal(t, "lists", [][]int32{
					g.Dependencies(i), g.Dependants(i), g.PostOrder(i), g.LongestPathOrder(i),
					g.DependenciesOf(i), g.DependantsOf(i), g.Component(i),
				}, make([][]int32, 7))
				equal(t, "subgraph", g.Subgraph([]int32{i}).Len(), 0)
				c := graph.NewCounter(g, []int32{i})
				equal(t, "counter", c.Pending()+len(c.Ready())+len(c.Done(i))+len(c.Fail(i)), 0)
			}
			equal(t, "post-order", len(g.PostOrder()), g.Len())
			equal(t, "components", len(g.Components()), g.Len())
		})
	}
}

func TestProblems(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"duplicate id", "a:\n b:\n a: b", `duplicate id "a" at 2/-1 first 0`},
		{"three times", "a:\n a:\n a:", `
			duplicate id "a" at 1/-1 first 0
			duplicate id "a" at 2/-1 first 0`},
		{"unknown", "a: b x\n b: y", `
			"a": unknown dependency "x" at 0/1 first -1
			"b": unknown dependency "y" at 1/0 first -1`},
		{"itself", "a: b a\n b:", `"a": depends on itself at 0/1 first -1`},
		{"listed twice", "a: c b b c b\n b:\n c:", `
			"a": dependency "b" is listed twice at 0/2 first 1
			"a": dependency "c" is listed twice at 0/3 first 0
			"a": dependency "b" is listed twice at 0/4 first 1`},
		{"unknown twice", "a: x x", `
			"a": unknown dependency "x" at 0/0 first -1
			"a": dependency "x" is listed twice at 0/1 first 0`},
		{"unknown in two lists", "a: x\n b: x", `
			"a": unknown dependency "x" at 0/0 first -1
			"b": unknown dependency "x" at 1/0 first -1`},
		{"itself twice", "a: a a", `
			"a": depends on itself at 0/0 first -1
			"a": dependency "a" is listed twice at 0/1 first 0`},
		{"list of a duplicate", "a: b\n b:\n a: x a b", `
			duplicate id "a" at 2/-1 first 0
			"a": unknown dependency "x" at 2/0 first -1
			"a": depends on itself at 2/1 first -1`},
		{"no cycle through a duplicate", "a:\n b: a\n a: b", `duplicate id "a" at 2/-1 first 0`},
		{"cycle of two", "a: b\n b: a", `dependency cycle: "a" → "b" → "a" at 0/0 first -1`},
		{"cycle after faulty entries", "a: x a b\n b: a", `
			"a": unknown dependency "x" at 0/0 first -1
			"a": depends on itself at 0/1 first -1
			dependency cycle: "a" → "b" → "a" at 0/2 first -1`},
		{"starts at the first node", "x: b\n b: c\n c: a\n a: b", `
			dependency cycle: "b" → "c" → "a" → "b" at 1/0 first -1`},
		{"shortest of a part", "a: b c\n b: c\n c: d\n d: a", `
			dependency cycle: "a" → "c" → "d" → "a" at 0/1 first -1`},
		{"shortest, not last", "a: b c\n b: d\n c: e\n d: a\n e: f\n f: a", `
			dependency cycle: "a" → "b" → "d" → "a" at 0/0 first -1`},
		{"one for each part", "p: q r\n r: s\n q: p\n s: r t\n t:", `
			dependency cycle: "p" → "q" → "p" at 0/0 first -1
			dependency cycle: "r" → "s" → "r" at 1/0 first -1`},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, err := parse(c.text).build()
			if g != nil {
				t.Error("a graph in spite of problems")
			}
			var problems graph.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("error is %T: %v", err, err)
			}
			var got []string
			for _, p := range problems {
				got = append(got, fmt.Sprintf("%v at %d/%d first %d", p, p.Index, p.DepIndex, p.First))
			}
			var want []string
			for l := range strings.Lines(strings.TrimSpace(c.want)) {
				want = append(want, strings.TrimSpace(l))
			}
			equal(t, "problems", got, want)
		})
	}
}

func TestProblemFields(t *testing.T) {
	_, err := parse("a: b\n b: c\n c: a").build()
	var p graph.Problem
	if !errors.As(err, &p) {
		t.Fatalf("no problem in %v", err)
	}
	equal(t, "problem", p, graph.Problem{
		Kind: graph.Cycle, Index: 0, Node: "a", Dep: "b", DepIndex: 0, First: -1,
		Path: []string{"a", "b", "c", "a"},
	})
	kinds := []graph.Kind{0, graph.DuplicateID, graph.UnknownDependency, graph.SelfDependency, graph.DuplicateDependency, graph.Cycle, graph.TooLarge}
	equal(t, "kinds", fmt.Sprint(kinds),
		"[problem 0 duplicate id unknown dependency self-dependency duplicate dependency dependency cycle too many nodes]")
}

func TestLongErrorsAreAbridged(t *testing.T) {
	var s source
	for i := range 100 {
		s = append(s, parse(fmt.Sprintf("n%d: n%d", i, (i+1)%100))...)
	}
	_, err := s.build()
	equal(t, "cycle", err.Error(), `dependency cycle: "n0" → "n1" → "n2" → "n3" → "n4" → "n5" → "n6" → "n7" → `+
		`"n8" → "n9" → "n10" → "n11" → … 85 more … → "n97" → "n98" → "n99" → "n0"`)

	s = nil
	for i := range 25 {
		s = append(s, parse(fmt.Sprintf("n%d: x", i))...)
	}
	_, err = s.build()
	text := strings.Split(err.Error(), "\n")
	equal(t, "lines", len(text), 21)
	equal(t, "last line", text[20], "… and 5 more")
}

// DJ-V16: a cycle is named by its members. JC-V32: the way into a loop.
func TestLoops(t *testing.T) {
	_, err := parse("A: B\n B: A").build()
	equal(t, "DJ-V16", err.Error(), `dependency cycle: "A" → "B" → "A"`)

	deps := map[string][]string{"A": {"B", "D"}, "B": {"C"}, "C": {"D"}, "D": {"B"}}
	loop := func(start string) []string {
		return graph.Loop(start, func(id string) []string { return deps[id] })
	}
	equal(t, "JC-V32", loop("A"), []string{"A", "B", "C", "D", "B"})
	deps["D"] = nil
	equal(t, "no loop", loop("A"), []string(nil))
	deps["E"] = []string{"A", "E"}
	equal(t, "itself", loop("E"), []string{"E", "E"})
	equal(t, "no deps", graph.Loop("A", nil), []string(nil))
}
