package config

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/config/template"
	"github.com/jobcontrol/jobcontrol/internal/bounds"
)

// fuzzed is the file that fuzz targets parse; it includes what is beside it.
const fuzzed = "testdata/good/fuzz.yaml"

// runaway finds templates that need the process that is killed at its limits; what
// templates do is fuzzed where they are rendered.
var runaway = regexp.MustCompile(`[0-9_]{4}|\*|range|namespace|lipsum|random|cycler|joiner|append|extend|update|~`)

func parseFuzzed(t *testing.T, text string) (file *File, err error) {
	t.Helper()
	o := Options{Env: func(name string) (string, bool) {
		v, ok := map[string]string{"SITE": "example.com", "COUNT": "3"}[name]
		return v, ok
	}}
	bounds.Hold(t, func() { file, err = Parse(context.Background(), fuzzed, []byte(text), o) })
	return file, err
}

// FuzzConfigYAML parses any text as a file. That gives errors with places in the
// text, or jobs whose definitions come back from their stored form as they were, and
// which the expanded text, where it is a file, has too.
func FuzzConfigYAML(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/bad/*.yaml"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(data))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 20_000 || template.Needed(text) && runaway.MatchString(text) {
			return
		}
		file, err := parseFuzzed(t, text)
		if err != nil {
			checkDiagnostics(t, text, err)
			return
		}
		for _, w := range file.Warnings {
			checkPlace(t, text, w)
		}
		definitions := checkDefinitions(t, file)
		if err := jobcontrol.CheckServices(file.Services); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if template.Needed(file.Expanded) || strings.Contains(file.Expanded, mask) || text == file.Expanded {
			return
		}
		again, err := parseFuzzed(t, file.Expanded)
		if err != nil {
			t.Fatalf("%q expanded is %q: %v", text, file.Expanded, err)
		}
		if got := checkDefinitions(t, again); got != definitions {
			t.Fatalf("%q has\n%s\nand expanded, as %q,\n%s", text, definitions, file.Expanded, got)
		}
	})
}

// checkDiagnostics holds that an error tells what is wrong, and where in the text.
func checkDiagnostics(t *testing.T, text string, err error) {
	t.Helper()
	var d Diagnostics
	if !errors.As(err, &d) || len(d) == 0 || jobcontrol.CodeOf(err) != jobcontrol.Invalid {
		t.Fatalf("%q: %T %v", text, err, err)
	}
	for _, one := range d {
		checkPlace(t, text, one)
	}
	if said := err.Error(); !utf8.ValidString(said) || strings.IndexFunc(said, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }) >= 0 {
		t.Fatalf("%q: %q", text, said)
	}
}

func checkPlace(t *testing.T, text string, d Diagnostic) {
	t.Helper()
	lines := strings.Split(strings.ReplaceAll(strings.ReplaceAll(strings.TrimPrefix(text, "\ufeff"), "\r\n", "\n"), "\r", "\n"), "\n")
	switch {
	case d.Message == "" || d.Pos.Line < 0 || d.Pos.File == "":
	case d.Pos.Line == 0 || d.Pos.File != fuzzed: // the file as a whole, another one, or the expanded text
		return
	case d.Pos.Line <= len(lines) && d.Pos.Column > 0 && d.Pos.Column <= utf8.RuneCountInString(lines[d.Pos.Line-1])+1:
		return
	}
	t.Fatalf("%+v has no place in %q", d, text)
}

// checkDefinitions stores and reads each definition, and returns them all.
func checkDefinitions(t *testing.T, file *File) string {
	t.Helper()
	var all strings.Builder
	for _, j := range file.Jobs.All() {
		body, hash, err := j.Definition()
		if err != nil {
			t.Fatal(err)
		}
		back := &jobcontrol.Job{}
		if err := json.Unmarshal(body, back); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if again, same, err := back.Definition(); err != nil || same != hash {
			t.Fatalf("%s\nbecame\n%s\n%v", body, again, err)
		}
		if err := jobcontrol.CheckJobID(j.ID); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&all, "%s\n", body)
	}
	return all.String()
}

// FuzzServices parses any text as the section of services: an error, or services that
// a store accepts.
func FuzzServices(f *testing.F) {
	for _, s := range []string{
		"{web: {concurrency: 4, key: kwargs.site, key_concurrency: 1, rate: 10/m}}", "{a: {fallback: b}, b: {fallback: a}}", "{a: {fallback: a}}",
		"\n  web:\n    rate: 5/30s\n    priority: -3\n  db: {paused: yes, draining: no, fallback: web}", "{a: {rate: 1e9}}", "{a: {rate: 5/0s}}", "{a: null, 1: {}}", "[]",
		"{a: &x {concurrency: 1}, b: *x, c: {<<: *x, rate: 0}}", "{a: {key: [args.0, kwargs.x.y]}}", "{a: {key_concurrency: 2}}", "{a: {concurrency: !env COUNT}}",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 8192 || template.Needed(text) {
			return
		}
		whole := "services: " + text
		file, err := parseFuzzed(t, whole)
		if err != nil {
			checkDiagnostics(t, whole, err)
			return
		}
		if err := jobcontrol.CheckServices(file.Services); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		for _, s := range file.Services {
			if s.Rate > 0 && (s.RatePer < time.Millisecond || s.RatePer > longest) || s.Rate == 0 && s.RatePer != 0 {
				t.Fatalf("%q: %d per %v", text, s.Rate, s.RatePer)
			}
			for _, p := range s.Key {
				if CheckPath(p) != nil {
					t.Fatalf("%q: key %q", text, p)
				}
			}
		}
	})
}

// FuzzScalars reads any text as a duration, a boolean, a whole number, and a rate,
// plain and in quotes. What is accepted is in its bounds, and is accepted, as the
// same, when it is written in the plain way.
func FuzzScalars(f *testing.F) {
	for _, s := range []string{
		"0", "1.5", "5m", "1h30m", "2d", "1.5d3h", "36500d", "36500d1ns", "-1", "+5s", "1e300", ".inf", ".nan", "NaN", "Inf", "0x10", "0o17", "0777", "1d-1h",
		"yes", "No", "ON", "True", "10/m", "5/30s", "100 / s", "1/1e99", "3/0x1p3", "2147483648", "1_000", " 5 ", "5/2d", "0/5", "9223372036854775808", "٣",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1000 {
			return
		}
		for _, style := range []yaml.Style{0, yaml.DoubleQuotedStyle} {
			n := &yaml.Node{Kind: yaml.ScalarNode, Value: text, Style: style, Line: 1, Column: 1}
			r := &reader{document: &document{name: fuzzed}, report: &report{}}
			var d time.Duration
			var ok bool
			bounds.Hold(t, func() { d, ok = r.duration(n, "timeout") })
			if ok != (len(r.report.errors) == 0) || ok && (d < 0 || d > longest) || !ok && d != 0 {
				t.Fatalf("%q: %v, %v", text, d, r.report.errors)
			}
			if again, wrong := durationText(d.String()); ok && (wrong != "" || again != d) {
				t.Fatalf("%q is %v, and that is %v, %s", text, d, again, wrong)
			}
			if i, ok := r.integer(n, "tries"); ok && plainKind(text) != intScalar || ok && !strings.ContainsAny(text, "+ox") && strings.TrimLeft(text, "-0") != strings.TrimLeft(fmt.Sprint(i), "-0") {
				t.Fatalf("%q is %d", text, i)
			}
			if _, ok := r.boolean(n, "protected"); ok && !strings.Contains(" true false yes no on off ", " "+strings.ToLower(text)+" ") {
				t.Fatalf("%q is a boolean", text)
			}
		}
		count, per, err := ParseRate(text)
		if err != nil {
			return
		}
		if count < 0 || (count == 0) != (per == 0) || count > 0 && (per < time.Millisecond || per > longest) {
			t.Fatalf("%q: %d per %v", text, count, per)
		}
		if again, same, err := ParseRate(fmt.Sprintf("%d/%s", count, per)); count > 0 && (err != nil || again != count || same != per) {
			t.Fatalf("%q is %d/%s, and that is %d/%s, %v", text, count, per, again, same, err)
		}
	})
}

// FuzzRetval reads any text as !retval of one of two dependencies: what is accepted,
// printed and read again is the same, and can be looked up.
func FuzzRetval(f *testing.F) {
	for _, s := range []string{"crawl", "crawl.pages[0].url", "crawl.x", "crawl.x.y", "crawl[-1]", "crawl[0]x", "crawl..a", "crawl.", "other", "crawl[00]", "crawl.a]b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		dependencies := []string{"crawl", "crawl.x"}
		var job, path string
		var ok bool
		bounds.Hold(t, func() { job, path, ok = splitRetval(text, dependencies) })
		if !ok || !validPath(path) {
			return
		}
		shown := jobcontrol.Retval{Job: job, Path: strings.TrimPrefix(path, ".")}.String()
		again, rest, ok := splitRetval(strings.TrimSuffix(strings.TrimPrefix(shown, "Retval('"), "')"), dependencies)
		if !ok || again != job || strings.TrimPrefix(rest, ".") != strings.TrimPrefix(path, ".") {
			t.Fatalf("%q is printed as %s, and that is %q %q, %v", text, shown, again, rest, ok)
		}
		if _, err := jobcontrol.Lookup(map[string]any{}, path); path != "" && jobcontrol.CodeOf(err) != jobcontrol.Invalid {
			t.Fatalf("%q: %v", path, err)
		}
	})
}
