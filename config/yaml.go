package config

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// Limits of what a file may hold.
const (
	maxNodes = 5_000_000
	maxDepth = 64
)

// depthLimit stops the parser where values are nested too deeply.
type depthLimit struct{}

// CheckDepth is called for each collection that is opened.
func (depthLimit) CheckDepth(depth int, _ *yaml.DepthContext) error {
	if depth > maxDepth {
		return errTooDeep
	}
	return nil
}

// CheckAlias is for the library's own decoding, which is not used here; see measure.
func (depthLimit) CheckAlias(int, int) error { return nil }

var errTooDeep = errors.New("values are nested deeper than 64 levels")

// parse parses the expanded text. It returns nil where it found an error.
func (d *document) parse(r *report) *yaml.Node {
	fail := func(line, column int, hint, message string) *yaml.Node {
		// What is missing at the end is missing in a line behind the last one, for the parser.
		if all := d.linesOf(d.shownName()).all; line > len(all) {
			line, column = len(all), utf8.RuneCountInString(all[len(all)-1])+1
		}
		r.add(false, d, line, column, hint, message)
		return nil
	}
	if structure(d.expanded) > maxNodes+maxNodes/5 {
		return fail(0, 0, "", "the file has more than 5 million values")
	}
	loader, err := yaml.NewLoader(strings.NewReader(d.expanded), yaml.WithPlugin(depthLimit{}))
	if err != nil {
		return fail(0, 0, "", err.Error())
	}
	var node yaml.Node
	switch err := loader.Load(&node); {
	case err == io.EOF:
		return fail(0, 0, exampleHint, "the file is empty")
	case err != nil:
		line, column, message, hint := d.explain(err)
		return fail(line, column, hint, message)
	}
	var next yaml.Node
	switch err := loader.Load(&next); {
	case err == nil:
		return fail(next.Line, next.Column, "split the file; `include:` puts files together", "a second document begins here")
	case err != io.EOF:
		line, column, message, hint := d.explain(err)
		return fail(line, column, hint, message)
	}
	if len(node.Content) != 1 || node.Content[0].Tag == "!!null" && node.Content[0].Value == "" {
		return fail(0, 0, exampleHint, "the file is empty")
	}
	if strings.Contains(d.expanded, "&") {
		m := &measure{known: map[*yaml.Node]extent{}}
		if m.of(node.Content[0]).size > maxNodes {
			at := m.blame(node.Content[0])
			return fail(at.Line, at.Column, "", m.message())
		}
	}
	return node.Content[0]
}

const exampleHint = "a file begins with `jobs:` and a list of jobs, each with an `id`"

// structure is at least the number of values that a text has, without parsing it.
func structure(text string) int {
	n := 0
	for i := range len(text) {
		switch text[i] {
		case '\n', ',', '[', '{':
			n++
		case ':', '-', '?':
			if i+1 == len(text) || text[i+1] == ' ' || text[i+1] == '\n' || text[i+1] == '\t' || text[i+1] == ',' {
				n++
			}
		}
	}
	return n
}

// measure counts what a document has if each alias is expanded.
type measure struct {
	known  map[*yaml.Node]extent // of what aliases refer to
	cyclic bool
	deep   bool
}

// extent is how many values a value has, itself included, and how deeply they are nested.
type extent struct{ size, depth int }

// counting is the extent of a value that is being counted.
var counting = extent{-1, 0}

func (m *measure) of(n *yaml.Node) extent {
	if n.Kind == yaml.AliasNode {
		e, known := m.known[n.Alias]
		switch {
		case e == counting:
			m.cyclic = true
			return extent{math.MaxInt32, 0}
		case known:
			return e
		}
		n = n.Alias
	}
	if n.Anchor != "" {
		m.known[n] = counting
	}
	total := extent{1, 1}
	for _, c := range n.Content {
		e := m.of(c)
		total.size = min(total.size+e.size, math.MaxInt32)
		total.depth = max(total.depth, e.depth+1)
	}
	if total.depth > maxDepth+1 {
		m.deep = true
		total.size = math.MaxInt32
	}
	if n.Anchor != "" {
		m.known[n] = total
	}
	return total
}

// blame finds the first alias with which the document is too large.
func (m *measure) blame(n *yaml.Node) *yaml.Node {
	for _, c := range n.Content {
		if c.Kind == yaml.AliasNode {
			if e := m.known[c.Alias]; e == counting || e.size > maxNodes {
				return c
			}
			continue
		}
		if m.of(c).size > maxNodes {
			return m.blame(c)
		}
	}
	return n
}

func (m *measure) message() string {
	switch {
	case m.cyclic:
		return "an alias leads back to the value that it is in"
	case m.deep:
		return errTooDeep.Error()
	}
	return "the file has more than 5 million values if its aliases are expanded"
}

// explain makes words of an error of the parser.
func (d *document) explain(err error) (line, column int, message, hint string) {
	var e *yaml.LoadError
	if !errors.As(err, &e) {
		return 0, 0, "YAML: " + err.Error(), ""
	}
	line, column = e.Mark.Line, e.Mark.Column
	text := d.linesOf(d.shownName()).at(line)
	rest := after(text, column)
	switch {
	case strings.Contains(e.Message, "tab character"), strings.HasPrefix(rest, "\t"):
		return line, column, "tabs must not be used for indentation", "use spaces"
	case e.Message == "mapping values are not allowed in this context":
		return line, column, "unexpected \":\"", "put the text in quotes if it has a colon and a space in it; else check the indentation"
	case e.Message == "found character that cannot start any token" && rest != "":
		return line, column, fmt.Sprintf("a text must not begin with %q", rest[:1]), "put it in quotes"
	case e.Message == "found unexpected end of stream":
		return e.ContextMark.Line, e.ContextMark.Column, "this text in quotes has no end", ""
	case strings.HasPrefix(e.Message, "did not find expected ','"):
		return e.ContextMark.Line, e.ContextMark.Column, "this bracket is not closed, or a comma is missing", ""
	case e.Message == "did not find expected key", e.Message == "did not find expected '-' indicator":
		return line, column, "this does not continue what is above", fmt.Sprintf(
			"line %d begins a block: check the indentation, and quotes within quotes", e.ContextMark.Line)
	case e.Message == "could not find expected ':'":
		return e.ContextMark.Line, e.ContextMark.Column, "this key has no value: a colon is missing", "a text of several lines is indented deeper than its key"
	case e.Message == "did not find expected node content":
		return line, column, "a value is missing", "is a bracket above not closed?"
	case strings.HasPrefix(e.Message, "unknown anchor"):
		return line, column, strings.Replace(e.Message, " referenced", "", 1), "a text that begins with * needs quotes"
	case e.Message == "found unknown escape character":
		return line, column, "unknown escape sequence", "in single quotes a backslash means itself"
	}
	return line, column, e.Message, ""
}

// shownName names the text that YAML positions are in.
func (d *document) shownName() string {
	if d.rendered {
		return d.name + expandedSuffix
	}
	return d.name
}

// after is the rest of a line from a column on.
func after(line string, column int) string {
	r := []rune(line)
	if column < 1 || column > len(r) {
		return ""
	}
	return string(r[column-1:])
}
