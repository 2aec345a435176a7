package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// live is what a Run does just now, and how that looks: a line for each build
// that is executed, and below it its nested progress. It knows neither terminal
// nor clock and is not safe for concurrent use.
type live struct {
	depth colourDepth
	rows  []*liveRow // in the order of their start
}

// liveRow is a build that is executed.
type liveRow struct {
	build    int64
	job      string
	began    time.Time // by the clock of this machine
	doing    string    // what it does, where it does not say so itself
	due      time.Time // until then it waits for its next attempt; zero: it is executed
	progress *jobcontrol.ProgressNode
}

// event takes an event that happens now, by the clock of this machine.
func (l *live) event(e jobcontrol.Event, now time.Time) {
	if e.Build == nil {
		return
	}
	switch e.Kind {
	case jobcontrol.EventStarted:
		r := l.row(e)
		r.doing, r.due, r.began = "", time.Time{}, now
		if !e.Build.StartedAt.IsZero() && !e.Time.IsZero() {
			r.began = now.Add(-e.Time.Sub(e.Build.StartedAt)) // the two are of the store's clock
		}
		if e.Attempt > 1 && (e.Job == nil || e.Job.ForEach == nil) {
			r.doing = fmt.Sprintf("attempt %d", e.Attempt)
		}
	case jobcontrol.EventRetried:
		r := l.row(e)
		if r.began.IsZero() {
			r.began = now
		}
		r.doing, r.due = "", now.Add(e.Build.ReadyAt.Sub(e.Time))
	case jobcontrol.EventCleanup:
		r := l.row(e)
		r.doing, r.due, r.began = "clean-up", time.Time{}, now
	case jobcontrol.EventFinished, jobcontrol.EventCleaned, jobcontrol.EventExpanded:
		l.rows = slices.DeleteFunc(l.rows, func(r *liveRow) bool { return r.build == e.Build.ID })
	}
}

// row is that of the event's build; it is made where there is none.
func (l *live) row(e jobcontrol.Event) *liveRow {
	for _, r := range l.rows {
		if r.build == e.Build.ID {
			return r
		}
	}
	r := &liveRow{build: e.Build.ID, job: line(e.Build.Job)}
	l.rows = append(l.rows, r)
	return r
}

// shown are the builds that have a line of their own, by id.
func (l *live) shown(height int) []int64 {
	var ids []int64
	for _, it := range l.items(height / 2) {
		if it.row != nil && it.node == nil && it.row.due.IsZero() {
			ids = append(ids, it.row.build)
		}
	}
	return ids
}

// report takes the progress of a build; of one that has ended it is too late.
func (l *live) report(build int64, p *jobcontrol.ProgressNode) {
	for _, r := range l.rows {
		if r.build == build {
			r.progress = p
		}
	}
}

// The smallest window that has room for a picture, and the widest picture.
const (
	leastWidth  = 10
	leastHeight = 4
	mostWidth   = 120 // what stands further right is hard to follow
)

// lines is the picture for a window: at most half as many lines as it has, each
// shorter than it is wide, without the ends of lines.
func (l *live) lines(now time.Time, width, height int) []string {
	if width < leastWidth || height < leastHeight || len(l.rows) == 0 {
		return nil
	}
	items := l.items(height / 2)
	for i := range items {
		items[i].describe(now)
	}
	c := columnsFor(items, min(width-1, mostWidth))
	out := make([]string, len(items))
	for i := range items {
		out[i] = l.line(&items[i], c)
	}
	return out
}

// liveItem is a line of the picture: a build (node nil), a node of its progress,
// or (row nil) a sentence.
type liveItem struct {
	row   *liveRow
	node  *jobcontrol.ProgressNode
	depth int
	name  string // or the sentence

	status, age string
	percent     string
	part        float64 // 0 to 1; -1: there is no bar
}

// items are the lines of the picture: the builds come first, what room is left
// is shared by their nested progress.
func (l *live) items(room int) []liveItem {
	rows, rest := l.rows, 0
	if len(rows) > room {
		rest = len(rows) - max(room-1, 0)
		rows = rows[:len(rows)-rest]
	}
	shares := make([]int, len(rows))
	if rest == 0 {
		shares = share(rows, room-len(rows))
	}
	var out []liveItem
	for i, r := range rows {
		out = append(out, liveItem{row: r, name: r.job})
		out = append(out, nested(r, shares[i])...)
	}
	switch {
	case rest > 0 && len(rows) == 0:
		out = append(out, liveItem{name: plural(rest, "job") + " at work"})
	case rest > 0:
		out = append(out, liveItem{name: fmt.Sprintf("and %d more", rest)})
	}
	return out
}

// share gives each row in turn a line until nobody wants one or none is left.
func share(rows []*liveRow, room int) []int {
	shares, wanted := make([]int, len(rows)), make([]int, len(rows))
	for i, r := range rows {
		if r.progress != nil && r.due.IsZero() {
			wanted[i] = count(r.progress) - 1
		}
	}
	for given := true; given && room > 0; {
		given = false
		for i := range rows {
			if room > 0 && shares[i] < wanted[i] {
				shares[i]++
				room--
				given = true
			}
		}
	}
	return shares
}

