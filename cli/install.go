package cli

import (
	"context"

	"github.com/spf13/cobra"
)

func newInstall(e *environment) *cobra.Command {
	return &cobra.Command{
		Use:   "install",
		Short: "Prepare the store, or bring it up to date",
		Long:  `Create what the store needs, or bring an older one up to date. It may be repeated.`,
		Args:  arguments(0, 0, "no argument"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return install(cmd.Context(), e) },
	}
}

func install(ctx context.Context, e *environment) error {
	place, err := e.place(ctx)
	if err != nil {
		return err
	}
	store, err := openStore(ctx, place, true)
	if err != nil {
		return err
	}
	defer store.Close()
	if err := store.Install(ctx); err != nil {
		return err
	}
	if e.json() {
		return e.document(map[string]string{"installed": place.String()})
	}
	e.printf("the store is ready: %s", line(place.String()))
	return nil
}
