package graph

import (
	"cmp"
	"slices"
)

// PostOrder returns the targets and everything below them, each node once and
// after all of its dependencies: depth first, dependencies from left to right,
// one target after the other. A node's position in this list is its place.
// Without targets, all nodes are targets, in node order.
//
// Time O(V) plus the edges below the targets.
func (g *Graph) PostOrder(targets ...int32) []int32 {
	w := walk{g: g, seen: make([]bool, len(g.ids))}
	if len(targets) == 0 {
		w.order = make([]int32, 0, len(g.ids))
		for i := range int32(len(g.ids)) {
			w.visit(i)
		}
		return w.order
	}
	for _, i := range targets {
		if g.has(i) {
			w.visit(i)
		}
	}
	return w.order
}

// walk is a depth-first walk down the graph. It also ends where there are
// cycles, which [New] relies on.
type walk struct {
	g     *Graph
	seen  []bool
	order []int32
	stack []step
}

// step is a node on the way and its next dependency to follow.
type step struct{ node, next int32 }

// visit appends what is not yet seen of node i and all below it to w.order.
func (w *walk) visit(i int32) {
	if w.seen[i] {
		return
	}
	w.seen[i] = true
	w.stack = append(w.stack, step{node: i})
	for len(w.stack) > 0 {
		top := &w.stack[len(w.stack)-1]
		deps := w.g.down.row(top.node)
		if int(top.next) == len(deps) {
			w.order = append(w.order, top.node)
			w.stack = w.stack[:len(w.stack)-1]
			continue
		}
		d := deps[top.next]
		top.next++
		if !w.seen[d] {
			w.seen[d] = true
			w.stack = append(w.stack, step{node: d})
		}
	}
}

// LongestPathOrder returns start and everything below it by weight, the length
// of the longest way from start, descending; nodes of equal weight by id,
// descending. So each node comes after its dependencies, and start is last.
// It is nil if start is no node.
//
// Time O(V+E), and O(n log n) for the n nodes of the result.
func (g *Graph) LongestPathOrder(start int32) []int32 {
	order := g.PostOrder(start)
	weight := make([]int32, len(g.ids))
	for _, i := range slices.Backward(order) {
		for _, d := range g.down.row(i) {
			weight[d] = max(weight[d], weight[i]+1)
		}
	}
	slices.SortFunc(order, func(a, b int32) int {
		if c := cmp.Compare(weight[b], weight[a]); c != 0 {
			return c
		}
		return cmp.Compare(g.ids[b], g.ids[a])
	})
	return order
}
