package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/worker"
)

// newRescue is for the helper that outlives a worker: nobody types it.
func newRescue(e *environment) *cobra.Command {
	return &cobra.Command{
		Use:    "rescue",
		Short:  "Take over what dead workers left, once",
		Args:   noArguments,
		Hidden: true,
		RunE:   func(cmd *cobra.Command, _ []string) error { return rescue(cmd.Context(), e) },
	}
}

// rescueJSON is what was found of a worker that died.
type rescueJSON struct {
	Worker int64   `json:"worker"`
	Run    *int64  `json:"run"`
	Builds []int64 `json:"builds"`
}

func rescue(ctx context.Context, e *environment) error {
	place, err := e.place(ctx)
	if err != nil || missing(place) {
		return err
	}
	store, err := openStore(ctx, place, false)
	if err != nil {
		return err
	}
	defer store.Close()
	found, err := takeAway(ctx, store)
	if err != nil {
		return err
	}
	out := make([]rescueJSON, len(found))
	for i, f := range found {
		out[i] = rescueJSON{f.Worker.ID, orNull(f.Run), orEmpty(f.Builds)}
	}
	if e.json() {
		return e.document(out)
	}
	for _, f := range found {
		e.printf("worker %d is gone: %s taken away", f.Worker.ID, plural(len(f.Builds), "build"))
	}
	return nil
}

// takeAway takes the leases of dead workers away. What a process of this machine
// left behind is ended first; while something of it runs its lease decides.
func takeAway(ctx context.Context, store jobcontrol.Leases) ([]jobcontrol.Interruption, error) {
	return store.Rescue(ctx, func(p jobcontrol.Process) (alive, known bool) {
		if alive, known = worker.Alive(p); !known || alive {
			return alive, known
		}
		limited, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		return false, endLeft(limited, p) == nil
	})
}
