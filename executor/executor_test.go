package executor_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
)

// Modes of this test binary as a program of its own.
const (
	envMode    = "EXECUTOR_TEST_MODE"
	modeTell   = "tell"
	modeWorker = "worker"
	modeThen   = "then" // argv[0]
)

func TestMain(m *testing.M) {
	executor.Child()
	if os.Args[0] == modeThen {
		if err := os.WriteFile(os.Args[1], nil, 0o600); err != nil {
			panic(err)
		}
		os.Exit(0)
	}
	switch os.Getenv(envMode) {
	case modeTell:
		os.Exit(tellMain(os.Args[1:]))
	case modeWorker:
		workerMain()
	}
	goleak.VerifyTestMain(m)
}

// A recorder keeps what a task reports.
type recorder struct {
	mu       sync.Mutex
	logs     []jobcontrol.LogRecord
	progress []jobcontrol.Progress
	logged   chan jobcontrol.LogRecord // gets each record too, if there is room
}

func newRecorder() *recorder { return &recorder{logged: make(chan jobcontrol.LogRecord, 100)} }

func (r *recorder) Log(l jobcontrol.LogRecord) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logs = append(r.logs, l)
	select {
	case r.logged <- l:
	default:
	}
}

func (r *recorder) Progress(p jobcontrol.Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.progress = append(r.progress, p)
}

// lines returns the messages of a logger, pieces of a line joined.
func (r *recorder) lines(logger string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	continued := false
	for _, l := range r.logs {
		switch {
		case l.Logger != logger:
			continue
		case continued:
			out[len(out)-1] += l.Message
		default:
			out = append(out, l.Message)
		}
		continued = l.Continued
	}
	return out
}

// await waits for a record of a logger whose message begins so.
func (r *recorder) await(t *testing.T, logger, prefix string) string {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		select {
		case l := <-r.logged:
			if l.Logger == logger && strings.HasPrefix(l.Message, prefix) {
				return l.Message
			}
		case <-limit:
			t.Fatalf("no record %s… of %s", prefix, logger)
		}
	}
}

// discard forgets what a task reports.
type discard struct{}

func (discard) Log(jobcontrol.LogRecord)     {}
func (discard) Progress(jobcontrol.Progress) {}

// newCall returns a call in phase run of a run-only job, which may be changed.
func newCall(rec jobcontrol.Recorder, t *jobcontrol.Task) *jobcontrol.Call {
	return &jobcontrol.Call{
		Execution: &jobcontrol.Execution{
			Run: 7, Build: 8, Job: &jobcontrol.Job{ID: "a job", Run: t, Grace: 5 * time.Second}, Attempt: 1,
			Phase: jobcontrol.PhaseRun, Fence: 9, Local: jobcontrol.NewLocal(nil), Record: rec,
		},
		Task: t,
	}
}

func newExecutor(t *testing.T, c executor.Config) *executor.Executor {
	t.Helper()
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	e := executor.New(c)
	t.Cleanup(e.Close)
	return e
}

// sh executes a shell script, and keeps what it reports.
func sh(t *testing.T, script string, change ...func(c *jobcontrol.Call)) (any, *recorder, error) {
	t.Helper()
	rec := newRecorder()
	c := newCall(rec, &jobcontrol.Task{Shell: script})
	for _, f := range change {
		f(c)
	}
	v, err := newExecutor(t, executor.Config{}).Execute(context.Background(), c)
	return v, rec, err
}

// failure is the failure in err, of the kind wanted.
func failure(t *testing.T, err error, kind jobcontrol.FailureKind) *jobcontrol.Failure {
	t.Helper()
	var f *jobcontrol.Failure
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want a failure", err)
	}
	if f.Kind != kind {
		t.Fatalf("got kind %s (%s), want %s", f.Kind, f.Message, kind)
	}
	return f
}

// asJSON makes a value comparable.
func asJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// alive tells whether a process exists and is no zombie.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) == syscall.ESRCH {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

// eventually waits until ok, for a time that a busy machine needs.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func TestCloseRefuses(t *testing.T) {
	e := executor.New(executor.Config{})
	e.Close()
	e.Close()
	_, err := e.Execute(context.Background(), newCall(discard{}, &jobcontrol.Task{Shell: "true"}))
	failure(t, err, jobcontrol.FailCancel)
}

func TestCancelledBefore(t *testing.T) {
	e := newExecutor(t, executor.Config{})
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(&jobcontrol.Failure{Kind: jobcontrol.FailTimeout, Message: "late"})
	_, err := e.Execute(ctx, newCall(discard{}, &jobcontrol.Task{Shell: "touch " + t.TempDir() + "/canary"}))
	if f := failure(t, err, jobcontrol.FailTimeout); f.Message != "late" {
		t.Errorf("got %q", f.Message)
	}
}
