package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/graph/layout"
)

// The colours of what a build does in a timeline; those of its state are runFills.
const (
	fillWaiting   = "#d0d0d0"
	fillDue       = "#f3cf6b"
	fillRetry     = "#f0964f"
	fillCheck     = "#7fc4e8"
	fillRun       = "#2f72b5"
	fillRecheck   = "#8a63c4"
	fillCleanup   = "#8c6239"
	fillExecuting = "#1fa3a3"
	fillRest      = "#9fb4c7" // of an attempt: what is between those
)

var phaseFills = map[jobcontrol.Phase]string{
	jobcontrol.PhaseCheck: fillCheck, jobcontrol.PhaseRun: fillRun, jobcontrol.PhaseRecheck: fillRecheck, jobcontrol.PhaseCleanup: fillCleanup,
}

// timelineForms are what a timeline can be written as.
var timelineForms = []string{"svg", "png"}

// mostAttempts of a build are drawn one by one.
const mostAttempts = 20

// runTimeline draws what the builds of a Run did when, as far as the store knows.
func runTimeline(ctx context.Context, s *opened, run *jobcontrol.Run) (*layout.Timeline, error) {
	now, err := s.store.Now(ctx)
	if err != nil {
		return nil, err
	}
	builds, err := s.client.Builds(ctx, jobcontrol.BuildFilter{Project: run.Project, Run: run.ID, Asc: true, Limit: layout.MaxRows})
	if err != nil {
		return nil, err
	}
	t := &layout.Timeline{
		From: run.CreatedAt, To: run.FinishedAt, Omitted: run.Counts.Total() - len(builds),
		Title: fmt.Sprintf("run %d (%s %s), %s: from %s, %s", run.ID, run.Verb, clip(line(strings.Join(run.Targets, " ")), 40), run.State, clock(run.CreatedAt), elapsed(runEnd(run, now).Sub(run.CreatedAt))),
		Legend: []layout.Entry{
			{Fill: fillWaiting, Text: "waiting"},
			{Fill: fillDue, Text: "queued"},
			{Fill: fillCheck, Text: "check"},
			{Fill: fillRun, Text: "run"},
			{Fill: fillRecheck, Text: "recheck"},
			{Fill: fillRest, Text: "between them"},
			{Fill: fillExecuting, Text: "being executed"},
			{Fill: fillRetry, Text: "until it is tried again"},
			{Fill: fillCleanup, Text: "clean-up"},
			{Fill: fillFailed, Text: "failed"},
			{Fill: fillChanged, Text: "changed"},
			{Fill: fillDone, Text: "already done"},
			{Fill: fillNone, Text: "not executed"},
		},
	}
	ended := make(map[int64]time.Time, len(builds)) // builds that let their dependants run
	for i := range builds {
		b := &builds[i]
		if b.Satisfied() {
			ended[b.ID] = b.FinishedAt
		}
		var attempts []jobcontrol.Attempt
		if b.Attempts > 0 {
			if attempts, err = s.client.Attempts(ctx, b.ID); err != nil {
				return nil, err
			}
		}
		row := timelineRow(b, attempts, ended, now)
		for k := range row.Bars {
			if to := row.Bars[k].To; to.After(t.To) {
				t.To = to
			}
		}
		t.Rows = append(t.Rows, row)
	}
	return t, nil
}

// runEnd is when a Run ended, or now.
func runEnd(r *jobcontrol.Run, now time.Time) time.Time {
	if r.FinishedAt.IsZero() {
		return now
	}
	return r.FinishedAt
}

// timelineRow is a build of a timeline; ended is when the builds before it were
// successful.
func timelineRow(b *jobcontrol.Build, attempts []jobcontrol.Attempt, ended map[int64]time.Time, now time.Time) layout.Row {
	r := layout.Row{Label: b.Job, Note: "#" + itoa(b.ID) + " " + b.State.String(), Fill: runFill(b)}
	r.Tooltip = strings.TrimRight(fmt.Sprintf("%s\n#%d %s, %s\n%s", b.Job, b.ID, b.State, plural(b.Attempts, "attempt"), b.Why), "\n")
	if b.Failure != nil {
		r.Tooltip += "\n" + clip(b.Failure.Message, mostMessage)
	}
	w := &rowWriter{now: now, at: b.CreatedAt}
	w.before(b, attempts, ended)
	skipped := len(attempts) - mostAttempts
	for i := range attempts {
		if skipped > 0 && i >= mostAttempts/2 && i < mostAttempts/2+skipped {
			if i == mostAttempts/2 {
				last := &attempts[i+skipped-1]
				w.until(last.FinishedAt, layout.Bar{Fill: fillRest, Failed: true, Tooltip: plural(skipped, "more attempt") + " that are not drawn one by one"})
			}
			continue
		}
		w.attempt(b, attempts, i)
	}
	w.after(b, attempts)
	r.Bars = w.bars
	return r
}

