package graph_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/jobcontrol/jobcontrol/graph"
	"github.com/jobcontrol/jobcontrol/internal/bounds"
)

// FuzzGraph makes graphs of any text, a line a node ("a: b c"). There is a problem
// exactly if a naive look finds one, and each cycle that is told is one; otherwise
// the order is valid.
func FuzzGraph(f *testing.F) {
	for _, text := range []string{movie, "", "a: b\nb: a", "a: a", "a: x x", "a:\na:", "a: b c\nb: c\nc: d\nd: a\ne: e\n:"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4096 {
			return
		}
		s := parse(text)
		bounds.Hold(t, func() { _, _ = s.build() })
		g, err := s.build()
		if err != nil {
			var problems graph.Problems
			if g != nil || !errors.As(err, &problems) || len(problems) == 0 || problems.Error() == "" {
				t.Fatalf("graph %v, error %v", g, err)
			}
			for _, p := range problems {
				s.check(t, p)
			}
		}
		if good := s.flawless() && s.peels(); good != (err == nil) {
			t.Fatalf("flawless and acyclic: %v, error: %v", good, err)
		}
		if err != nil {
			return
		}
		place := map[int32]int{}
		for p, i := range g.PostOrder() {
			place[i] = p
		}
		for i := range int32(len(s)) {
			for _, d := range g.Dependencies(i) {
				if place[d] >= place[i] {
					t.Fatalf("%s is not before %s", g.ID(d), g.ID(i))
				}
			}
		}
		if len(place) != len(s) {
			t.Fatalf("%d places for %d nodes", len(place), len(s))
		}
	})
}

// check holds that a problem is at the place that it names, and that a cycle is one.
func (s source) check(t *testing.T, p graph.Problem) {
	t.Helper()
	if p.Index < 0 || p.Index >= len(s) || s[p.Index].id != p.Node || p.DepIndex >= len(s[p.Index].deps) ||
		p.DepIndex >= 0 && s[p.Index].deps[p.DepIndex] != p.Dep {
		t.Fatalf("%+v is not in %v", p, s)
	}
	if p.Kind != graph.Cycle {
		return
	}
	if n := len(p.Path); n < 3 || p.Path[0] != p.Node || p.Path[n-1] != p.Node {
		t.Fatalf("%+v is no cycle", p)
	}
	for i, id := range p.Path[1:] {
		if from := s.first(p.Path[i]); from < 0 || !slices.Contains(s[from].deps, id) {
			t.Fatalf("%+v: %q does not need %q", p, p.Path[i], id)
		}
	}
}

// flawless reports whether all entries are good by themselves.
func (s source) flawless() bool {
	for i, n := range s {
		if s.first(n.id) != i {
			return false
		}
		for k, d := range n.deps {
			if s.first(d) < 0 || d == n.id || slices.Index(n.deps, d) != k {
				return false
			}
		}
	}
	return true
}

// peels reports whether nodes whose dependencies are gone can be taken away
// until none is left, which is so for acyclic graphs (Kahn's algorithm).
func (s source) peels() bool {
	gone := map[string]bool{}
	for range s {
		for _, n := range s {
			if !slices.ContainsFunc(n.deps, func(d string) bool { return !gone[d] }) {
				gone[n.id] = true
			}
		}
	}
	for _, n := range s {
		if !gone[n.id] {
			return false
		}
	}
	return true
}
