package config

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/jobcontrol/jobcontrol"
)

// reader reads the nodes of one document and reports what is wrong with them.
type reader struct {
	*document
	report *report
	env    func(string) (string, bool)
}

// fail reports an error at a node.
func (r *reader) fail(n *yaml.Node, hint, format string, args ...any) {
	r.report.add(false, r.document, n.Line, n.Column, hint, fmt.Sprintf(format, args...))
}

// warn reports a warning at a node.
func (r *reader) warn(n *yaml.Node, hint, format string, args ...any) {
	r.report.add(true, r.document, n.Line, n.Column, hint, fmt.Sprintf(format, args...))
}

// deref follows aliases.
func deref(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// entry is a key of a mapping with its value.
type entry struct {
	name  string
	key   *yaml.Node
	value *yaml.Node
}

// entries returns what a mapping has, in order; keys merged with << come last. It is nil,
// with an error reported, for what is no mapping. Keys that are no texts are reported and left out.
func (r *reader) entries(n *yaml.Node, what string) []entry {
	if !r.isMapping(n, what) {
		return nil
	}
	return r.pairs(deref(n), false)
}

// scalarEntries is entries where keys may also be numbers, booleans and null, read as what is written.
func (r *reader) scalarEntries(n *yaml.Node, what string) []entry {
	if !r.isMapping(n, what) {
		return nil
	}
	return r.pairs(deref(n), true)
}

func (r *reader) isMapping(n *yaml.Node, what string) bool {
	n = deref(n)
	if n.Kind == yaml.MappingNode && !custom(n) {
		return true
	}
	r.fail(n, "", "%s must be a mapping, not %s", what, kindName(n))
	return false
}

func (r *reader) pairs(n *yaml.Node, scalars bool) []entry {
	out := make([]entry, 0, len(n.Content)/2)
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := deref(n.Content[i]), n.Content[i+1]
		switch {
		case k.Kind != yaml.ScalarNode || !coreTag(k) && k.Tag != "!!merge":
			r.fail(k, "", "a key must be a text, not %s", kindName(k))
		case k.Tag == "!!merge":
			merged = append(merged, v)
		case !scalars && scalarKind(k) != textScalar:
			r.fail(k, fmt.Sprintf("write %q", k.Value), "a key must be a text, not %s", kindName(k))
		default:
			out = append(out, entry{k.Value, k, v})
		}
	}
	r.duplicates(out)
	for _, m := range merged {
		out = r.merge(out, m)
	}
	return out
}

func (r *reader) duplicates(list []entry) {
	if len(list) < 16 {
		for i := range list {
			for j := range i {
				if list[i].name == list[j].name {
					r.duplicate(list[j], list[i])
					break
				}
			}
		}
		return
	}
	first := make(map[string]int, len(list))
	for i, e := range list {
		if j, ok := first[e.name]; ok {
			r.duplicate(list[j], e)
		} else {
			first[e.name] = i
		}
	}
}

func (r *reader) duplicate(first, second entry) {
	p := r.position(first.key.Line, first.key.Column)
	r.fail(second.key, "", "key %q is given twice, first in line %d", second.name, p.Line)
}

// merge adds the keys of << that are not there yet.
func (r *reader) merge(list []entry, n *yaml.Node) []entry {
	n = deref(n)
	var sources []*yaml.Node
	switch n.Kind {
	case yaml.SequenceNode:
		sources = n.Content
	default:
		sources = []*yaml.Node{n}
	}
	for _, s := range sources {
		for _, e := range r.entries(s, "what << merges") {
			if !contains(list, e.name) {
				list = append(list, e)
			}
		}
	}
	return list
}

func contains(list []entry, name string) bool {
	for i := range list {
		if list[i].name == name {
			return true
		}
	}
	return false
}

// custom tells whether a node has a tag that is not of YAML's core schema.
func custom(n *yaml.Node) bool {
	return n.Style&yaml.TaggedStyle != 0 && n.Tag != "!!map" && n.Tag != "!!seq"
}

// unknown reports a key that nothing knows.
func (r *reader) unknown(e entry, where string, known []string) {
	if why, ok := notYet[e.name]; ok {
		message := "%q is not available in this version"
		if why == serviceHint || why == requestHint {
			message = "%q is no key of a job"
		}
		r.fail(e.key, why, message, e.name)
		return
	}
	hint, name := "", strings.ToLower(e.name)
	near := synonyms[name]
	if !slices.Contains(known, near) {
		near = jobcontrol.Nearest(name, known)
	}
	if near != "" {
		hint = fmt.Sprintf("did you mean %q? ", near)
	}
	r.fail(e.key, hint+"Keys of your own go under `meta:`", "unknown key %q in %s", e.name, where)
}

// synonyms are what other programs call some of our keys.
var synonyms = map[string]string{
	"depends": "dependencies", "depends_on": "dependencies", "needs": "dependencies", "requires": "dependencies",
	"cmd": "run", "command": "run", "script": "run", "exec": "run", "shell": "run", "steps": "run", "task": "run",
	"name": "id", "description": "notes", "labels": "tags", "environment": "env", "vars": "env", "secrets": "secret",
	"dir": "cwd", "workdir": "cwd", "working_dir": "cwd", "working_directory": "cwd",
	"retries": "tries", "retry": "tries", "max_retries": "tries", "attempts": "tries", "delay": "retry_delay",
	"queue": "service", "store": "storage", "database": "storage", "includes": "include", "import": "include",
	"test": "check", "unless": "check", "creates": "check", "always": "cleanup", "finally": "cleanup", "parameters": "kwargs", "arguments": "args",
	"foreach": "for_each", "with_items": "for_each", "loop": "for_each", "matrix": "for_each",
}

// noKey reports a key that nothing knows, where there are none of one's own.
func (r *reader) noKey(e entry, where string, known []string) {
	hint := "known are " + strings.Join(known, ", ")
	if near := jobcontrol.Nearest(strings.ToLower(e.name), known); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	r.fail(e.key, hint, "unknown key %q in %s", e.name, where)
}

// notYet are keys of features that do not exist yet, with a hint.
var notYet = map[string]string{
	"cron": scheduleHint, "crontab": scheduleHint, "every": scheduleHint, "at": scheduleHint, "after": scheduleHint,
	"schedule": scheduleHint, "schedules": scheduleHint, "time_zone": scheduleHint, "catch_up": scheduleHint,
	"overlap": scheduleHint, "do": scheduleHint, "deps": scheduleHint,
	"http":     requestHint,
	"python":   "a command can: [python3, -c, …]",
	"fallback": serviceHint, "concurrency": serviceHint, "rate": serviceHint, "notify": "", "params": "",
}

const serviceHint = "it is a key of a service: `services: {NAME: {…}}`, and `service: NAME` in the job"

const requestHint = "write `run: {http: …}`"

const scheduleHint = "start `jobcontrol run` or `build` from cron or a systemd timer"

// kindName names what a node is, for errors. It never has the node's value in it.
func kindName(n *yaml.Node) string {
	n = deref(n)
	switch {
	case n.Kind == yaml.MappingNode && !custom(n):
		return "a mapping"
	case n.Kind == yaml.SequenceNode && !custom(n):
		return "a list"
	case n.Kind == yaml.ScalarNode && !strings.HasPrefix(n.Tag, "!") || strings.HasPrefix(n.Tag, "!!") || n.Tag == "!":
		switch scalarKind(n) {
		case nullScalar:
			return "nothing"
		case boolScalar:
			return "a boolean"
		case intScalar, floatScalar:
			return "a number"
		}
		return "a text"
	}
	return n.Tag
}
