package layout_test

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/jobcontrol/jobcontrol/graph/layout"
	"github.com/jobcontrol/jobcontrol/internal/bounds"
)

var start = time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)

// FuzzTimeline draws timelines of any bars with any texts. Every bar is seen, within
// its row and inside the picture, and no text becomes anything else than text.
func FuzzTimeline(f *testing.F) {
	for _, h := range hostile {
		f.Add([]byte{3, 10, 0, 255, 1, 1}, h, h, "https://x.example/?q="+h, int64(1e10))
	}
	f.Add([]byte{1}, "one", "#1 queued", "", int64(0))
	f.Add(bytes.Repeat([]byte{0, 1, 0, 9}, 50), "m", "W", "//host/a:b", int64(1)<<62)
	f.Add([]byte{200, 200, 200}, strings.Repeat("日本語 ", 60), "", "JaVa\tscript:alert(1)", int64(-5))
	f.Fuzz(func(t *testing.T, shape []byte, label, other, link string, span int64) {
		if len(shape) > 2000 || len(label)+len(other)+len(link) > 2000 {
			return
		}
		d := timeline(shape, label, other, link, time.Duration(span))
		var p *layout.PlacedTimeline
		bounds.Hold(t, func() { p = layout.PlaceTimeline(d) })
		checkRows(t, p)
		checkSVG(t, written(t, p.SVG))
		if len(shape) > 1 { // larger pictures are slow
			return
		}
		if _, err := png.Decode(strings.NewReader(written(t, p.PNG))); err != nil {
			t.Fatal(err)
		}
	})
}

// timeline makes rows of bars: each byte is a bar, a 0 begins a row.
func timeline(shape []byte, label, other, link string, span time.Duration) *layout.Timeline {
	d := &layout.Timeline{Title: label + other, From: start, To: start.Add(span), Omitted: len(shape) % 3, Legend: []layout.Entry{{Fill: other, Text: label}}}
	at := start.Add(-time.Second)
	for i, b := range shape {
		if b == 0 || i == 0 {
			d.Rows = append(d.Rows, layout.Row{Label: label, Note: other, Fill: other, Tooltip: link, Link: link})
			at = start.Add(-time.Second)
		}
		r := &d.Rows[len(d.Rows)-1]
		to := at.Add(time.Duration(b) * (span/300 + 1))
		r.Bars = append(r.Bars, layout.Bar{From: at, To: to, Fill: label, Slim: b%2 == 0, Failed: b%3 == 0, Tooltip: label})
		at = to.Add(time.Duration(b % 5))
	}
	return d
}

// checkRows holds that bars are inside of their rows and of the picture, do not
// overlap, and can be seen.
func checkRows(t *testing.T, p *layout.PlacedTimeline) {
	t.Helper()
	const rounding = 1e-6
	if len(p.Bars) != len(p.Rows) || len(p.Labels) != len(p.Rows) || len(p.Notes) != len(p.Rows) {
		t.Fatalf("%d rows, bars of %d, %d labels, %d notes", len(p.Rows), len(p.Bars), len(p.Labels), len(p.Notes))
	}
	below := p.Plot.Y
	for i, boxes := range p.Bars {
		top, bottom := below, below+p.Plot.H/float64(len(p.Rows))
		below = bottom
		right := p.Plot.X
		for k, b := range boxes {
			if !(b.X >= right-rounding && b.X+b.W <= p.Plot.X+p.Plot.W+rounding && b.Y >= top && b.Y+b.H <= bottom) {
				t.Fatalf("bar %d of row %d is not where it should be: %+v, right of %v, in %+v", k, i, b, right, p.Plot)
			}
			if !(b.W > 0 && b.H > 0) {
				t.Fatalf("bar %d of row %d is not seen: %+v", k, i, b)
			}
			right = b.X + b.W
		}
		if n := p.Notes[i]; n.W > 0 && !(n.X > p.Labels[i].X && n.X+n.W < p.Plot.X && n.Y >= top && n.Y+n.H <= bottom) {
			t.Fatalf("the note of row %d is not where it should be: %+v", i, n)
		}
	}
	if p.Plot.X+p.Plot.W > p.W || p.Plot.Y+p.Plot.H > p.H {
		t.Fatalf("the bars are outside: %+v of %v×%v", p.Plot, p.W, p.H)
	}
	last := -1.0
	for _, tick := range p.Ticks {
		if tick.X <= last || tick.X < p.Plot.X || tick.X > p.Plot.X+p.Plot.W+rounding {
			t.Fatalf("ticks %+v of %+v", p.Ticks, p.Plot)
		}
		last = tick.X
	}
	if len(p.Ticks) == 0 || len(p.Ticks) > 12 {
		t.Fatalf("%d ticks", len(p.Ticks))
	}
}

