package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jobcontrol/jobcontrol"
)

// logs is a client that has one log.
type logs struct {
	jobcontrol.Reader
	records []jobcontrol.LogRecord
	read    int
}

// Log knows only filters by Tail.
func (l *logs) Log(_ context.Context, _ int64, f jobcontrol.LogFilter, yield func(jobcontrol.LogRecord) bool) error {
	for _, r := range l.records[max(0, len(l.records)-f.Tail):] {
		if l.read++; !yield(r) {
			break
		}
	}
	return nil
}

// TestLastLog: the last lines of a log are found without reading all of it, also
// behind a long clean-up step, and of long lines their beginnings.
func TestLastLog(t *testing.T) {
	var many, long, cleaned []jobcontrol.LogRecord
	for i := range 100_000 {
		many = append(many, jobcontrol.LogRecord{Logger: "stdout", Message: fmt.Sprintf("line %d\n", i)})
		cleaned = append(cleaned, jobcontrol.LogRecord{Logger: "stdout", Message: "cleaning", Phase: jobcontrol.PhaseCleanup})
	}
	for i := range 7 {
		for n := range 200 {
			long = append(long, jobcontrol.LogRecord{Logger: "stdout", Message: fmt.Sprintf("line %d, part %d", i, n), Continued: n < 199})
		}
	}
	for name, c := range map[string]struct {
		records []jobcontrol.LogRecord
		want    string
		most    int
	}{
		"nothing":  {nil, "", 0},
		"few":      {many[:3], "line 0|line 1|line 2", 3},
		"five":     {many[:5], "line 0|line 1|line 2|line 3|line 4", 5},
		"many":     {many, "line 99995|line 99996|line 99997|line 99998|line 99999", 100},
		"clean-up": {slices.Concat(many[:9], cleaned[:1000]), "line 4|line 5|line 6|line 7|line 8", 3000},
		"long":     {long, "line 2, part 0|line 3, part 0|line 4, part 0|line 5, part 0|line 6, part 0", 5000},
	} {
		l := &logs{records: c.records}
		last, err := lastLog(t.Context(), l, 1)
		if got := strings.Join(last, "|"); err != nil || got != c.want {
			t.Errorf("%s: %s, %v; want %s", name, got, err, c.want)
		}
		if l.read > c.most {
			t.Errorf("%s: %d records are read", name, l.read)
		}
	}
}

// TestMoreHint: of a failed build its log is named, or, where that is empty, what
// else has more; what to do where nothing has, once.
func TestMoreHint(t *testing.T) {
	code := 1
	failed := func(message string, code *int) *jobcontrol.Build {
		return &jobcontrol.Build{ID: 7, State: jobcontrol.Failed, Failure: &jobcontrol.Failure{Message: message, ExitCode: code}}
	}
	var more moreHint
	for _, c := range []struct {
		name    string
		build   *jobcontrol.Build
		records []jobcontrol.LogRecord
		want    string
	}{
		{"a command that wrote", failed("exit status 1", &code), []jobcontrol.LogRecord{{Message: "one"}}, "jobcontrol builds log 7"},
		{"a command that wrote nothing", failed("exit status 1", &code), nil, "its log is empty; `set -x` at the beginning of a script has its commands logged"},
		{"another one", failed("exit status 1", &code), nil, "its log is empty"},
		{"one that told why", failed("no such customer", &code), nil, "jobcontrol builds show 7"},
		{"a function", failed("exit status 1", nil), nil, "jobcontrol builds show 7"},
	} {
		if got := more.of(t.Context(), &logs{records: c.records}, c.build); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
