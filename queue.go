package jobcontrol

import (
	"context"
	"time"
)

// Wanted is what a worker asks the queue for.
type Wanted struct {
	Project  string
	Services []string // names; the best build of all of them goes first
	N        int      // at most so many builds, > 0
	Alone    bool     // the worker executes nothing: it may be given a suspect
}

// Claimed is what a worker is given.
type Claimed struct {
	// Builds are complete, with Claim and without Dependants. A suspect comes alone
	// and is marked as running already, its attempt's start being now, so that the
	// death of its worker is charged to it. A suspect is a build that was being
	// executed by a worker whose process was seen to be gone, one that was lost more
	// than once or may not be lost again, one of a job with on_lost: fail, and one
	// whose claim [MaxUnproven] workers held when they died, see [Leases].
	Builds []Build
	// Suspects tells that the next build in order is a suspect, which only a worker
	// with Alone set gets, and only when no other build goes before it.
	Suspects bool
	// More tells that more builds were ready than were asked for.
	More bool
}

// StopRequest asks the worker of a running build to end its attempt.
type StopRequest struct {
	Claim   Claim
	Suspend bool   // put it aside; else cancel it
	Reason  string // for a person
}

// Queue is the store's role for builds of detached Runs: those that any worker
// of their service may execute. A detached Run is one that was created without
// a lease. Its end is the store's: the write that makes its last build final
// also moves it to its final state, or to cleaning while clean-up steps are due.
//
// Claiming leaves a build queued; see [Executions.Start]. All writes of a claimed
// build go through [Executions].
type Queue interface {
	// Claim gives the worker builds that are queued and nobody has claimed: those
	// with the smallest rank first, ready_at − priority × [PriorityWorth], then
	// phase, place, id. Paused services give nothing, and limits of services hold
	// over all workers. A worker whose lease is not valid now gets ErrLeaseLost.
	Claim(ctx context.Context, l Lease, w Wanted) (*Claimed, error)
	// GiveBack ends claims: what was not started, or was stopped since its worker
	// shuts down, is queued again, and no try or loss is counted. Claims that are
	// no longer held are passed over, and so are those of the foreground. What was
	// asked of the worker of a build is carried out when its claim ends without
	// that: here, by [Executions.Retry], by rescue.
	GiveBack(ctx context.Context, claims []Claim) error
	// Promote makes at most n scheduled builds queued whose time has come, and
	// returns how many, and the time of the next one (zero: none is scheduled).
	Promote(ctx context.Context, n int) (promoted int, next time.Time, err error)
	// StopRequests returns what was asked of the builds that the worker has claimed.
	StopRequests(ctx context.Context, l Lease) ([]StopRequest, error)
	// ClaimCleanup gives the worker the clean-up step that is due next in a
	// cleaning detached Run, if its service is among those wanted: last run
	// first, one at a time in each Run. Nil: there is none. [Executions.Cleaned]
	// stores it; the last one ends the Run.
	ClaimCleanup(ctx context.Context, l Lease, w Wanted) (*Build, error)
	// Steer carries out what a person asks of one build: ToHold, ToRelease,
	// ToSuspend, ToResume or ToCancel. Suspending or cancelling a build that a
	// worker has claimed is stored as a request, [Build.Stopping]; rescue carries
	// it out where the worker is gone. Holding one that is claimed, and any
	// build of a foreground Run that a program executes, is a conflict; so is what
	// the state does not allow, also where it is that which was asked for. What is
	// resumed although one of its dependencies has failed meanwhile is blocked.
	Steer(ctx context.Context, build int64, t Transition) (*Build, error)
}

// MaxUnproven is how many workers may die holding the claim of a build that is
// not marked as running before it is a suspect: one that kills its worker at once
// is never marked.
const MaxUnproven = 2

// PriorityWorth is what a point of priority is worth in waiting time: so priority ages.
const PriorityWorth = time.Minute

// Services is the store's role for the limits of services.
type Services interface {
	// PutServices describes services of a project. One that was set by hand
	// (Manual) is changed only by a service with Manual set; reset makes one
	// that is not. Paused and Draining are kept unless Manual is set. A draining
	// service refuses what is created after this has returned; a creation that had
	// begun before may be accepted still, and return later.
	PutServices(ctx context.Context, project string, services []Service) error
	// ResetService forgets what was set by hand: the service is as described (its
	// Name is not used), in the same write, or, nil, as if nobody had described it.
	ResetService(ctx context.Context, project, name string, as *Service) error
	// Services returns the services that are described or have builds that are
	// not final, by name, with the numbers of these builds. Builds of foreground
	// Runs are of no service here: no worker of it executes them.
	Services(ctx context.Context, project string) ([]ServiceStatus, error)
}

// Hints is the store's role for being told early. Hints may come late, twice,
// or never: behind each stands a poll.
type Hints interface {
	// Listen calls wake when something was written that may concern a worker: a
	// build became ready, a stop was requested, a worker came or went. It returns
	// when ctx ends, or at once with nil where the store cannot tell. wake must not block.
	Listen(ctx context.Context, wake func()) error
}
