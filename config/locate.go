package config

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/jobcontrol/jobcontrol"
)

// place finds the places of what [jobcontrol.NewJobs] found; it returns an error that is
// none of its kind. The nodes of the jobs are gone by then, so the text is parsed again.
func (l *loading) place(err error) error {
	var problems jobcontrol.Problems
	if !errors.As(err, &problems) {
		return err
	}
	items := map[*document]*placed{}
	first := map[string]jobcontrol.Position{}
	for _, j := range slices.Backward(l.jobs) {
		first[j.ID] = j.Source
	}
	for _, p := range problems {
		if p.Index < 0 || p.Index >= len(l.origins) {
			l.report.put(false, finding{Diagnostic: Diagnostic{
				Pos: jobcontrol.Position{File: l.file.Path}, Message: p.Message, Hint: p.Hint,
			}})
			continue
		}
		o := l.origins[p.Index]
		if items[o.doc] == nil {
			items[o.doc] = l.placed(o.doc)
		}
		r, at := items[o.doc].find(o.item, p.Field)
		if r == nil {
			r, at = &reader{document: o.doc, report: &l.report}, &yaml.Node{}
		}
		if l.report.has(r.document, at.Line, at.Column) {
			continue // what is wrong there is known already
		}
		hint := p.Hint
		if where := first[p.Job]; p.Field == "id" && strings.Contains(p.Message, "twice") {
			hint = "the first one is at " + where.String()
			if where == l.jobs[p.Index].Source {
				hint = "a template makes it more than once"
			}
		}
		l.report.add(false, r.document, at.Line, at.Column, hint, p.Message)
	}
	return nil
}

// placed has the nodes of the jobs of a document.
type placed struct {
	r        *reader
	jobs     *yaml.Node
	defaults []slot
}

func (l *loading) placed(d *document) *placed {
	p := &placed{r: &reader{document: d, report: &report{}, env: l.env}}
	root := d.parse(p.r.report)
	if root == nil {
		return p
	}
	for _, e := range p.r.pairs(deref(root), false) {
		if e.name == "jobs" {
			p.jobs = deref(e.value)
		}
	}
	scratch := &loading{ctx: l.ctx, env: l.env, file: &File{}}
	p.defaults = scratch.readDefaults(p.r, root, nil)
	if d.order > 0 {
		for _, s := range l.defaults {
			if merges(s.name) || find(p.defaults, s.name) == nil {
				p.defaults = append(p.defaults, s)
			}
		}
	}
	return p
}

// find returns the node of a field such as kwargs.url[0] of a job, or the nearest one around it.
func (p *placed) find(item int, field string) (*reader, *yaml.Node) {
	if p.jobs == nil || item >= len(p.jobs.Content) {
		return nil, nil
	}
	job := p.jobs.Content[item]
	name, path := field, ""
	if i := strings.IndexAny(field, ".["); i >= 0 {
		name, path = field[:i], field[i:]
	}
	quiet := &report{}
	for _, s := range slots(&reader{document: p.r.document, report: quiet, env: p.r.env}, job, "a job", p.defaults) {
		if s.name != name || isNull(s.value) {
			continue
		}
		r := &reader{document: s.r.document, report: quiet, env: p.r.env}
		if s.name == "for_each" {
			if v := deref(s.value); v.Kind != yaml.MappingNode || !longForm(r.pairs(v, false)) {
				path = strings.TrimPrefix(path, ".items")
			}
		}
		n, rest := descend(r, s.value, path)
		if rest == "" || !merges(s.name) {
			return r, n
		}
	}
	return p.r, deref(job)
}

// descend follows a path of .name and [number]; the rest is what it could not follow.
func descend(r *reader, n *yaml.Node, path string) (at *yaml.Node, rest string) {
	n = deref(n)
	for path != "" {
		next, after := step(r, n, path)
		if next == nil {
			return n, path
		}
		n, path = deref(next), after
	}
	return n, ""
}

func step(r *reader, n *yaml.Node, path string) (next *yaml.Node, rest string) {
	if path[0] == '[' {
		number, rest, _ := strings.Cut(path[1:], "]")
		i, err := strconv.Atoi(number)
		if err != nil || n.Kind != yaml.SequenceNode || i < 0 || i >= len(n.Content) {
			return nil, path
		}
		return n.Content[i], rest
	}
	if n.Kind != yaml.MappingNode {
		return nil, path
	}
	longest := ""
	for _, e := range r.pairs(n, true) {
		after, ok := strings.CutPrefix(path[1:], e.name)
		if ok && (after == "" || after[0] == '.' || after[0] == '[') && (next == nil || len(e.name) > len(longest)) {
			next, rest, longest = e.value, after, e.name
		}
	}
	return next, rest
}
