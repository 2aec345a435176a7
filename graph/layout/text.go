package layout

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// DOT writes the drawing for Graphviz.
func (d *Drawing) DOT(w io.Writer) error {
	out := &printer{w: bufio.NewWriter(w)}
	out.f("digraph %s {\n  rankdir=LR;\n  node [shape=box, style=\"filled,rounded\", fontname=\"sans-serif\"];\n", quote(cmp.Or(d.Title, "jobs")))
	for i := range d.Nodes {
		n := &d.Nodes[i]
		label := cmp.Or(n.Label, n.ID)
		if n.Note != "" {
			label += "\n" + n.Note
		}
		out.f("  %s [label=%s, fillcolor=%s, fontcolor=%s", quote(n.ID), quote(label), quote(colour(n.Fill)), quote(ink(n.Fill)))
		if n.Current {
			out.f(", color=\"#000000\", penwidth=3")
		}
		if n.Tooltip != "" {
			out.f(", tooltip=%s", quote(n.Tooltip))
		}
		if link := n.link(); link != "" {
			out.f(", URL=%s", quote(link))
		}
		out.f("];\n")
	}
	for _, e := range d.Edges {
		out.f("  %s -> %s;\n", quote(d.Nodes[e.From].ID), quote(d.Nodes[e.To].ID))
	}
	out.f("}\n")
	return out.done()
}

// quote is a quoted id of DOT. A backslash would begin an escape.
func quote(s string) string {
	s = strings.Map(func(r rune) rune {
		if steers(r) && r != '\n' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

// Mermaid writes the drawing as a Mermaid flowchart.
func (d *Drawing) Mermaid(w io.Writer) error {
	out := &printer{w: bufio.NewWriter(w)}
	out.f("flowchart LR\n")
	classes := map[string]int{}
	for i := range d.Nodes {
		n := &d.Nodes[i]
		label := cmp.Or(n.Label, n.ID)
		if n.Note != "" {
			label += " (" + n.Note + ")"
		}
		fill := colour(n.Fill)
		class, known := classes[fill]
		if !known {
			class = len(classes)
			classes[fill] = class
			out.f("  classDef c%d fill:%s,color:%s\n", class, fill, ink(fill))
		}
		out.f("  n%d[\"%s\"]:::c%d\n", i, mermaidText(label), class)
		if n.Current {
			out.f("  style n%d stroke:#000000,stroke-width:3px\n", i)
		}
		if link := n.link(); link != "" {
			out.f("  click n%d href \"%s\"\n", i, mermaidText(link))
		}
	}
	for _, e := range d.Edges {
		out.f("  n%d --> n%d\n", e.From, e.To)
	}
	return out.done()
}

// mermaidText is text between quotes; what could be markup becomes an entity.
func mermaidText(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case steers(r):
			b.WriteByte(' ')
		case strings.ContainsRune("\"<>&#;%`\\", r): // %%{ would begin a directive, even here
			fmt.Fprintf(&b, "#%d;", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// jsonNode is a node as JSON writes it.
type jsonNode struct {
	ID      string  `json:"id"`
	Label   string  `json:"label,omitempty"`
	Note    string  `json:"note,omitempty"`
	Fill    string  `json:"fill"`
	Current bool    `json:"current,omitempty"`
	X       float64 `json:"x"`
	Y       float64 `json:"y"`
	W       float64 `json:"width"`
	H       float64 `json:"height"`
}

type jsonEdge struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// JSON writes nodes with their places, and edges by the ids of their nodes.
func (p *Placed) JSON(w io.Writer) error {
	out := struct {
		Title  string     `json:"title,omitempty"`
		Width  float64    `json:"width"`
		Height float64    `json:"height"`
		Nodes  []jsonNode `json:"nodes"`
		Edges  []jsonEdge `json:"edges"`
	}{p.Title, p.W, p.H, make([]jsonNode, len(p.Nodes)), make([]jsonEdge, len(p.Edges))}
	for i := range p.Nodes {
		n, b := &p.Nodes[i], &p.Boxes[i]
		out.Nodes[i] = jsonNode{n.ID, n.Label, n.Note, colour(n.Fill), n.Current, round(b.X), round(b.Y), round(b.W), round(b.H)}
	}
	for i, e := range p.Edges {
		out.Edges[i] = jsonEdge{p.Nodes[e.From].ID, p.Nodes[e.To].ID}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(out)
}

func round(x float64) float64 { return float64(int(x*10+0.5)) / 10 }

// Text writes a tree for each node that nothing depends on: below it what it
// depends on. What was written before is only named.
func (d *Drawing) Text(w io.Writer) error {
	out := &printer{w: bufio.NewWriter(w)}
	deps, dependants := make([][]int, len(d.Nodes)), make([]int, len(d.Nodes))
	for _, e := range d.Edges {
		deps[e.To] = append(deps[e.To], e.From)
		dependants[e.From]++
	}
	seen := make([]bool, len(d.Nodes))
	type line struct {
		node   int
		indent string // of what is below it
		lead   string
	}
	for root := range d.Nodes {
		if dependants[root] > 0 {
			continue
		}
		stack := []line{{node: root}}
		for len(stack) > 0 {
			l := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			n := &d.Nodes[l.node]
			text := shorten(cmp.Or(n.Label, n.ID))
			if n.Note != "" {
				text += "  [" + n.note() + "]"
			}
			again := seen[l.node] && len(deps[l.node]) > 0
			if again {
				text += "  (see above)"
			}
			out.f("%s%s\n", l.lead, text)
			if again {
				continue
			}
			seen[l.node] = true
			list := deps[l.node]
			for k := len(list) - 1; k >= 0; k-- {
				lead, indent := "├─ ", "│  "
				if k == len(list)-1 {
					lead, indent = "└─ ", "   "
				}
				if len(l.indent) > 600 { // a chain of thousands is not indented for ever
					lead, indent = "· ", ""
				}
				stack = append(stack, line{list[k], l.indent + indent, l.indent + lead})
			}
		}
	}
	return out.done()
}
