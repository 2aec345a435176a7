package executor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// A returned is how a function ended.
type returned struct {
	value any
	err   error
}

// function calls a registered function in a goroutine of its own, so that it can
// panic, end its goroutine or never return.
func (e *Executor) function(ctx context.Context, c *jobcontrol.Call) (any, error) {
	fn, ok := e.registry.Lookup(c.Task.Function)
	if !ok {
		return nil, userFailure(unknownFunction(c.Task.Function, e.registry.Names()))
	}
	done := make(chan returned, 1)
	go onStack(func() {
		r := returned{err: &jobcontrol.Failure{
			Kind:    jobcontrol.FailError,
			Message: fn.Name + " ended its goroutine without returning (runtime.Goexit)",
		}}
		defer func() {
			if p := recover(); p != nil {
				r = returned{err: panicked(p)}
			}
			done <- r
		}()
		v, err := fn.Call(jobcontrol.WithExecution(ctx, c.Execution), c.Args, c.Kwargs)
		r = returned{v, err}
	})
	r, ok := e.await(ctx, c, fn.Name, done)
	switch {
	case !ok:
		return nil, cancelled(ctx)
	case r.err == nil:
		return r.value, nil
	case ctx.Err() != nil && !explicit(r.err):
		return nil, cancelled(ctx)
	}
	return nil, jobcontrol.FailureOf(r.err, c.Phase)
}

// onStack calls f on a stack that was grown while there was nothing on it to move:
// nearly every function needs more than the smallest one.
//
//go:noinline
func onStack(f func()) {
	var space [5 << 10]byte
	f()
	runtime.KeepAlive(&space)
}

// explicit tells whether a function that was cancelled said itself how its
// attempt ends, rather than failing because it was cancelled.
func explicit(err error) bool {
	f := (*jobcontrol.Failure)(nil)
	return errors.As(err, &f) && f.Kind != jobcontrol.FailError && f.Kind != jobcontrol.FailTimeout
}

// await waits for the function, or, once ctx is cancelled, until its time is up.
func (e *Executor) await(ctx context.Context, c *jobcontrol.Call, name string, done <-chan returned) (returned, bool) {
	select {
	case r := <-done:
		return r, true
	case <-ctx.Done():
	}
	grace := graceLeft(ctx, c.Job)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case r := <-done:
		return r, true
	case <-timer.C:
	}
	n := e.abandoned.Add(1)
	go func() {
		<-done
		e.abandoned.Add(-1)
	}()
	report(c, jobcontrol.LevelWarning, fmt.Sprintf(
		"%s did not return within %v after it was cancelled; it was given up and still runs in the background", name, grace))
	e.log.Warn("function given up", "function", name, "job", c.Job.ID, "build", c.Build, "abandoned", n)
	return returned{}, false
}

// graceLeft is how long a task may go on after ctx was cancelled: the job's
// grace, at most until the context's deadline, none if the cause is hard.
func graceLeft(ctx context.Context, job *jobcontrol.Job) time.Duration {
	if isHard(context.Cause(ctx)) {
		return 0
	}
	grace := job.GraceOrDefault()
	if at, ok := ctx.Deadline(); ok {
		if left := time.Until(at); left > 0 {
			grace = min(grace, left)
		}
	}
	return grace
}

// report writes a record of our own into the build's log.
func report(c *jobcontrol.Call, level jobcontrol.Level, message string) {
	c.Record.Log(jobcontrol.LogRecord{Level: level, Logger: "jobcontrol", Message: message})
}

func unknownFunction(name string, known []string) string {
	m := fmt.Sprintf("no such function %q", name)
	best, distance := "", 1+len(name)/3
	for _, k := range known {
		if d := editDistance(name, k, distance); d < distance {
			best, distance = k, d
		}
	}
	switch {
	case best != "":
		m += fmt.Sprintf("; did you mean %q?", best)
	case len(known) == 0:
		m += "; this program has registered none"
	}
	return m
}

// editDistance is the Levenshtein distance of a and b, or limit if it is not below it.
func editDistance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return min(row[len(b)], limit)
}

// maxFrames is how many frames of a panic are kept: the innermost ones.
const maxFrames = 100

// panicked makes the failure of a panic; it is called by the deferred function.
func panicked(p any) *jobcontrol.Failure {
	pcs := make([]uintptr, 4*maxFrames)
	pcs = pcs[:runtime.Callers(0, pcs)]
	frames := panicFrames(jobcontrol.Frames(pcs))
	if len(frames) > maxFrames {
		frames = frames[len(frames)-maxFrames:]
	}
	addSource(frames)
	return &jobcontrol.Failure{Kind: jobcontrol.FailPanic, Message: "panic: " + fmt.Sprint(p), Frames: frames}
}

// panicFrames selects, of a stack in a deferred function, outermost first, what
// lies between the call of the function and the panic.
func panicFrames(stack []jobcontrol.Frame) []jobcontrol.Frame {
	const module = "github.com/jobcontrol/jobcontrol"
	last := len(stack)
	for i, f := range slices.Backward(stack) {
		if f.Function == "runtime.gopanic" {
			last = i
			break
		}
	}
	first := 0
	for i, f := range stack[:last] {
		if strings.HasPrefix(f.Function, module+".(*RegisteredFunction).Call") ||
			strings.HasPrefix(f.Function, module+".Handle[") {
			first = i + 1
		} else if first > 0 {
			break
		}
	}
	var out []jobcontrol.Frame
	for _, f := range stack[first:last] {
		if !strings.HasPrefix(f.Function, "runtime.") {
			out = append(out, f)
		}
	}
	return out
}

// addSource reads five lines before and after the line of each frame, where the
// file can be read.
func addSource(frames []jobcontrol.Frame) {
	const around = 5
	wanted := map[string][]int{}
	for i, f := range frames {
		wanted[f.File] = append(wanted[f.File], i)
	}
	for name, indices := range wanted {
		eachLine(name, func(n int, text string) {
			for _, i := range indices {
				if n >= frames[i].Line-around && n <= frames[i].Line+around {
					frames[i].Source = append(frames[i].Source, jobcontrol.SourceLine{Line: n, Text: text})
				}
			}
		})
	}
}

// eachLine calls visit with the lines of a regular file, at most 4 MiB of it.
func eachLine(name string, visit func(n int, text string)) {
	info, err := os.Stat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() > 4<<20 {
		return
	}
	f, err := os.Open(name)
	if err != nil {
		return
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		visit(n, strings.ToValidUTF8(lines.Text(), "\uFFFD"))
	}
}
