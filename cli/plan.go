package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

// planOptions are the flags of `plan`.
type planOptions struct {
	requestOptions
	executeOptions
	build bool
	out   string // a file
	jobs  []string
}

func newPlan(e *environment) *cobra.Command {
	var o planOptions
	cmd := &cobra.Command{
		Use:   "plan JOB...",
		Short: "Say what run or build would do, and why",
		Long: `Show what would be done with each job, and why: those with the same reason
together, and without those that are done already. With -v all of them, in order.
Checks are executed, those whose dependencies are all done; nothing else is, and
nothing is stored.

  none     its check passes: there is nothing to do
  run      it would be executed
  skip     its check asks to skip it
  unknown  it depends on something that is not done yet
  refused  it may not be built: a confirmation or a dependency's build is missing

It plans run, or build with --build, --deps, --dependants or --pin.`,
		Example: `  jobcontrol plan site
  jobcontrol plan --build report
  jobcontrol plan -o site.plan site && jobcontrol run --plan site.plan
  jobcontrol plan report --deps outdated`,
		Args:              arguments(1, -1, "the jobs to plan"),
		ValidArgsFunction: e.completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.jobs = args
			if err := o.checkTries(cmd); err != nil {
				return err
			}
			return planJobs(cmd.Context(), e, o)
		},
	}
	o.verbFlags(cmd)
	o.buildFlags(cmd)
	o.parallelFlag(cmd)
	_ = cmd.Flags().MarkHidden("parallel") // taken so that the arguments of run can be given; it has no effect
	o.verboseFlags(cmd)
	cmd.Flags().StringVarP(&o.out, "output", "o", "", "write the plan to this `file`, for: jobcontrol run --plan")
	cmd.Flags().BoolVar(&o.build, "build", false, "plan build instead of run")
	return cmd
}

func planJobs(ctx context.Context, e *environment, o planOptions) error {
	verb := jobcontrol.VerbRun
	if o.build || o.deps != "" || o.dependants || len(o.pins) > 0 {
		verb = jobcontrol.VerbBuild
	}
	r, err := o.request(verb, o.jobs)
	if err != nil {
		return err
	}
	return showPlan(ctx, e, o.executeOptions, r, o.out)
}

// showPlan makes a plan and shows it; out: it is written to this file, too.
func showPlan(ctx context.Context, e *environment, o executeOptions, r jobcontrol.Request, out string) error {
	s, err := e.open(ctx, needChecks, o.parallel)
	if err != nil {
		return err
	}
	defer s.close()
	p, err := s.client.Plan(ctx, r)
	if err != nil {
		return err
	}
	if out != "" {
		if err := writePlan(p, out); err != nil {
			return err
		}
	}
	if o.verbose || o.debug {
		e.tell(noActLines(p, o.debug))
	}
	if e.json() {
		return e.document(newPlanJSON(p))
	}
	items := p.Items
	if !o.verbose && !o.debug {
		items = toDo(p.Items)
	}
	if len(items) > 0 {
		t := newTable("Action", "Job", "Why")
		for _, it := range items {
			t.add(actionCell(it.Action), it.Job.ID, it.Why)
		}
		e.print(t.render(e.streams))
	}
	e.print(planSummary(p))
	return nil
}

// toDo are the items that are not done already, those with the same reason
// together, where the first of them is.
func toDo(items []jobcontrol.PlanItem) []jobcontrol.PlanItem {
	type reason struct {
		action jobcontrol.Action
		why    string
	}
	var out []jobcontrol.PlanItem
	first := map[reason]int{}
	for i, it := range items {
		if it.Action == jobcontrol.ActionNone {
			continue
		}
		if _, ok := first[reason{it.Action, it.Why}]; !ok {
			first[reason{it.Action, it.Why}] = i
		}
		out = append(out, it)
	}
	slices.SortStableFunc(out, func(a, b jobcontrol.PlanItem) int {
		return first[reason{a.Action, a.Why}] - first[reason{b.Action, b.Why}]
	})
	return out
}

// noActLines are the lines of DoJobber's no_act, one for each check that was
// executed; those that it has for nodes without a check are left out.
func noActLines(p *jobcontrol.Plan, debug bool) string {
	var b strings.Builder
	for _, it := range p.Items {
		if !it.Checked {
			continue
		}
		b.WriteString(phaseLine(it.Job.ID, jobcontrol.PhaseCheck, it.Failure == nil, it.Failure))
		if debug && it.Failure != nil {
			b.WriteString(errorWas(it.Failure))
		}
	}
	return b.String()
}

func actionCell(a jobcontrol.Action) cell {
	c := cell{text: string(a)}
	switch a {
	case jobcontrol.ActionNone, jobcontrol.ActionSkip:
		c.colour = green
	case jobcontrol.ActionRun:
		c.colour = blue
	case jobcontrol.ActionUnknown:
		c.colour = yellow
	case jobcontrol.ActionRefused:
		c.colour = red
	}
	return c
}

// planSummary counts the actions, and names the jobs of each but those done already.
func planSummary(p *jobcontrol.Plan) string {
	const most = 10 // names
	counts, names := map[jobcontrol.Action]int{}, map[jobcontrol.Action][]string{}
	for _, it := range p.Items {
		if counts[it.Action]++; counts[it.Action] <= most {
			names[it.Action] = append(names[it.Action], it.Job.ID)
		}
	}
	named := ""
	parts := []string{plural(len(p.Items), "job")}
	for _, c := range []struct {
		action jobcontrol.Action
		text   string
	}{
		{jobcontrol.ActionRun, "to run"},
		{jobcontrol.ActionNone, "already done"},
		{jobcontrol.ActionSkip, "to skip"},
		{jobcontrol.ActionUnknown, "not known yet"},
		{jobcontrol.ActionRefused, "refused"},
	} {
		if n := counts[c.action]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, c.text))
			if c.action == jobcontrol.ActionNone {
				continue
			}
			named += fmt.Sprintf("  %s: %s", c.text, line(strings.Join(names[c.action], ", ")))
			if n > most {
				named += fmt.Sprintf(" and %d more", n-most)
			}
			named += "\n"
		}
	}
	text := fmt.Sprintf("%s of %s: %s\n", p.Request.Verb, line(strings.Join(p.Request.Jobs, ", ")), strings.Join(parts, ", ")) + named
	if err := p.Refusal(); err != nil {
		text += "it would be refused; hint: " + jobcontrol.HintOf(err) + "\n"
	}
	return text
}
