package jobcontrol_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/internal/bounds"
)

// FuzzProgress makes reports of lines "path|current|total|status", each repeated
// under names of its own. A clamped report is within the limits, and the tree is
// what a plain recursion over all reports makes of them.
func FuzzProgress(f *testing.F) {
	f.Add("A|0|10\nB|5|10|busy\n|1", 1)
	f.Add("f1::downloading|50|100\nf1::extracting||100\nf1|7", 2)
	f.Add("a|9007199254740992|9007199254740992", 1100)
	f.Add(strings.Repeat("deep::", 30)+"end|-5|1152921504606846976|\xff", 3)
	f.Fuzz(func(t *testing.T, text string, repeat int) {
		if len(text) > 4096 {
			return
		}
		var reports []jobcontrol.Progress
		for line := range strings.Lines(text) {
			for i := range max(1, min(repeat, 1200-len(reports))) {
				p := reportOf(strings.TrimSuffix(line, "\n"), i)
				clamped := jobcontrol.ClampProgress(p)
				checkClamped(t, p, clamped)
				reports = append(reports, clamped)
			}
		}
		bounds.Hold(t, func() { jobcontrol.ProgressTree(reports) })
		root := jobcontrol.ProgressTree(reports)
		if (root == nil) != (len(reports) == 0) {
			t.Fatalf("tree %v of %d reports", root, len(reports))
		}
		if root != nil {
			checkTree(t, root, latest(reports), nil)
		}
	})
}

func reportOf(line string, i int) jobcontrol.Progress {
	parts := append(strings.SplitN(line, "|", 4), "", "", "")
	number := func(s string) *int64 {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return &n
		}
		return nil
	}
	name := parts[0]
	if i > 0 {
		name += fmt.Sprint("#", i)
	}
	return jobcontrol.Progress{Path: jobcontrol.ProgressPath(name), Current: number(parts[1]), Total: number(parts[2]), Status: parts[3]}
}

func checkClamped(t *testing.T, p, c jobcontrol.Progress) {
	t.Helper()
	if len(c.Path) > jobcontrol.MaxProgressDepth || len(c.Path) > len(p.Path) || len(c.Status) > 1024 || !utf8.ValidString(c.Status) {
		t.Fatalf("%+v became %+v", p, c)
	}
	for _, name := range c.Path {
		if len(name) > 128 {
			t.Fatalf("a name of %d bytes", len(name))
		}
	}
	for _, n := range [][2]*int64{{p.Current, c.Current}, {p.Total, c.Total}} {
		if (n[0] == nil) != (n[1] == nil) || n[1] != nil && (*n[1] < 0 || *n[1] > 1<<53 || *n[0] >= 0 && *n[1] > *n[0]) {
			t.Fatalf("%+v became %+v", p, c)
		}
	}
	if diff := cmp.Diff(c, jobcontrol.ClampProgress(c)); diff != "" {
		t.Fatalf("clamped twice: %s", diff)
	}
	if n := strings.Join(p.Path, "::"); len(n) <= 128 && strings.Join(c.Path, "::") != n {
		t.Fatalf("path %q became %q", p.Path, c.Path)
	}
}

// latest are the reports by path; of two of one path the later one.
func latest(reports []jobcontrol.Progress) map[string]jobcontrol.Progress {
	out := map[string]jobcontrol.Progress{}
	for _, r := range reports {
		out[fmt.Sprintf("%q", append([]string{}, r.Path...))] = r
	}
	return out
}

