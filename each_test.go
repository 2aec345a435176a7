package jobcontrol_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jobcontrol/jobcontrol"
)

// TestItems: the keys of items, and what has none.
func TestItems(t *testing.T) {
	item := func(key string, v any) map[string]any { return map[string]any{"id": key, "v": v} }
	many := make([]any, jobcontrol.MaxItems+1)
	for i := range many {
		many[i] = int64(i)
	}
	for _, c := range []struct {
		name  string
		each  jobcontrol.ForEach
		job   string
		items any
		keys  string // or the error
	}{
		{"texts and numbers", jobcontrol.ForEach{}, "j", []any{"a", int64(7), 1.5, "b c", "ü"}, "a 7 1.5 b c ü"},
		{"others have an index", jobcontrol.ForEach{}, "j", []any{nil, []any{}, map[string]any{}, true, jobcontrol.Secret{Name: "s"}}, "0 1 2 3 4"},
		{"a mapping has keys, in order", jobcontrol.ForEach{}, "j", map[string]any{"b": 1, "a": nil}, "a b"},
		{"a path", jobcontrol.ForEach{Key: "id"}, "j", []any{item("x", 1), item("y", 1)}, "x y"},
		{"a path below", jobcontrol.ForEach{Key: "v[0].n"}, "j", []any{item("x", []any{map[string]any{"n": int64(3)}})}, "3"},
		{"a path instead of keys", jobcontrol.ForEach{Key: "id"}, "j", map[string]any{"b": item("x", 1), "a": item("y", 1)}, "y x"},
		{"no part of an id", jobcontrol.ForEach{}, "j", []any{"", "x/y", "u[v]", " a", "a\n", strings.Repeat("k", 126)}, "12ae32cb1ec0 2adc656efaf1 b9cba98c8020 8d52d733b2ae 0a38bb8c01ea 01ad0642ac94"},
		{"just short enough", jobcontrol.ForEach{}, "j", []any{strings.Repeat("k", 125)}, strings.Repeat("k", 125)},
		{"none", jobcontrol.ForEach{}, "j", []any{}, ""},
		{"as many as there may be", jobcontrol.ForEach{}, "j", many, "for_each: 10001 items are more than 10000"},
		{"twice", jobcontrol.ForEach{}, "j", []any{"a", "1", int64(1)}, `for_each: items 1 and 2 have the same key "1"`},
		{"twice by an index", jobcontrol.ForEach{}, "j", []any{int64(1), true}, `for_each: items 0 and 1 have the same key "1"`},
		{"no list", jobcontrol.ForEach{}, "j", "abc", "for_each: the items must be a list or a mapping, not a text"},
		{"null", jobcontrol.ForEach{}, "j", nil, "for_each: the items must be a list or a mapping, not null"},
		{"no such key", jobcontrol.ForEach{Key: "id"}, "j", []any{item("x", 1), map[string]any{}}, `for_each: item 1 has no key: path "id": no key "id"`},
		{"a key that is a list", jobcontrol.ForEach{Key: "v"}, "j", []any{item("x", []any{})}, "for_each: the key of item 0, v, must be a text or a number, not a list"},
	} {
		list, err := c.each.List(c.job, c.items)
		var keys []string
		for _, it := range list {
			keys = append(keys, it.Key)
			if id := jobcontrol.ItemJob(c.job, it.Key); jobcontrol.CheckJobID(id) != nil {
				t.Errorf("%s: %q is no id", c.name, id)
			}
			if key, ok := jobcontrol.ItemKey(c.job, jobcontrol.ItemJob(c.job, it.Key)); !ok || key != it.Key {
				t.Errorf("%s: the key %q comes back as %q", c.name, it.Key, key)
			}
		}
		got := strings.Join(keys, " ")
		if err != nil {
			got = err.Error()
		}
		if got != c.keys {
			t.Errorf("%s: %q, want %q", c.name, got, c.keys)
		}
	}
	for _, id := range []string{"j", "j[]", "j[x", "jj[x]", "j[x]y"} {
		if key, ok := jobcontrol.ItemKey("j", id); ok {
			t.Errorf("%q is taken for the item %q", id, key)
		}
	}
}

