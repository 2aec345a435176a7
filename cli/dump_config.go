package cli

import (
	"context"

	"github.com/spf13/cobra"
)

func newDumpConfig(e *environment) *cobra.Command {
	return &cobra.Command{
		Use:   "dump-config",
		Short: "Print the file as it is after its templates",
		Args:  arguments(0, 0, "no argument"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return dumpConfig(cmd.Context(), e) },
	}
}

func dumpConfig(ctx context.Context, e *environment) error {
	path, text, err := e.expand(ctx)
	if err != nil {
		return err
	}
	if e.json() {
		return e.document(map[string]string{"file": path, "expanded": text})
	}
	e.print(text)
	return nil
}
