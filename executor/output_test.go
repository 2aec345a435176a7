package executor

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/jobcontrol/jobcontrol"
)

type records []jobcontrol.LogRecord

func (r *records) Log(l jobcontrol.LogRecord)   { *r = append(*r, l) }
func (r *records) Progress(jobcontrol.Progress) {}

// text puts records together again; a text that does not end in a newline gets one.
func (r records) text() []byte {
	var b bytes.Buffer
	for _, l := range r {
		b.WriteString(l.Message)
		if !l.Continued {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

// feed gives a stream a text in pieces of at most most bytes.
func feed(s *stream, text []byte, most func() int) {
	for len(text) > 0 {
		n := copy(s.space(), text[:min(len(text), most())])
		s.advance(n)
		text = text[n:]
	}
	s.end()
}

func checkStream(t *testing.T, text []byte, most func() int) {
	t.Helper()
	var got records
	s := &stream{record: &got, name: "stdout", capture: true}
	feed(s, text, most)
	want := text
	if len(want) > 0 && want[len(want)-1] != '\n' {
		want = append(bytes.Clone(want), '\n')
	}
	if !bytes.Equal(got.text(), want) {
		t.Fatalf("%d bytes became %d others", len(want), len(got.text()))
	}
	for i, l := range got {
		if len(l.Message) > jobcontrol.MaxLogRecord || strings.Contains(l.Message, "\n") {
			t.Fatalf("record of %d bytes", len(l.Message))
		}
		if l.Continued && (len(l.Message) != jobcontrol.MaxLogRecord || i == len(got)-1) {
			t.Fatalf("record %d of %d, of %d bytes, is continued", i, len(got), len(l.Message))
		}
	}
	if len(text) <= jobcontrol.MaxResult && !bytes.Equal(s.captured, text) {
		t.Fatalf("captured %d of %d bytes", len(s.captured), len(text))
	}
}

func TestStreamKeepsEveryByte(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	const most = jobcontrol.MaxLogRecord
	for _, length := range []int{0, 1, 2, firstBuffer - 1, firstBuffer, firstBuffer + 1, most - 1, most, most + 1, 2 * most, 3*most + 5} {
		for _, end := range []string{"", "\n", "\r\n", "\n\n", "x\n"} {
			text := []byte(strings.Repeat("é\x00", length)[:length] + end)
			for _, piece := range []int{1 << 20, 4096, 4095, 7} {
				checkStream(t, text, func() int { return piece })
			}
		}
	}
	for range 200 {
		text := make([]byte, rnd.IntN(300<<10))
		every := 1 + rnd.IntN(100<<10)
		for i := range text {
			if text[i] = byte(rnd.Uint32()); rnd.IntN(every) == 0 {
				text[i] = '\n'
			}
		}
		checkStream(t, text, func() int { return 1 + rnd.IntN(70<<10) })
	}
}

func TestStreamLastLine(t *testing.T) {
	for text, want := range map[string]string{
		"":             "",
		"a\nb\n":       "b",
		"a\n \n\t\r\n": "a",
		"a\r\n":        "a",
		"a":            "a",
		"a\n" + strings.Repeat("b", 70<<10) + "\n": strings.Repeat("b", lastLineMax),
	} {
		s := &stream{record: &records{}}
		feed(s, []byte(text), func() int { return 5000 })
		if s.last != want {
			t.Errorf("%.20q: got %.20q, want %.20q", text, s.last, want)
		}
	}
}

func BenchmarkStream(b *testing.B) {
	for _, length := range []int{1, 60, 1000, 100000} {
		b.Run(fmt.Sprintf("lines of %d", length), func(b *testing.B) {
			text := []byte(strings.Repeat(strings.Repeat("x", length)+"\n", (1<<20)/(length+1)))
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				feed(&stream{record: nowhere{}}, text, func() int { return 64 << 10 })
			}
		})
	}
}

type nowhere struct{}

func (nowhere) Log(jobcontrol.LogRecord)     {}
func (nowhere) Progress(jobcontrol.Progress) {}
