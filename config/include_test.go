package config_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jobcontrol/jobcontrol/config"
)

// TestIncludeStaysBelow holds that no way leads out of the directory of the file, and that
// the file's own problems with links are told at their place.
func TestIncludeStaysBelow(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "in")
	if err := os.MkdirAll(filepath.Join(in, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	const job = "jobs:\n- id: outside\n"
	for name, text := range map[string]string{
		"outside.yaml": job, "in/sub/ok.yaml": "jobs:\n- id: ok\n",
		"in/link.yaml":  "include: [out.yaml]\n",
		"in/glob.yaml":  "include: ['o*.yaml']\n",
		"in/dir.yaml":   "include: [up/outside.yaml]\n",
		"in/twice.yaml": "include: [sub/ok.yaml, 'sub/*.yaml', ./sub/../sub/ok.yaml]\n",
		"in/self.yaml":  "include: [sub]\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../outside.yaml", filepath.Join(in, "out.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..", filepath.Join(in, "up")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"link.yaml": "leads out of the directory", "glob.yaml": "leads out of the directory",
		"dir.yaml": "leads out of the directory", "self.yaml": "is a directory",
	} {
		_, err := config.Load(context.Background(), filepath.Join(in, name), options())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	f, err := config.Load(context.Background(), filepath.Join(in, "twice.yaml"), options())
	if err != nil || f.Jobs.Len() != 1 {
		t.Errorf("twice.yaml: %v", err)
	}
}

func TestLoadNothing(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		filepath.Join(dir, "none.yaml"): "there is no file", dir: "is a directory",
	} {
		if _, err := config.Load(context.Background(), path, options()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
}
