//go:build linux

package chaos

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// told makes a story of a Run of two builds with clean-up steps, and of a lone
// one that was held, in which every promise holds; change may break one.
func told(t *testing.T, change func(lines []Entry, builds []*chapter, runs []*jobcontrol.Run) []Entry) *story {
	t.Helper()
	x := func(kind string, build, fence int64, phase, what string) Entry {
		return Entry{Kind: kind, Run: map[int64]int64{11: 10, 12: 10, 20: 20}[build], Build: build, Fence: fence, Phase: phase, What: what}
	}
	lines := []Entry{
		{Kind: entryCall, ID: "1", Op: "create", Key: "k1", N: 2},
		{Kind: entryAnswer, ID: "1", Op: "create", Key: "k1", IDs: []int64{10, 11, 12}},
		x(entryStart, 11, 5, "run", ""), x(entryTry, 11, 5, "run", "shared"), x(entryDone, 11, 5, "run", "shared"), x(entryEnd, 11, 5, "run", ""),
		x(entryStart, 12, 6, "run", ""), x(entryTry, 12, 6, "run", "shared"), x(entryDone, 12, 6, "run", "shared"), x(entryEnd, 12, 6, "run", ""),
		x(entryStart, 12, 7, "cleanup", ""), x(entryEnd, 12, 7, "cleanup", ""), x(entryStart, 11, 8, "cleanup", ""), x(entryEnd, 11, 8, "cleanup", ""),
		{Kind: entrySeen, Run: 10, Build: 11, State: "successful", Attempt: 1, Fence: 5, N: 1e6},
		{Kind: entryCall, ID: "2", Op: "create", Key: "k2", N: 1},
		{Kind: entryAnswer, ID: "2", Op: "create", Key: "k2", IDs: []int64{20, 20}},
		{Kind: entryCall, ID: "3", Op: "hold", Build: 20},
		{Kind: entryAnswer, ID: "3", Op: "hold", Build: 20, State: "held"},
		{Kind: entryCall, ID: "4", Op: "release", Build: 20},
		x(entryStart, 20, 9, "run", ""), x(entryTry, 20, 9, "run", "shared"), x(entryDone, 20, 9, "run", "shared"), x(entryEnd, 20, 9, "run", ""),
	}
	lines[6].Prev = 5
	build := func(id, run int64, job, key string, fence int64) *chapter {
		b := &chapter{Build: jobcontrol.Build{
			ID: id, Run: run, Job: job, State: jobcontrol.Successful, Tries: 3, TriesUsed: 1, Attempts: 1, Cleaned: job != "go",
			CreatedAt: time.UnixMicro(1e5), FinishedAt: time.UnixMicro(1e6),
		}}
		b.in, b.out, b.shared = workIn{K: key, Do: doOK}, workOut{Fence: fence, Attempt: 1}, fence
		b.attempts = []jobcontrol.Attempt{{Build: id, Number: 1, Claim: fence}}
		b.logs = []jobcontrol.LogRecord{{Seq: 1, Message: "fence 5 begins"}}
		b.logs[0].Message = "fence " + string(rune('0'+fence)) + " begins"
		b.progress = []jobcontrol.Progress{{Status: "fence " + string(rune('0'+fence))}}
		if job != "go" {
			b.cleanups = []jobcontrol.Attempt{{Build: id, Number: 2, Cleanup: true}}
		}
		return b
	}
	builds := []*chapter{build(11, 10, "clean0", "k1", 5), build(12, 10, "clean1", "k1", 6), build(20, 20, "go", "k2", 9)}
	builds[1].Pins = map[string]int64{"clean0": 11}
	runs := []*jobcontrol.Run{
		{ID: 10, State: jobcontrol.RunSuccessful, Counts: jobcontrol.Counts{jobcontrol.Successful: 2}, FinishedAt: time.UnixMicro(1e6)},
		{ID: 20, State: jobcontrol.RunSuccessful, Counts: jobcontrol.Counts{jobcontrol.Successful: 1}, FinishedAt: time.UnixMicro(1e6)},
	}
	if change != nil {
		lines = change(lines, builds, runs)
	}
	return examined(lines, builds, runs)
}

// examined is a story that was checked.
func examined(lines []Entry, builds []*chapter, runs []*jobcontrol.Run) *story {
	s := &story{runs: map[int64]*jobcontrol.Run{}, builds: map[int64]*chapter{}, members: map[int64][]*chapter{}, figures: Figures{}}
	s.index(lines)
	for _, r := range runs {
		s.runs[r.ID] = r
	}
	for _, b := range builds {
		if b.ID == 0 {
			continue // it was made away with
		}
		s.builds[b.ID], s.order = b, append(s.order, b.ID)
		s.members[b.Run] = append(s.members[b.Run], b)
	}
	s.check()
	return s
}

