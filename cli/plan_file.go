package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

// planFileJSON is a plan in a file, for `run --plan`.
type planFileJSON struct {
	Request requestJSON    `json:"request"`
	Items   []planItemJSON `json:"items"` // in the order of the Run
}

// requestJSON is what was asked for.
type requestJSON struct {
	Verb       jobcontrol.Verb             `json:"verb"`
	Jobs       []string                    `json:"jobs"`
	Args       jobcontrol.EncodedArguments `json:"args"`   // null: each job's own
	Kwargs     jobcontrol.EncodedArguments `json:"kwargs"` // null: none
	Tries      int                         `json:"tries"`
	RetryDelay *time.Duration              `json:"retry_delay"` // nanoseconds
	Deps       string                      `json:"deps"`
	Dependants bool                        `json:"dependants"`
	Pins       map[string]int64            `json:"pins"`
	Confirm    bool                        `json:"confirm"`
	NoCleanup  bool                        `json:"no_cleanup"`
}

// planItemJSON is what would happen to one job, and with what.
type planItemJSON struct {
	Job        string                      `json:"job"`
	Action     jobcontrol.Action           `json:"action"`
	Why        string                      `json:"why"`
	Definition string                      `json:"definition"` // its content hash
	Args       jobcontrol.EncodedArguments `json:"args"`       // null: the job's
	Kwargs     jobcontrol.EncodedArguments `json:"kwargs"`     // null: the job's
	Pins       map[string]int64            `json:"pins"`
}

// writePlan writes a plan to a file that only its owner reads: arguments may be anything.
func writePlan(p *jobcontrol.Plan, path string) error {
	f, err := newPlanFile(p)
	if err != nil {
		return err
	}
	data, err := encodeJSON(f, "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return &jobcontrol.Error{Code: jobcontrol.Invalid, Message: err.Error()}
	}
	return nil
}

func newPlanFile(p *jobcontrol.Plan) (*planFileJSON, error) {
	r := &p.Request
	f := &planFileJSON{Request: requestJSON{
		Verb: r.Verb, Jobs: r.Jobs, Tries: r.Tries, RetryDelay: r.RetryDelay, Deps: r.Deps, Dependants: r.Dependants,
		Pins: r.Pins, Confirm: r.Confirm, NoCleanup: r.NoCleanup,
	}}
	var err error
	if r.Args != nil {
		if f.Request.Args, err = jobcontrol.EncodeArguments(r.Args); err != nil {
			return nil, err
		}
	}
	if r.Kwargs != nil {
		if f.Request.Kwargs, err = jobcontrol.EncodeArguments(r.Kwargs); err != nil {
			return nil, err
		}
	}
	for _, it := range p.Items {
		b := &it.New.Build
		f.Items = append(f.Items, planItemJSON{it.Job.ID, it.Action, it.Why, it.New.Hash, b.Args, b.Kwargs, b.Pins})
	}
	return f, nil
}

// readPlan reads a plan that writePlan has written.
func readPlan(path string) (*planFileJSON, jobcontrol.Request, error) {
	var r jobcontrol.Request
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, r, &jobcontrol.Error{Code: jobcontrol.Invalid, Message: err.Error(), Hint: "`jobcontrol plan -o FILE JOB` writes a plan"}
	}
	f := &planFileJSON{}
	if err := json.Unmarshal(data, f); err != nil || len(f.Request.Jobs) == 0 {
		return nil, r, usage("`jobcontrol plan -o FILE JOB` writes one", "%s is no plan", path)
	}
	q := &f.Request
	r = jobcontrol.Request{
		Verb: q.Verb, Jobs: q.Jobs, Tries: q.Tries, RetryDelay: q.RetryDelay, Deps: q.Deps, Dependants: q.Dependants,
		Pins: q.Pins, Confirm: q.Confirm, NoCleanup: q.NoCleanup,
	}
	r.Args, r.Kwargs, err = givenArguments(&jobcontrol.Build{Args: notNull(q.Args), Kwargs: notNull(q.Kwargs)})
	return f, r, err
}

// notNull is data, or nil where it is null.
func notNull(data json.RawMessage) json.RawMessage {
	if string(data) == "null" {
		return nil
	}
	return data
}

// runPlan executes a plan that was written to a file, if it would be the same now.
func runPlan(ctx context.Context, e *environment, o executeOptions, path string) error {
	f, r, err := readPlan(path)
	if err != nil {
		return err
	}
	return inForeground(ctx, e, o, needWork, func(ctx context.Context, c jobcontrol.Client, watch jobcontrol.Watch) (*jobcontrol.Run, error) {
		p, err := c.Plan(ctx, r)
		if err != nil {
			return nil, err
		}
		now, err := newPlanFile(p)
		if err != nil {
			return nil, err
		}
		if drift := planDrift(f, now); len(drift) > 0 {
			return nil, &jobcontrol.Error{
				Code: jobcontrol.Conflict, Message: "the plan is not what would be done now: " + strings.Join(drift, "; "),
				Hint: "make a new one: `jobcontrol plan -o " + shellWord(path) + " …`",
			}
		}
		return c.Execute(ctx, r, watch)
	})
}

// planDrift names each difference between a plan and what it would be now.
func planDrift(then, now *planFileJSON) []string {
	var out []string
	differs := func(job, what string, args ...any) {
		out = append(out, fmt.Sprintf("job %q: ", job)+fmt.Sprintf(what, args...))
	}
	today := make(map[string]*planItemJSON, len(now.Items))
	order := func(f *planFileJSON) (ids []string) {
		for _, it := range f.Items {
			ids = append(ids, it.Job)
		}
		return ids
	}
	for i := range now.Items {
		today[now.Items[i].Job] = &now.Items[i]
	}
	for _, was := range then.Items {
		is := today[was.Job]
		if is == nil {
			differs(was.Job, "it is not part of it any more")
			continue
		}
		delete(today, was.Job)
		if was.Definition != is.Definition {
			differs(was.Job, "its definition has changed")
		}
		if !sameJSON(was.Args, is.Args) || !sameJSON(was.Kwargs, is.Kwargs) {
			differs(was.Job, "its arguments have changed")
		}
		if !maps.Equal(was.Pins, is.Pins) {
			differs(was.Job, "it would use %s, not %s", orNone(pinsText(is.Pins)), orNone(pinsText(was.Pins)))
		}
		if was.Action != is.Action {
			differs(was.Job, "it was %s and is %s: %s", was.Action, is.Action, is.Why)
		}
	}
	for _, job := range sortedKeys(today) {
		differs(job, "it was not part of it")
	}
	if len(out) == 0 && !slices.Equal(order(then), order(now)) {
		out = append(out, "the order of the jobs has changed")
	}
	return out
}

// sameJSON tells whether two JSON texts are the same but for spaces; nothing is null.
func sameJSON(a, b json.RawMessage) bool {
	var texts [2]bytes.Buffer
	for i, data := range []json.RawMessage{a, b} {
		if notNull(data) == nil {
			continue
		}
		if json.Compact(&texts[i], data) != nil {
			return false
		}
	}
	return bytes.Equal(texts[0].Bytes(), texts[1].Bytes())
}

// checkPlanFlags refuses what a plan says already.
func checkPlanFlags(cmd *cobra.Command) error {
	for _, name := range []string{"arg", "kwarg", "tries", "retry-delay", "no-cleanup", "yes", "detach", "no-act", "twice"} {
		if cmd.Flags().Changed(name) {
			return usage("give it to `jobcontrol plan -o FILE`, as far as that takes it", "--%s does not go with --plan", name)
		}
	}
	return nil
}
