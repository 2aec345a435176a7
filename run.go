package jobcontrol

import "time"

// Verb says how a Run came to be.
type Verb string

// The two verbs.
const (
	VerbRun   Verb = "run"   // the whole graph below the targets
	VerbBuild Verb = "build" // only the named job, and what was asked for beside it
)

// Run is a set of builds made together, ordered by their dependencies.
//
// Order: each build has a phase and a place (DoJobber's left-to-right
// post-order). Phase 0 without dependencies; when released, the largest phase in
// which one of its dependencies passed; after a failed attempt one more. Of the
// builds that are due, the smallest (phase, place) goes first.
type Run struct {
	ID         int64     `json:"id"`
	Project    string    `json:"project,omitempty"`
	Verb       Verb      `json:"verb"`
	Targets    []string  `json:"targets"`
	State      RunState  `json:"state"`
	NoCleanup  bool      `json:"no_cleanup,omitempty"`
	By         string    `json:"by,omitempty"`   // the user who started it
	File       string    `json:"file,omitempty"` // the configuration it came from
	CreatedAt  time.Time `json:"created_at"`
	FinishedAt time.Time `json:"finished_at"`
	Message    string    `json:"message,omitempty"` // what a person should know, such as why it was interrupted
	Counts     Counts    `json:"counts"`
	Worker     int64     `json:"-"` // the worker that runs it in the foreground
	Cancel     bool      `json:"-"` // somebody asked to cancel it
	Lone       bool      `json:"-"` // a single build that is its own Run
}

// Counts is the number of a Run's builds by state.
type Counts map[State]int

// Total is the number of builds.
func (c Counts) Total() int {
	n := 0
	for _, v := range c {
		n += v
	}
	return n
}

// Outcome is the final state that follows from the counts: DoJobber's success,
// partial success and failure. A Run whose builds were cancelled is cancelled.
func (c Counts) Outcome() RunState {
	good := c[Successful] + c[Skipped]
	switch {
	case good == c.Total():
		return RunSuccessful
	case c[Cancelled] > 0:
		return RunCancelled
	case good > 0:
		return RunPartial
	}
	return RunFailed
}

// RunFilter selects Runs, newest first. The zero value selects the newest 100.
type RunFilter struct {
	Project string
	States  []RunState
	Limit   int // 0: 100; < 0: unlimited
}

// Process identifies a process beyond the reuse of its number.
type Process struct {
	PID       int    // 0: unknown
	StartTime uint64 // clock ticks since boot, from /proc/PID/stat
	BootID    string // of the kernel
	PIDSpace  string // the PID namespace; another one cannot see the process
	Host      string
}

// Worker is a process that executes builds, as the store knows it.
type Worker struct {
	ID         int64
	Epoch      int64 // raised when its lease is taken away
	Process    Process
	StartedAt  time.Time
	LeaseUntil time.Time // by the store's clock
	Gone       bool      // ended, or its lease was taken away
}

// Lease is a worker's exclusive, expiring right to execute builds.
type Lease struct {
	Worker int64
	Epoch  int64
}

// Interruption says what was found of a worker that died.
type Interruption struct {
	Run    int64
	Worker Worker
	Builds []int64 // builds that were being executed
}
