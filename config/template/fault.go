package template

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/parser"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// fault is an error of gonja, with the expression that it is of.
type fault struct {
	source *source
	token  *tokens.Token
	text   string
}

// watch evaluates an expression of a precise rendering and notes the place of its error,
// unless a part of it has noted one; what a filter such as default took back is forgotten.
func (e *engine) watch(ev *exec.Evaluator, s *site) *exec.Value {
	e.now.Store(s)
	before := e.fault
	v := ev.Eval(s.expr)
	switch {
	case !v.IsError():
		e.fault = before
	case e.fault == before:
		e.fault = &fault{s.source, blame(s.expr, v.Error()), v.Error()}
	}
	return v
}

// blame finds the name in an expression that an error is about.
func blame(x nodes.Expression, text string) *tokens.Token {
	name := ""
	if m := undefinedName.FindStringSubmatch(text); m != nil {
		name = m[1]
	}
	for at := x; name != ""; {
		switch n := at.(type) {
		case *nodes.Name:
			if n.Name.Val == name {
				return n.Name
			}
			return tokenOf(x)
		case *nodes.GetAttribute:
			at = n.Node
		case *nodes.GetItem:
			at = n.Node
		case *nodes.Call:
			at = n.Func
		case *nodes.FilteredExpression:
			at = n.Expression
		default:
			return tokenOf(x)
		}
	}
	if f, ok := x.(*nodes.FilteredExpression); ok {
		for _, c := range f.Filters {
			if strings.Contains(text, "filter '"+c.Name+"'") {
				return c.Token
			}
		}
	}
	return tokenOf(x)
}

// roughError is an error whose place a precise rendering knows better.
type roughError struct{ known *Error }

// Error returns the place and the message.
func (r roughError) Error() string { return r.known.Error() }

// Unwrap returns the error with the rough place.
func (r roughError) Unwrap() error { return r.known }

// rough is an error near the place that was executed last.
func (e *engine) rough(format string, args ...any) roughError {
	return roughError{e.here(format, args...)}
}

// failure is the error of a value within a site.
func (e *engine) failure(s *site, v *exec.Value) any {
	if e.precise && e.fault != nil {
		return e.asError("", errors.New(v.Error()))
	}
	out := s.source.errorAt(s.token, "%s", "")
	out.Message, out.Hint = e.explain(v.Error(), s.source.text)
	return roughError{out}
}

var (
	undefinedName  = regexp.MustCompile(`Unable to evaluate name "([^"]*)"$`)
	noAttribute    = regexp.MustCompile(`[Uu]nable to evaluate (\S+): (?:attribute|item) '?([^']*?)'? not found$`)
	noFilter       = regexp.MustCompile(`filter '([^']*)' not found$`)
	noTest         = regexp.MustCompile(`test '([^']*)' not found$`)
	notCallable    = regexp.MustCompile(`(\S+) is not callable$`)
	unknownMethod  = regexp.MustCompile(`unknown method '([^']*)' for`)
	missingValue   = regexp.MustCompile(`macro '([^']*)' failed to evaluate .*parameter "([^"]*)" was not provided$`)
	tooManyValues  = regexp.MustCompile(`macro '([^']*)' received (\d+) arguments but expected only (\d+)$`)
	unknownKeyword = regexp.MustCompile(`macro '([^']*)' takes no keyword argument '([^']*)'$`)
	atLine         = regexp.MustCompile(`at line (\d+)`)
	noTag          = regexp.MustCompile(`ControlStructure '([^']*)' not found`)
	noEnd          = regexp.MustCompile(`Unexpected EOF, expected tag (.*)\.`)
)

// explain makes a message and a hint of an error of gonja.
func (e *engine) explain(text, source string) (message, hint string) {
	if m := undefinedName.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("undefined variable %q", m[1]), e.similar(m[1], source)
	}
	if m := noAttribute.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("%s: there is no %q", m[1], m[2]), ""
	}
	if m := missingValue.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("macro %s() is called without its argument %q", m[1], m[2]), ""
	}
	if m := tooManyValues.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("macro %s() takes %s arguments, not %s", m[1], m[3], m[2]), ""
	}
	if m := unknownKeyword.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("macro %s() takes no argument %q", m[1], m[2]), ""
	}
	if m := noFilter.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("there is no filter %q", m[1]), didYouMean(m[1], filterNames)
	}
	if m := noTest.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("there is no test %q", m[1]), ""
	}
	if m := notCallable.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("there is no macro or function %q", m[1]), e.similar(m[1], source)
	}
	if m := unknownMethod.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("there is no method %q of this value", m[1]), ""
	}
	return tail(text), ""
}

// plainer is a message of the parser in lower case.
func plainer(text string) string {
	if strings.HasPrefix(text, "expected either a number") {
		return "an expression was expected"
	}
	if r := []rune(text); len(r) > 1 && unicode.IsUpper(r[0]) && unicode.IsLower(r[1]) {
		return strings.ToLower(string(r[:1])) + strings.TrimSuffix(string(r[1:]), ".")
	}
	return strings.TrimSuffix(text, ".")
}

// tail is the last part of a chain of errors.
func tail(text string) string {
	for _, cut := range []string{"invalid call to ", "Unable to ", "unable to "} {
		if i := strings.LastIndex(text, cut); i > 0 {
			text = text[i:]
		}
	}
	text = strings.Join(strings.Fields(text), " ")
	if r := []rune(text); len(r) > 200 {
		text = string(r[:200]) + "…"
	}
	return text
}

