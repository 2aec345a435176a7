package jobcontrol

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"
)

// DecodeJSON decodes one JSON value into nil, bool, int64, float64, string,
// []any and map[string]any: whole numbers that fit stay whole.
func DecodeJSON(data []byte) (any, error) {
	if !json.Valid(data) {
		var v any
		if err := json.Unmarshal(data, &v); err != nil { // it says what is wrong
			return nil, err
		}
		return nil, Errorf(Invalid, "this is not one JSON value")
	}
	d := decoder{data: data}
	return d.value()
}

// decoder reads a JSON value that is known to be valid.
type decoder struct {
	data []byte
	pos  int
}

// next returns the next byte that is no space, without passing it.
func (d *decoder) next() byte {
	for {
		switch c := d.data[d.pos]; c {
		case ' ', '\t', '\n', '\r':
			d.pos++
		default:
			return c
		}
	}
}

func (d *decoder) value() (any, error) {
	switch d.next() {
	case '{':
		return d.object()
	case '[':
		return d.list()
	case '"':
		return d.text()
	case 't':
		d.pos += len("true")
		return true, nil
	case 'f':
		d.pos += len("false")
		return false, nil
	case 'n':
		d.pos += len("null")
		return nil, nil
	}
	return d.number(), nil
}

func (d *decoder) object() (any, error) {
	out := map[string]any{}
	d.pos++
	for d.next() != '}' {
		if d.data[d.pos] == ',' {
			d.pos++
			d.next()
		}
		key, err := d.text()
		if err != nil {
			return nil, err
		}
		d.next()
		d.pos++ // the colon
		v, err := d.value()
		if err != nil {
			return nil, err
		}
		out[key] = v
	}
	d.pos++
	return out, nil
}

func (d *decoder) list() (any, error) {
	out := []any{}
	d.pos++
	for d.next() != ']' {
		if d.data[d.pos] == ',' {
			d.pos++
		}
		v, err := d.value()
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	d.pos++
	return out, nil
}

func (d *decoder) text() (string, error) {
	start, plain := d.pos, true
	d.pos++
	for ; d.data[d.pos] != '"'; d.pos++ {
		if d.data[d.pos] == '\\' {
			plain = false
			d.pos++
		}
	}
	d.pos++
	if raw := d.data[start+1 : d.pos-1]; plain && utf8.Valid(raw) {
		return string(raw), nil
	}
	var s string
	err := json.Unmarshal(d.data[start:d.pos], &s)
	return s, err
}

func (d *decoder) number() any {
	start := d.pos
	for d.pos < len(d.data) && strings.IndexByte("+-0123456789.eE", d.data[d.pos]) >= 0 {
		d.pos++
	}
	if n, ok := small(d.data[start:d.pos]); ok {
		return n
	}
	text := string(d.data[start:d.pos])
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		return i
	}
	f, _ := strconv.ParseFloat(text, 64) // too large: infinite
	return f
}

// small reads a whole number of few digits.
func small(text []byte) (n int64, ok bool) {
	digits := bytes.TrimPrefix(text, []byte("-"))
	if len(digits) > 18 {
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
