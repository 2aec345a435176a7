package layout

import (
	"cmp"
	"math"
	"slices"
)

func sqrt(x float64) float64 { return math.Sqrt(x) }

// item is what has a place in a column: a node, or a bend of an edge.
type item struct {
	node   int // in the drawing; -1: a bend
	column int
	rank   int // in its column
	w, h   float64
	y      float64 // of its middle
	in     []int   // items of the column before that lead to it
	out    []int   // items of the next column that it leads to
}

// link is an edge of a component.
type link struct {
	from, to int
	edge     int   // in the drawing
	bends    []int // items
}

// part is a connected component. One goroutine owns it.
type part struct {
	placed  *Placed
	nodes   []item // the nodes first, then the bends
	edges   []link
	columns [][]int
	w, h    float64
}

func (c *part) place() {
	if len(c.nodes) == 1 {
		n := &c.nodes[0]
		c.columns, n.y, c.w, c.h = [][]int{{0}}, n.h/2, n.w, n.h
		return
	}
	c.layers()
	c.bend()
	c.order()
	c.heights()
	c.size()
}

// layers gives each node its column.
func (c *part) layers() {
	next, left := make([][]int, len(c.nodes)), make([]int, len(c.nodes))
	for _, e := range c.edges {
		next[e.from] = append(next[e.from], e.to)
		left[e.to]++
	}
	var sorted []int
	for i := range c.nodes {
		if left[i] == 0 {
			sorted = append(sorted, i)
		}
	}
	for k := 0; k < len(sorted); k++ {
		i := sorted[k]
		for _, to := range next[i] {
			c.nodes[to].column = max(c.nodes[to].column, c.nodes[i].column+1)
			if left[to]--; left[to] == 0 {
				sorted = append(sorted, to)
			}
		}
	}
	// Where more edges lead away from a node than to it, it moves to the right, next to what needs it first.
	before := make([]int, len(c.nodes))
	for _, e := range c.edges {
		before[e.to]++
	}
	for _, i := range slices.Backward(sorted) {
		if before[i] >= len(next[i]) {
			continue
		}
		near := math.MaxInt
		for _, to := range next[i] {
			near = min(near, c.nodes[to].column-1)
		}
		c.nodes[i].column = near
	}
}

// bend puts an item into each column that an edge passes, and fills the columns.
func (c *part) bend() {
	bends := 0
	for _, e := range c.edges {
		bends += max(0, c.nodes[e.to].column-c.nodes[e.from].column-1)
	}
	straight := bends > MaxBends
	for k := range c.edges {
		e := &c.edges[k]
		from, last := e.from, c.nodes[e.to].column
		if straight && last-c.nodes[from].column > 1 {
			continue
		}
		for column := c.nodes[from].column + 1; column < last; column++ {
			c.nodes = append(c.nodes, item{node: -1, column: column})
			b := len(c.nodes) - 1
			e.bends = append(e.bends, b)
			c.join(from, b)
			from = b
		}
		c.join(from, e.to)
	}
	for i := range c.nodes {
		n := c.nodes[i].column
		for len(c.columns) <= n {
			c.columns = append(c.columns, nil)
		}
		c.columns[n] = append(c.columns[n], i)
	}
}

func (c *part) join(from, to int) {
	c.nodes[from].out = append(c.nodes[from].out, to)
	c.nodes[to].in = append(c.nodes[to].in, from)
}

// order decides who stands above whom. It sweeps to and fro and keeps the best order.
func (c *part) order() {
	c.firstOrder()
	best, order := c.crossings(), c.snapshot()
	sweeps := 24
	if len(c.nodes) > 20000 {
		sweeps = 6
	}
	for s, worse := 0, 0; s < sweeps && best > 0 && worse < 4; s++ {
		if s%2 == 0 {
			for k := 1; k < len(c.columns); k++ {
				c.arrange(c.columns[k], func(n *item) []int { return n.in })
			}
		} else {
			for k := len(c.columns) - 2; k >= 0; k-- {
				c.arrange(c.columns[k], func(n *item) []int { return n.out })
			}
		}
		c.transpose()
		if now := c.crossings(); now < best {
			best, order, worse = now, c.snapshot(), 0
		} else {
			worse++
		}
	}
	c.columns = order
	c.number()
}

