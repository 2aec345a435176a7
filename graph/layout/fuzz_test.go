package layout_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"image/png"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/jobcontrol/jobcontrol/graph/layout"
	"github.com/jobcontrol/jobcontrol/internal/bounds"
)

// FuzzDraw draws graphs of any shape with any texts in them. Nothing overlaps, and
// in no format does a text become anything else than text.
func FuzzDraw(f *testing.F) {
	for _, h := range hostile {
		f.Add([]byte{5, 0, 1, 1, 2, 0, 4}, h, h, "https://x.example/?q="+h)
	}
	f.Add([]byte{2, 0, 1}, "a\u0085b\u2028", "\u009b2J", "JaVa\tscript:alert(1)")
	f.Add([]byte{24, 0, 23, 0, 23, 1, 2, 2, 3, 3, 23}, "日本語 "+strings.Repeat("m", 60), "#5cb85c", "//host/a:b")
	f.Add([]byte{}, "", "", "")
	f.Fuzz(func(t *testing.T, shape []byte, label, other, link string) {
		if len(shape) > 200 || len(label)+len(other)+len(link) > 2000 {
			return
		}
		d := drawing(shape, label, other, link)
		var p *layout.Placed
		bounds.Hold(t, func() { p = layout.Place(d) })
		checkApart(t, p)
		checkSVG(t, written(t, p.SVG))
		checkText(t, "dot", d, written(t, p.DOT))
		checkText(t, "mermaid", d, written(t, p.Mermaid))
		checkText(t, "text", d, written(t, p.Text))
		if out := written(t, p.JSON); !json.Valid([]byte(out)) {
			t.Fatalf("json: %q", out)
		}
		if len(d.Nodes) > 2 { // larger pictures are slow
			return
		}
		if _, err := png.Decode(strings.NewReader(written(t, p.PNG))); err != nil {
			t.Fatal(err)
		}
	})
}

// drawing makes an acyclic drawing: the first byte is the number of nodes, and each
// two after it are an edge.
func drawing(shape []byte, label, other, link string) *layout.Drawing {
	d := &layout.Drawing{Title: label, Legend: []layout.Entry{{Fill: other, Text: label}, {Fill: "#5cb85c", Text: other}}}
	if len(shape) == 0 {
		return d
	}
	n := int(shape[0]) % 25
	texts := []string{label, other, link, "plain", ""}
	for i := range n {
		at := func(k int) string { return texts[(i+k)%len(texts)] }
		d.Nodes = append(d.Nodes, layout.Node{
			ID: strconv.Itoa(i) + label, Label: at(0), Note: at(1), Tooltip: at(3), Fill: at(4), Link: at(2), Current: i%3 == 0,
		})
	}
	for k := 1; k+1 < len(shape) && n > 1; k += 2 {
		a, b := int(shape[k])%n, int(shape[k+1])%n
		if a != b {
			d.Edges = append(d.Edges, layout.Edge{From: min(a, b), To: max(a, b)})
		}
	}
	return d
}

func written(t *testing.T, write func(io.Writer) error) string {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func checkApart(t *testing.T, p *layout.Placed) {
	t.Helper()
	for i, a := range p.Boxes {
		if !(a.X >= 0 && a.Y >= 0 && a.X+a.W <= p.W && a.Y+a.H <= p.H) {
			t.Fatalf("box %d is outside: %+v of %v×%v", i, a, p.W, p.H)
		}
		for k, b := range p.Boxes[:i] {
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Fatalf("boxes %d and %d overlap: %+v %+v", k, i, b, a)
			}
		}
	}
	for k, e := range p.Edges {
		line := p.Lines[k]
		if first, last := line[0], line[len(line)-1]; first.X != p.Boxes[e.From].X+p.Boxes[e.From].W || last.X != p.Boxes[e.To].X || last.X <= first.X {
			t.Fatalf("edge %d runs from %v to %v", k, first, last)
		}
	}
}

// checkSVG holds that a picture has the elements and attributes that we write, and
// that its links lead to pages.
func checkSVG(t *testing.T, out string) {
	t.Helper()
	wellFormed(t, out)
	known := " xmlns xlink width height viewBox font-family fill stroke stroke-width d x y rx text-anchor font-size href "
	for dec := xml.NewDecoder(strings.NewReader(out)); ; {
		token, err := dec.Token()
		if err != nil {
			break // wellFormed has seen it
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		for _, a := range e.Attr {
			if !strings.Contains(known, " "+a.Name.Local+" ") {
				t.Fatalf("svg: attribute %s", a.Name.Local)
			}
			if a.Name.Local == "href" {
				checkLink(t, a.Value)
			}
		}
	}
	if i := strings.IndexFunc(out, func(r rune) bool { return unicode.IsControl(r) && !strings.ContainsRune("\n\r\t", r) }); i >= 0 {
		t.Fatalf("svg: control character in %q", out[i:min(i+20, len(out))])
	}
}

// checkLink reads a link as browsers do: they drop white space and control
// characters in front of and within the scheme.
func checkLink(t *testing.T, link string) {
	t.Helper()
	link = strings.Map(func(r rune) rune {
		if r <= ' ' {
			return -1
		}
		return r
	}, link)
	if scheme, _, found := strings.Cut(link, ":"); found && !strings.ContainsAny(scheme, "/?#") {
		if s := strings.ToLower(scheme); s != "http" && s != "https" {
			t.Fatalf("svg: link %q", link)
		}
	}
}

var (
	dotLine     = regexp.MustCompile(`^(?:digraph Q \{|  rankdir=LR;|  node \[.*\];|  Q \[label=Q, fillcolor=Q, fontcolor=Q(?:, color=Q, penwidth=3)?(?:, tooltip=Q)?(?:, URL=Q)?\];|  Q -> Q;|\})$`)
	dotQuoted   = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	mermaidLine = regexp.MustCompile(`^(?:flowchart LR|  classDef c\d+ fill:#[0-9a-fA-F]{6},color:#[0-9a-f]{6}|  n\d+\["[^"<>` + "`" + `\\]*"\]:::c\d+|  style n\d+ stroke:#000000,stroke-width:3px|  click n\d+ href "[^"<>` + "`" + `\\]*"|  n\d+ --> n\d+)$`)
)

// checkText holds that a text format has no control characters, nor what reorders
// text, and only lines that are ours.
func checkText(t *testing.T, format string, d *layout.Drawing, out string) {
	t.Helper()
	if !utf8.ValidString(out) {
		t.Fatalf("%s is not UTF-8: %q", format, out)
	}
	if i := strings.IndexFunc(out, func(r rune) bool { return r != '\n' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }); i >= 0 {
		t.Fatalf("%s: control character in %q", format, out[i:min(i+20, len(out))])
	}
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	for i, line := range lines {
		switch {
		case format == "dot" && i != 2 && !dotLine.MatchString(dotQuoted.ReplaceAllString(line, "Q")),
			format == "mermaid" && !mermaidLine.MatchString(line):
			t.Fatalf("%s: line %q", format, line)
		}
	}
	if most := len(d.Nodes) + len(d.Edges); format == "text" && len(lines) > most+1 {
		t.Fatalf("%s: %d lines of %d nodes and %d edges", format, len(lines), len(d.Nodes), len(d.Edges))
	}
}
