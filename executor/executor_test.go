package executor_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
)

// A recorder keeps what a task reports.
type recorder struct {
	mu       sync.Mutex
	logs     []jobcontrol.LogRecord
	progress []jobcontrol.Progress
}

func (r *recorder) Log(l jobcontrol.LogRecord) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logs = append(r.logs, l)
}

func (r *recorder) Progress(p jobcontrol.Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.progress = append(r.progress, p)
}

// discard forgets what a task reports.
type discard struct{}

func (discard) Log(jobcontrol.LogRecord)     {}
func (discard) Progress(jobcontrol.Progress) {}

// newCall returns a call in phase run of a job that may be changed.
func newCall(rec jobcontrol.Recorder, t *jobcontrol.Task) *jobcontrol.Call {
	return &jobcontrol.Call{
		Execution: &jobcontrol.Execution{
			Run: 7, Build: 8, Job: &jobcontrol.Job{ID: "a job", Run: t, Grace: 2 * time.Second}, Attempt: 1,
			Phase: jobcontrol.PhaseRun, Fence: 9, Local: jobcontrol.NewLocal(nil), Record: rec,
		},
		Task: t,
	}
}

func TestSmoke(t *testing.T) {
	e := executor.New(executor.Config{})
	defer e.Close()
	rec := &recorder{}
	c := newCall(rec, &jobcontrol.Task{Shell: `echo hello; echo err >&2; echo '{"result": [1,2]}' >&3; echo '{"progress":{"path":"a::b","current":1e3,"total":2}}' >&3; printf tail`})
	v, err := e.Execute(context.Background(), c)
	t.Logf("%s %v %+v", v, err, rec)
	c.Task = &jobcontrol.Task{Shell: "echo oops >&2; exit 3"}
	v, err = e.Execute(context.Background(), c)
	t.Logf("%s %#v", v, err)
}
