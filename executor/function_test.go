package executor_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
)

type input struct {
	A int    `json:"a"`
	B string `json:"b,omitempty"`
}

// callFunction registers fn as t:f and executes it.
func callFunction[Out any](t *testing.T, ctx context.Context, fn func(context.Context, jobcontrol.Arguments) (Out, error)) (any, *recorder, error) {
	t.Helper()
	reg := jobcontrol.NewRegistry()
	task := jobcontrol.Handle(reg, "t:f", fn).Task()
	rec := newRecorder()
	c := newCall(rec, task)
	c.Job.Grace = 20 * time.Millisecond
	v, err := newExecutor(t, executor.Config{Registry: reg}).Execute(ctx, c)
	return v, rec, err
}

func TestFunction(t *testing.T) {
	reg := jobcontrol.NewRegistry()
	task := jobcontrol.Handle(reg, "t:f", func(ctx context.Context, in input) (string, error) {
		x, err := jobcontrol.Current(ctx)
		if err != nil {
			return "", err
		}
		jobcontrol.Logger(ctx, "f").Info("hello")
		return fmt.Sprint(in.A, in.B, " ", x.Build, " ", x.Fence), nil
	}).Task()
	e := newExecutor(t, executor.Config{Registry: reg})
	rec := newRecorder()
	c := newCall(rec, task)
	c.Args, c.Kwargs = []any{int64(1)}, map[string]any{"b": "x"}
	if v, err := e.Execute(context.Background(), c); err != nil || v != "1x 8 9" {
		t.Errorf("got %v, %v", v, err)
	}
	if got := rec.lines("f"); len(got) != 1 || got[0] != "hello" {
		t.Errorf("log %q", got)
	}
	c.Kwargs = map[string]any{"c": 1}
	_, err := e.Execute(context.Background(), c)
	failure(t, err, jobcontrol.FailUser)

	for name, want := range map[string]string{
		"t:g":       `no such function "t:g"; did you mean "t:f"?`,
		"some:else": `no such function "some:else"`,
	} {
		c.Task = &jobcontrol.Task{Function: name}
		_, err := e.Execute(context.Background(), c)
		if f := failure(t, err, jobcontrol.FailUser); f.Message != want {
			t.Errorf("got %q, want %q", f.Message, want)
		}
	}
	_, err = newExecutor(t, executor.Config{}).Execute(context.Background(), c)
	failure(t, err, jobcontrol.FailUser)
}

func TestFunctionErrors(t *testing.T) {
	base := errors.New("base")
	_, _, err := callFunction(t, context.Background(), func(context.Context, jobcontrol.Arguments) (int, error) {
		return 0, fmt.Errorf("outer: %w", base)
	})
	if f := failure(t, err, jobcontrol.FailError); f.Message != "outer: base" || len(f.Causes) != 1 || f.Causes[0] != "base" {
		t.Errorf("got %+v", f)
	}
	_, _, err = callFunction(t, context.Background(), func(context.Context, jobcontrol.Arguments) (int, error) {
		return 0, jobcontrol.Retry(time.Minute, "later")
	})
	if f := failure(t, err, jobcontrol.FailRetry); f.After != time.Minute {
		t.Errorf("got %+v", f)
	}
}

type thing struct{ items []int }

func (th *thing) at(i int) int { return th.items[i] } // the line that panics

func TestFunctionPanics(t *testing.T) {
	_, _, err := callFunction(t, context.Background(), func(context.Context, jobcontrol.Arguments) (int, error) {
		defer func() { _ = "a deferred call of the function is not in the stack" }()
		return (&thing{}).at(5), nil
	})
	f := failure(t, err, jobcontrol.FailPanic)
	if want := "panic: runtime error: index out of range [5] with length 0"; f.Message != want {
		t.Errorf("got %q, want %q", f.Message, want)
	}
	if len(f.Frames) != 2 {
		t.Fatalf("frames %+v", f.Frames)
	}
	outer, inner := f.Frames[0], f.Frames[1]
	if !strings.Contains(outer.Function, "TestFunctionPanics") || !strings.HasSuffix(inner.Function, "(*thing).at") {
		t.Errorf("frames %s, %s", outer.Function, inner.Function)
	}
	if len(inner.Source) != 11 || inner.Source[5].Line != inner.Line || !strings.Contains(inner.Source[5].Text, "the line that panics") {
		t.Errorf("source %+v", inner.Source)
	}
	if !strings.Contains(f.Traceback(), "> ") {
		t.Errorf("traceback %s", f.Traceback())
	}
}

