package jobcontrol

import (
	"context"
	"time"
)

// Client is everything that a program, a command or a page can ask of JobControl.
type Client interface {
	Reader
	Operator
	Queuer
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
	// Services returns the services of the project that are described or have
	// builds that are not final, by name.
	Services(ctx context.Context) ([]ServiceStatus, error)
	// Workers returns the processes that execute builds, by id.
	Workers(ctx context.Context) ([]Worker, error)
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

// Queuer is the part of a [Client] for detached work: what the workers of a
// service execute, and not the program that asks for it.
type Queuer interface {
	// Submit makes a detached Run and returns at once. It refuses what
	// [Operator.Execute] refuses. Where the Run is one build, and one with the
	// same unique key is unfinished, that one's Run is returned. A service that
	// drains is a conflict.
	Submit(ctx context.Context, r Request) (*Run, error)
	// Enqueue makes a lone build of a job, whatever its dependencies, and returns
	// its id, or that of the unfinished build with the same unique key. It is made
	// for programs that enqueue much: concurrent calls share a commit, and what
	// follows from the job alone is computed once for each *Job, which must not
	// change any more. An error that is [Unavailable] leaves open whether the
	// build was made; with a Key the call may be repeated.
	Enqueue(ctx context.Context, j *Job, b Enqueued) (int64, error)
	// EnqueueMany is Enqueue for many builds of a job in one transaction: all
	// are made, or none. The ids are in the same order.
	EnqueueMany(ctx context.Context, j *Job, many []Enqueued) ([]int64, error)
	// Wait returns a build when it is final. It fails when there is no such
	// build, when it was deleted meanwhile, and with ctx's cause when that ends.
	Wait(ctx context.Context, build int64) (*Build, error)
	// Watch tells what happens in a Run that is executed elsewhere, as far as the
	// store shows it: at first the Run, and of its builds those that have started
	// or ended, then what changes. An attempt that begins and ends between two
	// looks is told of all the same. It returns the Run when it is final, or
	// interrupted. That ctx ends changes nothing in the Run.
	Watch(ctx context.Context, run int64, watch Watch) (*Run, error)
	// Steer holds, releases, suspends, resumes or cancels one build (ToHold,
	// ToRelease, ToSuspend, ToResume, ToCancel). Of one that a worker executes
	// suspending and cancelling is asked for: [Build.Stopping]. What the build's
	// state does not allow is a conflict.
	Steer(ctx context.Context, build int64, t Transition) (*Build, error)
	// PutServices describes services of the project; see [Services.PutServices].
	PutServices(ctx context.Context, services []Service) error
	// ResetService forgets what was set by hand: the service is as described, in
	// the same write, or, nil, as if nobody had described it.
	ResetService(ctx context.Context, name string, as *Service) error
}

// Enqueued is what one build that is enqueued has beside its job. The zero value
// is a build with the job's own arguments that is due at once.
type Enqueued struct {
	Args     EncodedArguments // nil: the job's; see [EncodeArguments]
	Kwargs   EncodedArguments // nil: the job's
	ReadyAt  time.Time        // not before, by the store's clock; the zero time: at once
	Priority int              // added to that of the job and its service
	Hold     bool             // it waits until somebody releases it
	AgainOf  int64            // the build that is built again
	Why      string           // why it is made
	Key      string           // the caller's own, as [NewRun.Key]: repeated within a day, nothing is made; "": none
}

// EventKind says what an [Event] tells.
type EventKind string

// The kinds of events. What a finished, retried or blocked event tells is durable.
const (
	EventRun      EventKind = "run"      // the Run was made, or goes on
	EventStarted  EventKind = "started"  // an attempt of Build starts
	EventPhase    EventKind = "phase"    // a phase ended: Phase, Passed, Failure
	EventRetried  EventKind = "retried"  // the attempt failed; Build is due again at its ReadyAt
	EventExpanded EventKind = "expanded" // Build waits for those of its items
	EventFinished EventKind = "finished" // Build is final, or suspended
	EventCleanup  EventKind = "cleanup"  // a clean-up step begins (Passed false, Failure nil) …
	EventCleaned  EventKind = "cleaned"  // … and has ended: Passed, Failure
	EventTrouble  EventKind = "trouble"  // something that a person should know: Message
)

// Event tells what happens in a Run. Of one that is executed elsewhere (see
// [Queuer.Watch]) phases are not told, and a clean-up step only when it has ended.
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
// for long, since what it watches waits for it, and it must return: a panic in it
// ends the program. Nil: nobody watches.
type Watch func(Event)
