package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

func newRunsResume(e *environment) *cobra.Command {
	var o executeOptions
	cmd := &cobra.Command{
		Use:   "resume N",
		Short: "Go on with an interrupted run",
		Long: `Go on with a run whose program died: what had ended stays as it is, what was being
executed starts again with its check, the rest follows.`,
		Args: arguments(1, 1, "the number of a run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := number("run", args[0])
			if err != nil {
				return err
			}
			if err := o.check(cmd); err != nil {
				return err
			}
			return resumeRun(cmd.Context(), e, o, id)
		},
	}
	o.flags(cmd)
	return cmd
}

func resumeRun(ctx context.Context, e *environment, o executeOptions, id int64) error {
	return inForegroundOf(ctx, e, o, needStoreWork, id, func(ctx context.Context, c jobcontrol.Client, watch jobcontrol.Watch) (*jobcontrol.Run, error) {
		return c.Resume(ctx, id, watch)
	})
}
