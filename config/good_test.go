package config_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/config"
)

// shown is a file as its golden file has it.
type shown struct {
	Storage   string                      `json:"storage,omitempty"`
	Project   string                      `json:"project,omitempty"`
	Meta      map[string]any              `json:"meta,omitempty"`
	Secrets   map[string]string           `json:"secrets,omitempty"`
	Services  []jobcontrol.Service        `json:"services,omitempty"`
	Retention *jobcontrol.RetentionPolicy `json:"retention,omitempty"`
	Jobs      []shownJob                  `json:"jobs"`
	Warnings  []string                    `json:"warnings,omitempty"`
}

type shownJob struct {
	Source string          `json:"source"`
	Job    *jobcontrol.Job `json:"job"`
}

func show(t *testing.T, f *config.File) string {
	t.Helper()
	s := shown{Storage: f.Storage, Project: f.Project, Meta: f.Meta, Services: f.Services, Secrets: map[string]string{}}
	if !f.Retention.Empty() {
		s.Retention = &f.Retention
	}
	for name, source := range f.Secrets {
		s.Secrets[name] = source.String()
	}
	for _, j := range f.Jobs.All() {
		s.Jobs = append(s.Jobs, shownJob{j.Source.String(), j})
	}
	for _, w := range f.Warnings {
		s.Warnings = append(s.Warnings, fmt.Sprintf("%s: %s", w.Pos, w.Message))
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(s); err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(out.String(), f.Dir, "DIR")
}

// TestGood loads each good file and compares what it becomes.
func TestGood(t *testing.T) {
	t.Chdir("testdata/good")
	names, err := filepath.Glob("*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("%d good files, %v", len(names), err)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			f, err := config.Load(context.Background(), name, options())
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(f.Expanded, "hunter2") {
				t.Errorf("Expanded shows a secret:\n%s", f.Expanded)
			}
			golden(t, strings.TrimSuffix(name, ".yaml")+".json", show(t, f))
			golden(t, strings.TrimSuffix(name, ".yaml")+".expanded", f.Expanded)
			inside, err := config.Load(context.Background(), name, config.Options{Env: options().Env})
			if err != nil {
				t.Fatal(err)
			}
			if show(t, inside) != show(t, f) || inside.Expanded != f.Expanded {
				t.Errorf("rendering in this process gives something else")
			}
		})
	}
}
