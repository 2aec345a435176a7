package config

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/jobcontrol/jobcontrol"
)

var httpKeys = []string{"method", "url", "headers", "body", "json", "expect", "result", "timeout", "follow_redirects"}

// http reads a request: its URL, or a mapping. What only the whole of it can tell
// is checked with the job.
func (b *jobBuilder) http(s slot, what string) *jobcontrol.HTTP {
	n, h := deref(s.value), &jobcontrol.HTTP{}
	if n.Kind != yaml.MappingNode || custom(n) {
		h.URL = b.httpText(s, what)
		return h
	}
	for _, e := range s.r.entries(n, what) {
		if isNull(e.value) && e.name != "url" {
			if !slices.Contains(httpKeys, e.name) {
				s.r.unknown(e, what, httpKeys)
			}
			continue
		}
		part := slot{e.name, e, s.r}
		if !b.httpContent(part, what, h) && !b.httpPolicy(part, what, h) {
			s.r.unknown(e, what, httpKeys)
		}
	}
	if h.URL == nil && !contains(s.r.quiet().pairs(n, false), "url") {
		s.r.fail(n, "", "%s needs a url", what)
		h.URL = jobcontrol.EncodedArguments(`""`)
	}
	return h
}

// httpContent reads what is sent.
func (b *jobBuilder) httpContent(s slot, what string, h *jobcontrol.HTTP) bool {
	switch s.name {
	case "method":
		if text, ok := s.r.text(s.value, "method"); ok {
			h.Method = strings.ToUpper(text)
		}
	case "url":
		h.URL = b.httpText(s, what+".url")
	case "headers":
		out := map[string]any{}
		v := b.values(s, what+".headers", true)
		for _, e := range s.r.entries(s.value, what+".headers") {
			if value, ok := httpValue(v, e.value, "a header"); ok {
				out[e.name] = value
			}
		}
		h.Headers = b.encode(s.r, s.entry, out)
	case "body":
		if n := deref(s.value); (n.Kind == yaml.MappingNode || n.Kind == yaml.SequenceNode) && !custom(n) {
			s.r.fail(n, "values that are sent as JSON go under json", "body must be a text, not %s", kindName(n))
			return true
		}
		h.Body = b.httpText(s, "body")
	case "json":
		h.JSON = b.encode(s.r, s.entry, b.values(s, what+".json", true).read(s.value))
	default:
		return false
	}
	return true
}

// httpText reads a text or what stands for one.
func (b *jobBuilder) httpText(s slot, what string) jobcontrol.EncodedArguments {
	v, ok := httpValue(b.values(s, what, true), s.value, what)
	if !ok {
		v = ""
	}
	if text, isText := v.(string); isText {
		if password := passwordOf(text); password != "" && what != "body" && deref(s.value).Tag != "!env" {
			s.r.warn(deref(s.value), "write !secret NAME for the URL, or for a header Authorization", "a password stands in the file")
			s.r.hideURL(password)
		}
	}
	return b.encode(s.r, s.entry, v)
}

// httpValue reads a text, or !retval or !secret.
func httpValue(v *values, n *yaml.Node, what string) (any, bool) {
	n = deref(n)
	switch {
	case n.Tag == "!retval" || n.Tag == "!secret":
		return v.read(n), true
	case n.Kind == yaml.ScalarNode && coreTag(n) && scalarKind(n) == boolScalar:
		v.fail(n, fmt.Sprintf("write %q", n.Value), "%s must be a text, not a boolean", what)
		return nil, false
	}
	return v.text(n, what)
}

// httpPolicy reads what is made of the answer.
func (b *jobBuilder) httpPolicy(s slot, what string, h *jobcontrol.HTTP) bool {
	r := s.r
	switch s.name {
	case "expect":
		if n := deref(s.value); n.Kind == yaml.SequenceNode && !custom(n) {
			h.Expect, _ = r.texts(n, "expect", "a status")
			if len(n.Content) == 0 {
				r.fail(n, "such as 200, 2xx or [200, 404]", "expect is an empty list")
			}
		} else if text, ok := r.text(s.value, "expect"); ok {
			h.Expect = []string{text}
		}
		for i, e := range h.Expect {
			h.Expect[i] = strings.ToLower(e)
		}
	case "result":
		if w, _ := r.oneOf(s.value, "result", "body", "json", "none"); w != "none" {
			h.Result = w
		}
	case "timeout":
		d, ok := r.duration(s.value, "timeout")
		if ok && d == 0 {
			r.fail(deref(s.value), "", "timeout must be more than 0")
		}
		h.Timeout = d
	case "follow_redirects":
		n := deref(s.value)
		if n.Kind == yaml.ScalarNode && coreTag(n) && scalarKind(n) == intScalar {
			if most, ok := r.number(n, "follow_redirects", 0, jobcontrol.MaxRedirects); ok {
				h.Redirects = &most
			}
			return true
		}
		if yes, ok := r.boolean(n, "follow_redirects"); ok {
			most := 0
			if yes {
				most = 10
			}
			h.Redirects = &most
		}
	default:
		return false
	}
	return true
}
