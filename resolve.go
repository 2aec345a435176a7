package jobcontrol

import (
	"context"
	"errors"
)

// ResultOf returns the decoded result of a build of a job, following builds
// whose result is that of an earlier one; id 0, or a missing build, is an error
// that names the job.
func ResultOf(ctx context.Context, build func(ctx context.Context, id int64) (*Build, error), job string, id int64) (any, error) {
	for range 100 {
		if id == 0 {
			return nil, UserError("job %q has no successful build whose result could be used", job)
		}
		b, err := build(ctx, id)
		if errors.Is(err, ErrNotFound) {
			return nil, UserError("build #%d of job %q, whose result is to be used, does not exist any more", id, job)
		}
		if err != nil {
			return nil, err
		}
		if b.ResultOf == 0 || b.ResultOf == id {
			if len(b.Result) == 0 {
				return nil, nil
			}
			return DecodeJSON(b.Result)
		}
		id = b.ResultOf
	}
	return nil, Errorf(Internal, "the results of job %q refer to each other", job)
}

// Resolved are the arguments of one phase without placeholders.
type Resolved struct {
	Args   []any
	Kwargs map[string]any
	Env    map[string]any // of the job; for commands
	HTTP   *HTTPRequest   // of a task that is a request

	// Results are the results of dependencies that were used, by job.
	Results map[string]any
}

// ResolveArguments returns the arguments of one phase of a build with every
// placeholder replaced: the task's own, else the build's, else the job's. b may be nil.
func ResolveArguments(j *Job, b *Build, phase Phase, retval func(Retval) (any, error), secret func(Secret) (any, error)) (*Resolved, error) {
	r := &Resolved{Args: j.Args, Kwargs: j.Kwargs, Env: j.Env}
	var args, kwargs EncodedArguments
	if b != nil {
		args, kwargs = b.Args, b.Kwargs
	}
	if t := j.TaskOf(phase); t != nil {
		if t.Args != nil {
			args = t.Args
		}
		if t.Kwargs != nil {
			kwargs = t.Kwargs
		}
	}
	var err error
	if args != nil {
		if r.Args, err = decodeList(args); err != nil {
			return nil, UserError("stored arguments: %v", err)
		}
	}
	if kwargs != nil {
		if r.Kwargs, err = decodeMap(kwargs); err != nil {
			return nil, UserError("stored arguments: %v", err)
		}
	}
	// What was decoded just now is nobody else's: without placeholders it is not copied.
	asIs := func(data EncodedArguments) bool { return data != nil && !MayHavePlaceholders(data) }
	replace := func(ph any) (any, error) {
		if s, ok := ph.(Secret); ok {
			return secret(s)
		}
		rv := ph.(Retval)
		v, err := retval(rv)
		if err != nil {
			return nil, err
		}
		if r.Results == nil {
			r.Results = map[string]any{}
		}
		if r.Results[rv.Job] = v; rv.Path == "" {
			return v, nil
		}
		if v, err = Lookup(v, rv.Path); err != nil {
			return nil, UserError("result of job %q: %v", rv.Job, err)
		}
		return v, nil
	}
	if len(r.Args) > 0 && !asIs(args) {
		v, err := ReplaceArguments(r.Args, replace)
		if err != nil {
			return nil, err
		}
		r.Args = v.([]any)
	}
	for i, m := range []*map[string]any{&r.Kwargs, &r.Env} {
		if len(*m) == 0 || i == 0 && asIs(kwargs) {
			continue
		}
		v, err := ReplaceArguments(*m, replace)
		if err != nil {
			return nil, err
		}
		*m = v.(map[string]any)
	}
	if t := j.TaskOf(phase); t != nil && t.HTTP != nil {
		if r.HTTP, err = t.HTTP.resolve(r.Args, r.Kwargs, replace); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// TaskOf returns the task that a phase executes, or nil.
func (j *Job) TaskOf(p Phase) *Task {
	switch p {
	case PhaseCheck, PhaseRecheck:
		return j.Check
	case PhaseRun:
		return j.Run
	case PhaseCleanup:
		return j.Cleanup
	case PhaseOnDelete:
		if j.OnDelete != "" && j.ForEach == nil { // else it is for the builds of items
			return &Task{Function: j.OnDelete}
		}
	}
	return nil
}
