//go:build linux

package chaos

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// toldOfItems makes a story of a Run of a list, a build for each of its two
// items, and one that is given their results; change may break a promise.
func toldOfItems(change func(lines []Entry, builds map[string]*chapter) []Entry) *story {
	fences := map[string]int64{"list": 3, "each0[3-0]": 4, "each0[3-1]": 5, "gather0": 6}
	ids := map[string]int64{"list": 31, "each0": 32, "each0[3-0]": 33, "each0[3-1]": 34, "gather0": 35}
	lines := []Entry{
		{Kind: entryCall, ID: "1", Op: "create", Key: "k1", N: 3},
		{Kind: entryAnswer, ID: "1", Op: "create", Key: "k1", IDs: []int64{30, 31, 32, 35}},
	}
	given := map[string]int64{"each0[3-0]": 3, "each0[3-1]": 3, "gather0": 9}
	for _, job := range []string{"list", "each0[3-0]", "each0[3-1]", "gather0"} {
		e := Entry{Kind: entryStart, Run: 30, Build: ids[job], Job: job, Fence: fences[job], Phase: "run", Prev: given[job]}
		lines = append(lines, e)
		e.Kind, e.Prev = entryEnd, 0
		lines = append(lines, e)
	}
	builds := map[string]*chapter{}
	var order []*chapter
	for _, job := range []string{"list", "each0", "each0[3-0]", "each0[3-1]", "gather0"} {
		b := &chapter{Build: jobcontrol.Build{
			ID: ids[job], Run: 30, Job: job, State: jobcontrol.Successful, Tries: 3, TriesUsed: 1, Attempts: 1, FinishedAt: time.UnixMicro(1e6),
		}, in: workIn{K: "k1", Do: doOK}}
		b.attempts = []jobcontrol.Attempt{{Build: b.ID, Number: 1, Claim: fences[job]}}
		if fence := fences[job]; fence > 0 {
			b.out, b.shared = workOut{Fence: fence, Attempt: 1}, fence
			b.logs = []jobcontrol.LogRecord{{Seq: 1, Message: fmt.Sprintf("fence %d begins", fence)}}
			b.progress = []jobcontrol.Progress{{Status: fmt.Sprintf("fence %d", fence)}}
		}
		builds[job], order = b, append(order, b)
	}
	builds["list"].out.Items = []string{"3-0", "3-1"}
	builds["each0"].Result = json.RawMessage(`{"3-0":{"fence":4,"attempt":1},"3-1":{"fence":5,"attempt":1}}`)
	builds["each0"].Pins = map[string]int64{"list": 31, "each0[3-0]": 33, "each0[3-1]": 34}
	for _, item := range []string{"each0[3-0]", "each0[3-1]"} {
		builds[item].Pins = map[string]int64{"list": 31}
	}
	builds["gather0"].Pins = map[string]int64{"each0": 32}
	if change != nil {
		lines = change(lines, builds)
	}
	run := &jobcontrol.Run{ID: 30, State: jobcontrol.RunSuccessful, Counts: jobcontrol.Counts{}, FinishedAt: time.UnixMicro(1e6)}
	for _, b := range order {
		if b.ID != 0 {
			run.Counts[b.State]++
		}
	}
	run.State = run.Counts.Outcome()
	return examined(lines, order, []*jobcontrol.Run{run})
}

// TestCheckerNoticesItems holds that the checker finds what is wrong with the
// builds of items, and nothing else.
func TestCheckerNoticesItems(t *testing.T) {
	if s := toldOfItems(nil); len(s.found) > 0 {
		t.Fatalf("nothing is wrong, and it found %+v", s.found)
	}
	type entries = []Entry
	type chapters = map[string]*chapter
	for name, test := range map[string]struct {
		rule   string
		change func(entries, chapters) entries
	}{
		"no build of an item":      {"lost", func(l entries, b chapters) entries { b["each0[3-1]"].ID = 0; return l }},
		"an item is forgotten":     {"lost", func(l entries, b chapters) entries { delete(b["each0"].Pins, "each0[3-1]"); return l }},
		"an item has two builds":   {"twice", func(l entries, b chapters) entries { b["each0"].Pins["each0[3-1]"] = 33; return l }},
		"items of another list":    {"lost", func(l entries, b chapters) entries { b["list"].out.Items = []string{"2-0", "2-1"}; return l }},
		"an item has not ended":    {"lost", func(l entries, b chapters) entries { b["each0[3-0]"].State = jobcontrol.Queued; return l }},
		"gathered without an item": {"twice", func(l entries, b chapters) entries { b["each0[3-0]"].State = jobcontrol.Failed; return l }},
		"a result is missing": {"lost", func(l entries, b chapters) entries {
			b["each0"].Result = json.RawMessage(`{"3-0":{"fence":4,"attempt":1}}`)
			return l
		}},
		"a superseded result": {"twice", func(l entries, b chapters) entries {
			b["each0"].Result = json.RawMessage(`{"3-0":{"fence":2,"attempt":1},"3-1":{"fence":5,"attempt":1}}`)
			return l
		}},
		"another result handed on": {"order", func(l entries, _ chapters) entries { l[8].Prev = 8; return l }},
		"an item before the list": {"order", func(l entries, _ chapters) entries {
			return append(l[:2:2], l[4], l[2], l[3], l[5], l[6], l[7], l[8], l[9])
		}},
		"gathered too early": {"order", func(l entries, _ chapters) entries { return append(l[:6:6], l[8], l[6], l[7], l[9]) }},
		"an item executed again": {"twice", func(l entries, _ chapters) entries {
			again := l[4]
			again.Fence = 7
			return append(slices.Clip(l), again)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := toldOfItems(test.change)
			if !slices.ContainsFunc(s.found, func(v Violation) bool { return v.Rule == test.rule }) {
				t.Errorf("the checker did not find that %q is broken: %+v", test.rule, s.found)
			}
		})
	}
}
