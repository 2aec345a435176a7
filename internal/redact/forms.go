package redact

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// forms returns all forms of a secret, some perhaps twice.
func forms(secret string) []string {
	values := []string{secret}
	if trimmed := strings.TrimSpace(secret); trimmed != secret {
		values = append(values, trimmed)
	}
	if lines := strings.Split(secret, "\n"); len(lines) > 1 {
		for _, l := range lines {
			if l = strings.TrimSpace(l); utf8.RuneCountInString(l) >= MinLength {
				values = append(values, l)
			}
		}
	}
	var out []string
	for _, v := range values {
		out = append(out, v)
		out = append(out, base64Forms(v)...)
		out = append(out, urlForms(v)...)
		out = append(out, jsonForms(v)...)
		h := hex.EncodeToString([]byte(v))
		out = append(out, h, strings.ToUpper(h))
	}
	return out
}

// base64Forms returns, for each place that the value may have in a group of
// three bytes, the characters that it alone determines.
func base64Forms(v string) []string {
	var out []string
	for before := range 3 {
		data := append(make([]byte, before), v...)
		from, to := (8*before+5)/6, 8*len(data)/6
		for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			out = append(out, enc.EncodeToString(data)[from:to])
		}
	}
	return out
}

func urlForms(v string) []string {
	query := url.QueryEscape(v)
	component := strings.NewReplacer("+", "%20", "%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*").Replace(query)
	var out []string
	for _, e := range []string{query, url.PathEscape(v), component} {
		out = append(out, e, lowerEscapes(e))
	}
	return out
}

// lowerEscapes writes the digits of percent escapes in lower case.
func lowerEscapes(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:], strings.ToLower(s[i+1:i+3]))
		}
	}
	return string(b)
}

func jsonForms(v string) []string {
	plain := strings.TrimSuffix(strings.TrimPrefix(string(quote(v)), `"`), `"`)
	html, _ := json.Marshal(v) // a string can be encoded
	var ascii strings.Builder
	for _, r := range plain {
		switch {
		case r < utf8.RuneSelf:
			ascii.WriteRune(r)
		case r > 0xFFFF:
			hi, lo := utf16.EncodeRune(r)
			fmt.Fprintf(&ascii, `\u%04x\u%04x`, hi, lo)
		default:
			fmt.Fprintf(&ascii, `\u%04x`, r)
		}
	}
	return []string{plain, string(html[1 : len(html)-1]), ascii.String(), strings.ReplaceAll(plain, "/", `\/`)}
}
