package storetest

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// Mode is how a call fails.
type Mode int

// The modes.
const (
	FailBefore Mode = iota // the call is not executed, and returns the error
	FailAfter              // the call is executed, and returns the error all the same
	Delay                  // the call is executed after a delay
)

// Fault is a call that is to fail.
type Fault struct {
	Method string        // its name, such as "Finish"; "": any
	At     int           // which call of that method, counted from 1; 0: every one
	Mode   Mode          //
	Err    error         // nil: an Unavailable error that says "injected fault"
	Wait   time.Duration // for mode Delay
}

// Faulty wraps a store so that the given calls fail. A failing Log with
// [FailAfter] has called yield. What it returns is a [jobcontrol.Finisher] where
// the store is one, and only there.
func Faulty(s jobcontrol.Store, faults ...Fault) FaultyStore {
	f := &faulty{store: s, calls: map[string]int{}}
	f.Set(faults...)
	if inner, ok := s.(jobcontrol.Finisher); ok {
		return &faultyFinisher{f, inner}
	}
	return f
}

// FaultyStore is a store that fails on demand. It is safe for concurrent use.
type FaultyStore interface {
	jobcontrol.Store
	// Set replaces the faults and starts counting calls anew.
	Set(faults ...Fault)
	// Calls returns how often a method was called; "": all methods together.
	Calls(method string) int
	// Fired returns how many calls failed or were delayed.
	Fired() int
	// Unwrap returns the store that is wrapped.
	Unwrap() jobcontrol.Store
}

// faulty is a FaultyStore.
type faulty struct {
	store jobcontrol.Store

	mu     sync.Mutex
	faults []Fault
	calls  map[string]int // by method; "": all
	fired  int
}

// faultyFinisher is one of a store that is a Finisher.
type faultyFinisher struct {
	*faulty
	finisher jobcontrol.Finisher
}

// FinishThen is that of the store, or fails; its faults are its own, not those of
// Finish. One that fails before it is executed is answered at once, by the caller
// itself: a store may do so.
func (f *faultyFinisher) FinishThen(ctx context.Context, c jobcontrol.Claim, e *jobcontrol.Ended, then func(*jobcontrol.Released, error)) {
	fault := f.hit("FinishThen")
	switch {
	case fault == nil:
		f.finisher.FinishThen(ctx, c, e, then)
	case fault.Mode == FailBefore:
		then(nil, fault.Err)
	case fault.Mode == Delay:
		go func() {
			select {
			case <-time.After(fault.Wait):
				f.finisher.FinishThen(ctx, c, e, then)
			case <-ctx.Done():
				then(nil, ctx.Err())
			}
		}()
	default:
		f.finisher.FinishThen(ctx, c, e, func(_ *jobcontrol.Released, err error) {
			if err == nil {
				err = fault.Err
			}
			then(nil, err)
		})
	}
}

// Set replaces the faults and starts counting calls anew.
func (f *faulty) Set(faults ...Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults, f.fired = faults, 0
	clear(f.calls)
}

// Calls returns how often a method was called; "": all methods together.
func (f *faulty) Calls(method string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[method]
}

// Fired returns how many calls failed or were delayed.
func (f *faulty) Fired() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fired
}

// Unwrap returns the store that is wrapped.
func (f *faulty) Unwrap() jobcontrol.Store { return f.store }

// hit counts a call and returns the fault that it meets, or nil.
func (f *faulty) hit(method string) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[method]++
	f.calls[""]++
	for _, fault := range f.faults {
		if (fault.Method == "" || fault.Method == method) && (fault.At == 0 || fault.At == f.calls[fault.Method]) {
			f.fired++
			if fault.Err == nil {
				fault.Err = jobcontrol.Errorf(jobcontrol.Unavailable, "store unavailable: injected fault in %s", method)
			}
			return &fault
		}
	}
	return nil
}

// do executes a call, or not.
func (f *faulty) do(ctx context.Context, method string, call func() error) error {
	fault := f.hit(method)
	if fault == nil {
		return call()
	}
	switch fault.Mode {
	case FailBefore:
		return fault.Err
	case Delay:
		select {
		case <-time.After(fault.Wait):
		case <-ctx.Done():
			return ctx.Err()
		}
		return call()
	}
	if err := call(); err != nil {
		return err
	}
	return fault.Err
}

// value is do for a call that returns a value, which is lost when it fails.
func value[T any](ctx context.Context, f *faulty, method string, call func() (T, error)) (T, error) {
	var v T
	err := f.do(ctx, method, func() (err error) {
		v, err = call()
		return err
	})
	if err != nil {
		var none T
		return none, err
	}
	return v, nil
}

