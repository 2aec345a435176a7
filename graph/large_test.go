package graph_test

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol/graph"
)

// large is the number of nodes of large graphs.
const large = 100_000

// shape is a family of graphs: deps returns the dependencies of node i of n.
type shape struct {
	name string
	n    int
	deps func(i, n int) []int
}

// shapes are the extremes. In all of them node 0 is on top, or has none above.
var shapes = []shape{
	{"chain", large, func(i, n int) []int { return between(i+1, min(i+2, n)) }},
	{"chain backwards", large, func(i, n int) []int {
		if i == 0 {
			return []int{n - 1}
		}
		return between(max(1, i-1), i)
	}},
	{"star", large, func(i, n int) []int {
		if i == 0 {
			return between(1, n)
		}
		return nil
	}},
	{"inverse star", large, func(i, n int) []int {
		if i == n-1 {
			return nil
		}
		return []int{n - 1}
	}},
	{"wide", 2_000, func(i, n int) []int { // each of one half needs all of the other
		if i >= n/2 {
			return nil
		}
		return between(n/2, n)
	}},
	{"ladder", large, func(i, n int) []int { // 2^(n/2) ways down
		return between(min(i+2-i%2, n), min(i+4-i%2, n))
	}},
	{"binary tree", large, func(i, n int) []int { return between(min(2*i+1, n), min(2*i+3, n)) }},
	{"apart", large, func(i, n int) []int { return nil }},
}

// between returns from, …, to−1.
func between(from, to int) []int {
	var list []int
	for i := from; i < to; i++ {
		list = append(list, i)
	}
	return list
}

// input returns the arguments of graph.New.
func (s shape) input() (ids []string, deps func(i int) []string) {
	for i := range s.n {
		ids = append(ids, strconv.Itoa(i))
	}
	lists := make([][]string, s.n)
	for i := range lists {
		for _, d := range s.deps(i, s.n) {
			lists[i] = append(lists[i], ids[d])
		}
	}
	return ids, func(i int) []string { return lists[i] }
}

// soon fails if f takes so long that it cannot be linear.
func soon(t *testing.T, what string, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if d := time.Since(start); d > 8*time.Second {
		t.Errorf("%s took %v", what, d)
	}
}

func TestLarge(t *testing.T) {
	for _, s := range shapes {
		t.Run(s.name, func(t *testing.T) {
			ids, deps := s.input()
			soon(t, "everything", func() {
				g, err := graph.New(ids, deps)
				if err != nil {
					t.Fatal(err)
				}
				all := g.PostOrder()
				equal(t, "post-order", len(all), s.n)
				below := g.DependenciesOf(0)
				equal(t, "below and itself", len(g.PostOrder(0)), len(below)+1)
				equal(t, "longest path order", len(g.LongestPathOrder(0)), len(below)+1)
				for _, i := range below {
					if i == 0 {
						t.Error("0 is below itself")
					}
				}
				equal(t, "above the first of all", len(g.DependantsOf(all[0])) < s.n, true)
				sum := 0
				for _, c := range g.Components() {
					sum += len(c)
				}
				equal(t, "sum of components", sum, s.n)
				equal(t, "component", len(g.Component(0)) >= len(below)+1, true)
				equal(t, "subgraph", g.Subgraph(all).Len(), s.n)
				drain(t, g, all)
				c := graph.NewCounter(g, all)
				blocked := 0
				for _, i := range all {
					blocked += len(c.Fail(i))
				}
				equal(t, "failed or blocked", c.Pending(), 0)
				equal(t, "blocked are dependants", blocked, withDependencies(g))
			})
		})
	}
}

// drain succeeds with every node as it becomes ready.
func drain(t *testing.T, g *graph.Graph, members []int32) {
	t.Helper()
	c := graph.NewCounter(g, members)
	ready := c.Ready()
	for k := 0; k < len(ready); k++ {
		ready = append(ready, c.Done(ready[k])...)
	}
	equal(t, "drained", len(ready), len(members))
	equal(t, "pending", c.Pending(), 0)
}

// withDependencies returns how many nodes have dependencies.
func withDependencies(g *graph.Graph) int {
	n := 0
	for i := range int32(g.Len()) {
		if len(g.Dependencies(i)) > 0 {
			n++
		}
	}
	return n
}

func TestLargeProblems(t *testing.T) {
	for _, s := range []struct {
		shape
		problems, path int
	}{
		{shape{"ring", large, func(i, n int) []int { return []int{(i + 1) % n} }}, 1, large + 1},
		{shape{"pairs", large, func(i, n int) []int { return []int{i ^ 1} }}, large / 2, 3},
		{shape{"themselves", large, func(i, n int) []int { return []int{i} }}, large, 0},
		{shape{"back to the top", large, func(i, n int) []int {
			if i == 0 {
				return between(1, n)
			}
			return []int{0}
		}}, 1, 3},
		{shape{"everyone", 1_000, func(i, n int) []int { return between(0, n) }}, 1_001, 0},
	} {
		t.Run(s.name, func(t *testing.T) {
			ids, deps := s.input()
			soon(t, "new", func() {
				_, err := graph.New(ids, deps)
				var problems graph.Problems
				if !errors.As(err, &problems) {
					t.Fatal("no problems")
				}
				equal(t, "problems", len(problems), s.problems)
				equal(t, "path", len(problems[0].Path), s.path)
				equal(t, "short text", len(err.Error()) < 3_000, true)
			})
			soon(t, "loop", func() {
				next := func(id string) []string { i, _ := strconv.Atoi(id); return deps(i) }
				equal(t, "loop", len(graph.Loop("0", next)) > 1, true)
			})
		})
	}
}

func TestLargeUnknown(t *testing.T) {
	ids, list := make([]string, large), make([]string, large)
	for i := range ids {
		ids[i], list[i] = "same", fmt.Sprint("x", i)
	}
	soon(t, "new", func() {
		_, err := graph.New(ids, func(i int) []string {
			if i == 0 {
				return list
			}
			return list[i:min(i+2, large)]
		})
		var problems graph.Problems
		errors.As(err, &problems)
		equal(t, "problems", len(problems), large+large-1+2*(large-1)-1)
	})
}
