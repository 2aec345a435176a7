package template

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/nikolalohinski/gonja/v2/tokens"
)

// source is a file that was read.
type source struct {
	name   string // as errors call it
	text   string
	ready  string       // what the parser gets of it
	shifts map[int]bool // lines before which a space was put, see scanner.breaks
	cuts   []string     // what condense took out
}

// place is where a token is, in the file as its author wrote it.
func (s *source) place(t *tokens.Token) (line, column int) {
	if t == nil || t.Line == 0 {
		return 0, 0
	}
	column = t.Col
	if s.shifts[t.Line] {
		column--
	}
	line, at := t.Line, 0
	for range line - 1 {
		i := strings.IndexByte(s.text[at:], '\n')
		if i < 0 {
			return line, max(column, 1)
		}
		at += i + 1
	}
	end := min(at+max(column-1, 0), len(s.text))
	return line, utf8.RuneCountInString(s.text[at:end]) + 1
}

func (s *source) errorAt(t *tokens.Token, format string, args ...any) *Error {
	e := &Error{File: s.name, Message: fmt.Sprintf(format, args...)}
	e.Line, e.Column = s.place(t)
	return e
}

// shift puts a space at the beginning of lines within a tag: gonja takes a bare line
// break for a part of the word that follows it.
func (s *source) shift(breaks []int) string {
	var out strings.Builder
	at, line := 0, 1
	for _, b := range breaks {
		line += strings.Count(s.text[at:b], "\n")
		s.shifts[line] = true
		out.WriteString(s.text[at:b])
		out.WriteByte(' ')
		at = b
	}
	out.WriteString(s.text[at:])
	return out.String()
}

// What stands for a text that was taken out: two characters that no text has, and a number between them.
const (
	cutBegin = "\uFDD0"
	cutEnd   = "\uFDD1"
)

// condense takes long texts out of a template and leaves their line breaks: gonja needs
// thirty times the memory of what it parses.
func (s *source) condense(c *scanner) string {
	if strings.Contains(c.text, cutBegin) {
		return c.text
	}
	var out strings.Builder
	at := 0
	for _, g := range c.segments {
		text := c.text[g.start:g.end]
		first, last := strings.IndexByte(text, '\n')+1, strings.LastIndexByte(text, '\n')
		if last-first < 48 {
			continue
		}
		middle := text[first:last]
		out.WriteString(c.text[at : g.start+first])
		out.WriteString(cutBegin + strconv.Itoa(len(s.cuts)) + cutEnd)
		out.WriteString(strings.Repeat("\n", strings.Count(middle, "\n")))
		s.cuts = append(s.cuts, middle)
		at = g.start + last
	}
	if at == 0 {
		return c.text
	}
	out.WriteString(c.text[at:])
	return out.String()
}

// restore puts back what condense took out.
func (s *source) restore(text string) string {
	i := strings.Index(text, cutBegin)
	if i < 0 || len(s.cuts) == 0 {
		return text
	}
	number, rest, _ := strings.Cut(text[i+len(cutBegin):], cutEnd)
	n, err := strconv.Atoi(number)
	if err != nil || n >= len(s.cuts) {
		return text
	}
	middle := s.cuts[n]
	return text[:i] + middle + rest[strings.Count(middle, "\n"):]
}
