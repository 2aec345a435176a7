package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/jobcontrol/jobcontrol"
)

var taskKeys = []string{"function", "shell", "command", "http", "args", "kwargs"}

// functionLike is a text that names a function rather than a program.
var functionLike = regexp.MustCompile(`^[A-Za-z_]\w*(?:\.\w+)*:[A-Za-z_]\w*$`)

// task reads run, check or cleanup: a text for the shell, a list to execute, or a mapping.
func (b *jobBuilder) task(s slot, what string) *jobcontrol.Task {
	n := deref(s.value)
	switch {
	case n.Kind == yaml.MappingNode && !custom(n):
		return b.taskMapping(s, what)
	case n.Kind == yaml.SequenceNode && !custom(n):
		if argv := b.argv(s.r, n, what); argv != nil {
			return &jobcontrol.Task{Command: argv}
		}
		return nil
	}
	text, ok := s.r.text(n, what)
	switch {
	case !ok:
		return nil
	case strings.TrimSpace(text) == "":
		s.r.fail(n, "", "%s is empty", what)
		return nil
	case functionLike.MatchString(text) && what == "cleanup":
		s.r.fail(n, fmt.Sprintf("did you mean on_delete? cleanup is a step after run; for a function there write cleanup: {function: %s}", text),
			"%q looks like a function, and cleanup is a command", text)
		return nil
	case functionLike.MatchString(text):
		hint := fmt.Sprintf("for a function write %s: {function: %s}", what, text)
		if what == "run" {
			hint = fmt.Sprintf("for a function write function: %s", text)
		}
		s.r.fail(n, hint, "%q looks like a function, and %s is a command", text, what)
		return nil
	}
	return &jobcontrol.Task{Shell: text}
}

// argv reads a command that is executed without a shell.
func (b *jobBuilder) argv(r *reader, n *yaml.Node, what string) []string {
	if len(n.Content) == 0 {
		r.fail(n, "", "%s is an empty list", what)
		return nil
	}
	out, ok := make([]string, len(n.Content)), true
	for i, c := range n.Content {
		c = deref(c)
		switch {
		case c.Tag == "!retval" || c.Tag == "!secret":
			hint := `give it in args; the command gets them as "$@"`
			if c.Tag == "!secret" {
				hint = "give it in kwargs or env: everybody on the machine can read a process's arguments"
			}
			r.fail(c, hint, "%s must not be in a command", c.Tag)
			ok = false
		case c.Kind == yaml.ScalarNode && coreTag(c) && scalarKind(c) == boolScalar:
			r.fail(c, fmt.Sprintf("write %q", c.Value), "a part of a command must be a text, not a boolean")
			ok = false
		default:
			text, good := r.text(c, "a part of a command")
			out[i], ok = text, ok && good
		}
	}
	if ok && out[0] == "" {
		r.fail(deref(n.Content[0]), "", "the command has no name")
		ok = false
	}
	if !ok {
		return nil
	}
	return out
}

func (b *jobBuilder) taskMapping(s slot, what string) *jobcontrol.Task {
	n, t, kinds := deref(s.value), &jobcontrol.Task{}, 0
	for _, e := range s.r.entries(n, what) {
		if isNull(e.value) && slices.Contains(taskKeys, e.name) {
			continue
		}
		part := slot{e.name, e, s.r}
		switch e.name {
		case "function":
			kinds++
			t.Function, _ = s.r.text(e.value, "function")
		case "shell":
			kinds++
			t.Shell, _ = s.r.text(e.value, "shell")
		case "command":
			kinds++
			if c := deref(e.value); c.Kind == yaml.SequenceNode {
				t.Command = b.argv(s.r, c, "command")
			} else {
				s.r.fail(c, "a text for the shell goes under shell", "command must be a list, not %s", kindName(c))
			}
		case "http":
			kinds++
			t.HTTP = b.http(part, what+".http")
		case "args":
			if list, ok := b.values(part, what+".args", true).list(e.value); ok {
				t.Args = b.encode(s.r, e, list)
			}
		case "kwargs":
			if m := b.values(part, what+".kwargs", true).top(e.value); m != nil {
				t.Kwargs = b.encode(s.r, e, m)
			}
		default:
			s.r.unknown(e, what, taskKeys)
			kinds++
		}
	}
	set := 0
	for _, yes := range []bool{t.Function != "", t.Shell != "", t.Command != nil, t.HTTP != nil} {
		if yes {
			set++
		}
	}
	switch {
	case kinds == 0:
		s.r.fail(n, "", "%s needs one of function, shell, command and http", what)
	case set > 1:
		s.r.fail(n, "", "%s must have only one of function, shell, command and http", what)
	}
	if set == 0 {
		return nil
	}
	return t
}

func (b *jobBuilder) encode(r *reader, e entry, v any) jobcontrol.EncodedArguments {
	data, err := jobcontrol.EncodeArguments(v)
	if err != nil {
		r.fail(e.value, "", "%v", err)
	}
	return data
}
