//go:build linux

package chaos

import (
	"fmt"
	"slices"

	"github.com/jobcontrol/jobcontrol"
)

// checkStale: what a superseded execution wrote is nowhere.
func (s *story) checkStale(b *chapter) {
	s.checkResult(b)
	s.checkLog(b)
	s.checkProgress(b)
	// A write that was tried after a younger execution had begun must be refused.
	newest, tried := int64(0), map[string]bool{}
	for _, e := range s.byBuild[b.ID] {
		key := fmt.Sprint(e.Fence, e.Phase, e.What)
		switch e.Kind {
		case entryStart:
			if e.Fence < newest {
				s.figures["superseded executions begun"]++
			}
			newest = max(newest, e.Fence)
		case entryTry:
			tried[key] = e.Fence < newest
			if tried[key] {
				s.figures["stale writes tried"]++
			}
		case entryDone:
			if tried[key] {
				s.violate("stale", b, "fence %d wrote %s after fence %d had begun (journal line %d)", e.Fence, e.What, newest, e.line)
			}
		case entryEnd:
			if e.Fence < newest {
				s.figures["stale writes tried"]++ // its result
			}
		}
	}
	s.checkSharedValue(b)
}

// checkResult: the result is that of the attempt that ended the build, which was executed to its end.
func (s *story) checkResult(b *chapter) {
	if b.State != jobcontrol.Successful || b.out.Fence == 0 || len(b.attempts) == 0 {
		return
	}
	last := b.attempts[len(b.attempts)-1]
	if b.out.Fence != last.Claim || b.out.Attempt != last.Number {
		s.violate("stale", b, "its result is of fence %d, attempt %d; it ended with fence %d, attempt %d", b.out.Fence, b.out.Attempt, last.Claim, last.Number)
	}
	younger := slices.ContainsFunc(s.byBuild[b.ID], func(e Entry) bool {
		return e.Kind == entryStart && e.Fence > b.out.Fence && e.Phase != string(jobcontrol.PhaseCleanup)
	})
	if younger {
		s.violate("twice", b, "fence %d ended it, and it was executed with a later one", b.out.Fence)
	}
	if b.Job == "converge" {
		return // its check may have found the work of a lost attempt
	}
	if !slices.ContainsFunc(s.byBuild[b.ID], func(e Entry) bool { return e.Kind == entryEnd && e.Fence == b.out.Fence && e.Err == "" }) {
		s.violate("lost", b, "its result is of fence %d, which was not executed to its end", b.out.Fence)
	}
}

// checkLog: no record of a fence follows one of a later fence.
func (s *story) checkLog(b *chapter) {
	newest, begins := int64(0), false
	for _, r := range b.logs {
		var fence int64
		var what string
		if n, _ := fmt.Sscanf(r.Message, "fence %d %s", &fence, &what); n != 2 {
			continue
		}
		s.figures["log records"]++
		if fence < newest {
			s.violate("stale", b, "log record %d of fence %d follows one of fence %d", r.Seq, fence, newest)
		}
		newest = max(newest, fence)
		begins = begins || fence == b.out.Fence
	}
	if b.State == jobcontrol.Successful && b.out.Fence != 0 && !begins && b.Job != "converge" {
		s.violate("lost", b, "the log has nothing of the attempt that ended it, fence %d", b.out.Fence)
	}
}

// checkProgress: the last report is of the last attempt that had one to make.
func (s *story) checkProgress(b *chapter) {
	if b.State != jobcontrol.Successful || b.out.Fence == 0 || b.Job == "converge" {
		return
	}
	var fence int64
	for _, p := range b.progress {
		if n, _ := fmt.Sscanf(p.Status, "fence %d", &fence); n == 1 && fence != b.out.Fence {
			s.violate("stale", b, "its progress is of fence %d; it ended with fence %d", fence, b.out.Fence)
		}
	}
	if fence == 0 {
		s.violate("lost", b, "the progress that it reported is not there")
	}
}

// checkSharedValue: the value is of the youngest execution that was told that it was stored.
func (s *story) checkSharedValue(b *chapter) {
	acknowledged := int64(0)
	for _, e := range s.byBuild[b.ID] {
		if e.Kind == entryDone && e.What == "shared" {
			acknowledged = max(acknowledged, e.Fence)
		}
	}
	if b.shared < acknowledged {
		s.violate("stale", b, "its Shared value is of fence %d; fence %d was told that its own was stored", b.shared, acknowledged)
	}
	if b.State == jobcontrol.Successful && b.out.Fence != 0 && b.shared > b.out.Fence {
		s.violate("stale", b, "its Shared value is of fence %d; it ended with fence %d", b.shared, b.out.Fence)
	}
}

