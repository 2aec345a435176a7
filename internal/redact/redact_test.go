package redact_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"

	"github.com/jobcontrol/jobcontrol/internal/redact"
)

const secret = "pa55/wörd+<x>"

func newRedactor(t testing.TB, secrets ...string) *redact.Redactor {
	t.Helper()
	r, err := redact.New(secrets)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestForms(t *testing.T) {
	marshalled, _ := json.Marshal(secret)
	for name, form := range map[string]string{
		"exact":       secret,
		"query":       url.QueryEscape(secret),
		"path":        url.PathEscape(secret),
		"lower query": strings.ToLower(url.QueryEscape(secret)),
		"json":        string(marshalled[1 : len(marshalled)-1]),
		"python json": `pa55/w\u00f6rd+<x>`,
		"php json":    `pa55\/wörd+<x>`,
		"hex":         hex.EncodeToString([]byte(secret)),
		"HEX":         strings.ToUpper(hex.EncodeToString([]byte(secret))),
	} {
		r := newRedactor(t, "another secret", secret)
		if got := r.String("a " + form + " b"); got != "a *** b" {
			t.Errorf("%s: %q became %q", name, form, got)
		}
	}
}

func TestBase64(t *testing.T) {
	r := newRedactor(t, secret)
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		for before := range 5 {
			for after := range 5 {
				text := enc.EncodeToString([]byte(strings.Repeat("u", before) + secret + strings.Repeat("v", after)))
				got := r.String(text)
				head, tail, ok := strings.Cut(got, "***")
				if !ok {
					t.Errorf("%d+%d: %q stays %q", before, after, text, got)
					continue
				}
				// What is left of the secret: less than a character's bits at either end.
				if len(head) > (8*before+5)/6 || len(tail) > (8*after+5)/6+3 {
					t.Errorf("%d+%d: %q became %q", before, after, text, got)
				}
			}
		}
	}
}

