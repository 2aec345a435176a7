package jobcontrol

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"
)

// Execution is what a task may know and do while it is executed. A task finds
// it with [Current]. It is safe for concurrent use.
type Execution struct {
	Run     int64
	Build   int64
	Job     *Job
	Attempt int
	Phase   Phase
	Fence   int64          // a number that only grows, for targets that reject stale writers
	Args    []any          // resolved: no placeholders
	Kwargs  map[string]any // resolved
	Deleted *Build         // for on_delete: the build that was deleted; else nil
	Local   *LocalValues   // of this attempt; shared by check, run, recheck and cleanup
	Shared  *Shared        // of the Run
	Record  Recorder       // where log records and progress go; never nil
}

// Recorder takes what a task reports. Its methods do not wait for the store
// unless the task reports faster than it can be stored.
type Recorder interface {
	// Log takes one record; Time, Attempt and Phase are set where they are zero.
	Log(r LogRecord)
	// Progress takes one report; only the last one of each path within a tenth of a second is stored.
	Progress(p Progress)
}

type executionKey struct{}

// WithExecution returns a context in which [Current] finds x.
func WithExecution(ctx context.Context, x *Execution) context.Context {
	return context.WithValue(ctx, executionKey{}, x)
}

// Current returns the execution of the task that the context belongs to, or an
// error outside of one.
func Current(ctx context.Context) (*Execution, error) {
	if x, ok := ctx.Value(executionKey{}).(*Execution); ok {
		return x, nil
	}
	return nil, Errorf(Invalid, "tried to access the execution context outside of a job's execution")
}

// Report reports progress for a path such as "download::file 1" ("": the whole
// build): current of total, and a status line.
func Report(ctx context.Context, path string, current, total int64, status string) error {
	x, err := Current(ctx)
	if err != nil {
		return err
	}
	x.Record.Progress(Progress{Path: ProgressPath(path), Current: &current, Total: &total, Status: status})
	return nil
}

// Logger returns a logger whose records go to the build's log under the given
// name. Outside of an execution it returns slog's default logger.
func Logger(ctx context.Context, name string) *slog.Logger {
	x, err := Current(ctx)
	if err != nil {
		return slog.Default()
	}
	return slog.New(&logHandler{rec: x.Record, name: name})
}

// LocalValues are the values of one attempt, JSON, at most 64 KiB in all.
type LocalValues struct {
	mu   sync.Mutex
	m    map[string]json.RawMessage
	size int
}

// MaxLocal is the most that the values of one attempt may hold, in bytes.
const MaxLocal = 64 << 10

// NewLocal returns values, at first those given (may be nil).
func NewLocal(m map[string]json.RawMessage) *LocalValues {
	l := &LocalValues{}
	for k, v := range m {
		if l.m == nil {
			l.m = make(map[string]json.RawMessage, len(m))
		}
		l.m[k] = v
		l.size += len(k) + len(v)
	}
	return l
}

// Set stores v as JSON under key.
func (l *LocalValues) Set(key string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return Errorf(Invalid, "local value %q: %v", key, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	size := l.size + len(data)
	if old, ok := l.m[key]; ok {
		size -= len(old)
	} else {
		size += len(key)
	}
	if size > MaxLocal {
		return Errorf(Invalid, "local value %q: the values of an attempt may hold %d bytes", key, MaxLocal)
	}
	if l.m == nil {
		l.m = map[string]json.RawMessage{}
	}
	l.m[key], l.size = data, size
	return nil
}

// Load decodes the value under key into v and tells whether there is one.
func (l *LocalValues) Load(key string, v any) (bool, error) {
	l.mu.Lock()
	data, ok := l.m[key]
	l.mu.Unlock()
	if !ok {
		return false, nil
	}
	return true, json.Unmarshal(data, v)
}

// All returns a copy of the values.
func (l *LocalValues) All() map[string]json.RawMessage {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[string]json.RawMessage, len(l.m))
	for k, v := range l.m {
		out[k] = v
	}
	return out
}

// Shared gives a task the values that all builds of its Run share: JSON,
// durable, visible on any machine, with compare-and-set.
type Shared struct {
	store SharedValues
	claim Claim
	run   int64
}

// NewShared returns the shared values of a Run, written under a claim. A nil
// store has no values and refuses to set one: nothing is being built.
func NewShared(store SharedValues, run int64, c Claim) *Shared {
	return &Shared{store: store, claim: c, run: run}
}

// Load decodes the value under key into v and returns its version; 0: there is none.
func (s *Shared) Load(ctx context.Context, key string, v any) (version int64, err error) {
	if s.store == nil {
		return 0, nil
	}
	data, version, err := s.store.SharedGet(ctx, s.run, key)
	if err != nil || version == 0 {
		return version, err
	}
	return version, json.Unmarshal(data, v)
}

// Set stores v under key whatever was there.
func (s *Shared) Set(ctx context.Context, key string, v any) error {
	_, err := s.CompareAndSet(ctx, key, v, -1)
	return err
}

