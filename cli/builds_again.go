package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

// againOptions are the flags of `builds again`.
type againOptions struct {
	executeOptions
	build      int64
	yes        bool
	noCleanup  bool
	tries      int
	deps       string
	dependants bool
}

func newBuildsAgain(e *environment) *cobra.Command {
	var o againOptions
	cmd := &cobra.Command{
		Use:   "again N",
		Short: "Build the job of a build again, with the same arguments",
		Long: `Build the job of a build again, as ` + "`build`" + ` does: with today's definition, with the
arguments that were given for that build, and linked to it.`,
		Args: arguments(1, 1, "the number of a build"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := e.buildNumber(cmd, args[0])
			if err != nil {
				return err
			}
			o.build = id
			if cmd.Flags().Changed("tries") && o.tries < 1 {
				return usage("tries counts the attempts in all", "--tries %d is less than 1", o.tries)
			}
			return buildAgain(cmd.Context(), e, o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.yes, "yes", false, "confirm that a protected job may be built")
	f.BoolVar(&o.noCleanup, "no-cleanup", false, "leave the clean-up step to: jobcontrol runs cleanup")
	f.IntVar(&o.tries, "tries", 0, "attempts in all, if the job sets none (default 1)")
	f.StringVar(&o.deps, "deps", "", "build dependencies first: `which` of none, missing, outdated, all (default none)")
	f.BoolVar(&o.dependants, "dependants", false, "afterwards rebuild everything that depends on the job")
	o.executeOptions.flags(cmd)
	return cmd
}

func buildAgain(ctx context.Context, e *environment, o againOptions) error {
	return inForeground(ctx, e, o.executeOptions, needWork, func(ctx context.Context, c jobcontrol.Client, watch jobcontrol.Watch) (*jobcontrol.Run, error) {
		b, err := c.Build(ctx, o.build)
		if err != nil {
			return nil, orRun(ctx, c, err, o.build)
		}
		if !b.State.Final() {
			return nil, &jobcontrol.Error{
				Code: jobcontrol.Conflict, Message: "build " + itoa(b.ID) + " cannot be built again: it is " + b.State.String(),
				Hint: "wait for its end, or `jobcontrol runs cancel " + itoa(b.Run) + "`",
			}
		}
		if of := b.ItemOf(); of != 0 {
			return nil, &jobcontrol.Error{
				Code: jobcontrol.Conflict, Message: "build " + itoa(b.ID) + " is that of an item of build " + itoa(of) + ", and not built alone",
				Hint: "`jobcontrol builds again " + itoa(of) + "` builds the items again that did not succeed",
			}
		}
		r := jobcontrol.Request{
			Verb: jobcontrol.VerbBuild, Jobs: []string{b.Job}, Tries: o.tries, Deps: o.deps, Dependants: o.dependants,
			Confirm: o.yes, NoCleanup: o.noCleanup, AgainOf: map[string]int64{b.Job: b.ID}, Why: "again, after build " + itoa(b.ID),
		}
		if r.Args, r.Kwargs, err = givenArguments(b); err != nil {
			return nil, err
		}
		return c.Execute(ctx, r, watch)
	})
}

// givenArguments are the arguments that were given for a build; nil: the job's.
func givenArguments(b *jobcontrol.Build) (args []any, kwargs map[string]any, err error) {
	if b.Args != nil {
		v, err := jobcontrol.DecodeArguments(b.Args)
		if err != nil {
			return nil, nil, err
		}
		args, _ = v.([]any)
	}
	if b.Kwargs != nil {
		v, err := jobcontrol.DecodeArguments(b.Kwargs)
		if err != nil {
			return nil, nil, err
		}
		kwargs, _ = v.(map[string]any)
	}
	return args, kwargs, nil
}