// rowWriter adds the bars of a build one after the other.
type rowWriter struct {
	bars []layout.Bar
	at   time.Time // the end of the last one
	now  time.Time
}

// until adds a bar from the end of the last one to a time, if that is later, and
// says in its tooltip when it was.
func (w *rowWriter) until(to time.Time, bar layout.Bar) {
	if !to.After(w.at) {
		return
	}
	bar.From, bar.To = w.at, to
	bar.Tooltip += fmt.Sprintf("\n%s – %s (%s)", instant(bar.From), instant(bar.To), elapsedFine(to.Sub(w.at)))
	w.bars = append(w.bars, bar)
	w.at = to
}

// before is what was before the first attempt.
func (w *rowWriter) before(b *jobcontrol.Build, attempts []jobcontrol.Attempt, ended map[int64]time.Time) {
	end := w.now
	switch {
	case len(attempts) > 0:
		end = attempts[0].StartedAt
	case !b.StartedAt.IsZero():
		end = b.StartedAt
	case b.State.Final():
		end = b.FinishedAt
	}
	last, by := time.Time{}, ""
	for _, job := range sortedKeys(b.Pins) {
		if t := ended[b.Pins[job]]; t.After(last) {
			last, by = t, job
		}
	}
	released := b.State != jobcontrol.Waiting && b.State != jobcontrol.Blocked
	switch {
	case released && by != "":
		w.until(earlier(last, end), layout.Bar{Fill: fillWaiting, Slim: true, Tooltip: "waited for " + by})
	case !released:
		w.until(end, layout.Bar{Fill: fillWaiting, Slim: true, Tooltip: "waiting for dependencies"})
	}
	switch {
	case b.ReadyAt.After(w.at) && (len(attempts) <= 1 || !b.ReadyAt.After(end)):
		w.until(earlier(b.ReadyAt, end), layout.Bar{Fill: fillWaiting, Slim: true, Tooltip: "not yet due"})
	case len(attempts) == 0 && (b.State == jobcontrol.Held || b.State == jobcontrol.Suspended):
		w.until(end, layout.Bar{Fill: fillWaiting, Slim: true, Tooltip: b.State.String()})
	}
	w.until(end, layout.Bar{Fill: fillDue, Slim: true, Tooltip: "queued"})
}

// attempt is what lies between an attempt and the one before it, and the attempt.
func (w *rowWriter) attempt(b *jobcontrol.Build, attempts []jobcontrol.Attempt, i int) {
	a := &attempts[i]
	if i > 0 {
		before := attempts[i-1].Failure
		switch {
		case a.Cleanup: // it has ended long since
			w.skip(a.StartedAt)
		case before != nil && before.Kind == jobcontrol.FailSuspend:
			w.until(a.StartedAt, layout.Bar{Fill: fillWaiting, Slim: true, Tooltip: "suspended"})
		case before != nil && before.Kind != jobcontrol.FailLost:
			due := a.StartedAt
			if latest := i == len(attempts)-1 || attempts[i+1].Cleanup; latest && b.ReadyAt.After(w.at) { // of former ones it is not known
				due = earlier(due, b.ReadyAt)
			}
			w.until(due, layout.Bar{Fill: fillRetry, Slim: true, Tooltip: "until it is tried again"})
		}
		w.until(a.StartedAt, layout.Bar{Fill: fillDue, Slim: true, Tooltip: "queued"})
	}
	first := len(w.bars)
	for _, p := range a.Phases {
		bar := layout.Bar{Fill: phaseFills[p.Phase], Tooltip: phaseText(a, p)}
		w.until(w.at.Add(max(p.Duration, time.Microsecond)), bar)
	}
	if took := a.FinishedAt.Sub(a.StartedAt); len(w.bars) > first && a.FinishedAt.Sub(w.at) < max(took/20, time.Millisecond) {
		w.skip(a.FinishedAt)
	}
	w.until(a.FinishedAt, layout.Bar{Fill: fillRest, Tooltip: attemptName(a)})
	if len(w.bars) == first { // it took no time at all
		w.until(w.at.Add(time.Microsecond), layout.Bar{Fill: fillRest, Tooltip: attemptName(a)})
	}
	if a.Failure != nil {
		w.fail(first, a)
	}
}

