package cli

import (
	"context"

	"github.com/jobcontrol/jobcontrol"
)

// A foreground is what executes a Run: Execute, Resume or Cleanup of a client.
type foreground func(ctx context.Context, c jobcontrol.Client, watch jobcontrol.Watch) (*jobcontrol.Run, error)

// inForeground executes a Run in the foreground, shows it and says by its error
// how it ended.
func inForeground(ctx context.Context, e *environment, o executeOptions, n need, do foreground) error {
	return inForegroundOf(ctx, e, o, n, 0, do)
}

// inForegroundOf is inForeground for a command that is about a known Run.
func inForegroundOf(ctx context.Context, e *environment, o executeOptions, n need, id int64, do foreground) error {
	s, err := e.openFor(ctx, n, o.parallel, id)
	if err != nil {
		return err
	}
	defer s.close()
	w := e.watcher(ctx, s.client, o, nameWidth(s.jobs))
	var end func()
	w.picture, end = e.begin(ctx, s.client)
	defer end()
	e.working.Store(true)
	run, err := do(ctx, s.client, w.event)
	e.working.Store(false)
	end()
	if run == nil {
		return err
	}
	if shown := e.showRun(context.WithoutCancel(ctx), s.client, run, w.kinds); shown != nil && err == nil {
		err = shown
	}
	switch {
	case err != nil && jobcontrol.CodeOf(err) == jobcontrol.Interrupted:
		return reported{jobcontrol.Interrupted}
	case err != nil:
		return err
	case run.State != jobcontrol.RunSuccessful:
		return reported{jobcontrol.BuildFailed}
	}
	return nil
}

// The width of the column of job ids.
const (
	leastNames = 8
	mostNames  = 36
)

// nameWidth is the width for the job ids of a set, within reason.
func nameWidth(jobs *jobcontrol.Jobs) int {
	n := leastNames
	for _, j := range jobs.All() {
		if n = max(n, width(j.ID)); n >= mostNames {
			return mostNames
		}
	}
	return n
}

// showRun shows what became of a Run: the document, or its last lines.
func (e *environment) showRun(ctx context.Context, c jobcontrol.Client, run *jobcontrol.Run, k kinds) error {
	builds, err := buildsOf(ctx, c, run, !e.json())
	if err != nil {
		return err
	}
	if e.json() {
		return e.document(newRunJSON(run, builds))
	}
	if e.screen != nil {
		text, err := e.failures(ctx, c, run, builds)
		if err != nil {
			return err
		}
		e.print(text)
	}
	e.print(summary(e.streams, run, builds, k))
	return nil
}

// buildsOf returns the builds of a Run in its order; brief: without results.
func buildsOf(ctx context.Context, c jobcontrol.Client, run *jobcontrol.Run, brief bool) ([]jobcontrol.Build, error) {
	return c.Builds(ctx, jobcontrol.BuildFilter{Project: run.Project, Run: run.ID, Asc: true, Limit: -1, Brief: brief})
}

// reported is an error that the user was told already; it only sets the exit status.
type reported struct{ code jobcontrol.Code }

// Error names the code.
func (r reported) Error() string { return string(r.code) }
