package template

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestSource(t *testing.T) {
	const text = `{% macro job(name) %}
- id: {{ name }}
  run: make {{ name }} all
{% endmacro %}
jobs:
{%- for n in ['a', 'b'] %}
  {{ job(n) | indent(2) }}
{%- endfor %}
{% raw %}
  x: {{ y }}
{% endraw %}
{{ 'last' }}: 1
`
	out, err := both(t, Input{Name: "t", Text: text})
	if err != nil {
		t.Fatal(err)
	}
	if out.Map == nil {
		t.Fatal("no map")
	}
	want := map[string]string{
		"jobs:": "t:5:1", "- id: a": "t:2:1", "run: make a all": "t:3:3", "all": "t:3:24", "- id: b": "t:2:1",
		"x: {{": "t:10:3", "last": "t:12:1",
	}
	for i, line := range strings.Split(out.Text, "\n") {
		for part, place := range want {
			at := strings.Index(line, part)
			if at < 0 {
				continue
			}
			p, _, ok := out.Map.Source(i+1, at+1)
			if got := fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column); !ok || got != place {
				t.Errorf("%q in line %d: %s, want %s", part, i+1, got, place)
			}
			if part != "all" {
				delete(want, part)
			}
		}
	}
	delete(want, "all")
	if len(want) > 0 {
		t.Errorf("not found: %v in\n%s", want, out.Text)
	}
}

// TestNoMap holds that a template which looks at its own text is rendered without a map.
func TestNoMap(t *testing.T) {
	for _, text := range []string{
		"{% set s %}abc{% endset %}{{ s | length }}",
		"{% set s %}abc{% endset %}{% if s == 'abc' %}x{% endif %}",
		"{{ 1 }} \U000F0001",
	} {
		out, err := both(t, Input{Name: "t", Text: text})
		if err != nil || out.Map != nil {
			t.Errorf("%q: map %v, %v", text, out != nil && out.Map != nil, err)
		}
	}
}

// TestMarksProperty holds, for random texts, that a map leads each line that is copied to
// the line that it was copied from, and that encoding keeps the map.
func TestMarksProperty(t *testing.T) {
	piece := rapid.SampledFrom([]string{
		"a: %d\n", "  b: %d\n", "\n", "   \n", "{{ %d }}\n", "  {{ 'x%d' }} y\n", "x {{- 1 }} z%d\n", "{%- if true -%}\n", "{% endif %}\n",
		"{# c%d #}\n", "é%d ü\n", "{% raw %}\n r%d {{ }}\n{% endraw %}\n", "{% set q =\n%d %}\n", "t%d {{ 'm\nn' }} u\n", "\t tab%d\n",
	})
	rapid.Check(t, func(t *rapid.T) {
		var b strings.Builder
		open, number := 0, 0
		for _, p := range rapid.SliceOfN(piece, 0, 30).Draw(t, "pieces") {
			switch {
			case strings.HasPrefix(p, "{%- if"):
				open++
			case strings.HasPrefix(p, "{% endif"):
				if open == 0 {
					continue
				}
				open--
			}
			if strings.Contains(p, "%d") {
				number++
				p = strings.ReplaceAll(p, "%d", fmt.Sprint(1000+number))
			}
			b.WriteString(p)
		}
		b.WriteString(strings.Repeat("{% endif %}", open))
		text := b.String()
		out, err := Render(context.Background(), Input{Name: "t", Text: text}, Options{})
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if out.Map == nil {
			t.Fatalf("no map:\n%s", text)
		}
		m, err := decodeMap(out.Map.encode())
		if err != nil {
			t.Fatal(err)
		}
		source := strings.Split(text, "\n")
		for i, line := range strings.Split(out.Text, "\n") {
			at := strings.Index(line, "10")
			if at < 0 || at+4 > len(line) {
				continue
			}
			p, _, ok := m.Source(i+1, len([]rune(line[:at]))+1)
			if !ok || !strings.Contains(source[p.Line-1], line[at:at+4]) {
				t.Fatalf("line %d %q came from %v %v, in\n%s", i+1, line, p, ok, text)
			}
		}
	})
}
