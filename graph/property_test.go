package graph_test

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/jobcontrol/jobcontrol/graph"
	"pgregory.net/rapid"
)

// drawAcyclic draws an acyclic source. Its nodes are in no special order.
func drawAcyclic(t *rapid.T) source {
	n := rapid.IntRange(0, 9).Draw(t, "nodes")
	rank := rapid.Permutation(upTo(n)).Draw(t, "rank")
	s := make(source, n)
	for i := range s {
		s[i].id = fmt.Sprintf("n%d", rapid.IntRange(0, 2).Draw(t, "name")*100+i)
	}
	for i := range s {
		for _, d := range rapid.Permutation(upTo(n)).Draw(t, "deps") {
			if rank[d] < rank[i] && rapid.Bool().Draw(t, "edge") {
				s[i].deps = append(s[i].deps, s[d].id)
			}
		}
	}
	return s
}

// drawAny draws a source with any faults, or only with cycles and such.
func drawAny(t *rapid.T) source {
	id := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "g"})
	distinct := rapid.Bool().Draw(t, "distinct")
	s := make(source, rapid.IntRange(0, 7).Draw(t, "nodes"))
	for i := range s {
		s[i].id = string(rune('a' + i))
		if !distinct {
			s[i].id = id.Draw(t, "id")
		}
		s[i].deps = rapid.SliceOfN(id, 0, 3).Draw(t, "deps")
	}
	return s
}

func upTo(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// check builds an acyclic graph and hands it to f with its reachability.
func check(t *testing.T, f func(t *rapid.T, g *graph.Graph, r reach)) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawAcyclic(t)
		g, err := s.build()
		if err != nil {
			t.Fatalf("%v: %v", s, err)
		}
		f(t, g, s.reach())
	})
}

// reach is the naive transitive closure: reach[a][b] means that a way of at
// least one edge leads from a down to b.
type reach [][]bool

// reach ignores unknown ids and everything about a taken id.
func (s source) reach() reach {
	r := make(reach, len(s))
	for i, n := range s {
		r[i] = make([]bool, len(s))
		if s.first(n.id) != i {
			continue
		}
		for _, d := range n.deps {
			if k := s.first(d); k >= 0 && k != i {
				r[i][k] = true
			}
		}
	}
	for k := range s {
		for i := range s {
			for j := range s {
				r[i][j] = r[i][j] || r[i][k] && r[k][j]
			}
		}
	}
	return r
}

// first returns the first node with this id, or -1.
func (s source) first(id string) int {
	for i, n := range s {
		if n.id == id {
			return i
		}
	}
	return -1
}

// some draws some nodes of a graph, maybe repeatedly.
func some(t *rapid.T, g *graph.Graph, label string) []int32 {
	if g.Len() == 0 {
		return nil
	}
	return rapid.SliceOf(rapid.Int32Range(0, int32(g.Len())-1)).Draw(t, label)
}

// same fails unless two lists are equal; nil and empty are.
func same(t *rapid.T, what string, got, want []int32) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func TestPropertyEdges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawAcyclic(t)
		g, err := s.build()
		if err != nil {
			t.Fatal(err)
		}
		up := make([][]int32, len(s))
		for i, n := range s {
			if got := g.IDs(g.Dependencies(int32(i))); !slices.Equal(got, n.deps) {
				t.Fatalf("dependencies of %s: got %v, want %v", n.id, got, n.deps)
			}
			if k, ok := g.Index(n.id); !ok || int(k) != i {
				t.Fatalf("index of %s: got %d", n.id, k)
			}
			for _, d := range n.deps {
				k := s.first(d)
				up[k] = append(up[k], int32(i))
			}
		}
		for i := range s {
			same(t, "dependants", g.Dependants(int32(i)), up[i])
		}
	})
}

