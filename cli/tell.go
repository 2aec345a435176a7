package cli

import (
	"github.com/spf13/cobra"
)

func newTell(e *environment) *cobra.Command {
	return &cobra.Command{Use: "tell", RunE: func(cmd *cobra.Command, args []string) error { return nil }}
}
