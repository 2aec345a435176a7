package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

func newRunsShow(e *environment) *cobra.Command {
	return &cobra.Command{
		Use:   "show N",
		Short: "Show a run: its builds in order, and what became of them",
		Args:  arguments(1, 1, "the number of a run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := number("run", args[0])
			if err != nil {
				return err
			}
			return showRunByID(cmd.Context(), e, id)
		},
	}
}

func showRunByID(ctx context.Context, e *environment, id int64) error {
	s, err := e.openFor(ctx, needStore, 0, id)
	if err != nil {
		return err
	}
	defer s.close()
	run, err := s.client.Run(ctx, id)
	if err != nil {
		return err
	}
	builds, err := buildsOf(ctx, s.client, run, false)
	if err != nil {
		return err
	}
	if e.json() {
		return e.document(newRunJSON(run, builds))
	}
	k, known := kinds{}, map[string]jobcontrol.Kind{} // by job, and by definition, which items share
	for i := range builds {
		b := &builds[i]
		if known[b.Definition] == "" {
			job, err := s.client.Definition(ctx, b)
			if err != nil {
				return err
			}
			known[b.Definition] = job.Kind()
		}
		k[b.Job] = known[b.Definition]
	}
	e.print(e.runText(run, builds, k))
	return nil
}

// runText is a Run for people: what it is, its builds in order, its summary.
func (e *environment) runText(r *jobcontrol.Run, builds []jobcontrol.Build, k kinds) string {
	now := time.Now()
	t := newTable()
	field := func(name string, v any) { t.add(cell{text: name, colour: bold}, v) }
	field("Run", fmt.Sprintf("%d (%s %s)", r.ID, r.Verb, strings.Join(r.Targets, " ")))
	field("State", runStateCell(r.State))
	field("Start time", clock(r.CreatedAt))
	field("End time", clock(r.FinishedAt))
	field("Duration", runDuration(r, now))
	if r.By != "" {
		field("By", r.By)
	}
	if r.File != "" {
		field("File", r.File)
	}
	text := t.render(e.streams) + "\n"
	t = newTable("Build", "Job", "State", "Changed", "Attempts", "Duration", "Why")
	unmet := unmetBuilds{}
	for i := range builds {
		b := &builds[i]
		unmet.add(b)
		t.add(cell{text: "#" + itoa(b.ID), right: true}, b.Job, stateCell(b.State), changedText(b), itoa(int64(b.Attempts)), tookText(b, now), buildReason(b, unmet, k[b.Job]))
	}
	text += t.render(e.streams) + "\n" + summary(e.streams, r, builds, k)
	if r.State == jobcontrol.RunInterrupted {
		text += interruptedText(r) + "\n"
	} else if r.Message != "" {
		text += line(r.Message) + "\n"
	}
	return text
}

func changedText(b *jobcontrol.Build) string {
	switch {
	case b.Changed == nil:
		return "N/A"
	case *b.Changed:
		return "yes"
	}
	return "no"
}

func tookText(b *jobcontrol.Build, now time.Time) string {
	if b.StartedAt.IsZero() {
		return "N/A"
	}
	return elapsed(b.Duration(now))
}

// reasons say why a successful build changed something, or did not.
var reasons = map[jobcontrol.Kind]map[bool]string{
	jobcontrol.KindJob:       {false: "already done: its check passed", true: "its check failed, so it was run"},
	jobcontrol.KindRunOnly:   {false: "was run", true: "it has no check, so it is run every time"},
	jobcontrol.KindAssertion: {false: "its check passed", true: "its check passed"},
	jobcontrol.KindForEach:   {false: "for each: no item changed anything", true: "for each: an item changed something"},
	jobcontrol.KindGroup:     {false: "group: nothing below it changed", true: "group: something below it changed"},
}

// buildReason is why a build ended as it did, else why it was made.
func buildReason(b *jobcontrol.Build, unmet unmetBuilds, kind jobcontrol.Kind) string {
	text := b.Why
	switch {
	case b.State == jobcontrol.Successful && b.Changed != nil:
		text = reasons[kind][*b.Changed]
	case b.Failure != nil && b.Failure.Message != "":
		text = b.Failure.Message
	case b.State == jobcontrol.Blocked:
		if why := unmet.reason(b); why != "" {
			text = why
		}
	}
	return clip(line(text), 80)
}

// interruptedText says what happened to an interrupted Run and what can be done.
func interruptedText(r *jobcontrol.Run) string {
	what := strings.TrimPrefix(line(r.Message), "interrupted: ")
	if what == "" {
		what = "the program that ran it died"
	}
	return fmt.Sprintf("run %d was interrupted: %s; `jobcontrol runs resume %d` or `jobcontrol runs cancel %d`", r.ID, what, r.ID, r.ID)
}
