package cli

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

func newWhy(e *environment) *cobra.Command {
	return &cobra.Command{
		Use:   "why JOB",
		Short: "Explain how a job stands: what is outdated, what blocks it, what failed",
		Long: `Explain how a job stands:

  what is outdated, and through which builds, also indirectly
  what blocks it: dependencies without a successful build, builds of it that are
  not finished, and what those wait for
  when it last worked
  why its last build failed
  what has changed in its definition since it last worked`,
		Example: `  jobcontrol why report
  jobcontrol --format json why report`,
		Args:              arguments(1, 1, "a job"),
		ValidArgsFunction: e.completeJobs,
		RunE:              func(cmd *cobra.Command, args []string) error { return explainJob(cmd.Context(), e, args[0]) },
	}
}

// whyJSON explains how a job stands.
type whyJSON struct {
	jobJSON
	Outdated    []outdatedJSON   `json:"outdated"`
	MissingJobs []missingJSON    `json:"missing_jobs"`
	Unfinished  []unfinishedJSON `json:"unfinished"`
	LastSuccess *shortBuildJSON  `json:"last_success"`
	LastFailure *whyFailureJSON  `json:"last_failure"`
	Changes     []changeJSON     `json:"changes"`
}

// outdatedJSON is an outdated job: this one, or one that it depends on.
type outdatedJSON struct {
	Job     string   `json:"job"`
	Path    []string `json:"path"` // from the job that was asked for to this one
	Because []string `json:"because"`
}

// missingJSON is a dependency without a successful build, direct or not.
type missingJSON struct {
	Job         string            `json:"job"`
	Path        []string          `json:"path"`
	Status      string            `json:"status"`
	LatestBuild *int64            `json:"latest_build"`
	LatestState *jobcontrol.State `json:"latest_state"`
}

// unfinishedJSON is a build that is not final, and what it waits for.
type unfinishedJSON struct {
	Build    int64            `json:"build"`
	Run      int64            `json:"run"`
	State    jobcontrol.State `json:"state"`
	ReadyAt  *stamp           `json:"ready_at"`
	WaitsFor []shortBuildJSON `json:"waits_for"`
	Why      string           `json:"why"`
}

// shortBuildJSON is a build in short.
type shortBuildJSON struct {
	Build      int64            `json:"build"`
	Job        string           `json:"job"`
	State      jobcontrol.State `json:"state"`
	StartedAt  *stamp           `json:"started_at"`
	FinishedAt *stamp           `json:"finished_at"`
	Seconds    *float64         `json:"seconds"`
}

func newShortBuildJSON(b *jobcontrol.Build) shortBuildJSON {
	out := shortBuildJSON{Build: b.ID, Job: b.Job, State: b.State, StartedAt: newStamp(b.StartedAt), FinishedAt: newStamp(b.FinishedAt)}
	if !b.StartedAt.IsZero() && !b.FinishedAt.IsZero() {
		seconds := b.FinishedAt.Sub(b.StartedAt).Seconds()
		out.Seconds = &seconds
	}
	return out
}

// whyFailureJSON is why the newest final build was not successful.
type whyFailureJSON struct {
	shortBuildJSON
	Attempt int              `json:"attempt"`
	Failure *failureJSON     `json:"failure"`
	Through []whyFailureJSON `json:"through"` // failed builds that block it
	Command string           `json:"command"`
}

func newWhyFailureJSON(b *jobcontrol.Build) whyFailureJSON {
	out := whyFailureJSON{
		shortBuildJSON: newShortBuildJSON(b), Attempt: b.Attempts, Failure: newFailureJSON(b.Failure, false),
		Through: []whyFailureJSON{}, Command: "jobcontrol builds show " + itoa(b.ID),
	}
	if b.Attempts > 0 {
		out.Command = "jobcontrol builds log " + itoa(b.ID)
	}
	return out
}

