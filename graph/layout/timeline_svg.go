package layout

import (
	"bufio"
	"io"
)

// Colours of a timeline.
const (
	stripe   = "#f5f5f5" // of every other row
	gridLine = "#d8d8d8"
	axisInk  = "#555555"
	failRed  = "#d62718"
)

// SVG writes the timeline as [Placed.SVG] does a graph.
func (p *PlacedTimeline) SVG(w io.Writer) error {
	out := &printer{w: bufio.NewWriter(w)}
	svgHead(out, p.W, p.height, p.Title)
	if p.Title != "" {
		out.f(`<text x="%d" y="%d" font-size="%d" fill="#000000">%s</text>`+"\n", margin, margin+textSize, textSize, escape(shortenTo(p.Title, maxTitle)))
	}
	out.f(`<g fill="%s">`+"\n", stripe)
	for i := 0; i < len(p.Rows); i += 2 {
		b := p.stripe(i)
		out.f(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`+"\n", b.X, b.Y, b.W, b.H)
	}
	out.f("</g>\n")
	for _, t := range p.Ticks {
		out.f(`<rect x="%.1f" y="%.1f" width="1" height="%.1f" fill="%s"/>`, t.X-0.5, p.Plot.Y-3, p.Plot.H+6, gridLine)
		for _, y := range p.baselines() {
			out.f(`<text x="%.1f" y="%.1f" text-anchor="middle" font-size="%.1f" fill="%s">%s</text>`, t.X, y, noteSize, axisInk, escape(t.Text))
		}
		out.f("\n")
	}
	for i := range p.Rows {
		p.svgRow(out, i)
	}
	if p.left != "" {
		out.f(`<text x="%d" y="%.1f" font-size="%d" fill="%s">%s</text>`+"\n", margin, p.H-8, textSize, axisInk, escape(p.left))
	}
	svgLegend(out, p.legend)
	out.f("</svg>\n")
	return out.done()
}

// stripe is the background of a row.
func (p *PlacedTimeline) stripe(i int) Box {
	return Box{margin / 2, p.Plot.Y + float64(i*rowHeight), p.Plot.X + p.Plot.W - margin/2, rowHeight}
}

// baselines are those of the texts of the axis: above the rows and below them.
func (p *PlacedTimeline) baselines() [2]float64 {
	return [2]float64{p.Plot.Y - 6, p.Plot.Y + p.Plot.H + axisRoom - 5}
}

func (p *PlacedTimeline) svgRow(out *printer, i int) {
	r := &p.Rows[i]
	link := harmless(r.Link)
	if link != "" {
		out.f(`<a xlink:href="%s" href="%s">`, escape(link), escape(link))
	}
	out.f("<g>")
	if t := r.tooltip(); t != "" {
		out.f("<title>%s</title>", escape(t))
	}
	at := p.Labels[i]
	out.f(`<text x="%.1f" y="%.1f" font-size="%d" fill="#000000">%s</text>`, at.X, at.Y, textSize, escape(shorten(r.Label)))
	if b := p.Notes[i]; b.W > 0 {
		out.f(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="3" fill="%s"/>`, b.X, b.Y, b.W, b.H, colour(r.Fill))
		out.f(`<text x="%.1f" y="%.1f" text-anchor="middle" font-size="%.1f" fill="%s">%s</text>`, b.X+b.W/2, b.Y+b.H-3.5, noteSize, ink(r.Fill), escape(shorten(r.Note)))
	}
	out.f("</g>")
	if link != "" {
		out.f("</a>")
	}
	out.f("\n")
	for k := range r.Bars {
		bar, b := &r.Bars[k], p.Bars[i][k]
		out.f("<g>")
		if bar.Tooltip != "" {
			out.f("<title>%s</title>", escape(bar.Tooltip))
		}
		out.f(`<rect x="%.2f" y="%.1f" width="%.2f" height="%.1f" fill="%s"/>`, b.X, b.Y, b.W, b.H, colour(bar.Fill))
		if bar.Failed {
			out.f(`<rect x="%.2f" y="%.1f" width="%.2f" height="%d" fill="%s"/>`, b.X, b.Y+b.H, b.W, mark, failRed)
		}
		out.f("</g>\n")
	}
}
