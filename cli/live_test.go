package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jobcontrol/jobcontrol"
)

// noon is when the pictures of the tests are drawn.
var noon = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// starts makes a live with a build of each job, all of them running for 3 s.
func starts(jobs ...string) *live {
	l := &live{}
	for i, job := range jobs {
		l.event(jobcontrol.Event{Kind: jobcontrol.EventStarted, Attempt: 1, Build: &jobcontrol.Build{ID: int64(i + 1), Job: job}}, noon.Add(-3*time.Second))
	}
	return l
}

// node is a node of a progress tree.
func node(name string, current, total int64, status string, children ...*jobcontrol.ProgressNode) *jobcontrol.ProgressNode {
	n := &jobcontrol.ProgressNode{Name: name, Current: current, Total: total, Status: status, Children: children}
	if total > 0 {
		n.Percent = float64(current) / float64(total)
	}
	return n
}

// steps are a number of nodes of which some are complete.
func steps(done, all int) (nodes []*jobcontrol.ProgressNode) {
	for i := range all {
		n := node(fmt.Sprintf("step %d", i+1), 0, 10, "")
		if i < done {
			n = node(n.Name, 10, 10, "")
		}
		nodes = append(nodes, n)
	}
	return nodes
}

// looks compares a picture with the one wanted.
func looks(t *testing.T, l *live, width, height int, want string) {
	t.Helper()
	got := strings.Join(l.lines(noon, width, height), "\n")
	if diff := cmp.Diff(strings.Trim(want, "\n"), got); diff != "" {
		t.Errorf("%d × %d (-want +got):\n%s", width, height, diff)
	}
}

func TestLive(t *testing.T) {
	l := starts("crawl", "quiet", "mail")
	l.report(1, node("", 3, 8, "example.com", node("pages", 3, 4, "fetching", node("a", 1, 1, ""), node("b", 2, 3, "slow")), node("images", 0, 4, "")))
	l.report(3, node("", 12, 0, "")) // of nobody knows how many
	looks(t, l, 80, 30, `
crawl     ━━━━━━━━━───────────────   37%  example.com  0:00:03
  pages   ━━━━━━━━━━━━━━━━━━──────   75%  fetching
    a     ━━━━━━━━━━━━━━━━━━━━━━━━  100%
    b     ━━━━━━━━━━━━━━━━────────   66%  slow
  images  ────────────────────────    0%
quiet                                                  0:00:03
mail                                      12           0:00:03`)
	looks(t, l, 40, 30, `
crawl     ━━────   37%  examp…  0:00:03
  pages   ━━━━──   75%  fetch…
    a     ━━━━━━  100%
    b     ━━━━──   66%  slow
  images  ──────    0%
quiet                           0:00:03
mail                    12      0:00:03`)
	looks(t, l, 20, 30, `
crawl      37%
  pages    75%
    a     100%
    b      66%
  images    0%
quiet
mail`)
	// What there is no room for is counted; first goes what is complete.
	looks(t, l, 60, 12, `
crawl    ━━━━━━━━──────────────   37%  example.com  0:00:03
  pages  ━━━━━━━━━━━━━━━━──────   75%  fetching
    b    ━━━━━━━━━━━━━━────────   66%  slow
  and 2 more
quiet                                               0:00:03
mail                                   12           0:00:03`)
	looks(t, l, 80, 3, "")
	looks(t, l, 0, 0, "")
	looks(t, &live{}, 80, 30, "")
}

// TestLiveStory follows a build through everything that can happen to it.
func TestLiveStory(t *testing.T) {
	l := &live{}
	b := jobcontrol.Build{ID: 7, Job: "site", StartedAt: noon.Add(-time.Hour - time.Minute)}
	tell := func(k jobcontrol.EventKind, attempt int) {
		// The clock of the store is an hour behind.
		l.event(jobcontrol.Event{Kind: k, Build: &b, Attempt: attempt, Time: noon.Add(-time.Hour)}, noon)
	}
	l.event(jobcontrol.Event{Kind: jobcontrol.EventRun}, noon)
	looks(t, l, 60, 30, "")
	tell(jobcontrol.EventStarted, 1)
	looks(t, l, 60, 30, "site  0:01:00")
	b.ReadyAt = noon.Add(-time.Hour + 90*time.Second)
	tell(jobcontrol.EventRetried, 1)
	looks(t, l, 60, 30, "site  again in 0:01:30  0:01:00")
	if ids := l.shown(30); len(ids) != 0 {
		t.Errorf("the progress of %v is asked for though nothing is executed", ids)
	}
	tell(jobcontrol.EventStarted, 2)
	looks(t, l, 60, 30, "site  attempt 2  0:01:00")
	if diff := cmp.Diff([]int64{7}, l.shown(30)); diff != "" {
		t.Error(diff)
	}
	tell(jobcontrol.EventFinished, 2)
	looks(t, l, 60, 30, "")
	l.report(7, node("", 1, 1, "")) // too late
	looks(t, l, 60, 30, "")
	tell(jobcontrol.EventCleanup, 3)
	looks(t, l, 60, 30, "site  clean-up  0:00:00")
	tell(jobcontrol.EventCleaned, 3)
	looks(t, l, 60, 30, "")
}