func TestPropertyPostOrder(t *testing.T) {
	check(t, func(t *rapid.T, g *graph.Graph, r reach) {
		targets := some(t, g, "targets")
		var want []int32
		var visit func(i int32)
		visit = func(i int32) {
			for _, d := range g.Dependencies(i) {
				visit(d)
			}
			if !slices.Contains(want, i) {
				want = append(want, i)
			}
		}
		if len(targets) == 0 {
			for i := range int32(g.Len()) {
				visit(i)
			}
		}
		for _, i := range targets {
			visit(i)
		}
		same(t, "post-order", g.PostOrder(targets...), want)
	})
}

func TestPropertyLongestPathOrder(t *testing.T) {
	check(t, func(t *rapid.T, g *graph.Graph, r reach) {
		if g.Len() == 0 {
			return
		}
		start := rapid.Int32Range(0, int32(g.Len())-1).Draw(t, "start")
		weight := map[int32]int{}
		var walk func(i int32, w int)
		walk = func(i int32, w int) {
			weight[i] = max(weight[i], w)
			for _, d := range g.Dependencies(i) {
				walk(d, w+1)
			}
		}
		walk(start, 0)
		var want []int32
		for i := range weight {
			want = append(want, i)
		}
		slices.SortFunc(want, func(a, b int32) int {
			return cmp.Or(cmp.Compare(weight[b], weight[a]), cmp.Compare(g.ID(b), g.ID(a)))
		})
		got := g.LongestPathOrder(start)
		same(t, "order", got, want)
		for k, i := range got {
			for _, later := range got[k:] {
				if r[i][later] {
					t.Fatalf("%d before its dependency %d in %v", i, later, got)
				}
			}
		}
		if got[len(got)-1] != start {
			t.Fatalf("start %d is not last in %v", start, got)
		}
	})
}

func TestPropertyClosures(t *testing.T) {
	check(t, func(t *rapid.T, g *graph.Graph, r reach) {
		targets := some(t, g, "targets")
		var down, up []int32
		for k := range int32(g.Len()) {
			if slices.ContainsFunc(targets, func(i int32) bool { return r[i][k] }) {
				down = append(down, k)
			}
			if slices.ContainsFunc(targets, func(i int32) bool { return r[k][i] }) {
				up = append(up, k)
			}
		}
		same(t, "dependencies", g.DependenciesOf(targets...), down)
		same(t, "dependants", g.DependantsOf(targets...), up)
	})
}

func TestPropertyComponents(t *testing.T) {
	check(t, func(t *rapid.T, g *graph.Graph, r reach) {
		near := make(reach, g.Len())
		for i := range near {
			near[i] = make([]bool, g.Len())
			for k := range near {
				near[i][k] = i == k || r[i][k] || r[k][i]
			}
		}
		for k := range near {
			for i := range near {
				for j := range near {
					near[i][j] = near[i][j] || near[i][k] && near[k][j]
				}
			}
		}
		var all []string
		for i := range near {
			var want []int32
			for k := range near {
				if near[i][k] {
					want = append(want, int32(k))
				}
			}
			same(t, "component", g.Component(int32(i)), want)
			if int(want[0]) == i {
				all = append(all, fmt.Sprint(want))
			}
		}
		if got := fmt.Sprint(g.Components()); got != fmt.Sprint(all) {
			t.Fatalf("components: got %v, want %v", got, all)
		}
	})
}

func TestPropertySubgraph(t *testing.T) {
	check(t, func(t *rapid.T, g *graph.Graph, _ reach) {
		keep := some(t, g, "keep")
		var s source
		for _, i := range keep {
			if s.first(g.ID(i)) >= 0 {
				continue
			}
			n := source{{id: g.ID(i)}}[0]
			for _, d := range g.Dependencies(i) {
				if slices.Contains(keep, d) {
					n.deps = append(n.deps, g.ID(d))
				}
			}
			s = append(s, n)
		}
		want, err := s.build()
		if err != nil {
			t.Fatal(err)
		}
		got := g.Subgraph(keep)
		if got.Len() != want.Len() {
			t.Fatalf("%d nodes, want %d", got.Len(), want.Len())
		}
		for i := range int32(want.Len()) {
			if got.ID(i) != want.ID(i) {
				t.Fatalf("node %d: got %s, want %s", i, got.ID(i), want.ID(i))
			}
			if k, ok := got.Index(want.ID(i)); !ok || k != i {
				t.Fatalf("index of %s: got %d, %v", want.ID(i), k, ok)
			}
			same(t, "dependencies", got.Dependencies(i), want.Dependencies(i))
			same(t, "dependants", got.Dependants(i), want.Dependants(i))
		}
	})
}

