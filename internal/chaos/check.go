//go:build linux

package chaos

import (
	"slices"
	"strings"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// check compares journal and store by every rule.
func (s *story) check() {
	s.count()
	s.checkAcknowledged()
	s.checkSeen()
	for _, id := range s.order {
		b := s.builds[id]
		s.checkEnd(b)
		s.checkTries(b)
		s.checkStale(b)
		s.checkOverlap(b)
		s.checkOrder(b)
	}
	for _, r := range s.runs {
		s.checkRun(r)
		s.checkCounter(r)
		s.checkCleanup(r)
		s.checkItems(r)
	}
	s.checkUnique()
	s.checkAnswers()
}

// count sets the figures that belong to no rule.
func (s *story) count() {
	s.figures["runs"], s.figures["builds"] = len(s.runs), len(s.builds)
	for _, b := range s.builds {
		s.figures["lost attempts"] += b.Lost
	}
	for _, e := range s.entries {
		switch {
		case e.Kind == entryStart:
			s.figures["executions"]++
		case e.Kind == entryCall:
			s.figures["calls"]++
			if a, ok := s.answers[e.ID]; !ok || a.What == "unknown" {
				s.figures["calls of unknown outcome"]++
			}
		}
	}
}

// checkAcknowledged: what was acknowledged exists, and no key has two Runs.
func (s *story) checkAcknowledged() {
	runsOf := map[string][]int64{}
	for _, id := range s.order {
		b := s.builds[id]
		if b.in.K != "" && !slices.Contains(runsOf[b.in.K], b.Run) {
			runsOf[b.in.K] = append(runsOf[b.in.K], b.Run)
		}
	}
	for key, runs := range runsOf {
		if len(runs) > 1 {
			s.violate("twice", nil, "key %s has the Runs %v", key, runs)
		}
	}
	for _, op := range []string{"create", "create-many", "unique"} {
		for _, e := range s.byOp[op] {
			a, ok := s.answers[e.ID]
			if !ok || a.Err != "" {
				continue
			}
			s.figures["acknowledged"] += len(a.IDs)
			s.checkCreated(e, a, runsOf)
		}
	}
}

func (s *story) checkCreated(e, a Entry, runsOf map[string][]int64) {
	for _, id := range a.IDs {
		if s.builds[id] == nil && s.runs[id] == nil {
			s.violate("lost", nil, "call %s (%s, key %s) was answered %v, and %d does not exist", e.ID, e.Op, e.Key, a.IDs, id)
		}
	}
	if e.Op == "unique" {
		return
	}
	for i, key := range strings.Fields(e.Key) {
		if runs := runsOf[key]; len(runs) != 1 || runs[0] != a.IDs[i] {
			s.violate("lost", nil, "call %s was answered %v, and key %s has the Runs %v", e.ID, a.IDs, key, runs)
		}
	}
	made := 0
	for _, b := range s.members[a.IDs[0]] {
		if !b.isItem() {
			made++
		}
	}
	if e.Op == "create" && made != int(e.N) {
		s.violate("lost", nil, "call %s made Run %d with %d builds, and it has %d", e.ID, a.IDs[0], e.N, made)
	}
}

// checkSeen: what a client saw as final stays as it was.
func (s *story) checkSeen() {
	for _, e := range s.entries {
		if e.Kind != entrySeen {
			continue
		}
		s.figures["seen final"]++
		b := s.builds[e.Build]
		switch {
		case b == nil:
			s.violate("lost", nil, "build %d was seen as %s and does not exist", e.Build, e.State)
		case b.State.String() != e.State || b.Attempts != e.Attempt || b.out.Fence != e.Fence || b.FinishedAt.UnixMicro() != e.N:
			s.violate("twice", b, "it was seen as %s with fence %d after %d attempts, and is %s with fence %d after %d (journal line %d)",
				e.State, e.Fence, e.Attempt, b.State, b.out.Fence, b.Attempts, e.line)
		}
	}
}

// cancelled tells whether somebody asked to cancel a build or its Run.
func (s *story) cancelled(b *chapter) bool {
	asked := func(op string, match func(Entry) bool) bool { return slices.ContainsFunc(s.byOp[op], match) }
	return asked(string(jobcontrol.ToCancel), func(e Entry) bool { return e.Build == b.ID }) ||
		asked("cancel-run", func(e Entry) bool { return e.Run == b.Run })
}

// checkEnd: every build is final, and ended as it was told to.
func (s *story) checkEnd(b *chapter) {
	if !b.State.Final() {
		s.violate("lost", b, "it is %s", b.State)
		return
	}
	if b.FinishedAt.IsZero() {
		s.violate("final", b, "it is %s and has no end time", b.State)
	}
	expected, known := want[b.in.Do]
	if !known {
		return
	}
	for job, d := range b.Pins {
		if dep := s.builds[d]; dep != nil && dep.Run == b.Run && !dep.Satisfied() {
			if _, item := jobcontrol.ItemKey(b.Job, job); item && expected != jobcontrol.Blocked {
				expected = jobcontrol.Failed
			} else if !item {
				expected = jobcontrol.Blocked
			}
		}
	}
	gaveUp := b.State == jobcontrol.Failed && b.Failure != nil && b.Failure.Kind == jobcontrol.FailLost
	if gaveUp {
		s.figures["given up after losses"]++
	}
	switch {
	case b.State == expected, gaveUp && b.Lost > s.maxLost(b):
	case s.cancelled(b) && (b.State == jobcontrol.Cancelled || b.State == jobcontrol.Blocked):
	default:
		s.violate("twice", b, "it was told %s and ended %s, not %s: %v", b.in.Do, b.State, expected, b.Failure)
	}
}

func (s *story) maxLost(b *chapter) int {
	if strings.HasPrefix(b.Job, "poison") {
		return poisonLost
	}
	return 3
}

// checkTries: no more counted tries and losses than allowed, and the attempts say the same.
func (s *story) checkTries(b *chapter) {
	used, lost := 0, 0
	for i, a := range b.attempts {
		switch {
		case a.Failure == nil || a.Failure.Kind.UsesTry():
			used++
		case a.Failure.Kind == jobcontrol.FailLost:
			lost++
		}
		if i > 0 && (a.Number <= b.attempts[i-1].Number || a.Claim < b.attempts[i-1].Claim) {
			s.violate("twice", b, "attempt %d of claim %d follows attempt %d of claim %d", a.Number, a.Claim, b.attempts[i-1].Number, b.attempts[i-1].Claim)
		}
	}
	if used > b.Tries || b.TriesUsed > b.Tries {
		s.violate("tries", b, "%d attempts counted, tries used %d, of %d", used, b.TriesUsed, b.Tries)
	}
	if limit := s.maxLost(b); b.Lost > limit+1 || b.Lost == limit+1 && b.State != jobcontrol.Failed || lost != b.Lost {
		s.violate("tries", b, "lost %d times, by its attempts %d, allowed %d, and it is %s", b.Lost, lost, limit, b.State)
	}
	if b.in.Do == doPoison {
		starts := 0
		for _, e := range s.byBuild[b.ID] {
			if e.Kind == entryStart {
				starts++
			}
		}
		s.figures["workers killed by poison"] += starts
		if starts > poisonStarts {
			s.violate("tries", b, "it was begun %d times, and killed its worker each time", starts)
		}
	}
	if b.State == jobcontrol.Successful && len(b.attempts) == 0 {
		s.violate("lost", b, "it is successful without an attempt")
	}
}

// checkOverlap: executions of commands never run beside each other.
func (s *story) checkOverlap(b *chapter) {
	for _, e := range s.byBuild[b.ID] {
		if e.Kind != entryOverlap {
			continue
		}
		s.figures["overlaps of "+e.What+"s"]++
		if e.What == "command" {
			s.violate("overlap", b, "fence %d began while another execution lived (journal line %d)", e.Fence, e.line)
		}
	}
}

// checkOrder: an execution begins after the ends of all dependencies, which are
// durable then, so none of them is executed again; and it sees their results.
func (s *story) checkOrder(b *chapter) {
	first := slices.IndexFunc(s.byBuild[b.ID], func(e Entry) bool { return e.Kind == entryStart })
	if first < 0 {
		return
	}
	start := s.byBuild[b.ID][first]
	for job, id := range b.Pins {
		dep := s.builds[id]
		if dep == nil || dep.Run != b.Run {
			continue
		}
		items := s.itemsOf(dep)
		given := dep.out.Fence
		for _, it := range items {
			given += it.out.Fence
		}
		if start.Prev == given && start.Prev != 0 {
			s.figures["results handed on"]++
		} else if len(b.Pins) == 1 && (start.Prev != 0 || len(items) > 0) {
			s.violate("order", b, "it was given fence %d as the result of %s, which is %d", start.Prev, job, given)
		}
		for _, d := range append(items, dep) {
			for _, e := range s.byBuild[d.ID] {
				if e.Fence < d.out.Fence {
					continue // it was superseded, and does not know it yet
				}
				if e.line > start.line && e.Phase != string(jobcontrol.PhaseCleanup) && (e.Kind == entryStart || e.Kind == entryDone) {
					s.violate("order", b, "it began (journal line %d) before %s, build %d, had ended (line %d)", start.line, d.Job, d.ID, e.line)
					break
				}
			}
		}
	}
}

// checkRun: every Run is final and has the counts of its builds.
func (s *story) checkRun(r *jobcontrol.Run) {
	counts := jobcontrol.Counts{}
	for _, b := range s.members[r.ID] {
		counts[b.State]++
	}
	told := jobcontrol.Counts{}
	for state, n := range r.Counts {
		if n != 0 {
			told[state] = n
		}
	}
	same := len(told) == len(counts)
	for state, n := range counts {
		same = same && told[state] == n
	}
	switch {
	case !r.State.Final():
		s.violate("final", nil, "run %d is %s", r.ID, r.State)
	case !same:
		s.violate("final", nil, "run %d says %v, and its builds are %v", r.ID, told, counts)
	case r.State != counts.Outcome():
		s.violate("final", nil, "run %d is %s with %v", r.ID, r.State, counts)
	case r.FinishedAt.IsZero():
		s.violate("final", nil, "run %d is %s and has no end time", r.ID, r.State)
	}
}

// checkUnique: builds with one unique key follow each other.
func (s *story) checkUnique() {
	last := map[string]*chapter{}
	for _, id := range s.order {
		b := s.builds[id]
		if b.Unique == "" {
			continue
		}
		s.figures["unique builds"]++
		// An end is noted by its worker's clock before it is written.
		if p := last[b.Unique]; p != nil && b.CreatedAt.Before(p.FinishedAt.Add(-50*time.Millisecond)) {
			s.violate("unique", b, "it was made at %v, when build %d had not ended (%v)", b.CreatedAt, p.ID, p.FinishedAt)
		}
		last[b.Unique] = b
	}
}
