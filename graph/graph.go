package graph

import (
	"math"
	"slices"
)

// Graph is an acyclic dependency graph. It never changes after [New] made it
// and is safe for concurrent use. The zero value is an empty graph.
type Graph struct {
	ids   []string
	index map[string]int32
	down  adjacency // dependencies, in the order of the node's list
	up    adjacency // dependants, in node order
}

// New makes a graph of the nodes ids, in this order. deps(i) returns the
// ordered dependencies of ids[i]; it is called for each i in ascending order,
// and once more for the first node of each cycle. A nil deps means that there
// are none. New keeps neither slice.
//
// If anything is wrong the graph is nil and the error is of type [Problems]
// and names every fault. Time O(V+E).
func New(ids []string, deps func(i int) []string) (*Graph, error) {
	if len(ids) > math.MaxInt32 {
		return nil, Problems{{Kind: TooLarge, Index: -1, DepIndex: -1, First: -1}}
	}
	g := &Graph{ids: slices.Clone(ids), index: make(map[string]int32, len(ids))}
	for i, id := range ids {
		if _, taken := g.index[id]; !taken {
			g.index[id] = int32(i)
		}
	}
	problems := g.link(deps)
	g.up = g.down.reversed()
	problems = append(problems, g.cycles(deps)...)
	if len(problems) > 0 {
		return nil, problems
	}
	return g, nil
}

// link fills g.down from the dependency lists, leaves faulty entries out and
// returns them. A node whose id is taken is not a dependency of any.
func (g *Graph) link(deps func(i int) []string) Problems {
	var problems Problems
	l := linker{g: g, unknown: map[string]int{}, seen: make([]mark, len(g.ids))}
	g.down.start = make([]int, 1, len(g.ids)+1)
	for i, id := range g.ids {
		if first := g.index[id]; first != int32(i) {
			problems = append(problems, Problem{
				Kind: DuplicateID, Index: i, Node: id, DepIndex: -1, First: int(first),
			})
		}
		var list []string
		if deps != nil {
			list = deps(i)
		}
		for k, dep := range list {
			if d, p := l.resolve(i, k, dep); p.Kind != 0 {
				problems = append(problems, p)
			} else {
				g.down.to = append(g.down.to, d)
			}
		}
		g.down.start = append(g.down.start, len(g.down.to))
	}
	return problems
}

// linker judges the entries of dependency lists. seen[d] tells which node last
// listed d, and where; ids that are no node are numbered after the nodes.
type linker struct {
	g       *Graph
	seen    []mark
	unknown map[string]int
}

// mark is an entry of a dependency list. Both numbers count from 1.
type mark struct{ node, entry int }

// resolve returns the node that entry k of the list of node i means, and the
// problem with it, of kind 0 if there is none.
func (l *linker) resolve(i, k int, dep string) (int32, Problem) {
	p := Problem{Index: i, Node: l.g.ids[i], Dep: dep, DepIndex: k, First: -1}
	node, known := l.g.index[dep]
	d := int(node)
	if !known {
		d = l.number(dep)
	}
	switch last := l.seen[d]; {
	case last.node == i+1:
		p.Kind, p.First = DuplicateDependency, last.entry-1
		return node, p
	case !known:
		p.Kind = UnknownDependency
	case dep == p.Node:
		p.Kind = SelfDependency
	}
	l.seen[d] = mark{i + 1, k + 1}
	return node, p
}

// number returns the number of an id that is no node.
func (l *linker) number(id string) int {
	d, ok := l.unknown[id]
	if !ok {
		d = len(l.seen)
		l.unknown[id] = d
		l.seen = append(l.seen, mark{})
	}
	return d
}

// Len returns the number of nodes.
func (g *Graph) Len() int { return len(g.ids) }

// ID returns the id of node i, "" if there is no such node. Time O(1).
func (g *Graph) ID(i int32) string {
	if !g.has(i) {
		return ""
	}
	return g.ids[i]
}

// IDs returns the ids of a list of nodes, "" for what is no node.
func (g *Graph) IDs(nodes []int32) []string {
	ids := make([]string, len(nodes))
	for k, i := range nodes {
		ids[k] = g.ID(i)
	}
	return ids
}

// Index returns the node with this id. Time O(1).
func (g *Graph) Index(id string) (i int32, ok bool) {
	i, ok = g.index[id]
	return i, ok
}

// Dependencies returns the direct dependencies of node i in the order in which
// they were listed. The slice belongs to the graph and must not be modified.
// Time O(1).
func (g *Graph) Dependencies(i int32) []int32 {
	if !g.has(i) {
		return nil
	}
	return g.down.row(i)
}

// Dependants returns the nodes that list i as a dependency, in node order.
// The slice belongs to the graph and must not be modified. Time O(1).
func (g *Graph) Dependants(i int32) []int32 {
	if !g.has(i) {
		return nil
	}
	return g.up.row(i)
}

// has reports whether i is a node.
func (g *Graph) has(i int32) bool { return i >= 0 && int(i) < len(g.ids) }

// adjacency holds the edges of all nodes: those of node i are
// to[start[i]:start[i+1]].
type adjacency struct {
	start []int
	to    []int32
}

// row returns the edges of node i, with no room to append.
func (a *adjacency) row(i int32) []int32 {
	s, e := a.start[i], a.start[i+1]
	return a.to[s:e:e]
}

// reversed returns the edges in the other direction. Each of its rows is in
// ascending order if every row of a is free of duplicates.
func (a *adjacency) reversed() adjacency {
	n := len(a.start) - 1
	r := adjacency{start: make([]int, n+1), to: make([]int32, len(a.to))}
	for _, v := range a.to {
		r.start[v+1]++
	}
	for i := range n {
		r.start[i+1] += r.start[i]
	}
	next := slices.Clone(r.start)
	for u := range int32(n) {
		for _, v := range a.row(u) {
			r.to[next[v]] = u
			next[v]++
		}
	}
	return r
}
