package storetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jobcontrol/jobcontrol"
	"pgregory.net/rapid"
)

// testModel: random operations on random graphs lead to what a model of thirty
// lines says.
func testModel(w *world) {
	round := 0
	rapid.Check(w.T, func(t *rapid.T) {
		round++
		m := newModel(t, w, fmt.Sprintf("p%d", round))
		t.Repeat(map[string]func(*rapid.T){
			"start":  m.start,
			"ran":    m.markRan,
			"finish": m.finish,
			"retry":  m.retry,
			"cancel": m.cancel,
			"lose":   m.lose,
			"repeat": m.repeat,
			"":       m.check,
		})
	})
}

// modelBuild is what the model knows of a build.
type modelBuild struct {
	State                                              jobcontrol.State
	Left, Phase, Attempts, TriesUsed, Asked, Lost, Ran int
	deps, dependants                                   []int
	id                                                 int64
	claim                                              jobcontrol.Claim
}

// model is a Run as it should be.
type model struct {
	w       *world
	project string
	run     int64
	lease   jobcontrol.Lease
	pid     int
	builds  []modelBuild
	ran     int
	stale   []jobcontrol.Claim
	again   func(*rapid.T) // repeats the last write
}

var pids = 1000 // of the workers of models, which are tested one after the other

func newModel(t *rapid.T, w *world, project string) *model {
	m := &model{w: w, project: project}
	m.register(t)
	n := rapid.IntRange(1, 7).Draw(t, "builds")
	run := jobcontrol.NewRun{Run: jobcontrol.Run{Project: project, Verb: jobcontrol.VerbRun}, Lease: &m.lease}
	for i := range n {
		b := modelBuild{State: jobcontrol.Queued}
		for d := range i {
			if rapid.IntRange(0, 2).Draw(t, "depends") == 0 {
				b.deps = append(b.deps, d)
				m.builds[d].dependants = append(m.builds[d].dependants, i)
			}
		}
		nb := w.newBuild(&jobcontrol.Job{ID: fmt.Sprint("job", i), MaxLost: ptr(1)}, b.deps...)
		if b.Left = len(b.deps); b.Left > 0 {
			b.State = jobcontrol.Waiting
		}
		if rapid.IntRange(0, 9).Draw(t, "held") == 0 {
			nb.Build.State, b.State = jobcontrol.Held, jobcontrol.Held
		}
		run.Builds = append(run.Builds, nb)
		m.builds = append(m.builds, b)
	}
	r, builds, err := w.s.CreateRun(w.ctx, run)
	m.ok(t, err)
	m.run = r.ID
	m.take(builds)
	return m
}

func (m *model) register(t *rapid.T) {
	pids++
	m.pid = pids
	var err error
	m.lease, err = m.w.s.Register(m.w.ctx, jobcontrol.Process{PID: m.pid}, time.Hour)
	m.ok(t, err)
}

func (m *model) take(builds []jobcontrol.Build) {
	for i, b := range builds {
		m.builds[i].id, m.builds[i].claim = b.ID, b.Claim
	}
}

func (m *model) ok(t *rapid.T, err error) {
	if err != nil {
		t.Fatalf("%v (%s)", err, jobcontrol.CodeOf(err))
	}
}

func (m *model) pick(t *rapid.T) int { return rapid.IntRange(0, len(m.builds)-1).Draw(t, "build") }

// lost fails the test unless err is that of a lost lease exactly when the claim
// is of an earlier worker: what was final when another took over keeps it.
func (m *model) lost(t *rapid.T, err error, claims ...jobcontrol.Claim) bool {
	stale := slices.ContainsFunc(claims, func(c jobcontrol.Claim) bool { return c.Worker != m.lease.Worker })
	if (jobcontrol.CodeOf(err) == jobcontrol.LeaseLost) != stale {
		t.Fatalf("claims %v under lease %v: %v", claims, m.lease, err)
	}
	return stale
}

// answer fails the test unless err is a conflict exactly when the transition is
// not allowed, and tells whether it was.
func (m *model) answer(t *rapid.T, err error, c jobcontrol.Claim, transition jobcontrol.Transition, from, to jobcontrol.State) bool {
	if m.lost(t, err, c) {
		return false
	}
	allowed := transition.Check(from, to) == nil
	if allowed {
		m.ok(t, err)
	} else if jobcontrol.CodeOf(err) != jobcontrol.Conflict {
		t.Fatalf("%s from %s to %s: %v", transition, from, to, err)
	}
	return allowed
}

func (m *model) start(t *rapid.T) {
	b := &m.builds[m.pick(t)]
	err := m.w.s.Start(m.w.ctx, []jobcontrol.Claim{b.claim}, nil)
	if b.State == jobcontrol.Running {
		m.ok(t, err)
	} else if m.answer(t, err, b.claim, jobcontrol.ToStart, b.State, jobcontrol.Running) {
		b.State, m.again = jobcontrol.Running, nil
	}
}

