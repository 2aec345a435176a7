package layout_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"image/png"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jobcontrol/jobcontrol/graph/layout"
)

// random makes a graph as they occur: each node depends on up to three near ones before it.
func random(n int, seed uint64) *layout.Drawing {
	r := rand.New(rand.NewPCG(seed, 1))
	fills := []string{"#5cb85c", "#f0ad4e", "#d9534f", "#777777"}
	d := &layout.Drawing{Title: "random", Legend: []layout.Entry{{"#5cb85c", "successful"}, {"#f0ad4e", "outdated"}, {"#d9534f", "failed"}, {"#777777", "not built"}}}
	for i := range n {
		d.Nodes = append(d.Nodes, layout.Node{ID: fmt.Sprintf("job %d of site-%d.example", i, i%7), Fill: fills[r.IntN(len(fills))], Note: strings.Repeat("note ", i%3)})
		for range r.IntN(4) {
			if i > 0 {
				from := max(0, i-1-r.IntN(30))
				if from != i && i%10 != 0 {
					d.Edges = append(d.Edges, layout.Edge{From: from, To: i})
				}
			}
		}
	}
	return d
}

// TestPlaceKeepsApart: boxes do not overlap, edges lead to the right, everything is inside.
func TestPlaceKeepsApart(t *testing.T) {
	for _, n := range []int{0, 1, 2, 5, 30, 200} {
		for seed := range uint64(10) {
			p := layout.Place(random(n, seed))
			for i, a := range p.Boxes {
				if a.X < 0 || a.Y < 0 || a.X+a.W > p.W || a.Y+a.H > p.H {
					t.Fatalf("n=%d seed=%d: box %d is outside: %+v of %v×%v", n, seed, i, a, p.W, p.H)
				}
				for k, b := range p.Boxes[:i] {
					if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
						t.Fatalf("n=%d seed=%d: boxes %d and %d overlap: %+v %+v", n, seed, k, i, b, a)
					}
				}
			}
			for k, e := range p.Edges {
				line := p.Lines[k]
				if first, last := line[0], line[len(line)-1]; first.X != p.Boxes[e.From].X+p.Boxes[e.From].W || last.X != p.Boxes[e.To].X || last.X <= first.X {
					t.Fatalf("n=%d seed=%d: edge %d runs from %v to %v", n, seed, k, first, last)
				}
			}
		}
	}
}

// TestCrossings: a graph that can be drawn without crossing lines is.
func TestCrossings(t *testing.T) {
	d := &layout.Drawing{}
	for i := range 15 { // a binary tree, its nodes named in another order
		d.Nodes = append(d.Nodes, layout.Node{ID: fmt.Sprint((i * 7) % 15)})
	}
	at := make([]int, 15)
	for i := range d.Nodes {
		at[(i*7)%15] = i
	}
	for i := 1; i < 15; i++ {
		d.Edges = append(d.Edges, layout.Edge{From: at[(i-1)/2], To: at[i]})
	}
	p := layout.Place(d)
	for a := range p.Edges {
		for b := range a {
			la, lb := p.Lines[a], p.Lines[b]
			if la[0].X == lb[0].X && (la[0].Y-lb[0].Y)*(la[len(la)-1].Y-lb[len(lb)-1].Y) < 0 {
				t.Errorf("edges %v and %v cross", p.Edges[a], p.Edges[b])
			}
		}
	}
}

func TestSameTwice(t *testing.T) {
	var one, two bytes.Buffer
	for _, w := range []io.Writer{&one, &two} {
		if err := layout.Place(random(120, 3)).SVG(w); err != nil {
			t.Fatal(err)
		}
	}
	if one.String() != two.String() {
		t.Error("the same graph is drawn in two ways")
	}
}

// hostile are texts that are markup somewhere.
var hostile = []string{
	`<script>alert(1)</script>`, `"]; click n0 "javascript:alert(1)"`, `\" onload=alert(1) x="`, "a\x00\x1b]0;t\x07\nb", "]]>", "&amp;", "\xff\xfe", "`%%{init}%%`", "\u202egnp.exe", "\u009b2J",
}

