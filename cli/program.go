package cli

import (
	"context"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// Program is one invocation of the command line. The zero value, but for Args,
// is a program without registered functions that reads and writes nothing.
type Program struct {
	Registry *jobcontrol.Registry // the functions that jobs may name; nil: none
	Version  string               // what `version` prints; "": what the Go tool recorded
	Args     []string             // without the name of the program
	Env      []string             // as of os.Environ; nil: that
	Stdin    io.Reader            // nil: empty
	Stdout   io.Writer            // nil: dropped
	Stderr   io.Writer            // nil: dropped

	// Signals brings requests to stop: the first one asks the jobs to stop and
	// executes the clean-up steps, the second one ends the program at once. A
	// worker ends its builds at the first one, gives them back at the second one,
	// and ends at once at the third. Nil: only the context does the former.
	Signals <-chan os.Signal

	helpers bool // this program can execute itself as a helper process
}

// Main is the main function of a program with the whole command line: it reads
// os.Args, os.Environ and the signals and returns the exit status. Call it first
// thing in main, before anything else is started: the program executes itself as
// a helper process, which begins here, too.
//
//	func main() { os.Exit(cli.Main(registry)) }
func Main(registry *jobcontrol.Registry) int {
	return Program{Registry: registry}.Main()
}

// Main is [Main] for a program that sets more than its registry; Args and the
// streams are the process's.
func (p Program) Main() int {
	child()
	p.helpers = true
	p.Args, p.Stdin, p.Stdout, p.Stderr = os.Args[1:], os.Stdin, os.Stdout, os.Stderr
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(signals, syscall.SIGHUP)
	}
	// A reader that goes away, such as head, must not kill a run: with a handler
	// the write fails instead.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	p.Signals = signals
	return p.Run(context.Background())
}

// idleStop is how long a command that executes no job may take to stop.
const idleStop = 2 * time.Second

// Run executes one command and returns the exit status. Cancelling ctx is what
// the first signal does. After the last one it returns at once, with jobs still
// being executed: the caller ends the process, and with it the guardian ends theirs.
func (p Program) Run(ctx context.Context) int {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	e := newEnvironment(p)
	done := make(chan int, 1)
	go func() { done <- e.execute(ctx, p.Args) }()
	var idle <-chan time.Time // no job is executed: who does not stop by itself is not waited for
	for n := 0; ; n++ {
		select {
		case status := <-done:
			return status
		case <-idle:
			if !e.working.Load() {
				e.unpictureSoon()
				return jobcontrol.Interrupted.ExitStatus()
			}
		case s := <-p.Signals:
			e.interrupted.Store(true)
			if w := e.worker.Load(); w != nil && n == 1 {
				w.abort()
				continue
			}
			if n == 0 {
				e.announceStop()
				cancel(&jobcontrol.Error{Code: jobcontrol.Interrupted, Message: "interrupted by " + signalName(s)})
				if !e.working.Load() && e.worker.Load() == nil {
					idle = time.After(idleStop)
				}
				continue
			}
			e.unpictureSoon()
			return jobcontrol.Interrupted.ExitStatus()
		}
	}
}

func signalName(s os.Signal) string {
	switch s {
	case os.Interrupt:
		return "SIGINT"
	case syscall.SIGTERM:
		return "SIGTERM"
	case syscall.SIGHUP:
		return "SIGHUP"
	}
	return s.String()
}

// environment is what every command has at hand.
type environment struct {
	program Program
	*streams
	file       string // of --config-file
	storage    string // of --storage
	understood bool   // the command line was; what fails from now on is something else

	interrupted atomic.Bool // by the first signal
	working     atomic.Bool // jobs are executed in the foreground

	worker atomic.Pointer[stopper] // of a worker; nil: this is none
}

// stopper ends a worker: its first signal lets it end what it has begun, the
// second one calls abort. abort may be called again.
type stopper struct {
	told  string // what the first signal says
	abort func()
}

func newEnvironment(p Program) *environment {
	if p.Env == nil {
		p.Env = os.Environ()
	}
	e := &environment{program: p}
	e.streams = newStreams(p.Stdin, p.Stdout, p.Stderr, e.getenv)
	return e
}

// getenv is os.Getenv in the program's environment: the last one counts.
func (e *environment) getenv(name string) string {
	value := ""
	for _, kv := range e.program.Env {
		if len(kv) > len(name) && kv[len(name)] == '=' && kv[:len(name)] == name {
			value = kv[len(name)+1:]
		}
	}
	return value
}

// announceStop says what the first signal does, where jobs are being executed.
func (e *environment) announceStop() {
	if w := e.worker.Load(); w != nil {
		e.note("%s", w.told)
		return
	}
	if e.working.Load() {
		e.note("stopping: the jobs are asked to end and clean-up steps follow; once more to end at once")
	}
}
