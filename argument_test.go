package jobcontrol_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/jobcontrol/jobcontrol"
)

// value draws an argument, placeholders and keys that look like them included.
func value(depth int) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		n := 7
		if depth > 0 {
			n = 9
		}
		switch rapid.IntRange(0, n).Draw(t, "kind") {
		case 0:
			return nil
		case 1:
			return rapid.Bool().Draw(t, "b")
		case 2:
			return rapid.Int64().Draw(t, "i")
		case 3:
			return rapid.Float64Range(-1e9, 1e9).Filter(func(f float64) bool { return f != math.Trunc(f) }).Draw(t, "f")
		case 4:
			return jobcontrol.Retval{Job: rapid.StringMatching(`[a-z]{1,5}`).Draw(t, "job"), Path: rapid.SampledFrom([]string{"", "a.b", "[0].x"}).Draw(t, "path")}
		case 5:
			return jobcontrol.Secret{Name: rapid.StringMatching(`[a-z]{1,5}`).Draw(t, "name")}
		case 8:
			l := []any{}
			for range rapid.IntRange(0, 3).Draw(t, "n") {
				l = append(l, value(depth-1).Draw(t, "e"))
			}
			return l
		case 9:
			m := map[string]any{}
			for range rapid.IntRange(0, 3).Draw(t, "n") {
				m[rapid.SampledFrom([]string{"a", "$retval", "$secret", "$$x", "job"}).Draw(t, "key")] = value(depth-1).Draw(t, "e")
			}
			return m
		}
		return rapid.String().Draw(t, "s")
	})
}

func TestArgumentsSurvive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := value(3).Draw(t, "v")
		data, err := jobcontrol.EncodeArguments(v)
		if err != nil {
			t.Fatal(err)
		}
		back, err := jobcontrol.DecodeArguments(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(v, back); diff != "" {
			t.Fatalf("%s does not come back (-want +got)\n%s", data, diff)
		}
	})
}

// TestArgumentsAreJSON: what is written is what encoding/json would write.
func TestArgumentsAreJSON(t *testing.T) {
	check := func(t interface {
		Fatal(args ...any)
		Fatalf(format string, args ...any)
	}, v any,
	) {
		data, err := jobcontrol.EncodeArguments(v)
		if err != nil {
			t.Fatal(err)
		}
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.UseNumber()
		var again any
		if err := dec.Decode(&again); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		var want bytes.Buffer
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(again); err != nil {
			t.Fatal(err)
		}
		if got := string(data) + "\n"; got != want.String() {
			t.Fatalf("written %sinstead of %s", got, &want)
		}
	}
	rapid.Check(t, func(t *rapid.T) { check(t, value(3).Draw(t, "v")) })
	for _, v := range []any{
		map[string]any(nil), []any(nil), math.Copysign(0, -1), 1e300, uint8(7), json.Number("12"),
		[]string{"<&>"},
		struct{ A, B string }{"x", "\u2028"},
		map[string]any{"b": 1, "": 2, "#": 3, "$": 4, "$$": 5, "%": 6, "é": 7, "\"": "\\", "<": "&", "\x7f": "\uffff", "\x00": nil},
	} {
		check(t, v)
	}
}

func TestLookup(t *testing.T) {
	v, err := jobcontrol.DecodeJSON([]byte(`{"pages": [{"url": "u0"}, {"url": "u1"}], "n": {"m": 3}}`))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]any{"pages[0].url": "u0", "pages[-1].url": "u1", ".n.m": int64(3), "n": map[string]any{"m": int64(3)}} {
		got, err := jobcontrol.Lookup(v, path)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", path, err, diff)
		}
	}
	for _, path := range []string{"pages[2]", "pages.x", "x", "n[0]", "pages[", "pages[a]"} {
		if got, err := jobcontrol.Lookup(v, path); err == nil {
			t.Errorf("%s gave %v", path, got)
		}
	}
}

func TestEncodeResult(t *testing.T) {
	type lossy struct {
		A    int
		Note chan int `json:"-"`
	}
	for name, c := range map[string]struct {
		in   any
		want string
		bad  string
	}{
		"nil":            {nil, "", ""},
		"number":         {3, "3", ""},
		"struct":         {struct{ A string }{"<b>"}, `{"A":"<b>"}`, ""},
		"raw":            {json.RawMessage(`[1]`), `[1]`, ""},
		"bad raw":        {json.RawMessage(`[1`), "", "not valid JSON"},
		"NaN":            {math.NaN(), "", "unsupported value"},
		"function":       {func() {}, "", "unsupported type"},
		"hidden field":   {lossy{A: 1}, `{"A":1}`, ""},
		"invalid UTF-8":  {"\xff", "", "does not survive"},
		"too large":      {strings.Repeat("x", jobcontrol.MaxResult), "", "store it elsewhere"},
		"interface type": {errors.New("x"), `{}`, ""},
	} {
		got, err := jobcontrol.EncodeResult(c.in)
		if c.bad == "" && (err != nil || string(got) != c.want) {
			t.Errorf("%s: got %s, %v", name, got, err)
		}
		if c.bad != "" && (err == nil || !strings.Contains(err.Error(), c.bad)) {
			t.Errorf("%s: got %s, %v; want an error with %q", name, got, err, c.bad)
		}
	}
}