func explainJob(ctx context.Context, e *environment, id string) error {
	s, err := e.open(ctx, needJobs, 0)
	if err != nil {
		return err
	}
	defer s.close()
	if _, err := s.jobs.Job(id); err != nil {
		return err
	}
	all, err := s.client.Jobs(ctx, nil)
	if err != nil {
		return err
	}
	x := &explainer{s: s, ctx: ctx, infos: make(map[string]*jobcontrol.JobInfo, len(all))}
	for i := range all {
		x.infos[all[i].Job.ID] = &all[i]
	}
	w, err := x.explain(id)
	if err != nil {
		return err
	}
	if e.json() {
		return e.document(w)
	}
	e.print(e.whyText(w, x.infos[id]))
	return nil
}

// explainer finds out why a job stands as it does.
type explainer struct {
	s     *opened
	ctx   context.Context
	infos map[string]*jobcontrol.JobInfo
}

func (x *explainer) explain(id string) (*whyJSON, error) {
	info := x.infos[id]
	w := &whyJSON{jobJSON: newJobJSON(info), Outdated: []outdatedJSON{}, MissingJobs: []missingJSON{}, Changes: []changeJSON{}}
	w.Outdated = x.outdated(id)
	w.MissingJobs = x.missing(id)
	var err error
	if w.Unfinished, err = x.unfinished(id); err != nil {
		return nil, err
	}
	if w.LastFailure, err = x.lastFailure(id); err != nil || info.Status.Good == 0 {
		return w, err
	}
	good, err := x.s.client.Build(x.ctx, info.Status.Good)
	if err != nil {
		return nil, err
	}
	worked := newShortBuildJSON(good)
	w.LastSuccess = &worked
	then, err := x.s.client.Definition(x.ctx, good)
	if err != nil {
		return nil, err
	}
	changes, err := compareDefinitions(then, info.Job)
	w.Changes = orEmpty(changes)
	return w, err
}

// mostTold is how many outdated jobs, and how many without a build, are told.
const mostTold = 100

// outdated returns the job and what it depends on as far as it is outdated,
// nearest first.
func (x *explainer) outdated(id string) []outdatedJSON {
	out := []outdatedJSON{}
	x.below(id, func(i *jobcontrol.JobInfo) []string { return i.Job.Dependencies }, func(i *jobcontrol.JobInfo, path func() []string) bool {
		if i.Status.Status == jobcontrol.StatusOutdated {
			out = append(out, outdatedJSON{i.Job.ID, path(), orEmpty(i.Status.OutdatedBecause)})
		}
		return len(out) < mostTold
	})
	return out
}

// missing returns the dependencies that keep a job from being built, and below
// them those that keep them, nearest first.
func (x *explainer) missing(id string) []missingJSON {
	out := []missingJSON{}
	x.below(id, func(i *jobcontrol.JobInfo) []string { return i.Status.Missing }, func(i *jobcontrol.JobInfo, path func() []string) bool {
		if i.Job.ID != id {
			s := i.Status
			out = append(out, missingJSON{i.Job.ID, path(), s.Status, orNull(s.Latest), orNull(s.LatestState)})
		}
		return len(out) < mostTold
	})
	return out
}

// below visits a job and what next leads to, nearest first, until visit returns
// false; path is the shortest way from the job.
func (x *explainer) below(id string, next func(*jobcontrol.JobInfo) []string, visit func(i *jobcontrol.JobInfo, path func() []string) bool) {
	from := map[string]string{id: ""}
	for queue := []string{id}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		path := func() []string {
			var out []string
			for job := at; job != ""; job = from[job] {
				out = append(out, job)
			}
			slices.Reverse(out)
			return out
		}
		if !visit(x.infos[at], path) {
			return
		}
		for _, dep := range next(x.infos[at]) {
			if _, seen := from[dep]; !seen {
				from[dep] = at
				queue = append(queue, dep)
			}
		}
	}
}

// mostUnfinished is how many builds that are not final are told.
const mostUnfinished = 20

