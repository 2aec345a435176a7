package config

import (
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"slices"

	"go.yaml.in/yaml/v4"

	"github.com/jobcontrol/jobcontrol"
)

// jobKeys are the keys of a job.
var jobKeys = []string{
	"id", "title", "notes", "tags", "function", "run", "check", "cleanup", "on_delete", "cleanup_function",
	"repr_function", "args", "kwargs", "env", "cwd", "stdin", "result", "dependencies", "pinned_builds",
	"tries", "retry_delay", "backoff", "retry_from", "exit_codes", "timeout", "soft_timeout", "grace",
	"max_lost", "on_lost", "protected", "protect", "leave_running", "service", "priority", "unique", "for_each", "meta",
}

// slot is a key of a job, under the name that it has in [jobcontrol.Job], from the job
// itself or from defaults, which may be of another file.
type slot struct {
	name string
	entry
	r *reader
}

// slotName is the one name of keys that have two.
func slotName(key string) string {
	switch key {
	case "function":
		return "run"
	case "cleanup_function":
		return "on_delete"
	case "protect":
		return "protected"
	}
	return key
}

// merges tells whether defaults add to what a job has under a key, rather than give way to it.
func merges(name string) bool { return name == "kwargs" || name == "env" || name == "meta" }

// slots are the keys of a job and those of defaults that it lacks.
func slots(r *reader, n *yaml.Node, where string, defaults []slot) []slot {
	list := r.entries(n, where)
	out := make([]slot, 0, len(list)+len(defaults))
	for _, e := range list {
		s := slot{slotName(e.name), e, r}
		if other := find(out, s.name); other != nil {
			if other.entry.name != e.name {
				r.fail(e.key, "use one of them", "%q and %q are the same", other.entry.name, e.name)
			}
			continue
		}
		out = append(out, s)
	}
	own := out
	for _, d := range defaults {
		if merges(d.name) || find(own, d.name) == nil {
			out = append(out, d)
		}
	}
	return out
}

func find(list []slot, name string) *slot {
	for i := range list {
		if list[i].name == name {
			return &list[i]
		}
	}
	return nil
}

// jobBuilder makes one job.
type jobBuilder struct {
	*loading
	job   *jobcontrol.Job
	index int
	trial bool // a job made of defaults alone, to find their errors
}

// build reads the job of a node.
func (b *jobBuilder) build(r *reader, n *yaml.Node, defaults []slot) {
	where := "a job"
	list := slots(r, n, where, defaults)
	b.job.Source = r.position(deref(n).Line, deref(n).Column)
	if s := find(list, "dependencies"); s != nil && !isNull(s.value) {
		b.job.Dependencies, _ = s.r.texts(s.value, "dependencies", "the id of a dependency")
	}
	for _, s := range list {
		switch {
		case isNull(s.value) && s.entry.name == "for_each":
			s.r.warn(s.entry.key, "no items are [] or {}", "for_each is empty: the job is executed once, without an item")
		case isNull(s.value) && slices.Contains(jobKeys, s.entry.name): // its default
		case b.identity(s) || b.work(s) || b.command(s) || b.policy(s) || b.retries(s):
		default:
			s.r.unknown(s.entry, where, jobKeys)
		}
	}
	if !b.trial && find(list, "id") == nil {
		r.fail(deref(n), "", "the job has no id")
	}
}

func isNull(n *yaml.Node) bool {
	n = deref(n)
	return n.Kind == yaml.ScalarNode && scalarKind(n) == nullScalar
}

// identity reads what a job is called and what people see of it.
func (b *jobBuilder) identity(s slot) bool {
	j, r := b.job, s.r
	switch s.name {
	case "id":
		if id, ok := r.text(s.value, "id"); ok {
			j.ID = id
			if err := jobcontrol.CheckJobID(id); err != nil {
				r.fail(deref(s.value), "", "%v", err)
			}
		}
	case "title":
		j.Title, _ = r.text(s.value, "title")
	case "notes":
		j.Notes, _ = r.text(s.value, "notes")
	case "tags":
		j.Tags, _ = r.texts(s.value, "tags", "a tag")
	case "service":
		j.Service, _ = r.text(s.value, "service")
		n := deref(s.value)
		b.queues = append(b.queues, reference{r, n.Line, n.Column, j.Service, b.index})
	case "repr_function":
		j.Repr, _ = r.text(s.value, "repr_function")
	case "on_delete":
		j.OnDelete, _ = r.text(s.value, s.entry.name)
	case "protected":
		j.Protected, _ = r.boolean(s.value, s.entry.name)
	case "leave_running":
		j.LeaveRunning, _ = r.boolean(s.value, s.entry.name)
	case "meta":
		v := b.values(s, "meta", false)
		j.Meta = fill(j.Meta, v.top(s.value))
	default:
		return false
	}
	return true
}

