package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jobcontrol/jobcontrol"
)

func TestDuration(t *testing.T) {
	for _, c := range []struct {
		seconds int
		want    string
	}{
		{0, "0:00:00"},
		{59, "0:00:59"},
		{3600, "1:00:00"},
		{90061, "1 day, 1:01:01"},
		{172800, "2 days, 0:00:00"},
	} {
		if got := duration(time.Duration(c.seconds) * time.Second); got != c.want {
			t.Errorf("duration(%d s) = %q, want %q", c.seconds, got, c.want)
		}
	}
}

func TestElapsed(t *testing.T) {
	for _, c := range []struct {
		d    time.Duration
		want string
	}{
		{-time.Second, "0 ms"},
		{999 * time.Microsecond, "0 ms"},
		{12 * time.Millisecond, "12 ms"},
		{1250 * time.Millisecond, "1.2 s"},
		{59990 * time.Millisecond, "59.9 s"},
		{200 * time.Second, "3 min 20 s"},
		{25 * time.Hour, "1 day, 1:00:00"},
	} {
		if got := elapsed(c.d); got != c.want {
			t.Errorf("elapsed(%v) = %q, want %q", c.d, got, c.want)
		}
	}
}

func TestVisible(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"plain text", "a\tb\nc", "a\tb\nc"},
		{"colours go", "\x1b[1;31mred\x1b[0m", "red"},
		{"clear screen", "\x1b[2Jx", `\x1b[2Jx`},
		{"title", "\x1b]0;owned\x07", `\x1b]0;owned\x07`},
		{"clipboard", "\x1b]52;c;YQ==\x1b\\", `\x1b]52;c;YQ==\x1b\`},
		{"C1 control", "\u009b2J", `\u009b2J`},
		{"C1 as a byte", "\x9b2J", `\x9b2J`},
		{"delete", "a\x7f", `a\x7f`},
		{"carriage return", "10%\r20%", `10%\x0d20%`},
		{"other systems' line ends", "a\r\nb\r\n", "a\nb\n"},
		{"bidi override", "a\u202eb", `a\u202eb`},
		{"invalid UTF-8", "a\xffb", `a\xffb`},
		{"NUL", "a\x00", `a\x00`},
		{"letters and pictures", "é 日本 👩‍💻", "é 日本 👩‍💻"},
		{"endless colour", "\x1b[" + strings.Repeat("1", 100) + "m", `\x1b[` + strings.Repeat("1", 100) + "m"},
	} {
		if got := visible(c.in); got != c.want {
			t.Errorf("%s: visible(%q) = %q, want %q", c.name, c.in, got, c.want)
		}
	}
}

func TestLine(t *testing.T) {
	if got, want := line("one\r\ntwo\tthree\n"), "one⏎two three"; got != want {
		t.Errorf("line = %q, want %q", got, want)
	}
}

func TestClip(t *testing.T) {
	if got, want := clip("abcdef", 4), "abc…"; got != want {
		t.Errorf("clip = %q, want %q", got, want)
	}
	if got, want := clip("äöüß", 4), "äöüß"; got != want {
		t.Errorf("clip = %q, want %q", got, want)
	}
}

func TestTable(t *testing.T) {
	s := newStreams(nil, nil, nil, func(string) string { return "" })
	tab := newTable("Id", "Title")
	tab.add("日本", "wide")
	tab.add(cell{text: "7", right: true}, "right\nedge")
	tab.add("long id", "")
	want := "Id       Title\n日本     wide\n      7  right⏎edge\nlong id\n"
	if diff := cmp.Diff(want, tab.render(s)); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	s.colour = true
	tab = newTable()
	tab.add(stateCell(jobcontrol.Failed), "x")
	if got, want := tab.render(s), "\x1b[31mfailed\x1b[0m  x\n"; got != want {
		t.Errorf("coloured table = %q, want %q", got, want)
	}
}

func TestProgressText(t *testing.T) {
	if got := progressText(nil); got != "N/A" {
		t.Errorf("progressText(nil) = %q", got)
	}
	if got, want := progressText(&jobcontrol.ProgressNode{Current: 20, Total: 100, Percent: 0.2}), "20/100 (20%)"; got != want {
		t.Errorf("progressText = %q, want %q", got, want)
	}
}

// TestTerminalGuard holds that whatever is written to a terminal has no control
// sequences but colours.
func TestTerminalGuard(t *testing.T) {
	var out bytes.Buffer
	if n, err := (guarded{&out}).Write([]byte("\x1b[31mred\x1b[0m \x1b]0;x\x07\n")); err != nil || n != 20 {
		t.Errorf("Write = %d, %v", n, err)
	}
	if got, want := out.String(), "\x1b[31mred\x1b[0m \\x1b]0;x\\x07\n"; got != want {
		t.Errorf("terminal got %q, want %q", got, want)
	}
}

func TestPhaseLines(t *testing.T) {
	no := &jobcontrol.Failure{Message: "no"}
	for _, c := range []struct {
		phase  jobcontrol.Phase
		passed bool
		want   string
	}{
		{jobcontrol.PhaseCheck, true, "Pop Corn.check: pass\n"},
		{jobcontrol.PhaseCheck, false, "Pop Corn.check: fail\n"},
		{jobcontrol.PhaseRun, true, "Pop Corn.run: pass\n"},
		{jobcontrol.PhaseRun, false, "Pop Corn.run: fail\n"},
		{jobcontrol.PhaseRecheck, true, "Pop Corn.recheck: pass\n"},
		{jobcontrol.PhaseRecheck, false, "Pop Corn.recheck: fail \"no\"\n"},
		{jobcontrol.PhaseCleanup, true, "Pop Corn.cleanup: pass\n"},
		{jobcontrol.PhaseCleanup, false, "Pop Corn.cleanup: fail \"no\"\n"},
	} {
		f := no
		if c.passed {
			f = nil
		}
		if got := phaseLine("Pop Corn", c.phase, c.passed, f); got != c.want {
			t.Errorf("%s: %q, want %q", c.phase, got, c.want)
		}
	}
}

// TestDebugLines holds which events --debug and -v show: DoJobber's.
func TestDebugLines(t *testing.T) {
	job := &jobcontrol.Job{ID: "A"}
	fail := &jobcontrol.Failure{Message: "one\ntwo"}
	events := []jobcontrol.Event{
		{Kind: jobcontrol.EventPhase, Job: job, Phase: jobcontrol.PhaseCheck, Failure: fail},
		{Kind: jobcontrol.EventPhase, Job: job, Phase: jobcontrol.PhaseRun, Failure: fail},
		{Kind: jobcontrol.EventPhase, Job: job, Phase: jobcontrol.PhaseRecheck, Passed: true},
		{Kind: jobcontrol.EventCleanup, Job: job},
		{Kind: jobcontrol.EventCleaned, Job: job, Passed: true},
		{Kind: jobcontrol.EventCleaned, Job: job, Failure: fail},
	}
	for _, c := range []struct {
		name string
		o    executeOptions
		want string
	}{
		{"quiet", executeOptions{}, "A.cleanup: fail \"one\ntwo\"\n"},
		{"verbose", executeOptions{verbose: true}, "A.check: fail\nA.run: fail\nA.recheck: pass\nA.cleanup: fail \"one\ntwo\"\n"},
		{"debug", executeOptions{debug: true}, "A.check: fail\nA.run: fail\n  Error was:\n  one\n  two\nA.recheck: pass\n" +
			"A.cleanup running\nA.cleanup: pass\nA.cleanup: fail \"one\ntwo\"\n"},
	} {
		var errs bytes.Buffer
		w := &watcher{streams: newStreams(nil, nil, &errs, func(string) string { return "" }), executeOptions: c.o}
		for _, e := range events {
			w.event(e)
		}
		if diff := cmp.Diff(c.want, errs.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestSummary(t *testing.T) {
	yes, no := true, false
	s := newStreams(nil, nil, nil, func(string) string { return "" })
	at := time.Unix(1000, 0)
	builds := []jobcontrol.Build{
		{State: jobcontrol.Successful, Changed: &yes},
		{State: jobcontrol.Successful, Changed: &no},
		{State: jobcontrol.Failed},
		{State: jobcontrol.Blocked},
	}
	r := &jobcontrol.Run{
		ID: 12, State: jobcontrol.RunPartial, CreatedAt: at, FinishedAt: at.Add(1200 * time.Millisecond),
		Counts: jobcontrol.Counts{jobcontrol.Successful: 2, jobcontrol.Failed: 1, jobcontrol.Blocked: 1},
	}
	if got, want := summary(s, r, builds, nil), "run 12 partial: 4 jobs, 1 changed, 1 already done, 1 failed, 1 blocked, 1.2 s\n"; got != want {
		t.Errorf("summary = %q, want %q", got, want)
	}
	r.State, r.Counts = jobcontrol.RunSuccessful, jobcontrol.Counts{jobcontrol.Successful: 1}
	if got, want := summary(s, r, builds[1:2], nil), "run 12 successful: 1 job, 0 changed, 1 already done, 0 failed, 1.2 s\nnothing had to be changed\n"; got != want {
		t.Errorf("summary = %q, want %q", got, want)
	}
}

func TestValue(t *testing.T) {
	for text, want := range map[string]any{
		"12": int64(12), "1.5": 1.5, "true": true, "null": nil, `"12"`: "12", "hello": "hello", "": "",
		`[1,"a"]`: []any{int64(1), "a"}, "{bad": "{bad",
	} {
		if diff := cmp.Diff(want, value(text)); diff != "" {
			t.Errorf("value(%q) (-want +got):\n%s", text, diff)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"0": 0, "1.5": 1500 * time.Millisecond, "5m": 5 * time.Minute, "1h30m": 90 * time.Minute} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("parseDuration(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "x", "-1", "-5m", "NaN", "Inf", "1e300"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("parseDuration(%q) = %v, want an error", text, got)
		}
	}
}

func TestMoment(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"":                       {},
		"2026-01-31T08:00:00Z":   time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC),
		"2026-01-31T08:00:00.5Z": time.Date(2026, 1, 31, 8, 0, 0, 5e8, time.UTC),
		"2026-01-31 08:00":       time.Date(2026, 1, 31, 8, 0, 0, 0, time.Local).UTC(),
		"10m":                    now.Add(-10 * time.Minute),
	} {
		if got, err := moment("--since", text, now); err != nil || !got.Equal(want) {
			t.Errorf("moment(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	if _, err := moment("--since", "yesterday", now); jobcontrol.CodeOf(err) != jobcontrol.Invalid {
		t.Errorf("moment(yesterday): %v", err)
	}
}
