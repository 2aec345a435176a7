package sqlite_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/sqlite"
)

func installed(t *testing.T, path string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if err == nil {
		err = s.Install(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func loneBuild(l *jobcontrol.Lease) jobcontrol.NewRun {
	job := jobcontrol.Job{ID: "a", Run: &jobcontrol.Task{Shell: "true"}}
	definition, hash, err := job.Definition()
	if err != nil {
		panic(err)
	}
	return jobcontrol.NewRun{
		Run: jobcontrol.Run{Verb: jobcontrol.VerbBuild, Targets: []string{"a"}}, Lease: l,
		Builds: []jobcontrol.NewBuild{{Build: jobcontrol.Build{Job: "a", Tries: 1}, Definition: definition, Hash: hash}},
	}
}

// A copy is made while a worker executes and others write. In the restored store
// the worker's claims are dead, and numbers go on where the old store was.
func TestBackup(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	path, copied := filepath.Join(dir, "state.db"), filepath.Join(dir, "copy.db")
	s := installed(t, path)
	l, err := s.Register(ctx, jobcontrol.Process{PID: 1}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	_, builds, err := s.CreateRun(ctx, loneBuild(&l))
	if err != nil {
		t.Fatal(err)
	}
	claim := builds[0].Claim
	if err := s.Start(ctx, []jobcontrol.Claim{claim}, []time.Time{time.Now()}); err != nil {
		t.Fatal(err)
	}
	loading, stop := context.WithCancel(ctx)
	loaded := make(chan error)
	go func() {
		var err error
		for err == nil && loading.Err() == nil {
			_, _, err = s.CreateRun(ctx, loneBuild(nil))
		}
		loaded <- err
	}()
	for range 3 {
		if err := s.Backup(ctx, copied, true); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if err := <-loaded; err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(ctx, copied, false); !errors.Is(err, jobcontrol.ErrConflict) {
		t.Errorf("a second backup: %v", err)
	}
	if info, err := os.Stat(copied); err != nil || info.Mode() != 0o600 {
		t.Errorf("the copy: %v, %v", info.Mode(), err)
	}
	if _, err := sqlite.Restore(ctx, copied, path, sqlite.Options{}); !errors.Is(err, jobcontrol.ErrConflict) {
		t.Errorf("restore of a store in use: %v", err)
	}
	last, _, err := s.CreateRun(ctx, loneBuild(nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	kept, err := sqlite.Restore(ctx, copied, path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := installed(t, kept).Build(ctx, last.ID); err != nil {
		t.Errorf("the old store: %v", err)
	}
	r := installed(t, path)
	if _, err := r.Build(ctx, last.ID); !errors.Is(err, jobcontrol.ErrNotFound) {
		t.Errorf("a build that is younger than the copy: %v", err)
	}
	end := jobcontrol.Ended{State: jobcontrol.Successful, Attempt: jobcontrol.Attempt{Number: 1}}
	if _, err := r.Finish(ctx, claim, end); !errors.Is(err, jobcontrol.ErrLeaseLost) {
		t.Errorf("an old claim: %v", err)
	}
	if err := r.Renew(ctx, l, time.Minute); !errors.Is(err, jobcontrol.ErrLeaseLost) {
		t.Errorf("an old lease: %v", err)
	}
	if l, err = r.Register(ctx, jobcontrol.Process{PID: 1}, time.Minute); err != nil {
		t.Fatal(err)
	}
	next, builds, err := r.CreateRun(ctx, loneBuild(&l))
	if err != nil {
		t.Fatal(err)
	}
	if next.ID <= last.ID {
		t.Errorf("build %d was made after build %d", next.ID, last.ID)
	}
	if n := builds[0].Claim.Number; n <= claim.Number+1<<32 {
		t.Errorf("claim %d after claim %d", n, claim.Number)
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range left {
		if f.Name()[0] == '.' {
			t.Errorf("%s was left", f.Name())
		}
	}
}

// What is no whole copy of a store is refused, and the store stays as it is.
func TestRestoreRefused(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	path := filepath.Join(dir, "state.db")
	if err := installed(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := append([]byte(nil), whole...)
	for i := range len(damaged) - 2048 {
		damaged[2048+i] = 0xa5
	}
	for name, data := range map[string][]byte{"empty": nil, "text": []byte("no database\n"), "damaged": damaged, "cut": whole[:len(whole)/2]} {
		from := filepath.Join(dir, name)
		if err := os.WriteFile(from, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := sqlite.Restore(ctx, from, path, sqlite.Options{}); !errors.Is(err, jobcontrol.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := sqlite.Restore(ctx, filepath.Join(dir, "missing"), path, sqlite.Options{}); !errors.Is(err, jobcontrol.ErrInvalid) {
		t.Errorf("a missing file: %v", err)
	}
	if now, err := os.ReadFile(path); err != nil || string(now) != string(whole) {
		t.Errorf("the store has changed: %v", err)
	}
	// Where nothing is there is nothing to keep, and a damaged store is replaced.
	from := filepath.Join(dir, "whole")
	if err := os.WriteFile(from, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if kept, err := sqlite.Restore(ctx, from, filepath.Join(dir, "new", "state.db"), sqlite.Options{}); err != nil || kept != "" {
		t.Errorf("a new store: %q, %v", kept, err)
	}
	if kept, err := sqlite.Restore(ctx, from, filepath.Join(dir, "text"), sqlite.Options{}); err != nil || kept == "" {
		t.Errorf("in the place of a damaged store: %q, %v", kept, err)
	}
}

// While a store is replaced there is always one, the old one or the new one.
func TestRestoreAlwaysThere(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	path, from := filepath.Join(dir, "state.db"), filepath.Join(dir, "copy.db")
	s := installed(t, path)
	if err := errors.Join(s.Backup(ctx, from, false), s.Close()); err != nil {
		t.Fatal(err)
	}
	looking, stop := context.WithCancel(ctx)
	missed := make(chan int)
	go func() {
		n := 0
		for looking.Err() == nil {
			if _, err := os.Stat(path); err != nil {
				n++
			}
		}
		missed <- n
	}()
	names := map[string]bool{}
	for range 20 {
		kept, err := sqlite.Restore(ctx, from, path, sqlite.Options{})
		if err != nil {
			t.Error(err)
		}
		names[kept] = true
	}
	stop()
	if n := <-missed; n > 0 {
		t.Errorf("there was no store %d times", n)
	}
	now, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	for kept := range names {
		if old, err := os.Stat(kept); err != nil || os.SameFile(old, now) {
			t.Errorf("%s: %v", kept, err)
		}
	}
	if len(names) != 20 {
		t.Errorf("%d stores were kept", len(names))
	}
}
