package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

// steering is a command that asks something of single builds.
type steering struct {
	transition jobcontrol.Transition
	short      string
	long       string
}

var steerings = []steering{
	{
		jobcontrol.ToHold, "Keep builds from being executed until they are released",
		`Keep builds that nobody executes yet from being executed: what is waiting,
scheduled or queued becomes held, and what depends on it waits.`,
	},
	{
		jobcontrol.ToRelease, "Release held builds",
		`Let held builds go on: they wait for their dependencies or their time, or are queued.`,
	},
	{
		jobcontrol.ToSuspend, "Put builds aside, also those that are being executed",
		`Put builds aside until they are resumed. The worker of one that is being executed
is asked to end its attempt; no try is used. What depends on it waits.`,
	},
	{
		jobcontrol.ToResume, "Go on with suspended builds",
		`Go on with suspended builds: they are queued again, and start with their check.`,
	},
	{
		jobcontrol.ToCancel, "Give up builds of which the rest of the run may go on",
		`Give builds up. The worker of one that is being executed is asked to end its
attempt; one that has succeeded meanwhile stays successful. What depends on them
is blocked; the rest of the run goes on. ` + "`runs cancel N`" + ` gives up a whole run.`,
	},
}

func newBuildsSteer(e *environment, s steering) *cobra.Command {
	return &cobra.Command{
		Use:   string(s.transition) + " N...",
		Short: s.short,
		Long: s.long + `

It works on builds that workers execute (--detach). Those of a run in the
foreground belong to the program that executes it.`,
		Args: arguments(1, -1, "the numbers of builds"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := numbers("build", args)
			if err != nil {
				return err
			}
			return steerBuilds(cmd.Context(), e, s.transition, ids)
		},
	}
}

// steerBuilds asks it of one build after the other; the first error ends it, but
// what was done is told.
func steerBuilds(ctx context.Context, e *environment, t jobcontrol.Transition, ids []int64) error {
	s, err := e.open(ctx, needStore, 0)
	if err != nil {
		return err
	}
	defer s.close()
	done := []jobcontrol.Build{}
	for _, id := range ids {
		var b *jobcontrol.Build
		if b, err = s.client.Steer(ctx, id, t); err != nil {
			err = s.hinted(ctx, err, id)
			break
		}
		done = append(done, *b)
		if !e.json() {
			e.print(steered(b))
		}
	}
	if e.json() && (err == nil || len(done) > 0) {
		if shown := e.document(newBuildsJSON(done)); err == nil {
			err = shown
		}
	}
	return err
}

// hinted adds to a conflict what can be done with the build as it is.
func (s *opened) hinted(ctx context.Context, err error, id int64) error {
	if !errors.Is(err, jobcontrol.ErrConflict) || jobcontrol.HintOf(err) != "" {
		return orRun(ctx, s.client, err, id)
	}
	b, readErr := s.client.Build(ctx, id)
	if readErr != nil {
		return err
	}
	hint := ""
	switch {
	case b.State == jobcontrol.Held:
		hint = fmt.Sprintf("`jobcontrol builds release %d` lets it go on", id)
	case b.State == jobcontrol.Suspended:
		hint = fmt.Sprintf("`jobcontrol builds resume %d` lets it go on", id)
	case b.State.Final():
		hint = fmt.Sprintf("`jobcontrol builds again %d` builds its job again", id)
	}
	return &jobcontrol.Error{Code: jobcontrol.Conflict, Hint: hint, Cause: err}
}

// steered says what became of a build that something was asked of.
func steered(b *jobcontrol.Build) string {
	text := fmt.Sprintf("build %d is %s", b.ID, b.State)
	if asked := askedText(b); asked != "" {
		text += ": " + asked
	}
	return text + "\n"
}

// askedText says what the worker of a build is asked to do with it, "" for nothing.
func askedText(b *jobcontrol.Build) string {
	switch b.Stopping {
	case jobcontrol.ToCancel, jobcontrol.ToSuspend:
		return fmt.Sprintf("its worker is asked to %s it", b.Stopping)
	}
	return ""
}