func TestHandle(t *testing.T) {
	type in struct {
		URL  string   `json:"url"`
		N    int      `json:"n,omitempty"`
		Tags []string `json:"tags,omitempty"`
	}
	reg := jobcontrol.NewRegistry()
	f := jobcontrol.Handle(reg, "m:f", func(_ context.Context, v in) (in, error) { return v, nil })
	jobcontrol.Handle(reg, "m:one", func(_ context.Context, s string) (string, error) { return s, nil })
	for name, c := range map[string]struct {
		function string
		args     []any
		kwargs   map[string]any
		want     string
		bad      string
	}{
		"positional":    {"m:f", []any{"u", int64(2)}, nil, `{"url":"u","n":2}`, ""},
		"keyword":       {"m:f", nil, map[string]any{"url": "u", "tags": []any{"a"}}, `{"url":"u","tags":["a"]}`, ""},
		"mixed":         {"m:f", []any{"u"}, map[string]any{"n": int64(3)}, `{"url":"u","n":3}`, ""},
		"twice":         {"m:f", []any{"u"}, map[string]any{"url": "v"}, "", `more than one value for argument "url"`},
		"unknown":       {"m:f", []any{"u"}, map[string]any{"x": "v"}, "", `unexpected keyword argument "x"`},
		"missing":       {"m:f", nil, nil, "", `argument "url" is missing`},
		"too many":      {"m:f", []any{"u", int64(1), nil, nil}, nil, "", "at most 3 arguments, got 4"},
		"wrong type":    {"m:f", []any{"u", "x"}, nil, "", `argument n: "x" does not fit int`},
		"one":           {"m:one", []any{"u"}, nil, `"u"`, ""},
		"one, two":      {"m:one", []any{"u", "v"}, nil, "", "exactly 1 positional argument"},
		"one, no value": {"m:one", nil, nil, "", "exactly 1 positional argument"},
	} {
		rf, ok := reg.Lookup(c.function)
		if !ok {
			t.Fatal(c.function)
		}
		v, err := rf.Call(context.Background(), c.args, c.kwargs)
		if c.bad != "" {
			if err == nil || !strings.Contains(err.Error(), c.bad) {
				t.Errorf("%s: %v, want %q", name, err, c.bad)
			}
			continue
		}
		got, _ := json.Marshal(v)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	j, err := f.Job("id", in{URL: "u", N: 4})
	if diff := cmp.Diff(map[string]any{"url": "u", "n": int64(4)}, j.Kwargs); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestJobDefinitionComesBack(t *testing.T) {
	lost := 1
	j := &jobcontrol.Job{
		ID: "a", Check: &jobcontrol.Task{Shell: "true"}, Run: &jobcontrol.Task{Command: []string{"x", "y"}, Args: json.RawMessage(`["q"]`)},
		Args: []any{int64(1), jobcontrol.Retval{Job: "b", Path: "x"}}, Kwargs: map[string]any{"$k": "v", "s": jobcontrol.Secret{Name: "n"}},
		Env: map[string]any{"E": "1"}, Dependencies: []string{"b"}, ExitCodes: map[int]string{75: "retry"}, MaxLost: &lost, LeaveRunning: true,
		Meta: map[string]any{"large": int64(math.MaxInt64), "$k": []any{int64(1)}},
	}
	body, hash, err := j.Definition()
	if err != nil {
		t.Fatal(err)
	}
	var back jobcontrol.Job
	if err := json.Unmarshal(body, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*j, back); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if _, again, _ := back.Definition(); again != hash {
		t.Errorf("the hash changed: %s, %s", hash, again)
	}
}

func TestMetaIsAMapping(t *testing.T) {
	var j jobcontrol.Job
	if err := json.Unmarshal([]byte(`{"id":"a","meta":[1]}`), &j); jobcontrol.CodeOf(err) != jobcontrol.Invalid {
		t.Errorf("a list as meta: %v", err)
	}
}
