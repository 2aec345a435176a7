package cli

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// changeJSON is a value that differs between two definitions, results or builds.
type changeJSON struct {
	Path string   `json:"path"`
	Old  any      `json:"old"`  // null: it was not there
	New  any      `json:"new"`  // null: it is not there any more
	Diff []string `json:"diff"` // of a text of lines and a command: "-…" went, "+…" came, " …" stayed
}

// comparison collects what differs between two JSON values.
type comparison struct {
	whole   bool // lists are compared as one value
	changes []changeJSON
}

// compareDefinitions returns what differs between two definitions of a job.
func compareDefinitions(old, now *jobcontrol.Job) ([]changeJSON, error) {
	var values [2]any
	for i, j := range []*jobcontrol.Job{old, now} {
		body, _, err := j.Definition()
		if err != nil {
			return nil, err
		}
		if values[i], err = jobcontrol.DecodeJSON(body); err != nil {
			return nil, err
		}
	}
	c := comparison{whole: true}
	c.compare("", values[0], values[1])
	for i := range c.changes {
		c.changes[i].Diff = definitionDiff(&c.changes[i])
	}
	return c.changes, nil
}

// compareJSON returns the paths at which two JSON texts differ; empty is null.
func compareJSON(old, now json.RawMessage) ([]changeJSON, error) {
	var values [2]any
	for i, data := range []json.RawMessage{old, now} {
		if len(data) == 0 {
			continue
		}
		var err error
		if values[i], err = jobcontrol.DecodeJSON(data); err != nil {
			return nil, err
		}
	}
	var c comparison
	c.compare("", values[0], values[1])
	return c.changes, nil
}

func (c *comparison) compare(path string, old, now any) {
	if reflect.DeepEqual(old, now) {
		return
	}
	if c.whole { // a task that one of them lacks is told by its parts
		old, now = orEmptyMap(old, now), orEmptyMap(now, old)
	}
	oldMap, ok := old.(map[string]any)
	nowMap, both := now.(map[string]any)
	if ok && both && !isPlaceholder(oldMap) && !isPlaceholder(nowMap) {
		keys := append(sortedKeys(oldMap), sortedKeys(nowMap)...)
		slices.Sort(keys)
		for _, k := range slices.Compact(keys) {
			was, had := oldMap[k]
			is, has := nowMap[k]
			if had != has && was == nil && is == nil { // null is not nothing
				c.add(joinPath(path, k), was, is)
				continue
			}
			c.compare(joinPath(path, k), was, is)
		}
		return
	}
	oldList, ok := old.([]any)
	nowList, both := now.([]any)
	if ok && both && !c.whole {
		for i := range max(len(oldList), len(nowList)) {
			at := fmt.Sprintf("%s[%d]", path, i)
			switch {
			case i >= len(oldList):
				c.add(at, nil, nowList[i])
			case i >= len(nowList):
				c.add(at, oldList[i], nil)
			default:
				c.compare(at, oldList[i], nowList[i])
			}
		}
		return
	}
	c.add(path, old, now)
}

// orEmptyMap is v, or an empty mapping where v is nothing and other a mapping with something in it.
func orEmptyMap(v, other any) any {
	if m, ok := other.(map[string]any); ok && v == nil && len(m) > 0 && !isPlaceholder(m) {
		return map[string]any{}
	}
	return v
}

func (c *comparison) add(path string, old, now any) {
	c.changes = append(c.changes, changeJSON{Path: path, Old: old, New: now, Diff: []string{}})
}

// isPlaceholder tells whether a mapping stands for a result or a secret.
func isPlaceholder(m map[string]any) bool {
	return len(m) == 1 && (m["$retval"] != nil || m["$secret"] != nil)
}

