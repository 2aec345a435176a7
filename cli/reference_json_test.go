package cli

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/internal/benchmark"
)

// TestJSONReference holds that docs/json.md names every name of the JSON output, and in its tables no other.
func TestJSONReference(t *testing.T) {
	data, err := os.ReadFile("../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	code := strings.Join(regexp.MustCompile("(?s)```.*?```|`[^`]*`").FindAllString(text, -1), "\n")
	names := outputNames(t)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !regexp.MustCompile(`\b` + name + `\b`).MatchString(code) {
			t.Errorf("docs/json.md does not name %s of %s", name, names[name])
		}
	}
	row, quoted := regexp.MustCompile("(?m)^\\| (`[^|]*) \\|"), regexp.MustCompile("`([a-z_0-9]+)`")
	found := 0
	for part := range strings.SplitSeq(text, "\n## ") {
		if strings.HasPrefix(part, "Errors\n") { // its table is of codes
			continue
		}
		for _, m := range row.FindAllStringSubmatch(part, -1) {
			for _, n := range quoted.FindAllStringSubmatch(m[1], -1) {
				found++
				if names[n[1]] == "" {
					t.Errorf("docs/json.md: nothing prints %s", n[1])
				}
			}
		}
	}
	if found < 80 {
		t.Errorf("%d names in the tables", found)
	}
}

// outputNames are the names in the JSON of the commands, and the type or file of each.
func outputNames(t *testing.T) map[string]string {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	add := func(tag, where string) {
		if name, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ","); name != "" && name != "-" {
			names[name] = where
		}
	}
	for _, v := range []any{benchmark.Report{}, jobcontrol.Frame{}, jobcontrol.SourceLine{}, jobcontrol.Variable{}} {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
			add(string(f.Tag), f.Name)
		}
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") || slices.Contains([]string{"rescue.go", "tell.go", "tell_values.go"}, file) {
			continue // for the program itself, and for what jobs tell
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			field, ok := n.(*ast.Field)
			if !ok || field.Tag == nil {
				return true
			}
			tag, err := strconv.Unquote(field.Tag.Value)
			if err != nil {
				t.Fatal(err)
			}
			add(tag, file)
			return true
		})
	}
	return names
}
