package jobcontrol

import (
	"context"
	"encoding/json"
	"time"
)

// Store is the database with all state. Every method is safe for concurrent use
// by many goroutines and processes. A method that writes returns when the write
// is durable, or with an error; "the commit failed" means unknown, and every
// write may be repeated with the same claim and has then no further effect.
//
// Errors are [Error]s: [NotFound], [Conflict] (a transition that the state
// refuses), [LeaseLost] (a claim that is no longer held), [Unavailable] (the
// database cannot be reached, written, or was busy for more than 30 s).
type Store interface {
	Installer
	Clock
	Runs
	Builds
	Executions
	Leases
	Logs
	SharedValues
	Queue
	Services
	Hints
	Close() error
}

// Installer prepares and removes the store's tables.
type Installer interface {
	// Install creates what is missing and upgrades what is older. It is
	// idempotent; a schema newer than the program knows is refused.
	Install(ctx context.Context) error
	// Uninstall removes everything, without any further warning.
	Uninstall(ctx context.Context) error
}

// Clock is the only clock of durable decisions.
type Clock interface {
	// Now returns the store's time, UTC, microseconds.
	Now(ctx context.Context) (time.Time, error)
}

// NewRun is what [Runs.CreateRun] makes.
type NewRun struct {
	Run    Run        // Project, Verb, Targets, NoCleanup, By, File are used
	Builds []NewBuild // in the Run's order
	Grows  bool       // a build of it may be expanded: it gets a row of its own also with one build
	Lease  *Lease     // foreground: all builds are claimed by this worker; nil: by nobody
	Key    string     // the caller's own, unique: repeated within a day, nothing is made and the first Run is returned; "": none
}

// NewBuild is one build of a [NewRun].
//
// While an unfinished build with the same Unique key exists in the project, a
// lone build is not made: its Run is that build's. A member of a larger Run that
// meets one is a conflict that names it. A service that drains is a conflict, too,
// unless a program executes the Run in the foreground. What is final when it is
// made, as given or blocked by such a member, meets neither.
type NewBuild struct {
	Build      Build  // Job, Args, Kwargs, Service, Priority, Unique, Key, Tries, RetryDelay, ReadyAt, Pins, AgainOf, Why are used, and State where it is Held; ids, place, other states and claim are set
	Definition []byte // canonical JSON of the job
	Hash       string // its content hash
	Members    []int  // indexes, in NewRun.Builds, of the dependencies that are members
	Final      bool   // it is created in Build.State, which must be final: a member that is not executed
	Failure    *Failure
}

// Runs is the store's role for Runs.
type Runs interface {
	// CreateRun stores a Run and its builds in one transaction. One build
	// alone becomes its own Run and gets no row there. The pins of member
	// dependencies are set to the members' builds. Builds without unfinished
	// member dependencies are queued (or scheduled), the others waiting.
	CreateRun(ctx context.Context, n NewRun) (*Run, []Build, error)
	// CreateRuns stores many Runs in one transaction, as CreateRun would one after
	// the other, and returns their ids. It is made for lone builds in thousands.
	CreateRuns(ctx context.Context, many []NewRun) ([]int64, error)
	// Run returns a Run with its counts; also for a lone build's id.
	Run(ctx context.Context, id int64) (*Run, error)
	// ListRuns returns the Runs that the filter selects, newest first, lone builds included.
	ListRuns(ctx context.Context, f RunFilter) ([]Run, error)
	// StartCleaning moves a Run whose builds are all final from running to
	// cleaning, and returns the builds to clean up, last run first.
	StartCleaning(ctx context.Context, run int64, l Lease) ([]Build, error)
	// FinishRun moves a Run to its final state, which follows from its counts.
	FinishRun(ctx context.Context, run int64, l Lease) (*Run, error)
	// RequestCancel stores the wish to cancel: builds that are not running
	// become cancelled (unless a live foreground program owns the Run: it is
	// told), and the foreground program or the rescue does the rest. A Run that
	// is final is a conflict.
	RequestCancel(ctx context.Context, run int64) (*Run, error)
	// CancelRequested tells whether somebody asked to cancel the Run.
	CancelRequested(ctx context.Context, run int64) (bool, error)
	// Adopt gives an interrupted Run to a worker, which then may execute its
	// unfinished builds and clean-up steps; they get new claims.
	Adopt(ctx context.Context, run int64, l Lease) (*Run, []Build, error)
}

// Head is what is known of a job's builds at a glance; 0: there is none.
type Head struct {
	Job            string
	Latest         int64            // newest build of any state
	LatestState    State            //
	LatestFinished int64            // newest build that ended successful, skipped or failed
	FinishedState  State            //
	Good           int64            // newest successful, not skipped
	GoodAt         time.Time        // when that ended
	GoodPins       map[string]int64 // of its dependencies
	GoodDefinition string
	GoodChanged    int64     // newest successful, not skipped, that changed something
	GoodChangedAt  time.Time // when that ended
	Unfinished     int       // builds that are not final
	RunningBuilds  int       // builds that are running
}

// Builds is the store's role for reading and deleting builds.
type Builds interface {
	// Build returns a build, or NotFound.
	Build(ctx context.Context, id int64) (*Build, error)
	// ListBuilds returns the builds that the filter selects, by id.
	ListBuilds(ctx context.Context, f BuildFilter) ([]Build, error)
	// Attempts returns the attempts of a build in order.
	Attempts(ctx context.Context, build int64) ([]Attempt, error)
	// Heads returns what is known of each job that has a build; jobs nil: all.
	Heads(ctx context.Context, project string, jobs []string) (map[string]Head, error)
	// Definition returns a stored definition by its hash.
	Definition(ctx context.Context, hash string) (*Job, error)
	// DeleteBuild removes a final build, its attempts, log and progress, and
	// returns it as it was. A missing one is NotFound, an unfinished one a conflict.
	DeleteBuild(ctx context.Context, id int64) (*Build, error)
	// Progress returns the progress reports of a build in order of first appearance.
	Progress(ctx context.Context, build int64) ([]Progress, error)
}

