package cli

import (
	"fmt"
	"strings"

	"github.com/jobcontrol/jobcontrol"
)

// faint is the SGR number of what counts less.
const faint = 2

// failureText is why a build failed: its message, its causes, and its whole stack.
func (s *streams) failureText(b *jobcontrol.Build) string {
	f := b.Failure
	text := s.paintLines("    ", red, visible(f.Message))
	details := []string{s.paint(red, string(f.Kind))}
	if f.Phase != "" {
		details = append(details, "in "+phaseName(f.Phase))
	}
	if f.ExitCode != nil {
		details = append(details, fmt.Sprintf("exit status %d", *f.ExitCode))
	}
	if f.Signal != "" {
		details = append(details, "killed by "+line(f.Signal))
	}
	if f.Report != "" {
		details = append(details, "report "+line(f.Report))
	}
	text += "    (" + strings.Join(details, ", ") + ")\n"
	for i, c := range f.Causes {
		text += indent(strings.Repeat("  ", min(i, mostIndent))+"      ", s.paint(yellow, "caused by: ")+visible(c))
	}
	if len(f.Frames) > 0 {
		text += "\n    Traceback (most recent call last):\n\n" + indent("    ", stackView{streams: s}.text(f.Frames))
	}
	return text + fmt.Sprintf("    hint: jobcontrol builds log %d\n", b.ID)
}

// messageText is a failure's message and, of its causes, what the message does not
// say already: of a job whose recheck decided, why its run failed.
func (s *streams) messageText(prefix, message string, causes []string) string {
	text := s.paintLines(prefix, red, visible(message))
	for _, c := range causes {
		if !strings.Contains(message, c) {
			text += indent(prefix, s.paint(yellow, "caused by: ")+visible(c))
			message += "\n" + c // nor does it say the causes of a cause
		}
	}
	return text
}

// mostIndent is how many causes are each further to the right than the one before.
const mostIndent = 8

// Of a failure in a summary: how many causes and calls, and how many lines before and after the failing one.
const (
	fewCauses = 3
	fewFrames = 5
	fewLines  = 2
)

// failureSummary is why a build failed in a few lines of at most so many columns;
// the first one goes on after what the caller has written.
func (s *streams) failureSummary(f *jobcontrol.Failure, taken, columns int) string {
	if f == nil {
		return "\n"
	}
	text, kind := "", string(f.Kind)
	if f.Phase != "" {
		kind += " in " + phaseName(f.Phase)
	}
	text += ": " + s.paint(yellow, kind)
	if f.Message != "" {
		text += ": " + s.paint(red, cut(line(f.Message), max(20, columns-taken-len(": ")-width(kind)-len(": ")-1)))
	}
	text += "\n"
	for i, c := range f.Causes[:min(len(f.Causes), fewCauses)] {
		space := strings.Repeat("  ", i+1)
		text += space + s.paint(yellow, "caused by: ") + cut(line(c), max(20, columns-len(space)-len("caused by: ")-1)) + "\n"
	}
	if more := len(f.Causes) - fewCauses; more > 0 {
		text += "  … and " + plural(more, "more cause") + "\n"
	}
	frames := f.Frames
	if more := len(frames) - fewFrames; more > 0 {
		text += "  … " + plural(more, "more call") + "\n"
		frames = frames[more:]
	}
	return text + stackView{streams: s, columns: columns - 1, brief: true}.text(frames)
}

// stackView shows a call stack. Brief: of its source only what is around the line
// that failed, and no variables.
type stackView struct {
	*streams
	columns int // 0: lines are as long as they are
	brief   bool
}

func (v stackView) text(frames []jobcontrol.Frame) string {
	failing := -1 // the innermost call whose source is known
	for i := range frames {
		if len(frames[i].Source) > 0 {
			failing = i
		}
	}
	var b strings.Builder
	for i := range frames {
		f := &frames[i]
		file, at, function := line(f.File), fmt.Sprintf(`", line %d, in `, f.Line), line(f.Function)
		if v.columns > 0 { // the ends of long names say most
			function = cutLeft(function[strings.LastIndexByte(function, '/')+1:], v.columns/3)
			file = cutLeft(file, v.columns-len(`  File "`)-len(at)-width(function))
		}
		b.WriteString("  " + v.paint(blue, `File "`+file+at) + v.paint(bold, function) + "\n")
		if !v.brief || i == failing {
			v.source(&b, f)
		}
		if !v.brief {
			v.locals(&b, f)
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// source shows the source lines of a call, with their numbers, and marks the one
// that was executed.
func (v stackView) source(b *strings.Builder, f *jobcontrol.Frame) {
	for _, l := range f.Source {
		if v.brief && (l.Line < f.Line-fewLines || l.Line > f.Line+fewLines) {
			continue
		}
		text := visible(strings.ReplaceAll(strings.TrimRight(l.Text, "\r\n"), "\t", "    "))
		number := fmt.Sprintf("%4d", l.Line)
		if v.columns > 0 {
			text = cut(text, v.columns-len("    > : ")-len(number))
		}
		if l.Line == f.Line {
			fmt.Fprintf(b, "    %s %s: %s\n", v.paint(red, ">"), v.paint(red, number), v.paint(bold, text))
			continue
		}
		b.WriteString(strings.TrimRight("      "+v.paint(faint, number)+": "+text, " ") + "\n")
	}
}

func (v stackView) locals(b *strings.Builder, f *jobcontrol.Frame) {
	if len(f.Locals) == 0 {
		return
	}
	b.WriteString("\n      Local variables:\n")
	for _, l := range f.Locals {
		fmt.Fprintf(b, "        %s = %s\n", line(l.Name), line(l.Value))
	}
}

// cutLeft keeps the end of a line, at most n columns, with an ellipsis in front.
func cutLeft(s string, n int) string {
	used := width(s)
	if used <= n {
		return s
	}
	for i, r := range s {
		if used+1 <= n {
			return "…" + s[i:]
		}
		used -= width(string(r))
	}
	return "…"
}

// paintLines puts a prefix before each line of a text and paints the rest.
func (s *streams) paintLines(prefix string, colour int, text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i := range lines {
		lines[i] = prefix + s.paint(colour, lines[i])
	}
	return strings.Join(lines, "\n") + "\n"
}
