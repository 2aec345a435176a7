package config

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/jobcontrol/jobcontrol"
)

// serviceKeys are the keys of a service.
var serviceKeys = []string{
	"concurrency", "key", "key_concurrency", "rate", "priority", "fallback", "paused", "draining",
}

// services reads the services of the file.
func (l *loading) services(r *reader, n *yaml.Node) {
	fallbacks := map[string]*yaml.Node{} // service → where its fallback stands
	for _, e := range r.scalarEntries(n, "services") {
		if slices.ContainsFunc(l.file.Services, func(s jobcontrol.Service) bool { return s.Name == e.name }) {
			continue // a key that is given twice was reported
		}
		if err := jobcontrol.CheckName("service", e.name); err != nil {
			r.fail(e.key, "", "%v", err)
			continue
		}
		b := &serviceBuilder{reader: r, service: jobcontrol.Service{Name: e.name}}
		if !isNull(e.value) {
			b.build(e.value)
		}
		l.file.Services = append(l.file.Services, b.service)
		if b.fallback != nil {
			fallbacks[e.name] = b.fallback
		}
	}
	l.checkFallbacks(r, fallbacks)
}

// checkFallbacks reports each circle of fallbacks once, and warns of names that
// may be misspelt.
func (l *loading) checkFallbacks(r *reader, at map[string]*yaml.Node) {
	next := map[string]string{}
	var names []string
	for i := range l.file.Services {
		next[l.file.Services[i].Name] = l.file.Services[i].Fallback
		names = append(names, l.file.Services[i].Name)
	}
	told := map[string]bool{}
	for _, name := range names {
		chain := []string{name}
		for to := next[name]; to != "" && !told[to]; to = next[to] {
			if i := slices.Index(chain, to); i >= 0 {
				last := chain[len(chain)-1]
				r.fail(at[last], "a chain of fallbacks must end", "circular chain of fallback services: %s",
					strings.Join(append(chain[i:], to), " → "))
				break
			}
			chain = append(chain, to)
		}
		for _, s := range chain {
			told[s] = true
		}
		to := next[name]
		if _, described := next[to]; to != "" && !described {
			if near := jobcontrol.Nearest(to, names); near != "" && near != name {
				r.warn(at[name], fmt.Sprintf("did you mean %q?", near), "the service %q is not described", to)
			}
		}
	}
}

// checkQueues warns of services of jobs that are not described and resemble one
// that is: nobody might serve them.
func (l *loading) checkQueues() {
	var names []string
	for i := range l.file.Services {
		names = append(names, l.file.Services[i].Name)
	}
	for _, q := range l.queues {
		if slices.Contains(names, q.name) {
			continue
		}
		if near := jobcontrol.Nearest(q.name, names); near != "" {
			q.r.report.add(true, q.r.document, q.line, q.column, fmt.Sprintf("did you mean %q?", near),
				fmt.Sprintf("the service %q is not described", q.name))
		}
	}
}

// serviceBuilder makes one service.
type serviceBuilder struct {
	*reader
	service  jobcontrol.Service
	fallback *yaml.Node
}

func (b *serviceBuilder) build(n *yaml.Node) {
	var perKey *yaml.Node
	for _, e := range b.entries(n, "a service") {
		switch {
		case isNull(e.value) && slices.Contains(serviceKeys, e.name): // its default
		case e.name == "key_concurrency":
			perKey = e.key
			b.service.KeyConcurrency, _ = b.number(e.value, e.name, 0, math.MaxInt32)
		case b.limit(e) || b.way(e):
		default:
			b.noKey(e, "a service", serviceKeys)
		}
	}
	if perKey != nil && b.service.KeyConcurrency > 0 && b.service.Key == nil {
		b.fail(perKey, "say which builds share a key, such as key: [kwargs.site]", "key_concurrency needs a key")
	}
}

// limit reads how much of a service is executed at a time.
func (b *serviceBuilder) limit(e entry) bool {
	switch e.name {
	case "concurrency":
		b.service.Concurrency, _ = b.number(e.value, e.name, 0, math.MaxInt32)
	case "key":
		b.service.Key = b.paths(e.value)
	case "rate":
		b.rate(e.value)
	default:
		return false
	}
	return true
}

