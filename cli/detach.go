package cli

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

// detachOptions are the flags of everything that may leave its builds to workers.
type detachOptions struct {
	detach   bool
	hold     bool
	delay    string
	priority int
}

func (o *detachOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVarP(&o.detach, "detach", "d", false, "leave it to the workers, say the number of the run and return")
	f.BoolVar(&o.hold, "hold", false, "with --detach: the named jobs wait for: jobcontrol builds release N")
	f.StringVar(&o.delay, "delay", "", "with --detach: the named jobs are not executed before this `time` has passed: seconds, or 5m")
	f.IntVar(&o.priority, "priority", 0, "with --detach: added to that of every job; a `point` is worth a minute of waiting")
}

// onlyDetached are flags that mean something to workers only, and those that
// mean something in the foreground only.
var (
	onlyDetached   = []string{"hold", "delay", "priority"}
	onlyForeground = []string{"parallel", "verbose", "debug"}
)

// check refuses flags that have no effect.
func (o *detachOptions) check(cmd *cobra.Command) error {
	f := cmd.Flags()
	if !o.detach {
		for _, name := range onlyDetached {
			if f.Changed(name) {
				return usage("add --detach, and start `jobcontrol worker`", "--%s is for builds that workers execute", name)
			}
		}
		return nil
	}
	for _, name := range onlyForeground {
		if f.Changed(name) {
			return usage("`jobcontrol runs watch N -v` watches it, `jobcontrol worker -j N` says how much a worker executes",
				"--%s has no effect with --detach: workers execute the builds", name)
		}
	}
	if o.priority < math.MinInt16 || o.priority > math.MaxInt16 {
		return usage("", "--priority %d is not between %d and %d", o.priority, math.MinInt16, math.MaxInt16)
	}
	if _, err := o.after(); err != nil {
		return err
	}
	return nil
}

// after is how long the jobs have to wait.
func (o *detachOptions) after() (time.Duration, error) {
	if o.delay == "" {
		return 0, nil
	}
	d, err := parseDuration(o.delay)
	if err != nil {
		return 0, usage("a number of seconds, or 5m, 1h30m", "--delay %q is no time", o.delay)
	}
	return d, nil
}

// submit makes a detached Run, says its number and how to go on with it.
func (o *detachOptions) submit(ctx context.Context, e *environment, r jobcontrol.Request) error {
	s, err := e.open(ctx, needQueue, 0)
	if err != nil {
		return err
	}
	defer s.close()
	if s.place.memory {
		return &jobcontrol.Error{
			Code: jobcontrol.Invalid, Message: "a store in memory ends with this program: no worker would see the builds",
			Hint: "run it without --detach, or use --storage sqlite:PATH",
		}
	}
	delay, err := o.after()
	if err != nil {
		return err
	}
	now, err := s.store.Now(ctx)
	if err != nil {
		return err
	}
	if r.Hold, r.Priority = o.hold, o.priority; delay > 0 {
		r.ReadyAt = jobcontrol.Micros(now.Add(delay))
	}
	if err := s.describe(ctx); err != nil {
		return err
	}
	run, err := s.client.Submit(ctx, r)
	if err != nil {
		return err
	}
	builds, err := buildsOf(ctx, s.client, run, !e.json())
	if err != nil {
		return err
	}
	if e.json() {
		return e.document(newRunJSON(run, builds))
	}
	e.print(submittedText(run, builds, run.CreatedAt.Before(now)))
	return e.noteWorkers(ctx, s)
}

// submittedText says the number of a Run and how to go on with it; old: it was
// there before, since what was asked for is unique.
func submittedText(run *jobcontrol.Run, builds []jobcontrol.Build, old bool) string {
	text := fmt.Sprintf("run %d: %s for the workers\n", run.ID, plural(len(builds), "build"))
	if old {
		text = fmt.Sprintf("run %d: made before, and not finished: the job is unique\n", run.ID)
	}
	for i := range builds {
		if builds[i].State == jobcontrol.Held {
			text += fmt.Sprintf("  release:  jobcontrol builds release %-6d # %s\n", builds[i].ID, line(builds[i].Job))
		}
	}
	return text + fmt.Sprintf("  watch it: jobcontrol runs watch %d\n  end it:   jobcontrol runs cancel %d\n", run.ID, run.ID)
}

// noteWorkers says so where no worker is there to execute anything.
func (e *environment) noteWorkers(ctx context.Context, s *opened) error {
	workers, err := s.client.Workers(ctx)
	if err == nil && len(workers) == 0 {
		e.note("no worker is there yet: start `jobcontrol worker`")
	}
	return err
}
