package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

// logOptions are the flags of `builds log`.
type logOptions struct {
	build        int64
	follow       bool
	tail         int
	level        string
	since, until string
}

func newBuildsLog(e *environment) *cobra.Command {
	var o logOptions
	cmd := &cobra.Command{
		Use:   "log N",
		Short: "Show the log of a build",
		Long: `Show what a build logged and what its commands wrote: time, level, logger (stdout
and stderr for commands) and message.

On a terminal control characters are shown as escapes; a pipe or a file gets the
bytes as they were written. With --format json, one document on each line.`,
		Example: `  jobcontrol builds log 12
  jobcontrol builds log -f 12               # go on until it has ended
  jobcontrol builds log -n 20 12            # the last 20 records
  jobcontrol builds log 12 --level warning --since "2026-01-31 08:00"`,
		Args: arguments(1, 1, "the number of a build"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := e.buildNumber(cmd, args[0])
			if err != nil {
				return err
			}
			if o.tail < 0 {
				return usage("", "--tail %d is negative; 0 means all", o.tail)
			}
			o.build = id
			return showLog(cmd.Context(), e, o)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.follow, "follow", "f", false, "go on until the build has ended")
	f.IntVarP(&o.tail, "tail", "n", 0, "only the last `N` records; 0: all")
	f.StringVar(&o.level, "level", "", "only records of this `level` or above: debug, info, warning, error, critical")
	f.StringVar(&o.since, "since", "", "only records from this `time` on: RFC 3339, 2006-01-02 15:04:05, or 10m for ten minutes ago")
	f.StringVar(&o.until, "until", "", "only records before this `time`")
	_ = cmd.RegisterFlagCompletionFunc("level", cobra.FixedCompletions([]string{"debug", "info", "warning", "error", "critical"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (o *logOptions) filter(now time.Time) (f jobcontrol.LogFilter, err error) {
	if o.level != "" {
		if f.MinLevel, err = jobcontrol.ParseLevel(o.level); err != nil {
			return f, err
		}
	}
	if f.Since, err = moment("--since", o.since, now); err != nil {
		return f, err
	}
	f.Until, err = moment("--until", o.until, now)
	return f, err
}

// moment reads a time; "" is the zero time.
func moment(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t.UTC(), nil
	}
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t.UTC(), nil
		}
	}
	if d, err := parseDuration(text); err == nil {
		return now.Add(-d).UTC(), nil
	}
	return time.Time{}, usage(`such as 2026-01-31T08:00:00Z, "2026-01-31 08:00", or 10m for ten minutes ago`, "%s %q is no time", flag, text)
}

const (
	followPause = 200 * time.Millisecond // between two looks at a followed log
	rescueEvery = 10                     // looks between two looks for programs that died
)

func showLog(ctx context.Context, e *environment, o logOptions) error {
	f, err := o.filter(time.Now())
	if err != nil {
		return err
	}
	f.Tail = o.tail
	s, err := e.open(ctx, needStore, 0)
	if err != nil {
		return err
	}
	defer s.close()
	p := &logPrinter{streams: e.streams}
	shown := false
	for look := 1; ; look++ {
		final := true
		if o.follow {
			// First the state, then the log: what has ended has no more records.
			if final, err = s.ended(ctx, o.build, look%rescueEvery == 0); err != nil {
				return orRun(ctx, s.client, err, o.build)
			}
		}
		err := s.client.Log(ctx, o.build, f, func(r jobcontrol.LogRecord) bool {
			f.AfterSeq, shown = r.Seq, true
			p.record(r)
			return p.fault == nil && !e.gone()
		})
		f.Tail = 0 // what follows is shown whole
		p.flush(final)
		switch {
		case err != nil:
			return orRun(ctx, s.client, err, o.build)
		case p.fault != nil:
			return p.fault
		case final || e.gone():
			if !shown && !e.json() && !e.gone() {
				return s.noRecords(ctx, e, o.build)
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(followPause):
		}
	}
}

// noRecords tells that no record of a build was to be shown.
func (s *opened) noRecords(ctx context.Context, e *environment, id int64) error {
	b, err := s.client.Build(ctx, id)
	if err != nil {
		return err
	}
	if silent(b) && emptyLog(ctx, s.client, b) {
		e.note("%s", (&moreHint{}).of(ctx, s.client, b))
		return nil
	}
	e.note("there are no log records of build %d here", id)
	return nil
}

// ended tells whether nobody executes a build any more: it is final, or the
// program that executed its Run died.
func (s *opened) ended(ctx context.Context, id int64, rescue bool) (bool, error) {
	if rescue {
		if err := s.rescue(ctx); err != nil {
			return false, err
		}
	}
	b, err := s.client.Build(ctx, id)
	if err != nil || b.State.Final() {
		return true, err
	}
	run, err := s.client.Run(ctx, b.Run)
	if err != nil {
		return true, err
	}
	return run.State == jobcontrol.RunInterrupted || run.State.Final(), nil
}

// logPrinter shows log records.
type logPrinter struct {
	*streams
	buf   strings.Builder
	fault error
	open  string // the logger whose line is not ended yet
}

// logChunk is how much is collected before it is written.
const logChunk = 32 << 10

func (p *logPrinter) record(r jobcontrol.LogRecord) {
	if p.json() {
		data, err := encodeJSON(r, "")
		if err != nil {
			p.fault = err
			return
		}
		p.buf.Write(data)
	} else {
		p.line(r)
	}
	if p.buf.Len() >= logChunk {
		p.print(p.buf.String())
		p.buf.Reset()
	}
}

// line shows a record; one that goes on in the next one of its logger has no end.
func (p *logPrinter) line(r jobcontrol.LogRecord) {
	message := r.Message
	if p.terminal {
		message = visible(message)
	}
	if p.open == r.Logger && p.open != "" {
		p.buf.WriteString(message)
	} else {
		p.endLine()
		fmt.Fprintf(&p.buf, "%s %s %s: ", r.Time.Local().Format("2006-01-02 15:04:05.000"), p.paint(levelColour(r.Level), fmt.Sprintf("%-8s", r.Level)), logger(r))
		if r.Dropped > 0 {
			fmt.Fprintf(&p.buf, "[%d bytes were not kept: the log had grown too large] ", r.Dropped)
		}
		p.buf.WriteString(message)
		p.attrs(r)
	}
	p.open = r.Logger
	if !r.Continued {
		p.endLine()
	}
}

func (p *logPrinter) attrs(r jobcontrol.LogRecord) {
	for _, k := range sortedKeys(r.Attrs) {
		text := " " + k + "=" + literal(r.Attrs[k])
		if p.terminal {
			text = visible(text)
		}
		p.buf.WriteString(text)
	}
}

func (p *logPrinter) endLine() {
	if p.open != "" {
		p.buf.WriteByte('\n')
		p.open = ""
	}
}

// flush writes what was collected; at the end it ends the last line.
func (p *logPrinter) flush(end bool) {
	if end {
		p.endLine()
	}
	if p.buf.Len() > 0 {
		p.print(p.buf.String())
		p.buf.Reset()
	}
}

// logger names where a record comes from; beyond the first attempt, and outside
// of the run phase, that too.
func logger(r jobcontrol.LogRecord) string {
	name := line(r.Logger)
	if name == "" {
		name = "job"
	}
	switch {
	case r.Attempt > 1:
		name += fmt.Sprintf(" (%s %d)", phaseName(r.Phase), r.Attempt)
	case r.Phase != "" && r.Phase != jobcontrol.PhaseRun:
		name += fmt.Sprintf(" (%s)", phaseName(r.Phase))
	}
	return name
}

func levelColour(l jobcontrol.Level) int {
	switch {
	case l >= jobcontrol.LevelError:
		return red
	case l >= jobcontrol.LevelWarning:
		return yellow
	}
	return plain
}
