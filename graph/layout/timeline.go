package layout

import (
	"fmt"
	"slices"
	"time"
)

// Timeline is a drawing of what happened when: rows of bars along an axis of time.
type Timeline struct {
	Title    string
	From, To time.Time // what the axis covers; what a bar has outside of it is not drawn
	Rows     []Row
	Omitted  int     // rows that are not among them; the picture says so
	Legend   []Entry // what the colours mean
}

// Row is a line of a timeline.
type Row struct {
	Label   string
	Note    string // stands beside the label, in a box of the colour Fill; "": none
	Fill    string // #rrggbb; "": grey
	Tooltip string // "": the label, where it was cut
	Link    string // as that of a [Node]
	Bars    []Bar  // in the order of time, none begins before the one before it ends
}

// Bar is a piece of time. However short it is, it is drawn.
type Bar struct {
	From, To time.Time
	Fill     string // #rrggbb; "": grey
	Slim     bool   // nothing is done meanwhile
	Failed   bool   // a red line below it
	Tooltip  string // "": none
}

// MaxRows is how many rows of a timeline are drawn; the picture says how many are left out.
const MaxRows = 1000

// Sizes of a timeline in pixels.
const (
	rowHeight = 20
	barHeight = 12
	slim      = 5    // height of a slim bar
	mark      = 3    // height of the line below what failed
	leastBar  = 2.0  // width of a bar
	axisWidth = 1000 // of the time that is covered
	axisRoom  = 18   // above and below the rows
	headRoom  = 22   // for the title
)

// Tick is a mark of the time axis.
type Tick struct {
	X    float64
	Text string
}

// PlacedTimeline is a timeline with a place for everything.
type PlacedTimeline struct {
	*Timeline         // its rows at most MaxRows
	W, H      float64 // without the legend
	Labels    []Point // left ends of the baselines
	Notes     []Box   // without size where there is none
	Bars      [][]Box // of the rows' bars
	Plot      Box     // what the axis covers
	Ticks     []Tick  //
	left      string  // says what is left out
	legend    []placedEntry
	height    float64 // with the legend
}

// PlaceTimeline finds a place for everything, in time linear in the bars.
func PlaceTimeline(t *Timeline) *PlacedTimeline {
	cut := *t
	if n := len(cut.Rows) - MaxRows; n > 0 {
		cut.Rows, cut.Omitted = cut.Rows[:MaxRows], cut.Omitted+n
	}
	p := &PlacedTimeline{Timeline: &cut}
	labels, notes := 0.0, 0.0
	for i := range p.Rows {
		r := &p.Rows[i]
		labels = max(labels, width(shorten(r.Label), textSize))
		if r.Note != "" {
			notes = max(notes, width(shorten(r.Note), noteSize)+padX)
		}
	}
	top := float64(margin)
	if p.Title != "" {
		top += headRoom
	}
	p.Plot = Box{X: margin + labels + padX + notes + padX, Y: top + axisRoom, W: axisWidth, H: float64(len(p.Rows) * rowHeight)}
	p.W = max(p.Plot.X+p.Plot.W, margin+width(shortenTo(p.Title, maxTitle), textSize)) + 2*margin // the last tick's text wants some, too
	p.H = p.Plot.Y + p.Plot.H + axisRoom
	for i := range p.Rows {
		r, y := &p.Rows[i], p.Plot.Y+float64(i*rowHeight)
		p.Labels = append(p.Labels, Point{margin, y + rowHeight - 6})
		var note Box
		if r.Note != "" {
			note = Box{p.Plot.X - padX - notes, y + 3, notes, rowHeight - 6}
		}
		p.Notes = append(p.Notes, note)
		p.Bars = append(p.Bars, p.bars(r.Bars, y))
	}
	p.ticks()
	if p.Omitted > 0 {
		p.left = fmt.Sprintf("… and %d more, which are left out", p.Omitted)
		p.H += rowHeight
	}
	p.legend, p.height = placeLegend(p.Legend, p.H, p.W)
	p.height += p.H
	return p
}

// at is where a time is on the axis.
func (p *PlacedTimeline) at(t time.Time) float64 {
	part := float64(t.Sub(p.From)) / float64(p.span())
	return p.Plot.X + p.Plot.W*min(max(part, 0), 1)
}

// span is the time that the axis covers.
func (p *PlacedTimeline) span() time.Duration { return max(p.To.Sub(p.From), time.Millisecond) }

// bars places the bars of a row. Those too short to be seen get some width: what
// follows makes room for it, and at the end of the axis what goes before does.
func (p *PlacedTimeline) bars(bars []Bar, y float64) []Box {
	if len(bars) == 0 {
		return nil
	}
	least := min(leastBar, p.Plot.W/float64(len(bars)))
	boxes := make([]Box, len(bars))
	left := p.Plot.X
	for i := range bars {
		b := &bars[i]
		high := float64(barHeight)
		if b.Slim {
			high = slim
		}
		x := max(left, p.at(b.From))
		boxes[i] = Box{X: x, Y: y + (rowHeight-high)/2, W: max(p.at(b.To)-x, least), H: high}
		left = x + boxes[i].W
	}
	right := p.Plot.X + p.Plot.W
	for i, b := range slices.Backward(boxes) {
		if b.X+b.W <= right {
			break
		}
		x := min(b.X, right-least)
		boxes[i].X, boxes[i].W = x, right-x
		right = x
	}
	return boxes
}

// steps are the distances that a reader can count by, up to days.
var steps = []time.Duration{
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, day,
}

const day = 24 * time.Hour

// mostTicks are on the axis beside that of its beginning.
const mostTicks = 10

// ticks marks the axis by the time since its beginning.
func (p *PlacedTimeline) ticks() {
	span, step := p.span(), day
	for _, step = range steps {
		if span/step <= mostTicks {
			break
		}
	}
	for k := 0; span/step > mostTicks; k++ {
		step = step / 2 * time.Duration([]int{4, 5, 4}[k%3]) // 1, 2, 5, 10 days and so on
	}
	for d := time.Duration(0); d <= span; d += step {
		p.Ticks = append(p.Ticks, Tick{p.at(p.From.Add(d)), since(d)})
		if d > span-step {
			break
		}
	}
}

// since is a time since the beginning: 200 ms, 1.5 s, 2 min 30 s, 3 h, 1 d 12 h.
func since(d time.Duration) string {
	two := func(big time.Duration, bigName string, small time.Duration, smallName string) string {
		text := fmt.Sprintf("%d %s", d/big, bigName)
		if rest := d % big / small; rest > 0 {
			text += fmt.Sprintf(" %d %s", rest, smallName)
		}
		return text
	}
	switch {
	case d == 0:
		return "0"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d/time.Millisecond)
	case d < time.Minute:
		return fmt.Sprintf("%.4g s", d.Seconds())
	case d < time.Hour:
		return two(time.Minute, "min", time.Second, "s")
	case d < day:
		return two(time.Hour, "h", time.Minute, "min")
	}
	return two(day, "d", time.Hour, "h")
}

// tooltip is what a reader sees of a row beside its label.
func (r *Row) tooltip() string {
	if r.Tooltip == "" && shorten(r.Label) != r.Label {
		return r.Label
	}
	return r.Tooltip
}

// maxTitle is how many characters of a title are drawn.
const maxTitle = 120
