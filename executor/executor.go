package executor

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/jobcontrol/jobcontrol"
)

// Config says what an [Executor] has at hand. The zero value executes commands and
// requests only, without the protections that need a process of their own.
type Config struct {
	// Registry holds the functions that tasks may name; nil: none.
	Registry *jobcontrol.Registry

	// Guardian ends the processes of commands when this process is killed or
	// stopped; nil: only the main process of each command is, by the kernel,
	// when this process dies. The caller closes it after the executor.
	Guardian *Guardian

	// Subreaper makes this process inherit what its commands leave behind, so
	// that no descendant escapes. It changes how the whole process treats
	// children: only for a program whose children are all made here, or in its
	// own process group.
	Subreaper bool

	// UserAgent is how requests name this program; "": jobcontrol.
	UserAgent string

	// Log takes what concerns no single build; nil: slog's default logger.
	Log *slog.Logger
}

// Executor executes tasks: Go functions, commands and HTTP requests. It is safe for concurrent
// use and sets no limit of its own on how many tasks are executed at a time.
type Executor struct {
	registry *jobcontrol.Registry
	guardian *Guardian
	log      *slog.Logger

	commands  *commands // nil where commands cannot be executed
	transport http.RoundTripper
	agent     string

	abandoned atomic.Int64
	mu        sync.Mutex
	closed    bool
	active    sync.WaitGroup
}

var (
	_ jobcontrol.Executor = (*Executor)(nil)
	_ jobcontrol.Preparer = (*Executor)(nil)
)

// New returns an executor. It starts nothing yet.
func New(c Config) *Executor {
	e := &Executor{registry: c.Registry, guardian: c.Guardian, log: c.Log, transport: newTransport(), agent: c.UserAgent}
	if e.agent == "" {
		e.agent = "jobcontrol"
	}
	if e.log == nil {
		e.log = slog.Default()
	}
	e.commands = newCommands(c, e.log)
	return e
}

// Execute executes the task of c and returns its value (nil: it has none; a
// json.RawMessage is JSON) or why it failed: a *[jobcontrol.Failure], or the
// cause of the cancelled context.
//
// When ctx is cancelled the task is asked to stop and has the job's grace to do
// so; a cause that says that it is hard (see the package documentation) leaves
// it no time. Execute returns after everything that the task started has ended
// or, after the grace, was given up and reported in the build's log.
func (e *Executor) Execute(ctx context.Context, c *jobcontrol.Call) (any, error) {
	if ctx.Err() != nil {
		return nil, cancelled(ctx)
	}
	if !e.enter() {
		return nil, &jobcontrol.Failure{Kind: jobcontrol.FailCancel, Message: "the executor is closed"}
	}
	defer e.active.Done()
	switch t := c.Task; {
	case t == nil:
		return nil, userFailure("there is no task")
	case t.Function != "":
		return e.function(ctx, c)
	case t.HTTP != nil:
		return e.request(ctx, c)
	}
	return e.commands.execute(ctx, c)
}

// enter counts a task that is being executed, unless the executor is closed.
func (e *Executor) enter() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed {
		e.active.Add(1)
	}
	return !e.closed
}

// Prepare starts the shell of a command that a shell executes and holds it, by
// the means of a debugger, before its first instruction. It returns nil for
// other tasks, and where the machine does not let it; then Execute starts them.
func (e *Executor) Prepare(c *jobcontrol.Call) jobcontrol.Prepared {
	if c.Task == nil || c.Task.Shell == "" || !e.enter() {
		return nil
	}
	if h := e.commands.prepare(c); h != nil {
		h.ended = e.active.Done
		return h
	}
	e.active.Done()
	return nil
}

// Close waits for the tasks that are being executed, ends what processes they
// left behind, and frees what the executor holds. Cancel their contexts first.
// Execute fails from then on.
func (e *Executor) Close() {
	e.mu.Lock()
	again := e.closed
	e.closed = true
	e.mu.Unlock()
	e.active.Wait()
	if !again {
		e.commands.close()
	}
}

// Abandoned is the number of functions that did not return although they were
// cancelled, and still run in the background.
func (e *Executor) Abandoned() int { return int(e.abandoned.Load()) }

// cancelled is the error of a task whose context was cancelled.
func cancelled(ctx context.Context) error {
	cause := context.Cause(ctx)
	if f := (*jobcontrol.Failure)(nil); errors.As(cause, &f) {
		return cause
	}
	kind := jobcontrol.FailCancel
	if errors.Is(cause, context.DeadlineExceeded) {
		kind = jobcontrol.FailTimeout
	}
	return &jobcontrol.Failure{Kind: kind, Message: cause.Error()}
}

// isHard tells whether the cause of a cancelled context leaves no time.
func isHard(cause error) bool {
	h := (interface{ Hard() bool })(nil)
	return errors.As(cause, &h) && h.Hard()
}

func userFailure(message string) *jobcontrol.Failure {
	return &jobcontrol.Failure{Kind: jobcontrol.FailUser, Message: message}
}
