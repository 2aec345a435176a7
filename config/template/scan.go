package template

import (
	"regexp"
	"strings"
)

// The deepest nesting of brackets in an expression and of blocks in a text, and the
// most operators and words between two commas: parser and evaluation are recursive,
// and a stack that overflows cannot be caught.
const (
	maxBrackets = 200
	maxBlocks   = 500
	maxTerms    = 10000
)

// segment is a piece of a text that is copied to the output.
type segment struct{ start, end int }

// scanner splits a text into what is copied and what is executed, the way the
// lexer of the template language does.
type scanner struct {
	text     string
	pos      int
	segments []segment
	breaks   []int // offsets of line starts within a tag that have no space in front
	blocks   int
	unclosed int // offset of a quote without an end; -1: none
}

var endRaw = regexp.MustCompile(`{%[-+]?\s*endraw`)

// scan splits the text. The error is about nesting alone: what else is wrong with
// a text, the parser says better.
func scan(file, text string) (*scanner, error) {
	s := &scanner{text: text, unclosed: -1}
	for s.pos < len(text) {
		start := s.pos
		kind := s.nextTag()
		if s.pos > start {
			s.segments = append(s.segments, segment{start, s.pos})
		}
		switch kind {
		case 0:
			return s, nil
		case '#':
			s.comment()
		default:
			at := s.pos
			if deep := s.tag(kind); deep != "" {
				line, col := lineColumn(text, at)
				return nil, &Error{File: file, Line: line, Column: col, Message: deep}
			}
		}
	}
	return s, nil
}

// nextTag goes to the next tag and returns its second character, or 0 at the end.
func (s *scanner) nextTag() byte {
	for {
		i := strings.IndexByte(s.text[s.pos:], '{')
		if i < 0 || s.pos+i+1 >= len(s.text) {
			s.pos = len(s.text)
			return 0
		}
		s.pos += i
		switch c := s.text[s.pos+1]; c {
		case '{', '%', '#':
			return c
		}
		s.pos++
	}
}

func (s *scanner) comment() {
	if i := strings.Index(s.text[s.pos+2:], "#}"); i >= 0 {
		s.pos += i + 4
	} else {
		s.pos = len(s.text)
	}
}

// tag goes behind a tag; of a raw block it also takes the content.
func (s *scanner) tag(kind byte) (deep string) {
	end := "}}"
	name := ""
	if kind == '%' {
		end = "%}"
		name = blockName(s.text[s.pos+2:])
		switch {
		case strings.HasPrefix(name, "end"):
			s.blocks--
		case opensBlock(name):
			s.blocks++
		}
		if s.blocks > maxBlocks {
			return "blocks are nested deeper than 500 levels"
		}
	}
	start := s.pos
	s.pos += 2
	if deep := s.expression(end); deep != "" {
		return deep
	}
	if name == "set" && !strings.Contains(s.text[start:s.pos], "=") {
		s.blocks++ // a set without a value has an end
	}
	if name == "raw" {
		start := s.pos
		if loc := endRaw.FindStringIndex(s.text[start:]); loc != nil {
			s.pos = start + loc[0]
			s.segments = append(s.segments, segment{start, s.pos})
		} else {
			s.pos = len(s.text)
		}
	}
	return ""
}

func blockName(rest string) string {
	rest = strings.TrimLeft(rest, "-+ \t\n")
	i := strings.IndexFunc(rest, func(r rune) bool { return (r < 'a' || r > 'z') && r != '_' })
	if i < 0 {
		return rest
	}
	return rest[:i]
}

func opensBlock(name string) bool {
	switch name {
	case "if", "for", "macro", "call", "filter", "block", "with", "autoescape", "raw":
		return true
	}
	return false
}

// expression goes behind the end of a tag. It says what is nested too deeply, if anything.
func (s *scanner) expression(end string) (deep string) {
	var open []byte
	terms := []int{0} // of each bracket that is open, since its last comma
	for s.pos < len(s.text) {
		c := s.text[s.pos]
		if (len(open) == 0 || open[len(open)-1] != c) && strings.HasPrefix(s.text[s.pos:], end) {
			s.pos += 2
			return ""
		}
		s.pos++
		last := &terms[len(terms)-1]
		switch c {
		case '\n':
			if s.pos < len(s.text) && s.text[s.pos] != ' ' && s.text[s.pos] != '\t' {
				s.breaks = append(s.breaks, s.pos)
			}
		case '"', '\'':
			s.quoted(c)
		case '(', '[', '{':
			*last++
			open, terms = append(open, closing[c]), append(terms, 0)
		case ')', ']', '}':
			if len(open) > 0 {
				open, terms = open[:len(open)-1], terms[:len(terms)-1]
			}
		case ',':
			*last = 0
		case '~', '+', '-', '*', '/', '%', '<', '>', '=', '|', '.':
			*last++
		case ' ':
			if s.pos < len(s.text) && s.text[s.pos] != ' ' {
				*last++
			}
		}
		switch {
		case len(open) > maxBrackets:
			return "brackets are nested deeper than 200 levels"
		case terms[len(terms)-1] > maxTerms:
			return "the expression has more than 10,000 terms"
		}
	}
	return ""
}

var closing = map[byte]byte{'(': ')', '[': ']', '{': '}'}

func (s *scanner) quoted(quote byte) {
	start := s.pos - 1
	for s.pos < len(s.text) {
		c := s.text[s.pos]
		s.pos++
		switch c {
		case '\\':
			s.pos = min(s.pos+1, len(s.text))
		case quote:
			return
		}
	}
	s.unclosed = start
}

// lineColumn is the place of an offset, in characters.
func lineColumn(text string, offset int) (line, column int) {
	before := text[:min(offset, len(text))]
	start := strings.LastIndexByte(before, '\n') + 1
	return strings.Count(before, "\n") + 1, len([]rune(before[start:])) + 1
}
