package sqlite

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jobcontrol/jobcontrol"
)

// crashed makes a store with builds that are in its log alone, and returns its
// files as a crash leaves them.
func crashed(t *testing.T) map[string][]byte {
	t.Helper()
	s, l := openTest(t, Options{})
	for range 20 {
		one(t, s, l)
	}
	files := map[string][]byte{}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		data, err := os.ReadFile(s.path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		files[suffix] = data
	}
	return files
}

// TestLogIsWhole: a log that was deleted or damaged is noticed before what was
// acknowledged is gone; what a crash leaves is not refused.
func TestLogIsWhole(t *testing.T) {
	files := crashed(t)
	const frame = frameHeader + 1024
	frames := (len(files["-wal"]) - walHeader) / frame
	rng := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		name   string
		change func(files map[string][]byte)
		want   string // in the error; "": none
	}{
		{"as it was", func(map[string][]byte) {}, ""},
		{"no log", func(f map[string][]byte) { delete(f, "-wal") }, "-wal is missing"},
		{"no log, noise", func(f map[string][]byte) { delete(f, "-wal"); f["-shm"][3]++ }, "-wal is missing"},
		{"no log, but everything is in the file", func(f map[string][]byte) {
			delete(f, "-wal")
			copy(f["-shm"][shmCopied:shmCopied+4], f["-shm"][shmFrames:])
		}, ""},
		{"no log yet", func(f map[string][]byte) { delete(f, "-wal"); clear(f["-shm"]) }, ""},
		{"neither log nor index", func(f map[string][]byte) { delete(f, "-wal"); delete(f, "-shm") }, ""},
		{"noise in the index", func(f map[string][]byte) { f["-shm"][rng.IntN(shmHeader)]++ }, ""},
		{"an empty log", func(f map[string][]byte) { f["-wal"] = nil }, ""},
		{"a torn end", func(f map[string][]byte) { f["-wal"] = f["-wal"][:len(f["-wal"])-100] }, ""},
		{"the last transaction is incomplete", func(f map[string][]byte) { f["-wal"][walHeader+(frames-1)*frame+100]++ }, ""},
		{"a frame", func(f map[string][]byte) { f["-wal"][walHeader+frames/2*frame+frameHeader+7] ^= 16 }, "-wal is damaged"},
		{"the first frame", func(f map[string][]byte) { f["-wal"][walHeader] ^= 1 }, "-wal is damaged"},
		{"the magic", func(f map[string][]byte) { f["-wal"][1]++ }, "-wal is damaged"},
		{"the salt", func(f map[string][]byte) { f["-wal"][20]++ }, "-wal is damaged"},
		{"the sum of the header", func(f map[string][]byte) { f["-wal"][30]++ }, "-wal is damaged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			changed := map[string][]byte{}
			for suffix, data := range files {
				changed[suffix] = append([]byte(nil), data...)
			}
			c.change(changed)
			path := filepath.Join(t.TempDir(), "state.db")
			for suffix, data := range changed {
				if err := os.WriteFile(path+suffix, data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s, err := Open(context.Background(), path, Options{})
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				sound(t, s)
				if err := s.Close(); err != nil {
					t.Error(err)
				}
				return
			}
			code(t, err, jobcontrol.Unavailable)
			if !strings.Contains(err.Error(), path+c.want) || jobcontrol.HintOf(err) == "" {
				t.Errorf("error %v, hint %q", err, jobcontrol.HintOf(err))
			}
		})
	}
}

// TestLogIsWritten: a log that others write, copy into the file and begin anew
// meanwhile is whole.
func TestLogIsWritten(t *testing.T) {
	s, l := openTest(t, Options{})
	var ended atomic.Bool
	done := make(chan error)
	go func() {
		var err error
		for err == nil && !ended.Load() {
			_, _, err = s.CreateRun(context.Background(), chains(t, "job", 300, 10, &l))
		}
		done <- err
	}()
	for range 300 {
		other, err := Open(context.Background(), s.path, Options{})
		if err != nil {
			t.Error(err)
			break
		}
		if err := other.Close(); err != nil {
			t.Error(err)
		}
	}
	ended.Store(true)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestLogComesAndGoes: the last one who closes a file takes log and index away,
// while others open it.
func TestLogComesAndGoes(t *testing.T) {
	s, _ := openTest(t, Options{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 60 {
				s, err := Open(context.Background(), s.path, Options{})
				if err != nil {
					t.Error(err)
					return
				}
				_, err = s.Register(context.Background(), jobcontrol.Process{}, 0)
				if err := errors.Join(err, s.Close()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
