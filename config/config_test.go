package config_test

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/config"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) {
	config.Child()
	os.Exit(m.Run())
}

// options renders in a child process and knows two environment variables.
func options() config.Options {
	return config.Options{Child: config.ChildCommand(), Env: func(name string) (string, bool) {
		v, ok := map[string]string{"SITE": "example.com", "COUNT": "3"}[name]
		return v, ok
	}}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got), -update writes it anew:\n%s", name, diff)
	}
}

// TestBad loads each bad file and compares all that is said about it.
func TestBad(t *testing.T) {
	t.Chdir("testdata/bad")
	names, err := filepath.Glob("*.yaml")
	if err != nil || len(names) < 60 {
		t.Fatalf("%d bad files, %v", len(names), err)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			_, err := config.Load(context.Background(), name, options())
			var d config.Diagnostics
			if !errors.As(err, &d) {
				t.Fatalf("Load: %v, want Diagnostics", err)
			}
			if !errors.Is(err, jobcontrol.ErrInvalid) || jobcontrol.CodeOf(err) != jobcontrol.Invalid {
				t.Errorf("the error is not Invalid")
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows a secret:\n%v", err)
			}
			for _, one := range d {
				if one.Pos.Line == 0 && !strings.Contains(one.Message, "empty") {
					t.Errorf("no place: %v", one)
				}
			}
			golden(t, strings.TrimSuffix(name, ".yaml")+".txt", err.Error()+"\n")
		})
	}
}

// TestBadMore does so with small files, of which each archive has many, with
// what is said about them after each.
func TestBadMore(t *testing.T) {
	names, err := filepath.Glob("testdata/bad/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, name := range names {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var all txtar.Archive
		for _, f := range archive.Files {
			if !strings.HasSuffix(f.Name, ".yaml") {
				continue
			}
			n++
			_, err := config.Parse(context.Background(), f.Name, f.Data, options())
			var d config.Diagnostics
			if !errors.As(err, &d) || !errors.Is(err, jobcontrol.ErrInvalid) {
				t.Errorf("%s: %s: Parse: %v, want Diagnostics", name, f.Name, err)
				continue
			}
			for _, one := range d {
				if one.Pos.Line == 0 {
					t.Errorf("%s: no place: %v", name, one)
				}
			}
			all.Files = append(all.Files, f, txtar.File{Name: strings.TrimSuffix(f.Name, ".yaml") + ".txt", Data: []byte(err.Error() + "\n")})
		}
		golden(t, name, string(txtar.Format(&all)))
	}
	if n < 220 {
		t.Errorf("only %d files", n)
	}
}
