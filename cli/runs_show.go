package cli

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/graph/layout"
)

// runsShowOptions are the flags of `runs show`.
type runsShowOptions struct {
	run int64
	to  string
	out string
}

func newRunsShow(e *environment) *cobra.Command {
	var o runsShowOptions
	cmd := &cobra.Command{
		Use:   "show N",
		Short: "Show a run: its builds in order, and what became of them",
		Long: `Show a run: its builds in their order, and what became of them.

With --to svg or png its timeline is drawn: a row for each build, with bars for the
time that it waited, was queued, and was executed, phase by phase and attempt by
attempt, for the delays between attempts, and for clean-up steps. What failed has a
red line below it. In an SVG each bar tells its exact times, and why it failed, when
the pointer rests on it. Of a large run the first ` + plural(layout.MaxRows, "build") + ` are drawn.`,
		Example: `  jobcontrol runs show 12
  jobcontrol runs show 12 -o run.svg`,
		Args: arguments(1, 1, "the number of a run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := number("run", args[0])
			if err != nil {
				return err
			}
			o.run = id
			return showRunByID(cmd.Context(), e, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.to, "to", "", "draw a timeline in this `form`: "+strings.Join(timelineForms, ", ")+" (default: that of the file's name)")
	f.StringVarP(&o.out, "output", "o", "", "write the timeline to this `file`")
	_ = cmd.RegisterFlagCompletionFunc("to", cobra.FixedCompletions(timelineForms, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func showRunByID(ctx context.Context, e *environment, o runsShowOptions) error {
	form, err := e.pictureForm(o.to, o.out, timelineForms)
	if err != nil {
		return err
	}
	s, err := e.openFor(ctx, needStore, 0, o.run)
	if err != nil {
		return err
	}
	defer s.close()
	run, err := s.client.Run(ctx, o.run)
	if err != nil {
		return err
	}
	if form != "" {
		return drawTimeline(ctx, e, s, run, form, o.out)
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
	why := ""
	if e.screen != nil {
		if why, err = e.failures(ctx, s.client, run, builds); err != nil {
			return err
		}
	}
	e.print(e.runText(run, builds, k, why))
	return nil
}

func drawTimeline(ctx context.Context, e *environment, s *opened, run *jobcontrol.Run, form, out string) error {
	t, err := runTimeline(ctx, s, run)
	if err != nil {
		return err
	}
	p := layout.PlaceTimeline(t)
	write := p.SVG
	if form == "png" {
		write = p.PNG
	}
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	return e.deliver(&b, out, plural(len(t.Rows), "build"))
}

// runText is a Run for people: what it is, its builds in order, why they failed, its summary.
func (e *environment) runText(r *jobcontrol.Run, builds []jobcontrol.Build, k kinds, why string) string {
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
		t.add(cell{text: "#" + itoa(b.ID), right: true}, b.Job, stateCell(b.State), changedText(b), itoa(int64(b.Attempts)), buildDuration(b, now), buildReason(b, unmet, k[b.Job]))
	}
	text += t.render(e.streams) + cmp.Or(why, "\n") + summary(e.streams, r, builds, k)
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
