package worker

import (
	"context"
	"slices"
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
}

// LeftBuild is a build whose job has on_delete, and with which something went wrong.
type LeftBuild struct {
	Build   int64
	Job     string
	Deleted bool // all the same: on_delete has failed
	Why     string
}

// Apply removes what a policy says, at the time given.
func (p *Pruner) Apply(ctx context.Context, policy jobcontrol.RetentionPolicy, now time.Time) error {
	if policy.Builds > 0 {
		if err := p.Builds(ctx, now.Add(-policy.Builds)); err != nil {
			return err
		}
	}
	if len(policy.Logs) == 0 {
		return nil
	}
	return p.Logs(ctx, jobcontrol.LogPruning{Rules: policy.Rules(now)})
}

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
		n := prunePage + len(p.Left)
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
		deleted := false
		for _, id := range done.OnDelete {
			if p.leftAlready(id) {
				continue
			}
			gone, err := p.delete(ctx, id)
			if err != nil {
				return err
			}
			deleted = deleted || gone
		}
		// What was deleted may have kept others.
		if !deleted || p.DryRun {
			return nil
		}
	}
}

func (p *Pruner) leftAlready(id int64) bool {
	return slices.ContainsFunc(p.Left, func(l LeftBuild) bool { return l.Build == id && !l.Deleted })
}

// delete deletes a build whose job has on_delete, if this program has the function.
func (p *Pruner) delete(ctx context.Context, id int64) (gone bool, err error) {
	b, err := p.Client.Build(ctx, id)
	if err != nil {
		return false, err
	}
	job, err := p.Client.Definition(ctx, b)
	if err != nil {
		return false, err
	}
	if _, ok := p.Registry.Lookup(job.OnDelete); !ok {
		p.Left = append(p.Left, LeftBuild{Build: id, Job: b.Job, Why: "this program has no function " + job.OnDelete})
		return false, nil
	}
	if !p.DryRun {
		err = p.Client.DeleteBuild(ctx, id)
	}
	switch jobcontrol.CodeOf(err) {
	case jobcontrol.BuildFailed:
		p.Left = append(p.Left, LeftBuild{Build: id, Job: b.Job, Deleted: true, Why: err.Error()})
	default:
		if err != nil {
			return false, err
		}
	}
	p.Pruned++
	return true, nil
}
