package sqlite

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jobcontrol/jobcontrol"
	"pgregory.net/rapid"
)

// TestLogModel: whatever is reported, in whatever batches, the log is its first
// and its last records, and between them the number of bytes that are missing.
func TestLogModel(t *testing.T) {
	s, l := openTest(t, Options{logBytes: 20000})
	ctx := context.Background()
	rapid.Check(t, func(t *rapid.T) {
		b := func() jobcontrol.Build {
			_, builds, err := s.CreateRun(ctx, jobcontrol.NewRun{Run: jobcontrol.Run{Verb: "run"}, Lease: &l, Builds: []jobcontrol.NewBuild{
				{Build: jobcontrol.Build{Job: "a"}, Hash: "h", Definition: []byte("{}")},
			}})
			if err != nil {
				t.Fatal(err)
			}
			return builds[0]
		}()
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		var all []jobcontrol.LogRecord
		var bytes int64
		for batch := range rapid.IntRange(0, 60).Draw(t, "batches") {
			var records []jobcontrol.LogRecord
			for i := range rng.IntN(6) {
				message := strings.Repeat(string(rune('a'+rng.IntN(26))), rng.IntN(800))
				if rng.IntN(2) == 0 {
					data := []byte(message)
					for i := range data {
						data[i] = byte(rng.Uint32())
					}
					message = string(data)
				}
				r := jobcontrol.LogRecord{
					Time: time.UnixMicro(int64(1 + batch*100 + i)).UTC(), Level: jobcontrol.Level(10 * (1 + rng.IntN(5))),
					Logger: []string{"", "stdout", "stderr"}[rng.IntN(3)], Message: message,
				}
				records = append(records, r)
				r.Seq = int64(len(all) + 1)
				all = append(all, r)
				bytes += int64(len(message))
			}
			if err := s.Report(ctx, b.Claim, records, nil); err != nil {
				t.Fatal(err)
			}
		}
		var got []jobcontrol.LogRecord
		if err := s.Log(ctx, b.ID, jobcontrol.LogFilter{}, func(r jobcontrol.LogRecord) bool {
			got = append(got, r)
			return true
		}); err != nil {
			t.Fatal(err)
		}
		gap := slices.IndexFunc(got, func(r jobcontrol.LogRecord) bool { return r.Dropped > 0 })
		if gap < 0 {
			if d := cmp.Diff(all, got); d != "" {
				t.Fatalf("log (-want +got):\n%s", d)
			}
			return
		}
		tail := len(got) - gap - 1
		missing := all[gap : len(all)-tail]
		var dropped int64
		for _, r := range missing {
			dropped += int64(len(r.Message))
		}
		want := append(slices.Clone(all[:gap]), jobcontrol.LogRecord{
			Seq: missing[len(missing)-1].Seq, Time: got[gap].Time, Level: jobcontrol.LevelWarning, Dropped: dropped,
		})
		want = append(want, all[len(all)-tail:]...)
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("log (-want +got):\n%s", d)
		}
		if kept := bytes - dropped; kept > 20000 || kept < 20000-2*2*5*800 {
			t.Fatalf("%d of %d bytes are kept", kept, bytes)
		}
		// Whoever wants its end sees the same end.
		for n := 1; n <= len(got)+1; n += 1 + rng.IntN(5) {
			var last []jobcontrol.LogRecord
			if err := s.Log(ctx, b.ID, jobcontrol.LogFilter{Tail: n}, func(r jobcontrol.LogRecord) bool {
				last = append(last, r)
				return true
			}); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(got[max(0, len(got)-n):], last); d != "" {
				t.Fatalf("the last %d records (-want +got):\n%s", n, d)
			}
		}
		// A reader who follows it sees each record that is kept, or a gap, once.
		for after := range len(all) {
			var first int64
			if err := s.Log(ctx, b.ID, jobcontrol.LogFilter{AfterSeq: int64(after)}, func(r jobcontrol.LogRecord) bool {
				first = r.Seq
				return false
			}); err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(got, func(r jobcontrol.LogRecord) bool { return r.Seq > int64(after) })
			if first != got[i].Seq {
				t.Fatalf("after record %d comes %d, want %d", after, first, got[i].Seq)
			}
		}
	})
}

// TestLogTail: of a long log whose end is wanted only the end is read: what is
// before it may be damaged.
func TestLogTail(t *testing.T) {
	s, l := openTest(t, Options{})
	ctx := context.Background()
	_, builds, err := s.CreateRun(ctx, jobcontrol.NewRun{Run: jobcontrol.Run{Verb: "run"}, Lease: &l, Builds: []jobcontrol.NewBuild{
		{Build: jobcontrol.Build{Job: "a"}, Hash: "h", Definition: []byte("{}")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	const chunks = 20
	for n := range chunks {
		if err := s.Report(ctx, builds[0].Claim, []jobcontrol.LogRecord{{Message: strings.Repeat("x", n)}, {Message: "second"}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.write(ctx, "damage", func(t *tx) error {
		_, err := t.exec(`UPDATE logs SET data = x'ff' WHERE id < (SELECT max(id) FROM logs) - 3`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	read := func(tail int) (messages []string, err error) {
		err = s.Log(ctx, builds[0].ID, jobcontrol.LogFilter{Tail: tail}, func(r jobcontrol.LogRecord) bool {
			messages = append(messages, r.Message)
			return true
		})
		return messages, err
	}
	want := []string{strings.Repeat("x", chunks-2), "second", strings.Repeat("x", chunks-1), "second"}
	if got, err := read(4); err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := read(2 * chunks); err == nil {
		t.Error("a damaged chunk is read without an error")
	}
}
