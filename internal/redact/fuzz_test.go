package redact_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/jobcontrol/jobcontrol/internal/bounds"
	"github.com/jobcontrol/jobcontrol/internal/redact"
)

// FuzzRedactor writes a secret in every way that the package knows into a text, and
// the text in pieces: cut once at every place, and cut as cuts say. Whatever the
// pieces are, what comes out is the same, and no form of the secret is in it.
func FuzzRedactor(f *testing.F) {
	f.Add(secret, "another", "before ", " after", []byte{3})
	f.Add("aaaaaaa", "aaaaaab", "aa", "aaa", []byte{9, 1})
	f.Add("line one\nline two", "", "", "\n", []byte{1})
	f.Add("\xff\xfe\xfd\xfc\xfb\xfa", "", "\xff", "\xfa", []byte{2})
	f.Add("x\\ny12\"/\\", "***12345", "\n", "\"", []byte{0})
	f.Fuzz(func(t *testing.T, secret, other, before, after string, cuts []byte) {
		if len(secret) > 200 || len(other) > 50 || len(before)+len(after) > 200 {
			return
		}
		r, err := redact.New([]string{secret, other})
		if err != nil {
			if r, err = redact.New([]string{secret}); err != nil {
				return
			}
		}
		for _, w := range writings(before, secret, after) {
			var whole string
			bounds.Hold(t, func() { whole = r.String(w.text) })
			if invisible(w.form) && strings.Contains(whole, w.form) {
				t.Fatalf("%s of %q is visible in %q, which was %q", w.name, secret, whole, w.text)
			}
			if got := inPieces(r, w.text, cuts); got != whole {
				t.Fatalf("%q cut as %v: %q, whole %q", w.text, cuts, got, whole)
			}
			if w.name != "exact" {
				continue
			}
			for at := range len(w.text) + 1 {
				if got := cutAt(r, w.text, at); got != whole {
					t.Fatalf("%q cut at %d: %q, whole %q", w.text, at, got, whole)
				}
			}
		}
		checkJSON(t, r, before, secret, after)
	})
}

// invisible tells whether a form that is found must have been overlooked: one with
// asterisks may be made anew by a mask and what stands next to it.
func invisible(form string) bool { return form != "" && !strings.Contains(form, "*") }

// writing is a text with a secret in it, and what must not be visible of it.
type writing struct{ name, text, form string }

// writings writes before, secret and after in the forms of the package's comment,
// each made by an encoder of the whole text.
func writings(before, secret, after string) []writing {
	out := []writing{
		{"exact", before + secret + after, secret},
		{"trimmed", before + strings.TrimSpace(secret) + after, strings.TrimSpace(secret)},
	}
	add := func(name string, encode func(string) string) {
		out = append(out, writing{name, encode(before) + encode(secret) + encode(after), encode(secret)})
	}
	add("query", url.QueryEscape)
	add("path", url.PathEscape)
	add("lower query", func(s string) string { return lower(url.QueryEscape(s)) })
	add("hex", func(s string) string { return hex.EncodeToString([]byte(s)) })
	add("HEX", func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) })
	add("json", func(s string) string { data, _ := json.Marshal(s); return string(data[1 : len(data)-1]) })
	for name, enc := range map[string]*base64.Encoding{"base64": base64.StdEncoding, "URL base64": base64.RawURLEncoding} {
		text := enc.EncodeToString([]byte(before + secret + after))
		from, to := (8*len(before)+5)/6, 8*(len(before)+len(secret))/6
		out = append(out, writing{name, text, text[from:to]})
	}
	return out
}

var escapes = regexp.MustCompile(`%[0-9A-F]{2}`)

func lower(s string) string { return escapes.ReplaceAllStringFunc(s, strings.ToLower) }

// inPieces redacts a text in pieces of the lengths that cuts has, again and again.
func inPieces(r *redact.Redactor, text string, cuts []byte) string {
	s := r.Stream()
	var out []byte
	for i, rest := 0, text; rest != ""; i++ {
		n := len(rest)
		if len(cuts) > 0 {
			n = min(n, max(1, int(cuts[i%len(cuts)])))
		}
		out = append(out, s.Write([]byte(rest[:n]))...)
		rest = rest[n:]
	}
	return string(append(out, s.Flush()...))
}

func cutAt(r *redact.Redactor, text string, at int) string {
	var out bytes.Buffer
	w := r.Writer(&out)
	_, _ = w.Write([]byte(text[:at])) // a buffer does not fail
	_, _ = w.Write([]byte(text[at:]))
	_ = w.Close()
	return out.String()
}

var stringToken = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// checkJSON holds that a JSON text stays valid, and that neither what its strings
// say nor how they are written has the secret.
func checkJSON(t *testing.T, r *redact.Redactor, before, secret, after string) {
	t.Helper()
	data, err := json.Marshal(map[string]any{before + secret: []string{after, before + secret + after}, "n": 1234567890})
	if err != nil {
		t.Fatal(err)
	}
	quoted := strings.NewReplacer(`"`, "", `\`, "", "\x00", "").Replace(before + secret + after)
	for _, raw := range []json.RawMessage{data, json.RawMessage(`["` + quoted + `"]`), json.RawMessage(before + secret)} {
		var out json.RawMessage
		bounds.Hold(t, func() { out = r.JSON(raw) })
		if !json.Valid(out) && len(raw) > 0 {
			t.Fatalf("%s became invalid: %s", raw, out)
		}
		for _, token := range stringToken.FindAll(out, -1) {
			var said string
			if err := json.Unmarshal(token, &said); err != nil {
				t.Fatal(err)
			}
			if invisible(secret) && (strings.Contains(said, secret) || bytes.Contains(token, []byte(secret))) {
				t.Fatalf("%q is visible in %s, which was %q", secret, out, raw)
			}
		}
	}
}