// firstOrder walks depth first, so that what belongs together stands together.
func (c *part) firstOrder() {
	seen := make([]bool, len(c.nodes))
	columns := make([][]int, len(c.columns))
	for _, column := range c.columns {
		for _, start := range column {
			stack := []int{start}
			for len(stack) > 0 {
				i := stack[len(stack)-1]
				stack = stack[:len(stack)-1]
				if seen[i] {
					continue
				}
				seen[i] = true
				n := &c.nodes[i]
				columns[n.column] = append(columns[n.column], i)
				for _, o := range slices.Backward(n.out) {
					stack = append(stack, o)
				}
				for _, o := range slices.Backward(n.in) {
					stack = append(stack, o)
				}
			}
		}
	}
	c.columns = columns
	c.number()
}

func (c *part) number() {
	for _, column := range c.columns {
		for r, i := range column {
			c.nodes[i].rank = r
		}
	}
}

func (c *part) snapshot() [][]int {
	out := make([][]int, len(c.columns))
	for k, column := range c.columns {
		out[k] = slices.Clone(column)
	}
	return out
}

// arrange sorts a column by the mean rank of its neighbours in another one; what has none there keeps its rank.
func (c *part) arrange(column []int, neighbours func(*item) []int) {
	mean := make(map[int]float64, len(column))
	for _, i := range column {
		n := &c.nodes[i]
		list := neighbours(n)
		if len(list) == 0 {
			mean[i] = float64(n.rank)
			continue
		}
		sum := 0.0
		for _, o := range list {
			sum += float64(c.nodes[o].rank)
		}
		mean[i] = sum / float64(len(list))
	}
	slices.SortStableFunc(column, func(a, b int) int { return cmp.Compare(mean[a], mean[b]) })
	for r, i := range column {
		c.nodes[i].rank = r
	}
}

// transpose exchanges neighbours in a column where that takes crossings away.
func (c *part) transpose() {
	if len(c.nodes) > 20000 {
		return
	}
	for range 3 {
		better := false
		for _, column := range c.columns {
			for r := 0; r+1 < len(column); r++ {
				a, b := &c.nodes[column[r]], &c.nodes[column[r+1]]
				if len(a.in)*len(b.in)+len(a.out)*len(b.out) > 4096 {
					continue
				}
				now := c.crossed(a.in, b.in) + c.crossed(a.out, b.out)
				if now > 0 && c.crossed(b.in, a.in)+c.crossed(b.out, a.out) < now {
					column[r], column[r+1] = column[r+1], column[r]
					a.rank, b.rank = b.rank, a.rank
					better = true
				}
			}
		}
		if !better {
			return
		}
	}
}

// crossed is how many lines to the upper one's neighbours cross lines to the lower one's.
func (c *part) crossed(upper, lower []int) int {
	n := 0
	for _, u := range upper {
		for _, l := range lower {
			if c.nodes[u].rank > c.nodes[l].rank {
				n++
			}
		}
	}
	return n
}

// crossings counts crossing lines between all columns, with a Fenwick tree.
func (c *part) crossings() int {
	total := 0
	var tree []int
	var ranks []int
	for k := 0; k+1 < len(c.columns); k++ {
		tree = append(tree[:0], make([]int, len(c.columns[k+1])+1)...)
		lines := 0
		for _, i := range c.columns[k] {
			ranks = ranks[:0]
			for _, o := range c.nodes[i].out {
				ranks = append(ranks, c.nodes[o].rank)
			}
			slices.Sort(ranks)
			for _, r := range ranks {
				above := 0
				for t := r + 1; t > 0; t -= t & -t {
					above += tree[t]
				}
				total += lines - above
			}
			for _, r := range ranks {
				lines++
				for t := r + 1; t < len(tree); t += t & -t {
					tree[t]++
				}
			}
		}
	}
	return total
}

