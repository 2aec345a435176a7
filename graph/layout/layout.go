package layout

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
)

// Node is a box of a drawing.
type Node struct {
	ID      string // unique in the drawing
	Label   string // "": the ID
	Note    string // a second, smaller line; "": none
	Fill    string // #rrggbb; "": grey
	Current bool   // with a bold black border
	Tooltip string // "": none
	Link    string // what it leads to; "": nothing. Only http, https and relative links are written.
}

// Edge leads from a dependency to what depends on it; both are indexes of nodes.
type Edge struct {
	From, To int
}

// Drawing is what is drawn. The edges must not form a cycle.
type Drawing struct {
	Title  string
	Nodes  []Node
	Edges  []Edge
	Legend []Entry // what the colours mean
}

// Entry is a line of the legend.
type Entry struct {
	Fill string // #rrggbb
	Text string
}

// Point is a place in a drawing, in pixels from the top left corner.
type Point struct{ X, Y float64 }

// Box is where a node is drawn.
type Box struct {
	X, Y, W, H float64 // top left corner and size
}

// Placed is a drawing with a place for everything.
type Placed struct {
	*Drawing
	W, H  float64
	Boxes []Box     // of the nodes
	Lines [][]Point // of the edges: from the right side of the one to the left side of the other, and the bends between
}

// Limits of a drawing.
const (
	MaxLabel = 40     // characters of a label or note that are drawn; the rest is in the tooltip
	MaxBends = 200000 // in all edges
)

// Sizes in pixels.
const (
	lineHeight  = 16
	noteHeight  = 13
	padX        = 10
	padY        = 6
	gapX        = 48 // between columns
	gapY        = 12 // between boxes of a column
	bendGap     = 8  // beside a bend
	partGap     = 28 // between components
	margin      = 16
	textSize    = 13
	noteSize    = 10.5
	legendWidth = 10
)

// nodeLabel is what is drawn in a box.
func (n *Node) label() string { return shorten(cmp.Or(n.Label, n.ID)) }

func (n *Node) note() string { return shorten(n.Note) }

// tooltip is what a reader sees of a node beside its label.
func (n *Node) tooltip() string {
	full := cmp.Or(n.Label, n.ID)
	switch {
	case n.Tooltip != "":
		return n.Tooltip
	case full != n.label():
		return full
	}
	return ""
}

// link returns the node's link if it leads somewhere harmless.
func (n *Node) link() string { return harmless(n.Link) }

// harmless returns a link if it is relative or leads to a page, else nothing.
func harmless(link string) string {
	scheme, _, found := strings.Cut(link, ":")
	if !found || strings.ContainsAny(scheme, "/?#") {
		return link // relative
	}
	switch strings.ToLower(scheme) {
	case "http", "https":
		return link
	}
	return ""
}

// shorten cuts a text in the middle that is too long to be drawn, and shows control characters as spaces.
func shorten(s string) string { return shortenTo(s, MaxLabel) }

func shortenTo(s string, most int) string {
	runes := []rune(strings.Map(func(r rune) rune {
		if steers(r) {
			return ' '
		}
		return r
	}, s))
	if len(runes) <= most {
		return string(runes)
	}
	head := most * 2 / 3
	return string(runes[:head]) + "…" + string(runes[len(runes)-(most-head-1):])
}

// steers tells whether a character steers a terminal, or reorders what stands around it.
func steers(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }

// width is how wide a text is, at least nearly, in a sans-serif font of the given size.
func width(s string, size float64) float64 {
	w := 0.0
	for _, r := range s {
		w += advance(r)
	}
	return w * size
}

// advance is the width of a character in the font's size.
func advance(r rune) float64 {
	switch {
	case strings.ContainsRune("iljI.,:;|!'", r):
		return 0.30
	case strings.ContainsRune("ftr()[]{}-/\\\" ", r):
		return 0.40
	case strings.ContainsRune("mwMW@%", r):
		return 0.92
	case r >= 'A' && r <= 'Z':
		return 0.70
	case wide(r):
		return 1.0
	case unicode.Is(unicode.Mn, r):
		return 0
	}
	return 0.58
}

