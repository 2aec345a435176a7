package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

// pruneOptions are the flags of `prune`.
type pruneOptions struct {
	dry       bool
	older     string
	level     string
	job       string
	build     int64
	buildsOld string
}

func newPrune(e *environment) *cobra.Command {
	var o pruneOptions
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove old log records, and old builds",
		Long: `Remove log records that are old, and with --builds-older-than builds.

Log records of builds that have ended go by level, when they are older than

  debug     15 days
  info      1 month (30.4 days)
  warning   3 months
  error     6 months, and critical
  any       1 year

--older-than and --level are one rule instead. With --job and --build only the logs
of a job or of a build are looked at.

Builds go with their attempts and logs. Kept are, however old, those still needed:
of each job the latest build, the latest that finished, was successful and changed
something; builds of runs that are not over; what an unfinished build is pinned to;
and results that stand for a later build. Where a job has on_delete its builds are
deleted one by one, and the function is called; where this program does not have
the function they are left, and named.

The room in the store is used again; an SQLite file does not become smaller by it.`,
		Example: `  jobcontrol prune -n                               # only say what would go
  jobcontrol prune --builds-older-than 90d
  jobcontrol prune --level debug --older-than 2d --job noisy`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return prune(cmd.Context(), e, o) },
	}
	f := cmd.Flags()
	f.BoolVarP(&o.dry, "dry-run", "n", false, "remove nothing, only say what would be")
	f.StringVar(&o.older, "older-than", "", "log records older than this `duration`, such as 30d, 12h, 90s (default any, with --level)")
	f.StringVar(&o.level, "level", "", "log records of this `level` or below (default any, with --older-than)")
	f.StringVar(&o.job, "job", "", "only the logs of this `job`")
	f.Int64Var(&o.build, "build", 0, "only the log of this `build`")
	f.StringVar(&o.buildsOld, "builds-older-than", "", "also builds that ended longer ago than this `duration`")
	return cmd
}

// age reads a duration that may be in days or weeks.
func age(flag, text string) (time.Duration, error) {
	factor, number := time.Duration(1), text
	if days, ok := strings.CutSuffix(text, "d"); ok {
		factor, number = 24, days+"h"
	} else if weeks, ok := strings.CutSuffix(text, "w"); ok {
		factor, number = 7*24, weeks+"h"
	}
	d, err := parseDuration(number)
	if err != nil || d > 200*365*24*time.Hour/factor {
		return 0, usage("such as 30d, 12h or 90s", "%s %q is no duration", flag, text)
	}
	return d * factor, nil
}

// logs says which log records go.
func (o *pruneOptions) logs(now time.Time, project string) (p jobcontrol.LogPruning, err error) {
	p = jobcontrol.LogPruning{Rules: jobcontrol.LogPolicy(now), Project: project, Job: o.job, Build: o.build, DryRun: o.dry}
	if o.older == "" && o.level == "" {
		return p, nil
	}
	rule := jobcontrol.LogRule{Before: now}
	if o.older != "" {
		d, err := age("--older-than", o.older)
		if err != nil {
			return p, err
		}
		rule.Before = now.Add(-d)
	}
	if o.level != "" {
		if rule.Level, err = jobcontrol.ParseLevel(o.level); err != nil {
			return p, err
		}
	}
	p.Rules = []jobcontrol.LogRule{rule}
	return p, nil
}

// pruneJSON is what `prune` did.
type pruneJSON struct {
	DryRun  bool       `json:"dry_run"`
	Records int64      `json:"log_records"`
	Bytes   int64      `json:"log_bytes"`
	Builds  int        `json:"builds"`
	Runs    int        `json:"runs"`
	Left    []leftJSON `json:"left"`
}

// leftJSON is a build that was not deleted, or whose on_delete failed.
type leftJSON struct {
	Build   int64  `json:"build"`
	Job     string `json:"job"`
	Deleted bool   `json:"deleted"`
	Why     string `json:"why"`
}

