package config

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/jobcontrol/jobcontrol"
)

// loading is one call of Load.
type loading struct {
	ctx    context.Context
	opts   Options
	env    func(string) (string, bool)
	report report
	file   *File

	jobs     []*jobcontrol.Job
	origins  []origin    // of the jobs
	defaults []slot      // of the file that was asked for
	wanted   []reference // each !secret
	queues   []reference // each service of a job
	strays   []reference // each !retval of no dependency
}

// origin tells which job of which document a job is.
type origin struct {
	doc  *document
	item int
}

// reference is a name at a place.
type reference struct {
	r            *reader
	line, column int
	name         string
	job          int // index
}

func newLoading(ctx context.Context, o Options) *loading {
	l := &loading{ctx: ctx, opts: o, env: o.Env}
	if l.env == nil {
		l.env = os.LookupEnv
	}
	return l
}

func load(ctx context.Context, name, dir string, data []byte, o Options) (*File, error) {
	l := newLoading(ctx, o)
	l.file = &File{Path: name, Dir: dir, Secrets: map[string]SecretSource{}, Meta: map[string]any{}}
	d := newDocument(name, dir, 0, data, &l.report)
	if d != nil {
		if err := l.main(d); err != nil {
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.checkReferences()
	jobs, err := jobcontrol.NewJobs(l.jobs)
	if err != nil {
		if err := l.place(err); err != nil {
			return nil, err
		}
	}
	if len(l.report.errors) > 0 {
		found := finish(l.report.errors)
		if n := l.report.dropped; n > 0 {
			found = append(found, Diagnostic{Pos: jobcontrol.Position{File: name}, Message: fmt.Sprintf("%d more errors", n)})
		}
		return nil, found
	}
	l.file.Jobs = jobs
	l.file.Warnings = finish(l.report.warnings)
	l.file.Expanded = d.shown
	return l.file, nil
}

// main reads the file that was asked for and what it includes.
func (l *loading) main(d *document) error {
	r, root, err := l.open(d)
	if root == nil || err != nil {
		return err
	}
	var jobs, includes *yaml.Node
	for _, e := range r.entries(root, "the file") {
		switch e.name {
		case "jobs":
			jobs = e.value
		case "include":
			includes = e.value
		case "storage":
			l.storage(r, e)
		case "project":
			l.project(r, e)
		case "services":
			if !isNull(e.value) {
				l.services(r, e.value)
			}
		case "retention":
			if !isNull(e.value) {
				l.retention(r, e.value)
			}
		case "template":
			if !isNull(e.value) {
				r.boolean(e.value, "template")
			}
		case "celery", "webapp":
			r.warn(e.key, "", "%q is of older versions: nothing reads it", e.name)
		default:
			l.shared(r, e, fileKeys)
		}
	}
	d.shown = d.withoutValues(d.masked(r.quiet(), root))
	l.defaults = l.readDefaults(r, root, nil)
	l.readJobs(r, jobs, l.defaults)
	if jobs == nil && includes == nil {
		r.warn(deref(root), "", "the file has no jobs")
	}
	if includes != nil {
		return l.include(r, includes)
	}
	return nil
}

var (
	fileKeys    = []string{"storage", "secret", "services", "retention", "defaults", "include", "meta", "project", "template", "jobs"}
	includeKeys = []string{"secret", "defaults", "meta", "template", "jobs"}
)

// open renders and parses a document. root is nil where an error was reported.
func (l *loading) open(d *document) (r *reader, root *yaml.Node, err error) {
	if err := d.render(l.ctx, l.opts); err != nil {
		return nil, nil, d.renderError(err, &l.report)
	}
	l.warnComment(d)
	node := d.parse(&l.report)
	if node == nil {
		return nil, nil, nil
	}
	r = &reader{document: d, report: &l.report, env: l.env}
	if n := deref(node); n.Kind != yaml.MappingNode || custom(n) {
		hint := exampleHint
		if n.Kind == yaml.SequenceNode {
			hint = "put `jobs:` in a line above the list"
		}
		r.fail(n, hint, "the file must be a mapping, not %s", kindName(n))
		return nil, nil, nil
	}
	return r, node, nil
}

// warnComment warns where the shell's length of a variable begins a comment.
func (l *loading) warnComment(d *document) {
	at := strings.Index(d.written, "${#")
	if !d.rendered || at < 0 {
		return
	}
	before := d.written[:at]
	if raw := rawTag.FindAllStringSubmatch(before, -1); len(raw) > 0 && raw[len(raw)-1][1] == "raw" {
		return
	}
	column := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 2
	l.report.put(true, finding{doc: d, order: d.order, Diagnostic: Diagnostic{
		Pos:     jobcontrol.Position{File: d.name, Line: strings.Count(before, "\n") + 1, Column: column},
		Message: "{# begins a comment of the template here",
		Hint:    "write {% raw %}…{% endraw %} around it, or switch templates off with `template: false`",
	}})
}

var rawTag = regexp.MustCompile(`{%[-+]?\s*(raw|endraw)\b`)

// shared reads the keys that a file and the files it includes have in common.
func (l *loading) shared(r *reader, e entry, known []string) {
	switch {
	case isNull(e.value) && slices.Contains(known, e.name):
	case e.name == "secret":
		l.secrets(r, e.value)
	case e.name == "meta":
		v := &values{reader: r, what: "meta"}
		l.file.Meta = fill(l.file.Meta, v.top(e.value))
	case e.name == "defaults", e.name == "jobs":
	default:
		if len(known) < len(fileKeys) && slices.Contains(fileKeys, e.name) {
			r.fail(e.key, "write it in the file that includes this one", "%q does not belong into an included file", e.name)
			return
		}
		if slices.Contains(jobKeys, e.name) {
			r.fail(e.key, "is it indented too little? Keys for all jobs go under `defaults:`", "%q is a key of a job", e.name)
			return
		}
		r.unknown(e, "the file", known)
	}
}

func (l *loading) storage(r *reader, e entry) {
	if isNull(e.value) {
		return
	}
	if n := deref(e.value); n.Tag == "!secret" && n.Kind == yaml.ScalarNode && n.Value != "" {
		l.file.StorageSecret = n.Value
		l.wanted = append(l.wanted, reference{r, n.Line, n.Column, n.Value, -1})
		return
	}
	l.file.Storage, _ = r.text(e.value, "storage")
	if password := passwordOf(l.file.Storage); password != "" && deref(e.value).Tag != "!env" {
		r.warn(deref(e.value), "write !env NAME or !secret NAME for the URL, or keep the password in ~/.pgpass", "a password stands in the file")
		r.hideURL(password)
	}
}

func (l *loading) project(r *reader, e entry) {
	if isNull(e.value) {
		return
	}
	name, ok := r.text(e.value, "project")
	if !ok {
		return
	}
	if err := jobcontrol.CheckName("project", name); err != nil {
		r.fail(deref(e.value), "", "%v", err)
		return
	}
	l.file.Project = name
}

// readDefaults reads the defaults of a document; those that it lacks are of more.
func (l *loading) readDefaults(r *reader, root *yaml.Node, more []slot) []slot {
	var n *yaml.Node
	for _, e := range r.quiet().pairs(deref(root), false) {
		if e.name == "defaults" && !isNull(e.value) {
			n = e.value
		}
	}
	if n == nil {
		return more
	}
	own := slots(r, n, "defaults", nil)
	own = slices.DeleteFunc(own, func(s slot) bool {
		if s.name == "id" {
			r.fail(s.key, "", "an id cannot be a default")
			return true
		}
		if !slices.Contains(jobKeys, s.entry.name) {
			r.unknown(s.entry, "defaults", jobKeys)
			return true
		}
		return false
	})
	trial := &jobBuilder{loading: l, job: &jobcontrol.Job{}, trial: true, index: -1}
	trial.build(r, &yaml.Node{Kind: yaml.MappingNode, Line: n.Line, Column: n.Column}, own)
	for _, d := range more {
		if merges(d.name) || find(own, d.name) == nil {
			own = append(own, d)
		}
	}
	return own
}

// quiet is a reader that reports nothing, for what was read before.
func (r *reader) quiet() *reader { return &reader{document: r.document, report: &report{}, env: r.env} }

// readJobs reads the jobs of a document and lets go of their nodes.
func (l *loading) readJobs(r *reader, n *yaml.Node, defaults []slot) {
	if n == nil || isNull(n) {
		return
	}
	n = deref(n)
	if n.Kind != yaml.SequenceNode || custom(n) {
		hint := ""
		if n.Kind == yaml.MappingNode {
			hint = "write each job as an item: `- id: NAME`"
		}
		r.fail(n, hint, "jobs must be a list, not %s", kindName(n))
		return
	}
	l.jobs = slices.Grow(l.jobs, len(n.Content))
	for i, c := range n.Content {
		if i%1000 == 0 && l.ctx.Err() != nil {
			return
		}
		n.Content[i] = nil
		if item := deref(c); item.Kind != yaml.MappingNode || custom(item) {
			r.fail(item, "", "a job must be a mapping, not %s", kindName(item))
			continue
		}
		b := &jobBuilder{loading: l, job: &jobcontrol.Job{}, index: len(l.jobs)}
		b.build(r, c, defaults)
		l.jobs = append(l.jobs, b.job)
		l.origins = append(l.origins, origin{r.document, i})
	}
}

// checkReferences checks the names that only make sense once all files were read.
func (l *loading) checkReferences() {
	var names []string
	for name := range l.file.Secrets {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, w := range l.wanted {
		if _, ok := l.file.Secrets[w.name]; ok {
			continue
		}
		hint := "secrets are named under `secret:`"
		if near := jobcontrol.Nearest(w.name, names); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		w.fail(hint, fmt.Sprintf("there is no secret %q", w.name))
	}
	l.checkQueues()
	if len(l.strays) == 0 {
		return
	}
	ids := make(map[string]bool, len(l.jobs))
	for _, j := range l.jobs {
		ids[j.ID] = true
	}
	for _, s := range l.strays {
		l.stray(s, ids)
	}
}

func (w reference) fail(hint, message string) {
	w.r.report.add(false, w.r.document, w.line, w.column, hint, message)
}

// stray reports a !retval of a job that is no dependency.
func (l *loading) stray(s reference, ids map[string]bool) {
	job := ""
	for i := range len(s.name) + 1 {
		if (i == len(s.name) || s.name[i] == '.' || s.name[i] == '[') && ids[s.name[:i]] {
			job = s.name[:i]
		}
	}
	near := jobcontrol.Nearest(s.name, l.jobs[s.job].Dependencies)
	switch {
	case job != "" && job == l.jobs[s.job].ID:
		s.fail("", "a job cannot have its own result")
	case job != "":
		s.fail(fmt.Sprintf("add %q to the dependencies", job), fmt.Sprintf("job %q is not a dependency of this job", job))
	case near != "":
		s.fail(fmt.Sprintf("did you mean %q?", near), fmt.Sprintf("%q is not a dependency of this job", s.name))
	default:
		s.fail("name a job of the dependencies", fmt.Sprintf("there is no job %q", s.name))
	}
}
