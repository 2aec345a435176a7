package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

// buildsOptions are the flags of `builds`.
type buildsOptions struct {
	job    string
	order  string
	limit  int
	states []string
	run    int64

	started, finished, success, skipped *bool
}

func newBuilds(e *environment) *cobra.Command {
	var o buildsOptions
	cmd := &cobra.Command{
		Use:   "builds [JOB]",
		Short: "List builds, of one job or all",
		Example: `  jobcontrol builds
  jobcontrol builds site --finished --no-success --limit 10
  jobcontrol builds --state failed --run 12
  jobcontrol builds log 34`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 && nearHint(args[0], commandNames(cmd)) != "" {
				return unknownCommand(cmd, args[0])
			}
			return arguments(0, 1, "at most one job")(cmd, args)
		},
		ValidArgsFunction: e.completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if o.job != "" {
					return usage("", "the job is named twice: %q and --job %q", args[0], o.job)
				}
				o.job = args[0]
			}
			err := listBuilds(cmd.Context(), e, o)
			if jobcontrol.CodeOf(err) == jobcontrol.NotFound { // perhaps no job was meant
				if hint := nearHint(o.job, commandNames(cmd)); hint != "" {
					return &jobcontrol.Error{Code: jobcontrol.NotFound, Message: err.Error(), Hint: hint}
				}
			}
			return err
		},
	}
	f := cmd.Flags()
	eitherFlag(cmd, "started", &o.started, "only builds that have started")
	eitherFlag(cmd, "finished", &o.finished, "only builds that have finished")
	eitherFlag(cmd, "success", &o.success, "only builds that were successful or skipped")
	eitherFlag(cmd, "skipped", &o.skipped, "only builds that were skipped")
	f.StringSliceVar(&o.states, "state", nil, "only builds in this `state` (repeatable)")
	f.Int64Var(&o.run, "run", 0, "only builds of this `run`")
	f.StringVar(&o.order, "order", "desc", "by number: `direction` asc or desc")
	f.IntVar(&o.limit, "limit", 100, "at most so many; 0: all")
	f.StringVar(&o.job, "job", "", "the same as the argument, for a job named like a command")
	_ = cmd.RegisterFlagCompletionFunc("order", cobra.FixedCompletions([]string{"asc", "desc"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.AddCommand(newBuildsShow(e), newBuildsLog(e), newBuildsResult(e), newBuildsDelete(e), newBuildsAgain(e), newBuildsDiff(e))
	for _, s := range steerings {
		cmd.AddCommand(newBuildsSteer(e, s))
	}
	return cmd
}

// eitherFlag adds --name and --no-name; without either, the value stays nil.
func eitherFlag(cmd *cobra.Command, name string, value **bool, help string) {
	set := func(to bool) func(string) error {
		return func(text string) error {
			given, err := strconv.ParseBool(text)
			v := given == to
			if *value != nil && **value != v {
				return fmt.Errorf("--%s and --no-%s contradict each other", name, name)
			}
			*value = &v
			return err
		}
	}
	cmd.Flags().BoolFunc(name, help, set(true))
	cmd.Flags().BoolFunc("no-"+name, "the opposite of --"+name, set(false))
}

func (o *buildsOptions) filter() (jobcontrol.BuildFilter, error) {
	f := jobcontrol.BuildFilter{
		Job: o.job, Run: o.run, Started: o.started, Finished: o.finished, Success: o.success, Skipped: o.skipped,
		Asc: o.order == "asc", Limit: o.limit,
	}
	if o.order != "asc" && o.order != "desc" {
		return f, usage("use asc or desc", "Invalid order direction: %s", o.order)
	}
	if o.limit < 0 {
		return f, jobcontrol.Errorf(jobcontrol.Invalid, "--limit %d is negative; 0 means all", o.limit)
	}
	if o.limit == 0 {
		f.Limit = -1
	}
	for _, name := range o.states {
		s, err := jobcontrol.ParseState(name)
		if err != nil {
			return f, usage("use held, waiting, scheduled, queued, running, suspended, successful, skipped, failed, cancelled or blocked", "%v", err)
		}
		f.States = append(f.States, s)
	}
	return f, nil
}

func listBuilds(ctx context.Context, e *environment, o buildsOptions) error {
	f, err := o.filter()
	if err != nil {
		return err
	}
	s, err := e.open(ctx, needStore, 0)
	if err != nil {
		return err
	}
	defer s.close()
	f.Project = s.project
	f.Brief = !e.json()
	builds, err := s.client.Builds(ctx, f)
	if err != nil {
		return err
	}
	if len(builds) == 0 && o.job != "" {
		if err := s.checkJob(ctx, o.job); err != nil {
			return err
		}
	}
	if e.json() {
		return e.document(newBuildsJSON(builds))
	}
	if len(builds) == 0 {
		e.printf("no builds")
		return nil
	}
	now := time.Now()
	t := newTable("Build", "Job", "Status", "Start time", "End time", "Duration", "Progress")
	for i := range builds {
		b := &builds[i]
		p, err := s.progress(ctx, b)
		if err != nil {
			return err
		}
		t.add(cell{text: "#" + itoa(b.ID), right: true}, b.Job, stateCell(b.State), clock(b.StartedAt), clock(b.FinishedAt), buildDuration(b, now), progressText(p))
	}
	e.print(t.render(e.streams))
	if f.Limit > 0 && len(builds) == f.Limit {
		e.tell(fmt.Sprintf("only the first %d; more with --limit\n", f.Limit))
	}
	return nil
}

// progress is the progress of a build; one that never started has none.
func (s *opened) progress(ctx context.Context, b *jobcontrol.Build) (*jobcontrol.ProgressNode, error) {
	if b.StartedAt.IsZero() {
		return nil, nil
	}
	return s.client.Progress(ctx, b.ID)
}

// checkJob returns NotFound for a job that neither the file nor the store knows.
func (s *opened) checkJob(ctx context.Context, id string) error {
	if s.jobs.Len() == 0 {
		return nil // there is no file to ask
	}
	_, err := s.jobs.Job(id)
	if err == nil {
		return nil
	}
	past, perr := s.client.Builds(ctx, jobcontrol.BuildFilter{Project: s.project, Job: id, Limit: 1, Brief: true})
	if perr != nil || len(past) > 0 {
		return perr
	}
	return err
}

// completeJobs completes the ids of the file's jobs for shells.
func (e *environment) completeJobs(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	jobs, err := e.jobsOfFile(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, j := range jobs.All() {
		if strings.HasPrefix(j.ID, prefix) && !slices.Contains(args, j.ID) {
			out = append(out, cobra.CompletionWithDesc(j.ID, line(j.Title)))
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
