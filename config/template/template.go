package template

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Input is a text to be rendered.
type Input struct {
	Name string // how errors call the text's file
	Text string
	Dir  string // where include and import find files; empty: nowhere
}

// Options say how to render. The zero value renders within the process.
type Options struct {
	Child  []string // the command of a process that calls [Child] first; see [Command]
	Limits Limits
}

// Limits bound a rendering. A zero field is its default.
type Limits struct {
	Output int64         // bytes of rendered text; 64 MiB
	Time   time.Duration // 5 s
	Memory int64         // bytes of the child process; 512 MiB
}

func (l Limits) withDefaults() Limits {
	if l.Output <= 0 {
		l.Output = 64 << 20
	}
	if l.Time <= 0 {
		l.Time = 5 * time.Second
	}
	if l.Memory <= 0 {
		l.Memory = 512 << 20
	}
	return l
}

// Output is a rendered text.
type Output struct {
	Text string
	Map  *Map // nil where the places are not known
}

// Error is why a template cannot be rendered. Line and Column count from 1, in
// characters; a zero Line means that the place is not known. It has no text of
// the file in it other than names.
type Error struct {
	File    string
	Line    int
	Column  int
	Message string
	Hint    string
}

// Error returns the place and the message.
func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
}

// Needed tells whether the text has anything to be rendered.
func Needed(text string) bool {
	for {
		i := strings.IndexByte(text, '{')
		if i < 0 || i+1 == len(text) {
			return false
		}
		switch text[i+1] {
		case '{', '%', '#':
			return true
		}
		text = text[i+1:]
	}
}

// Render renders the input. An error of the template is of type [*Error]; any
// other error is of the machinery, or of ctx.
func Render(ctx context.Context, in Input, o Options) (*Output, error) {
	o.Limits = o.Limits.withDefaults()
	if len(o.Child) > 0 {
		return spawn(ctx, in, o)
	}
	return render(ctx, in, o.Limits, nil)
}
