package cli

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jobcontrol/jobcontrol"
)

// visible makes text from a job fit to be shown in a terminal: colours go, other
// control sequences and what reorders text become visible escapes. Line ends and
// tabs stay.
func visible(s string) string { return escape(s, false) }

// line is visible text on one line.
func line(s string) string {
	s = strings.TrimRight(s, "\r\n")
	if strings.ContainsAny(s, "\r\n\t") {
		s = strings.NewReplacer("\r\n", "⏎", "\n", "⏎", "\t", " ").Replace(s)
	}
	return visible(s)
}

// escape replaces everything but printable characters, line ends and tabs; it
// keeps colour sequences or drops them.
func escape(s string, keepColour bool) string {
	if harmless(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\n' || r == '\t' || r == ' ':
			b.WriteByte(s[i])
		case r == '\r' && i+1 < len(s) && s[i+1] == '\n':
			// A line end of other systems.
		case r == 0x1b:
			if m := colourSequence(s[i:]); m > 0 {
				if keepColour {
					b.WriteString(s[i : i+m])
				}
				n = m
				break
			}
			b.WriteString(`\x1b`)
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsPrint(r) || unicode.Is(unicode.Zs, r) || r == '\u200d':
			b.WriteString(s[i : i+n])
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		i += n
	}
	return b.String()
}

// harmless tells whether s is plain ASCII text.
func harmless(s string) bool {
	for i := range len(s) {
		if c := s[i]; c >= 0x7f || c < ' ' && c != '\n' && c != '\t' {
			return false
		}
	}
	return true
}

// colourSequence is the length of the SGR sequence (ESC [ digits ; … m) that s
// begins with, or 0.
func colourSequence(s string) int {
	if len(s) < 3 || s[1] != '[' {
		return 0
	}
	for i := 2; i < len(s) && i < 32; i++ {
		switch c := s[i]; {
		case c == 'm':
			return i + 1
		case c != ';' && (c < '0' || c > '9'):
			return 0
		}
	}
	return 0
}

// clip cuts a line to at most n characters, the last of them an ellipsis.
func clip(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	r := []rune(s)
	return string(r[:n-1]) + "…"
}

// clock is how JobControl shows a time, in the reader's zone; the zero time is N/A.
func clock(t time.Time) string {
	if t.IsZero() {
		return "N/A"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// duration is how JobControl shows a duration: [N day[s], ]H:MM:SS.
func duration(d time.Duration) string {
	s := int64(d / time.Second)
	text := fmt.Sprintf("%d:%02d:%02d", s/3600%24, s/60%60, s%60)
	switch days := s / 86400; {
	case days == 1:
		text = "1 day, " + text
	case days > 1:
		text = fmt.Sprintf("%d days, %s", days, text)
	}
	return text
}

// elapsed is a duration as a person says it: 12 ms, 1.2 s, 3 min 20 s.
func elapsed(d time.Duration) string {
	switch {
	case d < 0:
		return "0 ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 60*time.Second:
		return fmt.Sprintf("%.1f s", d.Truncate(100*time.Millisecond).Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return duration(d)
}

// buildDuration is how long a build took, to now while it is executed; N/A before it starts.
func buildDuration(b *jobcontrol.Build, now time.Time) string {
	if b.StartedAt.IsZero() {
		return "N/A"
	}
	return elapsed(b.Duration(now))
}

// phaseName is what a person calls a phase: expand and gather are what for_each does.
func phaseName(p jobcontrol.Phase) string {
	if p == jobcontrol.PhaseExpand || p == jobcontrol.PhaseGather {
		return "for_each"
	}
	return string(p)
}

// progressText is cur/tot (P%), or N/A where nothing was reported.
func progressText(p *jobcontrol.ProgressNode) string {
	if p == nil {
		return "N/A"
	}
	return fmt.Sprintf("%d/%d (%d%%)", p.Current, p.Total, int(p.Percent*100))
}

// plural is "1 job", "2 jobs".
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// indent puts a prefix before every line of text, and ends it with a line end.
func indent(prefix, text string) string {
	text = strings.TrimRight(text, "\n")
	return prefix + strings.ReplaceAll(text, "\n", "\n"+prefix) + "\n"
}

// orNone is text, or "none".
func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}
