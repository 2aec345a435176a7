package layout

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode"
)

const grey = "#777777"

// SVG writes the drawing as SVG 1.1 without scripts and with nothing to load.
func (p *Placed) SVG(w io.Writer) error {
	out := &printer{w: bufio.NewWriter(w)}
	legend, height := p.legend()
	svgHead(out, p.width(), p.H+height, p.Title)
	out.f(`<g fill="none" stroke="#888888" stroke-width="1.2">` + "\n")
	for _, line := range p.Lines {
		out.f(`<path d="%s"/>`+"\n", path(line))
	}
	out.f("</g>\n<g fill=\"#666666\">\n")
	for _, line := range p.Lines {
		a := arrow(line)
		out.f(`<path d="M%.1f %.1fL%.1f %.1fL%.1f %.1fz"/>`+"\n", a[0].X, a[0].Y, a[1].X, a[1].Y, a[2].X, a[2].Y)
	}
	out.f("</g>\n")
	for i := range p.Nodes {
		p.svgNode(out, i)
	}
	svgLegend(out, legend)
	out.f("</svg>\n")
	return out.done()
}

// svgHead opens a white picture.
func svgHead(out *printer, wide, high float64, title string) {
	out.f(`<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f" font-family="DejaVu Sans, Verdana, Arial, sans-serif">`+"\n",
		wide, high, wide, high)
	if title != "" {
		out.f("<title>%s</title>\n", escape(title))
	}
	out.f(`<rect width="100%%" height="100%%" fill="#ffffff"/>` + "\n")
}

func svgLegend(out *printer, legend []placedEntry) {
	for _, e := range legend {
		out.f(`<rect x="%.1f" y="%.1f" width="%d" height="%d" fill="%s"/><text x="%.1f" y="%.1f" font-size="%.1f" fill="#333333">%s</text>`+"\n",
			e.X, e.Y, legendWidth, legendWidth, colour(e.Fill), e.X+legendWidth+5, e.Y+legendWidth-1, noteSize, escape(e.Text))
	}
}

func (p *Placed) svgNode(out *printer, i int) {
	n, b := &p.Nodes[i], &p.Boxes[i]
	link := n.link()
	if link != "" {
		out.f(`<a xlink:href="%s" href="%s">`, escape(link), escape(link))
	}
	out.f("<g>")
	if t := n.tooltip(); t != "" {
		out.f("<title>%s</title>", escape(t))
	}
	stroke, thick := "#333333", 0.8
	if n.Current {
		stroke, thick = "#000000", 3
	}
	out.f(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="4" fill="%s" stroke="%s" stroke-width="%.1f"/>`,
		b.X, b.Y, b.W, b.H, colour(n.Fill), stroke, thick)
	ink := ink(n.Fill)
	label, note := n.baselines(b)
	out.f(`<text x="%.1f" y="%.1f" text-anchor="middle" font-size="%d" fill="%s">%s</text>`, b.X+b.W/2, label, textSize, ink, escape(n.label()))
	if n.Note != "" {
		out.f(`<text x="%.1f" y="%.1f" text-anchor="middle" font-size="%.1f" fill="%s">%s</text>`, b.X+b.W/2, note, noteSize, ink, escape(n.note()))
	}
	out.f("</g>")
	if link != "" {
		out.f("</a>")
	}
	out.f("\n")
}

// baselines are where the text lines of a box stand.
func (n *Node) baselines(b *Box) (label, note float64) {
	label = b.Y + padY + lineHeight - 4
	return label, label + noteHeight
}

// path is a line as SVG path data: curves that leave and arrive level.
func path(line []Point) string {
	var b strings.Builder
	fmt.Fprintf(&b, "M%.1f %.1f", line[0].X, line[0].Y)
	for k := 1; k < len(line); k++ {
		p, q := line[k-1], line[k]
		if p.Y == q.Y {
			fmt.Fprintf(&b, "L%.1f %.1f", q.X, q.Y)
			continue
		}
		m := (p.X + q.X) / 2
		fmt.Fprintf(&b, "C%.1f %.1f %.1f %.1f %.1f %.1f", m, p.Y, m, q.Y, q.X, q.Y)
	}
	return b.String()
}

// arrow is the triangle at the end of a line.
func arrow(line []Point) [3]Point {
	end := line[len(line)-1]
	return [3]Point{end, {end.X - 7, end.Y - 3.5}, {end.X - 7, end.Y + 3.5}}
}

// placedEntry is an entry of the legend at its place.
type placedEntry struct {
	Entry
	X, Y float64
}

// legend places the legend below the drawing, in as many rows as it needs.
func (p *Placed) legend() (entries []placedEntry, height float64) {
	return placeLegend(p.Legend, p.H, p.width())
}

// placeLegend places a legend below top, in as many rows as it needs.
func placeLegend(legend []Entry, top, wide float64) (entries []placedEntry, height float64) {
	if len(legend) == 0 {
		return nil, 0
	}
	x, y := float64(margin), top+2
	for _, e := range legend {
		e.Text = shorten(e.Text)
		w := legendWidth + 5 + width(e.Text, noteSize) + 14
		if x > margin && x+w > wide {
			x, y = margin, y+lineHeight
		}
		entries = append(entries, placedEntry{e, x, y})
		x += w
	}
	return entries, y + lineHeight + 6 - top
}

// width is the width of the picture: the legend wants some, too.
func (p *Placed) width() float64 {
	if len(p.Legend) > 0 {
		return max(p.W, 320)
	}
	return p.W
}

// colour is a colour of the form #rrggbb; anything else is grey.
func colour(s string) string {
	if len(s) != 7 || s[0] != '#' || strings.Trim(s[1:], "0123456789abcdefABCDEF") != "" {
		return grey
	}
	return s
}

// rgb are the parts of a colour, 0 to 255.
func rgb(s string) (r, g, b uint8) {
	_, _ = fmt.Sscanf(colour(s), "#%02x%02x%02x", &r, &g, &b) // colour made sure that it can be read
	return r, g, b
}

// ink is black or white, whichever is easier to read on a colour.
func ink(fill string) string {
	r, g, b := rgb(fill)
	if 299*int(r)+587*int(g)+114*int(b) > 150_000 {
		return "#000000"
	}
	return "#ffffff"
}

var xml = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#39;")

// escape makes text harmless in XML; characters that XML does not know are replaced.
func escape(s string) string {
	return xml.Replace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' && r != '\n' && r != '\r' || r == 0xfffe || r == 0xffff || r == 0xfffd {
			return '\ufffd'
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd")))
}

// printer keeps the first error.
type printer struct {
	w   *bufio.Writer
	err error
}

func (p *printer) f(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

func (p *printer) done() error {
	if p.err != nil {
		return p.err
	}
	return p.w.Flush()
}