func joinPath(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// definitionDiff is the difference of a text or a command line by line; empty
// where old and new are better shown beside each other.
func definitionDiff(c *changeJSON) []string {
	field := c.Path[strings.LastIndexByte(c.Path, '.')+1:]
	old, oldOK := linesOf(c.Old)
	now, nowOK := linesOf(c.New)
	if !oldOK || !nowOK || field != "shell" && field != "command" && len(old) < 2 && len(now) < 2 {
		return []string{}
	}
	if _, list := c.Old.([]any); list && field != "command" {
		return []string{}
	}
	if _, list := c.New.([]any); list && field != "command" {
		return []string{}
	}
	return diffLines(old, now)
}

// linesOf are the lines of a text, or the words of a command.
func linesOf(v any) ([]string, bool) {
	switch v := v.(type) {
	case nil:
		return nil, true
	case string:
		return strings.Split(strings.TrimRight(v, "\n"), "\n"), true
	case []any:
		out := make([]string, len(v))
		for i, w := range v {
			text, ok := w.(string)
			if !ok {
				return nil, false
			}
			out[i] = shellWord(text)
		}
		return out, true
	}
	return nil, false
}

// mostDiff bounds the table of the longest common subsequence; beyond it the
// lines between a common beginning and a common end are all told as changed.
const mostDiff = 1 << 20

// diffLines returns old's and now's lines as one list: " " stayed, "-" went, "+" came.
func diffLines(old, now []string) []string {
	out := []string{}
	begin := 0
	for begin < len(old) && begin < len(now) && old[begin] == now[begin] {
		out = append(out, " "+old[begin])
		begin++
	}
	a, b := old[begin:], now[begin:]
	end := 0
	for end < len(a) && end < len(b) && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	tail := a[len(a)-end:]
	a, b = a[:len(a)-end], b[:len(b)-end]
	common := commonLines(a, b)
	i, k := 0, 0
	for i < len(a) || k < len(b) {
		switch {
		case common != nil && i < len(a) && k < len(b) && a[i] == b[k]:
			out = append(out, " "+a[i])
			i, k = i+1, k+1
		case i < len(a) && (k == len(b) || common == nil || common[i+1][k] >= common[i][k+1]):
			out = append(out, "-"+a[i])
			i++
		default:
			out = append(out, "+"+b[k])
			k++
		}
	}
	for _, text := range tail {
		out = append(out, " "+text)
	}
	return out
}

// commonLines is the table of how many lines a[i:] and b[k:] have in common, or
// nil where it would be too large.
func commonLines(a, b []string) [][]int32 {
	if (len(a)+1)*(len(b)+1) > mostDiff {
		return nil
	}
	table := make([][]int32, len(a)+1)
	for i := range table {
		table[i] = make([]int32, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for k := len(b) - 1; k >= 0; k-- {
			if a[i] == b[k] {
				table[i][k] = table[i+1][k+1] + 1
			} else {
				table[i][k] = max(table[i+1][k], table[i][k+1])
			}
		}
	}
	return table
}

// mostChanges is how many changes are shown to people.
const mostChanges = 100

// changesText shows changes: a line for each, or the difference of its lines.
func (e *environment) changesText(changes []changeJSON) string {
	var b strings.Builder
	for i, c := range changes {
		if i == mostChanges {
			fmt.Fprintf(&b, "    and %d more: --format json has them all\n", len(changes)-i)
			break
		}
		name := line(c.Path)
		if name == "" {
			name = "all of it"
		}
		if len(c.Diff) == 0 {
			fmt.Fprintf(&b, "    %s: %s → %s\n", name, changedValue(c.Path, c.Old), changedValue(c.Path, c.New))
			continue
		}
		fmt.Fprintf(&b, "    %s:\n", name)
		for _, l := range c.Diff {
			colour := plain
			switch l[0] {
			case '-':
				colour = red
			case '+':
				colour = green
			}
			b.WriteString("      " + e.paint(colour, l[:1]+" "+line(l[1:])) + "\n")
		}
	}
	return b.String()
}

// changedValue is a value of a definition or a result as a person reads it.
func changedValue(path string, v any) string {
	const most = 80
	if v == nil {
		return "not set"
	}
	if n, ok := v.(int64); ok && slices.Contains([]string{"timeout", "soft_timeout", "grace", "retry_delay"}, path) {
		return time.Duration(n).String()
	}
	text := literal(v)
	if data, err := encodeJSON(v, ""); err == nil {
		if decoded, err := jobcontrol.DecodeArguments(data); err == nil {
			text = literal(decoded)
		}
	}
	return clip(line(text), most)
}
