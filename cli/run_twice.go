package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/jobcontrol/jobcontrol"
)

// runTwice executes a request and, if that is successful, once more, and fails if
// the second Run changed anything. With --format json it shows the latter only.
func runTwice(ctx context.Context, e *environment, o executeOptions, r jobcontrol.Request) error {
	var again []string
	id := int64(0)
	once := func(ctx context.Context, c jobcontrol.Client, watch jobcontrol.Watch) (*jobcontrol.Run, error) {
		return c.Execute(ctx, r, watch)
	}
	second := func(ctx context.Context, c jobcontrol.Client, watch jobcontrol.Watch) (*jobcontrol.Run, error) {
		run, err := once(ctx, c, watch)
		if err != nil || run.State != jobcontrol.RunSuccessful {
			return run, err
		}
		id = run.ID
		again, err = changedJobs(ctx, c, run)
		return run, err
	}
	both := func(ctx context.Context, c jobcontrol.Client, watch jobcontrol.Watch) (*jobcontrol.Run, error) {
		run, err := once(ctx, c, watch)
		if err != nil || run.State != jobcontrol.RunSuccessful {
			return run, err
		}
		return second(ctx, c, watch)
	}
	var err error
	if e.json() {
		err = inForeground(ctx, e, o, needWork, both)
	} else if err = inForeground(ctx, e, o, needWork, once); err == nil {
		err = inForeground(ctx, e, o, needWork, second)
	}
	if err != nil || len(again) == 0 {
		return err
	}
	return &jobcontrol.Error{
		Code: jobcontrol.BuildFailed, Message: "changed something the second time, too: " + strings.Join(again, ", "),
		Hint: fmt.Sprintf("give each a check that passes once its work is done; `jobcontrol runs show %d` shows the second run", id),
	}
}

// changedJobs returns the jobs of which a Run changed something, without those that
// do nothing themselves.
func changedJobs(ctx context.Context, c jobcontrol.Reader, run *jobcontrol.Run) ([]string, error) {
	builds, err := c.Builds(ctx, jobcontrol.BuildFilter{Project: run.Project, Run: run.ID, Asc: true, Limit: -1, Brief: true})
	if err != nil {
		return nil, err
	}
	var out []string
	for i := range builds {
		b := &builds[i]
		if b.Changed == nil || !*b.Changed {
			continue
		}
		j, err := c.Definition(ctx, b)
		if err != nil {
			return nil, err
		}
		if k := j.Kind(); k != jobcontrol.KindGroup && k != jobcontrol.KindForEach {
			out = append(out, b.Job)
		}
	}
	return out, nil
}
