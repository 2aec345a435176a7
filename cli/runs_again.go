package cli

import (
	"context"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

// runsAgainOptions are the flags of `runs again`.
type runsAgainOptions struct {
	executeOptions
	detachOptions
	run        int64
	failed     bool
	yes        bool
	noCleanup  bool
	tries      int
	deps       string
	dependants bool
}

func newRunsAgain(e *environment) *cobra.Command {
	var o runsAgainOptions
	cmd := &cobra.Command{
		Use:   "again N",
		Short: "Run the jobs of a run again, or those that failed",
		Long: `Make a new run of the same jobs: with today's definitions, with the arguments that were
given then, each build linked to that of its job in the run. With --failed only
of the jobs that failed, were blocked or were cancelled; of a job with for_each only
the items are done again that did not succeed, or have changed.

What ` + "`run`" + ` made is done as ` + "`run`" + ` does it: checks decide, also below the jobs, what is
done again. So, also with --failed, what is below them and has no check is executed
again although it was successful; give it a check, or use ` + "`build`" + `, to keep it as it is.
What ` + "`build`" + ` made is built again alone, unless --deps and --dependants say otherwise.`,
		Example: `  jobcontrol runs again 12
  jobcontrol runs again 12 --failed
  jobcontrol runs again 12 --failed --detach`,
		Args: arguments(1, 1, "the number of a run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := number("run", args[0])
			if err != nil {
				return err
			}
			o.run = id
			if err := o.executeOptions.check(cmd); err != nil {
				return err
			}
			if err := o.detachOptions.check(cmd); err != nil {
				return err
			}
			if cmd.Flags().Changed("tries") && o.tries < 1 {
				return usage("tries counts the attempts in all", "--tries %d is less than 1", o.tries)
			}
			return runAgain(cmd.Context(), e, o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.failed, "failed", false, "only the jobs that failed, were blocked or were cancelled, and, if run made them, what they need")
	f.BoolVar(&o.yes, "yes", false, "confirm that protected jobs may be built")
	f.BoolVar(&o.noCleanup, "no-cleanup", false, "leave the clean-up steps to: jobcontrol runs cleanup")
	f.IntVar(&o.tries, "tries", 0, "attempts in all for jobs that set none (run: 3, build: 1)")
	f.StringVar(&o.deps, "deps", "", "of what build made: build dependencies first: `which` of none, missing, outdated, all")
	f.BoolVar(&o.dependants, "dependants", false, "of what build made: afterwards rebuild everything that depends on the job")
	o.executeOptions.flags(cmd)
	o.detachOptions.flags(cmd)
	return cmd
}

func runAgain(ctx context.Context, e *environment, o runsAgainOptions) error {
	if !o.detach {
		return inForeground(ctx, e, o.executeOptions, needWork, func(ctx context.Context, c jobcontrol.Client, watch jobcontrol.Watch) (*jobcontrol.Run, error) {
			r, err := o.request(ctx, c)
			if err != nil {
				return nil, err
			}
			return c.Execute(ctx, r, watch)
		})
	}
	s, err := e.openFor(ctx, needStore, 0, o.run)
	if err != nil {
		return err
	}
	r, err := o.request(ctx, s.client)
	s.close()
	if err != nil {
		return err
	}
	return o.submit(ctx, e, r)
}

// request makes the request of the new Run.
func (o *runsAgainOptions) request(ctx context.Context, c jobcontrol.Reader) (jobcontrol.Request, error) {
	run, err := c.Run(ctx, o.run)
	if err != nil {
		return jobcontrol.Request{}, err
	}
	r := jobcontrol.Request{
		Verb: run.Verb, Jobs: run.Targets, Tries: o.tries, Deps: o.deps, Dependants: o.dependants, Confirm: o.yes,
		NoCleanup: o.noCleanup || run.NoCleanup, AgainOf: map[string]int64{}, Why: "again, after run " + itoa(run.ID),
	}
	switch {
	case run.State == jobcontrol.RunInterrupted:
		return r, &jobcontrol.Error{Code: jobcontrol.Conflict, Message: "run " + itoa(run.ID) + " has not ended: it is interrupted", Hint: "`jobcontrol runs resume " + itoa(run.ID) + "` goes on with it"}
	case !run.State.Final():
		return r, &jobcontrol.Error{Code: jobcontrol.Conflict, Message: "run " + itoa(run.ID) + " has not ended: it is " + run.State.String(), Hint: "wait for its end, or `jobcontrol runs cancel " + itoa(run.ID) + "`"}
	case r.Verb == jobcontrol.VerbRun && (o.deps != "" || o.dependants):
		return r, usage("run executes the whole graph below its jobs", "--deps and --dependants are for what `build` made")
	}
	builds, err := c.Builds(ctx, jobcontrol.BuildFilter{Project: run.Project, Run: run.ID, Asc: true, Limit: -1})
	if err != nil {
		return r, err
	}
	for i := range builds {
		b := &builds[i]
		items, err := itemsOf(ctx, c, b)
		if err != nil {
			return r, err
		}
		// A build that is one again takes the items that succeeded from the one of then.
		if o.failed || len(items) == 0 {
			r.AgainOf[b.Job] = b.ID
		}
	}
	if o.failed {
		r.Jobs = failedJobs(builds)
		if err := o.checkFailed(r); err != nil {
			return r, err
		}
	}
	return r, givenToRun(ctx, c, builds, &r)
}

// failedJobs are the jobs of a Run whose builds, or those of whose items, failed,
// were blocked or were cancelled.
func failedJobs(builds []jobcontrol.Build) (jobs []string) {
	whole := map[int64]*jobcontrol.Build{}
	for i := range builds {
		b := &builds[i]
		whole[b.ID] = b
		if b.Satisfied() || !b.State.Final() {
			continue
		}
		if of := whole[b.ItemOf()]; of != nil {
			b = of
		}
		if !slices.Contains(jobs, b.Job) {
			jobs = append(jobs, b.Job)
		}
	}
	return jobs
}

// checkFailed refuses --failed where nothing failed, or more than can be built.
func (o *runsAgainOptions) checkFailed(r jobcontrol.Request) error {
	switch {
	case len(r.Jobs) == 0:
		return &jobcontrol.Error{Code: jobcontrol.Conflict, Message: "run " + itoa(o.run) + " has no job that failed, was blocked or was cancelled", Hint: "without --failed all of it is run again"}
	case r.Verb == jobcontrol.VerbBuild && len(r.Jobs) > 1:
		return &jobcontrol.Error{
			Code: jobcontrol.Conflict, Message: "build builds one job, and several of run " + itoa(o.run) + " failed, were blocked or were cancelled",
			Hint: "`jobcontrol run " + clip(line(strings.Join(r.Jobs, " ")), 200) + "`",
		}
	}
	return nil
}

// givenToRun finds what was given for a Run in the arguments of the builds of the
// request's jobs and, of the keyword arguments, of those that they depend on: what
// differs from the arguments of the job as it was.
func givenToRun(ctx context.Context, c jobcontrol.Reader, builds []jobcontrol.Build, r *jobcontrol.Request) error {
	first := true
	needed := neededBuilds(builds, r.Jobs)
	for i := range builds {
		b := &builds[i]
		if !needed[b.ID] || b.ItemOf() != 0 {
			continue
		}
		args, kwargs, err := givenArguments(b)
		if err != nil {
			return err
		}
		if slices.Contains(r.Jobs, b.Job) {
			if !first && !reflect.DeepEqual(args, r.Args) {
				return &jobcontrol.Error{Code: jobcontrol.Conflict, Message: "the jobs " + strings.Join(r.Jobs, ", ") + " had different positional arguments", Hint: "`jobcontrol builds again N` builds one of them again"}
			}
			r.Args, first = args, false
		}
		if len(kwargs) == 0 {
			continue
		}
		j, err := c.Definition(ctx, b)
		if err != nil {
			return err
		}
		for k, v := range kwargs {
			if was, ok := j.Kwargs[k]; ok && reflect.DeepEqual(was, v) {
				continue
			}
			if r.Kwargs == nil {
				r.Kwargs = map[string]any{}
			}
			r.Kwargs[k] = v
		}
	}
	return nil
}

// neededBuilds are the builds of jobs and, of the same Run, those that they used.
func neededBuilds(builds []jobcontrol.Build, jobs []string) map[int64]bool {
	needed := map[int64]bool{}
	byID := make(map[int64]*jobcontrol.Build, len(builds))
	var stack []int64
	for i := range builds {
		byID[builds[i].ID] = &builds[i]
		if slices.Contains(jobs, builds[i].Job) {
			stack = append(stack, builds[i].ID)
		}
	}
	for len(stack) > 0 {
		id := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if b := byID[id]; b != nil && !needed[id] {
			needed[id] = true
			for _, used := range b.Pins {
				stack = append(stack, used)
			}
		}
	}
	return needed
}