// work reads what a job does.
func (b *jobBuilder) work(s slot) bool {
	j := b.job
	switch s.name {
	case "run":
		if s.entry.name == "function" {
			if name, ok := s.r.text(s.value, "function"); ok {
				j.Run = &jobcontrol.Task{Function: name}
			}
		} else {
			j.Run = b.task(s, "run")
		}
	case "check":
		j.Check = b.task(s, "check")
	case "cleanup":
		j.Cleanup = b.task(s, "cleanup")
	case "args":
		if list, ok := b.values(s, "args", true).list(s.value); ok {
			j.Args = list
		}
	case "kwargs":
		j.Kwargs = fill(j.Kwargs, b.values(s, "kwargs", true).top(s.value))
	case "for_each":
		b.forEach(s)
	case "dependencies": // was read first
	case "pinned_builds":
		b.pins(s)
	case "unique":
		b.unique(s)
	default:
		return false
	}
	return true
}

// fill adds to a mapping what it does not have yet.
func fill(m, more map[string]any) map[string]any {
	if m == nil {
		return more
	}
	for k, v := range more {
		if _, ok := m[k]; !ok {
			m[k] = v
		}
	}
	return m
}

// values makes a reader of what a job is given under a key.
func (b *jobBuilder) values(s slot, what string, placeholders bool) *values {
	return &values{
		reader: s.r, what: what, placeholders: placeholders, dependencies: b.job.Dependencies,
		secret: func(n *yaml.Node, name string) {
			b.wanted = append(b.wanted, reference{s.r, n.Line, n.Column, name, b.index})
		},
		stray: func(n *yaml.Node, text string) {
			if !b.trial {
				b.strays = append(b.strays, reference{s.r, n.Line, n.Column, text, b.index})
			}
		},
	}
}

// list reads a list of values.
func (v *values) list(n *yaml.Node) ([]any, bool) {
	n = deref(n)
	if n.Kind != yaml.SequenceNode || custom(n) {
		hint := ""
		if n.Kind != yaml.MappingNode {
			hint = "write it in brackets"
		}
		v.fail(n, hint, "%s must be a list, not %s", v.what, kindName(n))
		return nil, false
	}
	out := make([]any, len(n.Content))
	for i, c := range n.Content {
		out[i] = v.read(c)
	}
	return out, true
}

// top reads a mapping of values.
func (v *values) top(n *yaml.Node) map[string]any {
	if !v.isMapping(n, v.what) {
		return nil
	}
	return v.mapping(deref(n))
}

// command reads what concerns the processes of a job.
func (b *jobBuilder) command(s slot) bool {
	j, r := b.job, s.r
	switch s.name {
	case "env":
		b.environment(s)
	case "cwd":
		if dir, ok := r.text(s.value, "cwd"); ok {
			if !filepath.IsAbs(dir) {
				dir = filepath.Join(r.dir, dir)
			}
			j.Cwd = dir
		}
	case "stdin":
		if w, _ := r.oneOf(s.value, "stdin", "json", "none"); w == "json" {
			j.Stdin = w
		}
	case "result":
		j.ResultOut, _ = r.oneOf(s.value, "result", "stdout", "json", "lines")
	case "exit_codes":
		b.exitCodes(s)
	default:
		return false
	}
	return true
}

func (b *jobBuilder) environment(s slot) {
	v := b.values(s, "env", true)
	out := map[string]any{}
	for _, e := range s.r.entries(s.value, "env") {
		n := deref(e.value)
		if e.name == "" || !envName.MatchString(e.name) {
			s.r.fail(e.key, "", "%q is no name of an environment variable", e.name)
			continue
		}
		switch {
		case n.Tag == "!retval" || n.Tag == "!secret":
			out[e.name] = v.read(n)
		case n.Kind == yaml.ScalarNode && coreTag(n) && scalarKind(n) == boolScalar:
			s.r.fail(n, fmt.Sprintf("write %q", n.Value), "an environment variable must be a text, not a boolean")
		default:
			if n.Kind == yaml.ScalarNode && coreTag(n) && n.Style&quoted == 0 && oldBoolean.MatchString(n.Value) {
				v.surprise(n)
			}
			if text, ok := s.r.text(e.value, "an environment variable"); ok {
				out[e.name] = text
			}
		}
	}
	b.job.Env = fill(b.job.Env, out)
}

