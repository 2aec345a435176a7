package template

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nikolalohinski/gonja/v2/builtins"
	syntax "github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
)

// engine is one rendering of one input. It belongs to one goroutine; only now may
// be read by others.
type engine struct {
	ctx      context.Context
	limits   Limits
	deadline time.Time
	name     string   // of the input
	root     *os.Root // where other files are; nil: nowhere
	marks    *marker  // nil: the text is rendered as it is
	precise  bool     // find the place of the first error

	config    *syntax.Config
	env       *exec.Environment
	sources   map[string]*source        // by path
	templates map[string]*exec.Template // files that were parsed, by path
	reading   []*source                 // the sources being parsed, innermost last
	sites     []*site
	now       *atomic.Pointer[site] // the last place that is known to have been executed
	fault     *fault                // in a precise rendering: the first error of what is being evaluated
	macros    int                   // calls that are under way
	includes  int
}

func newEngine(ctx context.Context, in Input, root *os.Root, limits Limits, deadline time.Time) *engine {
	e := &engine{
		ctx: ctx, limits: limits, deadline: deadline, name: in.Name, root: root,
		sources: map[string]*source{}, templates: map[string]*exec.Template{}, config: syntax.New(), now: &atomic.Pointer[site]{},
	}
	e.config.StrictUndefined = true
	e.config.KeepTrailingNewline = true
	globals := exec.EmptyContext().Update(builtins.GlobalFunctions)
	globals.Set("none", nil)
	globals.Set("None", nil)
	globals.Set("range", e.numbers)
	globals.Set("dict", dict)
	globals.Set(siteFunction, e.visit)
	e.env = &exec.Environment{
		Context:           globals,
		Filters:           filters(),
		Tests:             builtins.Tests,
		ControlStructures: e.structures(),
		Methods:           builtins.Methods,
	}
	return e
}

// run renders the text. Its error is an [*Error], or one of gonja.
func (e *engine) run(text string) (out string, err error) {
	w := &limitedText{engine: e}
	defer func() {
		switch r := recover().(type) {
		case nil:
		case *Error:
			out, err = "", r
		case roughError:
			out, err = "", r
		default:
			out, err = "", e.here("the template makes the template engine fail: %v", r)
		}
	}()
	t, err := e.parse(e.name, e.name, text)
	if err != nil {
		return "", err
	}
	if err := t.Execute(w, nil); err != nil {
		return "", err
	}
	return w.String(), nil
}

// parse parses a source and prepares it for execution. The path is how the source is found.
func (e *engine) parse(path, name, text string) (*exec.Template, error) {
	ready, err := e.prepare(path, name, text)
	if err != nil {
		return nil, err
	}
	src := e.sources[path]
	e.reading = append(e.reading, src)
	defer func() { e.reading = e.reading[:len(e.reading)-1] }()
	t, err := exec.NewTemplate(path, e.config, &files{engine: e, path: path, text: ready}, e.env)
	if err != nil {
		return nil, e.syntaxError(src, err)
	}
	w := &rewriter{engine: e, seen: map[any]bool{}}
	w.template(t.Root())
	return t, nil
}

// prepare makes the text for the parser: with marks, or with line breaks as it needs them.
func (e *engine) prepare(path, name, text string) (ready string, err error) {
	s, err := scan(name, text)
	if err != nil {
		return "", err
	}
	src := &source{name: name, text: text, shifts: map[int]bool{}}
	e.sources[path] = src
	if len(s.breaks) > 0 {
		s, _ = scan(name, src.shift(s.breaks))
	}
	if e.marks != nil {
		s, _ = scan(name, e.marks.put(src, s))
	}
	src.ready = src.condense(s)
	return src.ready, nil
}

// here is an error at the place that was executed last.
func (e *engine) here(format string, args ...any) *Error {
	if at := e.now.Load(); at != nil {
		return at.source.errorAt(at.token, format, args...)
	}
	return &Error{File: e.name, Message: fmt.Sprintf(format, args...)}
}

// check stops the rendering where its time is over.
func (e *engine) check() {
	if !time.Now().Before(e.deadline) {
		panic(e.timeout())
	}
	if err := e.ctx.Err(); err != nil {
		panic(e.here("stopped: %v", err))
	}
}

func (e *engine) timeout() *Error {
	err := e.here("the template needs more than %v", e.limits.Time)
	err.Hint = "look for a loop within a loop, or a range that is too long"
	return err
}

// limitedText takes the rendered text and stops the rendering where it is too large.
type limitedText struct {
	strings.Builder
	engine *engine
}

// Write takes a part of the text.
func (w *limitedText) Write(p []byte) (int, error) { return w.WriteString(string(p)) }

// WriteString takes a part of the text.
func (w *limitedText) WriteString(s string) (int, error) {
	if int64(w.Len())+int64(len(s)) > w.engine.limits.Output {
		panic(w.engine.here("the rendered text is larger than %s", bytesText(w.engine.limits.Output)))
	}
	return w.Builder.WriteString(s)
}

func bytesText(n int64) string {
	if n >= 1<<20 && n%(1<<20) == 0 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d bytes", n)
}

// asError finds an error of ours in the chain, or makes one of the text of the chain.
func (e *engine) asError(text string, err error) *Error {
	var ours *Error
	if errors.As(err, &ours) {
		return ours
	}
	if f := e.fault; f != nil {
		out := f.source.errorAt(f.token, "%s", "")
		out.Message, out.Hint = e.explain(f.text, f.source.text)
		return out
	}
	out := &Error{File: e.name, Line: lastLine(err.Error()), Column: 1}
	out.Message, out.Hint = e.explain(err.Error(), text)
	return out
}