// heights gives each item its height: again and again as near to its neighbours as the others allow.
func (c *part) heights() {
	for _, column := range c.columns {
		y := 0.0
		for r, i := range column {
			if r > 0 {
				y += c.distance(column[r-1], i)
			}
			c.nodes[i].y = y
		}
	}
	passes := 16
	if len(c.nodes) > 20000 {
		passes = 6
	}
	for s := range passes {
		both := s >= passes/2
		for k := range c.columns {
			if s%2 == 1 {
				k = len(c.columns) - 1 - k
			}
			c.settle(c.columns[k], both, s%2 == 0)
		}
	}
	top := math.MaxFloat64
	for i := range c.nodes {
		top = min(top, c.nodes[i].y-c.nodes[i].h/2)
	}
	for i := range c.nodes {
		c.nodes[i].y -= top
	}
}

// distance is how far apart the middles of two neighbours in a column must be.
func (c *part) distance(upper, lower int) float64 {
	u, l := &c.nodes[upper], &c.nodes[lower]
	gap := float64(gapY)
	if u.node < 0 || l.node < 0 {
		gap = bendGap
	}
	return (u.h+l.h)/2 + gap
}

// settle moves a column as near as possible to what its items are joined with:
// the least sum of squares under the distances (pool adjacent violators).
func (c *part) settle(column []int, both, forward bool) {
	type block struct {
		sum, weight float64 // of wishes, less the distances above
		count       int
	}
	var blocks []block
	offset := 0.0
	offsets := make([]float64, len(column))
	for r, i := range column {
		if r > 0 {
			offset += c.distance(column[r-1], i)
		}
		offsets[r] = offset
		wish, weight := c.wish(&c.nodes[i], both, forward)
		blocks = append(blocks, block{(wish - offset) * weight, weight, 1})
		for n := len(blocks); n > 1 && blocks[n-2].sum*blocks[n-1].weight > blocks[n-1].sum*blocks[n-2].weight; n-- {
			u, l := &blocks[n-2], &blocks[n-1]
			u.sum, u.weight, u.count = u.sum+l.sum, u.weight+l.weight, u.count+l.count
			blocks = blocks[:n-1]
		}
	}
	r := 0
	for _, b := range blocks {
		for range b.count {
			c.nodes[column[r]].y = b.sum/b.weight + offsets[r]
			r++
		}
	}
}

// wish is where an item would like to be, and how much. Bends wish the most: long edges want to be straight.
func (c *part) wish(n *item, both, forward bool) (y, weight float64) {
	list := n.in
	if !forward {
		list = n.out
	}
	sum, count := 0.0, 0
	add := func(list []int) {
		for _, o := range list {
			sum += c.nodes[o].y
			count++
		}
	}
	add(list)
	if both || count == 0 {
		add(n.in)
		add(n.out)
	}
	if count == 0 {
		return n.y, 0.01
	}
	weight = 1
	if n.node < 0 {
		weight = 4
	}
	return sum / float64(count), weight
}

// size notes how large the component is.
func (c *part) size() {
	for k, column := range c.columns {
		if k > 0 {
			c.w += gapX
		}
		c.w += c.columnWidth(column)
	}
	for i := range c.nodes {
		c.h = max(c.h, c.nodes[i].y+c.nodes[i].h/2)
	}
}

func (c *part) columnWidth(column []int) float64 {
	w := 0.0
	for _, i := range column {
		w = max(w, c.nodes[i].w)
	}
	return w
}

// move puts the component at its place in the drawing.
func (c *part) move(x, y float64) {
	lefts, widths := make([]float64, len(c.columns)), make([]float64, len(c.columns))
	for k, column := range c.columns {
		widths[k], lefts[k] = c.columnWidth(column), x
		x += widths[k] + gapX
	}
	p := c.placed
	for i := range c.nodes {
		if n := &c.nodes[i]; n.node >= 0 {
			b := &p.Boxes[n.node]
			b.X, b.Y = lefts[n.column], y+n.y-n.h/2
		}
	}
	for _, e := range c.edges {
		from, to := p.Boxes[c.nodes[e.from].node], p.Boxes[c.nodes[e.to].node]
		line := []Point{{from.X + from.W, from.Y + from.H/2}}
		for _, b := range e.bends {
			n := &c.nodes[b]
			line = append(line, Point{lefts[n.column], y + n.y}, Point{lefts[n.column] + widths[n.column], y + n.y})
		}
		p.Lines[e.edge] = append(line, Point{to.X, to.Y + to.H/2})
	}
}
