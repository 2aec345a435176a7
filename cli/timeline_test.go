package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/graph/layout"
)

// TestTimelineRow holds which bars a build has: what it waited for, its attempts by
// their phases, and what lies between; none of them begins before the one before ends.
func TestTimelineRow(t *testing.T) {
	start := time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	phase := func(p jobcontrol.Phase, s float64, passed bool) jobcontrol.PhaseResult {
		return jobcontrol.PhaseResult{Phase: p, Passed: passed, Duration: time.Duration(s * float64(time.Second))}
	}
	failure := func(k jobcontrol.FailureKind) *jobcontrol.Failure {
		return &jobcontrol.Failure{Kind: k, Message: "why"}
	}
	tried := func(n int, from, to float64, k jobcontrol.FailureKind) jobcontrol.Attempt {
		a := jobcontrol.Attempt{Number: n, StartedAt: at(from), FinishedAt: at(to), Phases: []jobcontrol.PhaseResult{phase(jobcontrol.PhaseRun, to-from, k == "")}}
		if k != "" {
			a.Failure = failure(k)
		}
		return a
	}
	cleaned := jobcontrol.Attempt{Number: 3, Cleanup: true, StartedAt: at(20), FinishedAt: at(21), Phases: []jobcontrol.PhaseResult{phase(jobcontrol.PhaseCleanup, 1, true)}}
	var many []jobcontrol.Attempt
	for i := range 100 {
		many = append(many, tried(i+1, float64(i), float64(i)+0.5, jobcontrol.FailError))
	}
	for name, c := range map[string]struct {
		build    jobcontrol.Build
		attempts []jobcontrol.Attempt
		want     string // bars: first line of the tooltip, seconds, ! where it failed
	}{
		"queued":    {jobcontrol.Build{State: jobcontrol.Queued}, nil, "queued 0-30"},
		"scheduled": {jobcontrol.Build{State: jobcontrol.Scheduled, ReadyAt: at(60)}, nil, "not yet due 0-30"},
		"delayed": {
			jobcontrol.Build{State: jobcontrol.Successful, ReadyAt: at(5), StartedAt: at(6), FinishedAt: at(8)},
			[]jobcontrol.Attempt{tried(1, 6, 8, "")},
			"not yet due 0-5, queued 5-6, attempt 1, run: pass 6-8",
		},
		"held":    {jobcontrol.Build{State: jobcontrol.Held}, nil, "held 0-30"},
		"waiting": {jobcontrol.Build{State: jobcontrol.Waiting, Pins: map[string]int64{"dep": 1, "open": 2}}, nil, "waiting for dependencies 0-30"},
		"blocked": {jobcontrol.Build{State: jobcontrol.Blocked, FinishedAt: at(4)}, nil, "waiting for dependencies 0-4"},
		"phases": {
			jobcontrol.Build{State: jobcontrol.Successful, Pins: map[string]int64{"dep": 1}, StartedAt: at(3), FinishedAt: at(9)},
			[]jobcontrol.Attempt{{Number: 1, StartedAt: at(3), FinishedAt: at(9), Phases: []jobcontrol.PhaseResult{phase(jobcontrol.PhaseCheck, 1, false), phase(jobcontrol.PhaseRun, 2, true), phase(jobcontrol.PhaseRecheck, 1, true)}}},
			"waited for dep 0-2, queued 2-3, attempt 1, check: fail 3-4, attempt 1, run: pass 4-6, attempt 1, recheck: pass 6-7, attempt 1 7-9",
		},
		"retried": {
			jobcontrol.Build{State: jobcontrol.Successful, ReadyAt: at(9), StartedAt: at(0), FinishedAt: at(12)},
			[]jobcontrol.Attempt{tried(1, 0, 2, jobcontrol.FailError), tried(2, 10, 12, ""), cleaned},
			"attempt 1, run: fail 0-2!, until it is tried again 2-9, queued 9-10, attempt 2, run: pass 10-12, clean-up: pass 20-21",
		},
		"lost": {
			jobcontrol.Build{State: jobcontrol.Running, Attempts: 2, StartedAt: at(0)},
			[]jobcontrol.Attempt{tried(1, 0, 2, jobcontrol.FailLost), tried(2, 3, 4, jobcontrol.FailRetry)},
			"attempt 1, run: fail 0-2!, queued 2-3, attempt 2, run: fail 3-4, attempt 2 is being executed 4-30",
		},
		"due again": {
			jobcontrol.Build{State: jobcontrol.Scheduled, ReadyAt: at(40), StartedAt: at(0)},
			[]jobcontrol.Attempt{tried(1, 0, 2, jobcontrol.FailError)},
			"attempt 1, run: fail 0-2!, until it is tried again 2-30",
		},
		"suspended": {
			jobcontrol.Build{State: jobcontrol.Suspended, StartedAt: at(0)},
			[]jobcontrol.Attempt{tried(1, 0, 2, jobcontrol.FailSuspend)},
			"attempt 1, run: fail 0-2, suspended 2-30",
		},
		"given up": {
			jobcontrol.Build{State: jobcontrol.Cancelled, StartedAt: at(0), FinishedAt: at(7)},
			[]jobcontrol.Attempt{tried(1, 0, 2, jobcontrol.FailError)},
			"attempt 1, run: fail 0-2!, until it was cancelled 2-7",
		},
	} {
		b := c.build
		b.CreatedAt = start
		row := timelineRow(&b, c.attempts, map[int64]time.Time{1: at(2)}, at(30))
		if got := barsText(t, row.Bars, start); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
	}
	row := timelineRow(&jobcontrol.Build{CreatedAt: start, State: jobcontrol.Failed, FinishedAt: at(100)}, many, nil, at(100))
	if got := barsText(t, row.Bars, start); !strings.Contains(got, "80 more attempts that are not drawn one by one") || len(row.Bars) > 3*mostAttempts {
		t.Errorf("%d bars: %s", len(row.Bars), got)
	}
}

func barsText(t *testing.T, bars []layout.Bar, start time.Time) string {
	t.Helper()
	var parts []string
	end := start
	for _, b := range bars {
		if b.From.Before(end) || !b.To.After(b.From) {
			t.Errorf("a bar from %v to %v after %v", b.From, b.To, end)
		}
		end = b.To
		text, _, _ := strings.Cut(b.Tooltip, "\n")
		text += fmt.Sprintf(" %g-%g", b.From.Sub(start).Seconds(), b.To.Sub(start).Seconds())
		if b.Failed {
			text += "!"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}