func (m *model) markRan(t *rapid.T) {
	b := &m.builds[m.pick(t)]
	err := m.w.s.MarkRan(m.w.ctx, b.claim, time.Time{})
	if b.State == jobcontrol.Running {
		m.ok(t, err)
	} else if !m.answer(t, err, b.claim, jobcontrol.ToStart, b.State, jobcontrol.Running) {
		return
	}
	b.State, m.again = jobcontrol.Running, nil
	if b.Ran == 0 {
		m.ran++
		b.Ran = m.ran
	}
}

func (m *model) finish(t *rapid.T) {
	i := m.pick(t)
	b := &m.builds[i]
	ends := map[jobcontrol.State]jobcontrol.Transition{
		jobcontrol.Successful: jobcontrol.ToSucceed, jobcontrol.Skipped: jobcontrol.ToSkip, jobcontrol.Failed: jobcontrol.ToFail,
		jobcontrol.Cancelled: jobcontrol.ToCancel, jobcontrol.Suspended: jobcontrol.ToSuspend,
	}
	state := rapid.SampledFrom([]jobcontrol.State{
		jobcontrol.Successful, jobcontrol.Successful, jobcontrol.Successful, jobcontrol.Skipped, jobcontrol.Failed,
		jobcontrol.Cancelled, jobcontrol.Suspended,
	}).Draw(t, "state")
	e := ended(state, b.Attempts+1)
	claim := b.claim
	r, err := m.w.s.Finish(m.w.ctx, claim, e)
	if !m.answer(t, err, claim, ends[state], b.State, state) {
		return
	}
	b.State, b.Attempts = state, b.Attempts+1
	if state == jobcontrol.Successful || state == jobcontrol.Failed {
		b.TriesUsed++
	}
	var ready, blocked []int64
	switch {
	case state.Satisfied():
		ready = m.release(i)
	case state.Final():
		blocked = m.block(i)
	}
	var got []int64
	for _, b := range r.Ready {
		got = append(got, b.ID)
	}
	if !slices.Equal(ready, got) || !slices.Equal(blocked, sorted(slices.Clone(r.Blocked))) {
		t.Fatalf("released %v, blocked %v; want %v and %v", got, r.Blocked, ready, blocked)
	}
	m.again = func(t *rapid.T) {
		again, err := m.w.s.Finish(m.w.ctx, claim, e)
		m.ok(t, err)
		if d := cmp.Diff(r, again); d != "" {
			t.Fatalf("a repeated Finish (-first +second):\n%s", d)
		}
	}
}

// release tells the dependants of build i that it was satisfied.
func (m *model) release(i int) (ready []int64) {
	for _, d := range m.builds[i].dependants {
		b := &m.builds[d]
		if b.State.Final() {
			continue
		}
		b.Left--
		b.Phase = max(b.Phase, m.builds[i].Phase)
		if b.Left == 0 && b.State == jobcontrol.Waiting {
			b.State = jobcontrol.Queued
			ready = append(ready, b.id)
		}
	}
	return ready
}

// block makes all that waits for build i blocked.
func (m *model) block(i int) (blocked []int64) {
	for _, d := range m.builds[i].dependants {
		b := &m.builds[d]
		if b.State == jobcontrol.Waiting || b.State == jobcontrol.Held {
			b.State = jobcontrol.Blocked
			blocked = append(append(blocked, b.id), m.block(d)...)
		}
	}
	return sorted(blocked)
}

