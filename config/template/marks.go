package template

import (
	"strings"
	"unicode/utf8"
)

// Place is a place in a source file. File is the name of the input, or, of a file
// that it includes, its path from the input's directory.
type Place struct {
	File   string
	Line   int
	Column int
}

// Map tells where the parts of a rendered text came from.
type Map struct {
	places []Place // by mark
	marks  []mark  // in the order of the rendered text
}

// mark says that the rendered text at line and column, and what follows it, came from a place.
type mark struct{ line, column, place int32 }

// Source returns the place from which the given place of the rendered text came.
// exact is false where only the line is known; ok where not even that.
func (m *Map) Source(line, column int) (p Place, exact, ok bool) {
	if m == nil {
		return p, false, false
	}
	lo, hi := 0, len(m.marks) // the first mark behind (line, column)
	for lo < hi {
		mid := (lo + hi) / 2
		if k := m.marks[mid]; int(k.line) < line || int(k.line) == line && int(k.column) <= column {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(m.marks) && int(m.marks[lo].line) == line && (lo == 0 || int(m.marks[lo-1].line) != line) {
		p = m.places[m.marks[lo].place] // column lies in what was put in before the first mark of the line
		return p, false, true
	}
	if lo == 0 {
		return p, false, false
	}
	k := m.marks[lo-1]
	p = m.places[k.place]
	if int(k.line) != line {
		return p, false, true
	}
	p.Column += column - int(k.column)
	return p, true, true
}

// A mark in a text is two private characters; their offsets from these are its number.
const (
	markHigh = 0xF0000
	markLow  = 0x100000
	markBase = 0xFFFE
)

// hasMarks tells whether a text has characters that are used as marks.
func hasMarks(text string) bool {
	for _, r := range text {
		if r >= markHigh {
			return true
		}
	}
	return false
}

// marker puts marks into sources before they are rendered.
type marker struct {
	places []Place
	failed bool // a source has private characters of its own
}

// put returns the source with a mark in front of the first character of every line
// of every segment, where no trimming of white space can see it.
func (m *marker) put(src *source, s *scanner) string {
	if hasMarks(s.text) {
		m.failed = true
		return s.text
	}
	var out strings.Builder
	out.Grow(len(s.text) + len(s.text)/4)
	copied, line, lineStart := 0, 1, 0
	at := func(offset int) {
		out.WriteString(s.text[copied:offset])
		for {
			i := strings.IndexByte(s.text[lineStart:offset], '\n')
			if i < 0 {
				break
			}
			line, lineStart = line+1, lineStart+i+1
		}
		n, column := len(m.places), utf8.RuneCountInString(s.text[lineStart:offset])+1
		if src.shifts[line] {
			column--
		}
		m.places = append(m.places, Place{src.name, line, column})
		out.WriteRune(rune(markHigh + n/markBase))
		out.WriteRune(rune(markLow + n%markBase))
		copied = offset
	}
	if printed(s.text) {
		at(0)
	}
	for _, g := range s.segments {
		for pos, last := g.start, false; !last; {
			end := g.end
			if i := strings.IndexByte(s.text[pos:g.end], '\n'); i >= 0 {
				end = pos + i
			} else {
				last = true
			}
			first := pos
			for first < end && (s.text[first] == ' ' || s.text[first] == '\t') {
				first++
			}
			if first < end || last && printed(s.text[g.end:]) {
				at(first)
			}
			pos = end + 1
		}
	}
	out.WriteString(s.text[copied:])
	return out.String()
}

// printed tells whether a tag puts something in without trimming what is before it.
func printed(tag string) bool {
	return strings.HasPrefix(tag, "{{") && !strings.HasPrefix(tag, "{{-")
}

// take removes the marks from a rendered text. plain is "" where the template tore marks apart.
func (m *marker) take(text string) (plain string, marks []mark) {
	var out strings.Builder
	out.Grow(len(text))
	line, column := 1, 1
	for len(text) > 0 {
		n := strings.IndexFunc(text, func(r rune) bool { return r >= markHigh })
		if n < 0 {
			n = len(text)
		}
		plain := text[:n]
		if i := strings.LastIndexByte(plain, '\n'); i >= 0 {
			line, column = line+strings.Count(plain, "\n"), 1
			column += utf8.RuneCountInString(plain[i+1:])
		} else {
			column += utf8.RuneCountInString(plain)
		}
		out.WriteString(plain)
		if text = text[n:]; text == "" {
			break
		}
		high, a := utf8.DecodeRuneInString(text)
		low, b := utf8.DecodeRuneInString(text[a:])
		place := int(high-markHigh)*markBase + int(low-markLow)
		if high >= markLow || low < markLow || place >= len(m.places) {
			return "", nil
		}
		marks = append(marks, mark{int32(line), int32(column), int32(place)})
		text = text[a+b:]
	}
	return out.String(), marks
}
