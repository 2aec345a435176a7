package jobcontrol

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Retval stands in arguments for the result of a dependency's build (the YAML
// tag !retval). Path leads into the result: pages[0].url, or empty for all of it.
type Retval struct {
	Job  string
	Path string
}

// String returns the placeholder as JobControl shows it.
func (r Retval) String() string {
	text := r.Job
	if r.Path != "" && !strings.HasPrefix(r.Path, "[") {
		text += "."
	}
	return fmt.Sprintf("Retval('%s')", text+r.Path)
}

// Secret stands in arguments for a secret, read by name on the worker when the
// attempt starts and never shown (the YAML tag !secret).
type Secret struct {
	Name string
}

// String names the secret; its value is never part of it.
func (s Secret) String() string { return "Secret('" + s.Name + "')" }

// EncodedArguments is the JSON of arguments with placeholders; see [EncodeArguments].
type EncodedArguments = json.RawMessage

// EncodeArguments makes JSON of arguments: a placeholder becomes
// {"$retval": {"job": …, "path": …}} or {"$secret": name}; a user's key that
// begins with $ gets one more $ in front, so that the two never meet.
func EncodeArguments(v any) (EncodedArguments, error) { return appendArguments(nil, v) }

// appendArguments appends what encoding/json would write, without its detours
// for what arguments mostly are.
func appendArguments(out []byte, v any) (_ []byte, err error) {
	switch v := v.(type) {
	case nil:
		return append(out, "null"...), nil
	case bool:
		return strconv.AppendBool(out, v), nil
	case int:
		return strconv.AppendInt(out, int64(v), 10), nil
	case int64:
		return strconv.AppendInt(out, v, 10), nil
	case string:
		return appendString(out, v)
	case Retval:
		body := map[string]any{"job": v.Job}
		if v.Path != "" {
			body["path"] = v.Path
		}
		return appendJSON(out, map[string]any{"$retval": body})
	case Secret:
		return appendJSON(out, map[string]any{"$secret": v.Name})
	case []any:
		out = append(out, '[')
		for i := range v {
			if i > 0 {
				out = append(out, ',')
			}
			if out, err = appendArguments(out, v[i]); err != nil {
				return nil, err
			}
		}
		return append(out, ']'), nil
	case map[string]any:
		return appendMap(out, v)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, Errorf(Invalid, "%v is not a number that JSON can hold", v)
		}
		if v == 0 {
			return append(out, '0'), nil // -0 would come back as the whole number, and a definition have another hash
		}
	}
	return appendJSON(out, v)
}

// appendMap appends a map in the order of its keys, which an escape does not change.
func appendMap(out []byte, m map[string]any) (_ []byte, err error) {
	var few [16]string
	keys := few[:0]
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	out = append(out, '{')
	for i, k := range keys {
		if i > 0 {
			out = append(out, ',')
		}
		name := k
		if strings.HasPrefix(k, "$") {
			name = "$" + k
		}
		if out, err = appendString(out, name); err != nil {
			return nil, err
		}
		if out, err = appendArguments(append(out, ':'), m[k]); err != nil {
			return nil, err
		}
	}
	return append(out, '}'), nil
}

// appendString appends a text; what needs no escape is copied.
func appendString(out []byte, s string) ([]byte, error) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return appendJSON(out, s)
		}
	}
	out = append(out, '"')
	out = append(out, s...)
	return append(out, '"'), nil
}

func appendJSON(out []byte, v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return append(out, bytes.TrimRight(buf.Bytes(), "\n")...), nil
}

// MayHavePlaceholders is false for arguments that surely have none.
func MayHavePlaceholders(data EncodedArguments) bool {
	return bytes.IndexByte(data, '$') >= 0 || bytes.Contains(data, []byte(`\u0024`))
}

// DecodeArguments is the inverse of [EncodeArguments]. Whole numbers that fit
// become int64, others float64.
func DecodeArguments(data EncodedArguments) (any, error) {
	v, err := DecodeJSON(data)
	if err != nil || !MayHavePlaceholders(data) {
		return v, err
	}
	return decodeValue(v)
}

