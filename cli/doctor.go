package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

func newDoctor(e *environment) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Look whether the store is well, and say how to mend it",
		Long: `Look at the store, change nothing, and say what is wrong with it and how to mend
it: its schema, its integrity and room, its clock against this machine's, workers
whose lease ended, builds that nobody takes, runs that wait for a decision; on
PostgreSQL also dead rows, long transactions, indexes and connections.

Exit status 1 if there is an error; warnings do not count.`,
		Example: `  jobcontrol doctor
  jobcontrol --format json doctor`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return doctor(cmd.Context(), e) },
	}
}

// findingJSON is a finding of `doctor`.
type findingJSON struct {
	Check    string              `json:"check"`
	Severity jobcontrol.Severity `json:"severity"`
	Text     string              `json:"text"`
	Mend     *string             `json:"mend"`
}

func doctor(ctx context.Context, e *environment) error {
	f, err := e.fileFor(ctx, needStore)
	if err != nil {
		return err
	}
	place, err := e.placeOf(ctx, f)
	if err != nil {
		return err
	}
	if missing(place) {
		return noStore(place)
	}
	store, err := openStore(ctx, place, false)
	if err != nil {
		return err
	}
	defer store.Close()
	project := ""
	if f != nil {
		project = f.Project
	}
	found, err := jobcontrol.Examine(ctx, store, project)
	if err != nil {
		return err
	}
	return e.showFindings(place, found)
}

// showFindings prints findings; an error among them is the command's.
func (e *environment) showFindings(p place, found []jobcontrol.Finding) error {
	errors, warnings := 0, 0
	out := make([]findingJSON, len(found))
	t := newTable()
	for i, f := range found {
		out[i] = findingJSON{f.Check, f.Severity, f.Text, orNull(f.Mend)}
		c := cell{text: string(f.Severity), colour: green}
		switch f.Severity {
		case jobcontrol.SeverityWarning:
			warnings++
			c.colour = yellow
		case jobcontrol.SeverityError:
			errors++
			c.colour = red
		}
		t.add(c, f.Check, f.Text)
		if f.Mend != "" {
			t.add("", "", "→ "+f.Mend)
		}
	}
	if e.json() {
		if err := e.document(map[string]any{"store": p.String(), "ok": errors == 0, "findings": out}); err != nil {
			return err
		}
	} else {
		e.print(t.render(e.streams))
		e.printf("%s: %s, %s", line(p.String()), plural(errors, "error"), plural(warnings, "warning"))
	}
	if errors > 0 {
		return reported{jobcontrol.BuildFailed}
	}
	return nil
}
