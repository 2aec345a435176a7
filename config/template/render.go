package template

import (
	"context"
	"os"
	"strings"
	"time"
)

// render renders within this process. started is told of each engine, for a watchdog.
func render(ctx context.Context, in Input, limits Limits, started func(*engine)) (*Output, error) {
	begin := time.Now()
	deadline := begin.Add(limits.Time)
	var root *os.Root
	if in.Dir != "" {
		var err error
		if root, err = os.OpenRoot(in.Dir); err != nil {
			return nil, err
		}
		defer root.Close()
	}
	in.Text = unixLines(in.Text)
	start := func() *engine {
		e := newEngine(ctx, in, root, limits, deadline)
		if started != nil {
			started(e)
		}
		return e
	}
	e := start()
	text, err := e.run(in.Text)
	if err != nil {
		return nil, locate(e, start, in.Text, err)
	}
	out := &Output{Text: text}
	// A second rendering, of a text with marks, tells where everything came from. Where it
	// differs from the first one, a template looked at its own text: then nothing is told.
	if spent := time.Since(begin); spent < limits.Time/3 {
		m := start()
		m.marks = &marker{}
		m.limits.Output += 16 * int64(strings.Count(text, "\n")+strings.Count(in.Text, "\n")+1024)
		if marked, err := m.run(in.Text); err == nil && !m.marks.failed {
			if plain, marks := m.marks.take(marked); plain == text {
				out.Map = &Map{places: m.marks.places, marks: marks}
			}
		}
	}
	return out, nil
}

// locate finds the place of an error of the template engine, which tells no more than a
// line: the text is rendered once more by an engine that watches every expression.
func locate(e *engine, start func() *engine, text string, err error) error {
	if found, ok := err.(*Error); ok {
		return found
	}
	p := start()
	p.precise = true
	if _, again := p.run(text); again != nil {
		return p.asError(text, again)
	}
	return e.asError(text, err)
}

func unixLines(text string) string {
	if !strings.Contains(text, "\r") {
		return text
	}
	return strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
}
