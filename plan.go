package jobcontrol

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
)

// Request asks for a Plan or a Run.
type Request struct {
	Verb       Verb
	Jobs       []string         // the targets; build takes one
	Args       []any            // nil: the job's own; the positional arguments of the targets
	Kwargs     map[string]any   // build: of the target; run: of every job that has such an argument
	Tries      int              // for jobs that set none; 0: run 3, build 1
	RetryDelay *time.Duration   // for jobs that set none; nil: 1 s
	Deps       string           // build: which dependencies are built first: "" or none, missing, outdated, all
	Dependants bool             // build: rebuild afterwards everything that depends on the target
	Pins       map[string]int64 // build: dependency's job id → the build to use
	Confirm    bool             // protected jobs may be built
	NoCleanup  bool             // leave the clean-up steps to `runs cleanup`
	Project    string
	By         string
	File       string
	Hold       bool             // the targets wait until somebody releases them
	ReadyAt    time.Time        // the targets are not executed before; the zero time: at once
	Priority   int              // added to that of every job
	AgainOf    map[string]int64 // job id → the build of it that is built again
	Why        string           // why the targets are built; a default says what was typed
}

// Action is what a Run would do with a job.
type Action string

// The actions of a Plan.
const (
	ActionNone    Action = "none"    // nothing to do: the check passes
	ActionRun     Action = "run"     // it would be executed
	ActionSkip    Action = "skip"    // its check says that there is nothing to do
	ActionUnknown Action = "unknown" // it depends on something that is not done yet
	ActionRefused Action = "refused" // it may not be built: protected, or a dependency is missing
)

// PlanItem is what would happen to one job, and why.
type PlanItem struct {
	Job    *Job
	Action Action
	Why    string
	New    NewBuild // what a Run would store

	Checked bool     // the check was executed
	Failure *Failure // why the check failed
}

// Plan is what a Run would do, in its order, without doing it.
type Plan struct {
	Request Request
	Items   []PlanItem
}

// Refused returns the items that are refused.
func (p *Plan) Refused() []PlanItem {
	var out []PlanItem
	for _, it := range p.Items {
		if it.Action == ActionRefused {
			out = append(out, it)
		}
	}
	return out
}

// Refusal is the conflict that a Run of this plan would end in, or nil.
func (p *Plan) Refusal() error {
	refused := p.Refused()
	if len(refused) == 0 {
		return nil
	}
	e := &Error{Code: Conflict}
	for i, it := range refused {
		if i == 10 {
			e.Message += fmt.Sprintf("; and %d more", len(refused)-i)
			break
		}
		if i > 0 {
			e.Message += "; "
		}
		e.Message += fmt.Sprintf("job %q: %s", it.Job.ID, it.Why)
	}
	switch {
	case strings.Contains(refused[0].Why, "protected"):
		e.Hint = "confirm with --yes"
	default:
		e.Hint = "build the dependencies first, or at once with --deps missing"
	}
	return e
}

// Planner makes Plans from jobs, the store and the graph.
type Planner struct {
	Jobs     *Jobs
	Builds   Builds
	Registry *Registry // may be nil
	Services []Service // that are described; for their keys and priorities
}

// Select makes a Plan without executing any check: which jobs become members,
// in which order, with which arguments and pins, and what is refused.
func (p *Planner) Select(ctx context.Context, r Request) (*Plan, error) {
	targets, err := p.targets(r)
	if err != nil {
		return nil, err
	}
	heads, err := p.Builds.Heads(ctx, r.Project, nil)
	if err != nil {
		return nil, err
	}
	return p.choose(ctx, r, targets, heads)
}

func (p *Planner) choose(ctx context.Context, r Request, targets []int32, heads map[string]Head) (*Plan, error) {
	members, why, err := p.members(r, targets, heads)
	if err != nil {
		return nil, err
	}
	if err := p.checkFunctions(members); err != nil {
		return nil, err
	}
	plan := &Plan{Request: r, Items: make([]PlanItem, len(members))}
	g := p.Jobs.Graph()
	place := make(map[int32]int, len(members))
	used := make(map[string]bool, len(r.Pins)) // pins
	isTarget := make(map[int32]bool, len(targets))
	for _, i := range targets {
		isTarget[i] = true
	}
	for n, i := range members {
		place[i] = n
		j := p.Jobs.All()[i]
		it := PlanItem{Job: j, Action: ActionRun, Why: why[i]}
		if it.New, err = p.newBuild(j, r, isTarget[i], it.Why); err != nil {
			return nil, err
		}
		for k, d := range g.Dependencies(i) {
			if m, ok := place[d]; ok {
				it.New.Members = append(it.New.Members, m)
				continue
			}
			dep := j.Dependencies[k]
			pin, err := p.pin(ctx, r, j, dep, heads)
			if err != nil {
				return nil, err
			}
			if pin == 0 {
				it.Action = ActionRefused
				it.Why = fmt.Sprintf("its dependency %q has no successful build", dep)
				continue
			}
			if it.New.Build.Pins == nil {
				it.New.Build.Pins = map[string]int64{}
			}
			it.New.Build.Pins[dep] = pin
			used[dep] = true
		}
		if j.Protected && !r.Confirm {
			it.Action = ActionRefused
			it.Why = "it is protected and wants a confirmation"
		}
		plan.Items[n] = it
	}
	for dep := range r.Pins {
		if !used[dep] {
			return nil, &Error{
				Code: Invalid, Message: fmt.Sprintf("--pin %s: no job that is built here depends on it", dep),
				Hint: "pin direct dependencies of " + strings.Join(r.Jobs, ", "),
			}
		}
	}
	if len(r.Kwargs) > 0 && r.Verb == VerbRun {
		if err := p.checkKwargs(r, members); err != nil {
			return nil, err
		}
	}
	return plan, nil
}

