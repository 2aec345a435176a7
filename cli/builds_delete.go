package cli

import (
	"context"

	"github.com/spf13/cobra"
)

func newBuildsDelete(e *environment) *cobra.Command {
	return &cobra.Command{
		Use:   "delete N...",
		Short: "Delete builds, and call their jobs' on_delete",
		Long: `Delete builds with their attempts, logs and progress. The job's on_delete function
is called with the build, to remove what it stored elsewhere. Builds that used its
result keep their own; one that would use it from now on takes the job's latest
successful build, or fails naming the job if it is pinned to the deleted one.`,
		Args: arguments(1, -1, "the number of a build"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := numbers("build", args)
			if err != nil {
				return err
			}
			return deleteBuilds(cmd.Context(), e, ids)
		},
	}
}

func deleteBuilds(ctx context.Context, e *environment, ids []int64) error {
	s, err := e.open(ctx, needStoreWork, 0)
	if err != nil {
		return err
	}
	defer s.close()
	for _, id := range ids {
		if err := s.client.DeleteBuild(ctx, id); err != nil {
			return orRun(ctx, s.client, err, id)
		}
		if !e.json() {
			e.printf("build %d is deleted", id)
		}
	}
	if e.json() {
		return e.document(map[string][]int64{"deleted": ids})
	}
	return nil
}