// skip leaves the time until then out.
func (w *rowWriter) skip(to time.Time) {
	if to.After(w.at) {
		w.at = to
	}
}

// fail marks the bars of an attempt that failed, unless it asked for what follows,
// and says why where no phase does.
func (w *rowWriter) fail(first int, a *jobcontrol.Attempt) {
	asked := slices.Contains([]jobcontrol.FailureKind{jobcontrol.FailSkip, jobcontrol.FailSuspend, jobcontrol.FailRetry}, a.Failure.Kind)
	why, said := failureLine(a.Failure), false
	for i := first; i < len(w.bars); i++ {
		w.bars[i].Failed = !asked
		said = said || strings.Contains(w.bars[i].Tooltip, why)
	}
	if !said {
		w.bars[len(w.bars)-1].Tooltip += "\n" + why
	}
}

// failureLine is the kind and the message of a failure.
func failureLine(f *jobcontrol.Failure) string {
	return string(f.Kind) + ": " + clip(f.Message, mostMessage)
}

// after is what follows the last attempt of a build.
func (w *rowWriter) after(b *jobcontrol.Build, attempts []jobcontrol.Attempt) {
	switch {
	case b.State == jobcontrol.Cancelled && len(attempts) > 0 && !attempts[len(attempts)-1].Cleanup:
		w.until(b.FinishedAt, layout.Bar{Fill: fillRetry, Slim: true, Tooltip: "until it was cancelled"})
	case b.State.Final():
	case b.State == jobcontrol.Running:
		w.retryDelay(b, attempts)
		w.until(w.now, layout.Bar{Fill: fillExecuting, Tooltip: fmt.Sprintf("attempt %d is being executed", max(1, b.Attempts))})
	case len(attempts) == 0: // all of it was before
	case b.State == jobcontrol.Suspended || b.State == jobcontrol.Held:
		w.until(w.now, layout.Bar{Fill: fillWaiting, Slim: true, Tooltip: b.State.String()})
	default:
		w.retryDelay(b, attempts)
		w.until(w.now, layout.Bar{Fill: fillDue, Slim: true, Tooltip: "queued"})
	}
}

// retryDelay is the time from the last attempt to when the next is due.
func (w *rowWriter) retryDelay(b *jobcontrol.Build, attempts []jobcontrol.Attempt) {
	if len(attempts) > 0 {
		w.until(earlier(b.ReadyAt, w.now), layout.Bar{Fill: fillRetry, Slim: true, Tooltip: "until it is tried again"})
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func attemptName(a *jobcontrol.Attempt) string {
	if a.Cleanup {
		return "clean-up"
	}
	return "attempt " + itoa(int64(a.Number))
}

// phaseText says what a phase was and how it ended.
func phaseText(a *jobcontrol.Attempt, p jobcontrol.PhaseResult) string {
	text := attemptName(a)
	if !a.Cleanup {
		text += ", " + phaseName(p.Phase)
	}
	switch {
	case p.Passed:
		return text + ": pass"
	case a.Failure != nil && a.Failure.Message == p.Error:
		return text + ": fail\n" + failureLine(a.Failure)
	}
	return strings.TrimSuffix(text+": fail\n"+clip(p.Error, mostMessage), "\n")
}

// mostMessage is how many characters of a message a tooltip has.
const mostMessage = 500

// instant is an exact time, in the reader's zone.
func instant(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05.000000 -0700") }

// elapsedFine is elapsed with the digits that short durations need.
func elapsedFine(d time.Duration) string {
	if d < 100*time.Millisecond {
		return fmt.Sprintf("%.3g ms", float64(d)/float64(time.Millisecond))
	}
	return elapsed(d)
}
