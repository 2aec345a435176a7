package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/jobcontrol/jobcontrol"
)

const (
	lastLines    = 5  // of the log of a failed build
	mostFailures = 10 // that are shown with them
)

// failures shows the failed builds of a Run, each with why it failed, the end of
// its log, and the command that shows more.
func (s *streams) failures(ctx context.Context, c jobcontrol.Reader, run *jobcontrol.Run, builds []jobcontrol.Build) (string, error) {
	columns, _ := s.windowSize()
	if columns == 0 {
		columns = 80
	}
	text, shown, rest, more := "", 0, 0, moreHint{}
	for i := range builds {
		b := &builds[i]
		if b.State != jobcontrol.Failed {
			continue
		}
		if shown++; shown > mostFailures {
			rest++
			continue
		}
		lines, err := lastLog(ctx, c, b.ID)
		if err != nil {
			return "", err
		}
		if b.Failure != nil && b.Failure.Frames == nil { // those of a list may be without
			if b, err = c.Build(ctx, b.ID); err != nil {
				return "", err
			}
		}
		head := line(b.Job) + " failed"
		summary := s.failureSummary(b.Failure, width(head), columns)
		text += "\n" + s.paint(red, head) + summary
		for _, l := range lines {
			text += "  │ " + cut(l, max(20, columns-5)) + "\n"
		}
		if f := b.Failure; f != nil && f.ExitCode == nil && strings.ContainsAny(summary, "…⏎") { // what a command says is logged
			text += fmt.Sprintf("  more: jobcontrol builds show %d\n", b.ID)
			continue
		}
		text += "  more: " + more.of(ctx, c, b) + "\n"
	}
	if rest > 0 {
		text += fmt.Sprintf("\nand %d more failed; jobcontrol runs show %d lists them\n", rest, run.ID)
	}
	if text != "" {
		text += "\n"
	}
	return text, nil
}

// moreHint says what tells more of failed builds.
type moreHint struct {
	told bool // what to do where nothing does
}

// of names the log of a failed build; where that is empty, what has all of the
// failure, or, of one that is only an exit status, what to do.
func (m *moreHint) of(ctx context.Context, c jobcontrol.Reader, b *jobcontrol.Build) string {
	switch {
	case !emptyLog(ctx, c, b):
		return fmt.Sprintf("jobcontrol builds log %d", b.ID)
	case !silent(b):
		return fmt.Sprintf("jobcontrol builds show %d", b.ID)
	case m.told:
		return "its log is empty"
	}
	m.told = true
	return "its log is empty; `set -x` at the beginning of a script has its commands logged"
}

// silent tells whether all that is known of a failure is an exit status.
func silent(b *jobcontrol.Build) bool {
	f := b.Failure
	return b.State == jobcontrol.Failed && f != nil && f.ExitCode != nil && strings.HasPrefix(f.Message, "exit status ")
}

// emptyLog tells whether a build is known to have logged nothing.
func emptyLog(ctx context.Context, c jobcontrol.Reader, b *jobcontrol.Build) bool {
	empty := true
	err := c.Log(ctx, b.ID, jobcontrol.LogFilter{Tail: 1}, func(jobcontrol.LogRecord) bool {
		empty = false
		return false
	})
	return err == nil && empty
}

// lastLog is the end of what a build logged, without that of its clean-up step. It
// looks at the last records, and at more of them where these have too few lines.
func lastLog(ctx context.Context, c jobcontrol.Reader, build int64) ([]string, error) {
	for tail := 8 * lastLines; ; tail *= 16 {
		var last []string
		records, lines := 0, 0
		goesOn := map[string]bool{} // by logger: the line is not ended
		err := c.Log(ctx, build, jobcontrol.LogFilter{Tail: tail}, func(r jobcontrol.LogRecord) bool {
			records++
			begun := goesOn[r.Logger]
			goesOn[r.Logger] = r.Continued
			if !begun && r.Phase != jobcontrol.PhaseCleanup { // of a long line its beginning is enough
				lines++
				if last = append(last, r.Message); len(last) > lastLines {
					last = last[1:]
				}
			}
			return true
		})
		// The first record may be the rest of a long line: it is not to be among those that are shown.
		if err != nil || records < tail || lines > lastLines {
			for i := range last {
				last[i] = line(last[i])
			}
			return last, err
		}
	}
}
