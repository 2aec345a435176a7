package graph

// DependenciesOf returns everything that the targets need, directly or not, in
// node order. A target is only among it if another target needs it.
func (g *Graph) DependenciesOf(targets ...int32) []int32 {
	return g.reach(&g.down, targets)
}

// DependantsOf returns everything that needs one of the targets, directly or
// not, in node order. A target is only among it if it needs another target.
func (g *Graph) DependantsOf(targets ...int32) []int32 {
	return g.reach(&g.up, targets)
}

// reach returns the nodes to which an edge of a leads from one of the targets
// or from another node of the result, in node order.
func (g *Graph) reach(a *adjacency, targets []int32) []int32 {
	reached := make([]bool, len(g.ids))
	queued := make([]bool, len(g.ids))
	var queue []int32
	for _, i := range targets {
		if g.has(i) && !queued[i] {
			queued[i] = true
			queue = append(queue, i)
		}
	}
	for len(queue) > 0 {
		i := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, d := range a.row(i) {
			reached[d] = true
			if !queued[d] {
				queued[d] = true
				queue = append(queue, d)
			}
		}
	}
	var nodes []int32
	for i, r := range reached {
		if r {
			nodes = append(nodes, int32(i))
		}
	}
	return nodes
}

// Component returns everything that is connected with node i by dependencies
// in any direction, i included, in node order; nil if i is no node.
func (g *Graph) Component(i int32) []int32 {
	if !g.has(i) {
		return nil
	}
	in := make([]int32, len(g.ids))
	size := g.spread(i, 1, in)
	nodes := make([]int32, 0, size)
	for k, c := range in {
		if c == 1 {
			nodes = append(nodes, int32(k))
		}
	}
	return nodes
}

// Components returns the connected components, each in node order, in the
// order of their first nodes.
func (g *Graph) Components() [][]int32 {
	in := make([]int32, len(g.ids))
	var parts [][]int32
	for i := range int32(len(g.ids)) {
		if in[i] == 0 {
			size := g.spread(i, int32(len(parts)+1), in)
			parts = append(parts, make([]int32, 0, size))
		}
	}
	for i, c := range in {
		parts[c-1] = append(parts[c-1], int32(i))
	}
	return parts
}

// spread sets in to label, for node i and all nodes connected with it for which
// it is 0, and returns how many these are. in[i] must be 0.
func (g *Graph) spread(i, label int32, in []int32) int {
	in[i] = label
	queue := []int32{i}
	for k := 0; k < len(queue); k++ {
		for _, a := range [...]*adjacency{&g.down, &g.up} {
			for _, d := range a.row(queue[k]) {
				if in[d] == 0 {
					in[d] = label
					queue = append(queue, d)
				}
			}
		}
	}
	return len(queue)
}

// Subgraph returns the graph of the nodes keep, in this order, with those
// dependencies that are between two of them. A node listed again is left out.
// A dependency that leads through a node that is not kept is lost.
//
// Time O(V) plus the edges of the kept nodes.
func (g *Graph) Subgraph(keep []int32) *Graph {
	number := make([]int32, len(g.ids)) // in the subgraph, from 1
	s := &Graph{index: make(map[string]int32, len(keep))}
	var old []int32
	for _, i := range keep {
		if g.has(i) && number[i] == 0 {
			old = append(old, i)
			s.index[g.ids[i]] = int32(len(s.ids))
			s.ids = append(s.ids, g.ids[i])
			number[i] = int32(len(s.ids))
		}
	}
	s.down.start = make([]int, 1, len(old)+1)
	for _, i := range old {
		for _, d := range g.down.row(i) {
			if number[d] > 0 {
				s.down.to = append(s.down.to, number[d]-1)
			}
		}
		s.down.start = append(s.down.start, len(s.down.to))
	}
	s.up = s.down.reversed()
	return s
}
