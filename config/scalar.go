package config

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/jobcontrol/jobcontrol"
)

type scalar int

const (
	textScalar scalar = iota
	nullScalar
	boolScalar
	intScalar
	floatScalar
)

const quoted = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle

// scalarKind is what a scalar is in the core schema of YAML 1.2.
func scalarKind(n *yaml.Node) scalar {
	if n.Style&yaml.TaggedStyle != 0 {
		switch n.Tag {
		case "!!null":
			return nullScalar
		case "!!bool":
			return boolScalar
		case "!!int":
			return intScalar
		case "!!float":
			return floatScalar
		}
		return textScalar
	}
	if n.Style&quoted != 0 || n.Tag == "!" {
		return textScalar
	}
	return plainKind(n.Value)
}

func plainKind(s string) scalar {
	switch s {
	case "", "~", "null", "Null", "NULL":
		return nullScalar
	case "true", "True", "TRUE", "false", "False", "FALSE":
		return boolScalar
	}
	switch c := s[0]; {
	case c >= '0' && c <= '9', c == '-', c == '+', c == '.':
	default:
		return textScalar
	}
	switch {
	case coreInt(s):
		return intScalar
	case coreFloat.MatchString(s):
		return floatScalar
	}
	return textScalar
}

func coreInt(s string) bool {
	digits, set := strings.TrimLeft(s, "-+"), "0123456789"
	switch {
	case strings.HasPrefix(s, "0o"):
		digits, set = s[2:], "01234567"
	case strings.HasPrefix(s, "0x"):
		digits, set = s[2:], "0123456789abcdefABCDEF"
	case len(s)-len(digits) > 1:
		return false
	}
	return digits != "" && strings.Trim(digits, set) == ""
}

var coreFloat = regexp.MustCompile(`^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$`)

// parseInt reads a whole number of the core schema; ok is false if it does not fit.
func parseInt(s string) (n int64, ok bool) {
	base := 10
	switch {
	case strings.HasPrefix(s, "0o"):
		s, base = s[2:], 8
	case strings.HasPrefix(s, "0x"):
		s, base = s[2:], 16
	}
	n, err := strconv.ParseInt(s, base, 64)
	return n, err == nil
}

// field finds the scalar of a key, with !env replaced; nil with an error reported if it is none.
func (r *reader) field(n *yaml.Node, what, want string) *yaml.Node {
	n = deref(n)
	if n.Tag == "!env" {
		if text, ok := r.environment(n); ok {
			return &yaml.Node{Kind: yaml.ScalarNode, Value: text, Line: n.Line, Column: n.Column}
		}
		return nil
	}
	switch {
	case n.Tag == "!retval" || n.Tag == "!secret":
		r.fail(n, "it is for args, kwargs and env", "%s must not be %s", what, n.Tag)
	case n.Kind != yaml.ScalarNode:
		r.fail(n, "", "%s must be %s, not %s", what, want, kindName(n))
	case !coreTag(n):
		r.fail(n, tagHint(n.Tag), "unknown tag %s", n.Tag)
	default:
		return n
	}
	return nil
}

// text reads a text; numbers and booleans count as what is written.
func (r *reader) text(n *yaml.Node, what string) (string, bool) {
	n = r.field(n, what, "a text")
	if n == nil {
		return "", false
	}
	if scalarKind(n) == nullScalar {
		r.fail(n, "", "%s must be a text, not nothing", what)
		return "", false
	}
	return n.Value, true
}

// texts reads a list of texts.
func (r *reader) texts(n *yaml.Node, what, each string) ([]string, bool) {
	n = deref(n)
	if n.Kind != yaml.SequenceNode || custom(n) {
		hint := ""
		if n.Kind == yaml.ScalarNode && coreTag(n) {
			hint = fmt.Sprintf("write it in brackets: [%s]", n.Value)
		}
		r.fail(n, hint, "%s must be a list, not %s", what, kindName(n))
		return nil, false
	}
	out, ok := make([]string, 0, len(n.Content)), true
	for _, c := range n.Content {
		t, good := r.text(c, each)
		out, ok = append(out, t), ok && good
	}
	return out, ok
}

