package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jobcontrol/jobcontrol"
)

// watcher shows what happens in a Run while it is executed: DoJobber's lines on
// standard error, a line per final build on standard output.
type watcher struct {
	*streams
	executeOptions
	picture *picture    // of what is being done; nil: none
	names   int         // the width of the column of job ids
	unmet   unmetBuilds // of the Run, so far
	kinds   kinds       // of the jobs that were told

	more func(b *jobcontrol.Build) string // what tells more of a failed build
}

// watcher shows what c executes, or what it reads of what others do; names is the
// width of the column of job ids.
func (e *environment) watcher(ctx context.Context, c jobcontrol.Reader, o executeOptions, names int) *watcher {
	ctx = context.WithoutCancel(ctx)
	var more moreHint
	return &watcher{streams: e.streams, executeOptions: o, names: names, kinds: kinds{}, more: func(b *jobcontrol.Build) string {
		return more.of(ctx, c, b)
	}}
}

// kinds are the kinds of jobs by their ids, as far as they are known.
type kinds map[string]jobcontrol.Kind

// unmetBuilds are builds that ended without letting their dependants run.
type unmetBuilds map[int64]jobcontrol.State

// add notes a build if it is one.
func (u unmetBuilds) add(b *jobcontrol.Build) {
	if b.State.Final() && !b.State.Satisfied() {
		u[b.ID] = b.State
	}
}

// reason says which dependency blocks a build; "" if that is not known.
func (u unmetBuilds) reason(b *jobcontrol.Build) string {
	for _, job := range sortedKeys(b.Pins) {
		switch u[b.Pins[job]] {
		case jobcontrol.Failed:
			return "its dependency " + line(job) + " failed"
		case jobcontrol.Cancelled:
			return "its dependency " + line(job) + " was cancelled"
		case jobcontrol.Blocked:
			return "its dependency " + line(job) + " is blocked"
		}
	}
	return ""
}

// event takes one event; see [jobcontrol.Watch].
func (w *watcher) event(e jobcontrol.Event) {
	w.picture.event(e) // first: the line of a final build is written when it has left the picture
	switch e.Kind {
	case jobcontrol.EventPhase:
		if w.verbose || w.debug {
			w.tell(phaseLine(e.Job.ID, e.Phase, e.Passed, e.Failure) + w.trace(e.Phase, e.Failure))
		}
	case jobcontrol.EventCleanup:
		if w.debug {
			w.tell(e.Job.ID + ".cleanup running\n")
		}
	case jobcontrol.EventCleaned:
		// DoJobber tells a clean-up step that failed even when it is not verbose.
		if w.debug || !e.Passed {
			w.tell(phaseLine(e.Job.ID, jobcontrol.PhaseCleanup, e.Passed, e.Failure))
		}
	case jobcontrol.EventTrouble:
		w.note("%s", visible(e.Message))
	case jobcontrol.EventExpanded:
		for key := range jobcontrol.ItemPins(e.Build.Job, e.Build.Pins) {
			w.names = min(max(w.names, width(jobcontrol.ItemJob(e.Build.Job, key))), mostNames)
		}
	case jobcontrol.EventFinished:
		if w.unmet == nil {
			w.unmet = unmetBuilds{}
		}
		w.unmet.add(e.Build)
		w.kinds[e.Job.ID] = e.Job.Kind()
		if !w.json() {
			w.print(w.finished(e.Build))
		}
	}
}

// phaseLine is DoJobber's line for the end of a phase.
func phaseLine(job string, p jobcontrol.Phase, passed bool, f *jobcontrol.Failure) string {
	switch {
	case passed:
		return fmt.Sprintf("%s.%s: pass\n", job, phaseName(p))
	case p == jobcontrol.PhaseRecheck || p == jobcontrol.PhaseCleanup || p == jobcontrol.PhaseExpand || p == jobcontrol.PhaseGather:
		return fmt.Sprintf("%s.%s: fail \"%s\"\n", job, phaseName(p), visible(messageOf(f)))
	}
	return fmt.Sprintf("%s.%s: fail\n", job, phaseName(p))
}

func messageOf(f *jobcontrol.Failure) string {
	if f == nil {
		return ""
	}
	return f.Message
}

