package config_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/jobcontrol/jobcontrol/config"
)

type schema map[string]any

func readSchema(t *testing.T) schema {
	t.Helper()
	data, err := config.Schema()
	if err != nil {
		t.Fatal(err)
	}
	var s schema
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// keysOf are the keys that a part of the schema knows; every one has a shape and says what it is for.
func (s schema) keysOf(t *testing.T, part any) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for k, v := range part.(map[string]any)["properties"].(map[string]any) {
		p := v.(map[string]any)
		if p["description"] == "" {
			t.Errorf("%s says nothing", k)
		}
		ref := p["allOf"].([]any)[0].(map[string]any)["$ref"].(string)
		if s.definition(ref) == nil {
			t.Errorf("%s has the shape %s", k, ref)
		}
		out[k] = true
	}
	return out
}

func (s schema) definition(ref string) any {
	return s["definitions"].(map[string]any)[strings.TrimPrefix(ref, "#/definitions/")]
}

// TestSchemaKeys: the schema knows the keys that the documentation names, and
// none that the loader does not know.
func TestSchemaKeys(t *testing.T) {
	s := readSchema(t)
	file, job := s.keysOf(t, map[string]any(s)), s.keysOf(t, s.definition("job"))
	service := s.keysOf(t, s.definition("service"))
	retention := s.keysOf(t, s.definition("retention"))
	last := func(name string) map[string]bool { // of a shape that may also be a text
		parts := s.definition(name).(map[string]any)["anyOf"].([]any)
		return s.keysOf(t, parts[len(parts)-1])
	}
	task, request := last("task"), last("http")
	last("log ages")
	for k := range job {
		if k == "id" {
			continue
		}
		text := "jobs:\n- id: a\n  " + k + ": null\n"
		if _, err := config.Parse(t.Context(), "jobs.yaml", []byte(text), config.Options{}); err != nil {
			t.Errorf("%s: %v", k, err)
		}
	}
	data, err := os.ReadFile("../docs/file.md")
	if err != nil {
		t.Fatal(err)
	}
	row, name := regexp.MustCompile("(?m)^\\| (`[^|]*) \\|"), regexp.MustCompile("`([a-z_]+)`")
	for _, part := range []struct {
		title string
		keys  map[string]bool
	}{{"## Top-level keys", file}, {"## Keys of a job", job}, {"## Services", service}, {"## Retention", retention}, {"## Tasks", task}, {"## Requests", request}} {
		_, text, found := strings.Cut(string(data), part.title+"\n")
		if !found {
			t.Errorf("docs/file.md has no %s", part.title)
		}
		text, _, _ = strings.Cut(text, "\n## ")
		for _, m := range row.FindAllStringSubmatch(text, -1) {
			for _, n := range name.FindAllStringSubmatch(m[1], -1) {
				if !part.keys[n[1]] {
					t.Errorf("%s: the schema has no %s", part.title, n[1])
				}
			}
		}
		for k := range part.keys {
			if !strings.Contains(text, "`"+k+"`") && !strings.Contains(text, "`{"+k+": ") {
				t.Errorf("%s: docs/file.md does not name %s", part.title, k)
			}
		}
	}
}

// TestSchemaGood: every good file has the structure of the schema.
func TestSchemaGood(t *testing.T) {
	s := readSchema(t)
	t.Chdir("testdata/good")
	names, err := filepath.Glob("*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		f, err := config.Load(t.Context(), name, options())
		if err != nil {
			t.Fatal(err)
		}
		var n yaml.Node
		if err := yaml.Unmarshal([]byte(strings.ReplaceAll(f.Expanded, "***", "hidden")), &n); err != nil {
			t.Fatal(name, err)
		}
		if len(n.Content) > 0 {
			s.check(t, name, n.Content[0], map[string]any(s), true)
		}
	}
	for _, text := range []string{"jobs: {}", "job: []", "jobs: [{id: a, trys: 3}]", "jobs: [{id: a, args: {}}]", "jobs: [{id: a, run: {shel: x}}]"} {
		var n yaml.Node
		if err := yaml.Unmarshal([]byte(text), &n); err != nil {
			t.Fatal(err)
		}
		if s.check(t, text, n.Content[0], map[string]any(s), false) {
			t.Errorf("%s fits", text)
		}
	}
}

// check tells whether a node fits a part of the schema, and where not, if it is told to.
func (s schema) check(t *testing.T, where string, n *yaml.Node, part any, tell bool) bool {
	p := part.(map[string]any)
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
		return true // what stands for a value
	}
	fail := func(what string) bool {
		if tell {
			t.Errorf("%s, line %d: %s", where, n.Line, what)
		}
		return false
	}
	if ref, ok := p["$ref"].(string); ok {
		return s.check(t, where, n, s.definition(ref), tell)
	}
	if all, ok := p["allOf"].([]any); ok {
		return s.check(t, where, n, all[0], tell)
	}
	if any, ok := p["anyOf"].([]any); ok {
		fits := slices.ContainsFunc(any, func(one interface{}) bool { return s.check(t, where, n, one, false) })
		return fits || fail("fits none")
	}
	if types, ok := p["type"].([]any); ok {
		kind := map[string]string{"!!map": "object", "!!seq": "array", "!!null": "null", "!!bool": "boolean", "!!int": "integer", "!!float": "number"}[n.Tag]
		if kind == "" {
			kind = "string"
		}
		if !slices.Contains(types, any(kind)) && (kind != "integer" || !slices.Contains(types, any("number"))) {
			return fail(kind + " is wrong")
		}
	}
	fits := true
	if items, ok := p["items"]; ok {
		for _, c := range n.Content {
			fits = s.check(t, where, c, items, tell) && fits
		}
	}
	if n.Kind != yaml.MappingNode {
		return fits
	}
	properties, _ := p["properties"].(map[string]any)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i].Value
		switch more, open := p["additionalProperties"]; {
		case key == "<<":
		case properties[key] != nil:
			fits = s.check(t, where, n.Content[i+1], properties[key], tell) && fits
		case open && more == false:
			fits = fail(key + " is no key")
		case open:
			fits = s.check(t, where, n.Content[i+1], more, tell) && fits
		}
	}
	return fits
}