func (m *model) retry(t *rapid.T) {
	b := &m.builds[m.pick(t)]
	e := ended(jobcontrol.Failed, b.Attempts+1)
	state := jobcontrol.Queued
	if rapid.Bool().Draw(t, "later") {
		state, e.ReadyAt = jobcontrol.Scheduled, time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	e.Attempt.Failure.Kind = rapid.SampledFrom([]jobcontrol.FailureKind{jobcontrol.FailError, jobcontrol.FailRetry}).Draw(t, "kind")
	claim := b.claim
	got, err := m.w.s.Retry(m.w.ctx, claim, e)
	if !m.answer(t, err, claim, jobcontrol.ToRetry, b.State, state) {
		return
	}
	b.State, b.Attempts, b.Phase = state, b.Attempts+1, b.Phase+1
	if e.Attempt.Failure.Kind == jobcontrol.FailRetry {
		b.Asked++
	} else {
		b.TriesUsed++
	}
	m.again = func(t *rapid.T) {
		again, err := m.w.s.Retry(m.w.ctx, claim, e)
		m.ok(t, err)
		if d := cmp.Diff(got, again); d != "" {
			t.Fatalf("a repeated Retry (-first +second):\n%s", d)
		}
	}
}

func (m *model) cancel(t *rapid.T) {
	var claims []jobcontrol.Claim
	var list []int
	allowed := true
	for i, b := range m.builds {
		if rapid.IntRange(0, 3).Draw(t, "cancel") == 0 {
			claims, list = append(claims, b.claim), append(list, i)
			allowed = allowed && (b.State == jobcontrol.Cancelled || jobcontrol.ToCancel.Check(b.State, jobcontrol.Cancelled) == nil)
		}
	}
	err := m.w.s.Cancel(m.w.ctx, claims, "reason")
	if jobcontrol.CodeOf(err) != jobcontrol.Conflict && m.lost(t, err, claims...) {
		return
	}
	if !allowed {
		if jobcontrol.CodeOf(err) != jobcontrol.Conflict {
			t.Fatalf("cancel: %v", err)
		}
		return
	}
	m.ok(t, err)
	for _, i := range list {
		m.builds[i].State = jobcontrol.Cancelled
	}
	for _, i := range list {
		m.block(i)
	}
	m.again = func(t *rapid.T) { m.ok(t, m.w.s.Cancel(m.w.ctx, claims, "reason")) }
}

// lose kills the worker; another one takes the Run over.
func (m *model) lose(t *rapid.T) {
	_, err := m.w.s.Rescue(m.w.ctx, dead(m.pid))
	m.ok(t, err)
	for i := range m.builds {
		b := &m.builds[i]
		m.stale = append(m.stale, b.claim)
		if b.State == jobcontrol.Suspended { // resumed with the Run
			if b.State = jobcontrol.Queued; b.Left > 0 {
				b.State = jobcontrol.Waiting
			}
		}
		if b.State != jobcontrol.Running {
			continue
		}
		b.Lost++
		b.Attempts++
		if b.State = jobcontrol.Queued; b.Lost > 1 {
			b.State = jobcontrol.Failed
			m.block(i)
		}
	}
	m.register(t)
	final := !slices.ContainsFunc(m.builds, func(b modelBuild) bool { return !b.State.Final() })
	_, builds, err := m.w.s.Adopt(m.w.ctx, m.run, m.lease)
	if final && len(m.builds) == 1 && jobcontrol.CodeOf(err) == jobcontrol.Conflict {
		m.again = nil // a lone build that is final was not interrupted
		return
	}
	m.ok(t, err)
	m.take(builds)
	m.again = nil
}

// repeat makes the last write again, and one that is refused.
func (m *model) repeat(t *rapid.T) {
	if m.again != nil {
		m.again(t)
	}
	if len(m.stale) > 0 {
		c := rapid.SampledFrom(m.stale).Draw(t, "stale")
		if _, err := m.w.s.Finish(m.w.ctx, c, ended(jobcontrol.Successful, 100)); jobcontrol.CodeOf(err) != jobcontrol.LeaseLost {
			t.Fatalf("a stale claim: %v", err)
		}
	}
}

func (m *model) check(t *rapid.T) {
	builds, err := m.w.s.ListBuilds(m.w.ctx, jobcontrol.BuildFilter{Run: m.run, Asc: true, Limit: -1})
	m.ok(t, err)
	var want, got []string
	counts := jobcontrol.Counts{}
	order := map[int64]int{}
	for _, b := range builds {
		order[b.Ran] = 0
	}
	var places []int64
	for ran := range order {
		places = append(places, ran)
	}
	for i, ran := range sorted(places) {
		order[ran] = i
		if places[0] != 0 {
			order[ran]++
		}
	}
	for i, b := range builds {
		counts[m.builds[i].State]++
		v := m.builds[i]
		v.deps, v.dependants, v.id, v.claim = nil, nil, 0, jobcontrol.Claim{}
		want = append(want, fmt.Sprintf("%+v", v))
		v = modelBuild{b.State, b.DepsLeft, b.Phase, b.Attempts, b.TriesUsed, b.Asked, b.Lost, order[b.Ran], nil, nil, 0, jobcontrol.Claim{}}
		got = append(got, fmt.Sprintf("%+v", v))
	}
	if d := cmp.Diff(strings.Join(want, "\n"), strings.Join(got, "\n")); d != "" {
		t.Fatalf("builds (-want +got):\n%s", d)
	}
	run, err := m.w.s.Run(m.w.ctx, m.run)
	m.ok(t, err)
	if d := cmp.Diff(counts, run.Counts); d != "" {
		t.Fatalf("counts (-want +got):\n%s", d)
	}
	heads, err := m.w.s.Heads(m.w.ctx, m.project, nil)
	m.ok(t, err)
	for i, b := range m.builds {
		h := heads[fmt.Sprint("job", i)]
		want := jobcontrol.Head{Job: h.Job, Latest: b.id, LatestState: b.State}
		if !b.State.Final() {
			want.Unfinished = 1
		}
		if b.State == jobcontrol.Running {
			want.RunningBuilds = 1
		}
		got := jobcontrol.Head{Job: h.Job, Latest: h.Latest, LatestState: h.LatestState, Unfinished: h.Unfinished, RunningBuilds: h.RunningBuilds}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("head of build %d (-want +got):\n%s", i, d)
		}
		if (h.Good == b.id) != (b.State == jobcontrol.Successful) {
			t.Fatalf("build %d is %s and the good one is %d", b.id, b.State, h.Good)
		}
	}
}
