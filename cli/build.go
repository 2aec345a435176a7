package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

// buildOptions are the flags of `build`.
type buildOptions struct {
	requestOptions
	executeOptions
	detachOptions
	job string
}

func newBuild(e *environment) *cobra.Command {
	var o buildOptions
	cmd := &cobra.Command{
		Use:   "build JOB",
		Short: "Build one job, with what its dependencies have built before",
		Long: `Build only the named job. Each of its dependencies must have a successful build,
whose result it gets: the latest one, or that of --pin. It is tried once unless
it says otherwise. With --detach a worker of its service builds it.`,
		Example: `  jobcontrol build crawl_example_com
  jobcontrol build report --deps outdated        # dependencies first, where needed
  jobcontrol build crawl --dependants            # and everything that depends on it
  jobcontrol build report --pin crawl=12 --kwarg depth=3
  jobcontrol build report --detach --hold        # for the workers, once it is released`,
		Args:              arguments(1, 1, "the job to build"),
		ValidArgsFunction: e.completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.job = args[0]
			if err := o.executeOptions.check(cmd); err != nil {
				return err
			}
			if err := o.checkTries(cmd); err != nil {
				return err
			}
			if err := o.detachOptions.check(cmd); err != nil {
				return err
			}
			return buildJob(cmd.Context(), e, o)
		},
	}
	o.verbFlags(cmd)
	o.buildFlags(cmd)
	o.executeOptions.flags(cmd)
	o.detachOptions.flags(cmd)
	return cmd
}

func buildJob(ctx context.Context, e *environment, o buildOptions) error {
	r, err := o.request(jobcontrol.VerbBuild, []string{o.job})
	if err != nil {
		return err
	}
	if o.detach {
		return o.submit(ctx, e, r)
	}
	return inForeground(ctx, e, o.executeOptions, needWork, func(ctx context.Context, c jobcontrol.Client, watch jobcontrol.Watch) (*jobcontrol.Run, error) {
		return c.Execute(ctx, r, watch)
	})
}
