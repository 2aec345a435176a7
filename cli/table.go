package cli

import (
	"strings"
	"unicode"

	"github.com/jobcontrol/jobcontrol"
)

// A cell is a text in a table with its colour, an SGR number; 0: none.
type cell struct {
	text   string
	colour int
	right  bool // numbers stand at the right edge
}

// SGR numbers of the few colours that are used.
const (
	plain  = 0
	bold   = 1
	red    = 31
	green  = 32
	yellow = 33
	blue   = 34
)

// table is rows of cells in aligned columns. Cells are shown on one line.
type table struct {
	rows [][]cell
}

func newTable(header ...string) *table {
	t := &table{}
	if len(header) > 0 {
		row := make([]cell, len(header))
		for i, h := range header {
			row[i] = cell{text: h, colour: bold}
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// add appends a row of strings and cells.
func (t *table) add(row ...any) {
	cells := make([]cell, len(row))
	for i, v := range row {
		switch v := v.(type) {
		case cell:
			cells[i] = v
		case string:
			cells[i] = cell{text: v}
		}
	}
	t.rows = append(t.rows, cells)
}

// render returns the table as lines; the last cell of a row is not padded.
func (t *table) render(s *streams) string {
	var widths []int
	for _, row := range t.rows {
		for i := range row {
			row[i].text = line(row[i].text)
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], width(row[i].text))
		}
	}
	var b strings.Builder
	for _, row := range t.rows {
		for len(row) > 0 && row[len(row)-1].text == "" {
			row = row[:len(row)-1] // no line ends in spaces
		}
		for i, c := range row {
			pad := strings.Repeat(" ", widths[i]-width(c.text))
			if c.right {
				b.WriteString(pad)
			}
			b.WriteString(s.paint(c.colour, c.text))
			if i == len(row)-1 {
				break
			}
			if !c.right {
				b.WriteString(pad)
			}
			b.WriteString("  ")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// paint colours text where the output may be coloured.
func (s *streams) paint(colour int, text string) string {
	if colour == plain || !s.colour || text == "" {
		return text
	}
	return "\x1b[" + itoa(int64(colour)) + "m" + text + "\x1b[0m"
}

// stateCell is the state of a build in its colour.
func stateCell(state jobcontrol.State) cell {
	c := cell{text: state.String()}
	switch state {
	case jobcontrol.Successful:
		c.colour = green
	case jobcontrol.Failed:
		c.colour = red
	case jobcontrol.Running:
		c.colour = blue
	case jobcontrol.Skipped, jobcontrol.Blocked, jobcontrol.Cancelled, jobcontrol.Suspended, jobcontrol.Held:
		c.colour = yellow
	}
	return c
}

// runStateCell is the state of a Run in its colour.
func runStateCell(state jobcontrol.RunState) cell {
	c := cell{text: state.String()}
	switch state {
	case jobcontrol.RunSuccessful:
		c.colour = green
	case jobcontrol.RunFailed, jobcontrol.RunPartial:
		c.colour = red
	case jobcontrol.RunRunning, jobcontrol.RunCleaning:
		c.colour = blue
	case jobcontrol.RunCancelled, jobcontrol.RunInterrupted:
		c.colour = yellow
	}
	return c
}

// statusCell is the status of a job in its colour.
func statusCell(status string) cell {
	c := cell{text: status}
	switch status {
	case jobcontrol.StatusSuccessful:
		c.colour = green
	case jobcontrol.StatusFailed:
		c.colour = red
	case jobcontrol.StatusOutdated:
		c.colour = yellow
	}
	return c
}

// width is how many columns of a terminal a text takes, well enough for tables.
func width(s string) int {
	if harmless(s) {
		return len(s)
	}
	n := 0
	for _, r := range s {
		switch {
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		case isWide(r):
			n += 2
		default:
			n++
		}
	}
	return n
}

// isWide tells whether a character takes two columns: East Asian scripts and
// most pictographs.
func isWide(r rune) bool {
	return r >= 0x1100 && (r <= 0x115f || r >= 0x2e80 && r <= 0xa4cf && r != 0x303f || r >= 0xac00 && r <= 0xd7a3 ||
		r >= 0xf900 && r <= 0xfaff || r >= 0xfe30 && r <= 0xfe6f || r >= 0xff00 && r <= 0xff60 || r >= 0xffe0 && r <= 0xffe6 ||
		r >= 0x1f300 && r <= 0x1f64f || r >= 0x1f900 && r <= 0x1f9ff || r >= 0x20000 && r <= 0x3fffd)
}
