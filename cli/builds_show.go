package cli

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

func newBuildsShow(e *environment) *cobra.Command {
	return &cobra.Command{
		Use:   "show N",
		Short: "Show a build: state, attempts, progress, failure",
		Args:  arguments(1, 1, "the number of a build"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := e.buildNumber(cmd, args[0])
			if err != nil {
				return err
			}
			return showBuild(cmd.Context(), e, id)
		},
	}
}

// buildDetailJSON is a build with its attempts and its progress.
type buildDetailJSON struct {
	buildJSON
	AttemptList []attemptJSON            `json:"attempt_list"`
	Progress    *jobcontrol.ProgressNode `json:"progress"`
	Args        any                      `json:"args"`   // given for this build; null: the job's
	Kwargs      any                      `json:"kwargs"` // given for this build; null: the job's
	Traceback   *string                  `json:"traceback"`
	ItemOf      *int64                   `json:"item_of"` // the build of which it is an item; null: of none
	Through     []whyFailureJSON         `json:"through"` // of a blocked one: those that block it
}

func showBuild(ctx context.Context, e *environment, id int64) error {
	s, err := e.open(ctx, needStore, 0)
	if err != nil {
		return err
	}
	defer s.close()
	b, err := s.client.Build(ctx, id)
	if err != nil {
		return orRun(ctx, s.client, err, id)
	}
	attempts, err := s.client.Attempts(ctx, id)
	if err != nil {
		return err
	}
	progress, err := s.client.Progress(ctx, id)
	if err != nil {
		return err
	}
	blockers := []whyFailureJSON{}
	if b.State == jobcontrol.Blocked {
		x := &explainer{s: s, ctx: ctx}
		why, err := x.unsatisfied(b)
		if err != nil {
			return err
		}
		blockers = why.Through
	}
	if !e.json() {
		items, err := itemsOf(ctx, s.client, b)
		if err != nil {
			return err
		}
		text := e.buildText(b, items, attempts, progress)
		if len(blockers) > 0 {
			text += "\n" + e.paint(bold, "What blocks it") + "\n"
		}
		for i := range blockers {
			text += e.whyFailureText(&blockers[i], "    ")
		}
		e.print(text)
		return nil
	}
	d := buildDetailJSON{buildJSON: newBuildJSON(b), AttemptList: newAttemptsJSON(attempts), Progress: progress, Through: blockers}
	d.Failure, d.ItemOf = newFailureJSON(b.Failure, true), orNull(b.ItemOf())
	if b.Failure != nil {
		d.Traceback = orNull(b.Failure.Traceback())
	}
	if b.Args != nil {
		d.Args = b.Args
	}
	if b.Kwargs != nil {
		d.Kwargs = b.Kwargs
	}
	return e.document(d)
}

// buildText is a build for people.
func (e *environment) buildText(b *jobcontrol.Build, items map[string]int64, attempts []jobcontrol.Attempt, progress *jobcontrol.ProgressNode) string {
	t := newTable()
	field := func(name string, v any) { t.add(cell{text: name, colour: bold}, v) }
	field("Build", "#"+itoa(b.ID))
	field("Job", b.Job)
	field("Run", itoa(b.Run))
	state := stateCell(b.State)
	if word := outcomeWord(b); word != "" {
		state.text += ", " + word
	}
	if asked := askedText(b); asked != "" {
		state.text += ", " + asked
	}
	field("State", state)
	if b.Service != "" {
		field("Service", b.Service)
	}
	if b.Priority != 0 {
		field("Priority", itoa(int64(b.Priority)))
	}
	if b.State == jobcontrol.Scheduled {
		field("Not before", clock(b.ReadyAt))
	}
	if b.Why != "" {
		field("Why", b.Why)
	}
	if b.AgainOf != 0 {
		field("Again of", "#"+itoa(b.AgainOf))
	}
	field("Created", clock(b.CreatedAt))
	field("Start time", clock(b.StartedAt))
	field("End time", clock(b.FinishedAt))
	field("Duration", buildDuration(b, time.Now()))
	if len(b.Args) > 0 {
		field("Args", string(b.Args))
	}
	if len(b.Kwargs) > 0 {
		field("Kwargs", string(b.Kwargs))
	}
	if uses := withoutItems(b, items); len(uses) > 0 {
		field("Uses", pinsText(uses))
	}
	if len(items) > 0 {
		field("Items", itemsText(items))
	}
	if of := b.ItemOf(); of != 0 {
		field("Item of", "#"+itoa(of))
	}
	field("Result", resultText(b))
	text := t.render(e.streams)
	if len(attempts) > 0 {
		text += "\n" + e.paint(bold, "Attempts") + "\n" + attemptsText(attempts, b.Failure != nil)
	}
	if progress != nil {
		text += "\n" + e.paint(bold, "Progress") + "\n" + progressLines("    ", progress)
	}
	if b.Failure != nil {
		text += "\n" + e.paint(bold, "Failure") + "\n" + e.failureText(b)
	}
	return text
}

