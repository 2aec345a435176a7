package codec

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jobcontrol/jobcontrol"
	"pgregory.net/rapid"
)

// TestPacked: what is long is compressed, what does not get smaller is not.
func TestPacked(t *testing.T) {
	noise := make([]byte, 1000)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	for message, want := range map[string]bool{"short": false, strings.Repeat("x", 1000): true, string(noise): false} {
		p, err := PackLog([]jobcontrol.LogRecord{{Message: message}}, time.Now())
		if err != nil || len(p.Chunks) != 1 || p.Chunks[0].Packed != want {
			t.Errorf("%.10q: %v, %v", message, p.Chunks[0].Packed, err)
		}
	}
	var many []jobcontrol.LogRecord
	for range 100 {
		many = append(many, jobcontrol.LogRecord{Message: strings.Repeat(string(noise), 65)})
	}
	p, err := PackLog(many, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range p.Chunks {
		if len(c.Data) > MaxChunk+2*jobcontrol.MaxLogRecord {
			t.Errorf("a chunk of %d bytes", len(c.Data))
		}
	}
	if _, err := PackLog([]jobcontrol.LogRecord{{Attrs: map[string]any{"x": func() {}}}}, time.Now()); jobcontrol.CodeOf(err) != jobcontrol.Invalid {
		t.Errorf("attributes that are no JSON: %v", err)
	}
}

// TestEncodings: ids and attempts come back as they were.
func TestEncodings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := rapid.Int64Range(1, 1<<35).Draw(t, "base")
		ids := rapid.SliceOf(rapid.Int64Range(1, 1<<35)).Draw(t, "ids")
		if len(ids) == 0 {
			ids = nil
		}
		got, err := DecodeIDs(base, EncodeIDs(base, ids))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(ids, got); d != "" {
			t.Fatalf("ids (-want +got):\n%s", d)
		}
		a := jobcontrol.Attempt{
			Build: base, Number: rapid.IntRange(0, 1<<30).Draw(t, "number"), Cleanup: rapid.Bool().Draw(t, "cleanup"),
			StartedAt: TimeOf(rapid.Int64().Draw(t, "start")), Worker: rapid.Int64().Draw(t, "worker"), Claim: rapid.Int64().Draw(t, "claim"),
		}
		for i := range rapid.IntRange(0, 4).Draw(t, "phases") {
			a.Phases = append(a.Phases, jobcontrol.PhaseResult{
				Phase: jobcontrol.Phase(fmt.Sprint(i)), Passed: rapid.Bool().Draw(t, "passed"), Error: rapid.String().Draw(t, "error"),
				Duration: time.Duration(rapid.Int64().Draw(t, "duration")),
			})
		}
		data := EncodeAttempt(&a)
		back, err := DecodeAttempt(base, data)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(a, back); d != "" {
			t.Fatalf("attempt (-want +got):\n%s", d)
		}
		if _, err := DecodeAttempt(base, bytes.Clone(data[:len(data)-1])); err == nil && len(data) > 8 {
			t.Fatal("a part of an attempt was taken for one")
		}
	})
}