func (x *explainer) unfinished(id string) ([]unfinishedJSON, error) {
	final := false
	builds, err := x.s.client.Builds(x.ctx, jobcontrol.BuildFilter{Project: x.s.project, Job: id, Finished: &final, Limit: mostUnfinished})
	if err != nil {
		return nil, err
	}
	out := make([]unfinishedJSON, 0, len(builds))
	for i := range builds {
		b := &builds[i]
		u := unfinishedJSON{Build: b.ID, Run: b.Run, State: b.State, ReadyAt: newStamp(b.ReadyAt), WaitsFor: []shortBuildJSON{}}
		if b.State == jobcontrol.Waiting {
			for _, job := range sortedKeys(b.Pins) {
				d, err := x.pinned(b.Pins[job])
				if err != nil {
					return nil, err
				}
				if d != nil && !d.State.Final() {
					u.WaitsFor = append(u.WaitsFor, newShortBuildJSON(d))
				}
				if len(u.WaitsFor) == mostTold {
					break
				}
			}
		}
		if u.Why, err = x.waiting(b, u.WaitsFor); err != nil {
			return nil, err
		}
		out = append(out, u)
	}
	return out, nil
}

// pinned returns a build that another one uses; nil: it has none, or it was deleted.
func (x *explainer) pinned(id int64) (*jobcontrol.Build, error) {
	if id == 0 {
		return nil, nil
	}
	b, err := x.s.client.Build(x.ctx, id)
	if jobcontrol.CodeOf(err) == jobcontrol.NotFound {
		return nil, nil
	}
	return b, err
}

// mostThrough is how many builds are looked at to find what blocks one.
const mostThrough = 200

// lastFailure is why the newest final build was not successful; nil: it was.
func (x *explainer) lastFailure(id string) (*whyFailureJSON, error) {
	final := true
	builds, err := x.s.client.Builds(x.ctx, jobcontrol.BuildFilter{Project: x.s.project, Job: id, Finished: &final, Limit: 1})
	if err != nil || len(builds) == 0 || builds[0].State.Satisfied() {
		return nil, err
	}
	return x.unsatisfied(&builds[0])
}

// unsatisfied is why a build that is final was not successful; of one that is
// blocked, with the builds that block it.
func (x *explainer) unsatisfied(b *jobcontrol.Build) (*whyFailureJSON, error) {
	out, err := x.failure(b)
	if err != nil || b.State != jobcontrol.Blocked {
		return out, err
	}
	seen := map[int64]bool{b.ID: true}
	for queue := []*jobcontrol.Build{b}; len(queue) > 0 && len(seen) < mostThrough; queue = queue[1:] {
		for _, job := range sortedKeys(queue[0].Pins) {
			b, err := x.pinned(queue[0].Pins[job])
			switch {
			case err != nil:
				return nil, err
			case b == nil || seen[b.ID]:
			case b.State == jobcontrol.Blocked:
				queue = append(queue, b)
			case b.State.Final() && !b.State.Satisfied():
				f, err := x.failure(b)
				if err != nil {
					return nil, err
				}
				out.Through = append(out.Through, *f)
			}
			if b != nil {
				seen[b.ID] = true
			}
		}
	}
	return out, nil
}

// mostItems is how many items that failed are told of a build.
const mostItems = 10

// failure is why a build failed; of one that stands for many, with its items that did.
func (x *explainer) failure(b *jobcontrol.Build) (*whyFailureJSON, error) {
	out := newWhyFailureJSON(b)
	items, err := itemsOf(x.ctx, x.s.client, b)
	if err != nil {
		return nil, err
	}
	for _, key := range sortedKeys(items) {
		d, err := x.pinned(items[key])
		if err != nil {
			return nil, err
		}
		if d != nil && d.State.Final() && !d.State.Satisfied() {
			if out.Through = append(out.Through, newWhyFailureJSON(d)); len(out.Through) == mostItems {
				break
			}
		}
	}
	return &out, nil
}
