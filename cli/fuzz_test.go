package cli

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/jobcontrol/jobcontrol/internal/bounds"
)

// sgr is the one kind of control sequence that may reach a terminal.
var sgr = regexp.MustCompile("\x1b\\[[0-9;]*m")

// FuzzTerminal writes any text to a terminal, in one piece and cut at a place. No
// byte of it steers the terminal but line ends, tabs and colours, and nothing
// reorders the text. What is shown of a text that does neither is the text.
func FuzzTerminal(f *testing.F) {
	for _, s := range []string{
		"a\tb\nc", "\x1b[31mred\x1b[0m", "\x1b]8;;x\x07", "\xc2\x9b", "\x1b\x1b[0m[2J", "\r\n\r", "\x1b]52;c;YQ==\x1b\\", "\x1b[2", "\x1b[1;31",
		"\u202egnp.exe", "\u2066\u200f\u061c", "日本 é 👩‍💻", "\x1bP+q\x1b\\", "\x9b2J", "\u0085\u2028\ufeff\U000e0041", "\x1b[" + strings.Repeat("1;", 40) + "m", "\x7f\x00\xff",
	} {
		f.Add(s, len(s)/2)
	}
	f.Fuzz(func(t *testing.T, s string, at int) {
		if len(s) > 16<<10 {
			return
		}
		at = max(0, min(at, len(s)))
		var out bytes.Buffer
		for _, piece := range []string{s, s[:at], s[at:]} {
			if n, err := (guarded{&out}).Write([]byte(piece)); n != len(piece) || err != nil {
				t.Fatalf("Write = %d, %v", n, err)
			}
		}
		inert(t, s, sgr.ReplaceAllString(out.String(), ""), "\n\t")

		var shown string
		bounds.Hold(t, func() { shown = visible(s) })
		inert(t, s, shown, "\n\t")
		if visible(shown) != shown {
			t.Fatalf("visible(%q) = %q, and of that %q", s, shown, visible(shown))
		}
		if plain := strings.Map(graphic, s); plain == s && shown != s {
			t.Fatalf("visible(%q) = %q", s, shown)
		}
		inert(t, s, line(s), "")
		inert(t, s, clip(line(s), 1+at%50), "")

		tab := newTable("A", s)
		tab.add(cell{text: s, colour: red, right: true}, s)
		rendered := sgr.ReplaceAllString(tab.render(&streams{colour: true}), "")
		inert(t, s, rendered, "\n")
		if strings.Count(rendered, "\n") != 2 {
			t.Fatalf("a table of two rows: %q", rendered)
		}
	})
}

// inert holds that shown has no control character but those given, and nothing that
// reorders text.
func inert(t *testing.T, s, shown, allowed string) {
	t.Helper()
	if !utf8.ValidString(shown) {
		t.Fatalf("%q is shown as %q, which is not UTF-8", s, shown)
	}
	for _, r := range shown {
		if (unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp)) && !strings.ContainsRune(allowed, r) {
			t.Fatalf("%q is shown as %q, which has %U", s, shown, r)
		}
	}
}

// graphic drops what is not shown as it is.
func graphic(r rune) rune {
	if r == utf8.RuneError || r != '\n' && r != '\t' && !unicode.IsGraphic(r) {
		return -1
	}
	return r
}