// count is how many nodes a tree has; no tree is deeper than MaxProgressDepth.
func count(n *jobcontrol.ProgressNode) int {
	sum := 1
	for _, c := range n.Children {
		sum += count(c)
	}
	return sum
}

// nested are the nodes of a build's progress in at most room lines. Where it does
// not fit, what is complete is left out first.
func nested(r *liveRow, room int) []liveItem {
	if room == 0 {
		return nil
	}
	all := count(r.progress) - 1
	if all <= room {
		return flatten(r, r.progress, 1, false, nil)
	}
	out := flatten(r, r.progress, 1, true, nil)
	out = out[:min(len(out), room-1)]
	return append(out, liveItem{name: fmt.Sprintf("and %d more", all-len(out)), depth: 1})
}

// flatten appends the nodes below n; open: without those that are complete.
func flatten(r *liveRow, n *jobcontrol.ProgressNode, depth int, open bool, out []liveItem) []liveItem {
	for _, c := range n.Children {
		if !open || !complete(c) {
			out = append(out, liveItem{row: r, node: c, depth: depth, name: line(c.Name)})
			out = flatten(r, c, depth+1, open, out)
		}
	}
	return out
}

// complete tells whether a node and everything below it has reached its total.
func complete(n *jobcontrol.ProgressNode) bool {
	return n.Total > 0 && n.Current >= n.Total && !slices.ContainsFunc(n.Children, func(c *jobcontrol.ProgressNode) bool { return !complete(c) })
}

// describe fills in what the line says beside its name.
func (it *liveItem) describe(now time.Time) {
	it.part = -1
	if it.row == nil {
		return
	}
	n := it.node
	if n == nil {
		n = it.row.progress
		it.status = it.row.doing
		it.age = duration(max(0, now.Sub(it.row.began)))
		if !it.row.due.IsZero() {
			it.status = "again at once"
			if wait := it.row.due.Sub(now); wait > time.Second {
				it.status = "again in " + duration(wait)
			}
			return
		}
	}
	if n == nil {
		return
	}
	if text := line(n.Status); text != "" {
		it.status = text
	}
	switch {
	case n.Total > 0:
		it.part = min(max(n.Percent, 0), 1)
		it.percent = fmt.Sprintf("%3d%%", int(it.part*100))
	case n.Current > 0 && it.status == "":
		it.status = itoa(n.Current) // of nobody knows how many
	}
}

// columns are the widths of the columns of the picture; 0: it has no such one.
type columns struct{ name, bar, percent, status, age, all int }

// gap is between two columns.
const gap = 2

// columnsFor shares the width: the name comes first, then percent, age, bar, and
// what is left has the status line.
func columnsFor(items []liveItem, all int) columns {
	c := columns{all: all}
	name, age, status, bars := 0, 0, 0, false
	for i := range items {
		it := &items[i]
		if it.row != nil {
			name = max(name, 2*it.depth+width(it.name))
		}
		age, status, bars = max(age, width(it.age)), max(status, width(it.status)), bars || it.part >= 0
	}
	c.name = min(name, mostNames, max(leastNames, all/3))
	rest := all - c.name
	take := func(least, most int) int {
		if rest < least+gap {
			return 0
		}
		n := min(most, rest-gap)
		rest -= n + gap
		return n
	}
	if bars {
		c.percent = take(4, 4)
	}
	c.age = take(age, age)
	if bars {
		c.bar = take(6, min(24, max(6, (rest-min(status, 24)-2*gap))))
	}
	if status > 0 {
		c.status = take(min(status, 4), status)
	}
	return c
}

// line is one line of the picture.
func (l *live) line(it *liveItem, c columns) string {
	indent := strings.Repeat(" ", min(2*it.depth, c.all/2))
	if it.row == nil {
		return l.depth.faint(cut(indent+it.name, c.all))
	}
	if len(indent)+width(it.name) > c.name { // of a deep node's name some is seen, too
		indent = indent[:min(len(indent), c.name/2)]
	}
	name := indent + cut(it.name, c.name-len(indent))
	var b strings.Builder
	b.WriteString(name)
	space := c.name - width(name) // is only written where something follows
	put := func(columns int, painted, text string) {
		if columns == 0 {
			return
		}
		space += gap
		if text != "" {
			b.WriteString(strings.Repeat(" ", space) + painted)
			space = 0
		}
		space += columns - width(text)
	}
	bar, painted := "", ""
	if it.part >= 0 && c.bar > 0 {
		bar, painted = l.depth.bar(it.part, c.bar)
	}
	put(c.bar, painted, bar)
	put(c.percent, it.percent, it.percent)
	status := cut(it.status, c.status)
	put(c.status, status, status)
	if it.age != "" {
		space += c.age - width(it.age)
	}
	put(c.age, l.depth.faint(it.age), it.age)
	return b.String()
}

// cut shortens a line to n columns of a terminal, the last of them an ellipsis.
func cut(s string, n int) string {
	switch {
	case n <= 0:
		return ""
	case width(s) <= n:
		return s
	}
	used := 0
	for i, r := range s {
		w := width(string(r))
		if used+w > n-1 {
			return s[:i] + "…"
		}
		used += w
	}
	return s
}
