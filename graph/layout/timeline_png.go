package layout

import "io"

// PNG writes the timeline as [Placed.PNG] does a graph.
func (p *PlacedTimeline) PNG(w io.Writer) error {
	c, err := newCanvas(p.W, p.height)
	if err != nil {
		return err
	}
	c.text(c.label, shortenTo(p.Title, maxTitle), margin, margin+textSize, false, "#000000")
	for i := 0; i < len(p.Rows); i += 2 {
		c.round(p.stripe(i), 0, stripe)
	}
	for _, t := range p.Ticks {
		c.round(Box{t.X - 0.5, p.Plot.Y - 3, 1, p.Plot.H + 6}, 0, gridLine)
		for _, y := range p.baselines() {
			c.text(c.note, t.Text, t.X, y, true, axisInk)
		}
	}
	for i := range p.Rows {
		r := &p.Rows[i]
		c.text(c.label, shorten(r.Label), p.Labels[i].X, p.Labels[i].Y, false, "#000000")
		if b := p.Notes[i]; b.W > 0 {
			c.round(b, 3, r.Fill)
			c.text(c.note, shorten(r.Note), b.X+b.W/2, b.Y+b.H-3.5, true, ink(r.Fill))
		}
		for k, b := range p.Bars[i] {
			c.round(b, 0, r.Bars[k].Fill)
			if r.Bars[k].Failed {
				c.round(Box{b.X, b.Y + b.H, b.W, mark}, 0, failRed)
			}
		}
	}
	if p.left != "" {
		c.text(c.label, p.left, margin, p.H-8, false, axisInk)
	}
	c.legend(p.legend)
	return c.encode(w)
}