// Install is that of the store, or fails.
func (f *faulty) Install(ctx context.Context) error {
	return f.do(ctx, "Install", func() error { return f.store.Install(ctx) })
}

// Uninstall is that of the store, or fails.
func (f *faulty) Uninstall(ctx context.Context) error {
	return f.do(ctx, "Uninstall", func() error { return f.store.Uninstall(ctx) })
}

// Now is that of the store, or fails.
func (f *faulty) Now(ctx context.Context) (time.Time, error) {
	return value(ctx, f, "Now", func() (time.Time, error) { return f.store.Now(ctx) })
}

// Close is that of the store, or fails.
func (f *faulty) Close() error {
	return f.do(context.Background(), "Close", f.store.Close)
}

// CreateRun is that of the store, or fails.
func (f *faulty) CreateRun(ctx context.Context, n jobcontrol.NewRun) (run *jobcontrol.Run, builds []jobcontrol.Build, err error) {
	err = f.do(ctx, "CreateRun", func() (err error) {
		run, builds, err = f.store.CreateRun(ctx, n)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return run, builds, nil
}

// Run is that of the store, or fails.
func (f *faulty) Run(ctx context.Context, id int64) (*jobcontrol.Run, error) {
	return value(ctx, f, "Run", func() (*jobcontrol.Run, error) { return f.store.Run(ctx, id) })
}

// ListRuns is that of the store, or fails.
func (f *faulty) ListRuns(ctx context.Context, filter jobcontrol.RunFilter) ([]jobcontrol.Run, error) {
	return value(ctx, f, "ListRuns", func() ([]jobcontrol.Run, error) { return f.store.ListRuns(ctx, filter) })
}

// StartCleaning is that of the store, or fails.
func (f *faulty) StartCleaning(ctx context.Context, run int64, l jobcontrol.Lease) ([]jobcontrol.Build, error) {
	return value(ctx, f, "StartCleaning", func() ([]jobcontrol.Build, error) { return f.store.StartCleaning(ctx, run, l) })
}

// FinishRun is that of the store, or fails.
func (f *faulty) FinishRun(ctx context.Context, run int64, l jobcontrol.Lease) (*jobcontrol.Run, error) {
	return value(ctx, f, "FinishRun", func() (*jobcontrol.Run, error) { return f.store.FinishRun(ctx, run, l) })
}

// RequestCancel is that of the store, or fails.
func (f *faulty) RequestCancel(ctx context.Context, run int64) (*jobcontrol.Run, error) {
	return value(ctx, f, "RequestCancel", func() (*jobcontrol.Run, error) { return f.store.RequestCancel(ctx, run) })
}

// CancelRequested is that of the store, or fails.
func (f *faulty) CancelRequested(ctx context.Context, run int64) (bool, error) {
	return value(ctx, f, "CancelRequested", func() (bool, error) { return f.store.CancelRequested(ctx, run) })
}

// Adopt is that of the store, or fails.
func (f *faulty) Adopt(ctx context.Context, run int64, l jobcontrol.Lease) (r *jobcontrol.Run, builds []jobcontrol.Build, err error) {
	err = f.do(ctx, "Adopt", func() (err error) {
		r, builds, err = f.store.Adopt(ctx, run, l)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return r, builds, nil
}

// Build is that of the store, or fails.
func (f *faulty) Build(ctx context.Context, id int64) (*jobcontrol.Build, error) {
	return value(ctx, f, "Build", func() (*jobcontrol.Build, error) { return f.store.Build(ctx, id) })
}

// ListBuilds is that of the store, or fails.
func (f *faulty) ListBuilds(ctx context.Context, filter jobcontrol.BuildFilter) ([]jobcontrol.Build, error) {
	return value(ctx, f, "ListBuilds", func() ([]jobcontrol.Build, error) { return f.store.ListBuilds(ctx, filter) })
}

// Attempts is that of the store, or fails.
func (f *faulty) Attempts(ctx context.Context, build int64) ([]jobcontrol.Attempt, error) {
	return value(ctx, f, "Attempts", func() ([]jobcontrol.Attempt, error) { return f.store.Attempts(ctx, build) })
}

// Heads is that of the store, or fails.
func (f *faulty) Heads(ctx context.Context, project string, jobs []string) (map[string]jobcontrol.Head, error) {
	return value(ctx, f, "Heads", func() (map[string]jobcontrol.Head, error) { return f.store.Heads(ctx, project, jobs) })
}

// Definition is that of the store, or fails.
func (f *faulty) Definition(ctx context.Context, hash string) (*jobcontrol.Job, error) {
	return value(ctx, f, "Definition", func() (*jobcontrol.Job, error) { return f.store.Definition(ctx, hash) })
}

// DeleteBuild is that of the store, or fails.
func (f *faulty) DeleteBuild(ctx context.Context, id int64) (*jobcontrol.Build, error) {
	return value(ctx, f, "DeleteBuild", func() (*jobcontrol.Build, error) { return f.store.DeleteBuild(ctx, id) })
}

// Progress is that of the store, or fails.
func (f *faulty) Progress(ctx context.Context, build int64) ([]jobcontrol.Progress, error) {
	return value(ctx, f, "Progress", func() ([]jobcontrol.Progress, error) { return f.store.Progress(ctx, build) })
}

// Start is that of the store, or fails.
func (f *faulty) Start(ctx context.Context, claims []jobcontrol.Claim, at []time.Time) error {
	return f.do(ctx, "Start", func() error { return f.store.Start(ctx, claims, at) })
}

// MarkRan is that of the store, or fails.
func (f *faulty) MarkRan(ctx context.Context, c jobcontrol.Claim, at time.Time) error {
	return f.do(ctx, "MarkRan", func() error { return f.store.MarkRan(ctx, c, at) })
}

// Finish is that of the store, or fails.
func (f *faulty) Finish(ctx context.Context, c jobcontrol.Claim, e jobcontrol.Ended) (*jobcontrol.Released, error) {
	return value(ctx, f, "Finish", func() (*jobcontrol.Released, error) { return f.store.Finish(ctx, c, e) })
}

// Retry is that of the store, or fails.
func (f *faulty) Retry(ctx context.Context, c jobcontrol.Claim, e jobcontrol.Ended) (*jobcontrol.Build, error) {
	return value(ctx, f, "Retry", func() (*jobcontrol.Build, error) { return f.store.Retry(ctx, c, e) })
}

// Expand is that of the store, or fails.
func (f *faulty) Expand(ctx context.Context, c jobcontrol.Claim, e jobcontrol.Ended) (*jobcontrol.Expanded, error) {
	return value(ctx, f, "Expand", func() (*jobcontrol.Expanded, error) { return f.store.Expand(ctx, c, e) })
}

// Cancel is that of the store, or fails.
func (f *faulty) Cancel(ctx context.Context, claims []jobcontrol.Claim, reason string) error {
	return f.do(ctx, "Cancel", func() error { return f.store.Cancel(ctx, claims, reason) })
}

// Cleaned is that of the store, or fails.
func (f *faulty) Cleaned(ctx context.Context, c jobcontrol.Claim, e jobcontrol.Ended) error {
	return f.do(ctx, "Cleaned", func() error { return f.store.Cleaned(ctx, c, e) })
}

// Report is that of the store, or fails.
func (f *faulty) Report(ctx context.Context, c jobcontrol.Claim, logs []jobcontrol.LogRecord, progress []jobcontrol.Progress) error {
	return f.do(ctx, "Report", func() error { return f.store.Report(ctx, c, logs, progress) })
}

// Register is that of the store, or fails.
func (f *faulty) Register(ctx context.Context, p jobcontrol.Process, ttl time.Duration) (jobcontrol.Lease, error) {
	return value(ctx, f, "Register", func() (jobcontrol.Lease, error) { return f.store.Register(ctx, p, ttl) })
}

// Renew is that of the store, or fails.
func (f *faulty) Renew(ctx context.Context, l jobcontrol.Lease, ttl time.Duration) error {
	return f.do(ctx, "Renew", func() error { return f.store.Renew(ctx, l, ttl) })
}

// Unregister is that of the store, or fails.
func (f *faulty) Unregister(ctx context.Context, l jobcontrol.Lease) error {
	return f.do(ctx, "Unregister", func() error { return f.store.Unregister(ctx, l) })
}

// Rescue is that of the store, or fails.
func (f *faulty) Rescue(ctx context.Context, alive func(jobcontrol.Process) (alive, known bool)) ([]jobcontrol.Interruption, error) {
	return value(ctx, f, "Rescue", func() ([]jobcontrol.Interruption, error) { return f.store.Rescue(ctx, alive) })
}

// Workers is that of the store, or fails.
func (f *faulty) Workers(ctx context.Context) ([]jobcontrol.Worker, error) {
	return value(ctx, f, "Workers", func() ([]jobcontrol.Worker, error) { return f.store.Workers(ctx) })
}

// Log is that of the store, or fails.
func (f *faulty) Log(ctx context.Context, build int64, filter jobcontrol.LogFilter, yield func(jobcontrol.LogRecord) bool) error {
	return f.do(ctx, "Log", func() error { return f.store.Log(ctx, build, filter, yield) })
}

// SharedGet is that of the store, or fails.
func (f *faulty) SharedGet(ctx context.Context, run int64, key string) (v json.RawMessage, version int64, err error) {
	err = f.do(ctx, "SharedGet", func() (err error) {
		v, version, err = f.store.SharedGet(ctx, run, key)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	return v, version, nil
}

// SharedSet is that of the store, or fails.
func (f *faulty) SharedSet(ctx context.Context, c jobcontrol.Claim, key string, v json.RawMessage, version int64) (int64, error) {
	return value(ctx, f, "SharedSet", func() (int64, error) { return f.store.SharedSet(ctx, c, key, v, version) })
}

// SharedKeys is that of the store, or fails.
func (f *faulty) SharedKeys(ctx context.Context, run int64) ([]string, error) {
	return value(ctx, f, "SharedKeys", func() ([]string, error) { return f.store.SharedKeys(ctx, run) })
}

// CreateRuns is that of the store, or fails.
func (f *faulty) CreateRuns(ctx context.Context, many []jobcontrol.NewRun) ([]int64, error) {
	return value(ctx, f, "CreateRuns", func() ([]int64, error) { return f.store.CreateRuns(ctx, many) })
}

// Claim is that of the store, or fails.
func (f *faulty) Claim(ctx context.Context, l jobcontrol.Lease, w jobcontrol.Wanted) (*jobcontrol.Claimed, error) {
	return value(ctx, f, "Claim", func() (*jobcontrol.Claimed, error) { return f.store.Claim(ctx, l, w) })
}

// GiveBack is that of the store, or fails.
func (f *faulty) GiveBack(ctx context.Context, claims []jobcontrol.Claim) error {
	return f.do(ctx, "GiveBack", func() error { return f.store.GiveBack(ctx, claims) })
}

// Promote is that of the store, or fails.
func (f *faulty) Promote(ctx context.Context, n int) (promoted int, next time.Time, err error) {
	err = f.do(ctx, "Promote", func() error {
		promoted, next, err = f.store.Promote(ctx, n)
		return err
	})
	return promoted, next, err
}

// StopRequests is that of the store, or fails.
func (f *faulty) StopRequests(ctx context.Context, l jobcontrol.Lease) ([]jobcontrol.StopRequest, error) {
	return value(ctx, f, "StopRequests", func() ([]jobcontrol.StopRequest, error) { return f.store.StopRequests(ctx, l) })
}

// ClaimCleanup is that of the store, or fails.
func (f *faulty) ClaimCleanup(ctx context.Context, l jobcontrol.Lease, w jobcontrol.Wanted) (*jobcontrol.Build, error) {
	return value(ctx, f, "ClaimCleanup", func() (*jobcontrol.Build, error) { return f.store.ClaimCleanup(ctx, l, w) })
}

// Steer is that of the store, or fails.
func (f *faulty) Steer(ctx context.Context, build int64, t jobcontrol.Transition) (*jobcontrol.Build, error) {
	return value(ctx, f, "Steer", func() (*jobcontrol.Build, error) { return f.store.Steer(ctx, build, t) })
}

// PutServices is that of the store, or fails.
func (f *faulty) PutServices(ctx context.Context, project string, services []jobcontrol.Service) error {
	return f.do(ctx, "PutServices", func() error { return f.store.PutServices(ctx, project, services) })
}

// ResetService is that of the store, or fails.
func (f *faulty) ResetService(ctx context.Context, project, name string, as *jobcontrol.Service) error {
	return f.do(ctx, "ResetService", func() error { return f.store.ResetService(ctx, project, name, as) })
}

// Services is that of the store, or fails.
func (f *faulty) Services(ctx context.Context, project string) ([]jobcontrol.ServiceStatus, error) {
	return value(ctx, f, "Services", func() ([]jobcontrol.ServiceStatus, error) { return f.store.Services(ctx, project) })
}

// Listen is that of the store, or fails.
func (f *faulty) Listen(ctx context.Context, wake func()) error {
	return f.do(ctx, "Listen", func() error { return f.store.Listen(ctx, wake) })
}