// trace is what --debug adds to the line of a failed run or recheck.
func (w *watcher) trace(p jobcontrol.Phase, f *jobcontrol.Failure) string {
	if !w.debug || f == nil || p != jobcontrol.PhaseRun && p != jobcontrol.PhaseRecheck {
		return ""
	}
	return errorWas(f)
}

// errorWas is a failure as DoJobber's debug output shows it.
func errorWas(f *jobcontrol.Failure) string {
	return "  Error was:\n" + indent("  ", visible(strings.TrimSpace(f.Traceback()+f.Message)))
}

// finished is the line of a build that is final, and, where it failed, why.
func (w *watcher) finished(b *jobcontrol.Build) string {
	state := stateCell(b.State)
	took := ""
	if !b.StartedAt.IsZero() && !b.FinishedAt.IsZero() {
		took = elapsed(b.FinishedAt.Sub(b.StartedAt))
	}
	text := w.paint(state.colour, fmt.Sprintf("%-10s", state.text)) + "  " + line(b.Job) +
		strings.Repeat(" ", max(0, w.names-width(b.Job))) + fmt.Sprintf("  %-6s %8s", fmt.Sprintf("#%d", b.ID), took)
	word := outcomeWord(b)
	if b.State == jobcontrol.Blocked {
		word = w.unmet.reason(b)
	}
	text = strings.TrimRight(text+"  "+word, " ") + "\n"
	switch {
	case b.State == jobcontrol.Failed && b.Failure != nil && w.screen == nil: // there the end tells it
		text += w.messageText("    ", b.Failure.Message, b.Failure.Causes)
		text += "    hint: " + w.more(b) + "\n"
	case b.State == jobcontrol.Skipped && b.Failure != nil && b.Failure.Message != "",
		b.State == jobcontrol.Suspended && b.Failure != nil && b.Failure.Message != "":
		text += indent("    ", visible(b.Failure.Message))
	}
	return text
}

// outcomeWord says what a build did.
func outcomeWord(b *jobcontrol.Build) string {
	switch {
	case b.State == jobcontrol.Failed && b.Failure != nil && b.Failure.Phase == jobcontrol.PhaseGather:
		return "" // its attempts are those of the items
	case b.State == jobcontrol.Failed && b.Attempts > 1:
		return plural(b.Attempts, "attempt")
	case b.Changed == nil:
		return ""
	case *b.Changed:
		return "changed"
	}
	return "unchanged"
}

// summary is the last line about a Run. Groups, and jobs that stand for many, do
// nothing themselves: they neither changed something nor had it done already.
func summary(s *streams, r *jobcontrol.Run, builds []jobcontrol.Build, k kinds) string {
	changed, done, groups := 0, 0, 0
	for i := range builds {
		switch b := &builds[i]; {
		case b.State != jobcontrol.Successful:
		case k[b.Job] == jobcontrol.KindGroup || k[b.Job] == jobcontrol.KindForEach:
			groups++
		case b.Changed != nil && *b.Changed:
			changed++
		default:
			done++
		}
	}
	parts := []string{
		plural(len(builds), "job"), fmt.Sprintf("%d changed", changed), fmt.Sprintf("%d already done", done),
		fmt.Sprintf("%d failed", r.Counts[jobcontrol.Failed]),
	}
	if groups > 0 {
		parts = slices.Insert(parts, 3, plural(groups, "group"))
	}
	for _, state := range []jobcontrol.State{
		jobcontrol.Skipped, jobcontrol.Blocked, jobcontrol.Cancelled, jobcontrol.Suspended, jobcontrol.Held,
		jobcontrol.Running, jobcontrol.Queued, jobcontrol.Scheduled, jobcontrol.Waiting,
	} {
		if n := r.Counts[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	if !r.FinishedAt.IsZero() {
		parts = append(parts, elapsed(r.FinishedAt.Sub(r.CreatedAt)))
	}
	state := runStateCell(r.State)
	text := fmt.Sprintf("run %d %s: %s\n", r.ID, s.paint(state.colour, state.text), strings.Join(parts, ", "))
	if r.State == jobcontrol.RunSuccessful && changed == 0 {
		text += "nothing had to be changed\n"
	}
	return text
}
