package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

func newRunsWatch(e *environment) *cobra.Command {
	var o executeOptions
	cmd := &cobra.Command{
		Use:   "watch N",
		Short: "Watch a run that others execute, to its end",
		Long: `Watch a run that workers or another program execute, to its end: the same lines
and the same exit status as of ` + "`run`" + ` in the foreground. It may be watched by many, and
again later. Ctrl-C ends the watching, not the run.`,
		Example: `  jobcontrol run --detach site
  jobcontrol runs watch 12`,
		Args: arguments(1, 1, "the number of a run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := number("run", args[0])
			if err != nil {
				return err
			}
			return watchRun(cmd.Context(), e, o, id)
		},
	}
	o.verboseFlags(cmd)
	return cmd
}

// elsewhere tells what happens in a Run that is executed elsewhere: the phases of
// an attempt are known when that has ended.
func (w *watcher) elsewhere(ctx context.Context, c jobcontrol.Client) jobcontrol.Watch {
	return func(ev jobcontrol.Event) {
		ended := ev.Kind == jobcontrol.EventRetried || ev.Kind == jobcontrol.EventFinished || ev.Kind == jobcontrol.EventExpanded
		if (w.verbose || w.debug) && ended {
			attempts, err := c.Attempts(ctx, ev.Build.ID)
			if err != nil && ctx.Err() == nil {
				w.note("%v", err)
			}
			for i := range attempts {
				if a := &attempts[i]; a.Number == ev.Attempt && !a.Cleanup {
					w.phases(ev, a)
				}
			}
		}
		w.event(ev)
	}
}

// phases tells the phases of an attempt that has ended.
func (w *watcher) phases(ev jobcontrol.Event, a *jobcontrol.Attempt) {
	for _, p := range a.Phases {
		ev.Kind, ev.Phase, ev.Passed, ev.Failure = jobcontrol.EventPhase, p.Phase, p.Passed, nil
		if !p.Passed {
			if ev.Failure = a.Failure; a.Failure == nil || a.Failure.Phase != p.Phase {
				ev.Failure = &jobcontrol.Failure{Message: p.Error}
			}
		}
		w.event(ev)
	}
}

func watchRun(ctx context.Context, e *environment, o executeOptions, id int64) error {
	s, err := e.openFor(ctx, needStore, 0, id)
	if err != nil {
		return err
	}
	defer s.close()
	run, err := s.client.Run(ctx, id)
	if err != nil {
		return err
	}
	builds, err := buildsOf(ctx, s.client, run, true)
	if err != nil {
		return err
	}
	w := e.watcher(ctx, s.client, o, leastNames)
	for i := range builds {
		w.names = min(max(w.names, width(builds[i].Job)), mostNames)
	}
	if !run.State.Final() {
		if err := e.noteWorkers(ctx, s); err != nil {
			return err
		}
	}
	var end func()
	w.picture, end = e.begin(ctx, s.client)
	defer end()
	run, err = s.client.Watch(ctx, id, w.elsewhere(ctx, s.client))
	end()
	switch {
	case err != nil && ctx.Err() != nil:
		e.note("run %d goes on; `jobcontrol runs watch %d` watches it again, `jobcontrol runs cancel %d` ends it", id, id, id)
		return reported{jobcontrol.Interrupted}
	case err != nil:
		return err
	}
	if err := e.showRun(ctx, s.client, run, w.kinds); err != nil {
		return err
	}
	if run.State == jobcontrol.RunInterrupted {
		e.note("%s", interruptedText(run))
	}
	if run.State != jobcontrol.RunSuccessful {
		return reported{jobcontrol.BuildFailed}
	}
	return nil
}
