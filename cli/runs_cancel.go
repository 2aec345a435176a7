package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

func newRunsCancel(e *environment) *cobra.Command {
	return &cobra.Command{
		Use:   "cancel N",
		Short: "Cancel a run that has not ended",
		Long: `Cancel a run. Of a detached run what nobody executes is cancelled at once, and
the workers of the rest are asked to stop; they execute the clean-up steps. A
program that executes it in the foreground is asked to stop, and executes them;
a run that was interrupted is ended.`,
		Args: arguments(1, 1, "the number of a run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := number("run", args[0])
			if err != nil {
				return err
			}
			return cancelRun(cmd.Context(), e, id)
		},
	}
}

func cancelRun(ctx context.Context, e *environment, id int64) error {
	s, err := e.openFor(ctx, needStore, 0, id)
	if err != nil {
		return err
	}
	defer s.close()
	run, err := s.client.Cancel(ctx, id)
	if err != nil {
		return err
	}
	if e.json() {
		builds, err := buildsOf(ctx, s.client, run, false)
		if err != nil {
			return err
		}
		return e.document(newRunJSON(run, builds))
	}
	if run.State == jobcontrol.RunCancelled {
		e.printf("run %d is cancelled", id)
		return nil
	}
	e.printf("run %d is asked to stop; it is %s", id, run.State)
	return nil
}