func (p *Planner) targets(r Request) ([]int32, error) {
	if len(r.Jobs) == 0 {
		return nil, &Error{Code: Invalid, Message: "no job is named", Hint: "`jobcontrol jobs` lists the jobs of the file"}
	}
	if r.Verb == VerbBuild && len(r.Jobs) != 1 {
		return nil, &Error{Code: Invalid, Message: "build takes one job", Hint: "`jobcontrol run` takes several"}
	}
	if !slices.Contains([]string{"", "none", "missing", "outdated", "all"}, r.Deps) {
		return nil, &Error{Code: Invalid, Message: fmt.Sprintf("--deps %q is not known", r.Deps), Hint: "use none, missing, outdated or all"}
	}
	if r.Tries < 0 {
		return nil, Errorf(Invalid, "TRIES \"%d\" must be >= 1.", r.Tries)
	}
	if r.RetryDelay != nil && *r.RetryDelay < 0 {
		return nil, Errorf(Invalid, "RETRY_DELAY \"%v\" cannot be negative", r.RetryDelay.Seconds())
	}
	for dep := range r.Pins {
		if _, err := p.Jobs.Job(dep); err != nil {
			return nil, err
		}
	}
	var out []int32
	seen := make(map[int32]bool, len(r.Jobs))
	for _, id := range r.Jobs {
		if _, err := p.Jobs.Job(id); err != nil {
			return nil, err
		}
		if i, _ := p.Jobs.Graph().Index(id); !seen[i] {
			seen[i] = true
			out = append(out, i)
		}
	}
	return out, nil
}

// members returns the jobs that become builds, in the Run's order, and why each is one.
func (p *Planner) members(r Request, targets []int32, heads map[string]Head) ([]int32, map[int32]string, error) {
	g := p.Jobs.Graph()
	order := g.PostOrder(targets...)
	why := make(map[int32]string, len(order))
	asked := r.Why
	if asked == "" {
		asked = "asked for"
	}
	if r.Verb == VerbRun {
		for dep := range r.Pins {
			return nil, nil, &Error{
				Code: Invalid, Message: fmt.Sprintf("--pin %s: run executes the whole graph below its targets", dep),
				Hint: "use `jobcontrol build --pin`",
			}
		}
		// In post-order a target follows what it needs.
		first := 0
		isTarget := make(map[int32]bool, len(targets))
		for _, i := range targets {
			isTarget[i] = true
		}
		for n, i := range order {
			if isTarget[i] {
				for _, needed := range order[first:n] {
					why[needed] = "needed by " + g.ID(i)
				}
				why[i], first = asked, n+1
			}
		}
		return order, why, nil
	}
	why[targets[0]] = asked
	wanted := targets
	if r.Dependants {
		for _, i := range g.DependantsOf(targets[0]) {
			why[i] = "depends on " + g.ID(targets[0])
			wanted = append(wanted, i)
		}
	}
	// The dependencies of the dependants follow the same rule.
	p.needed(r, wanted, Statuses(p.Jobs, heads), why)
	var members []int32
	for _, i := range g.PostOrder(p.all(why)...) {
		if _, ok := why[i]; ok {
			members = append(members, i)
		}
	}
	return members, why, nil
}

// all returns the keys of why in node order.
func (p *Planner) all(why map[int32]string) []int32 {
	out := make([]int32, 0, len(why))
	for i := range why {
		out = append(out, i)
	}
	slices.Sort(out)
	return out
}