// checkCounter: each value of the Run's counter was given out at most once.
func (s *story) checkCounter(r *jobcontrol.Run) {
	given := map[int64]int{}
	for _, b := range s.members[r.ID] {
		for _, e := range s.byBuild[b.ID] {
			if e.Kind != entryDone || e.What != "count" || e.N == 0 {
				continue
			}
			s.figures["counted"]++
			if before := given[e.N]; before != 0 {
				s.violate("stale", b, "the counter's value %d was given out twice (journal lines %d and %d)", e.N, before, e.line)
			}
			given[e.N] = e.line
		}
	}
}

// checkCleanup: each build whose run phase was executed was cleaned up, last in
// first out, when nothing was executed any more.
func (s *story) checkCleanup(r *jobcontrol.Run) {
	var order []*chapter // by first run phase
	first := map[int64]int{}
	lastRun, firstClean := 0, 0
	for _, b := range s.members[r.ID] {
		if len(b.Job) < 5 || b.Job[:5] != "clean" {
			return
		}
		newest := int64(0)
		for _, e := range s.byBuild[b.ID] {
			if e.Kind != entryStart || e.Fence < newest {
				continue // where it was superseded it does not know it yet
			}
			newest = e.Fence
			switch {
			case e.Phase == string(jobcontrol.PhaseCleanup):
				if firstClean == 0 || e.line < firstClean {
					firstClean = e.line
				}
			case e.Phase == string(jobcontrol.PhaseRun):
				if first[b.ID] == 0 {
					first[b.ID] = e.line
					order = append(order, b)
				}
				lastRun = max(lastRun, e.line)
			}
		}
	}
	slices.SortFunc(order, func(x, y *chapter) int { return first[y.ID] - first[x.ID] })
	if firstClean > 0 && firstClean < lastRun {
		s.violate("order", order[0], "its clean-up began at line %d, and a run phase at line %d", firstClean, lastRun)
	}
	began := 0
	for _, b := range order {
		i := slices.IndexFunc(s.byBuild[b.ID], func(e Entry) bool {
			return e.Kind == entryStart && e.Phase == string(jobcontrol.PhaseCleanup)
		})
		s.figures["clean-up steps"]++
		switch {
		case i < 0 || !b.Cleaned || len(b.cleanups) == 0:
			s.violate("lost", b, "its clean-up step was not executed to its end")
		case s.byBuild[b.ID][i].line < began:
			s.violate("order", b, "its clean-up step began before that of a build that ran after it")
		default:
			began = s.byBuild[b.ID][i].line
		}
	}
}

// checkAnswers: what was acknowledged of holds and cancellations holds.
func (s *story) checkAnswers() {
	hold, release, cancel := string(jobcontrol.ToHold), string(jobcontrol.ToRelease), string(jobcontrol.ToCancel)
	for _, op := range []string{hold, cancel} {
		for _, e := range s.byOp[op] {
			a, ok := s.answers[e.ID]
			if !ok || a.Err != "" {
				continue
			}
			b := s.builds[e.Build]
			if b == nil {
				s.violate("lost", nil, "build %d was acknowledged as to %s and does not exist", e.Build, op)
				continue
			}
			until := 1 << 60
			for _, r := range s.byOp[release] {
				if r.Build == e.Build && r.line > a.line {
					until = min(until, r.line)
				}
			}
			fences := map[int64]bool{}
			for _, x := range s.byBuild[e.Build] {
				if x.Kind == entryStart && x.line > a.line && x.line < until && x.Phase != string(jobcontrol.PhaseCleanup) {
					fences[x.Fence] = true
				}
			}
			s.figures["acknowledged "+op+"s"]++
			// A claim that was given before the request may begin before its worker hears of it.
			if op == hold && len(fences) > 0 || len(fences) > 1 {
				s.violate("answer", b, "%s was acknowledged at line %d (%s), and it was executed after that, %d times", op, a.line, a.State, len(fences))
			}
		}
	}
}
