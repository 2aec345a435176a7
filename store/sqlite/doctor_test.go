package sqlite_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/sqlite"
)

// finding is what was found of a part of a store.
func finding(t *testing.T, found []jobcontrol.Finding, check string) jobcontrol.Finding {
	t.Helper()
	for _, f := range found {
		if f.Check == check {
			return f
		}
	}
	t.Fatalf("nothing was said of %q: %+v", check, found)
	return jobcontrol.Finding{}
}

// TestDoctor examines a file without tables, one that is well, and one that is damaged.
func TestDoctor(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "state.db")
	s, err := sqlite.Open(ctx, path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	found, err := jobcontrol.Examine(ctx, s, "")
	if err != nil {
		t.Fatal(err)
	}
	if f := finding(t, found, "schema"); f.Severity != jobcontrol.SeverityError || f.Mend != "`jobcontrol install`" {
		t.Errorf("without tables: %+v", f)
	}
	if err := s.Install(ctx); err != nil {
		t.Fatal(err)
	}
	if found, err = jobcontrol.Examine(ctx, s, ""); err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if f.Severity != jobcontrol.SeverityOK && f.Check != "disk" {
			t.Errorf("a new store: %+v", f)
		}
	}
	for _, check := range []string{"schema", "integrity", "space", "log", "disk", "clock", "workers", "queue", "scheduled", "interrupted"} {
		finding(t, found, check)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	examineDamaged(t, path)
}

// examineDamaged spoils the last page of a file. Either the file is refused, or
// it is said to be damaged.
func examineDamaged(t *testing.T, path string) {
	ctx := context.Background()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := len(data) - 1024; i < len(data); i++ {
		data[i] = 0xff
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := sqlite.Open(ctx, path, sqlite.Options{})
	if err != nil {
		if !errors.Is(err, jobcontrol.ErrUnavailable) {
			t.Errorf("damaged: %v", err)
		}
		return
	}
	defer s.Close()
	found, err := s.Doctor(ctx)
	if err != nil {
		if !errors.Is(err, jobcontrol.ErrUnavailable) {
			t.Errorf("damaged: %v", err)
		}
		return
	}
	if f := finding(t, found, "integrity"); f.Severity != jobcontrol.SeverityError {
		t.Errorf("damaged: %+v", f)
	}
}