func TestFunctionPanicValues(t *testing.T) {
	for _, p := range []any{"text", errors.New("text"), 5, nil, badString{}} {
		_, _, err := callFunction(t, context.Background(), func(context.Context, jobcontrol.Arguments) (int, error) {
			panic(p)
		})
		if f := failure(t, err, jobcontrol.FailPanic); !strings.HasPrefix(f.Message, "panic: ") || len(f.Frames) != 1 {
			t.Errorf("%v: %+v", p, f)
		}
	}
}

type badString struct{}

func (badString) String() string { panic("again") }

func TestFunctionDeepPanic(t *testing.T) {
	var down func(n int) int
	down = func(n int) int {
		if n == 0 {
			panic("deep")
		}
		return down(n-1) + 1
	}
	_, _, err := callFunction(t, context.Background(), func(context.Context, jobcontrol.Arguments) (int, error) {
		return down(1000), nil
	})
	if f := failure(t, err, jobcontrol.FailPanic); len(f.Frames) != 100 {
		t.Errorf("%d frames", len(f.Frames))
	}
}

func TestFunctionGoexit(t *testing.T) {
	_, _, err := callFunction(t, context.Background(), func(context.Context, jobcontrol.Arguments) (int, error) {
		runtime.Goexit()
		return 0, nil
	})
	if f := failure(t, err, jobcontrol.FailError); !strings.Contains(f.Message, "Goexit") {
		t.Errorf("got %q", f.Message)
	}
}

func TestFunctionBlocksForever(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	reg := jobcontrol.NewRegistry()
	task := jobcontrol.Handle(reg, "t:f", func(context.Context, jobcontrol.None) (int, error) {
		close(started)
		<-release
		return 0, nil
	}).Task()
	e := newExecutor(t, executor.Config{Registry: reg})
	rec := newRecorder()
	c := newCall(rec, task)
	c.Job.Grace = 20 * time.Millisecond
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := &jobcontrol.Failure{Kind: jobcontrol.FailTimeout, Message: "too long"}
	go func() {
		<-started
		cancel(cause)
	}()
	_, err := e.Execute(ctx, c)
	if err != error(cause) {
		t.Errorf("got %v", err)
	}
	if e.Abandoned() != 1 || len(rec.lines("jobcontrol")) != 1 {
		t.Errorf("%d abandoned, log %q", e.Abandoned(), rec.lines("jobcontrol"))
	}
	close(release)
	eventually(t, "the function has returned", func() bool { return e.Abandoned() == 0 })
}

func TestFunctionCancelled(t *testing.T) {
	for name, test := range map[string]struct {
		cause, returns error
		kind           jobcontrol.FailureKind
	}{
		"its context's error":  {&jobcontrol.Failure{Kind: jobcontrol.FailTimeout, Message: "late"}, context.Canceled, jobcontrol.FailTimeout},
		"a consequence":        {&jobcontrol.Failure{Kind: jobcontrol.FailCancel, Message: "stop"}, errors.New("query interrupted"), jobcontrol.FailCancel},
		"its own word":         {&jobcontrol.Failure{Kind: jobcontrol.FailCancel, Message: "stop"}, jobcontrol.Retry(0, "again"), jobcontrol.FailRetry},
		"success":              {&jobcontrol.Failure{Kind: jobcontrol.FailCancel, Message: "stop"}, nil, ""},
		"a cause without kind": {errors.New("why"), context.Canceled, jobcontrol.FailCancel},
		"a deadline":           {context.DeadlineExceeded, context.Canceled, jobcontrol.FailTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(context.Background())
			v, _, err := callFunction(t, ctx, func(ctx context.Context, _ jobcontrol.Arguments) (int, error) {
				cancel(test.cause)
				return 5, test.returns
			})
			if test.kind == "" {
				if err != nil || v != 5 {
					t.Errorf("got %v, %v", v, err)
				}
				return
			}
			failure(t, err, test.kind)
		})
	}
}
