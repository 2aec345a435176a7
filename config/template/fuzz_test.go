package template

import (
	"context"
	"errors"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/jobcontrol/jobcontrol/internal/bounds"
)

// runaway finds what needs the child that is killed at its limits: within this process
// neither the memory of one filter nor the stack of a value within itself is bounded.
// Chance is no subject of a test.
var runaway = regexp.MustCompile(`[0-9_]{4}|\*|range|namespace|lipsum|random|cycler|joiner|set[^%]*\.|append|extend|update`)

// FuzzTemplate renders any text that cannot run away. It is rendered within its limits
// and twice the same, or the error has a place in the text; every line of what was
// rendered came from a line of the text.
func FuzzTemplate(f *testing.F) {
	for _, s := range []string{
		"a {{ b }} c", "{% raw %}{{ x }}{% endraw %}", "{{ '}}' }}", "{{ {'a': {}} }}", "{#", "{%", "{{", "{% set x = '{%' %}",
		"{% for i in [1, 2] %}\n- id: j{{ i }}\n{% endfor %}", "{% macro m(a, b=1) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}{{ m() }}",
		"{% if x is defined %}{% elif 1 %}y{% else %}{% endif %}", "{{\nnot (1 if 0 else 'é') }}", "{{ 'a' + 1 }}", "{{ [1, z]|join('-')|upper }}",
		"{% set x %}a{% endset %}{{ x[0:1] }}", "{% call f() %}{% endcall %}", "{{ '%5d' % 3 }}{{ 7 // -2 }}{{ -7 % 2 }}", "{% block a %}{% endblock %}{{ self.a() }}",
		"{% include 'x' %}", "{%- for k, v in {'a': 1}.items() -%}\r\n{{ k }}{% endfor %}\r", "\U000F0000\U00100000{{ 1 }}", "\uFDD00\uFDD1" + strings.Repeat("long text\n", 20) + "{{ 1 }}",
		"{{" + strings.Repeat("(", 201) + "}}", strings.Repeat("{% if 1 %}", 501), "{% filter upper %}a{% endfilter %}", "{{ dict(a=1)|dictsort }}",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 8192 || runaway.MatchString(text) {
			return
		}
		checkScan(t, unixLines(text))
		in, o := Input{Name: "t", Text: text}, Options{Limits: Limits{Output: 1 << 20, Time: 300 * time.Millisecond}}
		var out *Output
		var err error
		bounds.Hold(t, func() { out, err = Render(context.Background(), in, o) })
		if err != nil {
			checkError(t, unixLines(text), err)
			return
		}
		if int64(len(out.Text)) > o.Limits.Output {
			t.Fatalf("%d bytes of %d", len(out.Text), o.Limits.Output)
		}
		if !Needed(text) && out.Text != unixLines(text) {
			t.Fatalf("%q became %q", text, out.Text)
		}
		if again, err := Render(context.Background(), in, o); err != nil && !strings.Contains(err.Error(), "more than 300ms") || err == nil && again.Text != out.Text {
			t.Fatalf("%q became %q, then %v", text, out.Text, err)
		}
		checkMap(t, unixLines(text), out)
	})
}

// checkError holds that an error is one of the template, and that its place is in the text.
func checkError(t *testing.T, text string, err error) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Message == "" || e.File != "t" || !utf8.ValidString(e.Message) && utf8.ValidString(text) {
		t.Fatalf("%q: %T %v", text, err, err)
	}
	lines := strings.Split(text, "\n")
	if e.Line < 0 || e.Line > len(lines) || e.Line > 0 && (e.Column < 1 || e.Column > utf8.RuneCountInString(lines[e.Line-1])+1) {
		t.Fatalf("%q has no place %d:%d: %v", text, e.Line, e.Column, err)
	}
}

func checkMap(t *testing.T, text string, out *Output) {
	t.Helper()
	lines := strings.Split(text, "\n")
	for i := range strings.Count(out.Text, "\n") + 1 {
		if p, _, ok := out.Map.Source(i+1, 1); ok && (p.File != "t" || p.Line < 1 || p.Line > len(lines) || p.Column < 1) {
			t.Fatalf("line %d came from %v of %q", i+1, p, text)
		}
	}
	if out.Map == nil {
		return
	}
	m, err := decodeMap(out.Map.encode())
	if diff := cmp.Diff(out.Map, m, cmp.AllowUnexported(Map{}, mark{}), cmpopts.EquateEmpty()); err != nil || diff != "" {
		t.Fatalf("a map came back as %v, %s", err, diff)
	}
}

// checkScan holds that the pieces of a text are in it, one after the other, and that
// what is put into it and taken out of it for the parser can be undone.
func checkScan(t *testing.T, text string) {
	t.Helper()
	s, err := scan("t", text)
	if err != nil {
		checkError(t, text, err)
		return
	}
	at := 0
	for _, g := range s.segments {
		if g.start < at || g.end < g.start || g.end > len(text) {
			t.Fatalf("segments %v of %q", s.segments, text)
		}
		at = g.end
	}
	src := &source{name: "t", text: text, shifts: map[int]bool{}}
	shifted := src.shift(s.breaks)
	for i := len(s.breaks) - 1; i >= 0; i-- {
		at := s.breaks[i] + i
		shifted = shifted[:at] + shifted[at+1:]
	}
	if shifted != text {
		t.Fatalf("%q with spaces and without them again is %q", text, shifted)
	}
	checkCondensed(t, src, s)
	m := &marker{}
	marked := m.put(src, s)
	if plain, marks := m.take(marked); !m.failed && (plain != text || len(marks) != len(m.places)) {
		t.Fatalf("%q with marks and without them again is %q", text, plain)
	}
}

