package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/worker"
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

Without flags what the file says under retention: is removed. Where it says nothing
of logs, log records of builds that have ended go by level, when they are older than

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
	if n, err := strconv.ParseFloat(text, 64); err == nil && n != 0 {
		return 0, usage("such as 30d, 12h or 90s", "%s %s has no unit: seconds, or days?", flag, text)
	}
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

// rules says which log records go: as the flags say, else the policy, else the usual ones.
func (o *pruneOptions) rules(now time.Time, p jobcontrol.RetentionPolicy) ([]jobcontrol.LogRule, error) {
	if o.older == "" && o.level == "" {
		if len(p.Logs) == 0 {
			p.Logs = jobcontrol.DefaultLogAges()
		}
		return p.Rules(now), nil
	}
	rule := jobcontrol.LogRule{Before: now}
	if o.older != "" {
		d, err := age("--older-than", o.older)
		if err != nil {
			return nil, err
		}
		rule.Before = now.Add(-d)
	}
	if o.level != "" {
		var err error
		if rule.Level, err = jobcontrol.ParseLevel(o.level); err != nil {
			return nil, err
		}
	}
	return []jobcontrol.LogRule{rule}, nil
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
	if _, err := o.rules(time.Now(), jobcontrol.RetentionPolicy{}); err != nil {
		return err
	}
	s, err := e.open(ctx, needStoreWork, 0)
	if err != nil {
		return err
	}
	defer s.close()
	p, err := e.pruner(s)
	if err != nil {
		return err
	}
	p.DryRun = o.dry
	now, err := s.store.Now(ctx)
	if err != nil {
		return err
	}
	if err := o.checkScope(ctx, s); err != nil {
		return err
	}
	builds := o.buildsOld != ""
	if o.plain() {
		old, builds = s.retention.Builds, s.retention.Builds > 0
	}
	if builds {
		if err := p.Builds(ctx, now.Add(-old)); err != nil {
			return err
		}
	}
	rules, err := o.rules(now, s.retention)
	if err == nil {
		err = p.Logs(ctx, jobcontrol.LogPruning{Rules: rules, Project: s.project, Job: o.job, Build: o.build})
	}
	if err != nil {
		return err
	}
	return e.showPruned(p, builds)
}

// plain tells whether nothing says what is to be removed: then the file does.
func (o *pruneOptions) plain() bool {
	return o.older == "" && o.level == "" && o.job == "" && o.build == 0 && o.buildsOld == ""
}

func (o *pruneOptions) checkScope(ctx context.Context, s *opened) error {
	if o.build != 0 {
		if _, err := s.client.Build(ctx, o.build); err != nil {
			return err
		}
	}
	if o.job != "" {
		return s.checkJob(ctx, o.job)
	}
	return nil
}

// pruner returns what removes from the store.
func (e *environment) pruner(s *opened) (*worker.Pruner, error) {
	r, ok := s.store.(jobcontrol.Retention)
	if !ok {
		return nil, jobcontrol.Errorf(jobcontrol.Conflict, "the store %s removes nothing", s.place)
	}
	return &worker.Pruner{Client: s.client, Store: r, Registry: e.program.Registry}, nil
}

// showPruned says what was done.
func (e *environment) showPruned(p *worker.Pruner, builds bool) error {
	d := pruneJSON{DryRun: p.DryRun, Records: p.Records, Bytes: p.Bytes, Builds: p.Pruned, Runs: p.Runs, Left: []leftJSON{}}
	failed := false
	for _, l := range p.Left {
		d.Left = append(d.Left, leftJSON(l))
		failed = failed || l.Deleted
	}
	if e.json() {
		if err := e.document(d); err != nil {
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
			e.printf("%s", text)
		}
		e.printf("%s %s, %s", verb, plural(int(d.Records), "log record"), plural(int(d.Bytes), "byte"))
		for _, l := range d.Left {
			if l.Deleted {
				e.note("%s", visible(l.Why))
			} else {
				e.note("build %d of %s is left: %s", l.Build, line(l.Job), line(l.Why))
			}
		}
	}
	if failed {
		return reported{jobcontrol.BuildFailed}
	}
	return nil
}
