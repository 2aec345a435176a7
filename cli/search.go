package cli

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

// searchOptions are the flags of `search`.
type searchOptions struct {
	logOptions
	text  string
	job   string
	limit int
}

func newSearch(e *environment) *cobra.Command {
	var o searchOptions
	cmd := &cobra.Command{
		Use:   "search TEXT",
		Short: "Search the logs of all builds",
		Long: `Search the logs of all builds, or those of one job, for a text, exactly as it is
written. The newest builds come first; of each, its lines in their order: build,
job, time, level, and the line around the text. With --format json, one document
on each line.`,
		Example: `  jobcontrol search "connection refused"
  jobcontrol search timeout --job crawl --since 24h --level warning`,
		Args: arguments(1, 1, "a text"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.text = args[0]; o.text == "" {
				return usage("", "there is nothing to search for: the text is empty")
			}
			if o.limit < 0 {
				return usage("", "--limit %d is negative; 0 means all", o.limit)
			}
			return searchLogs(cmd.Context(), e, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.job, "job", "", "only builds of this `job`")
	f.StringVar(&o.level, "level", "", "only records of this `level` or above: debug, info, warning, error, critical")
	f.StringVar(&o.since, "since", "", "only records from this `time` on: RFC 3339, 2006-01-02 15:04:05, or 10m for ten minutes ago")
	f.StringVar(&o.until, "until", "", "only records before this `time`")
	f.IntVar(&o.limit, "limit", 100, "at most so many lines; 0: all")
	_ = cmd.RegisterFlagCompletionFunc("level", cobra.FixedCompletions([]string{"debug", "info", "warning", "error", "critical"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("job", e.completeJobs)
	return cmd
}

// foundJSON is a line that was found.
type foundJSON struct {
	Build  int64                `json:"build"`
	Job    string               `json:"job"`
	Run    int64                `json:"run"`
	Record jobcontrol.LogRecord `json:"record"`
}

func searchLogs(ctx context.Context, e *environment, o searchOptions) error {
	records, err := o.filter(time.Now())
	if err != nil {
		return err
	}
	s, err := e.open(ctx, needStore, 0)
	if err != nil {
		return err
	}
	defer s.close()
	started := true
	// What was created after the window has no record in it.
	builds := jobcontrol.BuildFilter{Project: s.project, Job: o.job, Started: &started, Until: records.Until, Limit: buildPage, Brief: true}
	p := &searcher{streams: e.streams, text: o.text, limit: o.limit}
	some := false
	err = eachBuild(ctx, s.client, builds, func(b *jobcontrol.Build) (bool, error) {
		some = true
		err := p.search(ctx, s.client, b, records)
		return err == nil && !p.full() && !e.gone(), err
	})
	p.flush()
	if err != nil {
		return err
	}
	if !some && o.job != "" {
		if err := s.checkJob(ctx, o.job); err != nil {
			return err
		}
	}
	switch {
	case p.full():
		e.tell(fmt.Sprintf("only the first %d; more with --limit\n", o.limit))
	case p.found == 0 && !e.json():
		e.printf("nothing found")
	}
	return nil
}

// searcher shows the records that have a text.
type searcher struct {
	*streams
	text  string
	limit int // 0: none
	found int
	buf   strings.Builder
	fault error
}

func (p *searcher) full() bool { return p.limit > 0 && p.found >= p.limit }

// search searches the log of a build. Of a line that goes on in the next record
// its end is kept, so that what begins in one and ends in the other is found.
func (p *searcher) search(ctx context.Context, c jobcontrol.Reader, b *jobcontrol.Build, f jobcontrol.LogFilter) error {
	ends := map[string]string{} // by logger
	err := c.Log(ctx, b.ID, f, func(r jobcontrol.LogRecord) bool {
		text := ends[r.Logger] + r.Message
		at := strings.Index(text, p.text)
		delete(ends, r.Logger)
		if at < 0 {
			if r.Continued { // with what is shown in front
				ends[r.Logger] = strings.Clone(text[max(0, len(text)-len(p.text)-4*shownBefore):])
			}
			return true
		}
		p.found++
		p.show(b, r, text, at)
		return p.fault == nil && !p.full() && !p.gone()
	})
	if jobcontrol.CodeOf(err) == jobcontrol.NotFound { // it was deleted meanwhile
		err = nil
	}
	if err == nil {
		err = p.fault
	}
	return err
}

// How much of a line is shown: characters before the text, of it, and after it.
const (
	shownBefore = 60
	shownText   = 80
	shownAfter  = 80
)

func (p *searcher) show(b *jobcontrol.Build, r jobcontrol.LogRecord, text string, at int) {
	if p.json() {
		data, err := encodeJSON(foundJSON{b.ID, b.Job, b.Run, r}, "")
		if err != nil {
			p.fault = err
			return
		}
		p.buf.Write(data)
	} else {
		end := at + len(p.text)
		fmt.Fprintf(&p.buf, "#%d %s %s %s %s%s%s\n", b.ID, line(b.Job), r.Time.Local().Format("2006-01-02 15:04:05.000"),
			p.paint(levelColour(r.Level), fmt.Sprintf("%-8s", r.Level)),
			clipLeft(text[max(0, at-4*shownBefore):at], shownBefore, at > 4*shownBefore),
			p.paint(highlight, clip(line(text[at:end]), shownText)), clip(line(text[end:min(len(text), end+8*shownAfter)]), shownAfter))
	}
	if p.buf.Len() >= logChunk {
		p.flush()
	}
}

func (p *searcher) flush() {
	if p.buf.Len() > 0 {
		p.print(p.buf.String())
		p.buf.Reset()
	}
}

// highlight is the SGR number of inverse video.
const highlight = 7

// clipLeft is text on one line, of which at most the last n characters are kept,
// an ellipsis in front; cut: the text is itself the end of something longer.
func clipLeft(text string, n int, cut bool) string {
	for cut && text != "" && !utf8.RuneStart(text[0]) {
		text = text[1:]
	}
	shown := []rune(line(text))
	if !cut && len(shown) <= n {
		return string(shown)
	}
	return "…" + string(shown[max(0, len(shown)-n+1):])
}
