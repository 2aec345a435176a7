package config

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jobcontrol/jobcontrol"
)

// Diagnostic is a fault of a file, or a warning about it.
type Diagnostic struct {
	Pos     jobcontrol.Position // zero Line: the file as a whole
	Message string
	Hint    string // how to mend it; may be empty

	Excerpt  string // the line of the file, without its literal secrets; may be empty
	Expanded string // what a template made of the line, where that differs
}

// String returns the place and the message, and below them the line with a mark
// under the place, and the hint.
func (d Diagnostic) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", d.Pos, d.Message)
	if d.Excerpt != "" {
		text, column := window(d.Excerpt, d.Pos.Column)
		number := fmt.Sprint(d.Pos.Line)
		blank := strings.Repeat(" ", len(number))
		fmt.Fprintf(&b, "\n  %s | %s", number, text)
		if column > 0 {
			fmt.Fprintf(&b, "\n  %s | %s^", blank, indentLike(text, column-1))
		}
		if d.Expanded != "" {
			text, _ := window(strings.TrimSpace(d.Expanded), 1)
			fmt.Fprintf(&b, "\n  %s = %s", blank, text)
		}
	}
	if d.Hint != "" {
		fmt.Fprintf(&b, "\n  hint: %s", d.Hint)
	}
	return b.String()
}

// window cuts a long line around a column; the new column comes with it.
func window(line string, column int) (string, int) {
	const width = 120
	r := []rune(line)
	if len(r) <= width {
		return line, min(column, len(r)+1)
	}
	from := max(0, min(column-width/2, len(r)-width))
	text, head := string(r[from:min(from+width, len(r))]), ""
	if from > 0 {
		head = "…"
	}
	if from+width < len(r) {
		text += "…"
	}
	return head + text, max(column-from+len([]rune(head)), 1)
}

// indentLike is n columns of white space that are as wide as the beginning of the line.
func indentLike(line string, n int) string {
	var b strings.Builder
	for i, r := range []rune(line) {
		if i == n {
			break
		}
		if r == '\t' {
			b.WriteByte('\t')
		} else {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// printed is how many diagnostics an error prints.
const printed = 50

// Diagnostics are all faults of a file, in the order of their places. It is an
// error of code Invalid.
type Diagnostics []Diagnostic

// Error tells the first 50 diagnostics, and how many more there are.
func (d Diagnostics) Error() string {
	var b strings.Builder
	for i, one := range d {
		if i == printed {
			fmt.Fprintf(&b, "\nand %d more", len(d)-printed)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(one.String())
	}
	return b.String()
}

// Is makes errors.Is(err, jobcontrol.ErrInvalid) hold.
func (d Diagnostics) Is(target error) bool { return target == jobcontrol.ErrInvalid }

// As makes it a [*jobcontrol.Error] of code Invalid.
func (d Diagnostics) As(target any) bool {
	e, ok := target.(**jobcontrol.Error)
	if ok {
		*e = &jobcontrol.Error{Code: jobcontrol.Invalid, Message: d.Error()}
	}
	return ok
}

// finding is a diagnostic with what orders it.
type finding struct {
	Diagnostic
	order        int // of the document
	doc          *document
	line, column int // in the expanded text; 0: unknown
}

// report collects what is found. Each message is kept once per place.
type report struct {
	errors   []finding
	warnings []finding
	seen     map[key]bool
	places   map[spot]bool // of errors
	dropped  int           // errors that are not kept
}

type key struct {
	pos     jobcontrol.Position
	message string
	warning bool
}

// How many errors and warnings are kept: a template can repeat one a million times.
const (
	mostErrors   = 10000
	mostWarnings = 1000
)

// add keeps a finding at a place of a document's expanded text.
func (r *report) add(warning bool, d *document, line, column int, hint, message string) {
	f := finding{
		Diagnostic: Diagnostic{Pos: d.position(line, column), Message: message, Hint: hint},
		order:      d.order, doc: d, line: line, column: column,
	}
	if strings.HasSuffix(f.Pos.File, expandedSuffix) {
		f.Hint = strings.TrimPrefix(f.Hint+"; `jobcontrol dump-config` shows the expanded text", "; ")
	}
	r.put(warning, f)
}

func (r *report) put(warning bool, f finding) {
	f.Message, f.Hint = shown(f.Message), shown(f.Hint)
	k := key{f.Pos, f.Message, warning}
	switch {
	case r.seen[k], warning && len(r.warnings) >= mostWarnings:
		return
	case !warning && len(r.errors) >= mostErrors:
		r.dropped++
		return
	case r.seen == nil:
		r.seen, r.places = map[key]bool{}, map[spot]bool{}
	}
	r.seen[k] = true
	if warning {
		r.warnings = append(r.warnings, f)
	} else {
		r.errors = append(r.errors, f)
		r.places[spot{f.doc, f.line, f.column}] = true
	}
}

// shown is a text that may have names and tags of the file in it, fit to be shown:
// YAML's escapes can make control characters of anything.
func shown(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return utf8.RuneError
		}
		return r
	}, s)
}

// spot is a place in the expanded text of a document.
type spot struct {
	doc          *document
	line, column int
}

// has tells whether an error is known at a place.
func (r *report) has(d *document, line, column int) bool { return r.places[spot{d, line, column}] }

// finish returns findings in the order of their places, with their lines.
func finish(found []finding) Diagnostics {
	slices.SortStableFunc(found, func(a, b finding) int {
		switch {
		case a.order != b.order:
			return a.order - b.order
		case a.Pos.File != b.Pos.File:
			return strings.Compare(a.Pos.File, b.Pos.File)
		case a.Pos.Line != b.Pos.Line:
			return a.Pos.Line - b.Pos.Line
		}
		return a.Pos.Column - b.Pos.Column
	})
	out := make(Diagnostics, len(found))
	for i, f := range found {
		out[i] = f.Diagnostic
		if f.doc != nil && i < 1000 {
			out[i].Excerpt, out[i].Expanded = f.doc.excerpt(f.Pos, f.line)
		}
	}
	return out
}
