package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

func newUninstall(e *environment) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove everything from the store",
		Long:  `Remove everything from the store: all builds, results and logs. It wants --yes.`,
		Args:  arguments(0, 0, "no argument"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return uninstall(cmd.Context(), e, yes) },
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "confirm that everything is to be removed")
	return cmd
}

func uninstall(ctx context.Context, e *environment, yes bool) error {
	place, err := e.place(ctx)
	if err != nil {
		return err
	}
	if !yes {
		return &jobcontrol.Error{
			Code: jobcontrol.Conflict, Message: "uninstall removes all builds, results and logs from " + place.String(),
			Hint: "confirm with --yes",
		}
	}
	store, err := openStore(ctx, place, true)
	if err != nil {
		return err
	}
	defer store.Close()
	if err := store.Uninstall(ctx); err != nil {
		return err
	}
	if e.json() {
		return e.document(map[string]string{"uninstalled": place.String()})
	}
	e.printf("everything is removed from %s", line(place.String()))
	return nil
}
