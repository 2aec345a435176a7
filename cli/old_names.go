package cli

import "github.com/spf13/cobra"

// oldNames are JobControl's names of commands. The help does not show them.
func oldNames(e *environment) []*cobra.Command {
	return []*cobra.Command{
		renamed(newJobs(e), "list_jobs", "jobs"),
		renamed(newJobsShow(e), "show_job JOB_ID", "jobs show"),
		renamed(newBuilds(e), "list_builds JOB_ID", "builds"),
		renamed(newBuildsShow(e), "get_build BUILD_ID", "builds show"),
		renamed(newBuildsDelete(e), "delete_build BUILD_ID", "builds delete"),
		renamed(newBuild(e), "build_job JOB_ID", "build"),
		newAsyncBuildJob(e),
		renamed(newDumpConfig(e), "dump_config", "dump-config"),
	}
}

// renamed is a command under an old name, without its subcommands: each of their
// names may be the id of a job.
func renamed(c *cobra.Command, use, now string) *cobra.Command {
	c.RemoveCommand(c.Commands()...)
	c.Long = c.Short + ": the old name of `jobcontrol " + now + "`."
	c.Use, c.Example, c.Hidden = use, "", true
	return c
}

// newAsyncBuildJob is build --detach.
func newAsyncBuildJob(e *environment) *cobra.Command {
	c := renamed(newBuild(e), "async_build_job JOB_ID", "build --detach")
	f := c.Flags()
	broker := f.String("broker", "", "the `url` of a broker; it has no effect: workers find builds in the store")
	build := c.RunE
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if *broker != "" {
			e.note("--broker has no effect: workers find builds in the store")
		}
		return build(cmd, args)
	}
	_ = f.Set("detach", "true") // build has this flag
	return c
}