// needed adds to why those dependencies of the wanted jobs that --deps asks to
// build. Missing: without a successful build, and below those; outdated: also
// those that are outdated or have such a dependency. A pinned one is not built.
func (p *Planner) needed(r Request, wanted []int32, statuses []JobStatus, why map[int32]string) {
	g := p.Jobs.Graph()
	add := func(i int32, text string) bool {
		_, pinned := r.Pins[g.ID(i)]
		if _, ok := why[i]; ok || pinned {
			return false
		}
		why[i] = text
		return true
	}
	switch r.Deps {
	case "all", "missing":
		for stack := slices.Clone(wanted); len(stack) > 0; {
			i := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			for _, d := range g.Dependencies(i) {
				text := "--deps all"
				if r.Deps == "missing" {
					if statuses[d].Good != 0 {
						continue
					}
					text = "it has no successful build"
				}
				if add(d, text) {
					stack = append(stack, d)
				}
			}
		}
	case "outdated":
		for _, i := range g.PostOrder(wanted...) {
			s := statuses[i]
			switch {
			case s.Good == 0:
				add(i, "it has no successful build")
			case s.Status == StatusOutdated:
				add(i, "outdated: "+s.OutdatedBecause[0])
			default:
				for _, d := range g.Dependencies(i) {
					if _, ok := why[d]; ok {
						add(i, "its dependency "+g.ID(d)+" is built")
						break
					}
				}
			}
		}
	}
}

// pin returns the build of a dependency that is no member; 0: it has none.
func (p *Planner) pin(ctx context.Context, r Request, j *Job, dep string, heads map[string]Head) (int64, error) {
	id, ok := r.Pins[dep]
	if !ok {
		id, ok = j.PinnedBuilds[dep]
	}
	if !ok {
		return heads[dep].Good, nil
	}
	b, err := p.Builds.Build(ctx, id)
	switch {
	case errors.Is(err, ErrNotFound):
		return 0, Errorf(Conflict, "job %q: the pinned build #%d of %q does not exist", j.ID, id, dep)
	case err != nil:
		return 0, err
	case b.Job != dep:
		return 0, Errorf(Conflict, "job %q: the pinned build #%d is one of %q, not of %q", j.ID, id, b.Job, dep)
	case b.State != Successful:
		return 0, Errorf(Conflict, "job %q: the pinned build #%d of %q is %s, not successful", j.ID, id, dep, b.State)
	}
	return id, nil
}

