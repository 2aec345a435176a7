package jobcontrol

import (
	"fmt"
	"slices"
)

// State is the state of a build. The zero value is not a state.
type State uint8

// The states of a build. The numbers are stored: never renumber them.
const (
	Held       State = 1  // created, to be released by hand
	Waiting    State = 2  // a dependency in the same Run is not finished
	Scheduled  State = 3  // its time has not come
	Queued     State = 4  // may be claimed; also: claimed and not yet started
	Running    State = 5  // an attempt is being executed
	Suspended  State = 6  // put aside, by itself or by hand
	Successful State = 7  // final: done
	Skipped    State = 8  // final: the job said that there was nothing to do
	Failed     State = 9  // final: no try is left
	Cancelled  State = 10 // final: given up by request
	Blocked    State = 11 // final: a dependency failed, was blocked or cancelled
)

var stateNames = [...]string{
	Held: "held", Waiting: "waiting", Scheduled: "scheduled", Queued: "queued", Running: "running",
	Suspended: "suspended", Successful: "successful", Skipped: "skipped", Failed: "failed",
	Cancelled: "cancelled", Blocked: "blocked",
}

// String returns the state's name in lower case, as every interface shows it.
func (s State) String() string {
	if int(s) < len(stateNames) && stateNames[s] != "" {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// ParseState is the inverse of [State.String].
func ParseState(name string) (State, error) {
	if i := slices.Index(stateNames[:], name); i > 0 {
		return State(i), nil
	}
	return 0, &Error{Code: Invalid, Message: fmt.Sprintf("no such state: %q", name)}
}

// Final tells whether a build in this state never changes again.
func (s State) Final() bool { return s >= Successful }

// Satisfied tells whether a dependency in this state lets its dependants run.
func (s State) Satisfied() bool { return s == Successful || s == Skipped }

// MarshalText makes a state its name in JSON.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (s *State) UnmarshalText(text []byte) error {
	v, err := ParseState(string(text))
	if err == nil {
		*s = v
	}
	return err
}

// Transition names a change of a build's state.
type Transition string

// The transitions of a build.
const (
	ToHold    Transition = "hold"    // by hand
	ToRelease Transition = "release" // by hand, out of held
	ToReady   Transition = "ready"   // its last dependency was satisfied
	ToPromote Transition = "promote" // its time has come
	ToStart   Transition = "start"   // its worker executes an attempt
	ToSucceed Transition = "succeed" // the attempt succeeded
	ToSkip    Transition = "skip"    // the attempt asked to be skipped
	ToFail    Transition = "fail"    // the attempt failed and no try is left
	ToRetry   Transition = "retry"   // the attempt failed and will be tried again
	ToExpand  Transition = "expand"  // the attempt made a build of each item, for which it waits
	ToRescue  Transition = "rescue"  // its worker is gone, or shut down
	ToSuspend Transition = "suspend" // the attempt, or a person, put it aside
	ToResume  Transition = "resume"  // by hand, out of suspended
	ToCancel  Transition = "cancel"  // by request; out of running only by its worker or by rescue
	ToBlock   Transition = "block"   // a dependency failed, was blocked or cancelled
)

// Transitions is the whole state machine: from where to where each transition
// leads. Where several targets are named, the build's dependencies and time
// decide between waiting, scheduled and queued. A claimed build that was never
// marked as started may be finished from queued: its start and its end are then
// one write.
var Transitions = map[Transition]struct{ From, To []State }{
	ToHold:    {[]State{Waiting, Scheduled, Queued}, []State{Held}},
	ToRelease: {[]State{Held}, []State{Waiting, Scheduled, Queued}},
	ToReady:   {[]State{Waiting}, []State{Scheduled, Queued}},
	ToPromote: {[]State{Scheduled}, []State{Queued}},
	ToStart:   {[]State{Queued, Scheduled}, []State{Running}},
	ToSucceed: {[]State{Running, Queued, Scheduled}, []State{Successful}},
	ToSkip:    {[]State{Running, Queued, Scheduled}, []State{Skipped}},
	ToFail:    {[]State{Running, Queued, Scheduled}, []State{Failed}},
	ToRetry:   {[]State{Running, Queued, Scheduled}, []State{Scheduled, Queued}},
	ToExpand:  {[]State{Running, Queued, Scheduled}, []State{Waiting, Queued}},
	ToRescue:  {[]State{Running}, []State{Queued}},
	ToSuspend: {[]State{Running, Queued, Scheduled, Waiting}, []State{Suspended}},
	ToResume:  {[]State{Suspended}, []State{Waiting, Scheduled, Queued}},
	ToCancel:  {[]State{Held, Waiting, Scheduled, Queued, Suspended, Running}, []State{Cancelled}},
	ToBlock:   {[]State{Waiting, Held}, []State{Blocked}},
}

// Check returns nil when the transition may lead from one state to the other,
// else a conflict that says from what to what.
func (t Transition) Check(from, to State) error {
	row, ok := Transitions[t]
	if ok && slices.Contains(row.From, from) && slices.Contains(row.To, to) {
		return nil
	}
	return &Error{Code: Conflict, Message: fmt.Sprintf("cannot %s: the build is %s and cannot become %s", t, from, to)}
}

// RunState is the state of a Run.
type RunState uint8

// The states of a Run. The numbers are stored: never renumber them.
const (
	RunRunning     RunState = 1 // builds are executed, or will be
	RunCleaning    RunState = 2 // every build is final; clean-up steps are executed
	RunSuccessful  RunState = 3 // final: every build was successful or skipped
	RunPartial     RunState = 4 // final: some were, some were not
	RunFailed      RunState = 5 // final: none was
	RunCancelled   RunState = 6 // final: ended by request or interruption, cleaned up
	RunInterrupted RunState = 7 // the program that ran it in the foreground died; a person decides
)

var runStateNames = [...]string{
	RunRunning: "running", RunCleaning: "cleaning", RunSuccessful: "successful", RunPartial: "partial",
	RunFailed: "failed", RunCancelled: "cancelled", RunInterrupted: "interrupted",
}

// String returns the state's name in lower case.
func (s RunState) String() string {
	if int(s) < len(runStateNames) && runStateNames[s] != "" {
		return runStateNames[s]
	}
	return fmt.Sprintf("run state(%d)", uint8(s))
}

// Final tells whether a Run in this state never changes again.
func (s RunState) Final() bool { return s >= RunSuccessful && s <= RunCancelled }

// MarshalText makes a state its name in JSON.
func (s RunState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (s *RunState) UnmarshalText(text []byte) error {
	if i := slices.Index(runStateNames[:], string(text)); i > 0 {
		*s = RunState(i)
		return nil
	}
	return &Error{Code: Invalid, Message: fmt.Sprintf("no such run state: %q", text)}
}

// Phase is a step of an attempt.
type Phase string

// The phases of an attempt, in order; cleanup and on_delete are attempts of their own.
const (
	PhaseCheck    Phase = "check"
	PhaseRun      Phase = "run"
	PhaseRecheck  Phase = "recheck"
	PhaseExpand   Phase = "expand" // of a job with for_each: builds of its items are made …
	PhaseGather   Phase = "gather" // … and their results are collected
	PhaseCleanup  Phase = "cleanup"
	PhaseOnDelete Phase = "on_delete"
)
