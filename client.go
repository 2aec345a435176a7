package jobcontrol

import (
	"context"
	"time"
)

// Client is everything that a program, a command or a page can ask of JobControl.
type Client interface {
	Reader
	Operator
}

// JobInfo is a job with how it stands.
type JobInfo struct {
	Job        *Job
	Status     JobStatus
	Dependants []string // jobs that depend on it directly, in the order of the file
}

// Reader is the part of a [Client] that changes nothing.
type Reader interface {
	// Jobs returns the jobs that have all the tags, in the order of the file.
	Jobs(ctx context.Context, tags []string) ([]JobInfo, error)
	// Job returns a job, or NotFound.
	Job(ctx context.Context, id string) (*JobInfo, error)
	// Builds returns the builds that the filter selects.
	Builds(ctx context.Context, f BuildFilter) ([]Build, error)
	// Build returns a build, or NotFound.
	Build(ctx context.Context, id int64) (*Build, error)
	// Definition returns the frozen definition that a build was made with.
	Definition(ctx context.Context, b *Build) (*Job, error)
	// Attempts returns the attempts of a build in order.
	Attempts(ctx context.Context, build int64) ([]Attempt, error)
	// Progress returns the progress tree of a build; nil: nothing was reported.
	Progress(ctx context.Context, build int64) (*ProgressNode, error)
	// Log calls yield for each record that the filter selects until it returns false.
	Log(ctx context.Context, build int64, f LogFilter, yield func(LogRecord) bool) error
	// Runs returns the Runs that the filter selects, newest first.
	Runs(ctx context.Context, f RunFilter) ([]Run, error)
	// Run returns a Run; a lone build's id is one, too.
	Run(ctx context.Context, id int64) (*Run, error)
	// Plan says what a request would do. Checks are executed, nothing else is.
	Plan(ctx context.Context, r Request) (*Plan, error)
}

// Operator is the part of a [Client] that changes something.
//
// Execute, Resume and Cleanup work in the foreground: they return when the Run
// has ended. A cancelled ctx ends it gracefully: attempts are asked to stop,
// unfinished builds become cancelled, clean-up steps are executed. Where only
// suspended builds are left they return, and the Run is interrupted.
type Operator interface {
	// Execute makes a Run and executes it. What the request lacks (a
	// confirmation, a dependency's build) is a conflict and nothing is created.
	Execute(ctx context.Context, r Request, watch Watch) (*Run, error)
	// Resume goes on with an interrupted Run.
	Resume(ctx context.Context, run int64, watch Watch) (*Run, error)
	// Cleanup executes the clean-up steps that a Run has left.
	Cleanup(ctx context.Context, run int64, watch Watch) (*Run, error)
	// Cancel ends a Run that is not final; one that another program executes is asked to.
	Cancel(ctx context.Context, run int64) (*Run, error)
	// DeleteBuild removes a final build and calls its job's on_delete with it.
	DeleteBuild(ctx context.Context, id int64) error
}

// EventKind says what an [Event] tells.
type EventKind string

// The kinds of events. What a finished, retried or blocked event tells is durable.
const (
	EventRun      EventKind = "run"      // the Run was made, or goes on
	EventStarted  EventKind = "started"  // an attempt of Build starts
	EventPhase    EventKind = "phase"    // a phase ended: Phase, Passed, Failure
	EventRetried  EventKind = "retried"  // the attempt failed; Build is due again at its ReadyAt
	EventFinished EventKind = "finished" // Build is final, or suspended
	EventCleanup  EventKind = "cleanup"  // a clean-up step begins (Passed false, Failure nil) …
	EventCleaned  EventKind = "cleaned"  // … and has ended: Passed, Failure
	EventTrouble  EventKind = "trouble"  // something that a person should know: Message
)

// Event tells what happens in a Run that is executed in the foreground.
type Event struct {
	Kind    EventKind
	Run     *Run
	Build   *Build // as it is now; a copy
	Job     *Job
	Attempt int
	Phase   Phase
	Passed  bool
	Failure *Failure
	Message string
	Time    time.Time
}

// Watch is called for each event, by one goroutine at a time; it must not block
// for long. Nil: nobody watches.
type Watch func(Event)
