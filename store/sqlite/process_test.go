package sqlite

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// roleVariable makes the test binary a program that plays a role with the store
// at pathVariable.
const (
	roleVariable = "SQLITE_TEST_ROLE"
	pathVariable = "SQLITE_TEST_PATH"
)

func play(role string) int {
	path := os.Getenv(pathVariable)
	roles := map[string]func(string) error{
		"work": playWork, "acknowledge": playAcknowledge, "half-migrate": playHalfMigrate, "limited": playLimited, "umask": playUmask,
	}
	if err := roles[role](path); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func player(role, path string) (cmd *exec.Cmd, stderr *bytes.Buffer) {
	stderr = &bytes.Buffer{}
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+role, pathVariable+"="+path)
	cmd.Stderr = stderr
	return cmd, stderr
}

func ready(path string) (*Store, jobcontrol.Lease, error) {
	ctx := context.Background()
	s, err := Open(ctx, path, Options{})
	if err != nil {
		return nil, jobcontrol.Lease{}, err
	}
	if err := s.Install(ctx); err != nil {
		return nil, jobcontrol.Lease{}, err
	}
	l, err := s.Register(ctx, jobcontrol.Process{PID: os.Getpid()}, time.Hour)
	return s, l, err
}

const (
	workRuns   = 60
	workBuilds = 10
)

// playWork makes and finishes Runs from several goroutines.
func playWork(path string) error {
	s, l, err := ready(path)
	if err != nil {
		return err
	}
	ctx := context.Background()
	tb := &testing.B{}
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() {
			for range workRuns / len(errs) {
				_, builds, err := s.CreateRun(ctx, chains(tb, "job", workBuilds, workBuilds, &l))
				for j := 0; err == nil && j < len(builds); j++ {
					c := builds[j].Claim
					if err = s.Report(ctx, c, []jobcontrol.LogRecord{{Message: "line"}}, nil); err != nil {
						break
					}
					_, err = s.Finish(ctx, c, succeeded(1, time.Now()))
				}
				if err != nil {
					errs[i] = err
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(append(errs, s.Close())...)
}

// TestProcesses: four programs write the same file at once, which none of them
// made before; none is told that it is busy, and no number is given out twice.
func TestProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "state.db")
	const n = 4
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			cmd, stderr := player("work", path)
			if err := cmd.Run(); err != nil {
				t.Errorf("%v: %s", err, stderr)
			}
		})
	}
	wg.Wait()
	s, _ := openAt(t, path, Options{})
	builds, err := s.ListBuilds(context.Background(), jobcontrol.BuildFilter{Limit: -1})
	if err != nil {
		t.Fatal(err)
	}
	claims := map[int64]bool{}
	for _, b := range builds {
		if b.State != jobcontrol.Successful || claims[b.Claim.Number] {
			t.Fatalf("build %d is %s, its claim is %d", b.ID, b.State, b.Claim.Number)
		}
		claims[b.Claim.Number] = true
	}
	if len(builds) != n*workRuns*workBuilds {
		t.Errorf("%d builds", len(builds))
	}
	sound(t, s)
}

// sound holds that the file is sound.
func sound(tb testing.TB, s *Store) {
	tb.Helper()
	err := s.read(context.Background(), func(c *conn) error {
		return c.each(func(r *row) error {
			if text := r.text(); text != "ok" {
				tb.Errorf("integrity: %s", text)
			}
			return nil
		}, `PRAGMA integrity_check`)
	})
	if err != nil {
		tb.Error(err)
	}
}

// playAcknowledge finishes builds and says so, until it is killed.
func playAcknowledge(path string) error {
	s, l, err := ready(path)
	if err != nil {
		return err
	}
	tb := &testing.B{}
	for {
		b := one(tb, s, l)
		if _, err := s.Finish(context.Background(), b.Claim, succeeded(1, time.Now())); err != nil {
			return err
		}
		fmt.Println(b.ID)
	}
}

