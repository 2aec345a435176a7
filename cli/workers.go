package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

func newWorkers(e *environment) *cobra.Command {
	return &cobra.Command{
		Use:   "workers",
		Short: "List the processes that execute builds, and what they execute",
		Long: `List the processes that execute builds: workers, and programs that execute a run
in the foreground. A worker whose lease has ended is stopped, cut off or dead:
others take over what it was executing, and nothing that it writes later counts.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return listWorkers(cmd.Context(), e) },
	}
}

// workerJSON is a worker.
type workerJSON struct {
	ID         int64   `json:"id"`
	Epoch      int64   `json:"epoch"`
	Process    int     `json:"process"`
	Host       *string `json:"host"`
	StartedAt  *stamp  `json:"started_at"`
	LeaseUntil *stamp  `json:"lease_until"`
	Valid      bool    `json:"valid"`
	Executes   []int64 `json:"executes"`
}

func listWorkers(ctx context.Context, e *environment) error {
	s, err := e.open(ctx, needStore, 0)
	if err != nil {
		return err
	}
	defer s.close()
	workers, err := s.client.Workers(ctx)
	if err != nil {
		return err
	}
	now, err := s.store.Now(ctx)
	if err != nil {
		return err
	}
	running, err := s.client.Builds(ctx, jobcontrol.BuildFilter{States: []jobcontrol.State{jobcontrol.Running}, Limit: -1, Brief: true})
	if err != nil {
		return err
	}
	executes := map[int64][]jobcontrol.Build{}
	for _, b := range running {
		executes[b.Claim.Worker] = append(executes[b.Claim.Worker], b)
	}
	if e.json() {
		return e.document(newWorkersJSON(workers, executes, now))
	}
	if len(workers) == 0 {
		e.printf("no workers")
		return nil
	}
	e.print(workersTable(workers, executes, now).render(e.streams))
	return nil
}

func newWorkersJSON(workers []jobcontrol.Worker, executes map[int64][]jobcontrol.Build, now time.Time) []workerJSON {
	out := make([]workerJSON, len(workers))
	for i := range workers {
		w := &workers[i]
		out[i] = workerJSON{
			ID: w.ID, Epoch: w.Epoch, Process: w.Process.PID, Host: orNull(w.Process.Host),
			StartedAt: newStamp(w.StartedAt), LeaseUntil: newStamp(w.LeaseUntil), Valid: w.LeaseUntil.After(now), Executes: []int64{},
		}
		for _, b := range executes[w.ID] {
			out[i].Executes = append(out[i].Executes, b.ID)
		}
		slices.Sort(out[i].Executes)
	}
	return out
}

func workersTable(workers []jobcontrol.Worker, executes map[int64][]jobcontrol.Build, now time.Time) *table {
	t := newTable("Worker", "Process", "Host", "Since", "Lease", "Executes")
	for i := range workers {
		w := &workers[i]
		lease := cell{text: elapsed(w.LeaseUntil.Sub(now)), colour: green}
		if !w.LeaseUntil.After(now) {
			lease = cell{text: "ended " + elapsed(now.Sub(w.LeaseUntil)) + " ago", colour: red}
		}
		t.add(cell{text: itoa(w.ID), right: true}, cell{text: itoa(int64(w.Process.PID)), right: true}, w.Process.Host,
			clock(w.StartedAt), lease, executesText(executes[w.ID]))
	}
	return t
}

// executesText names the first few builds that a worker executes.
func executesText(builds []jobcontrol.Build) string {
	const most = 3
	var parts []string
	for i := range builds {
		if i == most {
			parts = append(parts, "and "+itoa(int64(len(builds)-most))+" more")
			break
		}
		parts = append(parts, "#"+itoa(builds[i].ID)+" "+clip(builds[i].Job, 30))
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}