// way reads which builds go first, where they go, and whether they go at all.
func (b *serviceBuilder) way(e entry) bool {
	s := &b.service
	switch e.name {
	case "priority":
		s.Priority, _ = b.number(e.value, e.name, math.MinInt16, math.MaxInt16)
	case "paused":
		s.Paused, _ = b.boolean(e.value, e.name)
	case "draining":
		s.Draining, _ = b.boolean(e.value, e.name)
	case "fallback":
		name, ok := b.text(e.value, e.name)
		if !ok {
			break
		}
		if err := jobcontrol.CheckName("service", name); err != nil {
			b.fail(deref(e.value), "", "%v", err)
			break
		}
		if name == s.Name {
			b.fail(deref(e.value), "", "service %s cannot be its own fallback", name)
			break
		}
		s.Fallback, b.fallback = name, deref(e.value)
	default:
		return false
	}
	return true
}

// paths reads a path into the arguments, or a list of them.
func (b *serviceBuilder) paths(n *yaml.Node) []string {
	n = deref(n)
	nodes := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode && !custom(n) {
		nodes = n.Content
	}
	if len(nodes) == 0 {
		b.fail(n, pathHint, "key has no path")
	}
	out := []string{}
	for _, c := range nodes {
		p, ok := b.text(c, "key")
		if err := CheckPath(p); ok && err != nil {
			b.fail(deref(c), jobcontrol.HintOf(err), "%v", err)
		}
		out = append(out, p)
	}
	return out
}

const pathHint = "such as kwargs.site or args.0"

// CheckPath returns an error unless a text is a path into the arguments of a job,
// such as kwargs.site or args.0. The error has a hint.
func CheckPath(text string) error {
	if !uniquePath.MatchString(text) {
		return &jobcontrol.Error{Code: jobcontrol.Invalid, Message: fmt.Sprintf("%q is no path into the arguments", text), Hint: pathHint}
	}
	return nil
}

// noRate is an error of how a rate is written.
func noRate(format string, args ...any) error {
	return &jobcontrol.Error{
		Code: jobcontrol.Invalid, Message: fmt.Sprintf(format, args...), Hint: "write a number per second, or 100/s, 10/m, 1/h, 5/30s",
	}
}

// rate reads a number per second, or a number per time.
func (b *serviceBuilder) rate(n *yaml.Node) {
	f := b.field(n, "rate", "a rate")
	if f == nil {
		return
	}
	count, per, err := ParseRate(f.Value)
	if kind := scalarKind(f); kind == boolScalar || kind == nullScalar {
		err = noRate("rate must be a rate, not %s", kindName(f))
	}
	if err != nil {
		b.fail(f, jobcontrol.HintOf(err), "%v", err)
		return
	}
	b.service.Rate, b.service.RatePer = count, per
}

var rateForm = regexp.MustCompile(`^([0-9]+)\s*(?:/\s*(?:(s|m|h|d)|([0-9][0-9a-z.]*)))?$`)

// ParseRate reads a rate: a number per second, or a number per time such as 100/s,
// 10/m, 5/30s. 0 is no limit. An error has a hint.
func ParseRate(text string) (count int, per time.Duration, err error) {
	m := rateForm.FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		return 0, 0, noRate("%q is no rate", text)
	}
	count, err = strconv.Atoi(m[1])
	if err != nil || count > math.MaxInt32 {
		return 0, 0, noRate("rate %q is too large", text)
	}
	switch {
	case m[3] != "":
		d, wrong := durationText(m[3])
		if seconds, err := strconv.ParseFloat(m[3], 64); err == nil && seconds < longest.Seconds() {
			d, wrong = time.Duration(seconds*float64(time.Second)), ""
		}
		if wrong != "" || d < time.Millisecond {
			return 0, 0, noRate("rate %q has no time after the /", text)
		}
		per = d
	case m[2] != "":
		per = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[m[2]]
	default:
		per = time.Second
	}
	if count == 0 {
		per = 0
	}
	return count, per, nil
}
