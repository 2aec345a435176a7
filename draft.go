package jobcontrol

import (
	"fmt"
	"time"
)

// Draft is a build that a store is about to create, with what follows from its
// members and the time.
type Draft struct {
	*NewBuild
	Made       Build   // as it will be, without ids, claim and pins
	Dependants []int64 // indexes in NewRun.Builds; a store makes ids of them
	Skipped    []int   // members that are created skipped
}

// Drafts decides the state and the dependants of each build of a new Run; for
// stores. It fails where the builds cannot be a Run: there is none, a member does
// not exist, or they depend on each other in a circle.
func (n *NewRun) Drafts(now time.Time) ([]Draft, error) {
	if len(n.Builds) == 0 {
		return nil, Errorf(Invalid, "create run: there is no build in it")
	}
	drafts := make([]Draft, len(n.Builds))
	left := make([]int, len(drafts)) // members that were not visited yet
	for i := range drafts {
		in := &n.Builds[i]
		drafts[i].NewBuild = in
		for _, m := range in.Members {
			if m < 0 || m >= len(drafts) || m == i {
				return nil, Errorf(Invalid, "create run: build %d (%s) cannot depend on build %d", i, in.Build.Job, m)
			}
			drafts[m].Dependants = append(drafts[m].Dependants, int64(i))
			left[i]++
		}
	}
	var ready []int
	for i := range drafts {
		if left[i] == 0 {
			ready = append(ready, i)
		}
	}
	visited := 0
	for ; len(ready) > 0; visited++ {
		i := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		if err := decide(n.Run.Project, drafts, i, now); err != nil {
			return nil, err
		}
		for _, d := range drafts[i].Dependants {
			if left[d]--; left[d] == 0 {
				ready = append(ready, int(d))
			}
		}
	}
	if visited < len(drafts) {
		return nil, Errorf(Invalid, "create run: the builds depend on each other in a circle")
	}
	return drafts, nil
}

// decide sets what is known of build i from its members, which were decided.
func decide(project string, drafts []Draft, i int, now time.Time) error {
	d := &drafts[i]
	in := d.NewBuild
	d.Made = in.Make(project)
	d.Made.Place, d.Made.CreatedAt = i, now
	blocked := false
	for _, m := range in.Members {
		switch member := &drafts[m]; {
		case !member.Made.State.Final():
			d.Made.DepsLeft++
		case member.Made.State == Skipped:
			d.Skipped = append(d.Skipped, m)
		case member.Made.State != Successful:
			blocked = true
		}
	}
	switch {
	case in.Final && !in.Build.State.Final():
		return Errorf(Invalid, "create run: build %d (%s) cannot be created %s", i, in.Build.Job, in.Build.State)
	case in.Final:
		d.Made.State, d.Made.Failure = in.Build.State, in.Failure
	case blocked:
		d.Made.State = Blocked
	case in.Build.State == Held:
		d.Made.State = Held
	case d.Made.DepsLeft > 0:
		d.Made.State = Waiting
	default:
		d.Made.State = ReadyState(d.Made.ReadyAt, now)
	}
	if d.Made.State.Final() {
		d.Made.FinishedAt = now
		if d.Made.State == Successful {
			changed := in.Build.Changed != nil && *in.Build.Changed
			d.Made.Changed, d.Made.Result = &changed, in.Build.Result
		}
	}
	return nil
}

// Lone tells whether the Run is one build, which gets no row of its own; for stores.
func (n *NewRun) Lone() bool { return len(n.Builds) == 1 && !n.Grows }

// Make is what a new build has from its maker; for stores.
func (n *NewBuild) Make(project string) Build {
	b := &n.Build
	service := b.Service
	if service == DefaultService {
		service = ""
	}
	return Build{
		Project: project, Job: b.Job, Definition: n.Hash, Args: b.Args, Kwargs: b.Kwargs, Tries: b.Tries, RetryDelay: b.RetryDelay,
		Service: service, Priority: b.Priority, Unique: b.Unique, Key: b.Key,
		ReadyAt: Micros(b.ReadyAt), AgainOf: b.AgainOf, Why: b.Why,
	}
}

// Item is the build of an item of a parent, without id and claim; for stores.
func (n *NewBuild) Item(parent *Build, now time.Time) Build {
	b := n.Make(parent.Project)
	b.Run, b.Service, b.Priority, b.Phase, b.Place = parent.Run, parent.Service, parent.Priority, parent.Phase, parent.Place
	b.State, b.ReadyAt, b.CreatedAt, b.Unique = Queued, time.Time{}, now, ""
	b.Pins, b.Dependants = n.Build.Pins, []int64{-parent.ID}
	return b
}

// ReadyState is the state of a build that waits for nothing but its time; for stores.
func ReadyState(at, now time.Time) State {
	if at.After(now) {
		return Scheduled
	}
	return Queued
}

// DrainingConflict refuses a build whose service accepts no more; for stores.
func DrainingConflict(job, service string) error {
	return &Error{
		Code: Conflict, Message: fmt.Sprintf("cannot create a build of %s: service %s is draining: it accepts no more builds", job, service),
		Hint: "resume the service, or wait until it is empty",
	}
}

// UniqueConflict refuses a member of a larger Run that meets an unfinished build
// by its unique key; for stores.
func UniqueConflict(job string, build int64) error {
	return &Error{
		Code: Conflict, Message: fmt.Sprintf("cannot create a build of %s: it is unique, and build %d has the same key and is not finished", job, build),
		Hint: "wait until that is finished, or cancel it",
	}
}

// UniqueMemberConflict refuses a member of a Run that has the unique key of
// another one, a build of the job other; for stores.
func UniqueMemberConflict(job, other string) error {
	return &Error{
		Code: Conflict, Message: fmt.Sprintf("cannot create a build of %s: it is unique, and that of %s in the same run has the same key", job, other),
		Hint: "create them one after the other, or give them different keys",
	}
}
