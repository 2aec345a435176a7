package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// TestNames: any name of a file works.
func TestNames(t *testing.T) {
	for _, name := range []string{"state.db", "a b?c#d%41&e=f.db", "file:x", "ü\n", ":memory:", "-x"} {
		path := filepath.Join(t.TempDir(), "a?b%", name)
		s, l := openAt(t, path, Options{})
		one(t, s, l)
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		entries, err := os.ReadDir(filepath.Dir(path))
		if err != nil || len(entries) != 1 {
			t.Errorf("%q left %v, %v", name, entries, err)
		}
	}
}

// TestRelative: a relative name is that of the working directory at the start.
func TestRelative(t *testing.T) {
	t.Chdir(t.TempDir())
	s, l := openAt(t, "state.db", Options{})
	t.Chdir(t.TempDir())
	one(t, s, l)
}

// TestMemory: a store in memory is one's own and leaves nothing.
func TestMemory(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	a, l := openAt(t, Memory, Options{})
	b, m := openAt(t, Memory, Options{})
	one(t, a, l)
	one(t, a, l)
	if got := one(t, b, m).ID; got != 1 {
		t.Errorf("the first build is %d", got)
	}
	for _, s := range []*Store{a, b} {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if entries, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(entries) != 0 {
		t.Errorf("left %v, %v", entries, err)
	}
}

// TestNetwork: a network file system is refused before a file is made.
func TestNetwork(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(context.Background(), filepath.Join(dir, "state.db"), Options{network: func(string) (string, error) { return "NFS", nil }})
	code(t, err, jobcontrol.Unavailable)
	if !strings.Contains(err.Error(), "NFS") || jobcontrol.HintOf(err) == "" {
		t.Errorf("error %v, hint %q", err, jobcontrol.HintOf(err))
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left %v, %v", entries, err)
	}
}

// TestClosed: after Close everything is refused, and Close may be repeated.
func TestClosed(t *testing.T) {
	s, l := openTest(t, Options{})
	var wg sync.WaitGroup
	var done, refused atomic.Int32
	for range 8 {
		wg.Go(func() {
			for {
				_, err := s.Register(context.Background(), jobcontrol.Process{}, 0)
				if err != nil {
					if jobcontrol.CodeOf(err) == jobcontrol.Unavailable {
						refused.Add(1)
					}
					return
				}
				done.Add(1)
			}
		})
	}
	for done.Load() < 10 {
		if _, err := s.Workers(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	if refused.Load() != 8 {
		t.Errorf("%d of 8 were refused", refused.Load())
	}
	_, err := s.Workers(context.Background())
	code(t, err, jobcontrol.Unavailable)
	code(t, s.Renew(context.Background(), l, 0), jobcontrol.Unavailable)
}

// TestReplaced: a file that is deleted or replaced under us is noticed, by reads
// and by writes, and nothing is written any more.
func TestReplaced(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"deleted": os.Remove,
		"moved":   func(path string) error { return os.Rename(path, path+"2") },
		"replaced": func(path string) error {
			if err := os.WriteFile(path+"2", nil, 0o600); err != nil {
				return err
			}
			return os.Rename(path+"2", path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, l := openTest(t, Options{})
			b := one(t, s, l)
			if err := change(s.path); err != nil {
				t.Fatal(err)
			}
			_, err := s.Build(context.Background(), b.ID)
			code(t, err, jobcontrol.Unavailable)
			code(t, s.Renew(context.Background(), l, time.Hour), jobcontrol.Unavailable)
			err = s.Renew(context.Background(), l, time.Hour)
			if !errors.Is(err, errReplaced) || !strings.Contains(err.Error(), "replaced") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestBusy: another program that holds the lock for too long is told, and does
// no harm afterwards.
func TestBusy(t *testing.T) {
	s, l := openTest(t, Options{BusyTimeout: 20 * time.Millisecond})
	other, _ := openAt(t, s.path, Options{})
	held, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = other.write(context.Background(), "test", func(*tx) error {
			close(held)
			<-release
			return nil
		})
	})
	<-held
	err := s.Renew(context.Background(), l, time.Hour)
	code(t, err, jobcontrol.Unavailable)
	if !strings.Contains(err.Error(), "store unavailable: the database is busy") {
		t.Errorf("error %v", err)
	}
	if _, err := s.Workers(context.Background()); err != nil {
		t.Errorf("reading: %v", err)
	}
	close(release)
	wg.Wait()
	if err := s.Renew(context.Background(), l, time.Hour); err != nil {
		t.Error(err)
	}
}

// TestFull: without space a write is refused; with space it goes on.
func TestFull(t *testing.T) {
	s, l := openTest(t, Options{})
	limit := func(n int64) {
		if err := s.write(context.Background(), "test", func(t *tx) error {
			_, err := t.number(fmt.Sprintf(`PRAGMA max_page_count = %d`, n))
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	limit(1)
	_, _, err := s.CreateRun(context.Background(), chains(t, "job", 1000, 10, &l))
	code(t, err, jobcontrol.Unavailable)
	if !strings.Contains(err.Error(), "no space left") || !strings.Contains(err.Error(), s.name) {
		t.Errorf("error %v", err)
	}
	limit(1 << 30)
	one(t, s, l)
	sound(t, s)
}

// TestNewer: a schema that this program does not know is refused, by Open and by
// a store that was open when it came.
func TestNewer(t *testing.T) {
	s, l := openTest(t, Options{})
	one(t, s, l)
	if err := s.write(context.Background(), "test", func(t *tx) error {
		_, err := t.exec(`UPDATE meta SET value = '99' WHERE key = 'version'`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	_, err := Open(context.Background(), s.path, Options{})
	for _, err := range []error{err, s.Install(context.Background())} {
		code(t, err, jobcontrol.Unavailable)
		if !strings.Contains(err.Error(), "99") || !strings.Contains(jobcontrol.HintOf(err), "upgrade") {
			t.Errorf("error %v, hint %q", err, jobcontrol.HintOf(err))
		}
	}
}

// TestInstallTogether: many may install at once.
func TestInstallTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			s, err := Open(context.Background(), path, Options{})
			if err != nil {
				t.Error(err)
				return
			}
			if err := errors.Join(s.Install(context.Background()), s.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s, l := openAt(t, path, Options{})
	one(t, s, l)
}

// TestDamaged: whatever a damaged file holds, it is an error that names the
// file, or an answer; never a panic.
func TestDamaged(t *testing.T) {
	s, l := openTest(t, Options{})
	ctx := context.Background()
	_, builds, err := s.CreateRun(ctx, chains(t, "job", 300, 10, &l))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range builds[:100] {
		e := succeeded(1, time.Now())
		if b.Place%10 == 3 {
			e.State, e.Attempt.Failure = jobcontrol.Failed, &jobcontrol.Failure{Kind: jobcontrol.FailError, Message: "x"}
		}
		e.Logs = []jobcontrol.LogRecord{{Message: strings.Repeat("y", 300)}}
		e.Progress = []jobcontrol.Progress{{Path: []string{"p"}}}
		if _, err := s.Finish(ctx, b.Claim, e); err != nil && jobcontrol.CodeOf(err) != jobcontrol.Conflict {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	path := filepath.Join(t.TempDir(), "state.db")
	rounds, told := 75, 0
	for round := range rounds {
		data := append([]byte(nil), whole...)
		switch round % 5 {
		case 0:
			data = data[:rng.IntN(len(data))]
		case 1:
			clear(data[rng.IntN(len(data)/1024)*1024:][:1024])
		case 2:
			for range 20 {
				data[rng.IntN(len(data))] ^= 1 << rng.IntN(8)
			}
		case 3:
			for i := range data[:100] {
				data[i] = byte(rng.Uint32())
			}
		case 4:
			page := data[rng.IntN(len(data)/1024)*1024:][:1024]
			for i := range page {
				page[i] = byte(rng.Uint32())
			}
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"-wal", "-shm"} {
			_ = os.Remove(path + name)
		}
		for _, err := range useAll(path, builds) {
			told++
			switch jobcontrol.CodeOf(err) {
			case jobcontrol.Unavailable:
				if !strings.Contains(err.Error(), path) && !strings.Contains(err.Error(), "schema version") {
					t.Errorf("round %d: the error does not name the file: %v", round, err)
				}
			case jobcontrol.NotFound, jobcontrol.LeaseLost, jobcontrol.Conflict, jobcontrol.Internal:
			default:
				t.Errorf("round %d: %v (%s)", round, err, jobcontrol.CodeOf(err))
			}
		}
	}
	if told < rounds/2 {
		t.Errorf("only %d errors in %d rounds", told, rounds)
	}
}

// useAll reads and writes all of a store and returns the errors.
func useAll(path string, builds []jobcontrol.Build) (errs []error) {
	ctx := context.Background()
	add := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	s, err := Open(ctx, path, Options{BusyTimeout: time.Millisecond})
	if err != nil {
		return []error{err}
	}
	defer func() { add(s.Close()) }()
	add(s.Install(ctx))
	_, err = s.ListBuilds(ctx, jobcontrol.BuildFilter{Limit: -1})
	add(err)
	_, err = s.ListRuns(ctx, jobcontrol.RunFilter{})
	add(err)
	_, err = s.Heads(ctx, "", nil)
	add(err)
	for i, b := range builds {
		if i%10 != 0 && i > 30 {
			continue
		}
		add(s.Log(ctx, b.ID, jobcontrol.LogFilter{}, func(jobcontrol.LogRecord) bool { return true }))
		_, err = s.Attempts(ctx, b.ID)
		add(err)
		_, err = s.Progress(ctx, b.ID)
		add(err)
		_, err = s.Definition(ctx, b.Definition)
		add(err)
		_, err = s.DeleteBuild(ctx, b.ID)
		add(err)
	}
	l, err := s.Register(ctx, jobcontrol.Process{}, time.Hour)
	add(err)
	_, _, err = s.CreateRun(ctx, chains(&testing.B{}, "new", 20, 5, &l))
	add(err)
	_, err = s.Rescue(ctx, func(jobcontrol.Process) (alive, known bool) { return false, true })
	add(err)
	return errs
}
