package jobcontrol

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// Registry holds the Go functions that jobs may name. Each program makes its
// own; there is no global one. Registering the same name twice, a bad name or an
// unsupported parameter type panics: it is an error of the program.
type Registry struct {
	mu        sync.RWMutex
	functions map[string]*RegisteredFunction
}

// NewRegistry returns an empty registry.
func NewRegistry() *Registry { return &Registry{functions: map[string]*RegisteredFunction{}} }

// RegisteredFunction is what the registry knows of a function.
type RegisteredFunction struct {
	Name       string
	Doc        string      // what [Function.Describe] was given; may be empty
	Parameters []Parameter // of a struct input; nil: any arguments
	File       string      // where it is defined
	Line       int

	call func(ctx context.Context, args []any, kwargs map[string]any) (any, error)
}

// Parameter is a field of a function's input.
type Parameter struct {
	Name     string // the JSON name
	Type     string // the Go type
	Optional bool   // tagged omitempty or omitzero
}

// Call decodes the arguments and calls the function.
func (f *RegisteredFunction) Call(ctx context.Context, args []any, kwargs map[string]any) (any, error) {
	return f.call(ctx, args, kwargs)
}

// Lookup returns a function by name.
func (r *Registry) Lookup(name string) (*RegisteredFunction, bool) {
	if r == nil {
		return nil, false
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	f, ok := r.functions[name]
	return f, ok
}

// Names returns the names of all functions in order.
func (r *Registry) Names() []string {
	if r == nil {
		return nil
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	names := make([]string, 0, len(r.functions))
	for n := range r.functions {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Arguments, as the input type of a function, takes the arguments as they are.
type Arguments struct {
	Args   []any
	Kwargs map[string]any
}

// None, as the input or output type of a function, says that there is none.
type None = struct{}

// Function is a typed handle of a registered function.
type Function[In, Out any] struct {
	reg  *RegisteredFunction
	name string
	job  *Job // that calls it with the arguments of each build
}

// Handle registers fn under a name such as mycrawler:crawl and returns a typed
// handle of it.
//
// In says how the arguments of a job become the input, as in a Python call:
//
//   - a struct: positional arguments fill its exported fields in order, keyword
//     arguments by their JSON names; an unknown name, a value given twice, a
//     missing one (unless tagged omitempty or omitzero) or one of another type
//     is an error that names it;
//   - [Arguments]: as they are;
//   - [None]: there must be none;
//   - any other type: exactly one positional argument.
//
// Out becomes the result, as JSON; [None] and nil: there is none. As a check,
// the function passes when its error is nil.
func Handle[In, Out any](r *Registry, name string, fn func(ctx context.Context, in In) (Out, error)) *Function[In, Out] {
	if err := CheckName("task", name); err != nil {
		panic("jobcontrol: " + err.Error())
	}
	rf := &RegisteredFunction{Name: name, Parameters: parametersOf(reflect.TypeFor[In]())}
	if f := runtime.FuncForPC(reflect.ValueOf(fn).Pointer()); f != nil {
		rf.File, rf.Line = f.FileLine(f.Entry())
	}
	fields := inputFields(reflect.TypeFor[In]())
	rf.call = func(ctx context.Context, args []any, kwargs map[string]any) (any, error) {
		var in In
		if err := decodeInput(&in, fields, args, kwargs); err != nil {
			return nil, &Failure{Kind: FailUser, Message: name + ": " + err.Error()}
		}
		out, err := fn(ctx, in)
		if err != nil {
			return nil, err
		}
		if _, none := any(out).(None); none {
			return nil, nil
		}
		return any(out), nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.functions[name]; ok {
		panic("jobcontrol: task " + name + " is registered twice")
	}
	r.functions[name] = rf
	return &Function[In, Out]{reg: rf, name: name, job: &Job{ID: name, Run: &Task{Function: name}}}
}

// Name returns the name of the function.
func (f *Function[In, Out]) Name() string { return f.name }

// Describe sets the documentation that jobs of this function show, and returns f.
func (f *Function[In, Out]) Describe(doc string) *Function[In, Out] {
	f.reg.Doc = doc
	return f
}

// Task returns the function as a task of a job.
func (f *Function[In, Out]) Task() *Task { return &Task{Function: f.name} }

// Job returns a run-only job that calls the function with the given input.
func (f *Function[In, Out]) Job(id string, in In) (*Job, error) {
	j := &Job{ID: id, Run: f.Task()}
	if a, ok := any(in).(Arguments); ok {
		j.Args, j.Kwargs = a.Args, a.Kwargs
		return j, nil
	}
	data, err := json.Marshal(in)
	if err != nil {
		return nil, Errorf(Invalid, "job %q: input: %v", id, err)
	}
	v, err := DecodeJSON(data)
	if err != nil {
		return nil, Errorf(Invalid, "job %q: input: %v", id, err)
	}
	if m, ok := v.(map[string]any); ok && reflect.TypeFor[In]().Kind() == reflect.Struct {
		j.Kwargs = m
	} else {
		j.Args = []any{v}
	}
	return j, nil
}

// EnqueueOptions are what a build of a function may have beside its input.
type EnqueueOptions struct {
	Job      *Job      // whose id and policy hold: service, tries, time limits, unique; it runs the function and must not change any more; nil: one named as the function
	ReadyAt  time.Time // not before, by the store's clock; the zero time: at once
	Priority int       // added to that of the job and its service
	Hold     bool      // it waits until somebody releases it
	Why      string    // why it is made
}

// Enqueue makes a lone build that calls the function with the given input on a
// worker, and returns the build's id; see [Queuer.Enqueue].
func (f *Function[In, Out]) Enqueue(ctx context.Context, c Queuer, in In, o EnqueueOptions) (int64, error) {
	e := Enqueued{ReadyAt: o.ReadyAt, Priority: o.Priority, Hold: o.Hold, Why: o.Why}
	var err error
	if e.Args, e.Kwargs, err = encodeInput(in); err != nil {
		return 0, Errorf(Invalid, "enqueue %q: input: %v", f.name, err)
	}
	return c.Enqueue(ctx, cmp.Or(o.Job, f.job), e)
}

// Wait waits until a build of the function is final and returns its result. That
// of a build that was not successful is an error of code [BuildFailed], with the
// [Failure] as its cause where there is one.
func (f *Function[In, Out]) Wait(ctx context.Context, c Queuer, build int64) (out Out, err error) {
	b, err := c.Wait(ctx, build)
	if err != nil {
		return out, err
	}
	if !b.State.Satisfied() {
		e := Errorf(BuildFailed, "build %d of job %q is %s", b.ID, b.Job, b.State)
		if b.Failure != nil {
			e.Cause = b.Failure
		}
		return out, e
	}
	return f.Result(b)
}

// encodeInput makes the arguments of a build from a function's input: keyword
// arguments of a struct, else one positional argument.
func encodeInput[In any](in In) (args, kwargs EncodedArguments, err error) {
	if a, ok := any(in).(Arguments); ok {
		if args, err = EncodeArguments(append([]any{}, a.Args...)); err != nil {
			return nil, nil, err
		}
		m := a.Kwargs
		if m == nil {
			m = map[string]any{}
		}
		kwargs, err = EncodeArguments(m)
		return args, kwargs, err
	}
	data, err := json.Marshal(in)
	if err != nil {
		return nil, nil, err
	}
	if MayHavePlaceholders(data) { // a key may need an escape
		v, err := DecodeJSON(data)
		if err != nil {
			return nil, nil, err
		}
		if data, err = EncodeArguments(v); err != nil {
			return nil, nil, err
		}
	}
	if reflect.TypeFor[In]().Kind() == reflect.Struct && data[0] == '{' {
		return nil, data, nil
	}
	return slices.Concat([]byte{'['}, data, []byte{']'}), nil, nil
}

// Result decodes the result of a build of the function.
func (f *Function[In, Out]) Result(b *Build) (out Out, err error) {
	if len(b.Result) == 0 {
		return out, nil
	}
	if err := json.Unmarshal(b.Result, &out); err != nil {
		return out, Errorf(Invalid, "result of build %d: %v", b.ID, err)
	}
	return out, nil
}

// field is a field of an input struct that arguments may fill.
type field struct {
	name     string
	index    int
	typ      reflect.Type
	optional bool
}

func fieldsOf(t reflect.Type) []field {
	var out []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		optional := strings.Contains(opts, "omitempty") || strings.Contains(opts, "omitzero")
		out = append(out, field{name, i, f.Type, optional})
	}
	return out
}

func isPlainStruct(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t != reflect.TypeFor[Arguments]() &&
		!reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]())
}

func parametersOf(t reflect.Type) []Parameter {
	if t == reflect.TypeFor[Arguments]() {
		return nil
	}
	if !isPlainStruct(t) {
		return []Parameter{{Name: "value", Type: t.String()}}
	}
	out := []Parameter{}
	for _, f := range fieldsOf(t) {
		out = append(out, Parameter{f.name, f.typ.String(), f.optional})
	}
	return out
}

// inputFields are the fields that arguments fill; nil: the type is not filled
// field by field.
func inputFields(t reflect.Type) []field {
	if !isPlainStruct(t) {
		return nil
	}
	return append([]field{}, fieldsOf(t)...)
}

// decodeInput fills *in from a job's arguments; see [Handle]. fields are those of
// its type.
func decodeInput(in any, fields []field, args []any, kwargs map[string]any) error {
	if a, ok := in.(*Arguments); ok {
		a.Args, a.Kwargs = args, kwargs
		return nil
	}
	v := reflect.ValueOf(in).Elem()
	if fields == nil {
		if len(args) != 1 || len(kwargs) > 0 {
			return Errorf(Invalid, "takes exactly 1 positional argument, got %d and %d keyword arguments", len(args), len(kwargs))
		}
		return convert(v, args[0], "argument ", "1")
	}
	if len(args) > len(fields) {
		return Errorf(Invalid, "takes at most %d arguments, got %d", len(fields), len(args))
	}
	given := make([]bool, len(fields))
	for i, a := range args {
		given[i] = true
		if err := convert(v.Field(fields[i].index), a, "argument ", fields[i].name); err != nil {
			return err
		}
	}
	var wrong string // of several wrong ones the first by name is told
	var failed error
	for k, a := range kwargs {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == k })
		var err error
		switch {
		case i < 0:
			err = Errorf(Invalid, "got an unexpected keyword argument %q", k)
		case i < len(args):
			err = Errorf(Invalid, "got more than one value for argument %q", k)
		default:
			given[i] = true
			err = convert(v.Field(fields[i].index), a, "argument ", k)
		}
		if err != nil && (failed == nil || k < wrong) {
			wrong, failed = k, err
		}
	}
	if failed != nil {
		return failed
	}
	for i, f := range fields {
		if !given[i] && !f.optional {
			return Errorf(Invalid, "argument %q is missing", f.name)
		}
	}
	return nil
}

// convert goes through JSON, so that a field takes just what its type decodes;
// for plain values of plain types that is known.
func convert(dst reflect.Value, v any, what, name string) error {
	if survives(dst.Type()) {
		switch v := v.(type) {
		case int64:
			if dst.CanInt() && !dst.OverflowInt(v) {
				dst.SetInt(v)
				return nil
			}
		case string:
			if dst.Kind() == reflect.String {
				dst.SetString(strings.ToValidUTF8(v, "\uFFFD"))
				return nil
			}
		case bool:
			if dst.Kind() == reflect.Bool {
				dst.SetBool(v)
				return nil
			}
		}
	}
	return convertJSON(dst, v, what, name)
}

// convertJSON has a frame of its own: it is large, and few need it.
//
//go:noinline
func convertJSON(dst reflect.Value, v any, what, name string) error {
	data, err := json.Marshal(v)
	if err != nil {
		return Errorf(Invalid, "%s%s: %v", what, name, err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(dst.Addr().Interface()); err != nil {
		return Errorf(Invalid, "%s%s: %s does not fit %s", what, name, trimUTF8(string(data), 60), dst.Type())
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
