package jobcontrol

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// DecodeJSON decodes one JSON value into nil, bool, int64, float64, string,
// []any and map[string]any: whole numbers that fit stay whole.
func DecodeJSON(data []byte) (any, error) {
	d := decoder{data: data}
	if v, ok := d.value(); ok && d.next() == 0 && d.pos == len(data) {
		return v, nil
	}
	var v any
	if err := json.Unmarshal(data, &v); err != nil { // it says what is wrong
		return nil, err
	}
	return nil, Errorf(Invalid, "this is not one JSON value")
}

// decoder reads a JSON value. Its methods tell whether there is one.
type decoder struct {
	data  []byte
	pos   int
	depth int
}

// maxDepth is how deep encoding/json lets values be.
const maxDepth = 10000

// next returns the next byte that is no space, without passing it; 0: there is none.
func (d *decoder) next() byte {
	for ; d.pos < len(d.data); d.pos++ {
		switch c := d.data[d.pos]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

func (d *decoder) value() (any, bool) {
	switch d.next() {
	case '{':
		return d.object()
	case '[':
		return d.list()
	case '"':
		s, ok := d.text()
		return s, ok
	case 't':
		return true, d.literal("true")
	case 'f':
		return false, d.literal("false")
	case 'n':
		return nil, d.literal("null")
	}
	return d.number()
}

func (d *decoder) literal(text string) bool {
	ok := bytes.HasPrefix(d.data[d.pos:], []byte(text))
	d.pos += len(text)
	return ok
}

// begin passes the first byte of a list or an object, and tells whether something
// follows; else it passes the last one, too.
func (d *decoder) begin(end byte) (some, ok bool) {
	d.pos++
	d.depth++
	if d.next() != end {
		return true, d.depth <= maxDepth
	}
	d.pos++
	d.depth--
	return false, d.depth < maxDepth
}

// more passes what stands behind an element, and tells whether another one follows.
func (d *decoder) more(end byte) (more, ok bool) {
	switch c := d.next(); c {
	case ',':
		d.pos++
		return true, true
	case end:
		d.pos++
		d.depth--
		return false, true
	}
	return false, false
}

func (d *decoder) object() (any, bool) {
	out := map[string]any{}
	some, ok := d.begin('}')
	for ok && some {
		if d.next() != '"' {
			return nil, false
		}
		key, fine := d.text()
		if !fine || d.next() != ':' {
			return nil, false
		}
		d.pos++
		v, fine := d.value()
		if !fine {
			return nil, false
		}
		out[key] = v
		some, ok = d.more('}')
	}
	return out, ok
}

func (d *decoder) list() (any, bool) {
	out := []any{}
	some, ok := d.begin(']')
	for ok && some {
		v, fine := d.value()
		if !fine {
			return nil, false
		}
		out = append(out, v)
		some, ok = d.more(']')
	}
	return out, ok
}

func (d *decoder) text() (string, bool) {
	start, plain := d.pos, true
	for d.pos++; ; d.pos++ {
		if d.pos >= len(d.data) || d.data[d.pos] < ' ' {
			return "", false
		}
		if d.data[d.pos] == '"' {
			break
		}
		if d.data[d.pos] == '\\' {
			plain = false
			d.pos++
		}
	}
	d.pos++
	if raw := d.data[start+1 : d.pos-1]; plain && utf8.Valid(raw) {
		return string(raw), true
	}
	var s string
	err := json.Unmarshal(d.data[start:d.pos], &s)
	return s, err == nil
}

func (d *decoder) number() (any, bool) {
	start := d.pos
	for d.pos < len(d.data) && ofNumber(d.data[d.pos]) {
		d.pos++
	}
	text := d.data[start:d.pos]
	if n, ok := small(text); ok {
		return n, true
	}
	if !json.Valid(text) {
		return nil, false
	}
	if i, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		return i, true
	}
	f, _ := strconv.ParseFloat(string(text), 64) // too large: infinite
	return f, true
}

func ofNumber(c byte) bool {
	return c >= '0' && c <= '9' || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E'
}

// small reads a whole number of few digits.
func small(text []byte) (n int64, ok bool) {
	digits := bytes.TrimPrefix(text, []byte("-"))
	if len(digits) == 0 || len(digits) > 18 || digits[0] == '0' && len(digits) > 1 {
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	if len(digits) < len(text) {
		n = -n
	}
	return n, true
}