// oneOf reads one of a few words.
func (r *reader) oneOf(n *yaml.Node, what string, words ...string) (string, bool) {
	t, ok := r.text(n, what)
	if !ok {
		return "", false
	}
	for _, w := range words {
		if t == w {
			return t, true
		}
	}
	hint := "use " + strings.Join(words, " or ")
	if near := jobcontrol.Nearest(t, words); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	r.fail(deref(n), hint, "%s must be %s, not %q", what, strings.Join(words, " or "), t)
	return "", false
}

// boolean reads a boolean, also as yes, no, on, off.
func (r *reader) boolean(n *yaml.Node, what string) (value, ok bool) {
	n = r.field(n, what, "true or false")
	if n == nil {
		return false, false
	}
	switch strings.ToLower(n.Value) {
	case "true", "yes", "on":
		return true, true
	case "false", "no", "off":
		return false, true
	}
	r.fail(n, "", "%s must be true or false, not %s", what, kindName(n))
	return false, false
}

// integer reads a whole number.
func (r *reader) integer(n *yaml.Node, what string) (int64, bool) {
	n = r.field(n, what, "a whole number")
	if n == nil {
		return 0, false
	}
	if scalarKind(n) != intScalar {
		r.fail(n, "", "%s must be a whole number, not %s", what, described(n))
		return 0, false
	}
	v, ok := parseInt(n.Value)
	if !ok {
		r.fail(n, "", "%s is too large", what)
	}
	return v, ok
}

// described is a scalar as errors show it: a number as it is written, else its kind.
func described(n *yaml.Node) string {
	if k := scalarKind(n); k == intScalar || k == floatScalar {
		return n.Value
	}
	return kindName(n)
}

// longest is the longest duration of a job.
const longest = 100 * 365 * 24 * time.Hour

var dayPart = regexp.MustCompile(`^(\d+(?:\.\d+)?)d`)

// duration reads a number of seconds, or a text such as 1h30m.
func (r *reader) duration(n *yaml.Node, what string) (time.Duration, bool) {
	n = r.field(n, what, "a duration")
	if n == nil {
		return 0, false
	}
	d, err := parseDuration(n)
	if err != "" {
		hint := ""
		if !strings.Contains(err, "negative") && !strings.Contains(err, "years") {
			hint = "write a number of seconds, or 1.5s, 5m, 1h30m, 2d"
		}
		r.fail(n, hint, "%s %s", what, err)
		return 0, false
	}
	return d, true
}

func parseDuration(n *yaml.Node) (d time.Duration, wrong string) {
	switch scalarKind(n) {
	case intScalar, floatScalar:
		seconds, err := strconv.ParseFloat(n.Value, 64)
		if i, ok := parseInt(n.Value); ok {
			seconds, err = float64(i), nil
		}
		switch {
		case err != nil && !math.IsInf(seconds, 0), math.IsNaN(seconds):
			return 0, "is no duration"
		case seconds < 0:
			return 0, "cannot be negative"
		case seconds > longest.Seconds():
			return 0, "is longer than 100 years"
		}
		return time.Duration(seconds * float64(time.Second)), ""
	case textScalar:
		return durationText(strings.TrimSpace(n.Value))
	}
	return 0, "must be a duration, not " + kindName(n)
}

func durationText(s string) (d time.Duration, wrong string) {
	if strings.HasPrefix(s, "-") {
		return 0, "cannot be negative"
	}
	if m := dayPart.FindStringSubmatch(s); m != nil {
		days, _ := strconv.ParseFloat(m[1], 64)
		if days > longest.Hours()/24 {
			return 0, "is longer than 100 years"
		}
		d = time.Duration(days * 24 * float64(time.Hour))
		if s = s[len(m[0]):]; s == "" {
			return d, ""
		}
	}
	more, err := time.ParseDuration(s)
	switch {
	case err != nil || s == "" || s[0] == '+':
		return 0, "is no duration"
	case more > longest-d:
		return 0, "is longer than 100 years"
	}
	return d + more, ""
}