func checkTree(t *testing.T, n *jobcontrol.ProgressNode, reports map[string]jobcontrol.Progress, path []string) {
	t.Helper()
	var current, total float64
	seen := map[string]bool{}
	for _, c := range n.Children {
		if seen[c.Name] {
			t.Fatalf("%q has two children %q", path, c.Name)
		}
		seen[c.Name] = true
		checkTree(t, c, reports, append(slices.Clone(path), c.Name))
		current, total = current+float64(c.Current), total+float64(c.Total)
	}
	r := reports[fmt.Sprintf("%q", append([]string{}, path...))]
	current, total = min(current, 1<<53), min(total, 1<<53)
	if r.Current != nil {
		current = float64(*r.Current)
	}
	if r.Total != nil {
		total = float64(*r.Total)
	}
	if float64(n.Current) != current || float64(n.Total) != total || n.Status != r.Status {
		t.Fatalf("%q: %d/%d %q, want %.0f/%.0f %q", path, n.Current, n.Total, n.Status, current, total, r.Status)
	}
	if n.Percent < 0 || n.Percent > 1 || total == 0 && n.Percent != 0 || math.IsNaN(n.Percent) {
		t.Fatalf("%q: percent %v of %d/%d", path, n.Percent, n.Current, n.Total)
	}
}

// FuzzRetvalPath looks up any path in any JSON value: that is an error of code
// Invalid, or the same however the path is written. Each place of the value is
// found by its path, and by that path as a placeholder prints it.
func FuzzRetvalPath(f *testing.F) {
	f.Add([]byte(`{"pages":[{"url":"x"},{"url":null}],"a b":{"":[[1]]},"x]":2}`), "pages[0].url")
	f.Add([]byte(`[[1,2],[3]]`), "[-1][0]")
	f.Add([]byte(`{"":{"":1}}`), "..")
	f.Add([]byte(`{"a":[]}`), "a[99999999999999999999]")
	f.Fuzz(func(t *testing.T, document []byte, path string) {
		if len(document)+len(path) > 8192 {
			return
		}
		v, err := jobcontrol.DecodeJSON(document)
		if err != nil {
			return
		}
		var got any
		bounds.Hold(t, func() { got, err = jobcontrol.Lookup(v, path) })
		if err != nil && jobcontrol.CodeOf(err) != jobcontrol.Invalid {
			t.Fatalf("%q: %v", path, err)
		}
		if !strings.HasPrefix(path, ".") {
			again, err2 := jobcontrol.Lookup(v, printed(t, path))
			if (err == nil) != (err2 == nil) || !reflect.DeepEqual(got, again) {
				t.Fatalf("%q leads to %v, %v; printed %q to %v, %v", path, got, err, printed(t, path), again, err2)
			}
		}
		left := 200
		eachPlace(v, "", &left, func(path string, want any) {
			got, err := jobcontrol.Lookup(v, path)
			again, err2 := jobcontrol.Lookup(v, printed(t, path))
			if err != nil || err2 != nil || !reflect.DeepEqual(got, want) || !reflect.DeepEqual(again, want) {
				t.Fatalf("%q leads to %v, %v and %v, %v; want %v", path, got, err, again, err2, want)
			}
		})
	})
}

// printed is the path as the placeholder of a job named j prints it.
func printed(t *testing.T, path string) string {
	t.Helper()
	text, ok := strings.CutPrefix(jobcontrol.Retval{Job: "j", Path: path}.String(), "Retval('j")
	text, end := strings.CutSuffix(text, "')")
	if !ok || !end {
		t.Fatalf("path %q is printed as %q", path, text)
	}
	return text
}

// eachPlace visits the places of a value whose paths can be written.
func eachPlace(v any, path string, left *int, visit func(path string, v any)) {
	if *left--; *left < 0 {
		return
	}
	visit(path, v)
	switch v := v.(type) {
	case []any:
		for i := range v {
			eachPlace(v[i], fmt.Sprintf("%s[%d]", path, i), left, visit)
			eachPlace(v[i], fmt.Sprintf("%s[%d]", path, i-len(v)), left, visit)
		}
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			switch {
			case k == "" || strings.ContainsAny(k, ".["):
			case path == "":
				eachPlace(v[k], k, left, visit)
			default:
				eachPlace(v[k], path+"."+k, left, visit)
			}
		}
	}
}