// TestLiveBounds holds that a picture is never larger than it may be, and made of
// text only, whatever the jobs report and however the window is.
func TestLiveBounds(t *testing.T) {
	hostile := []string{
		"", "plain", "日本語の仕事がたくさんあります", strings.Repeat("e\u0301", 50), "🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀", strings.Repeat("x", 1024),
		"\x1b[2J\x1b]0;title\x07 \x1b]52;c;YQ==\x07 \x1b[31mred\x1b[0m \u009b2J \r\n\t\x01 \u202e end", "a\nb\nc\nd", "\xff\xfe", "\x1b[10A",
	}
	for jobs := range 6 {
		names := make([]string, jobs*jobs)
		for i := range names {
			names[i] = hostile[i%len(hostile)]
		}
		l := starts(names...)
		for i := range names {
			if i%3 == 2 {
				continue
			}
			text := hostile[(i*7+3)%len(hostile)]
			deep := node(text, 1<<53, 1, text)
			for range jobcontrol.MaxProgressDepth {
				deep = node(text, 0, 1, text, append(steps(i, 2*i), deep)...)
			}
			l.report(int64(i+1), deep)
		}
		for _, depth := range []colourDepth{noColours, basicColours, cubeColours, allColours} {
			l.depth = depth
			for width := 0; width < 140; width += 1 + width/4 {
				for height := 0; height < 60; height += 1 + height/3 {
					bounded(t, l, width, height)
				}
			}
		}
	}
}

func bounded(t *testing.T, l *live, columns, height int) {
	t.Helper()
	lines := l.lines(noon, columns, height)
	if len(lines) > height/2 {
		t.Fatalf("%d lines in a window of %d × %d", len(lines), columns, height)
	}
	if len(lines) == 0 && len(l.rows) > 0 && columns >= leastWidth && height >= leastHeight {
		t.Fatalf("%d jobs, and no picture in a window of %d × %d", len(l.rows), columns, height)
	}
	for _, text := range lines {
		if bad := dangerous(text); len(bad) > 0 || strings.Contains(text, "\n") || l.depth == noColours && strings.Contains(text, "\x1b") {
			t.Fatalf("a line steers the terminal: %q", text)
		}
		if w := width(visible(text)); w >= columns {
			t.Fatalf("a line of %d columns in a window of %d: %q", w, columns, text)
		}
	}
}

// TestLiveMany holds what is shown when there is more than room.
func TestLiveMany(t *testing.T) {
	l := starts("a", "b", "c", "d", "e", "f")
	looks(t, l, 40, 8, "a  0:00:03\nb  0:00:03\nc  0:00:03\nand 3 more")
	if diff := cmp.Diff([]int64{1, 2, 3}, l.shown(8)); diff != "" {
		t.Error(diff)
	}
	looks(t, starts("a", "b"), 40, 4, "a  0:00:03\nb  0:00:03")

	// Nested lines share the room that is left; complete ones go first.
	l = starts("a", "b")
	l.report(1, node("", 5, 100, "", steps(5, 100)...))
	l.report(2, node("", 0, 2, "", steps(0, 2)...))
	got := strings.Join(l.lines(noon, 40, 16), "\n")
	for i, want := range []string{"a ", "  step 6 ", "  step 7 ", "  step 8 ", "  and 97 more", "b ", "  step 1 ", "  step 2 "} {
		if l := strings.Split(got, "\n"); len(l) != 8 || !strings.HasPrefix(l[i], want) {
			t.Fatalf("line %d does not begin with %q:\n%s", i, want, got)
		}
	}
}

// TestProgressColour holds JobControl's colours of a progress.
func TestProgressColour(t *testing.T) {
	for part, want := range map[float64]string{0: "38;2;204;40;40", 0.25: "38;2;204;122;40", 0.5: "38;2;204;204;40", 1: "38;2;40;204;40"} {
		if got := allColours.progress(part); got != want {
			t.Errorf("%v: %s, want %s", part, got, want)
		}
	}
	for part, want := range map[float64]string{0: "38;5;160", 0.5: "38;5;184", 1: "38;5;40"} {
		if got := cubeColours.progress(part); got != want {
			t.Errorf("%v: %s, want %s", part, got, want)
		}
	}
	if text, painted := basicColours.bar(0.99, 4); text != "━━━─" || painted != "\x1b[32m━━━\x1b[0m\x1b[2m─\x1b[0m" {
		t.Errorf("%q, %q", text, painted)
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		in   string
		n    int
		want string
	}{
		{"abc", 3, "abc"},
		{"abcd", 3, "ab…"},
		{"日本語", 6, "日本語"},
		{"日本語", 5, "日本…"},
		{"日本語", 4, "日…"},
		{"日本語", 1, "…"},
		{"abc", 0, ""},
		{"e\u0301e\u0301e\u0301", 2, "e\u0301…"},
	} {
		if got := cut(c.in, c.n); got != c.want {
			t.Errorf("cut(%q, %d) = %q, want %q", c.in, c.n, got, c.want)
		}
	}
}
