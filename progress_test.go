package jobcontrol_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jobcontrol/jobcontrol"
)

func report(path string, current, total int64) jobcontrol.Progress {
	return jobcontrol.Progress{Path: jobcontrol.ProgressPath(path), Current: &current, Total: &total}
}

// show is a tree on one line: name current/total percent [children].
func show(n *jobcontrol.ProgressNode) string {
	s := fmt.Sprintf("%s %d/%d %.0f%%", n.Name, n.Current, n.Total, n.Percent*100)
	for _, c := range n.Children {
		s += " [" + show(c) + "]"
	}
	return strings.TrimSpace(s)
}

func TestProgressTree(t *testing.T) {
	one := int64(7)
	for name, c := range map[string]struct {
		reports []jobcontrol.Progress
		want    string
	}{
		"JC-V3: the root sums its children": {
			[]jobcontrol.Progress{report("A", 0, 10), report("B", 0, 10)},
			"0/20 0% [A 0/10 0%] [B 0/10 0%]",
		},
		"JC-V4: two levels": {
			[]jobcontrol.Progress{report("f1::downloading", 50, 100), report("f1::extracting", 0, 100), report("f2::downloading", 0, 100), report("f2::extracting", 0, 100)},
			"50/400 12% [f1 50/200 25% [downloading 50/100 50%] [extracting 0/100 0%]] [f2 0/200 0% [downloading 0/100 0%] [extracting 0/100 0%]]",
		},
		"JC-V5: the root itself":  {[]jobcontrol.Progress{report("", 20, 100)}, "20/100 20%"},
		"a later report replaces": {[]jobcontrol.Progress{report("A", 1, 10), report("B", 1, 10), report("A", 5, 10)}, "6/20 30% [A 5/10 50%] [B 1/10 10%]"},
		"explicit values win each by itself": {
			[]jobcontrol.Progress{report("A", 1, 10), {Current: &one}},
			"7/10 70% [A 1/10 10%]",
		},
		"no total": {[]jobcontrol.Progress{report("A", 3, 0)}, "3/0 0% [A 3/0 0%]"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, show(jobcontrol.ProgressTree(c.reports))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	var many []jobcontrol.Progress
	for i := range 5000 {
		many = append(many, report(fmt.Sprint(i), 1<<53, 1<<53))
	}
	if n := jobcontrol.ProgressTree(many); n.Current != 1<<53 || n.Total != 1<<53 || n.Percent != 1 {
		t.Errorf("the sum of %d large numbers is %d/%d, %v", len(many), n.Current, n.Total, n.Percent)
	}
	if jobcontrol.ProgressTree(nil) != nil {
		t.Error("a tree of nothing must be nil")
	}
}

func TestClampProgress(t *testing.T) {
	p := report(strings.Repeat("deep::", 9999)+"end", -5, 1<<60)
	p.Status = strings.Repeat("ü", 2000)
	p = jobcontrol.ClampProgress(p)
	if len(p.Path) != jobcontrol.MaxProgressDepth || *p.Current != 0 || *p.Total != 1<<53 || len(p.Status) > 1024 {
		t.Errorf("not clamped: %d names, %d of %d, %d bytes", len(p.Path), *p.Current, *p.Total, len(p.Status))
	}
	for _, name := range p.Path {
		if len(name) > 128 {
			t.Errorf("a name of %d bytes", len(name))
		}
	}
}