// wide tells whether a character takes two columns in East Asian type.
func wide(r rune) bool {
	return r >= 0x1100 && (r <= 0x115f || r >= 0x2e80 && r <= 0xa4cf || r >= 0xac00 && r <= 0xd7a3 ||
		r >= 0xf900 && r <= 0xfaff || r >= 0xfe30 && r <= 0xfe6f || r >= 0xff00 && r <= 0xff60 ||
		r >= 0xffe0 && r <= 0xffe6 || r >= 0x1f300 && r <= 0x1faff || r >= 0x20000)
}

// size is the size of a node's box.
func (n *Node) size() (w, h float64) {
	w, h = width(n.label(), textSize), lineHeight
	if n.Note != "" {
		w, h = max(w, width(n.note(), noteSize)), h+noteHeight
	}
	return max(w, 24) + 2*padX, h + 2*padY
}

// Place finds a place for everything. Time is bounded: 5,000 nodes take about a second.
func Place(d *Drawing) *Placed {
	p := &Placed{Drawing: d, Boxes: make([]Box, len(d.Nodes)), Lines: make([][]Point, len(d.Edges))}
	for i := range d.Nodes {
		p.Boxes[i].W, p.Boxes[i].H = d.Nodes[i].size()
	}
	parts := split(p)
	for _, part := range parts {
		part.place()
	}
	p.pack(parts)
	return p
}

// split returns the connected components, in the order of their first nodes.
func split(p *Placed) []*part {
	root := make([]int, len(p.Nodes))
	for i := range root {
		root[i] = i
	}
	find := func(i int) int {
		for root[i] != i {
			root[i] = root[root[i]]
			i = root[i]
		}
		return i
	}
	for _, e := range p.Edges {
		a, b := find(e.From), find(e.To)
		root[max(a, b)] = min(a, b)
	}
	byRoot := make(map[int]*part, 1)
	local := make([]int, len(p.Nodes))
	var parts []*part
	for i := range p.Nodes {
		r := find(i)
		c := byRoot[r]
		if c == nil {
			c = &part{placed: p}
			byRoot[r] = c
			parts = append(parts, c)
		}
		local[i] = len(c.nodes)
		c.nodes = append(c.nodes, item{node: i, w: p.Boxes[i].W, h: p.Boxes[i].H})
	}
	for k, e := range p.Edges {
		c := byRoot[find(e.From)]
		c.edges = append(c.edges, link{from: local[e.From], to: local[e.To], edge: k})
	}
	return parts
}

// pack arranges the placed components in rows. Single nodes come last, as a grid.
func (p *Placed) pack(parts []*part) {
	slices.SortStableFunc(parts, func(a, b *part) int {
		if c := cmp.Compare(min(len(b.nodes), 2), min(len(a.nodes), 2)); c != 0 {
			return c
		}
		return cmp.Compare(b.h, a.h)
	})
	area, widest := 0.0, 0.0
	for _, c := range parts {
		area += (c.w + partGap) * (c.h + partGap)
		widest = max(widest, c.w)
	}
	limit := max(widest, sqrt(area*1.6))
	x, y, row := float64(margin), float64(margin), 0.0
	for _, c := range parts {
		gap := float64(partGap)
		if len(c.nodes) == 1 {
			gap = gapY
		}
		if x > margin && x+c.w > margin+limit {
			x, y, row = margin, y+row+gap, 0
		}
		c.move(x, y)
		p.W, p.H = max(p.W, x+c.w), max(p.H, y+c.h)
		x, row = x+c.w+gap, max(row, c.h)
	}
	p.W, p.H = p.W+margin, p.H+margin
}