func prune(ctx context.Context, e *environment, o pruneOptions) error {
	if o.buildsOld != "" && (o.job != "" || o.build != 0) {
		return usage("", "--builds-older-than is about the builds of all jobs: not with --job or --build")
	}
	var old time.Duration
	if o.buildsOld != "" {
		var err error
		if old, err = age("--builds-older-than", o.buildsOld); err != nil {
			return err
		}
	}
	if _, err := o.logs(time.Now(), ""); err != nil {
		return err
	}
	s, err := e.open(ctx, needStoreWork, 0)
	if err != nil {
		return err
	}
	defer s.close()
	r, ok := s.store.(jobcontrol.Retention)
	if !ok {
		return jobcontrol.Errorf(jobcontrol.Conflict, "the store %s removes nothing", s.place)
	}
	now, err := s.store.Now(ctx)
	if err != nil {
		return err
	}
	p := &pruner{opened: s, e: e, store: r}
	p.done.DryRun, p.done.Left = o.dry, []leftJSON{}
	if err := p.checkScope(ctx, o); err != nil {
		return err
	}
	if o.buildsOld != "" {
		if err := p.builds(ctx, now.Add(-old)); err != nil {
			return err
		}
	}
	rules, _ := o.logs(now, s.project)
	if err := p.logs(ctx, rules); err != nil {
		return err
	}
	return p.show(o.buildsOld != "")
}

// pruner is one `prune`.
type pruner struct {
	*opened
	e      *environment
	store  jobcontrol.Retention
	done   pruneJSON
	failed bool // an on_delete
}

// prunePage is how many builds are looked at in one transaction.
const prunePage = 1000

func (p *pruner) checkScope(ctx context.Context, o pruneOptions) error {
	if o.build != 0 {
		if _, err := p.client.Build(ctx, o.build); err != nil {
			return err
		}
	}
	if o.job != "" {
		return p.checkJob(ctx, o.job)
	}
	return nil
}

func (p *pruner) logs(ctx context.Context, rules jobcontrol.LogPruning) error {
	for {
		done, err := p.store.PruneLogs(ctx, rules, prunePage)
		if err != nil {
			return err
		}
		p.done.Records += done.Records
		p.done.Bytes += done.Bytes
		if rules.After = done.Next; rules.After == 0 {
			return nil
		}
	}
}

// builds removes builds, and deletes those whose jobs have on_delete one by one.
func (p *pruner) builds(ctx context.Context, before time.Time) error {
	for {
		n := prunePage + len(p.done.Left)
		if p.done.DryRun {
			n = 0
		}
		done, err := p.store.Prune(ctx, before, n)
		if err != nil {
			return err
		}
		p.done.Builds += done.Builds
		p.done.Runs += done.Runs
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
		if !deleted || p.done.DryRun {
			return nil
		}
	}
}

func (p *pruner) leftAlready(id int64) bool {
	return slices.ContainsFunc(p.done.Left, func(l leftJSON) bool { return l.Build == id && !l.Deleted })
}

// delete deletes a build whose job has on_delete, if this program has the function.
func (p *pruner) delete(ctx context.Context, id int64) (gone bool, err error) {
	b, err := p.client.Build(ctx, id)
	if err != nil {
		return false, err
	}
	job, err := p.client.Definition(ctx, b)
	if err != nil {
		return false, err
	}
	if _, ok := p.e.program.Registry.Lookup(job.OnDelete); !ok {
		p.done.Left = append(p.done.Left, leftJSON{Build: id, Job: b.Job, Why: "this program has no function " + job.OnDelete})
		return false, nil
	}
	if !p.done.DryRun {
		err = p.client.DeleteBuild(ctx, id)
	}
	switch jobcontrol.CodeOf(err) {
	case jobcontrol.BuildFailed:
		p.failed = true
		p.done.Left = append(p.done.Left, leftJSON{Build: id, Job: b.Job, Deleted: true, Why: err.Error()})
	default:
		if err != nil {
			return false, err
		}
	}
	p.done.Builds++
	return true, nil
}

// show says what was done.
func (p *pruner) show(builds bool) error {
	d := &p.done
	if p.e.json() {
		if err := p.e.document(d); err != nil {
			return err
		}
	} else {
		verb := "removed"
		if d.DryRun {
			verb = "would remove"
		}
		if builds {
			text := fmt.Sprintf("%s %s", verb, plural(d.Builds, "build"))
			if d.Runs > 0 {
				text += fmt.Sprintf(", and %s of which nothing is left", plural(d.Runs, "run"))
			}
			p.e.printf("%s", text)
		}
		p.e.printf("%s %s, %s", verb, plural(int(d.Records), "log record"), plural(int(d.Bytes), "byte"))
		for _, l := range d.Left {
			if l.Deleted {
				p.e.note("%s", visible(l.Why))
			} else {
				p.e.note("build %d of %s is left: %s", l.Build, line(l.Job), line(l.Why))
			}
		}
	}
	if p.failed {
		return reported{jobcontrol.BuildFailed}
	}
	return nil
}
