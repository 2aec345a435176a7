package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

// runsOptions are the flags of `runs`.
type runsOptions struct {
	states []string
	limit  int
}

func newRuns(e *environment) *cobra.Command {
	var o runsOptions
	cmd := &cobra.Command{
		Use:   "runs",
		Short: "List runs, newest first",
		Long: `List runs: builds that were made together. A lone build is its own run.

  successful  every build was successful or skipped
  partial     some were
  failed      none was
  cancelled   ended by request or by a signal, and cleaned up
  interrupted the program that ran it died, or a suspended build waits for a
              person: runs resume N, or runs cancel N`,
		Example: `  jobcontrol runs --state interrupted
  jobcontrol runs show 12`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return listRuns(cmd.Context(), e, o) },
	}
	cmd.Flags().StringSliceVar(&o.states, "state", nil, "only runs in this `state` (repeatable)")
	cmd.Flags().IntVar(&o.limit, "limit", 100, "at most so many; 0: all")
	cmd.AddCommand(newRunsShow(e), newRunsWatch(e), newRunsResume(e), newRunsCancel(e), newRunsCleanup(e), newRunsAgain(e))
	return cmd
}

func listRuns(ctx context.Context, e *environment, o runsOptions) error {
	f := jobcontrol.RunFilter{Limit: o.limit}
	if o.limit <= 0 {
		f.Limit = -1
	}
	for _, name := range o.states {
		var state jobcontrol.RunState
		if err := state.UnmarshalText([]byte(name)); err != nil {
			return usage("use running, cleaning, successful, partial, failed, cancelled or interrupted", "%v", err)
		}
		f.States = append(f.States, state)
	}
	s, err := e.open(ctx, needStore, 0)
	if err != nil {
		return err
	}
	defer s.close()
	f.Project = s.project
	runs, err := s.client.Runs(ctx, f)
	if err != nil {
		return err
	}
	if e.json() {
		out := make([]runRowJSON, len(runs))
		for i := range runs {
			out[i] = newRunRowJSON(&runs[i])
		}
		return e.document(out)
	}
	if len(runs) == 0 {
		e.printf("no runs")
		return nil
	}
	now := time.Now()
	t := newTable("Run", "Verb", "Jobs", "State", "Start time", "End time", "Duration", "Builds")
	for i := range runs {
		r := &runs[i]
		t.add(cell{text: itoa(r.ID), right: true}, string(r.Verb), clip(strings.Join(r.Targets, ", "), 40), runStateCell(r.State),
			clock(r.CreatedAt), clock(r.FinishedAt), runDuration(r, now), countsText(r.Counts))
	}
	e.print(t.render(e.streams))
	return nil
}

// runDuration is the duration of a Run, to now while it goes on.
func runDuration(r *jobcontrol.Run, now time.Time) string {
	switch {
	case !r.FinishedAt.IsZero():
		return elapsed(r.FinishedAt.Sub(r.CreatedAt))
	case r.State == jobcontrol.RunRunning || r.State == jobcontrol.RunCleaning:
		return elapsed(now.Sub(r.CreatedAt))
	}
	return "N/A"
}

// countsText is "5 successful, 1 failed".
func countsText(c jobcontrol.Counts) string {
	var parts []string
	for s := jobcontrol.Held; s <= jobcontrol.Blocked; s++ {
		// Final states first, as they are what one looks for.
		state := s + 6
		if state > jobcontrol.Blocked {
			state -= jobcontrol.Blocked
		}
		if n := c[state]; n > 0 {
			parts = append(parts, itoa(int64(n))+" "+state.String())
		}
	}
	return strings.Join(parts, ", ")
}
