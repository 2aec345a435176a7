package config

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/jobcontrol/jobcontrol"
)

// values reads what a job is given: args, kwargs, env and meta.
type values struct {
	*reader
	what         string                          // how errors call it
	placeholders bool                            // !retval and !secret are allowed
	dependencies []string                        // of the job
	secret       func(n *yaml.Node, name string) // told of each !secret
	stray        func(n *yaml.Node, text string) // told of each !retval of no dependency
}

// read makes a Go value of a node: nil, bool, int64, float64, string, []any,
// map[string]any, [jobcontrol.Retval] or [jobcontrol.Secret].
func (v *values) read(n *yaml.Node) any {
	n = deref(n)
	switch n.Tag {
	case "!retval":
		return v.retval(n)
	case "!secret":
		return v.secretRef(n)
	case "!env":
		text, _ := v.environment(n)
		return text
	}
	if !coreTag(n) {
		v.fail(n, tagHint(n.Tag), "unknown tag %s", n.Tag)
		return nil
	}
	switch n.Kind {
	case yaml.SequenceNode:
		out := make([]any, len(n.Content))
		for i, c := range n.Content {
			out[i] = v.read(c)
		}
		return out
	case yaml.MappingNode:
		return v.mapping(n)
	}
	return v.scalar(n)
}

func (v *values) mapping(n *yaml.Node) map[string]any {
	list := v.entries(n, v.what)
	out := make(map[string]any, len(list))
	for _, e := range list {
		if k := deref(e.key); k.Style&quoted == 0 {
			v.surprise(k)
		}
		out[e.name] = v.read(e.value)
	}
	return out
}

func (v *values) scalar(n *yaml.Node) any {
	switch scalarKind(n) {
	case nullScalar:
		return nil
	case boolScalar:
		switch strings.ToLower(n.Value) {
		case "true":
			return true
		case "false":
			return false
		}
	case intScalar:
		if i, ok := parseInt(n.Value); ok {
			if n.Style&yaml.TaggedStyle == 0 {
				v.surprise(n)
			}
			return i
		}
		if coreInt(n.Value) {
			v.fail(n, "write it in quotes", "the number does not fit into 64 bits")
			return nil
		}
	case floatScalar:
		f, err := strconv.ParseFloat(n.Value, 64)
		if err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
			return f
		}
		if k := plainKind(n.Value); k == floatScalar || k == intScalar {
			v.fail(n, "write it in quotes", "the number cannot be written as JSON")
			return nil
		}
	default:
		if n.Style&(quoted|yaml.TaggedStyle) == 0 {
			v.surprise(n)
		}
		return n.Value
	}
	v.fail(n, "", "the value does not fit its tag %s", n.Tag)
	return nil
}

var (
	oldBoolean  = regexp.MustCompile(`^(?:y|Y|yes|Yes|YES|n|N|no|No|NO|on|On|ON|off|Off|OFF)$`)
	oldOctal    = regexp.MustCompile(`^[-+]?0[0-9]+$`)
	sexagesimal = regexp.MustCompile(`^[-+]?[0-9]+(?::[0-5]?[0-9])+(?:\.[0-9]*)?$`)
	date        = regexp.MustCompile(`^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt \t].*)?$`)
)

// surprise warns of a plain value that other tools read as something else.
func (v *values) surprise(n *yaml.Node) {
	s := n.Value
	if len(s) > 40 || s == "" {
		return
	}
	c := s[0]
	switch {
	case oldBoolean.MatchString(s) && len(s) > 1:
		v.warn(n, "write true or false, or put the text in quotes", "%s is the text %q here, not a boolean", s, s)
	case (c < '0' || c > '9') && c != '-' && c != '+':
	case oldOctal.MatchString(s):
		i, _ := parseInt(s)
		v.warn(n, "write 0o… for octal, or put the text in quotes", "%s is the number %d here, not an octal one", s, i)
	case sexagesimal.MatchString(s):
		v.warn(n, "put the text in quotes", "%s is the text %q here, not a number of minutes or seconds", s, s)
	case date.MatchString(s):
		v.warn(n, "put the text in quotes", "%s is the text %q here, not a date", s, s)
	}
}

