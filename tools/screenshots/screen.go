package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// style is how a character looks.
type style struct {
	colour      string // as in CSS; "": the window's
	bold, faint bool
}

// cell is a place in the window.
type cell struct {
	r rune
	style
}

// screen is a terminal, as far as the program uses one. It only grows: nothing leaves it at the top.
type screen struct {
	columns, rows int
	lines         [][]cell
	x, y          int
	now           style
	rest          []byte // the beginning of what is not yet complete
}

func newScreen(columns, rows int) *screen {
	return &screen{columns: columns, rows: rows, lines: [][]cell{nil}}
}

var sequence = regexp.MustCompile(`^\x1b\[([?0-9;]*)([A-Za-z])`)

// Write writes to it.
func (s *screen) Write(p []byte) (int, error) {
	s.rest = append(s.rest, p...)
	for len(s.rest) > 0 {
		switch c := s.rest[0]; {
		case c == 0x1b:
			m := sequence.FindSubmatch(s.rest)
			if m == nil {
				return len(p), nil
			}
			s.control(string(m[1]), m[2][0])
			s.rest = s.rest[len(m[0]):]
			continue
		case c == '\r':
			s.x = 0
		case c == '\n':
			if s.y++; s.y == len(s.lines) {
				s.lines = append(s.lines, nil)
			}
		default:
			if !utf8.FullRune(s.rest) {
				return len(p), nil
			}
			r, n := utf8.DecodeRune(s.rest)
			s.put(r)
			s.rest = s.rest[n:]
			continue
		}
		s.rest = s.rest[1:]
	}
	return len(p), nil
}

// put writes a character.
func (s *screen) put(r rune) {
	if s.x >= s.columns {
		s.x = 0
		if s.y++; s.y == len(s.lines) {
			s.lines = append(s.lines, nil)
		}
	}
	l := s.lines[s.y]
	for len(l) <= s.x {
		l = append(l, cell{r: ' '})
	}
	l[s.x] = cell{r, s.now}
	s.lines[s.y] = l
	s.x++
}

// control does what a control sequence says.
func (s *screen) control(args string, final byte) {
	n, err := strconv.Atoi(args)
	if err != nil {
		n = 1
	}
	switch final {
	case 'A':
		s.y = max(0, s.y-n)
	case 'K':
		s.lines[s.y] = s.lines[s.y][:min(s.x, len(s.lines[s.y]))]
	case 'J':
		s.lines = s.lines[:s.y+1]
		s.lines[s.y] = s.lines[s.y][:min(s.x, len(s.lines[s.y]))]
	case 'm':
		s.colour(strings.Split(args, ";"))
	case 'h', 'l': // the cursor, which is not drawn
	default:
		panic(fmt.Sprintf("a control sequence that is not known: %q %c", args, final))
	}
}

// palette are the eight colours.
var palette = [8]string{"#6e7681", "#f47067", "#57ab5a", "#daaa3f", "#539bf5", "#b083f0", "#39c5cf", "#cdd9e5"}

// colour sets the style of what follows.
func (s *screen) colour(args []string) {
	for i := 0; i < len(args); i++ {
		n, _ := strconv.Atoi(args[i])
		switch {
		case n == 0:
			s.now = style{}
		case n == 1:
			s.now.bold = true
		case n == 2:
			s.now.faint = true
		case n == 22:
			s.now.bold, s.now.faint = false, false
		case n >= 30 && n <= 37:
			s.now.colour = palette[n-30]
		case n == 38 && len(args) > i+4 && args[i+1] == "2":
			s.now.colour = "rgb(" + strings.Join(args[i+2:i+5], ",") + ")"
			i += 4
		case n == 39:
			s.now.colour = ""
		default:
			panic(fmt.Sprintf("a colour that is not known: %q", args))
		}
	}
}

// String is the text of the window.
func (s *screen) String() string {
	var b strings.Builder
	for _, l := range s.lines {
		b.WriteString(textOf(l) + "\n")
	}
	return b.String()
}

// textOf is the text of a line.
func textOf(l []cell) string {
	var b strings.Builder
	for _, c := range l {
		b.WriteRune(c.r)
	}
	return b.String()
}

// What differs from one recording to the next, and what it is said to be.
var (
	anAge      = regexp.MustCompile(`\b0:00:\d\d\b`)
	aTime      = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`)
	aReport    = regexp.MustCompile(`\b[0-9a-f]{16}\b`)
	aDuration  = regexp.MustCompile(` *\b\d+(\.\d+)? (ms|s|min)\b`)
	ofDuration = map[string]string{"packages": "6.8 s", "photos": "8.9 s", "configuration": "2.3 s", "run": "9.1 s"}
	begins     = map[string]int{"configuration": 6} // the others at once
)

// masked is a copy of the lines, with nothing in it that differs.
func masked(lines [][]cell, second int) [][]cell {
	out := make([][]cell, len(lines))
	for i, l := range lines {
		l = replaced(l, anAge, func(string) string {
			return fmt.Sprintf("0:00:%02d", second-begins[strings.Fields(textOf(l))[0]])
		})
		l = replaced(l, aTime, func(string) string { return "2026-01-31 08:00:09" })
		l = replaced(l, aReport, func(string) string { return "3f0c1b6a9e52d874" })
		l = replaced(l, aDuration, func(found string) string {
			text := " 1.2 s"
			for _, word := range strings.Fields(textOf(l)) {
				if d := ofDuration[word]; d != "" {
					text = " " + d
					break
				}
			}
			if strings.HasPrefix(found, "  ") { // in a column
				text = strings.Repeat(" ", max(0, len(found)-len(text))) + text
			}
			return text
		})
		out[i] = l
	}
	return out
}

// replaced is a copy of a line, with each match replaced.
func replaced(l []cell, what *regexp.Regexp, by func(found string) string) []cell {
	text, out, end := textOf(l), []cell(nil), 0
	runes := func(bytes int) int { return utf8.RuneCountInString(text[:bytes]) }
	for _, at := range what.FindAllStringIndex(text, -1) {
		from, to := runes(at[0]), runes(at[1])
		out = append(out, l[end:from]...)
		for _, r := range by(text[at[0]:at[1]]) {
			out = append(out, cell{r, l[from].style})
		}
		end = to
	}
	return append(out, l[end:]...)
}