// itemsOf are the builds of its items that a build has, by their keys.
func itemsOf(ctx context.Context, c jobcontrol.Reader, b *jobcontrol.Build) (map[string]int64, error) {
	items := jobcontrol.ItemPins(b.Job, b.Pins)
	if len(items) == 0 {
		return nil, nil
	}
	job, err := c.Definition(ctx, b)
	if err != nil || job.ForEach == nil {
		return nil, err // its dependencies are called so
	}
	return items, nil
}

// withoutItems are the builds that a build uses, but for those of its items.
func withoutItems(b *jobcontrol.Build, items map[string]int64) map[string]int64 {
	out := maps.Clone(b.Pins)
	for key := range items {
		delete(out, jobcontrol.ItemJob(b.Job, key))
	}
	return out
}

// itemsText names the builds of items by their keys, as far as they are few.
func itemsText(items map[string]int64) string {
	const most = 20
	shown := make(map[string]int64, most)
	for i, key := range sortedKeys(items) {
		if i < most {
			shown[key] = items[key]
		}
	}
	text := fmt.Sprintf("%d: %s", len(items), pinsText(shown))
	if more := len(items) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func pinsText(pins map[string]int64) string {
	parts := make([]string, 0, len(pins))
	for _, job := range sortedKeys(pins) {
		if pins[job] == 0 {
			parts = append(parts, job+" (no build)")
			continue
		}
		parts = append(parts, fmt.Sprintf("%s #%d", job, pins[job]))
	}
	return strings.Join(parts, ", ")
}

// resultText is the beginning of a result, and how to see all of it.
func resultText(b *jobcontrol.Build) string {
	const most = 100
	switch {
	case b.ResultOf != 0:
		return fmt.Sprintf("that of build #%d", b.ResultOf)
	case len(b.Result) == 0:
		return "none"
	case len(b.Result) > most:
		return clip(string(b.Result), most) + fmt.Sprintf(" (all of it: jobcontrol builds result %d)", b.ID)
	}
	return string(b.Result)
}

// attemptsText is a line for each attempt: its phases and how they ended. The last
// failure is left out where it is shown below.
func attemptsText(attempts []jobcontrol.Attempt, below bool) string {
	var b strings.Builder
	for n, a := range attempts {
		parts := make([]string, len(a.Phases))
		for i, p := range a.Phases {
			end := "pass"
			if !p.Passed {
				end = "fail"
			}
			parts[i] = fmt.Sprintf("%s %s (%s)", phaseName(p.Phase), end, elapsed(p.Duration))
		}
		fmt.Fprintf(&b, "    %d  %s  %s\n", a.Number, clock(a.StartedAt), strings.Join(parts, ", "))
		if a.Failure != nil && !(below && n == len(attempts)-1) {
			b.WriteString(indent("       ", visible(a.Failure.Message)))
		}
	}
	return b.String()
}

// progressLines is the tree of a progress report.
func progressLines(prefix string, p *jobcontrol.ProgressNode) string {
	text := prefix + progressText(p)
	if p.Name != "" {
		text = prefix + line(p.Name) + "  " + progressText(p)
	}
	if p.Status != "" {
		text += "  " + line(p.Status)
	}
	text += "\n"
	for _, c := range p.Children {
		text += progressLines(prefix+"  ", c)
	}
	return text
}
