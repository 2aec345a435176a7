package graph

import "slices"

// cycles returns one problem for each strongly connected part of the graph,
// in the order of their first nodes; none if the graph is acyclic. deps is as
// in [New]; it tells where the faulty dependency is listed.
func (g *Graph) cycles(deps func(i int) []string) Problems {
	order := g.PostOrder()
	if g.dependenciesFirst(order) {
		return nil
	}
	part, size := g.strongParts(order)
	from := make([]int32, len(g.ids))
	for i := range from {
		from[i] = -1
	}
	var problems Problems
	for i := range int32(len(g.ids)) {
		if size[part[i]] < 2 {
			continue
		}
		size[part[i]] = 0 // reported
		path := g.IDs(g.shortestCycle(i, part, from))
		problems = append(problems, Problem{
			Kind: Cycle, Index: int(i), Node: path[0], Dep: path[1],
			DepIndex: slices.Index(deps(int(i)), path[1]), First: -1, Path: path,
		})
	}
	return problems
}

// dependenciesFirst reports whether order, which has every node once, has each
// node after its dependencies.
func (g *Graph) dependenciesFirst(order []int32) bool {
	place := make([]int32, len(order))
	for p, i := range order {
		place[i] = int32(p)
	}
	for i := range int32(len(order)) {
		for _, d := range g.down.row(i) {
			if place[d] > place[i] {
				return false
			}
		}
	}
	return true
}

// strongParts divides the nodes into strongly connected parts (Kosaraju's
// algorithm): part[i] is the part of node i, size[p] its number of nodes.
// order is the post-order of all nodes.
func (g *Graph) strongParts(order []int32) (part []int32, size []int) {
	part = make([]int32, len(order))
	for i := range part {
		part[i] = -1
	}
	var stack []int32
	for k := len(order) - 1; k >= 0; k-- {
		if part[order[k]] >= 0 {
			continue
		}
		p := int32(len(size))
		size = append(size, 0)
		part[order[k]] = p
		stack = append(stack, order[k])
		for len(stack) > 0 {
			i := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			size[p]++
			for _, u := range g.up.row(i) {
				if part[u] < 0 {
					part[u] = p
					stack = append(stack, u)
				}
			}
		}
	}
	return part, size
}

// shortestCycle returns a shortest way down from node i to itself, i at both
// ends. i must be on a cycle. from is scratch space, -1 for every node of the
// part of i.
func (g *Graph) shortestCycle(i int32, part, from []int32) []int32 {
	queue := []int32{i}
	for k := 0; from[i] < 0; k++ {
		u := queue[k]
		for _, d := range g.down.row(u) {
			if part[d] == part[i] && from[d] < 0 {
				from[d] = u
				queue = append(queue, d)
			}
		}
	}
	path := []int32{i}
	for u := from[i]; u != i; u = from[u] {
		path = append(path, u)
	}
	path = append(path, i)
	slices.Reverse(path)
	return path
}

// Loop looks for a cycle below start, among nodes of which nothing is known
// but their dependencies. It goes depth first, dependencies from left to
// right, and stops at the first node that is already on the way. It returns
// the whole way with that node again as its last element, so a loop that does
// not contain start is led up to; nil if there is no loop. deps is called at
// most once for each id. Time O(V+E) of what is below start.
func Loop(start string, deps func(id string) []string) []string {
	if deps == nil {
		return nil
	}
	type stop struct {
		id   string
		left []string // dependencies still to follow
	}
	onWay := map[string]bool{start: true} // false: left again, no loop below
	way := []stop{{start, deps(start)}}
	for len(way) > 0 {
		top := &way[len(way)-1]
		if len(top.left) == 0 {
			onWay[top.id] = false
			way = way[:len(way)-1]
			continue
		}
		next := top.left[0]
		top.left = top.left[1:]
		again, met := onWay[next]
		if again {
			ids := make([]string, 0, len(way)+1)
			for _, s := range way {
				ids = append(ids, s.id)
			}
			return append(ids, next)
		}
		if !met {
			onWay[next] = true
			way = append(way, stop{next, deps(next)})
		}
	}
	return nil
}