// TestCheckerNotices holds that the checker finds nothing where nothing is wrong,
// and each broken promise.
func TestCheckerNotices(t *testing.T) {
	if s := told(t, nil); len(s.found) > 0 {
		t.Fatalf("nothing is wrong, and it found %+v", s.found)
	}
	type entries = []Entry
	type chapters = []*chapter
	type list = []*jobcontrol.Run
	insert := func(l entries, at int, e Entry) entries { return slices.Insert(slices.Clone(l), at, e) }
	late := Entry{Kind: entryStart, Run: 10, Build: 11, Fence: 99, Phase: "run"}
	for name, test := range map[string]struct {
		rule   string
		change func(entries, chapters, list) entries
	}{
		"a build is gone":         {"lost", func(l entries, b chapters, _ list) entries { b[2].ID = 0; return l }},
		"a Run is two":            {"twice", func(l entries, b chapters, _ list) entries { b[2].in.K = "k1"; return l }},
		"not final":               {"lost", func(l entries, b chapters, _ list) entries { b[2].State = jobcontrol.Running; return l }},
		"another end than seen":   {"twice", func(l entries, b chapters, _ list) entries { b[0].FinishedAt = time.UnixMicro(2e6); return l }},
		"an end nobody asked for": {"twice", func(l entries, b chapters, _ list) entries { b[2].State = jobcontrol.Cancelled; return l }},
		"executed after its end":  {"twice", func(l entries, _ chapters, _ list) entries { return append(l, late) }},
		"a dependant too early": {"order", func(l entries, _ chapters, _ list) entries {
			l[5], l[8] = l[8], l[5]
			l[3], l[6] = l[6], l[3]
			return l
		}},
		"another result":       {"order", func(l entries, _ chapters, _ list) entries { l[6].Prev = 4; return l }},
		"too many tries":       {"tries", func(l entries, b chapters, _ list) entries { b[2].TriesUsed = 4; return l }},
		"lost too often":       {"tries", func(l entries, b chapters, _ list) entries { b[2].Lost = 5; return l }},
		"a stale result":       {"stale", func(l entries, b chapters, _ list) entries { b[2].attempts[0].Claim = 10; return l }},
		"a stale Shared value": {"stale", func(l entries, b chapters, _ list) entries { b[2].shared = 3; return l }},
		"stale progress":       {"stale", func(l entries, b chapters, _ list) entries { b[2].progress[0].Status = "fence 3"; return l }},
		"a stale log record": {"stale", func(l entries, b chapters, _ list) entries {
			b[2].logs = append(b[2].logs, jobcontrol.LogRecord{Seq: 2, Message: "fence 3 ends"})
			return l
		}},
		"a stale write acknowledged": {"stale", func(l entries, b chapters, _ list) entries {
			l = insert(l, 3, Entry{Kind: entryStart, Run: 10, Build: 11, Fence: 3, Phase: "run"})
			l = insert(l, 5, Entry{Kind: entryTry, Run: 10, Build: 11, Fence: 3, Phase: "run", What: "shared"})
			return insert(l, 6, Entry{Kind: entryDone, Run: 10, Build: 11, Fence: 3, Phase: "run", What: "shared"})
		}},
		"a counter's value twice": {"stale", func(l entries, _ chapters, _ list) entries {
			e := Entry{Kind: entryDone, Run: 10, Build: 11, Fence: 5, Phase: "run", What: "count", N: 1}
			return insert(insert(l, 4, e), 4, e)
		}},
		"commands overlap": {"overlap", func(l entries, _ chapters, _ list) entries {
			return insert(l, 4, Entry{Kind: entryOverlap, Run: 10, Build: 11, Fence: 5, What: "command"})
		}},
		"a Run is not final": {"final", func(l entries, _ chapters, r list) entries { r[0].State = jobcontrol.RunCleaning; return l }},
		"a Run counts wrongly": {"final", func(l entries, _ chapters, r list) entries {
			r[0].Counts = jobcontrol.Counts{jobcontrol.Successful: 3}
			return l
		}},
		"a clean-up is missing": {"lost", func(l entries, b chapters, _ list) entries { b[0].Cleaned = false; return l }},
		"clean-up first in":     {"order", func(l entries, _ chapters, _ list) entries { l[10], l[12] = l[12], l[10]; return l }},
		"unique at a time":      {"unique", func(l entries, b chapters, _ list) entries { b[0].Unique, b[2].Unique = "u", "u"; return l }},
		"executed while held":   {"answer", func(l entries, _ chapters, _ list) entries { l[19], l[20] = l[20], l[19]; return l }},
	} {
		t.Run(name, func(t *testing.T) {
			s := told(t, test.change)
			if !slices.ContainsFunc(s.found, func(v Violation) bool { return v.Rule == test.rule }) {
				text, _ := json.Marshal(s.found)
				t.Errorf("the checker did not find that %q is broken: %s", test.rule, text)
			}
		})
	}
}

// TestFigures holds that figures are told in one order.
func TestFigures(t *testing.T) {
	f := Figures{"b": 2, "a": 1}
	f.add(Figures{"b": 1})
	if got := f.String(); got != "a 1, b 3" || strings.Contains(got, "\n") {
		t.Error(got)
	}
}