// CompareAndSet stores v under key if the version is still the given one (0:
// there is none) and returns the new version; else a conflict.
func (s *Shared) CompareAndSet(ctx context.Context, key string, v any, version int64) (int64, error) {
	if s.store == nil {
		return 0, Errorf(Conflict, "shared value %q: nothing is being built", key)
	}
	data, err := json.Marshal(v)
	if err != nil {
		return 0, Errorf(Invalid, "shared value %q: %v", key, err)
	}
	if len(data) > MaxResult {
		return 0, Errorf(Invalid, "shared value %q: %d bytes of JSON are more than %d", key, len(data), MaxResult)
	}
	return s.store.SharedSet(ctx, s.claim, key, data, version)
}

// Keys returns the keys in order.
func (s *Shared) Keys(ctx context.Context) ([]string, error) {
	if s.store == nil {
		return nil, nil
	}
	return s.store.SharedKeys(ctx, s.run)
}

// Call is one task to execute, as the engine hands it to an [Executor].
type Call struct {
	*Execution
	Task *Task
	Env  map[string]string // resolved
	HTTP *HTTPRequest      // resolved; of a task that is a request

	// Redact replaces secrets in a text, for what is cut before it is recorded: half
	// a secret would not be recognised. Nil: there are none.
	Redact func(string) string
}

// Executor executes tasks. It returns the task's value (nil: it has none; a
// json.RawMessage is taken as it is) or why it failed: a *[Failure], or any error
// for kind error. It returns only after everything the task started has ended
// or was given up and reported. A cancelled context asks the task to stop; its
// cause says why ([context.Cause]: a *Failure of kind cancel or timeout).
type Executor interface {
	Execute(ctx context.Context, c *Call) (any, error)
}

// Preparer is what an [Executor] may be, too: one that can do most of what
// starting a task takes before the task may start.
type Preparer interface {
	// Prepare does so without executing anything of the task. It returns nil
	// where it cannot; then, as after any refusal later, the task is executed with Execute.
	Prepare(c *Call) Prepared
}

// Prepared is a task that was prepared. The goroutine that prepared it calls one
// of its methods, once.
type Prepared interface {
	// Execute executes the task as [Executor] does. Its time begins now.
	Execute(ctx context.Context) (any, error)
	// Discard frees what was prepared. Nothing of the task was executed.
	Discard()
}

// logHandler turns slog records into log records.
type logHandler struct {
	rec   Recorder
	name  string
	group string
	attrs map[string]any
}

// Enabled is always true: everything is recorded, readers filter.
func (h *logHandler) Enabled(context.Context, slog.Level) bool { return true }

// Handle records r.
func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	out := LogRecord{Time: r.Time.UTC(), Level: LevelOf(r.Level), Logger: h.name, Message: r.Message}
	if r.PC != 0 {
		if f := Frames([]uintptr{r.PC}); len(f) > 0 {
			out.File, out.Line, out.Function = f[0].File, f[0].Line, f[0].Function
		}
	}
	if len(h.attrs) > 0 || r.NumAttrs() > 0 {
		out.Attrs = make(map[string]any, len(h.attrs)+r.NumAttrs())
		for k, v := range h.attrs {
			out.Attrs[k] = v
		}
		r.Attrs(func(a slog.Attr) bool {
			addAttr(out.Attrs, h.group, a)
			return true
		})
	}
	h.rec.Log(out)
	return nil
}

// WithAttrs returns a handler that adds attributes to every record.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.attrs = make(map[string]any, len(h.attrs)+len(attrs))
	for k, v := range h.attrs {
		c.attrs[k] = v
	}
	for _, a := range attrs {
		addAttr(c.attrs, h.group, a)
	}
	return &c
}

// WithGroup returns a handler that qualifies later attributes with name.
func (h *logHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	c := *h
	c.group += name + "."
	return &c
}

func addAttr(m map[string]any, prefix string, a slog.Attr) {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindGroup:
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, g := range v.Group() {
			addAttr(m, prefix, g)
		}
		return
	case slog.KindBool, slog.KindInt64, slog.KindString, slog.KindUint64:
		m[prefix+a.Key] = v.Any()
	case slog.KindFloat64:
		m[prefix+a.Key] = v.Any()
		if f := v.Float64(); math.IsNaN(f) || math.IsInf(f, 0) {
			m[prefix+a.Key] = fmt.Sprint(f) // JSON has no such numbers
		}
	case slog.KindDuration, slog.KindTime:
		m[prefix+a.Key] = v.String()
	default:
		// The value is encoded now: who logged it may go on changing it.
		if e, ok := v.Any().(error); ok {
			m[prefix+a.Key] = e.Error()
		} else if data, err := json.Marshal(v.Any()); err == nil {
			m[prefix+a.Key] = json.RawMessage(data)
		} else {
			m[prefix+a.Key] = fmt.Sprint(v.Any())
		}
	}
}

// Micros returns t in UTC with the precision of the store; the zero time stays zero.
func Micros(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Microsecond)
}