// TestTicks: the axis has few ticks, at times that a reader can count by.
func TestTicks(t *testing.T) {
	for _, c := range []struct {
		span time.Duration
		want string
	}{
		{0, "0, 1 ms"},
		{7 * time.Millisecond, "0, 1 ms, 2 ms, 3 ms, 4 ms, 5 ms, 6 ms, 7 ms"},
		{1100 * time.Millisecond, "0, 200 ms, 400 ms, 600 ms, 800 ms, 1 s"},
		{2700 * time.Millisecond, "0, 500 ms, 1 s, 1.5 s, 2 s, 2.5 s"},
		{59 * time.Second, "0, 10 s, 20 s, 30 s, 40 s, 50 s"},
		{4 * time.Minute, "0, 30 s, 1 min, 1 min 30 s, 2 min, 2 min 30 s, 3 min, 3 min 30 s, 4 min"},
		{2 * time.Hour, "0, 15 min, 30 min, 45 min, 1 h, 1 h 15 min, 1 h 30 min, 1 h 45 min, 2 h"},
		{50 * time.Hour, "0, 6 h, 12 h, 18 h, 1 d, 1 d 6 h, 1 d 12 h, 1 d 18 h, 2 d"},
		{15 * 24 * time.Hour, "0, 2 d, 4 d, 6 d, 8 d, 10 d, 12 d, 14 d"},
		{400 * 24 * time.Hour, "0, 50 d, 100 d, 150 d, 200 d, 250 d, 300 d, 350 d, 400 d"},
	} {
		p := layout.PlaceTimeline(&layout.Timeline{From: start, To: start.Add(c.span)})
		texts := make([]string, len(p.Ticks))
		for i := range texts {
			texts[i] = p.Ticks[i].Text
		}
		if got := strings.Join(texts, ", "); got != c.want {
			t.Errorf("%v: %s", c.span, got)
		}
	}
}

// story is a timeline as it occurs.
func story() *layout.Timeline {
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	return &layout.Timeline{
		Title: "run 1", From: start, To: at(20), Legend: []layout.Entry{{"#2f72b5", "run"}, {"#d0d0d0", "waiting"}},
		Rows: []layout.Row{
			{Label: "first", Note: "#2 successful", Fill: "#8ddb8c", Tooltip: "first\nits title", Link: "/builds/2", Bars: []layout.Bar{{From: start, To: at(5), Fill: "#2f72b5", Tooltip: "attempt 1, run: pass"}}},
			{Label: "second", Note: "#3 failed", Fill: "#e5534b", Bars: []layout.Bar{
				{From: start, To: at(5), Fill: "#d0d0d0", Slim: true},
				{From: at(5), To: at(9), Fill: "#2f72b5", Failed: true, Tooltip: "error: exit status 1"},
				{From: at(9), To: at(19.999), Fill: "#f0964f", Slim: true},
				{From: at(19.999), To: at(20), Fill: "#2f72b5", Failed: true},
			}},
			{Label: "third", Note: "#4 blocked"},
		},
		Omitted: 7,
	}
}

// TestTimelineGolden holds the drawing, byte for byte; TIMELINE_GOLDEN=write writes it anew.
func TestTimelineGolden(t *testing.T) {
	file := filepath.Join("testdata", "timeline.svg")
	got := written(t, layout.PlaceTimeline(story()).SVG)
	if os.Getenv("TIMELINE_GOLDEN") == "write" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the drawing is not that of %s:\n%s", file, got)
	}
	wellFormed(t, got)
}

// TestTimelineLarge: a timeline of 100,000 rows has the first ones and says how
// many are left out, and its picture is bounded.
func TestTimelineLarge(t *testing.T) {
	d := &layout.Timeline{From: start, To: start.Add(time.Minute), Omitted: 5}
	for i := range 100_000 {
		d.Rows = append(d.Rows, layout.Row{Label: "job " + strconv.Itoa(i), Note: "done", Bars: []layout.Bar{{From: start, To: start.Add(time.Second)}}})
	}
	p := layout.PlaceTimeline(d)
	checkRows(t, p)
	out := written(t, p.SVG)
	want := fmt.Sprintf("… and %d more, which are left out", 100_005-layout.MaxRows)
	if !strings.Contains(out, want) || !strings.Contains(out, ">job 999<") || strings.Contains(out, ">job 1000<") {
		t.Errorf("%d bytes, not %q", len(out), want)
	}
	if len(d.Rows) != 100_000 || d.Omitted != 5 {
		t.Error("the timeline itself was changed")
	}
	c, err := png.DecodeConfig(strings.NewReader(written(t, p.PNG)))
	if err != nil || c.Width*c.Height > layout.MaxPixels*11/10 {
		t.Errorf("%d × %d pixels, %v", c.Width, c.Height, err)
	}
}

// TestTimelineText: texts of jobs stay text: what is read back is what was written.
func TestTimelineText(t *testing.T) {
	for _, h := range hostile {
		d := story()
		d.Rows[0].Tooltip, d.Rows[1].Bars[1].Tooltip, d.Rows[0].Link = h, h, "javascript:"+h
		out := written(t, layout.PlaceTimeline(d).SVG)
		checkSVG(t, out)
		if strings.Contains(out, "<a ") {
			t.Errorf("a link leads to a script: %s", out)
		}
		if !utf8.ValidString(h) || strings.ContainsAny(h, "\x00\x1b\u009b") {
			continue // XML does not know such characters
		}
		found := 0
		for _, title := range titles(t, out) {
			if title == h {
				found++
			}
		}
		if found != 2 {
			t.Errorf("%q stands in %d tooltips", h, found)
		}
	}
}

// titles are the texts of the title elements of a picture.
func titles(t *testing.T, out string) (texts []string) {
	t.Helper()
	inside := false
	for dec := xml.NewDecoder(strings.NewReader(out)); ; {
		token, err := dec.Token()
		if err == io.EOF {
			return texts
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			if inside = e.Name.Local == "title"; inside {
				texts = append(texts, "")
			}
		case xml.CharData:
			if inside {
				texts[len(texts)-1] += string(e)
			}
		case xml.EndElement:
			inside = false
		}
	}
}
