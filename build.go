package jobcontrol

import (
	"encoding/json"
	"time"
)

// Build is one durable execution of a job.
type Build struct {
	ID         int64            `json:"id"`
	Run        int64            `json:"run"` // the Run it belongs to; its own id for a lone build
	Project    string           `json:"project,omitempty"`
	Job        string           `json:"job"`
	Definition string           `json:"definition"`       // content hash of the frozen definition
	Args       EncodedArguments `json:"args,omitempty"`   // instead of the definition's; nil: those
	Kwargs     EncodedArguments `json:"kwargs,omitempty"` // instead of the definition's; nil: those
	State      State            `json:"state"`
	Changed    *bool            `json:"changed"` // after success: whether the run phase was executed; nil before

	Service  string `json:"service,omitempty"`  // "" for "default"
	Priority int    `json:"priority,omitempty"` // its job's, its service's and what was asked for, added
	Unique   string `json:"-"`                  // hash of what makes it unique among unfinished builds; "": nothing
	Key      string `json:"-"`                  // hash of its key in its service; "": none

	Phase    int `json:"phase"` // DoJobber's round, see Order in the documentation of Run
	Place    int `json:"place"` // in the Run's order, from 0
	DepsLeft int `json:"-"`     // dependencies in the same Run that are not finished

	Tries      int           `json:"tries"`       // attempts that may count
	RetryDelay time.Duration `json:"retry_delay"` // between attempts, at least
	TriesUsed  int           `json:"tries_used"`
	Attempts   int           `json:"attempts"` // the number of the latest attempt; always grows
	Lost       int           `json:"lost"`     // attempts lost with their worker
	Asked      int           `json:"asked"`    // retries that the job asked for

	CreatedAt  time.Time `json:"created_at"`
	ReadyAt    time.Time `json:"ready_at"`    // not before; the zero time: at once
	StartedAt  time.Time `json:"started_at"`  // of its first attempt
	FinishedAt time.Time `json:"finished_at"` //

	Result   json.RawMessage  `json:"result,omitempty"`
	ResultOf int64            `json:"result_of,omitempty"` // the build whose result stands, when this one changed nothing and returned nothing
	Failure  *Failure         `json:"failure,omitempty"`
	Pins     map[string]int64 `json:"pins,omitempty"` // dependency's job id → the build that is used; 0: it has none
	AgainOf  int64            `json:"again_of,omitempty"`
	Why      string           `json:"why,omitempty"` // why it was made

	Dependants []int64    `json:"-"`                  // builds of the same Run that wait for this one; negative: whatever its end is, see ItemOf
	Ran        int64      `json:"-"`                  // > 0: place in the order of first run phases, for clean-up
	Cleaned    bool       `json:"-"`                  // its clean-up step was executed
	Stopping   Transition `json:"stopping,omitempty"` // ToCancel or ToSuspend: asked of its worker, not yet done
	Claim      Claim      `json:"-"`
}

// ItemOf returns the build that waits for this one as one of its items; 0: there
// is none, or the build was read without its Dependants.
func (b *Build) ItemOf() int64 {
	for _, id := range b.Dependants {
		if id < 0 {
			return -id
		}
	}
	return 0
}

// Satisfied tells whether the build lets its dependants run.
func (b *Build) Satisfied() bool { return b.State.Satisfied() }

// Duration is the time from the start of the first attempt to the end, or to
// now while it runs; 0 before.
func (b *Build) Duration(now time.Time) time.Duration {
	switch {
	case b.StartedAt.IsZero():
		return 0
	case b.FinishedAt.IsZero():
		return now.Sub(b.StartedAt)
	}
	return b.FinishedAt.Sub(b.StartedAt)
}

// Attempt is one check, run, recheck cycle of a build, or one clean-up step.
type Attempt struct {
	Build      int64         `json:"build"`
	Number     int           `json:"number"` // from 1; clean-up attempts count on
	Cleanup    bool          `json:"cleanup,omitempty"`
	Phases     []PhaseResult `json:"phases"`
	StartedAt  time.Time     `json:"started_at"`
	FinishedAt time.Time     `json:"finished_at"`
	Worker     int64         `json:"worker"`
	Claim      int64         `json:"claim"`
	Failure    *Failure      `json:"failure,omitempty"`

	Local map[string]json.RawMessage `json:"-"` // the attempt's values, kept where a clean-up step may want them
}

// PhaseResult is how one phase of an attempt ended.
type PhaseResult struct {
	Phase    Phase         `json:"phase"`
	Passed   bool          `json:"passed"`
	Error    string        `json:"error,omitempty"`
	Duration time.Duration `json:"duration"` // nanoseconds
}

// BuildFilter selects builds. The zero value selects the newest 100.
type BuildFilter struct {
	Project  string
	Job      string  // "": any
	Run      int64   // 0: any
	States   []State // nil: any
	Started  *bool   // JobControl's filters: nil any, else exactly so
	Finished *bool
	Success  *bool // successful or skipped
	Skipped  *bool
	Since    time.Time // created at or after; zero: no bound
	Until    time.Time // created before; zero: no bound
	Before   int64     // ids below; 0: no bound. The last id of a page gives the next one
	Asc      bool      // by id, oldest first
	Limit    int       // 0: 100; < 0: unlimited
	Brief    bool      // without result, failure frames, pins and dependants
}

// Claim is a worker's right to write a build: the worker's id and epoch, and a
// number of the store's growing sequence, the fence.
type Claim struct {
	Build  int64
	Worker int64
	Epoch  int64
	Number int64
}