// TestForEachDefinition: a definition is the same after it was stored, and that
// of jobs without for_each is what it was.
func TestForEachDefinition(t *testing.T) {
	j := &jobcontrol.Job{ID: "j", Run: &jobcontrol.Task{Shell: "x"}, Dependencies: []string{"d"}, Unique: []string{"*"}, ForEach: &jobcontrol.ForEach{
		Items: map[string]any{"$a": jobcontrol.Retval{Job: "d", Path: "x[k].y"}, "b": jobcontrol.Secret{Name: "s"}, "n": int64(1) << 60}, As: "x", Key: "y", Partial: true,
	}}
	body, _, err := j.Definition()
	if err != nil {
		t.Fatal(err)
	}
	var back jobcontrol.Job
	if err := json.Unmarshal(body, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(j, &back); diff != "" {
		t.Errorf("-stored +read\n%s", diff)
	}
	if j.Kind() != jobcontrol.KindForEach || j.OfItems().Kind() != jobcontrol.KindRunOnly || j.OfItems().Unique != nil || j.ForEach == nil {
		t.Errorf("kinds %s, %s", j.Kind(), j.OfItems().Kind())
	}
	if n := j.Named("j[x]"); n.ID != "j[x]" || j.ID != "j" || j.Named("j") != j {
		t.Errorf("named %q", n.ID)
	}
	body, _, err = (&jobcontrol.Job{ID: "a"}).Definition()
	if err != nil || string(body) != `{"id":"a"}` {
		t.Errorf("%s, %v", body, err)
	}
}

// TestLookupKey: in brackets is any key of a mapping.
func TestLookupKey(t *testing.T) {
	doc := map[string]any{"a.b": map[string]any{"c": []any{int64(5)}}, "7": "seven", "l": []any{"x"}}
	for path, want := range map[string]string{"[a.b].c[0]": "5", "[7]": "seven", "7": "seven", "[l][0]": "x", "l[0]": "x", "[x]": `path "[x]": no key "x"`, "l[x]": `path "l[x]": "x" is no index`} {
		got, err := jobcontrol.Lookup(doc, path)
		text := fmt.Sprint(got)
		if err != nil {
			text = err.Error()
		}
		if text != want {
			t.Errorf("%s: %s, want %s", path, text, want)
		}
	}
}

// TestExpandAgain: which builds of an earlier one are taken for items.
func TestExpandAgain(t *testing.T) {
	j := &jobcontrol.Job{
		ID: "j", Run: &jobcontrol.Task{Shell: "x"}, Dependencies: []string{"d", "e"}, ForEach: &jobcontrol.ForEach{},
		Kwargs: map[string]any{"base": jobcontrol.Retval{Job: "d"}},
	}
	first := &jobcontrol.Build{ID: 1, Job: "j", State: jobcontrol.Failed, Tries: 4, Pins: map[string]int64{"d": 50, "e": 60}}
	items := []jobcontrol.Item{{Key: "a", Value: "a"}, {Key: "b", Value: "b"}, {Key: "c", Value: "c"}}
	store := map[int64]*jobcontrol.Build{1: first}
	build := func(_ context.Context, id int64) (*jobcontrol.Build, error) {
		if b := store[id]; b != nil {
			return b, nil
		}
		return nil, jobcontrol.Errorf(jobcontrol.NotFound, "no such build: %d", id)
	}
	expand := func(j *jobcontrol.Job, b *jobcontrol.Build, items []jobcontrol.Item) string {
		t.Helper()
		x, err := j.Expand(context.Background(), b, items, build, nil)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, n := range x.Builds {
			out = append(out, fmt.Sprint(n.Build.Job, "<", n.Build.AgainOf))
		}
		for _, id := range []string{"j[a]", "j[b]", "j[c]"} {
			if x.Pins[id] != 0 {
				out = append(out, fmt.Sprint(id, "=", x.Pins[id]))
			}
		}
		return strings.Join(out, " ")
	}
	x, err := j.Expand(context.Background(), first, items, build, nil)
	if err != nil || len(x.Builds) != 3 || x.Pins != nil {
		t.Fatalf("%+v, %v", x, err)
	}
	for i, state := range []jobcontrol.State{jobcontrol.Successful, jobcontrol.Failed, jobcontrol.Successful} {
		n := x.Builds[i]
		b := n.Build
		b.ID, b.State, b.Definition = int64(10+i), state, n.Hash
		store[b.ID] = &b
		first.Pins[b.Job] = b.ID
	}
	if b := store[10]; b.Tries != 4 || string(b.Kwargs) != `{"base":{"$retval":{"job":"d"}},"item":"a"}` || b.Pins["d"] != 50 {
		t.Errorf("%+v", b)
	}
	again := func(change func(b *jobcontrol.Build)) *jobcontrol.Build {
		b := &jobcontrol.Build{ID: 2, Job: "j", AgainOf: 1, Tries: 4, Pins: map[string]int64{"d": 50, "e": 61}}
		if change != nil {
			change(b)
		}
		return b
	}
	check := func(what, want, got string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	check("what failed", "j[b]<11 j[a]=10 j[c]=12", expand(j, again(nil), items))
	check("not again", "j[a]<0 j[b]<0 j[c]<0", expand(j, again(func(b *jobcontrol.Build) { b.AgainOf = 0 }), items))
	check("again of a Run", "j[a]<0 j[b]<0 j[c]<0", expand(j, again(func(b *jobcontrol.Build) { b.AgainOf = 99 }), items))
	check("another result", "j[a]<10 j[b]<11 j[c]<12", expand(j, again(func(b *jobcontrol.Build) { b.Pins["d"] = 51 }), items))
	check("another argument", "j[a]<10 j[b]<11 j[c]<12", expand(j, again(func(b *jobcontrol.Build) { b.Args = json.RawMessage(`[1]`) }), items))
	changed := *j
	changed.Run = &jobcontrol.Task{Shell: "y"}
	check("another definition", "j[a]<10 j[b]<11 j[c]<12", expand(&changed, again(nil), items))
	partial := *j
	partial.ForEach = &jobcontrol.ForEach{Partial: true, Key: "k"}
	check("another for_each", "j[b]<11 j[a]=10 j[c]=12", expand(&partial, again(nil), items))
	check("another item", "j[b]<11 j[c]<12 j[d]<0 j[a]=10",
		expand(j, again(nil), []jobcontrol.Item{items[0], items[1], {Key: "c", Value: "C"}, {Key: "d", Value: "d"}}))
	delete(store, 10)
	check("deleted", "j[a]<0 j[b]<11 j[c]=12", expand(j, again(nil), items))
	first.State, store[11].State = jobcontrol.Successful, jobcontrol.Skipped
	check("nothing is left to do", "j[a]<0 j[b]<0 j[c]<0", expand(j, again(nil), items))
	first.State = jobcontrol.Cancelled
	check("cancelled", "j[a]<0 j[b]<11 j[c]=12", expand(j, again(nil), items))
	broken := errors.New("broken")
	_, err = j.Expand(context.Background(), again(nil), items, func(context.Context, int64) (*jobcontrol.Build, error) { return nil, broken }, nil)
	if !errors.Is(err, broken) {
		t.Errorf("a fault of the store is %v", err)
	}
}