func lastLine(text string) int {
	all := atLine.FindAllStringSubmatch(text, -1)
	if len(all) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(all[len(all)-1][1])
	return n
}

var nameInTag = regexp.MustCompile(`\b(?:set|macro|for|import|as)\s+([A-Za-z_]\w*)`)

// similar is a hint at a name of the source that is like the unknown one.
func (e *engine) similar(name, source string) string {
	names := []string{"range", "dict", "namespace", "loop", "true", "false", "none"}
	for _, m := range nameInTag.FindAllStringSubmatch(source, 1000) {
		names = append(names, m[1])
	}
	if hint := didYouMean(name, names); hint != "" {
		return hint
	}
	return "templates get no variables from outside: define it with {% set %}, or keep literal braces in {% raw %}…{% endraw %}"
}

// didYouMean is a hint at the name that differs by the fewest edits.
func didYouMean(name string, names []string) string {
	best, least := "", (len(name)+1)/3+1
	for _, n := range names {
		if n == name || len(n) > len(name)+least || len(name) > len(n)+least || len(name) > 100 {
			continue
		}
		if d := edits(name, n); d < least {
			best, least = n, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}

// edits is how many characters differ, where two that changed places count as one.
func edits(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

var filterNames = []string{
	"abs", "attr", "batch", "capitalize", "center", "default", "dictsort", "escape", "filesizeformat", "first", "float",
	"format", "groupby", "indent", "int", "join", "items", "last", "length", "list", "lower", "map", "max", "min", "random",
	"reject", "rejectattr", "replace", "reverse", "round", "select", "selectattr", "slice", "sort", "string", "striptags",
	"sum", "title", "tojson", "trim", "truncate", "unique", "upper", "urlencode", "wordcount", "wordwrap",
}

// tagError is an error of the parser within a tag that begins at a token. The tag has no
// name where the error is in none.
func (e *engine) tagError(src *source, tag string, at *tokens.Token, err error) *Error {
	var ours *Error
	if errors.As(err, &ours) {
		return ours
	}
	if ours = e.lexicalError(src); ours != nil {
		return ours
	}
	text, begin := err.Error(), at
	var s *parser.SyntaxError
	if errors.As(err, &s) {
		text = s.Message
		if s.Line > 0 && noEnd.FindString(text) == "" {
			at = &tokens.Token{Line: s.Line, Col: s.Column}
		}
	}
	out := src.errorAt(at, "%s", plainer(tail(text)))
	switch {
	case noEnd.FindString(text) != "":
		out.Message = "this block has no end: " + strings.ReplaceAll(noEnd.FindStringSubmatch(text)[1], " or ", ", ") + " is missing"
	case noTag.FindString(text) != "":
		name := noTag.FindStringSubmatch(text)[1]
		out.Message, out.Hint = fmt.Sprintf("there is no tag %q", name), didYouMean(name, tagNames)
		if strings.HasPrefix(name, "end") || name == "else" || name == "elif" {
			out.Message, out.Hint = fmt.Sprintf("%q without a beginning", name), ""
			if tag != "" {
				line, _ := src.place(begin)
				out.Message = fmt.Sprintf("%q before the end of %q, which begins in line %d", name, tag, line)
			}
		}
	}
	return out
}

// syntaxError is an error of the parser.
func (e *engine) syntaxError(src *source, err error) *Error {
	var ours *Error
	if errors.As(err, &ours) {
		return ours
	}
	out := e.tagError(src, "", nil, err)
	if out.Hint == "" {
		out.Hint = rawHint(src.text)
	}
	return out
}

// lexicalError is an error of a text that cannot be split into words, or nil.
func (e *engine) lexicalError(src *source) *Error {
	stream := tokens.LexAll(src.ready, e.config)
	for !stream.End() {
		stream.Next()
	}
	if !stream.IsError() {
		return nil
	}
	out := &Error{File: src.name, Message: lexicalMessage(stream.Current()), Hint: rawHint(src.text)}
	at := stream.Current().Pos
	if s, err := scan(src.name, src.ready); err == nil && s.unclosed >= 0 {
		at = s.unclosed
	}
	if out.Line, out.Column = lineColumn(src.ready, at); src.shifts[out.Line] {
		out.Column = max(out.Column-1, 1)
	}
	return out
}

func lexicalMessage(t *tokens.Token) string {
	switch {
	case strings.HasPrefix(t.Val, "unclosed comment"):
		return "this comment has no end: #} is missing"
	case strings.HasPrefix(t.Val, "Unable to find raw"):
		return "this block has no end: endraw is missing"
	case strings.HasPrefix(t.Val, "Unexpected") || strings.HasPrefix(t.Val, "Unbalanced") ||
		strings.Contains(t.Val, "numeric token") || strings.HasPrefix(t.Val, "two dots"):
		return strings.ToLower(t.Val[:1]) + t.Val[1:]
	}
	return "this text in quotes has no end"
}

// rawHint is for texts that have double braces of another language in them.
func rawHint(text string) string {
	if strings.Contains(text, "${#") || slices.ContainsFunc([]string{"{{.", "{{ ."}, func(s string) bool { return strings.Contains(text, s) }) {
		return "write {% raw %}…{% endraw %} around ${#x} and {{.Names}}, or switch templates off with `template: false`"
	}
	return ""
}
