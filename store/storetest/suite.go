package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jobcontrol/jobcontrol"
)

// Open makes a new, empty store without tables. The suite installs and closes it.
type Open func(t *testing.T) jobcontrol.Store

// Test runs the whole suite, each part with a store of its own: first as
// [TestPlain] does, then a life of a store in which every write fails.
func Test(t *testing.T, open func(t *testing.T) jobcontrol.Store) {
	TestPlain(t, open)
	t.Run("Faults", func(t *testing.T) { testFaults(t, open) })
}

// TestPlain runs the suite without faults, for further ways to a store that
// passes the whole one.
func TestPlain(t *testing.T, open func(t *testing.T) jobcontrol.Store) {
	parts := []struct {
		name string
		test func(*world)
	}{
		{"Install", testInstall},
		{"Create", testCreate},
		{"CreateStates", testCreateStates},
		{"CreateFinal", testCreateFinal},
		{"CreateKey", testCreateKey},
		{"CreateInvalid", testCreateInvalid},
		{"Definitions", testDefinitions},
		{"Transitions", testTransitions},
		{"Start", testStart},
		{"MarkRan", testMarkRan},
		{"FinishStores", testFinishStores},
		{"FinishReleases", testFinishReleases},
		{"FinishBlocks", testFinishBlocks},
		{"FinishSkipped", testFinishSkipped},
		{"FinishSuspended", testFinishSuspended},
		{"FinishHeld", testFinishHeld},
		{"FinishRepeated", testFinishRepeated},
		{"FinishLongChain", testFinishLongChain},
		{"FinishThen", testFinishThen},
		{"ResultOf", testResultOf},
		{"Retry", testRetry},
		{"Expand", testExpand},
		{"ExpandNone", testExpandNone},
		{"ExpandEnds", testExpandEnds},
		{"ExpandAdopt", testExpandAdopt},
		{"ExpandDetached", testExpandDetached},
		{"ExpandStops", testExpandStops},
		{"ExpandMany", testExpandMany},
		{"ExpandPrune", testExpandPrune},
		{"Cancel", testCancel},
		{"Attempts", testAttempts},
		{"Fence", testFence},
		{"ForeignClaims", testForeignClaims},
		{"Runs", testRuns},
		{"ListRuns", testListRuns},
		{"Cleaning", testCleaning},
		{"CleaningLone", testCleaningLone},
		{"RequestCancel", testRequestCancel},
		{"Adopt", testAdopt},
		{"AdoptForCleaning", testAdoptForCleaning},
		{"Leases", testLeases},
		{"Rescue", testRescue},
		{"RescueLone", testRescueLone},
		{"RescueMaxLost", testRescueMaxLost},
		{"RescueCancelled", testRescueCancelled},
		{"Unregister", testUnregister},
		{"ListBuilds", testListBuilds},
		{"Heads", testHeads},
		{"Delete", testDelete},
		{"Prune", testPrune},
		{"PruneLogs", testPruneLogs},
		{"Logs", testLogs},
		{"LogFilter", testLogFilter},
		{"LogQuota", testLogQuota},
		{"Progress", testProgress},
		{"Shared", testShared},
		{"Claim", testClaim},
		{"ClaimOrder", testClaimOrder},
		{"ClaimServices", testClaimServices},
		{"ClaimConcurrent", testClaimConcurrent},
		{"ClaimForeground", testClaimForeground},
		{"ClaimLease", testClaimLease},
		{"Suspects", testSuspects},
		{"SuspectsOfLeases", testSuspectsOfLeases},
		{"Unproven", testUnproven},
		{"GiveBack", testGiveBack},
		{"Promote", testPromote},
		{"Detached", testDetached},
		{"DetachedEnds", testDetachedEnds},
		{"DetachedList", testDetachedList},
		{"DetachedRetry", testDetachedRetry},
		{"DetachedFallback", testDetachedFallback},
		{"DetachedRescue", testDetachedRescue},
		{"DetachedHeads", testDetachedHeads},
		{"DetachedCleaning", testDetachedCleaning},
		{"DetachedCleaningLone", testDetachedCleaningLone},
		{"DetachedCancel", testDetachedCancel},
		{"RescueStops", testRescueStops},
		{"RescueStopsLast", testRescueStopsLast},
		{"Steer", testSteer},
		{"SteerClaimed", testSteerClaimed},
		{"SteerReady", testSteerReady},
		{"SteerForeground", testSteerForeground},
		{"Services", testServices},
		{"ServiceCounts", testServiceCounts},
		{"ServicePaused", testServicePaused},
		{"ServiceConcurrency", testServiceConcurrency},
		{"ServiceKeys", testServiceKeys},
		{"ServiceRate", testServiceRate},
		{"Unique", testUnique},
		{"UniqueMembers", testUniqueMembers},
		{"CreateRuns", testCreateRuns},
		{"Listen", testListen},
		{"Concurrency", testConcurrency},
		{"Context", testContext},
		{"Model", testModel},
	}
	for _, p := range parts {
		t.Run(p.name, func(t *testing.T) { p.test(newWorld(t, open)) })
	}
}

