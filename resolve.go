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

// ResolveArguments returns the arguments of one phase of a build with every
// placeholder replaced: the task's own, else the build's, else the job's.
func ResolveArguments(j *Job, b *Build, phase Phase, retval func(Retval) (any, error), secret func(Secret) (any, error)) ([]any, map[string]any, error) {
	args, kwargs := j.Args, j.Kwargs
	var err error
	if b != nil && b.Args != nil {
		if args, err = decodeList(b.Args); err != nil {
			return nil, nil, err
		}
	}
	if b != nil && b.Kwargs != nil {
		if kwargs, err = decodeMap(b.Kwargs); err != nil {
			return nil, nil, err
		}
	}
	if t := j.TaskOf(phase); t != nil {
		if t.Args != nil {
			if args, err = decodeList(t.Args); err != nil {
				return nil, nil, err
			}
		}
		if t.Kwargs != nil {
			if kwargs, err = decodeMap(t.Kwargs); err != nil {
				return nil, nil, err
			}
		}
	}
	if len(args) == 0 && len(kwargs) == 0 {
		return nil, nil, nil
	}
	replace := func(ph any) (any, error) {
		switch ph := ph.(type) {
		case Retval:
			v, err := retval(ph)
			if err != nil || ph.Path == "" {
				return v, err
			}
			if v, err = Lookup(v, ph.Path); err != nil {
				return nil, UserError("result of job %q: %v", ph.Job, err)
			}
			return v, nil
		case Secret:
			return secret(ph)
		}
		return ph, nil
	}
	a, err := ReplaceArguments(anyList(args), replace)
	if err != nil {
		return nil, nil, err
	}
	k, err := ReplaceArguments(anyMap(kwargs), replace)
	if err != nil {
		return nil, nil, err
	}
	args, _ = a.([]any)
	kwargs, _ = k.(map[string]any)
	return args, kwargs, nil
}

// An interface that holds a nil list is not nil; these keep nil nil.
func anyList(l []any) any {
	if l == nil {
		return nil
	}
	return l
}

func anyMap(m map[string]any) any {
	if m == nil {
		return nil
	}
	return m
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
		if j.OnDelete != "" {
			return &Task{Function: j.OnDelete}
		}
	}
	return nil
}