// FuzzArguments holds that what is decoded is encoded and decoded again as it was,
// and that no value of a user's becomes a placeholder, whatever its keys are.
func FuzzArguments(f *testing.F) {
	for _, s := range []string{
		`[1,-0.0,1e300,9007199254740993,"a\u0000",null,true,{"$x":{"$$retval":[]}}]`,
		`{"$retval":{"job":"a","path":"[0].b"}}`, `{"$secret":"token"}`, `{"$$secret":"token"}`, `{"$secret":5}`, `{"$":1,"$$":2}`, `-0`, `1e999`,
	} {
		f.Add([]byte(s), "job", "a.b[0]")
	}
	f.Fuzz(func(t *testing.T, data []byte, job, path string) {
		if len(data) > 8192 || !utf8.ValidString(job) || !utf8.ValidString(path) {
			return
		}
		var v any
		var err error
		bounds.Hold(t, func() { v, err = jobcontrol.DecodeArguments(data) })
		if err == nil && !infinite(v) {
			checkEncoded(t, v)
		}
		plain, err := jobcontrol.DecodeJSON(data)
		if err != nil || infinite(plain) {
			return
		}
		want := []any{jobcontrol.Retval{Job: job, Path: path}, jobcontrol.Secret{Name: job}}
		encoded := checkEncoded(t, []any{plain, want[0], map[string]any{"$k": plain, "k": want[1]}})
		back, err := jobcontrol.DecodeArguments(encoded)
		if err != nil || !jobcontrol.MayHavePlaceholders(encoded) {
			t.Fatalf("%s: %v", encoded, err)
		}
		var found []any
		jobcontrol.WalkArguments(back, func(p any) { found = append(found, p) })
		if diff := cmp.Diff(want, found); diff != "" {
			t.Fatalf("placeholders of %s (-want +got):\n%s", encoded, diff)
		}
	})
}

// checkEncoded encodes, decodes and encodes v again.
func checkEncoded(t *testing.T, v any) []byte {
	t.Helper()
	first, err := jobcontrol.EncodeArguments(v)
	if err != nil {
		t.Fatalf("%#v: %v", v, err)
	}
	back, err := jobcontrol.DecodeArguments(first)
	if err != nil || !json.Valid(first) {
		t.Fatalf("%s: %v", first, err)
	}
	second, err := jobcontrol.EncodeArguments(back)
	if err != nil || string(first) != string(second) {
		t.Fatalf("%s became %s, %v", first, second, err)
	}
	same, err := jobcontrol.ReplaceArguments(back, func(p any) (any, error) { return p, nil })
	if err != nil || !reflect.DeepEqual(same, back) {
		t.Fatalf("replaced by themselves, the placeholders of %s give %v, %v", first, same, err)
	}
	return first
}

// infinite tells whether a value has a number that no float64 holds.
func infinite(v any) bool {
	switch v := v.(type) {
	case float64:
		return math.IsInf(v, 0)
	case []any:
		return slices.ContainsFunc(v, infinite)
	case map[string]any:
		for _, e := range v {
			if infinite(e) {
				return true
			}
		}
	}
	return false
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$`)

// FuzzNames holds that exactly the job ids and names of the documented form are
// accepted, and that what refuses them can be shown.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"a", "crawl site-1.example", "a/b", " a", "a\u0085", "日本語", "\u202ea", "a\x00", "\xff", strings.Repeat("é", 129), "a:b", "-a", "\u2028", "\u00a0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, name := jobcontrol.CheckJobID(s), jobcontrol.CheckName("task", s)
		good := utf8.ValidString(s) && s != "" && utf8.RuneCountInString(s) <= 128 && strings.TrimSpace(s) == s &&
			!strings.ContainsRune(s, '/') && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
		if good != (id == nil) {
			t.Fatalf("job id %q: %v", s, id)
		}
		if nameForm.MatchString(s) != (name == nil) {
			t.Fatalf("name %q: %v", s, name)
		}
		for _, err := range []error{id, name} {
			if err == nil {
				continue
			}
			text := err.Error()
			if jobcontrol.CodeOf(err) != jobcontrol.Invalid || !utf8.ValidString(text) || strings.IndexFunc(text, unicode.IsControl) >= 0 || len(text) > 4000 {
				t.Fatalf("%q: %q", s, text)
			}
		}
	})
}