// world is a store with a worker, and what tests say again and again.
type world struct {
	*testing.T
	ctx  context.Context
	s    jobcontrol.Store
	l    jobcontrol.Lease // of a worker whose lease is held
	open Open
}

func newWorld(t *testing.T, open Open) *world {
	t.Helper()
	w := &world{T: t, ctx: context.Background(), s: open(t), open: open}
	t.Cleanup(func() { w.ok(w.s.Close()) })
	w.ok(w.s.Install(w.ctx))
	w.l = w.register(1)
	return w
}

// register makes a worker with a long lease, of a process with the number pid.
func (w *world) register(pid int) jobcontrol.Lease {
	w.Helper()
	l, err := w.s.Register(w.ctx, jobcontrol.Process{PID: pid, StartTime: uint64(pid), BootID: "boot", PIDSpace: "space", Host: "host"}, time.Hour)
	w.ok(err)
	return l
}

func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatalf("%v (%s)", err, jobcontrol.CodeOf(err))
	}
}

// refused fails the test unless err has the code of want.
func (w *world) refused(err, want error) {
	w.Helper()
	if !errors.Is(err, want) {
		w.Fatalf("error is %v (%s), want one like %v", err, jobcontrol.CodeOf(err), want)
	}
	if err.Error() == "" || err.Error() == want.Error() {
		w.Fatalf("the error says nothing: %q", err)
	}
}

func (w *world) equal(what string, want, got any) {
	w.Helper()
	if d := cmp.Diff(want, got); d != "" {
		w.Fatalf("%s (-want +got):\n%s", what, d)
	}
}

func (w *world) now() time.Time {
	w.Helper()
	now, err := w.s.Now(w.ctx)
	w.ok(err)
	return now
}

// graph makes a NewRun of builds such as "a", "b<a" and "c<a,b": each after
// those it depends on. The builds are claimed by the world's worker.
func (w *world) graph(nodes ...string) jobcontrol.NewRun {
	w.Helper()
	n := jobcontrol.NewRun{Run: jobcontrol.Run{Verb: jobcontrol.VerbRun}, Lease: &w.l}
	index := map[string]int{}
	for i, node := range nodes {
		name, deps, _ := strings.Cut(node, "<")
		job := jobcontrol.Job{ID: name, Run: &jobcontrol.Task{Shell: "true"}, Cleanup: &jobcontrol.Task{Shell: "true"}}
		var members []int
		if deps != "" {
			job.Dependencies = strings.Split(deps, ",")
		}
		for _, d := range job.Dependencies {
			members = append(members, index[d])
		}
		index[name] = i
		n.Builds = append(n.Builds, w.newBuild(&job, members...))
		n.Run.Targets = []string{name}
	}
	return n
}

func (w *world) newBuild(job *jobcontrol.Job, members ...int) jobcontrol.NewBuild {
	w.Helper()
	body, hash, err := job.Definition()
	w.ok(err)
	return jobcontrol.NewBuild{
		Build: jobcontrol.Build{Job: job.ID, Tries: 3, RetryDelay: time.Second}, Definition: body, Hash: hash, Members: members,
	}
}

// made is a Run that was created, with its builds by job.
type made struct {
	*jobcontrol.Run
	builds []jobcontrol.Build
}

func (w *world) create(n jobcontrol.NewRun) made {
	w.Helper()
	run, builds, err := w.s.CreateRun(w.ctx, n)
	w.ok(err)
	return made{run, builds}
}

// run creates what graph describes.
func (w *world) run(nodes ...string) made {
	w.Helper()
	return w.create(w.graph(nodes...))
}

func (m made) of(job string) jobcontrol.Build {
	i := slices.IndexFunc(m.builds, func(b jobcontrol.Build) bool { return b.Job == job })
	return m.builds[i]
}

func (m made) id(job string) int64 { return m.of(job).ID }

func (m made) claim(job string) jobcontrol.Claim { return m.of(job).Claim }

// build returns the build of a job as it is now.
func (w *world) build(m made, job string) jobcontrol.Build {
	w.Helper()
	b, err := w.s.Build(w.ctx, m.id(job))
	w.ok(err)
	return *b
}

// states fails the test unless the builds of a Run have the states, written as
// "a=queued b=waiting" in the Run's order.
func (w *world) states(m made, want string) {
	w.Helper()
	builds, err := w.s.ListBuilds(w.ctx, jobcontrol.BuildFilter{Run: m.ID, Asc: true, Limit: -1})
	w.ok(err)
	var got []string
	for _, b := range builds {
		got = append(got, b.Job+"="+b.State.String())
	}
	w.equal("states", want, strings.Join(got, " "))
}

