package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

// jobsOptions are the flags of `jobs`.
type jobsOptions struct {
	tags []string
}

func newJobs(e *environment) *cobra.Command {
	var o jobsOptions
	cmd := &cobra.Command{
		Use:   "jobs",
		Short: "List the jobs and how they stand",
		Long: `List the jobs of the file, in its order, and how they stand:

  not_built   no build has ended yet
  successful  the latest builds are good
  failed      no build was successful
  outdated    a dependency has a newer build than the one that was used

and with flags: running, unfinished (a build waits for something), latest-failed,
latest-blocked and latest-cancelled (the newest build ended so, whatever older ones
did), not-buildable (a dependency has no successful build), outdated-upstream, protected.`,
		Example: `  jobcontrol jobs
  jobcontrol jobs --tag crawl --tag nightly   # with both tags`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return listJobs(cmd.Context(), e, o) },
	}
	cmd.Flags().StringArrayVar(&o.tags, "tag", nil, "only jobs with this `tag`; repeated: with all of them")
	cmd.AddCommand(newJobsShow(e))
	return cmd
}

// noArguments refuses any argument; where the command has commands of its own,
// one that is none of them.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 && cmd.HasSubCommands() {
		return unknownCommand(cmd, args[0])
	}
	return arguments(0, 0, "no argument")(cmd, args)
}

func listJobs(ctx context.Context, e *environment, o jobsOptions) error {
	s, err := e.open(ctx, needJobs, 0)
	if err != nil {
		return err
	}
	defer s.close()
	jobs, err := s.client.Jobs(ctx, o.tags)
	if err != nil {
		return err
	}
	if e.json() {
		out := make([]jobJSON, len(jobs))
		for i := range jobs {
			out[i] = newJobJSON(&jobs[i])
		}
		return e.document(out)
	}
	if len(jobs) == 0 {
		e.printf("no jobs%s", tagged(o.tags))
		return nil
	}
	t := newTable("Id", "Status", "Flags", "Title")
	for _, i := range jobs {
		t.add(i.Job.ID, statusCell(i.Status.Status), strings.Join(flagsOf(&i), " "), i.Job.Title)
	}
	e.print(t.render(e.streams))
	return nil
}

func tagged(tags []string) string {
	if len(tags) == 0 {
		return ""
	}
	return " tagged " + line(strings.Join(tags, ", "))
}

// flagsOf are the things beside its status that a person should know of a job.
func flagsOf(i *jobcontrol.JobInfo) []string {
	var out []string
	if i.Status.Running {
		out = append(out, "running")
	}
	if n := i.Status.Unfinished; n > 0 && !i.Status.Running {
		out = append(out, "unfinished")
	}
	switch state := i.Status.LatestState; {
	case state == jobcontrol.Failed && i.Status.Status == jobcontrol.StatusFailed: // said already
	case state.Final() && !state.Satisfied():
		out = append(out, "latest-"+state.String())
	}
	if !i.Status.Buildable {
		out = append(out, "not-buildable")
	}
	if len(i.Status.OutdatedUpstream) > 0 {
		out = append(out, "outdated-upstream")
	}
	if i.Job.Protected {
		out = append(out, "protected")
	}
	return out
}

// becauseOf says why a job has its status and flags, a line each.
func becauseOf(i *jobcontrol.JobInfo) []string {
	out := append([]string(nil), i.Status.OutdatedBecause...)
	for _, dep := range i.Status.Missing {
		out = append(out, fmt.Sprintf("its dependency %s has no successful build", dep))
	}
	if len(i.Status.OutdatedUpstream) > 0 {
		out = append(out, "outdated below it: "+strings.Join(i.Status.OutdatedUpstream, ", "))
	}
	if i.Job.Protected {
		out = append(out, "protected: it wants --yes to be built")
	}
	return out
}