func decodeValue(v any) (any, error) {
	switch v := v.(type) {
	case []any:
		for i := range v {
			var err error
			if v[i], err = decodeValue(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		if len(v) == 1 {
			if body, ok := v["$retval"].(map[string]any); ok {
				job, _ := body["job"].(string)
				path, _ := body["path"].(string)
				return Retval{Job: job, Path: path}, nil
			}
			if name, ok := v["$secret"].(string); ok {
				return Secret{Name: name}, nil
			}
		}
		escaped := false
		for k, e := range v {
			d, err := decodeValue(e)
			if err != nil {
				return nil, err
			}
			v[k] = d
			escaped = escaped || strings.HasPrefix(k, "$")
		}
		if !escaped {
			return v, nil
		}
		out := make(map[string]any, len(v))
		for k, d := range v {
			if strings.HasPrefix(k, "$") {
				if !strings.HasPrefix(k, "$$") {
					return nil, Errorf(Invalid, "unknown placeholder %q in stored arguments", k)
				}
				k = k[1:]
			}
			out[k] = d
		}
		return out, nil
	}
	return v, nil
}

func decodeList(data EncodedArguments) ([]any, error) {
	if len(data) == 0 {
		return nil, nil
	}
	v, err := DecodeArguments(data)
	if err != nil {
		return nil, err
	}
	l, ok := v.([]any)
	if !ok && v != nil {
		return nil, Errorf(Invalid, "arguments must be a list")
	}
	return l, nil
}

func decodeMap(data EncodedArguments) (map[string]any, error) {
	if len(data) == 0 {
		return nil, nil
	}
	v, err := DecodeArguments(data)
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok && v != nil {
		return nil, Errorf(Invalid, "keyword arguments must be a mapping")
	}
	return m, nil
}

// WalkArguments calls visit for every placeholder in v, depth first.
func WalkArguments(v any, visit func(placeholder any)) {
	switch v := v.(type) {
	case Retval, Secret:
		visit(v)
	case []any:
		for _, e := range v {
			WalkArguments(e, visit)
		}
	case map[string]any:
		for _, e := range v {
			WalkArguments(e, visit)
		}
	}
}

// ReplaceArguments returns a copy of v in which each placeholder is what
// replace returns for it. Keys of mappings are never replaced.
func ReplaceArguments(v any, replace func(placeholder any) (any, error)) (any, error) {
	switch v := v.(type) {
	case Retval, Secret:
		return replace(v)
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			var err error
			if out[i], err = ReplaceArguments(e, replace); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			var err error
			if out[k], err = ReplaceArguments(e, replace); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return v, nil
}

// Lookup follows a path such as pages[0].url, .a.b or [a.b] into a decoded JSON
// value: in brackets is the index of a list, or any key of a mapping.
func Lookup(v any, path string) (any, error) {
	rest := strings.TrimPrefix(path, ".")
	for rest != "" {
		if rest[0] == '[' {
			end := strings.IndexByte(rest, ']')
			if end < 0 {
				return nil, Errorf(Invalid, "path %q: missing ]", path)
			}
			key := rest[1:end]
			rest = strings.TrimPrefix(rest[end+1:], ".")
			if m, ok := v.(map[string]any); ok {
				if v, ok = m[key]; !ok {
					return nil, Errorf(Invalid, "path %q: no key %q", path, key)
				}
				continue
			}
			i, err := strconv.Atoi(key)
			list, ok := v.([]any)
			switch {
			case err != nil:
				return nil, Errorf(Invalid, "path %q: %q is no index", path, key)
			case !ok:
				return nil, Errorf(Invalid, "path %q: [%d] of a value that is no list", path, i)
			}
			if i < 0 {
				i += len(list)
			}
			if i < 0 || i >= len(list) {
				return nil, Errorf(Invalid, "path %q: the list has %d items", path, len(list))
			}
			v = list[i]
			continue
		}
		key := rest
		if i := strings.IndexAny(rest, ".["); i >= 0 {
			key = rest[:i]
		}
		m, ok := v.(map[string]any)
		if !ok {
			return nil, Errorf(Invalid, "path %q: %q of a value that is no mapping", path, key)
		}
		e, ok := m[key]
		if !ok {
			return nil, Errorf(Invalid, "path %q: no key %q", path, key)
		}
		v, rest = e, strings.TrimPrefix(rest[len(key):], ".")
	}
	return v, nil
}
