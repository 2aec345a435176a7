package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

// runOptions are the flags of `run`.
type runOptions struct {
	requestOptions
	executeOptions
	detachOptions
	noAct bool
	twice bool
	plan  string // a file
	jobs  []string
}

func newRun(e *environment) *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run JOB...",
		Short: "Do everything that jobs need, then the jobs",
		Long: `Execute the whole graph below the named jobs: dependencies first, checks before
runs. What is already done is not done again. What fails is tried again, by
default up to 3 times, while everything that does not depend on it goes on.
Clean-up steps follow at the end, last in first out.

The first Ctrl-C (or SIGTERM) asks the jobs to stop and executes the clean-up
steps, the second one ends everything at once.

With --detach nothing is executed here: any worker of the jobs' services does it,
on any machine (see jobcontrol worker --help).`,
		Example: `  jobcontrol run site
  jobcontrol run -v -j 4 site mail
  jobcontrol run -n site                   # what would be done
  jobcontrol run --plan site.plan          # what was planned with -o, or nothing
  jobcontrol run --twice site              # does it leave alone what is done?
  jobcontrol run --kwarg release=12 site   # in every job that has this argument
  jobcontrol run --detach --delay 1h site  # for the workers, in an hour`,
		Args: func(cmd *cobra.Command, args []string) error {
			if o.plan != "" {
				return arguments(0, 0, "")(cmd, args)
			}
			return arguments(1, -1, "the jobs to run")(cmd, args)
		},
		ValidArgsFunction: e.completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.jobs = args
			if err := o.check(cmd); err != nil {
				return err
			}
			if o.plan != "" {
				return runPlan(cmd.Context(), e, o.executeOptions, o.plan)
			}
			return runJobs(cmd.Context(), e, o)
		},
	}
	o.verbFlags(cmd)
	o.executeOptions.flags(cmd)
	o.detachOptions.flags(cmd)
	cmd.Flags().BoolVarP(&o.noAct, "no-act", "n", false, "only say what would be done: the same as plan")
	cmd.Flags().StringVar(&o.plan, "plan", "", "do what the plan in this `file` says, and nothing if that is not what would be done now")
	cmd.Flags().BoolVar(&o.twice, "twice", false, "run once more, and fail if that changes anything: a test of the checks")
	return cmd
}

// check refuses flags that cannot be together, or have no such values.
func (o *runOptions) check(cmd *cobra.Command) error {
	for _, check := range []func(*cobra.Command) error{o.executeOptions.check, o.checkTries, o.detachOptions.check} {
		if err := check(cmd); err != nil {
			return err
		}
	}
	if o.plan != "" {
		return checkPlanFlags(cmd)
	}
	return nil
}

func runJobs(ctx context.Context, e *environment, o runOptions) error {
	r, err := o.request(jobcontrol.VerbRun, o.jobs)
	if err != nil {
		return err
	}
	if o.twice && (o.noAct || o.detach) {
		return usage("without them", "--twice executes the jobs here: it does not go with --no-act or --detach")
	}
	if o.noAct { // whoever would execute it
		return showPlan(ctx, e, o.executeOptions, r, "")
	}
	if o.detach {
		return o.submit(ctx, e, r)
	}
	if o.twice {
		return runTwice(ctx, e, o.executeOptions, r)
	}
	return inForeground(ctx, e, o.executeOptions, needWork, func(ctx context.Context, c jobcontrol.Client, watch jobcontrol.Watch) (*jobcontrol.Run, error) {
		return c.Execute(ctx, r, watch)
	})
}
