package graph

import "slices"

// Counter follows the nodes of one execution: it counts for each how many of
// its dependencies are outstanding and tells which nodes become ready or
// blocked as others finish.
//
// Its members are a choice of a graph's nodes; dependencies outside the choice
// count as satisfied. A member is in one of these states:
//
//	pending   neither done, failed nor blocked. It is ready if all of its
//	          dependencies are done
//	done      reported by [Counter.Done]
//	failed    reported by [Counter.Fail]
//	blocked   was pending when a dependency became failed or blocked
//
// Only pending members change; a report about any other, or about a node that
// is no member, is ignored. Lists of nodes are in the order in which the
// members were given.
//
// All reports together take O(V+E) time, and sorting what is blocked. A
// Counter must not be used by two goroutines at the same time.
type Counter struct {
	members []int32   // rank → node
	rank    []int32   // node → rank, -1 if it is no member
	up      adjacency // dependants, by rank
	open    []int32   // dependencies not yet done, by rank
	state   []state   // by rank
	pending int
}

// state is where a member stands.
type state uint8

const (
	pending state = iota
	done
	failed
	blocked
)

// NewCounter follows the given members of g, all of them pending. Give them as
// [Graph.PostOrder] returns them and everything comes in the order of places.
// A member listed again is ignored. Time O(V) plus the edges of the members.
func NewCounter(g *Graph, members []int32) *Counter {
	c := &Counter{rank: make([]int32, len(g.ids))}
	for i := range c.rank {
		c.rank[i] = -1
	}
	for _, i := range members {
		if g.has(i) && c.rank[i] < 0 {
			c.rank[i] = int32(len(c.members))
			c.members = append(c.members, i)
		}
	}
	c.pending = len(c.members)
	c.open = make([]int32, len(c.members))
	c.state = make([]state, len(c.members))
	down := adjacency{start: make([]int, 1, len(c.members)+1)}
	for r, i := range c.members {
		for _, d := range g.down.row(i) {
			if c.rank[d] >= 0 {
				down.to = append(down.to, c.rank[d])
				c.open[r]++
			}
		}
		down.start = append(down.start, len(down.to))
	}
	c.up = down.reversed()
	return c
}

// Pending returns the number of pending members. When it is 0, nothing can
// become ready any more. Time O(1).
func (c *Counter) Pending() int { return c.pending }

// Ready returns the members that are ready now: at first, those without
// dependencies. Time O(V).
func (c *Counter) Ready() []int32 {
	var nodes []int32
	for r, i := range c.members {
		if c.state[r] == pending && c.open[r] == 0 {
			nodes = append(nodes, i)
		}
	}
	return nodes
}

// Done records that node i succeeded and returns the members that became
// ready by it. i need not have been ready: a member that was finished earlier
// may be reported at any time. Time O(dependants of i).
func (c *Counter) Done(i int32) []int32 {
	r := c.leave(i, done)
	if r < 0 {
		return nil
	}
	var nodes []int32
	for _, u := range c.up.row(r) {
		c.open[u]--
		if c.open[u] == 0 && c.state[u] == pending {
			nodes = append(nodes, c.members[u])
		}
	}
	return nodes
}

// Fail records that node i will not succeed and returns the members that
// became blocked by it: every pending one to which a chain of dependants leads
// that are not done. No member is returned twice in the life of a counter.
func (c *Counter) Fail(i int32) []int32 {
	r := c.leave(i, failed)
	if r < 0 {
		return nil
	}
	ranks := []int32{r}
	for k := 0; k < len(ranks); k++ {
		for _, u := range c.up.row(ranks[k]) {
			if c.state[u] == pending {
				c.state[u] = blocked
				c.pending--
				ranks = append(ranks, u)
			}
		}
	}
	nodes := ranks[1:]
	slices.Sort(nodes)
	for k, u := range nodes {
		nodes[k] = c.members[u]
	}
	return nodes
}

// leave moves a pending member to state s and returns its rank, or -1 and
// changes nothing if i is not pending.
func (c *Counter) leave(i int32, s state) int32 {
	if i < 0 || int(i) >= len(c.rank) || c.rank[i] < 0 {
		return -1
	}
	r := c.rank[i]
	if c.state[r] != pending {
		return -1
	}
	c.state[r] = s
	c.pending--
	return r
}