// Ended is how an attempt ended, as [Executions.Finish] and [Executions.Retry] store it.
type Ended struct {
	Attempt  Attempt
	Logs     []LogRecord // the log's tail, stored in the same transaction
	Progress []Progress  // likewise
	State    State       // Finish: Successful, Skipped, Failed, Cancelled, Suspended
	Changed  bool        // Finish: the run phase was executed
	Result   json.RawMessage
	ReadyAt  time.Time // Retry: not before
	Service  string    // Retry: the service where it is tried again; "": the same

	Expansion *Expansion // Expand: the builds of the items; nil: the attempt ended otherwise
}

// Released is what finishing a build did to others of its Run.
type Released struct {
	Ready   []Build // Brief: ID, Job, State, Phase, Place, ReadyAt, Pins
	Blocked []int64
}

// Executions is the store's role for writing builds that are being executed.
// Each method is one transaction that first sees that the worker's epoch and the
// build's claim are still the given ones; else it returns ErrLeaseLost and
// changes nothing.
type Executions interface {
	// Start marks builds as running. Marking is a courtesy to onlookers, except
	// for suspects and, in the foreground, for builds that were lost before: Finish
	// and Retry also accept a build that was never marked.
	Start(ctx context.Context, claims []Claim, at []time.Time) error
	// MarkRan records, before it is executed, that the build's run phase is
	// executed, so that its clean-up step is due whatever happens.
	MarkRan(ctx context.Context, c Claim, at time.Time) error
	// Finish ends a build and releases or blocks its dependants. Repeated with
	// the same claim it has no further effect and returns the same answer.
	Finish(ctx context.Context, c Claim, e Ended) (*Released, error)
	// Retry ends an attempt that will be followed by another; the phase grows by one.
	Retry(ctx context.Context, c Claim, e Ended) (*Build, error)
	// Expand ends the first attempt of a build that stands for many. In the same
	// transaction builds of its items become members of its Run, with its service,
	// priority, phase and place: claimed by the same worker if the Run is in the
	// foreground, else by nobody. The build gets their ids, and those of the builds
	// that are taken for items, as pins; it is waiting until the last new one is
	// final, in whatever state, and then due as it was before; without new ones it
	// is due at once. What was asked of the worker of a detached build is carried
	// out instead, and nothing is made. A lone build must have been made with
	// [NewRun.Grows]. Repeated with the same claim it has no further effect and
	// returns the same builds.
	Expand(ctx context.Context, c Claim, e Ended) (*Expanded, error)
	// Cancel ends builds that are not running; their dependants are blocked or cancelled too.
	Cancel(ctx context.Context, claims []Claim, reason string) error
	// Cleaned stores a clean-up attempt.
	Cleaned(ctx context.Context, c Claim, e Ended) error
	// Report stores log records and progress of a running build.
	Report(ctx context.Context, c Claim, logs []LogRecord, progress []Progress) error
}

// Finisher is what a [Store] may be, too: one that stores ends without a goroutine
// waiting for each.
type Finisher interface {
	// FinishThen is [Executions.Finish], but returns at once and calls then with the
	// answer, just once, from any goroutine. then must not block. What was not
	// begun when ctx ends is not stored. e must not change any more.
	FinishThen(ctx context.Context, c Claim, e *Ended, then func(*Released, error))
}

// Leases is the store's role for workers.
type Leases interface {
	// Register makes a worker with a lease of the given length.
	Register(ctx context.Context, p Process, ttl time.Duration) (Lease, error)
	// Renew prolongs the lease; ErrLeaseLost when it was taken away.
	Renew(ctx context.Context, l Lease, ttl time.Duration) error
	// Unregister ends a worker that executes nothing any more.
	Unregister(ctx context.Context, l Lease) error
	// Rescue takes the leases of dead workers away: those whose process is gone
	// (alive tells; it answers known=false where it cannot see), and those whose
	// lease ended where alive cannot see. Their running builds are queued again
	// and count as lost, or fail after max_lost; their foreground Runs become interrupted.
	// Builds of detached Runs that they had claimed and not marked as running are
	// queued again without being charged; after [MaxUnproven] such deaths since its
	// last attempt ended, by Finish or Retry, a build is a suspect. Neither
	// Unregister nor GiveBack counts.
	Rescue(ctx context.Context, alive func(Process) (alive, known bool)) ([]Interruption, error)
	// Workers returns the workers that are not gone.
	Workers(ctx context.Context) ([]Worker, error)
}

// Logs is the store's role for reading logs; they are written by [Executions.Report].
type Logs interface {
	// Log calls yield for each record that the filter selects, in order, until
	// yield returns false.
	Log(ctx context.Context, build int64, f LogFilter, yield func(LogRecord) bool) error
}

// SharedValues is the store's role for the values that the builds of one Run share.
type SharedValues interface {
	// SharedGet returns a value and its version; version 0: there is none.
	SharedGet(ctx context.Context, run int64, key string) (value json.RawMessage, version int64, err error)
	// SharedSet stores a value if the version is still the given one (-1: any;
	// 0: there is none) and returns the new version; else a conflict.
	SharedSet(ctx context.Context, c Claim, key string, value json.RawMessage, version int64) (int64, error)
	// SharedKeys returns the keys in order.
	SharedKeys(ctx context.Context, run int64) ([]string, error)
}
