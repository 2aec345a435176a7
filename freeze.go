package jobcontrol

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// newBuild freezes a job for a build, with the request's arguments and defaults.
func (p *Planner) newBuild(j *Job, r Request, target bool, why string) (NewBuild, error) {
	body, hash, err := j.Definition()
	if err != nil {
		return NewBuild{}, err
	}
	b := Build{Project: r.Project, Job: j.ID, Definition: hash, AgainOf: r.AgainOf[j.ID], Why: why}
	tries := r.Tries
	if tries == 0 && r.Verb == VerbRun {
		tries = 3
	}
	b.pace(j, tries, r.RetryDelay)
	if target {
		if r.Args != nil {
			if b.Args, err = EncodeArguments(r.Args); err != nil {
				return NewBuild{}, err
			}
		}
		b.ReadyAt = r.ReadyAt
		if r.Hold {
			b.State = Held
		}
	}
	if kwargs := p.kwargsOf(j, r, target); kwargs != nil {
		if f := j.ForEach; f != nil && kwargs[f.Name()] != nil {
			return NewBuild{}, Errorf(Invalid, "%q is given to each build of an item of job %q by for_each, and cannot be given for all", f.Name(), j.ID)
		}
		if b.Kwargs, err = EncodeArguments(kwargs); err != nil {
			return NewBuild{}, err
		}
	}
	b.Priority = r.Priority
	if err := checkGiven(j, &b); err != nil {
		return NewBuild{}, err
	}
	if err := p.Enqueueing(j, &b); err != nil {
		return NewBuild{}, err
	}
	return NewBuild{Build: b, Definition: body, Hash: hash}, nil
}

// Lone freezes a job for a build of its own; body and hash are its definition's
// (see [Job.Definition]). Its dependencies are not looked at.
func (p *Planner) Lone(project string, j *Job, body []byte, hash string, e Enqueued) (NewBuild, error) {
	b := Build{
		Project: project, Job: j.ID, Definition: hash, Args: e.Args, Kwargs: e.Kwargs, Priority: e.Priority,
		ReadyAt: e.ReadyAt, AgainOf: e.AgainOf, Why: e.Why,
	}
	b.pace(j, 0, nil)
	if e.Hold {
		b.State = Held
	}
	if err := checkGiven(j, &b); err != nil {
		return NewBuild{}, err
	}
	if err := p.Enqueueing(j, &b); err != nil {
		return NewBuild{}, err
	}
	return NewBuild{Build: b, Definition: body, Hash: hash}, nil
}

// checkGiven refuses arguments beside those of the definition that are larger
// than [MaxArguments].
func checkGiven(j *Job, b *Build) error {
	if n := len(b.Args) + len(b.Kwargs); n > MaxArguments {
		return &Error{
			Code: Invalid, Message: fmt.Sprintf("cannot create a build of %s: its arguments have %d bytes of JSON, more than %d", j.ID, n, MaxArguments),
			Hint: "store them elsewhere and pass a pointer to them",
		}
	}
	return nil
}

// pace sets how often and how soon a build of j is tried: as the job says, else
// as was asked for (0, nil: not), else once, after a second.
func (b *Build) pace(j *Job, tries int, delay *time.Duration) {
	b.Tries = cmp.Or(max(j.Tries, 0), tries, 1)
	b.RetryDelay = time.Second
	if j.RetryDelay != nil {
		b.RetryDelay = *j.RetryDelay
	} else if delay != nil {
		b.RetryDelay = *delay
	}
}

// Enqueueing sets what the queue wants to know of a build of j: its service, key
// and unique key; the priorities of job and service are added to the one it has.
func (p *Planner) Enqueueing(j *Job, b *Build) error {
	b.Service, b.Priority = j.Service, b.Priority+j.Priority
	name := cmp.Or(j.Service, DefaultService)
	var key []string
	for i := range p.Services {
		if s := &p.Services[i]; s.Name == name {
			b.Priority += s.Priority
			if s.KeyConcurrency > 0 {
				key = s.Key
			}
		}
	}
	if len(key) == 0 && len(j.Unique) == 0 {
		return nil
	}
	args, kwargs := b.Args, b.Kwargs
	var err error
	if args == nil && len(j.Args) > 0 {
		if args, err = EncodeArguments(j.Args); err != nil {
			return err
		}
	}
	if kwargs == nil && len(j.Kwargs) > 0 {
		if kwargs, err = EncodeArguments(j.Kwargs); err != nil {
			return err
		}
	}
	if len(key) > 0 {
		if b.Key, err = argumentKey(name, key, args, kwargs); err != nil {
			return err
		}
	}
	if len(j.Unique) > 0 {
		b.Unique, err = argumentKey(j.ID, j.Unique, args, kwargs)
	}
	return err
}

// kwargsOf returns the job's keyword arguments with the request's, or nil where
// none of these concerns it.
func (p *Planner) kwargsOf(j *Job, r Request, target bool) map[string]any {
	var out map[string]any
	for k, v := range r.Kwargs {
		if r.Verb == VerbBuild && !target || r.Verb == VerbRun && !p.takes(j, k) {
			continue
		}
		if out == nil {
			out = make(map[string]any, len(j.Kwargs)+1)
			for k, v := range j.Kwargs {
				out[k] = v
			}
		}
		out[k] = v
	}
	return out
}

// takes tells whether a job names a keyword argument, or one of its functions has such a parameter.
func (p *Planner) takes(j *Job, name string) bool {
	if _, ok := j.Kwargs[name]; ok {
		return true
	}
	for _, t := range []*Task{j.Check, j.Run, j.Cleanup} {
		if t == nil || t.Function == "" {
			continue
		}
		f, ok := p.Registry.Lookup(t.Function)
		if ok && slices.ContainsFunc(f.Parameters, func(q Parameter) bool { return q.Name == name }) {
			return true
		}
	}
	return false
}