// TestPropertyProblems compares the problems of arbitrary input with a naive
// search for each kind.
func TestPropertyProblems(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawAny(t)
		g, err := s.build()
		var problems graph.Problems
		if errors.As(err, &problems) == (g != nil) {
			t.Fatalf("graph %v and error %v", g, err)
		}
		var single []string
		for i, n := range s {
			if f := s.first(n.id); f != i {
				single = append(single, fmt.Sprint(graph.DuplicateID, i, -1, f))
			}
			for k, d := range n.deps {
				switch f := slices.Index(n.deps, d); {
				case f < k:
					single = append(single, fmt.Sprint(graph.DuplicateDependency, i, k, f))
				case s.first(d) < 0:
					single = append(single, fmt.Sprint(graph.UnknownDependency, i, k, -1))
				case d == n.id:
					single = append(single, fmt.Sprint(graph.SelfDependency, i, k, -1))
				}
			}
		}
		var got []string
		for _, p := range problems {
			if p.Kind != graph.Cycle {
				got = append(got, fmt.Sprint(p.Kind, p.Index, p.DepIndex, p.First))
			}
		}
		if !slices.Equal(got, single) {
			t.Fatalf("%v: got %v, want %v", s, got, single)
		}
		checkCycles(t, s, problems[len(single):])
	})
}

// checkCycles holds that there is one cycle for each set of nodes that reach
// each other, that it starts at the first of them, and that no shorter one does.
func checkCycles(t *rapid.T, s source, cycles graph.Problems) {
	r := s.reach()
	var firsts []int
	for i := range s {
		if r[i][i] && !slices.ContainsFunc(firsts, func(f int) bool { return r[f][i] && r[i][f] }) {
			firsts = append(firsts, i)
		}
	}
	if len(firsts) != len(cycles) {
		t.Fatalf("%v: got %v, want cycles from %v", s, cycles, firsts)
	}
	for k, p := range cycles {
		n := s[p.Index]
		if p.Index != firsts[k] || p.Path[0] != n.id || p.Path[len(p.Path)-1] != n.id {
			t.Fatalf("%v: cycle %v does not start and end at %s", s, p.Path, n.id)
		}
		if p.DepIndex < 0 || n.deps[p.DepIndex] != p.Dep || p.Dep != p.Path[1] {
			t.Fatalf("%v: entry %d of %s does not lead into %v", s, p.DepIndex, n.id, p.Path)
		}
		for k := range p.Path[1:] {
			if from := s[s.first(p.Path[k])]; !slices.Contains(from.deps, p.Path[k+1]) {
				t.Fatalf("%v: %v has no edge from %s", s, p.Path, from.id)
			}
		}
		if want := s.shortest(p.Index); len(p.Path)-1 != want {
			t.Fatalf("%v: cycle %v, but one has %d edges", s, p.Path, want)
		}
	}
}

// shortest returns the number of edges of a shortest cycle through node i.
func (s source) shortest(i int) int {
	at := map[int]bool{i: true}
	for n := 1; ; n++ {
		next := map[int]bool{}
		for k := range at {
			for _, d := range s[k].deps {
				if f := s.first(d); f >= 0 && f != k {
					next[f] = true
				}
			}
		}
		if next[i] {
			return n
		}
		at = next
	}
}
