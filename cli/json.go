package cli

import (
	"cmp"
	"encoding/json"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// The shapes of the JSON output, documented in docs/json.md. They are a contract:
// names are added, never changed or removed. What is not set is null, a list or a
// mapping without entries is empty.

// jobJSON is a job and how it stands.
type jobJSON struct {
	ID               string   `json:"id"`
	Title            *string  `json:"title"`
	Kind             string   `json:"kind"`
	Status           string   `json:"status"`
	Running          bool     `json:"running"`
	Buildable        bool     `json:"buildable"`
	OutdatedBecause  []string `json:"outdated_because"`
	OutdatedUpstream []string `json:"outdated_upstream"`
	Missing          []string `json:"missing"`
	Tags             []string `json:"tags"`
	Dependencies     []string `json:"dependencies"`
	Dependants       []string `json:"dependants"`
	Protected        bool     `json:"protected"`
	LatestBuild      *int64   `json:"latest_build"`
	LatestSuccessful *int64   `json:"latest_successful"`

	LatestState *jobcontrol.State `json:"latest_state"` // of LatestBuild
}

func newJobJSON(i *jobcontrol.JobInfo) jobJSON {
	j, s := i.Job, i.Status
	return jobJSON{
		ID: j.ID, Title: orNull(j.Title), Kind: string(j.Kind()),
		Status: s.Status, Running: s.Running, Buildable: s.Buildable,
		OutdatedBecause: orEmpty(s.OutdatedBecause), OutdatedUpstream: orEmpty(s.OutdatedUpstream), Missing: orEmpty(s.Missing),
		Tags: orEmpty(j.Tags), Dependencies: orEmpty(j.Dependencies), Dependants: orEmpty(i.Dependants),
		Protected: j.Protected, LatestBuild: orNull(s.Latest), LatestSuccessful: orNull(s.Good),
		LatestState: orNull(s.LatestState),
	}
}

// failureJSON is why an attempt failed.
type failureJSON struct {
	Kind     jobcontrol.FailureKind `json:"kind"`
	Message  string                 `json:"message"`
	Report   *string                `json:"report"`
	Phase    *string                `json:"phase"`
	ExitCode *int                   `json:"exit_code"`
	Signal   *string                `json:"signal"`
	Causes   []string               `json:"causes"`
	Frames   []jobcontrol.Frame     `json:"frames,omitempty"` // `builds show` only
}

func newFailureJSON(f *jobcontrol.Failure, frames bool) *failureJSON {
	if f == nil {
		return nil
	}
	out := &failureJSON{
		Kind: f.Kind, Message: f.Message, Report: orNull(f.Report), Phase: orNull(string(f.Phase)),
		ExitCode: f.ExitCode, Signal: orNull(f.Signal), Causes: orEmpty(f.Causes),
	}
	if frames {
		out.Frames = f.Frames
	}
	return out
}

// buildJSON is a build.
type buildJSON struct {
	ID         int64            `json:"id"`
	Job        string           `json:"job"`
	Run        int64            `json:"run"`
	State      jobcontrol.State `json:"state"`
	Changed    *bool            `json:"changed"`
	Attempts   int              `json:"attempts"`
	Service    string           `json:"service"`
	Priority   int              `json:"priority"`
	ReadyAt    *stamp           `json:"ready_at"`
	Stopping   *string          `json:"stopping"`
	CreatedAt  *stamp           `json:"created_at"`
	StartedAt  *stamp           `json:"started_at"`
	FinishedAt *stamp           `json:"finished_at"`
	Result     json.RawMessage  `json:"result"`
	ResultOf   *int64           `json:"result_of"`
	Failure    *failureJSON     `json:"failure"`
	Pins       map[string]int64 `json:"pins"`
	AgainOf    *int64           `json:"again_of"`
	Why        *string          `json:"why"`
}

func newBuildJSON(b *jobcontrol.Build) buildJSON {
	out := buildJSON{
		ID: b.ID, Job: b.Job, Run: b.Run, State: b.State, Changed: b.Changed, Attempts: b.Attempts,
		Service: cmp.Or(b.Service, jobcontrol.DefaultService), Priority: b.Priority, ReadyAt: newStamp(b.ReadyAt), Stopping: orNull(string(b.Stopping)),
		CreatedAt: newStamp(b.CreatedAt), StartedAt: newStamp(b.StartedAt), FinishedAt: newStamp(b.FinishedAt),
		Result: b.Result, ResultOf: orNull(b.ResultOf), Failure: newFailureJSON(b.Failure, false),
		Pins: b.Pins, AgainOf: orNull(b.AgainOf), Why: orNull(b.Why),
	}
	if out.Pins == nil {
		out.Pins = map[string]int64{}
	}
	if len(out.Result) == 0 {
		out.Result = nil
	}
	return out
}

func newBuildsJSON(builds []jobcontrol.Build) []buildJSON {
	out := make([]buildJSON, len(builds))
	for i := range builds {
		out[i] = newBuildJSON(&builds[i])
	}
	return out
}

// attemptJSON is one attempt of a build.
type attemptJSON struct {
	Number     int          `json:"number"`
	Cleanup    bool         `json:"cleanup"`
	Phases     []phaseJSON  `json:"phases"`
	StartedAt  *stamp       `json:"started_at"`
	FinishedAt *stamp       `json:"finished_at"`
	Failure    *failureJSON `json:"failure"`
}

// phaseJSON is how one phase of an attempt ended.
type phaseJSON struct {
	Phase   jobcontrol.Phase `json:"phase"`
	Passed  bool             `json:"passed"`
	Error   *string          `json:"error"`
	Seconds float64          `json:"seconds"`
}

func newAttemptsJSON(attempts []jobcontrol.Attempt) []attemptJSON {
	out := make([]attemptJSON, len(attempts))
	for i, a := range attempts {
		out[i] = attemptJSON{
			Number: a.Number, Cleanup: a.Cleanup, Phases: make([]phaseJSON, len(a.Phases)),
			StartedAt: newStamp(a.StartedAt), FinishedAt: newStamp(a.FinishedAt), Failure: newFailureJSON(a.Failure, true),
		}
		for k, p := range a.Phases {
			out[i].Phases[k] = phaseJSON{p.Phase, p.Passed, orNull(p.Error), p.Duration.Seconds()}
		}
	}
	return out
}

// runRowJSON is a Run without its builds.
type runRowJSON struct {
	ID         int64                    `json:"id"`
	State      jobcontrol.RunState      `json:"state"`
	Verb       jobcontrol.Verb          `json:"verb"`
	Targets    []string                 `json:"targets"`
	By         *string                  `json:"by"`
	File       *string                  `json:"file"`
	CreatedAt  *stamp                   `json:"created_at"`
	FinishedAt *stamp                   `json:"finished_at"`
	Message    *string                  `json:"message"`
	Counts     map[jobcontrol.State]int `json:"counts"`
}

func newRunRowJSON(r *jobcontrol.Run) runRowJSON {
	out := runRowJSON{
		ID: r.ID, State: r.State, Verb: r.Verb, Targets: orEmpty(r.Targets), By: orNull(r.By), File: orNull(r.File),
		CreatedAt: newStamp(r.CreatedAt), FinishedAt: newStamp(r.FinishedAt), Message: orNull(r.Message),
		Counts: map[jobcontrol.State]int{},
	}
	for s, n := range r.Counts {
		if n > 0 {
			out.Counts[s] = n
		}
	}
	return out
}

// memberJSON is a job of a Run.
type memberJSON struct {
	State    jobcontrol.State `json:"state"`
	Changed  *bool            `json:"changed"`
	Attempts int              `json:"attempts"`
	Build    int64            `json:"build"`
	Why      *string          `json:"why"`
}

// runJSON is a Run with its builds, in its order.
type runJSON struct {
	runRowJSON
	Jobs   map[string]memberJSON `json:"jobs"`
	Builds []buildJSON           `json:"builds"`
}

func newRunJSON(r *jobcontrol.Run, builds []jobcontrol.Build) runJSON {
	out := runJSON{runRowJSON: newRunRowJSON(r), Jobs: map[string]memberJSON{}, Builds: newBuildsJSON(builds)}
	for i := range builds {
		b := &builds[i]
		out.Jobs[b.Job] = memberJSON{b.State, b.Changed, b.Attempts, b.ID, orNull(b.Why)}
	}
	return out
}

// plannedJSON is a job of a Plan; what only a Run can tell is null.
type plannedJSON struct {
	Action   jobcontrol.Action `json:"action"`
	Why      string            `json:"why"`
	Place    int               `json:"place"` // in the order, from 0
	Checked  bool              `json:"checked"`
	Failure  *failureJSON      `json:"failure"`
	State    *string           `json:"state"`
	Changed  *bool             `json:"changed"`
	Attempts int               `json:"attempts"`
	Build    *int64            `json:"build"`
}

// planJSON is a Plan, in the form of a Run.
type planJSON struct {
	ID      *int64                 `json:"id"`
	State   string                 `json:"state"`
	Verb    jobcontrol.Verb        `json:"verb"`
	Targets []string               `json:"targets"`
	Order   []string               `json:"order"`
	Jobs    map[string]plannedJSON `json:"jobs"`
	Builds  []buildJSON            `json:"builds"`
}

func newPlanJSON(p *jobcontrol.Plan) planJSON {
	out := planJSON{
		State: "planned", Verb: p.Request.Verb, Targets: orEmpty(p.Request.Jobs),
		Order: make([]string, len(p.Items)), Jobs: make(map[string]plannedJSON, len(p.Items)), Builds: []buildJSON{},
	}
	for i, it := range p.Items {
		out.Order[i] = it.Job.ID
		out.Jobs[it.Job.ID] = plannedJSON{
			Action: it.Action, Why: it.Why, Place: i, Checked: it.Checked, Failure: newFailureJSON(it.Failure, false),
		}
	}
	return out
}

// stamp is a time in RFC 3339, UTC, with microseconds.
type stamp time.Time

func newStamp(t time.Time) *stamp {
	if t.IsZero() {
		return nil
	}
	s := stamp(t)
	return &s
}

// MarshalJSON always writes six digits, so that times sort as text.
func (s *stamp) MarshalJSON() ([]byte, error) {
	return []byte(`"` + time.Time(*s).UTC().Format("2006-01-02T15:04:05.000000Z") + `"`), nil
}

// orNull makes the zero value null.
func orNull[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// orEmpty makes a nil list an empty one.
func orEmpty[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}