// checkCondensed restores each line of a condensed text by itself, as the parser
// does with each text between two tags.
func checkCondensed(t *testing.T, src *source, s *scanner) {
	t.Helper()
	condensed := src.condense(s)
	if strings.Count(condensed, "\n") != strings.Count(s.text, "\n") {
		t.Fatalf("%q has other lines: %q", s.text, condensed)
	}
	var back strings.Builder
	for i, part := range strings.Split(condensed, cutBegin) {
		switch {
		case i == 0 || len(src.cuts) == 0:
			back.WriteString(strings.Repeat(cutBegin, min(i, 1)) + part)
		default:
			back.WriteString(src.restore(cutBegin + part))
		}
	}
	if back.String() != s.text {
		t.Fatalf("%q, condensed and restored, is %q", s.text, back.String())
	}
}

// FuzzArithmetic compares whole numbers with exact ones, rounded down as in Python,
// and holds that no operation on others gives infinity or none.
func FuzzArithmetic(f *testing.F) {
	f.Add(int64(7), int64(-2), 1.5, math.Copysign(0, -1))
	f.Add(int64(math.MinInt64), int64(-1), 1e308, 10.0)
	f.Add(int64(-1), int64(math.MaxInt64), -8.0, 0.5)
	f.Add(int64(2), int64(63), math.NaN(), math.Inf(1))
	f.Fuzz(func(t *testing.T, a, b int64, x, y float64) {
		for _, op := range []string{"+", "-", "*", "//", "%", "/", "**"} {
			text := "{{ (" + strconv.FormatInt(a, 10) + ") " + op + " (" + strconv.FormatInt(b, 10) + ") }}"
			var out *Output
			var err error
			bounds.Hold(t, func() { out, err = Render(context.Background(), Input{Name: "t", Text: text}, Options{}) })
			if want, known := exact(op, a, b); a != math.MinInt64 && b != math.MinInt64 && known && (want == "") != (err != nil) {
				t.Fatalf("%s: %v, want %q", text, err, want)
			} else if known && err == nil && out.Text != want {
				t.Fatalf("%s: %s, want %s", text, out.Text, want)
			}
			if err != nil {
				checkError(t, text, err)
			}
			checkFloats(t, op, x, y)
		}
	})
}

// exact is the result of an operation on whole numbers; "" if there is none that fits.
func exact(op string, a, b int64) (text string, known bool) {
	x, y, z := big.NewInt(a), big.NewInt(b), new(big.Int)
	switch op {
	case "+":
		z.Add(x, y)
	case "-":
		z.Sub(x, y)
	case "*":
		z.Mul(x, y)
	case "//", "%":
		if b == 0 {
			return "", true
		}
		r := new(big.Int)
		if z.QuoRem(x, y, r); r.Sign() != 0 && r.Sign() != y.Sign() {
			z.Sub(z, big.NewInt(1))
			r.Add(r, y)
		}
		if op == "%" {
			z = r
		}
	case "**":
		if b < 0 || b > 200 {
			return "", false
		}
		z.Exp(x, y, nil)
		if b > 64 && !z.IsInt64() {
			return "", false // it is a float then
		}
	default:
		return "", false
	}
	if !z.IsInt64() {
		return "", true
	}
	return z.String(), true
}

func checkFloats(t *testing.T, op string, x, y float64) {
	t.Helper()
	if math.IsNaN(x) || math.IsNaN(y) || math.IsInf(x, 0) || math.IsInf(y, 0) {
		return
	}
	write := func(v float64) string {
		text := strconv.FormatFloat(v, 'f', -1, 64)
		if !strings.Contains(text, ".") {
			text += ".0"
		}
		return text
	}
	text := "{{ (" + write(x) + ") " + op + " (" + write(y) + ") }}"
	out, err := Render(context.Background(), Input{Name: "t", Text: text}, Options{})
	if err != nil {
		checkError(t, text, err)
	} else if v, err := strconv.ParseFloat(out.Text, 64); err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		t.Fatalf("%s: %s, %v", text, out.Text, err)
	}
}

// FuzzMap decodes the map that a child sends, which is any bytes, and asks it for any
// place.
func FuzzMap(f *testing.F) {
	m := &Map{places: []Place{{"a", 1, 2}, {"b", 3, 4}}, marks: []mark{{1, 1, 0}, {1, 5, 1}, {7, 2, 0}}}
	f.Add(m.encode(), 1, 5)
	f.Add([]byte{}, 0, 0)
	f.Fuzz(func(t *testing.T, data []byte, line, column int) {
		if len(data) > 64<<10 {
			return
		}
		var m *Map
		var err error
		bounds.Hold(t, func() { m, err = decodeMap(data) })
		if err != nil {
			return
		}
		m.Source(line, column)
		if m == nil {
			return
		}
		again, err := decodeMap(m.encode())
		if diff := cmp.Diff(m, again, cmp.AllowUnexported(Map{}, mark{}), cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Fatalf("a map came back as %v, %s", err, diff)
		}
	})
}

// FuzzAnswer reads what a child writes, which may be anything.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(greeting + "T\x00\x00\x00\x00\x00\x00\x00\x01xM\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte(greeting + `E` + "\x00\x00\x00\x00\x00\x00\x00\x0d" + `{"Line": 1e9}`))
	f.Add([]byte(greeting + "F\x00\x00\x00\x00\x00\x00\x00\x01x"))
	f.Add([]byte("something else"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var out *Output
		var err error
		bounds.Hold(t, func() { out, err = readAnswer(strings.NewReader(string(data)), "t", Limits{Output: 1 << 20}) })
		if (out == nil) == (err == nil) {
			t.Fatalf("answer %v, error %v", out, err)
		}
		if out != nil {
			out.Map.Source(1, 1)
		}
	})
}