// ended is an attempt with the number that ended in the state.
func ended(state jobcontrol.State, number int) jobcontrol.Ended {
	at := time.Date(2024, 5, 6, 7, 8, 9, 123456000, time.UTC).Add(time.Duration(number) * time.Minute)
	e := jobcontrol.Ended{State: state, Attempt: jobcontrol.Attempt{
		Number: number, StartedAt: at, FinishedAt: at.Add(time.Second),
		Phases: []jobcontrol.PhaseResult{{Phase: jobcontrol.PhaseRun, Passed: state == jobcontrol.Successful, Duration: time.Second}},
	}}
	switch state {
	case jobcontrol.Successful:
		e.Changed = true
	case jobcontrol.Failed:
		e.Attempt.Failure = &jobcontrol.Failure{Kind: jobcontrol.FailError, Message: "broken"}
		e.Attempt.Phases[0].Error = "broken"
	case jobcontrol.Skipped:
		e.Attempt.Failure = &jobcontrol.Failure{Kind: jobcontrol.FailSkip, Message: "nothing to do"}
	case jobcontrol.Suspended:
		e.Attempt.Failure = &jobcontrol.Failure{Kind: jobcontrol.FailSuspend, Message: "later"}
	case jobcontrol.Cancelled:
		e.Attempt.Failure = &jobcontrol.Failure{Kind: jobcontrol.FailCancel, Message: "stop"}
	}
	return e
}

// finish ends the first attempt of a job's build.
func (w *world) finish(m made, job string, state jobcontrol.State) *jobcontrol.Released {
	w.Helper()
	r, err := w.s.Finish(w.ctx, m.claim(job), ended(state, 1))
	w.ok(err)
	return r
}

// released writes an answer of Finish as "b c" or "blocked: d".
func released(r *jobcontrol.Released) string {
	var names []string
	for _, b := range r.Ready {
		names = append(names, b.Job)
	}
	if len(r.Blocked) > 0 {
		names = append(names, fmt.Sprint("blocked ", len(r.Blocked)))
	}
	return strings.Join(names, " ")
}

func (w *world) logs(build int64, f jobcontrol.LogFilter) []jobcontrol.LogRecord {
	w.Helper()
	var records []jobcontrol.LogRecord
	w.ok(w.s.Log(w.ctx, build, f, func(r jobcontrol.LogRecord) bool {
		records = append(records, r)
		return true
	}))
	return records
}

// snapshot is everything that a store tells.
type snapshot struct {
	Runs     []jobcontrol.Run
	Builds   []jobcontrol.Build
	Attempts map[int64][]jobcontrol.Attempt
	Logs     map[int64][]jobcontrol.LogRecord
	Progress map[int64][]jobcontrol.Progress
	Heads    map[string]jobcontrol.Head
	Shared   map[string]string
	Workers  []jobcontrol.Worker
	Services []jobcontrol.ServiceStatus
}

func (w *world) snapshot() snapshot {
	w.Helper()
	s := snapshot{
		Attempts: map[int64][]jobcontrol.Attempt{}, Logs: map[int64][]jobcontrol.LogRecord{},
		Progress: map[int64][]jobcontrol.Progress{}, Shared: map[string]string{},
	}
	var err error
	s.Runs, err = w.s.ListRuns(w.ctx, jobcontrol.RunFilter{Limit: -1})
	w.ok(err)
	s.Builds, err = w.s.ListBuilds(w.ctx, jobcontrol.BuildFilter{Limit: -1})
	w.ok(err)
	for _, b := range s.Builds {
		s.Attempts[b.ID], err = w.s.Attempts(w.ctx, b.ID)
		w.ok(err)
		s.Logs[b.ID] = w.logs(b.ID, jobcontrol.LogFilter{})
		s.Progress[b.ID], err = w.s.Progress(w.ctx, b.ID)
		w.ok(err)
	}
	for _, r := range s.Runs {
		keys, err := w.s.SharedKeys(w.ctx, r.ID)
		w.ok(err)
		for _, k := range keys {
			value, version, err := w.s.SharedGet(w.ctx, r.ID, k)
			w.ok(err)
			s.Shared[fmt.Sprint(r.ID, " ", k)] = fmt.Sprint(version, " ", string(value))
		}
	}
	s.Heads, err = w.s.Heads(w.ctx, "", nil)
	w.ok(err)
	s.Workers, err = w.s.Workers(w.ctx)
	w.ok(err)
	s.Services, err = w.s.Services(w.ctx, "")
	w.ok(err)
	for i := range s.Workers {
		s.Workers[i].LeaseUntil = time.Time{} // it is told by a clock that goes on
	}
	return s
}

// unchanged fails the test if f changes anything that the store tells.
func (w *world) unchanged(what string, f func()) {
	w.Helper()
	before := w.snapshot()
	f()
	w.equal(what+" changed something", before, w.snapshot())
}

func raw(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

func jobs(builds []jobcontrol.Build) string {
	var names []string
	for _, b := range builds {
		names = append(names, b.Job)
	}
	return strings.Join(names, " ")
}

func keys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func ptr[T any](v T) *T { return &v }
