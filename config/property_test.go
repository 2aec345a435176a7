package config_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/config"
)

// value makes any value that a job may be given.
func value(depth int) *rapid.Generator[any] {
	scalars := rapid.OneOf(
		rapid.Just[any](nil), rapid.Bool().AsAny(), rapid.Int64().AsAny(), text().AsAny(),
		rapid.Float64Range(-1e15, 1e15).AsAny(),
		rapid.SampledFrom([]any{"no", "0777", "1:30", "2024-01-01", "~", "null", "- x", "a: b", "#", "!x", "&a", "*a", "{{", "${#x}", " x ", "\n"}),
	)
	if depth == 0 {
		return scalars
	}
	return rapid.OneOf(scalars,
		rapid.SliceOfN(value(depth-1), 0, 4).AsAny(),
		rapid.MapOfN(text(), value(depth-1), 0, 4).AsAny())
}

// TestValuesProperty holds that values written as JSON, which is YAML, come back as they were.
func TestValuesProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		args := rapid.SliceOfN(value(4), 0, 6).Draw(t, "args")
		kwargs := rapid.MapOfN(text(), value(4), 0, 6).Draw(t, "kwargs")
		lines := fmt.Sprintf("template: false\njobs:\n- {\"id\": \"a\", \"args\": %s, \"kwargs\": %s}\n", js(t, args), js(t, kwargs))
		if strings.ContainsAny(lines, "\x7f\ufeff\u0085") {
			t.Skip("not printable")
		}
		f, err := config.Parse(context.Background(), "x.yaml", []byte(lines), options())
		if err != nil {
			t.Fatalf("%v\n%s", err, lines)
		}
		j := f.Jobs.All()[0]
		want := jobcontrol.Job{ID: "a"}
		if v, err := jobcontrol.DecodeJSON([]byte(js(t, args))); err == nil {
			want.Args = v.([]any)
		}
		if v, err := jobcontrol.DecodeJSON([]byte(js(t, kwargs))); err == nil {
			want.Kwargs = v.(map[string]any)
		}
		if diff := cmp.Diff(js(t, want.Args), js(t, j.Args)); diff != "" {
			t.Fatalf("args of %s:\n%s", lines, diff)
		}
		if diff := cmp.Diff(js(t, want.Kwargs), js(t, j.Kwargs)); diff != "" {
			t.Fatalf("kwargs of %s:\n%s", lines, diff)
		}
	})
}

func js(t *rapid.T, v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestDurationProperty holds that a duration in Go's notation, and as seconds, is that duration.
func TestDurationProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(1, int64(100*365*24*time.Hour)).Draw(t, "d"))
		seconds := rapid.Int64Range(1, 100_000_000).Draw(t, "seconds")
		text := fmt.Sprintf("jobs:\n- id: a\n  timeout: %v\n- id: b\n  timeout: %d\n- id: c\n  timeout: %dd\n", d, seconds, seconds%1000)
		f, err := config.Parse(context.Background(), "x.yaml", []byte(text), config.Options{})
		if err != nil {
			t.Fatal(err)
		}
		jobs := f.Jobs.All()
		if jobs[0].Timeout != d || jobs[1].Timeout != time.Duration(seconds)*time.Second ||
			jobs[2].Timeout != time.Duration(seconds%1000)*24*time.Hour {
			t.Fatalf("%v %v %v of\n%s", jobs[0].Timeout, jobs[1].Timeout, jobs[2].Timeout, text)
		}
	})
}

// text is any text that a YAML file may have as it is: without C1 control characters.
func text() *rapid.Generator[string] {
	return rapid.Map(rapid.String(), func(s string) string {
		return strings.Map(func(r rune) rune {
			if r >= 0x80 && r < 0xa0 {
				return '?'
			}
			return r
		}, s)
	})
}