// retval reads !retval NAME[.path] and !retval {job: NAME, path: PATH}.
func (v *values) retval(n *yaml.Node) any {
	if !v.allowed(n) {
		return nil
	}
	job, path := "", ""
	switch n.Kind {
	case yaml.ScalarNode:
		if n.Value == "" {
			v.fail(n, "write !retval NAME", "!retval needs the id of a dependency")
			return nil
		}
		var ok bool
		if job, path, ok = splitRetval(n.Value, v.dependencies); !ok {
			v.stray(n, n.Value)
			return jobcontrol.Retval{Job: n.Value}
		}
	case yaml.MappingNode:
		fields, ok := v.fields(n, "!retval", "job", "path")
		if !ok {
			return nil
		}
		if job, path = fields["job"], fields["path"]; job == "" {
			v.fail(n, "write !retval {job: NAME, path: PATH}", "!retval needs the id of a dependency")
			return nil
		}
	default:
		v.fail(n, "write !retval NAME", "!retval must be a text or a mapping, not a list")
		return nil
	}
	if !validPath(path) {
		v.fail(n, "a path is made of .name, [number] and [name], such as pages[0].url", "%q is no path into a result", path)
	}
	return jobcontrol.Retval{Job: job, Path: strings.TrimPrefix(path, ".")}
}

// splitRetval finds the longest dependency that the text begins with.
func splitRetval(text string, dependencies []string) (job, path string, ok bool) {
	for _, d := range dependencies {
		rest, found := strings.CutPrefix(text, d)
		if found && len(d) > len(job) && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			job, path, ok = d, rest, true
		}
	}
	return job, path, ok
}

var resultPath = regexp.MustCompile(`^(?:\.?[^.\[\]]+|\[[^\[\]]+\])(?:\.[^.\[\]]+|\[[^\[\]]+\])*$`)

func validPath(path string) bool { return path == "" || resultPath.MatchString(path) }

func (v *values) secretRef(n *yaml.Node) any {
	if !v.allowed(n) {
		return nil
	}
	if n.Kind != yaml.ScalarNode || n.Value == "" {
		v.fail(n, "write !secret NAME", "!secret needs the name of a secret")
		return nil
	}
	v.secret(n, n.Value)
	return jobcontrol.Secret{Name: n.Value}
}

func (v *values) allowed(n *yaml.Node) bool {
	if !v.placeholders {
		v.fail(n, "it is for args, kwargs and env", "%s must not be in %s", n.Tag, v.what)
	}
	return v.placeholders
}

// environment reads !env NAME and !env {name: NAME, default: TEXT}.
func (r *reader) environment(n *yaml.Node) (string, bool) {
	name, fallback, hasFallback := n.Value, "", false
	switch n.Kind {
	case yaml.MappingNode:
		fields, ok := r.fields(n, "!env", "name", "default")
		if !ok {
			return "", false
		}
		name = fields["name"]
		fallback, hasFallback = fields["default"]
	case yaml.SequenceNode:
		name = ""
	}
	if name == "" || strings.ContainsAny(name, "= ") {
		r.fail(n, "write !env NAME", "!env needs the name of an environment variable")
		return "", false
	}
	if text, ok := r.env(name); ok {
		return text, true
	}
	if !hasFallback {
		r.fail(n, fmt.Sprintf("set it, or write !env {name: %s, default: …}", name), "the environment variable %s is not set", name)
	}
	return fallback, hasFallback
}

// fields reads the mapping of a tag, whose values are texts.
func (r *reader) fields(n *yaml.Node, tag string, known ...string) (map[string]string, bool) {
	out, ok := map[string]string{}, true
	for _, e := range r.pairs(n, false) {
		if !slices.Contains(known, e.name) {
			r.fail(e.key, "known are "+strings.Join(known, " and "), "unknown key %q of %s", e.name, tag)
			ok = false
			continue
		}
		text, good := r.text(e.value, e.name)
		out[e.name], ok = text, ok && good
	}
	return out, ok
}

// coreTag tells whether a node has no tag, or one of YAML's core schema that fits its kind.
func coreTag(n *yaml.Node) bool {
	if n.Style&yaml.TaggedStyle == 0 {
		return true
	}
	switch n.Tag {
	case "!!str", "!!int", "!!float", "!!bool", "!!null":
		return n.Kind == yaml.ScalarNode
	case "!!seq":
		return n.Kind == yaml.SequenceNode
	case "!!map":
		return n.Kind == yaml.MappingNode
	}
	return false
}

func tagHint(tag string) string {
	if near := jobcontrol.Nearest(tag, []string{"!retval", "!secret", "!env"}); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	if strings.HasPrefix(tag, "!!") {
		return "tags that name types are refused, except !!str, !!int, !!float, !!bool, !!null, !!seq and !!map"
	}
	return "known are !retval, !secret and !env; a text that begins with ! needs quotes"
}
