package cli

import (
	"context"

	"github.com/spf13/cobra"
)

func newValidate(e *environment) *cobra.Command {
	return &cobra.Command{
		Use:   "validate",
		Short: "Check the file, and say everything that is wrong with it",
		Args:  arguments(0, 0, "no argument"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return validate(cmd.Context(), e) },
	}
}

func validate(ctx context.Context, e *environment) error {
	f, err := e.load(ctx)
	if err != nil {
		return err
	}
	if f.StorageSecret == "" { // else it is only read where it is needed
		if _, err := e.placeOf(ctx, f); err != nil {
			return err
		}
	}
	unknown := e.unknownFunctions(f.Jobs)
	if e.json() {
		return e.document(struct {
			OK       bool     `json:"ok"`
			File     string   `json:"file"`
			Jobs     int      `json:"jobs"`
			Services int      `json:"services"`
			Warnings []string `json:"warnings"`
		}{true, f.Path, f.Jobs.Len(), len(f.Services), orEmpty(append(e.warnings(f), unknown...))})
	}
	e.warn(f)
	for _, w := range unknown {
		e.warning("%s", visible(w))
	}
	what := plural(f.Jobs.Len(), "job")
	if n := len(f.Services); n > 0 {
		what += ", " + plural(n, "service")
	}
	e.printf("%s: ok, %s", line(f.Path), what)
	return nil
}
