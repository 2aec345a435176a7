package redact

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Mask stands for a secret.
const Mask = "***"

// MinLength is the least number of characters of a secret.
const MinLength = 6

// A ShortError says that a secret is too short to be searched for.
type ShortError struct {
	Index int // of the secret in what New was given
}

// Error returns the message. It does not hold the secret.
func (e *ShortError) Error() string {
	return fmt.Sprintf("secret %d has fewer than %d characters, too few to be kept out of logs", e.Index, MinLength)
}

// Redactor replaces secrets. It is safe for concurrent use; a nil one replaces nothing.
type Redactor struct {
	m *machine // nil: there are no secrets
}

// New returns a redactor of the secrets; a *[ShortError] if one is too short.
func New(secrets []string) (*Redactor, error) {
	var all []string
	for i, s := range secrets {
		if utf8.RuneCountInString(strings.TrimSpace(s)) < MinLength {
			return nil, &ShortError{Index: i}
		}
		all = append(all, forms(s)...)
	}
	r := &Redactor{}
	if len(all) > 0 {
		r.m = newMachine(all)
	}
	return r, nil
}

// none tells whether there is nothing to search for.
func (r *Redactor) none() bool { return r == nil || r.m == nil }

// String returns s without secrets; s itself if it has none.
func (r *Redactor) String(s string) string {
	if r.none() || !found(r.m, s) {
		return s
	}
	return string(r.Bytes([]byte(s)))
}

// Bytes returns a copy of p without secrets; p itself if it has none.
func (r *Redactor) Bytes(p []byte) []byte {
	if r.none() || !found(r.m, p) {
		return p
	}
	s := r.Stream()
	out := s.Write(p)
	return append(out, s.Flush()...)
}

// JSON returns a JSON text without secrets in its strings, keys and numbers; it
// stays valid JSON, and is the same if it has no secrets. What is not valid JSON
// becomes a JSON string.
func (r *Redactor) JSON(raw json.RawMessage) json.RawMessage {
	if r.none() || len(raw) == 0 {
		return raw
	}
	if !json.Valid(raw) {
		return r.quote(r.String(strings.ToValidUTF8(string(raw), "\uFFFD")))
	}
	var out bytes.Buffer
	for i := 0; i < len(raw); {
		end := token(raw, i)
		out.Write(r.token(raw[i:end]))
		i = end
	}
	if bytes.Equal(out.Bytes(), raw) {
		return raw
	}
	return out.Bytes()
}

// token is where the token that begins at i of valid JSON ends: a string, a
// number, or anything else between those.
func token(raw []byte, i int) int {
	number := func(c byte) bool { return c >= '0' && c <= '9' || strings.IndexByte("+-.eE", c) >= 0 }
	switch c := raw[i]; {
	case c == '"':
		for i++; raw[i] != '"'; i++ {
			if raw[i] == '\\' {
				i++
			}
		}
		return i + 1
	case c >= '0' && c <= '9' || c == '-':
		for i < len(raw) && number(raw[i]) {
			i++
		}
		return i
	}
	for i < len(raw) && raw[i] != '"' && raw[i] != '-' && (raw[i] < '0' || raw[i] > '9') {
		i++
	}
	return i
}

// token returns a token without secrets.
func (r *Redactor) token(t []byte) []byte {
	if t[0] != '"' {
		if t[0] != '-' && (t[0] < '0' || t[0] > '9') {
			return t
		}
		if clean := r.Bytes(t); !bytes.Equal(clean, t) {
			return quote(string(clean))
		}
		return t
	}
	var s string
	if err := json.Unmarshal(t, &s); err != nil {
		return quote(Mask) // cannot be: the whole is valid
	}
	if clean := r.String(s); clean != s {
		return r.quote(clean)
	}
	if found(r.m, t) {
		return quote(Mask)
	}
	return t
}

// quote returns the JSON string of a text without secrets; a mask alone if there is
// one in how it is written, with an escape for example.
func (r *Redactor) quote(clean string) []byte {
	if q := quote(clean); !found(r.m, q) {
		return q
	}
	return quote(Mask)
}

func quote(s string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string can be encoded
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// Writer returns a writer that passes on to w what it is given, without secrets.
// Close passes on what was held back; it does not close w.
func (r *Redactor) Writer(w io.Writer) io.WriteCloser { return &writer{w, r.Stream()} }

type writer struct {
	w io.Writer
	s *Stream
}

func (w *writer) Write(p []byte) (int, error) {
	if out := w.s.Write(p); len(out) > 0 {
		if _, err := w.w.Write(out); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (w *writer) Close() error {
	if out := w.s.Flush(); len(out) > 0 {
		_, err := w.w.Write(out)
		return err
	}
	return nil
}