// TestTextIsText: no label, tooltip or link becomes markup in any form.
func TestTextIsText(t *testing.T) {
	d := &layout.Drawing{Title: hostile[0]}
	for i, h := range hostile {
		d.Nodes = append(d.Nodes, layout.Node{ID: fmt.Sprint(i, h), Label: h, Note: h, Tooltip: h, Fill: h, Link: "javascript:" + h})
		d.Nodes = append(d.Nodes, layout.Node{ID: fmt.Sprint("link", i), Link: "https://x.example/?q=" + h})
		d.Legend = append(d.Legend, layout.Entry{Fill: h, Text: h})
	}
	p := layout.Place(d)
	for name, write := range map[string]func(io.Writer) error{"svg": p.SVG, "png": p.PNG, "dot": p.DOT, "mermaid": p.Mermaid, "json": p.JSON, "text": p.Text} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out := b.String()
		switch name {
		case "svg":
			wellFormed(t, out)
			if strings.Contains(out, `href="javascript:`) {
				t.Error("svg: a link leads to a script")
			}
		case "json":
			if !json.Valid(b.Bytes()) {
				t.Error("json is not JSON")
			}
		case "png":
			if _, err := png.Decode(&b); err != nil {
				t.Errorf("png: %v", err)
			}
		default:
			if strings.ContainsAny(out, "\x00\x1b\u009b\u202e") {
				t.Errorf("%s: control characters are written", name)
			}
		}
		if name == "mermaid" && (strings.Contains(out, "<script") || strings.Contains(out, "%%{")) {
			t.Error("mermaid: markup is written")
		}
	}
}

// wellFormed fails unless out is XML whose elements are those we draw with.
func wellFormed(t *testing.T, out string) {
	t.Helper()
	known := map[string]bool{"svg": true, "title": true, "rect": true, "g": true, "path": true, "text": true, "a": true}
	for dec := xml.NewDecoder(strings.NewReader(out)); ; {
		token, err := dec.Token()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatalf("svg: %v", err)
		}
		if e, ok := token.(xml.StartElement); ok {
			if !known[e.Name.Local] {
				t.Errorf("svg: element %s", e.Name.Local)
			}
			for _, a := range e.Attr {
				if strings.HasPrefix(strings.ToLower(a.Name.Local), "on") {
					t.Errorf("svg: attribute %s", a.Name.Local)
				}
			}
		}
	}
}

// TestLarge: pictures are bounded, and so is the time (5,000 nodes are a second, not an hour).
func TestLarge(t *testing.T) {
	p := layout.Place(random(5000, 1))
	var b bytes.Buffer
	if err := p.PNG(&b); err != nil {
		t.Fatal(err)
	}
	c, err := png.DecodeConfig(&b)
	if err != nil || c.Width*c.Height > layout.MaxPixels*11/10 {
		t.Errorf("%d × %d pixels, %v", c.Width, c.Height, err)
	}
}

// TestLongEdges: a chain of 2,000 whose first node leads to every other has two million bends, too many to draw.
func TestLongEdges(t *testing.T) {
	d := &layout.Drawing{}
	for i := range 2000 {
		d.Nodes = append(d.Nodes, layout.Node{ID: fmt.Sprint(i)})
		if i > 0 {
			d.Edges = append(d.Edges, layout.Edge{From: i - 1, To: i})
		}
		if i > 1 {
			d.Edges = append(d.Edges, layout.Edge{From: 0, To: i})
		}
	}
	p := layout.Place(d)
	for k := range p.Lines {
		if len(p.Lines[k]) != 2 {
			t.Fatalf("edge %d has bends", k)
		}
	}
}

// TestText: a tree for each job that nothing depends on, and what was written before is only named.
func TestText(t *testing.T) {
	d := &layout.Drawing{
		Nodes: []layout.Node{{ID: "friends"}, {ID: "insects"}, {ID: "popcorn", Note: "failed"}, {ID: "movie"}, {ID: "alone"}},
		Edges: []layout.Edge{{0, 2}, {1, 0}, {0, 3}, {2, 3}},
	}
	var b strings.Builder
	if err := d.Text(&b); err != nil {
		t.Fatal(err)
	}
	want := `movie
├─ friends
│  └─ insects
└─ popcorn  [failed]
   └─ friends  (see above)
alone
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

// TestLook writes pictures to the directory LAYOUT_LOOK, for people to look at.
func TestLook(t *testing.T) {
	dir := os.Getenv("LAYOUT_LOOK")
	if dir == "" {
		dir = t.TempDir()
	}
	for _, n := range []int{30, 500} {
		d := random(n, 1)
		d.Nodes[3].Current = true
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%d.png", n)))
		if err != nil {
			t.Fatal(err)
		}
		if err := layout.Place(d).PNG(f); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
