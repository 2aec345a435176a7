package config

import (
	"slices"

	"go.yaml.in/yaml/v4"

	"github.com/jobcontrol/jobcontrol"
)

// forEachKeys are those of the long form of for_each.
var forEachKeys = []string{"items", "as", "key", "partial"}

// longForm tells whether a mapping says how items are given, rather than being
// the items: it has the key items, or nothing but the other keys.
func longForm(list []entry) bool {
	return contains(list, "items") || len(list) > 0 && !slices.ContainsFunc(list, func(e entry) bool { return !slices.Contains(forEachKeys, e.name) })
}

// forEach reads for_each: items, or a mapping with the keys above.
func (b *jobBuilder) forEach(s slot) {
	f := &jobcontrol.ForEach{}
	b.job.ForEach = f
	n := deref(s.value)
	if n.Kind != yaml.MappingNode || custom(n) {
		f.Items = b.items(s, n)
		return
	}
	list := s.r.entries(n, "for_each")
	if !longForm(list) {
		f.Items = b.items(s, n)
		return
	}
	if !contains(list, "items") {
		s.r.fail(n, "write `for_each: {items: …}`", "for_each has no items")
	}
	for _, e := range list {
		switch {
		case isNull(e.value) && e.name != "items":
		case e.name == "items":
			f.Items = b.items(s, deref(e.value))
		case e.name == "as":
			f.As, _ = s.r.text(e.value, "as")
		case e.name == "key":
			f.Key, _ = s.r.text(e.value, "key")
			if f.Key != "" && !validPath(f.Key) {
				s.r.fail(deref(e.value), "a path is made of .name and [number], such as page.url", "%q is no path into an item", f.Key)
			}
		case e.name == "partial":
			f.Partial, _ = s.r.boolean(e.value, "partial")
		default:
			s.r.fail(e.key, "known are items, as, key and partial; items of these names go under items", "unknown key %q in for_each", e.name)
		}
	}
}

// items reads a list or a mapping of items, or the result that is one.
func (b *jobBuilder) items(s slot, n *yaml.Node) any {
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag != "!retval", n.Kind != yaml.ScalarNode && custom(n) && n.Tag != "!retval":
		s.r.fail(n, "write a list, a mapping, or !retval NAME", "the items of for_each must be a list or a mapping, not %s", kindName(n))
		return []any{}
	}
	return b.values(s, "for_each", true).read(n)
}
