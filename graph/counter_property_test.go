package graph_test

import (
	"slices"
	"testing"

	"github.com/jobcontrol/jobcontrol/graph"
	"pgregory.net/rapid"
)

// naive is a counter that derives everything anew from what was reported.
type naive struct {
	g       *graph.Graph
	members []int32
	state   map[int32]string // "", done, failed, blocked
}

func (n *naive) with(i int32, state string) bool {
	return slices.Contains(n.members, i) && n.state[i] == state
}

func (n *naive) ready() []int32 {
	var list []int32
	for _, i := range n.members {
		open := slices.ContainsFunc(n.g.Dependencies(i), func(d int32) bool {
			return slices.Contains(n.members, d) && !n.with(d, "done")
		})
		if n.with(i, "") && !open {
			list = append(list, i)
		}
	}
	return list
}

// report sets the state of a pending member and returns what became ready.
func (n *naive) report(i int32, state string) []int32 {
	if !n.with(i, "") {
		return nil
	}
	before := n.ready()
	n.state[i] = state
	return slices.DeleteFunc(n.ready(), func(k int32) bool { return slices.Contains(before, k) })
}

// block blocks what it can, until nothing changes, and returns it.
func (n *naive) block() []int32 {
	var list []int32
	for changed := true; changed; {
		changed = false
		for _, i := range n.members {
			if n.with(i, "") && slices.ContainsFunc(n.g.Dependencies(i), func(d int32) bool {
				return n.with(d, "failed") || n.with(d, "blocked")
			}) {
				n.state[i] = "blocked"
				list = append(list, i)
				changed = true
			}
		}
	}
	slices.SortFunc(list, func(a, b int32) int {
		return slices.Index(n.members, a) - slices.Index(n.members, b)
	})
	return list
}

func TestPropertyCounter(t *testing.T) {
	check(t, func(t *rapid.T, g *graph.Graph, _ reach) {
		if g.Len() == 0 {
			return
		}
		members := some(t, g, "members")
		if rapid.Bool().Draw(t, "all") {
			members = g.PostOrder()
		}
		c := graph.NewCounter(g, members)
		n := &naive{g: g, state: map[int32]string{}}
		for _, i := range members {
			if !slices.Contains(n.members, i) {
				n.members = append(n.members, i)
			}
		}
		reports := rapid.IntRange(0, 2*g.Len()).Draw(t, "reports")
		for range reports {
			i := rapid.Int32Range(0, int32(g.Len())-1).Draw(t, "node")
			if rapid.IntRange(0, 3).Draw(t, "fails") == 0 {
				n.report(i, "failed")
				same(t, "blocked", c.Fail(i), n.block())
			} else {
				same(t, "became ready", c.Done(i), n.report(i, "done"))
			}
			same(t, "ready", c.Ready(), n.ready())
			pending := slices.DeleteFunc(slices.Clone(n.members), func(i int32) bool { return !n.with(i, "") })
			if c.Pending() != len(pending) {
				t.Fatalf("pending: got %d, want %d", c.Pending(), len(pending))
			}
		}
	})
}

// TestPropertyCounterDrains: when every ready node succeeds, all are reported
// exactly once, each after its dependencies.
func TestPropertyCounterDrains(t *testing.T) {
	check(t, func(t *rapid.T, g *graph.Graph, _ reach) {
		c := graph.NewCounter(g, g.PostOrder())
		ready := c.Ready()
		var order []int32
		for len(ready) > 0 {
			k := rapid.IntRange(0, len(ready)-1).Draw(t, "next")
			i := ready[k]
			ready = append(slices.Delete(ready, k, k+1), c.Done(i)...)
			for _, d := range g.Dependencies(i) {
				if !slices.Contains(order, d) {
					t.Fatalf("%d was ready before its dependency %d", i, d)
				}
			}
			order = append(order, i)
		}
		if c.Pending() != 0 || len(order) != g.Len() {
			t.Fatalf("%d pending, %d of %d in %v", c.Pending(), len(order), g.Len(), order)
		}
	})
}
