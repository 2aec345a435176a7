package config

import (
	"slices"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/jobcontrol/jobcontrol"
)

// retentionKeys are the keys of the section retention.
var retentionKeys = []string{"builds", "logs"}

// logLevels are the keys of the mapping that logs may be.
var logLevels = []string{"debug", "info", "warning", "error", "critical", "any"}

var levelOf = map[string]jobcontrol.Level{
	"any": 0, "debug": jobcontrol.LevelDebug, "info": jobcontrol.LevelInfo, "warning": jobcontrol.LevelWarning,
	"error": jobcontrol.LevelError, "critical": jobcontrol.LevelCritical,
}

// retention reads how long is kept what is over.
func (l *loading) retention(r *reader, n *yaml.Node) {
	p := &l.file.Retention
	for _, e := range r.entries(n, "retention") {
		switch {
		case !slices.Contains(retentionKeys, e.name):
			r.noKey(e, "retention", retentionKeys)
		case isNull(e.value): // its default
		case e.name == "builds":
			p.Builds = r.retained(e)
		default:
			p.Logs = r.logAges(e)
		}
	}
}

// retained reads an age; what is removed at once was never worth keeping.
func (r *reader) retained(e entry) time.Duration {
	d, ok := r.duration(e.value, e.name)
	if ok && d < time.Minute {
		r.fail(deref(e.value), "write an age such as 90d; without it everything is kept", "%s must be a minute at least", e.name)
	}
	return d
}

// logAges reads the ages of log records: of all, those that are usual, or of some levels.
func (r *reader) logAges(e entry) map[jobcontrol.Level]time.Duration {
	n := deref(e.value)
	if n.Kind == yaml.ScalarNode && n.Value == "default" {
		return jobcontrol.DefaultLogAges()
	}
	if n.Kind != yaml.MappingNode {
		return map[jobcontrol.Level]time.Duration{0: r.retained(e)}
	}
	ages := map[jobcontrol.Level]time.Duration{}
	for _, k := range r.entries(n, e.name) {
		level, ok := levelOf[k.name]
		switch {
		case !ok:
			r.noKey(k, e.name, logLevels)
		case !isNull(k.value):
			ages[level] = r.retained(k)
		}
	}
	return ages
}
