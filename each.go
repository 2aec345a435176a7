package jobcontrol

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxItems is how many items a job with [ForEach] may have.
const MaxItems = 10_000

// ForEach makes a job one build per item. The job's own build executes no task:
// its first attempt resolves the items and expands, see [Executions.Expand], and
// when every item's build is final another attempt gathers their results: a
// mapping from keys to results.
//
// An item's build is one of a job of its own, J[KEY], with the item as a keyword
// argument. KEY is the item's key in a mapping, else what Key leads to, else the
// item itself if it is a text or a number, else its index; what cannot be part of
// a job id is replaced by the first 12 hexadecimal digits of its SHA-256.
type ForEach struct {
	Items   any    // []any, map[string]any or a [Retval]; placeholders may be in it
	As      string // the keyword argument that an item is; "": item
	Key     string // a path inside items that are mappings
	Partial bool   // it is successful if one of its items is
}

// forEachJSON is the stored form of a ForEach: its items are encoded arguments.
type forEachJSON struct {
	Items   json.RawMessage `json:"items"`
	As      string          `json:"as,omitempty"`
	Key     string          `json:"key,omitempty"`
	Partial bool            `json:"partial,omitempty"`
}

// MarshalJSON returns the stored form.
func (f *ForEach) MarshalJSON() ([]byte, error) {
	items, err := EncodeArguments(f.Items)
	if err != nil {
		return nil, err
	}
	return json.Marshal(forEachJSON{items, f.As, f.Key, f.Partial})
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (f *ForEach) UnmarshalJSON(data []byte) error {
	var in forEachJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	items, err := DecodeArguments(in.Items)
	*f = ForEach{items, in.As, in.Key, in.Partial}
	return err
}

// Name is the keyword argument that an item is.
func (f *ForEach) Name() string { return cmp.Or(f.As, "item") }

// uses tells whether items are made of the result of a job.
func (f *ForEach) uses(job string) bool {
	found := false
	WalkArguments(f.Items, func(ph any) {
		rv, ok := ph.(Retval)
		found = found || ok && rv.Job == job
	})
	return found
}

// Static tells whether the items are known without any result.
func (f *ForEach) Static() bool {
	static := true
	WalkArguments(f.Items, func(ph any) {
		if _, ok := ph.(Retval); ok {
			static = false
		}
	})
	return static
}

// Item is one of those of a [ForEach].
type Item struct {
	Key   string
	Value any // may be, or contain, a [Secret]
}

// BadItem is what is wrong with an item: Index counts from 0, in the order of the
// keys where the items are a mapping.
type BadItem struct {
	Index   int
	Message string
}

// Error returns the message.
func (b *BadItem) Error() string { return b.Message }

// List returns the items, for which items has been resolved, of a job with the
// given id. The error is a [BadItem], or says that these are no items at all.
func (f *ForEach) List(job string, items any) ([]Item, error) {
	var out []Item
	switch v := items.(type) {
	case []any:
		if len(v) > MaxItems {
			return nil, tooMany(len(v))
		}
		for i, value := range v {
			key, err := f.keyOf(i, value)
			if err != nil {
				return nil, &BadItem{i, err.Error()}
			}
			out = append(out, Item{itemKey(job, key), value})
		}
	case map[string]any:
		if len(v) > MaxItems {
			return nil, tooMany(len(v))
		}
		for i, key := range slices.Sorted(maps.Keys(v)) {
			if f.Key != "" {
				var err error
				if key, err = f.keyOf(i, v[key]); err != nil {
					return nil, &BadItem{i, err.Error()}
				}
			}
			out = append(out, Item{itemKey(job, key), v[key]})
		}
	default:
		return nil, Errorf(Invalid, "for_each: the items must be a list or a mapping, not %s", kindOf(items))
	}
	first := make(map[string]int, len(out))
	for i := range out {
		if other, twice := first[out[i].Key]; twice {
			return nil, &BadItem{i, fmt.Sprintf("for_each: items %d and %d have the same key %q", other, i, out[i].Key)}
		}
		first[out[i].Key] = i
	}
	return out, nil
}

// ItemsOf returns the items of a job with [ForEach]; result returns the result of
// a dependency. What is wrong with them is a *[Failure] of kind user.
func (j *Job) ItemsOf(result func(job string) (any, error)) ([]Item, error) {
	resolved, err := ReplaceArguments(j.ForEach.Items, func(ph any) (any, error) {
		rv, ok := ph.(Retval)
		if !ok {
			return ph, nil // a secret stays one until an item's attempt reads it
		}
		v, err := result(rv.Job)
		if err != nil || rv.Path == "" {
			return v, err
		}
		if v, err = Lookup(v, rv.Path); err != nil {
			return nil, UserError("result of job %q: %v", rv.Job, err)
		}
		return v, nil
	})
	if err != nil {
		return nil, err
	}
	items, err := j.ForEach.List(j.ID, resolved)
	if err != nil {
		return nil, UserError("%v", err)
	}
	return items, nil
}

func tooMany(n int) error {
	return Errorf(Invalid, "for_each: %d items are more than %d", n, MaxItems)
}

// keyOf returns the key of the item of a list.
func (f *ForEach) keyOf(index int, value any) (string, error) {
	what := value
	if f.Key != "" {
		var err error
		if what, err = Lookup(value, f.Key); err != nil {
			return "", fmt.Errorf("for_each: item %d has no key: %w", index, err)
		}
	}
	switch v := what.(type) {
	case string:
		return v, nil
	case int:
		return strconv.Itoa(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float64:
		text, err := json.Marshal(v)
		return string(text), err
	}
	if f.Key != "" {
		return "", fmt.Errorf("for_each: the key of item %d, %s, must be a text or a number, not %s", index, f.Key, kindOf(what))
	}
	return strconv.Itoa(index), nil
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case string:
		return "a text"
	case []any:
		return "a list"
	case map[string]any:
		return "a mapping"
	case Retval, Secret:
		return "a placeholder"
	}
	return "a number"
}

// maxExpansion bounds the arguments of the builds of all items together: they are
// written in one transaction.
const maxExpansion = 64 << 20

// hashedKey is how many characters stand for a key that cannot be part of an id.
const hashedKey = 12

// itemKey makes a key part of a job id.
func itemKey(job, key string) string {
	if key != "" && strings.TrimSpace(key) == key && !strings.ContainsAny(key, "[]") && CheckJobID(ItemJob(job, key)) == nil {
		return key
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(key) // a text
	sum := sha256.Sum256(bytes.TrimRight(text.Bytes(), "\n"))
	return hex.EncodeToString(sum[:])[:hashedKey]
}

// ItemJob is the id of the job that the builds of an item are of.
func ItemJob(job, key string) string { return job + "[" + key + "]" }

// ItemKey is the inverse of [ItemJob]; false: the id is not that of an item of the job.
func ItemKey(job, id string) (key string, ok bool) {
	key, ok = strings.CutPrefix(id, job+"[")
	if ok {
		key, ok = strings.CutSuffix(key, "]")
	}
	return key, ok && key != ""
}

// ItemPins are those of the pins that are builds of items of the job, by key.
func ItemPins(job string, pins map[string]int64) map[string]int64 {
	var out map[string]int64
	for id, build := range pins {
		if key, ok := ItemKey(job, id); ok {
			if out == nil {
				out = make(map[string]int64, len(pins))
			}
			out[key] = build
		}
	}
	return out
}

// OfItems is the definition that the builds of the job's items have: all of it
// but what is of the whole. They share it, so its id is that of the job.
func (j *Job) OfItems() *Job {
	c := *j
	c.ForEach, c.Unique = nil, nil
	return &c
}

// Named is the job with the id of a build of it, which for that of an item is
// not the one in the definition.
func (j *Job) Named(id string) *Job {
	if j.ID == id {
		return j
	}
	c := *j
	c.ID = id
	return &c
}

// Expansion is what a build becomes that stands for many; see [Executions.Expand].
type Expansion struct {
	Builds []NewBuild       // of its items: Build.Job, Args, Kwargs, Tries, RetryDelay, Pins, Key, Why, Definition and Hash are used
	Pins   map[string]int64 // job id of an item → the finished build that is taken for it
}

// Expanded is the answer of [Executions.Expand].
type Expanded struct {
	Build    *Build  // that was expanded, as it is now
	Children []Build // complete, in the order of the items, without those that were taken
}

// Expand decides the builds of a build's items. Where the build is one again of
// an earlier one that did not succeed with all of its items, the successful
// builds of that one are taken for items that are the same. key, which may be
// nil, returns the key of an item's build in its service.
func (j *Job) Expand(ctx context.Context, b *Build, items []Item, build func(ctx context.Context, id int64) (*Build, error),
	key func(args, kwargs EncodedArguments) (string, error),
) (*Expansion, error) {
	child := j.OfItems()
	body, hash, err := child.Definition()
	if err != nil {
		return nil, err
	}
	kwargs := j.Kwargs
	if b.Kwargs != nil {
		if kwargs, err = decodeMap(b.Kwargs); err != nil {
			return nil, err
		}
	}
	earlier, err := earlierItems(ctx, b, build)
	if err != nil {
		return nil, err
	}
	uses := child.uses(b)
	x := &Expansion{}
	own, err := EncodeArguments(kwargs)
	if err != nil {
		return nil, err
	}
	bytes := 0
	given := make(map[string]any, len(kwargs)+1)
	maps.Copy(given, kwargs)
	for _, it := range items {
		given[j.ForEach.Name()] = it.Value
		encoded, err := EncodeArguments(given)
		if err != nil {
			return nil, err
		}
		if n := len(encoded) - len(own); n > MaxArguments {
			return nil, UserError("for_each: item %q has %d bytes of JSON, more than %d; store it elsewhere and pass a pointer to it", it.Key, n, MaxArguments)
		}
		if bytes += len(encoded); bytes > maxExpansion {
			return nil, UserError("for_each: the arguments of the builds of %d items, each with all of the job's, are more than %d bytes of JSON together; store them elsewhere and pass pointers to them",
				len(items), maxExpansion)
		}
		n := NewBuild{Definition: body, Hash: hash, Build: Build{
			Job: ItemJob(j.ID, it.Key), Args: b.Args, Kwargs: encoded, Tries: b.Tries, RetryDelay: b.RetryDelay, Pins: b.Pins,
			Why: fmt.Sprintf("an item of build %d", b.ID),
		}}
		old, err := earlier(it.Key)
		if err != nil {
			return nil, err
		}
		if old != nil {
			if n.Build.AgainOf = old.ID; sameItem(old, &n, uses) {
				if x.Pins == nil {
					x.Pins = map[string]int64{}
				}
				x.Pins[n.Build.Job] = old.ID
				continue
			}
		}
		if key != nil {
			if n.Build.Key, err = key(n.Build.Args, encoded); err != nil {
				return nil, err
			}
		}
		x.Builds = append(x.Builds, n)
	}
	return x, nil
}

// maxAgain is how many builds, each one again of the next, are looked through.
const maxAgain = 100

// earlierItems returns how the builds of items are found of the build that b is
// one again of. Where that one has nothing left to do there are none.
func earlierItems(ctx context.Context, b *Build, build func(ctx context.Context, id int64) (*Build, error)) (func(key string) (*Build, error), error) {
	none := func(string) (*Build, error) { return nil, nil }
	get := func(id int64) (*Build, error) {
		old, err := build(ctx, id)
		if errors.Is(err, ErrNotFound) {
			return nil, nil
		}
		return old, err
	}
	if b.AgainOf == 0 {
		return none, nil
	}
	// One that was never expanded, since something before it failed, passes on
	// what it is itself one again of.
	var whole *Build
	for of, hops := b.AgainOf, 0; of != 0 && hops < maxAgain; hops++ {
		var err error
		if whole, err = get(of); err != nil || whole == nil || whole.Job != b.Job {
			return none, err
		}
		if len(ItemPins(b.Job, whole.Pins)) > 0 || whole.State.Satisfied() {
			break
		}
		of = whole.AgainOf
	}
	found := map[string]*Build{}
	again := whole.State != Successful
	for key, id := range ItemPins(b.Job, whole.Pins) {
		old, err := get(id)
		if err != nil {
			return none, err
		}
		if old == nil {
			continue
		}
		found[key] = old
		again = again || !old.State.Satisfied()
	}
	if !again { // everything was done: so all of it is wanted once more
		return none, nil
	}
	return func(key string) (*Build, error) { return found[key], nil }, nil
}

// sameItem tells whether a build is what the new one of an item would be.
func sameItem(old *Build, n *NewBuild, uses []string) bool {
	if old.State != Successful || old.Definition != n.Hash || !bytes.Equal(old.Args, n.Build.Args) || !bytes.Equal(old.Kwargs, n.Build.Kwargs) {
		return false
	}
	return !slices.ContainsFunc(uses, func(dep string) bool { return old.Pins[dep] != n.Build.Pins[dep] })
}

// uses are the jobs whose results a build's tasks are given.
func (j *Job) uses(b *Build) []string {
	var jobs []string
	walk := func(v any) {
		WalkArguments(v, func(ph any) {
			if rv, ok := ph.(Retval); ok && !slices.Contains(jobs, rv.Job) {
				jobs = append(jobs, rv.Job)
			}
		})
	}
	stored := func(data EncodedArguments) {
		if data != nil {
			if v, err := DecodeArguments(data); err == nil {
				walk(v)
			}
		}
	}
	walk(j.Args)
	walk(j.Kwargs)
	walk(j.Env)
	stored(b.Args)
	stored(b.Kwargs)
	for _, t := range []*Task{j.Check, j.Run, j.Cleanup} {
		if t == nil {
			continue
		}
		stored(t.Args)
		stored(t.Kwargs)
		if t.HTTP != nil {
			t.HTTP.walkHTTP(func(_ string, v any) { walk(v) })
		}
	}
	return jobs
}

// checkForEach checks what concerns the items of a job.
func checkForEach(j *Job, add func(field, hint, format string, args ...any)) {
	f := j.ForEach
	if j.Run == nil && j.Check == nil {
		add("for_each", "give the job a run or a check", "there is nothing to execute for an item")
	}
	if f.As != "" && (!utf8.ValidString(f.As) || strings.ContainsAny(f.As, "=\x00")) {
		add("for_each.as", "", "%q is no name of a keyword argument", f.As)
	}
	if _, given := j.Kwargs[f.Name()]; given {
		add("kwargs."+f.Name(), "call one of them differently: `for_each: {items: …, as: NAME}`", "%q is the item that for_each gives", f.Name())
	}
	if n := utf8.RuneCountInString(ItemJob(j.ID, strings.Repeat("0", hashedKey))); n > 128 {
		add("id", "the builds of its items are of jobs named ID[KEY]", "the id is too long for a job with for_each by %d characters", n-128)
	}
	if !f.Static() {
		return // keys are known when the results are
	}
	if _, err := f.List(j.ID, f.Items); err != nil {
		addBadItem(f.Items, err, add)
	}
}

// itemIDs refuses jobs that have the id of an item of another one.
func itemIDs(jobs []*Job) Problems {
	var out Problems
	whole := map[string]bool{}
	for _, j := range jobs {
		whole[j.ID] = j.ForEach != nil
	}
	for i, j := range jobs {
		for at, r := range j.ID {
			if r == '[' && whole[j.ID[:at]] && strings.HasSuffix(j.ID, "]") {
				out = append(out, Problem{
					Index: i, Job: j.ID, Field: "id", Message: fmt.Sprintf("%q is what an item of job %q is called", j.ID, j.ID[:at]),
					Hint: "give one of them another id",
				})
			}
		}
	}
	return out
}

func addBadItem(items any, err error, add func(field, hint, format string, args ...any)) {
	var bad *BadItem
	if errors.As(err, &bad) {
		field := fmt.Sprintf("for_each.items[%d]", bad.Index)
		if m, ok := items.(map[string]any); ok {
			field = "for_each.items." + sortedKeys(m)[bad.Index]
		}
		add(field, "", "%s", bad.Message)
		return
	}
	add("for_each", HintOf(err), "%s", err.Error())
}