func TestOverlaps(t *testing.T) {
	r := newRedactor(t, "abcdef", "defghi", "cdefghijk")
	for text, want := range map[string]string{
		"":                     "",
		"abcde":                "abcde",
		"xabcdefx":             "x***x",
		"abcdefghi":            "***",
		"abcdefghij.":          "***j.",
		"abcdefghijk.":         "***.",
		"abcdefabcdef":         "***",
		"abcdef abcdef":        "*** ***",
		"ababcdefdef":          "ab***def",
		"abcdeabcdeabcdefabcd": "abcdeabcde***abcd",
	} {
		if got := r.String(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

func TestSeveralLines(t *testing.T) {
	key := "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG\r\nxx\n-----END KEY-----\n"
	r := newRedactor(t, key)
	for text, want := range map[string]string{
		"<" + key + ">":          "<***>",
		"MIIEvQIBADANBg":         "***",
		"a kqhkiG":               "a ***",
		"xx":                     "xx",
		strings.TrimSpace(key):   "***",
		string(mustJSON(t, key)): `"***"`,
	} {
		if got := r.String(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestTooShort(t *testing.T) {
	for _, s := range []string{"", "12345", "wörd5", "  12345 \n"} {
		var short *redact.ShortError
		if _, err := redact.New([]string{"long enough", s}); !errors.As(err, &short) || short.Index != 1 {
			t.Errorf("%q: %v", s, err)
		} else if s != "" && strings.Contains(err.Error(), s) {
			t.Errorf("%q is in the message: %v", s, err)
		}
	}
	newRedactor(t, "wörd56")
}

func TestNothingToRedact(t *testing.T) {
	text := []byte("text")
	for _, r := range []*redact.Redactor{nil, newRedactor(t), newRedactor(t, secret)} {
		if got := r.Bytes(text); &got[0] != &text[0] {
			t.Errorf("a text without secrets was copied")
		}
		if got := r.JSON(json.RawMessage(text)); string(got) != "text" && string(got) != `"text"` {
			t.Errorf("got %s", got)
		}
		if s := r.Stream(); string(s.Write(text))+string(s.Flush()) != "text" {
			t.Errorf("a stream changed a text without secrets")
		}
	}
}

func TestJSON(t *testing.T) {
	r := newRedactor(t, secret, "123456789", `{"a":1`, "[[[[[[[[", "null,null,null", "1.5e+10", "\xff\xfe\xfd\xfc\xfb\xfa", `b\ncdef`)
	for text, want := range map[string]string{
		`{"a":1}`: `{"a":1}`,
		string(mustJSON(t, map[string]any{"k" + secret: []any{secret, 1, "x"}})): `{"k***":["***",1,"x"]}`,
		`{"n": 123456789, "m": -1234567890}`:                                     `{"n": "***", "m": "-***0"}`,
		`[[[[[[[[[1.5e+10]]]]]]]]]`:                                              `[[[[[[[[["***"]]]]]]]]]`,
		`[null,null,null]`:                                                       `[null,null,null]`,
		`{"a\"b":"\\\" pa55\/w\u00f6rd+\u003cx>"}`:                               `{"a\"b":"\\\" ***"}`,
		`not json ` + secret:                                                     `"not json ***"`,
		`"<&>"`:                                                                  `"<&>"`,
		"[\"a \xff\xfe\xfd\xfc\xfb\xfa\"]":                                       `["***"]`,
		`["a b\ncdef", "a b\\ncdef"]`:                                            `["***", "a ***"]`,
	} {
		got := r.JSON(json.RawMessage(text))
		if string(got) != want {
			t.Errorf("%s became %s, want %s", text, got, want)
		}
		if !json.Valid(got) {
			t.Errorf("%s became %s, which is not valid JSON", text, got)
		}
	}
}

func TestWriter(t *testing.T) {
	var out bytes.Buffer
	w := newRedactor(t, secret).Writer(&out)
	fmt.Fprint(w, "a ", secret[:4])
	fmt.Fprint(w, secret[4:], " b", secret[:5])
	if err := w.Close(); err != nil || out.String() != "a *** b"+secret[:5] {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

// TestHoldsBack bounds what a stream holds back by the longest form.
func TestHoldsBack(t *testing.T) {
	s := newRedactor(t, "abcdef").Stream()
	if got := string(s.Write([]byte("xyz"))); got != "xyz" {
		t.Errorf("held back of xyz: wrote %q", got)
	}
	if got := string(s.Write([]byte("abcde"))); got != "" {
		t.Errorf("wrote %q", got)
	}
	if got := string(s.Write([]byte("f"))); got != "***" {
		t.Errorf("wrote %q", got)
	}
	if got := string(s.Flush()); got != "" {
		t.Errorf("flushed %q", got)
	}
}

// TestChunks compares every way to cut a text with the whole, and with a slow
// search for each secret.
func TestChunks(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var secrets []string
		for range 1 + rnd.IntN(4) {
			secrets = append(secrets, randomText(rnd, 6+rnd.IntN(6)))
		}
		text := randomText(rnd, rnd.IntN(60))
		r := newRedactor(t, secrets...)
		whole := r.String(text)
		s := r.Stream()
		var out []byte
		for rest := text; rest != ""; {
			n := 1 + rnd.IntN(len(rest))
			out = append(out, s.Write([]byte(rest[:n]))...)
			rest = rest[n:]
		}
		out = append(out, s.Flush()...)
		if want := slow(text, secrets); string(out) != want || whole != want {
			t.Fatalf("secrets %q, text %q: chunks %q, whole %q, want %q", secrets, text, out, whole, want)
		}
	}
}

func randomText(rnd *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = "ab"[rnd.IntN(2)]
	}
	return string(b)
}

// slow masks what any occurrence of a secret covers; the other forms of a secret
// of letters a and b cannot be in a text of them.
func slow(text string, secrets []string) string {
	covered := make([]bool, len(text))
	for _, s := range secrets {
		for i := range text {
			if strings.HasPrefix(text[i:], s) {
				for j := range s {
					covered[i+j] = true
				}
			}
		}
	}
	var out strings.Builder
	for i := range text {
		if !covered[i] {
			out.WriteByte(text[i])
		} else if i == 0 || !covered[i-1] {
			out.WriteString(redact.Mask)
		}
	}
	return out.String()
}

func BenchmarkRedactor(b *testing.B) {
	text := []byte(strings.Repeat("2026-01-02 a line of a log that has no secrets at all in it\n", 1000))
	for _, n := range []int{0, 1, 100} {
		b.Run(fmt.Sprintf("%d secrets", n), func(b *testing.B) {
			var secrets []string
			for i := range n {
				secrets = append(secrets, fmt.Sprintf("secret number %d of them", i))
			}
			s := newRedactor(b, secrets...).Stream()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				s.Write(text)
			}
		})
	}
}