// TestKill: what was acknowledged is there after the process was killed.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	for round := range 5 {
		cmd, stderr := player("acknowledge", path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var acknowledged []int64
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var id int64
			if _, err := fmt.Sscan(lines.Text(), &id); err != nil {
				t.Fatal(err)
			}
			acknowledged = append(acknowledged, id)
			if len(acknowledged) == 40*(round+1) {
				if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait()
		if len(acknowledged) < 40 {
			t.Fatalf("it acknowledged %d builds: %s", len(acknowledged), stderr)
		}
		s, _ := openAt(t, path, Options{})
		for _, id := range acknowledged {
			b, err := s.Build(context.Background(), id)
			if err != nil || b.State != jobcontrol.Successful {
				t.Fatalf("build %d was acknowledged: %+v, %v", id, b, err)
			}
		}
		sound(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// playHalfMigrate is killed within a migration.
func playHalfMigrate(path string) error {
	s, err := Open(context.Background(), path, Options{})
	if err != nil {
		return err
	}
	return s.write(context.Background(), "install", func(t *tx) error {
		if done, err := t.migrate(); done || err != nil {
			return fmt.Errorf("%v, %w", done, err)
		}
		return syscall.Kill(os.Getpid(), syscall.SIGKILL)
	})
}

// TestHalfMigrated: a migration that was interrupted has not happened, and is
// done by the next Install.
func TestHalfMigrated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	cmd, stderr := player("half-migrate", path)
	if err := cmd.Run(); err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("%v: %s", err, stderr)
	}
	s, l := openAt(t, path, Options{})
	one(t, s, l)
	sound(t, s)
}

// playLimited writes until the file may not grow further, and says what was
// acknowledged.
func playLimited(path string) error {
	s, l, err := ready(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path + "-wal")
	if err != nil {
		return err
	}
	limit := uint64(info.Size()) + 20000
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
		return err
	}
	ctx := context.Background()
	tb := &testing.B{}
	for {
		_, builds, err := s.CreateRun(ctx, chains(tb, "job", 1, 1, &l))
		if err == nil {
			fmt.Println(builds[0].ID)
			continue
		}
		if jobcontrol.CodeOf(err) != jobcontrol.Unavailable || !strings.Contains(err.Error(), path) {
			return fmt.Errorf("the first error: %w", err)
		}
		// Nothing is written any more, since nobody knows what is on the disk.
		if _, again := s.Register(ctx, jobcontrol.Process{}, 0); jobcontrol.CodeOf(again) != jobcontrol.Unavailable {
			return fmt.Errorf("after %w: %w", err, again)
		}
		if _, err := s.Build(ctx, 1); err != nil {
			return fmt.Errorf("reading: %w", err)
		}
		_ = s.Close()
		return nil
	}
}

// TestWriteError: a write that the system refuses is told, is the last one, and
// loses nothing.
func TestWriteError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	cmd, stderr := player("limited", path)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	s, l := openAt(t, path, Options{})
	n := 0
	for r := bytes.NewReader(out); ; n++ {
		var id int64
		if _, err := fmt.Fscan(r, &id); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Build(context.Background(), id); err != nil {
			t.Fatalf("build %d was acknowledged: %v", id, err)
		}
	}
	if n == 0 {
		t.Fatal("nothing was acknowledged")
	}
	one(t, s, l)
	sound(t, s)
}

// playUmask makes a store under umasks that would give too much or too little.
func playUmask(path string) error {
	for i, mask := range []int{0, 0o277} {
		syscall.Umask(mask)
		dir := fmt.Sprintf("%s%d", path, i)
		s, err := Open(context.Background(), filepath.Join(dir, "state.db"), Options{})
		if err != nil {
			return err
		}
		if err := s.Install(context.Background()); err != nil {
			return err
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
				return fmt.Errorf("%s has the mode %v (%w)", e.Name(), info.Mode(), err)
			}
		}
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			return fmt.Errorf("%s has the mode %v (%w)", dir, info.Mode(), err)
		}
		if len(entries) != 3 {
			return fmt.Errorf("%s has %d files", dir, len(entries))
		}
		if err := s.Close(); err != nil {
			return err
		}
	}
	return nil
}

// TestModes: the files are their owner's alone, whatever the umask.
func TestModes(t *testing.T) {
	cmd, stderr := player("umask", filepath.Join(t.TempDir(), "d"))
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
}
