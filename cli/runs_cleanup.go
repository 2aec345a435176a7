package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

func newRunsCleanup(e *environment) *cobra.Command {
	var o executeOptions
	cmd := &cobra.Command{
		Use:   "cleanup N",
		Short: "Execute the clean-up steps that a run has left",
		Long:  `Execute the clean-up steps that a run has left, such as one made with --no-cleanup.`,
		Args:  arguments(1, 1, "the number of a run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := number("run", args[0])
			if err != nil {
				return err
			}
			return cleanUpRun(cmd.Context(), e, o, id)
		},
	}
	o.verboseFlags(cmd)
	return cmd
}

// cleanUpRun is done when the steps were executed, whatever became of the Run
// before; a step that failed is a failure.
func cleanUpRun(ctx context.Context, e *environment, o executeOptions, id int64) error {
	s, err := e.openFor(ctx, needStoreWork, 0, id)
	if err != nil {
		return err
	}
	defer s.close()
	w := e.watcher(ctx, s.client, o, nameWidth(s.jobs))
	steps, failures := 0, 0
	var end func()
	w.picture, end = e.begin(ctx, s.client)
	defer end()
	e.working.Store(true)
	run, err := s.client.Cleanup(ctx, id, func(ev jobcontrol.Event) {
		if ev.Kind == jobcontrol.EventCleaned {
			steps++
			if !ev.Passed {
				failures++
			}
		}
		w.event(ev)
	})
	e.working.Store(false)
	end()
	if err != nil {
		return err
	}
	if e.json() {
		builds, err := buildsOf(ctx, s.client, run, false)
		if err != nil {
			return err
		}
		if err := e.document(newRunJSON(run, builds)); err != nil {
			return err
		}
	} else {
		e.printf("run %d: %s executed, %d failed", id, plural(steps, "clean-up step"), failures)
	}
	if failures > 0 {
		return reported{jobcontrol.BuildFailed}
	}
	return nil
}
