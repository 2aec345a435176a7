package config

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maskAgain is masked for a text that was not parsed.
func (d *document) maskAgain() string {
	r := &reader{document: d, report: &report{}, env: func(string) (string, bool) { return "", true }}
	root := d.parse(r.report)
	if root == nil || deref(root).Kind != yaml.MappingNode {
		return d.maskedLines()
	}
	return d.masked(r, root)
}

// masked is the expanded text without its literal secrets. Line numbers stay the same
// unless the text has no lines to speak of, like JSON on one line. The nodes of secrets
// are spoilt by it.
func (d *document) masked(r *reader, root *yaml.Node) string {
	top := r.pairs(deref(root), true)
	var literals []*yaml.Node
	var section, next *entry
	for i := range top {
		if v := deref(top[i].value); top[i].name == "storage" && v.Kind == yaml.ScalarNode {
			d.hideURL(passwordOf(v.Value))
		}
		if top[i].name != "secret" {
			continue
		}
		section = &top[i]
		if i+1 < len(top) {
			next = &top[i+1]
		}
		literals = literalsOf(r, section.value)
	}
	if len(literals) == 0 {
		return d.withoutValues(d.expanded)
	}
	for _, n := range literals {
		d.hide(n.Value)
	}
	if deref(root).Style&yaml.FlowStyle != 0 || section.key.Column != 1 || next != nil && next.key.Line <= section.key.Line {
		return d.dumped(root, literals)
	}
	end := strings.Count(d.expanded, "\n") + 2
	if next != nil {
		end = next.key.Line
	}
	return d.regenerated(r, section, end)
}

func literalsOf(r *reader, n *yaml.Node) []*yaml.Node {
	if n = deref(n); n.Kind != yaml.MappingNode {
		return []*yaml.Node{n}
	}
	var out []*yaml.Node
	for _, e := range r.pairs(n, true) {
		if v := deref(e.value); v.Kind != yaml.MappingNode && scalarKind(v) != nullScalar {
			out = append(out, v)
		}
	}
	return out
}

// dumped writes the whole document anew.
func (d *document) dumped(root *yaml.Node, literals []*yaml.Node) string {
	for _, n := range literals {
		*n = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: mask, Anchor: n.Anchor}
	}
	out, err := yaml.Dump(root)
	if err != nil {
		return d.maskedLines()
	}
	return d.withoutValues(string(out))
}

// regenerated writes the section of secrets anew, in the lines that it had up to end.
func (d *document) regenerated(r *reader, section *entry, end int) string {
	anew := []string{"secret:"}
	if deref(section.value).Kind != yaml.MappingNode {
		anew[0] += " " + mask
	} else {
		for _, s := range r.pairs(deref(section.value), true) {
			text := mask
			if v := deref(s.value); v.Kind == yaml.MappingNode {
				flow := yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle, Content: v.Content}
				if out, err := yaml.Dump(&flow); err == nil {
					text = strings.TrimSpace(string(out))
				}
			}
			anew = append(anew, "  "+s.name+": "+text)
		}
	}
	begin := section.key.Line
	for len(anew) < end-begin {
		anew = append(anew, "")
	}
	all := strings.Split(d.expanded, "\n")
	out := slices.Concat(all[:begin-1], anew, all[min(end-1, len(all)):])
	return d.withoutValues(strings.Join(out, "\n"))
}

// maskedLines masks a text that cannot be parsed, line by line.
func (d *document) maskedLines() string {
	l := splitLines(d.expanded)
	out := make([]string, len(l.all))
	for i, line := range l.all {
		out[i] = d.mask(line, l.isSecret(i+1))
	}
	return strings.Join(out, "\n")
}
