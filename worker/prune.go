package worker

import (
	"context"
	"errors"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// prunePage is how many builds are looked at in one transaction.
const prunePage = 1000

// Pruner removes what is old from a store, in small transactions. It is used once.
type Pruner struct {
	Client   jobcontrol.Client
	Store    jobcontrol.Retention
	Registry *jobcontrol.Registry // has the functions of on_delete
	DryRun   bool                 // only count

	Pruned  int   // builds that were removed
	Runs    int   // Runs of several builds of which nothing is left
	Records int64 // of logs that were removed
	Bytes   int64 // that they took in the store
	Left    []LeftBuild

	left map[int64]bool // builds that were not deleted
}

// LeftBuild is a build whose job has on_delete, and with which something went wrong.
type LeftBuild struct {
	Build   int64
	Job     string
	Deleted bool // all the same: on_delete has failed
	Why     string
}

// deleteFor is how long an on_delete may take that has begun when ctx ends: its
// build is gone, so nobody would execute it again.
const deleteFor = 30 * time.Second

// Logs removes log records of builds that are final.
func (p *Pruner) Logs(ctx context.Context, rules jobcontrol.LogPruning) error {
	rules.DryRun = p.DryRun
	for {
		done, err := p.Store.PruneLogs(ctx, rules, prunePage)
		if err != nil {
			return err
		}
		p.Records += done.Records
		p.Bytes += done.Bytes
		if rules.After = done.Next; rules.After == 0 {
			return nil
		}
	}
}

// Builds removes builds that ended before the given time; see
// [jobcontrol.Retention]. Those whose jobs have on_delete are deleted one by one,
// where this program has the function.
func (p *Pruner) Builds(ctx context.Context, before time.Time) error {
	for {
		n := prunePage + len(p.left)
		if p.DryRun {
			n = 0
		}
		done, err := p.Store.Prune(ctx, before, n)
		if err != nil {
			return err
		}
		p.Pruned += done.Builds
		p.Runs += done.Runs
		if done.More {
			continue
		}
		unseen := false
		for _, id := range done.OnDelete {
			if p.left[id] {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := p.delete(ctx, id); err != nil {
				return err
			}
			unseen = true
		}
		// What was deleted may have kept others, and what is left may hide some.
		if !unseen || p.DryRun {
			return nil
		}
	}
}

// delete deletes a build whose job has on_delete, if this program has the function.
func (p *Pruner) delete(ctx context.Context, id int64) error {
	b, err := p.Client.Build(ctx, id)
	var job *jobcontrol.Job
	if err == nil {
		job, err = p.Client.Definition(ctx, b)
	}
	if errors.Is(err, jobcontrol.ErrNotFound) {
		return nil // somebody else has just deleted it
	}
	if err != nil {
		return err
	}
	if _, ok := p.Registry.Lookup(job.OnDelete); !ok {
		p.leave(b, "this program has no function "+job.OnDelete)
		return nil
	}
	if !p.DryRun {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deleteFor)
		defer cancel()
		err = p.Client.DeleteBuild(ctx, id)
	}
	switch jobcontrol.CodeOf(err) {
	case jobcontrol.NotFound:
		return nil
	case jobcontrol.Conflict:
		p.leave(b, err.Error())
		return nil
	case jobcontrol.BuildFailed:
		p.Left = append(p.Left, LeftBuild{Build: id, Job: b.Job, Deleted: true, Why: err.Error()})
	default:
		if err != nil {
			return err
		}
	}
	p.Pruned++
	return nil
}

func (p *Pruner) leave(b *jobcontrol.Build, why string) {
	p.Left = append(p.Left, LeftBuild{Build: b.ID, Job: b.Job, Why: why})
	if p.left == nil {
		p.left = map[int64]bool{}
	}
	p.left[b.ID] = true
}
