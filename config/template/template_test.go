package template

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	Child()
	os.Exit(m.Run())
}

// both renders in a child and in this process, and holds that they do the same.
func both(t *testing.T, in Input) (*Output, error) {
	t.Helper()
	out, err := Render(context.Background(), in, Options{Child: Command()})
	inside, insideErr := Render(context.Background(), in, Options{})
	switch {
	case (err == nil) != (insideErr == nil) || err != nil && err.Error() != insideErr.Error():
		t.Errorf("in a child %v, within the process %v", err, insideErr)
	case err == nil && out.Text != inside.Text:
		t.Errorf("in a child %q, within the process %q", out.Text, inside.Text)
	}
	return out, err
}

// TestJinja compares with what Jinja2 3.1.6 makes of a template, with StrictUndefined
// and keep_trailing_newline; null says that it refuses the template.
func TestJinja(t *testing.T) {
	data, err := os.ReadFile("testdata/jinja.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Template string
		Jinja    *string
	}
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		out, err := Render(context.Background(), Input{Name: "t", Text: c.Template}, Options{})
		switch {
		case c.Jinja == nil && err == nil:
			t.Errorf("%q: %q, want an error", c.Template, out.Text)
		case c.Jinja != nil && err != nil:
			t.Errorf("%q: %v, want %q", c.Template, err, *c.Jinja)
		case c.Jinja != nil && out.Text != *c.Jinja:
			t.Errorf("%q: %q, want %q", c.Template, out.Text, *c.Jinja)
		}
		var e *Error
		if err != nil && (!errors.As(err, &e) || e.Line == 0) {
			t.Errorf("%q: no place: %v", c.Template, err)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"a\n{{ x }}", `t:2:4: undefined variable "x"`},
		{"äö {{ 'a' ~ (1 + undefined) }}", `t:1:18: undefined variable "undefined"`},
		{"{% set a = {} %}\n  {{ a.b }}", `t:2:6: a.b: there is no "b"`},
		{"{% if x is not defined and y %}{% endif %}", `t:1:28: undefined variable "y"`},
		{"{{ x | default('') }}{{ x }}", `t:1:25: undefined variable "x"`},
		{"{% for i in [1, z] %}{% endfor %}", `t:1:17: undefined variable "z"`},
		{"{% for i in [1] if q %}{% endfor %}", `t:1:20: undefined variable "q"`},
		{"{{ range(\nbar) }}", `t:2:1: undefined variable "bar"`},
		{"{{ 'a' + 1 }}", `t:1:8: a text + a number does not work`},
		{"{% macro m(a) %}\n{{ b }}{% endmacro %}\n{{ m(1) }}", `t:2:4: undefined variable "b"`},
		{"{{ 'abc", `t:1:4: this text in quotes has no end`},
		{"{# abc", `t:1:3: this comment has no end: #} is missing`},
		{"{% raw %}abc", `t:1:10: this block has no end: endraw is missing`},
		{"x\n {% if 1 %}\n", `t:2:8: this block has no end: elif, else, endif is missing`},
		{"{% endif %}", `t:1:4: "endif" without a beginning`},
		{"{% iff 1 %}", `t:1:4: there is no tag "iff"`},
		{"{% for x in 5 %}{% endfor %}", `t:1:13: for needs a list, a mapping or a text, not a number`},
		{"{{ range(1, 2, 0) }}", `t:1:4: the step of range() must not be 0`},
		{"{{ nosuch() }}", `t:1:4: there is no macro or function "nosuch"`},
		{"{% include 'x' %}", `t:1:12: x: there is no directory to read templates from`},
	} {
		_, err := both(t, Input{Name: "t", Text: c.text})
		if err == nil || err.Error() != c.want {
			t.Errorf("%q:\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}

// TestBombs holds that no template needs much more than its limits, and that this process survives each.
func TestBombs(t *testing.T) {
	names := func(list ...string) []string { return list }
	limits := Limits{Time: time.Second, Memory: 256 << 20, Output: 8 << 20}
	for _, c := range []struct {
		name, text string
		want       []string // one of these is in the error
	}{
		{"repeat", "{{ 'a' * 10**10 }}", names("larger than 64 MiB")},
		{"range", "{% for i in range(10**9) %}x{% endfor %}", names("1,000,000 numbers")},
		{"nested loops", "{% for i in range(10**5) %}{% for j in range(10**5) %}{% endfor %}{% endfor %}", names("more than 1s")},
		{"output", "{% for i in range(10**5) %}" + strings.Repeat("x", 10000) + "{% endfor %}", names("larger than 8 MiB")},
		{"recursive macro", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", names("200 levels")},
		{"fork", "{% macro m(n) %}{% if n < 100 %}{{ m(n+1) }}{{ m(n+1) }}{% endif %}{% endmacro %}{{ m(1) }}", names("more than 1s")},
		{"doubling", "{% set x = namespace(a='aa') %}{% for i in range(60) %}{% set x.a = x.a ~ x.a %}{% endfor %}", names("memory", "more than 1s")},
		{"doubling list", "{% set x = namespace(a=[1]) %}{% for i in range(60) %}{% set x.a = x.a + x.a %}{% endfor %}", names("memory", "more than 1s")},
		{"one filter", "{{ 'a' | center(10000000000) }}", names("memory")},
		{"replace", "{% set x = 'a' * 1000000 %}{{ x | replace('a', x) | length }}", names("memory")},
		{"self", "{% block a %}{{ self.a() }}{% endblock %}", names("self is not available")},
		{"cyclic value", "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}", names("too deeply", "memory")},
		{"methods", "{{ 'a'" + strings.Repeat(".upper()", 40) + " }}", names("more than 1s")},
		{"brackets", "{{ " + strings.Repeat("(", 100000) + "1 }}", names("200 levels")},
		{"blocks", strings.Repeat("{% if true %}", 100000), names("500 levels")},
		{"terms", "{{ 1" + strings.Repeat("+1", 1000000) + " }}", names("10,000 terms")},
		{"sets", strings.Repeat("{% set x %}", 100000), names("500 levels")},
	} {
		t.Run(c.name, func(t *testing.T) {
			begin := time.Now()
			_, err := Render(context.Background(), Input{Name: "t", Text: c.text}, Options{Child: Command(), Limits: limits})
			var e *Error
			if !errors.As(err, &e) || !slices.ContainsFunc(c.want, func(w string) bool { return strings.Contains(e.Message, w) }) {
				t.Errorf("got %v, want one of %q", err, c.want)
			}
			if took := time.Since(begin); took > limits.Time+3*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// TestWithin holds the limits that hold without a child too.
func TestWithin(t *testing.T) {
	for text, want := range map[string]string{
		"{% for i in range(10**5) %}{% for j in range(10**5) %}{% endfor %}{% endfor %}": "more than 200ms",
		"{% for i in range(10**4) %}" + strings.Repeat("x", 1000) + "{% endfor %}":       "larger than 1 MiB",
		"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}":                                "200 levels",
	} {
		limits := Limits{Time: 5 * time.Second, Output: 1 << 20}
		if strings.HasPrefix(want, "more than") {
			limits.Time = 200 * time.Millisecond
		}
		_, err := Render(context.Background(), Input{Name: "t", Text: text}, Options{Limits: limits})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"in/a.j2":      "A{% include 'sub/b.j2' %}",
		"in/sub/b.j2":  "B{{ x }}",
		"in/loop.j2":   "{% include 'loop.j2' %}",
		"in/bad.j2":    "one\n{{ nope }}",
		"in/syntax.j2": "one\n  {% if %}",
		"in/m.j2":      "{% set p = 'p' %}{% macro f(a) %}{{ g(a) }}{% endmacro %}{% macro g(a) %}{{ p }}{{ a }}{% endmacro %}",
		"in/base.j2":   "<{% block body %}base{% endblock %}>\n{{ tail }}",
		"in/bodies.j2": "{% macro f() %}\n{{ nope }}{% endmacro %}",
		"secret.j2":    "SECRET",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../secret.j2", filepath.Join(dir, "in/link.j2")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ text, want string }{
		{"{% set x = 1 %}{% include 'a.j2' %}", "AB1"},
		{"{% set x = 1 %}{% for i in range(3) %}{% include './sub/../a.j2' %}{% endfor %}", "AB1AB1AB1"},
		{"{% import 'm.j2' as m %}{{ m.f(1) }}{{ m.p }}", "p1p"},
		{"{% from 'm.j2' import f as h, g %}{{ h(1) }}{{ g(2) }}", "p1p2"},
		{"{% include 'none.j2' ignore missing %}ok", "ok"},
		{"{% extends 'base.j2' %}{% block body %}own{% endblock %}", "error: base.j2:2:4: undefined variable \"tail\""},
		{"{% include 'bad.j2' %}", "error: bad.j2:2:4: undefined variable \"nope\""},
		{"{% import 'bodies.j2' as b %}{{ b.f() }}", "error: bodies.j2:2:4: undefined variable \"nope\""},
		{"{% include 'syntax.j2' %}", "error: syntax.j2:2:11: an expression was expected"},
		{"{% include 'loop.j2' %}", "error: loop.j2:1:12: files include each other deeper than 50 levels"},
		{"{% include '../secret.j2' %}", "error: t:1:12: ../secret.j2: templates are read only from below the directory of the file"},
		{"{% include 'sub/../../secret.j2' %}", "error: t:1:12: sub/../../secret.j2: templates are read only from below the directory of the file"},
		{"{% include '/etc/passwd' %}", "error: t:1:12: /etc/passwd: templates are read only from below the directory of the file"},
		{"{% include 'link.j2' %}", "error: t:1:12: openat link.j2: path escapes from parent"},
		{"{% include '../secret.j2' ignore missing %}", "error: t:1:12: ../secret.j2: templates are read only from below the directory of the file"},
		{"{% from 'm.j2' import nope %}", "error: t:1:9: m.j2 has no \"nope\""},
		{"{% import 'm.j2' as m %}{{ m.nope }}", "error: t:1:28: m.nope: there is no \"nope\""},
	} {
		out, err := both(t, Input{Name: "t", Text: c.text, Dir: filepath.Join(dir, "in")})
		got := ""
		if err != nil {
			got = "error: " + err.Error()
		} else {
			got = out.Text
		}
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.text, got, c.want)
		}
	}
}

// TestChild is about a child that does not do what it should.
func TestChild(t *testing.T) {
	in := Input{Name: "t", Text: "{{ 1 }}"}
	for _, c := range []struct {
		child []string
		want  string
	}{
		{[]string{"/nonexistent/program"}, "start the process"},
		{[]string{"sh", "-c", "cat >/dev/null; echo something else entirely"}, "must call config.Child first"},
		{[]string{"sh", "-c", "echo broken >&2; exit 3"}, "exit status 3 broken"},
		{[]string{"sh", "-c", "kill -9 $$"}, "signal: killed"},
	} {
		_, err := Render(context.Background(), in, Options{Child: c.child})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %s", c.child, err, c.want)
		}
	}
	begin := time.Now()
	slow := Options{Child: []string{"sleep", "100"}, Limits: Limits{Time: time.Millisecond}}
	if _, err := Render(context.Background(), in, slow); err == nil || !strings.Contains(err.Error(), "more than 1ms") {
		t.Errorf("a child that sleeps: %v", err)
	}
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("a child that sleeps: %v", took)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Render(ctx, in, Options{Child: []string{"sleep", "100"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
