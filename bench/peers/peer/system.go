package peer

import "context"

// Job is what a job of the comparison is given: a few small fields, as JSON.
type Job struct {
	Seq   int64  `json:"seq"`             // its number
	First int64  `json:"first,omitempty"` // in a graph: Seq counts from here
	Sent  int64  `json:"sent"`            // when it was enqueued, Unix nanoseconds
	To    string `json:"to"`              // something to decode
}

// System is a queue under comparison.
type System interface {
	// Install makes what the system stores its jobs in, empty.
	Install(ctx context.Context) error
	// Insert enqueues one job durably and returns its id in the system.
	Insert(ctx context.Context, j Job) (id string, err error)
	// InsertMany enqueues jobs in the fastest way that the system offers.
	InsertMany(ctx context.Context, jobs []Job) error
	// Final tells whether the job is recorded as finished.
	Final(ctx context.Context, id string) (bool, error)
	// Left tells whether any job is not recorded as finished. It is cheap.
	Left(ctx context.Context) (bool, error)
	// Count counts the jobs recorded as finished at the first attempt, and those that are not finished.
	Count(ctx context.Context) (finished, left int64, err error)
	// Work starts to execute jobs. The function that it returns stops it: what
	// is being executed is finished and recorded first.
	Work(ctx context.Context, handle func(Job)) (stop func(context.Context) error, err error)
}

// Shaper is a system with dependencies.
type Shaper interface {
	// InsertShape enqueues the jobs as one graph, a chain or a fan.
	InsertShape(ctx context.Context, shape string, jobs []Job) error
}

// Options is how a program is to be executed.
type Options struct {
	Command string
	DSN     string // where the store is: a connection string, or a path
	Slots   int    // jobs executed at a time; 0: the system's default
	Tuned   bool   // the best settings we found, instead of the defaults
	Conns   int    // connections to the store; 0: the system's default
	N       int64  // how many jobs
	First   int64  // the number of the first
	Callers int    // goroutines that enqueue
	Chunk   int    // jobs in one InsertMany
	Rate    float64
	Shape   string // chain or fan
	Size    int    // jobs of one chain or fan
	Profile string // file for a CPU profile; "": none
}

// Event is a line that a program writes.
type Event struct {
	Event    string          `json:"event"`              // ready, drained, counted, stopped, done
	At       int64           `json:"at,omitempty"`       // when, Unix nanoseconds
	Seconds  float64         `json:"seconds,omitempty"`  // fill, enqueue: how long it took
	P50      float64         `json:"p50,omitempty"`      // enqueue: milliseconds for one job
	P99      float64         `json:"p99,omitempty"`      //
	Executed int64           `json:"executed,omitempty"` // work: calls of the handler
	Distinct int64           `json:"distinct,omitempty"` // work: jobs that were executed
	Started  []int64         `json:"started,omitempty"`  // work, few jobs: when each was started
	Latency  []float64       `json:"latency,omitempty"`  // work, few jobs: milliseconds from enqueue to start
	Visible  map[int64]int64 `json:"visible,omitempty"`  // visible: when the end of each was seen
	Finished int64           `json:"finished,omitempty"` // count: recorded as finished
	Left     int64           `json:"left,omitempty"`     // count: not finished
}