var envName = regexp.MustCompile(`^[^=\x00-\x20]+$`)

var exitKinds = []string{"retry", "skip", "user", "error", "suspend"}

func (b *jobBuilder) exitCodes(s slot) {
	out := map[int]string{}
	for _, e := range s.r.scalarEntries(s.value, "exit_codes") {
		code, ok := s.r.integer(e.key, "an exit status")
		kind, good := s.r.oneOf(e.value, "the meaning of an exit status", exitKinds...)
		switch {
		case ok && (code < 0 || code > 255):
			s.r.fail(e.key, "", "an exit status is between 0 and 255, not %d", code)
		case ok && good:
			out[int(code)] = kind
		}
	}
	b.job.ExitCodes = out
}

func (b *jobBuilder) pins(s slot) {
	out := map[string]int64{}
	for _, e := range s.r.scalarEntries(s.value, "pinned_builds") {
		if n, ok := s.r.integer(e.value, "a build number"); ok {
			out[e.name] = n
		}
	}
	b.job.PinnedBuilds = out
}

var uniquePath = regexp.MustCompile(`^(?:args\.[0-9]+|kwargs\..+)$`)

func (b *jobBuilder) unique(s slot) {
	n := deref(s.value)
	if n.Kind == yaml.ScalarNode && n.Tag != "!env" {
		yes, ok := s.r.boolean(n, "unique")
		if ok && yes {
			b.job.Unique = []string{"*"}
		}
		return
	}
	paths, _ := s.r.texts(n, "unique", "a path")
	for i, p := range paths {
		if !uniquePath.MatchString(p) && i < len(n.Content) {
			s.r.fail(deref(n.Content[i]), "such as args.0 or kwargs.url; `unique: true` for all arguments", "%q is no path into the arguments", p)
		}
	}
	b.job.Unique = paths
}

// number reads a whole number of at least least.
func (r *reader) number(n *yaml.Node, what string, least, most int64) (int, bool) {
	v, ok := r.integer(n, what)
	switch {
	case !ok:
		return 0, false
	case v < least && least >= 0:
		r.fail(deref(n), "", "%s must be %d or more, not %d", what, least, v)
	case v < least || v > most:
		r.fail(deref(n), "", "%s must be between %d and %d, not %d", what, least, most, v)
	default:
		return int(v), true
	}
	return 0, false
}

// policy reads when a job is executed and for how long.
func (b *jobBuilder) policy(s slot) bool {
	j, r := b.job, s.r
	switch s.name {
	case "priority":
		j.Priority, _ = r.number(s.value, "priority", math.MinInt16, math.MaxInt16)
	case "timeout":
		j.Timeout, _ = r.duration(s.value, "timeout")
	case "soft_timeout":
		j.SoftTimeout, _ = r.duration(s.value, "soft_timeout")
	case "grace":
		d, ok := r.duration(s.value, "grace")
		if ok && d == 0 {
			r.fail(deref(s.value), "write 1ms for almost none", "grace must be more than 0")
		}
		j.Grace = d
	case "max_lost":
		if n, ok := r.number(s.value, "max_lost", 0, math.MaxInt32); ok {
			j.MaxLost = &n
		}
	case "on_lost":
		if w, _ := r.oneOf(s.value, "on_lost", "retry", "fail"); w == "fail" {
			j.OnLost = w
		}
	default:
		return false
	}
	return true
}

// retries reads how often a job is tried.
func (b *jobBuilder) retries(s slot) bool {
	j, r := b.job, s.r
	switch s.name {
	case "tries":
		j.Tries, _ = r.number(s.value, "tries", 1, math.MaxInt32)
	case "retry_delay":
		if d, ok := r.duration(s.value, "retry_delay"); ok {
			j.RetryDelay = &d
		}
	case "backoff":
		if w, _ := r.oneOf(s.value, "backoff", "constant", "exponential"); w == "exponential" {
			j.Backoff = w
		}
	case "retry_from":
		if w, _ := r.oneOf(s.value, "retry_from", "start", "end"); w == "end" {
			j.RetryFrom = w
		}
	default:
		return false
	}
	return true
}