// checkFunctions returns an error that names the functions that this program does not have.
func (p *Planner) checkFunctions(members []int32) error {
	var unknown []string
	job := ""
	for _, i := range members {
		j := p.Jobs.All()[i]
		for _, t := range []*Task{j.Check, j.Run, j.Cleanup} {
			if t == nil || t.Function == "" || slices.Contains(unknown, t.Function) {
				continue
			}
			if _, ok := p.Registry.Lookup(t.Function); !ok {
				unknown = append(unknown, t.Function)
				if job == "" {
					job = j.ID
				}
			}
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	e := Errorf(Invalid, "job %q: this program has no function %q", job, unknown[0])
	if len(unknown) > 1 {
		e.Message += fmt.Sprintf(" (and %d more that jobs name)", len(unknown)-1)
	}
	e.Hint = "use the program that registers it; `tasks` lists the functions of this one"
	if near := Nearest(unknown[0], p.Registry.Names()); near != "" {
		e.Hint = fmt.Sprintf("did you mean %q?", near)
	}
	return e
}

func (p *Planner) checkKwargs(r Request, members []int32) error {
	names := make([]string, 0, len(r.Kwargs))
	for k := range r.Kwargs {
		names = append(names, k)
	}
	sort.Strings(names)
	for _, k := range names {
		if !slices.ContainsFunc(members, func(i int32) bool { return p.takes(p.Jobs.All()[i], k) }) {
			return &Error{
				Code: Invalid, Message: fmt.Sprintf("--kwarg %s: no job of this run has such an argument", k),
				Hint: "name it in the kwargs of the jobs that use it",
			}
		}
	}
	return nil
}

// Checker executes the check of a job that is not being built, with these
// arguments, in which no placeholder but a [Secret] is left. A check that does
// not pass is a *[Failure]; any other error ends the planning.
type Checker func(ctx context.Context, j *Job, args *Resolved) (value any, err error)

// Plan makes a Plan and executes the checks: those of jobs whose dependencies
// are all done already (DoJobber's no_act). Nothing is stored, nothing is run.
func (p *Planner) Plan(ctx context.Context, r Request, check Checker) (*Plan, error) {
	targets, err := p.targets(r)
	if err != nil {
		return nil, err
	}
	heads, err := p.Builds.Heads(ctx, r.Project, nil)
	if err != nil {
		return nil, err
	}
	plan, err := p.choose(ctx, r, targets, heads)
	if err != nil {
		return nil, err
	}
	done := make([]bool, len(plan.Items))
	values := make([]any, len(plan.Items))
	for n := range plan.Items {
		it := &plan.Items[n]
		if it.Action == ActionRefused {
			continue
		}
		if why := waitsFor(plan, it, done); why != "" {
			it.Action, it.Why = ActionUnknown, why
			continue
		}
		switch it.Job.Kind() {
		case KindForEach:
			if values[n], done[n], err = p.planItems(ctx, plan, it, heads, values); err != nil {
				return nil, err
			}
		case KindGroup:
			it.Action, it.Why, done[n] = ActionNone, "all of its dependencies are done", true
			if len(it.Job.Dependencies) == 0 {
				it.Why = "there is nothing to do"
			}
		case KindRunOnly:
			it.Why = "it has no check; " + it.Why
		default:
			if values[n], done[n], err = p.checkItem(ctx, plan, it, heads, values, check); err != nil {
				return nil, err
			}
		}
		if err := ctx.Err(); err != nil {
			return nil, &Error{Code: Interrupted, Message: "interrupted", Cause: context.Cause(ctx)}
		}
	}
	return plan, nil
}

// waitsFor names the first member dependency that is not done, or returns "".
func waitsFor(plan *Plan, it *PlanItem, done []bool) string {
	if it.Job.ForEach != nil {
		for _, m := range it.New.Members {
			if id := plan.Items[m].Job.ID; !done[m] && it.Job.ForEach.uses(id) {
				return fmt.Sprintf("its items are known when %s has ended", id)
			}
		}
	}
	for _, m := range it.New.Members {
		if !done[m] {
			return fmt.Sprintf("its dependency %s is not done yet", plan.Items[m].Job.ID)
		}
	}
	return ""
}

// checkItem executes an item's check and sets what follows from it.
func (p *Planner) checkItem(ctx context.Context, plan *Plan, it *PlanItem, heads map[string]Head, values []any, check Checker) (value any, done bool, err error) {
	var f *Failure
	args, err := p.planArguments(ctx, plan, it, heads, values)
	if errors.As(err, &f) {
		it.Action, it.Why = ActionUnknown, f.Message
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	value, err = check(ctx, it.Job, args)
	it.Checked = true
	if err == nil {
		it.Action, it.Why = ActionNone, "its check passes"
		return value, true, nil
	}
	if !errors.As(err, &f) {
		return nil, false, err
	}
	it.Failure = FailureOf(err, PhaseCheck)
	if it.Failure.Kind == FailSkip {
		it.Action, it.Why = ActionSkip, "its check asks to skip it: "+it.Failure.Message
		return nil, true, nil
	}
	it.Why = "its check fails: " + it.Failure.Message
	if it.Job.Kind() == KindAssertion {
		it.Why += " (and there is nothing to run)"
	}
	return nil, false, nil
}

// planArguments resolves an item's arguments: the value of a member's check
// that passed, else the result that its job or its pin has now.
func (p *Planner) planArguments(ctx context.Context, plan *Plan, it *PlanItem, heads map[string]Head, values []any) (*Resolved, error) {
	return ResolveArguments(it.Job, &it.New.Build, PhaseCheck, func(rv Retval) (any, error) {
		return p.planResult(ctx, plan, it, heads, values, rv.Job)
	}, func(s Secret) (any, error) {
		return s, nil
	})
}

// planResult is the result of a job that an item of the plan would use.
func (p *Planner) planResult(ctx context.Context, plan *Plan, it *PlanItem, heads map[string]Head, values []any, job string) (any, error) {
	for _, m := range it.New.Members {
		if plan.Items[m].Job.ID == job && values[m] != nil {
			data, err := EncodeResult(values[m])
			if err != nil {
				return nil, err
			}
			return DecodeJSON(data)
		}
	}
	id := it.New.Build.Pins[job]
	if id == 0 {
		id = heads[job].Good
	}
	return ResultOf(ctx, p.Builds.Build, job, id)
}

// planItems says how many items a job with for_each has. Without any it is done.
func (p *Planner) planItems(ctx context.Context, plan *Plan, it *PlanItem, heads map[string]Head, values []any) (value any, done bool, err error) {
	var f *Failure
	items, err := it.Job.ItemsOf(func(job string) (any, error) { return p.planResult(ctx, plan, it, heads, values, job) })
	switch {
	case errors.As(err, &f):
		it.Action, it.Why = ActionUnknown, f.Message
	case err != nil:
		return nil, false, err
	case len(items) == 0:
		it.Action, it.Why = ActionNone, "it has no items"
		return map[string]any{}, true, nil
	case len(items) == 1:
		it.Why = "1 item; " + it.Why
	default:
		it.Why = fmt.Sprintf("%d items; %s", len(items), it.Why)
	}
	return nil, false, nil
}
