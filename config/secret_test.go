package config_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/config"
)

const canary = "hunter2-CANARY-éß\"'<x>"

func TestSecret(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"key.txt": canary + "\n", "empty.txt": "", "large.txt": strings.Repeat("x", 100_000),
		"jobs.yaml": `
secret:
  env: {env: CONFIG_TEST_SECRET}
  unset: {env: CONFIG_TEST_UNSET}
  file: {file: key.txt}
  missing: {file: missing.txt}
  empty: {file: empty.txt}
  large: {file: large.txt}
  command: {command: [cat, key.txt]}
  failing: {command: [sh, -c, "cat key.txt key.txt >&2; exit 3"]}
  literal: "hunter2-CANARY-éß\"'<x>"
jobs:
- id: a
  function: m:f
  kwargs: {x: !secret literal, y: !secret env}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("CONFIG_TEST_SECRET", canary)
	f, err := config.Load(context.Background(), filepath.Join(dir, "jobs.yaml"), options())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"env", "file", "command", "literal"} {
		if got, err := f.Secret(context.Background(), name); got != canary || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for name, want := range map[string]string{
		"unset": "the environment variable CONFIG_TEST_UNSET is not set", "missing": "no such file", "empty": "shorter than 6",
		"large": "larger than 64 KiB", "failing": "exit status 3", "nothing": "there is no secret",
	} {
		got, err := f.Secret(context.Background(), name)
		if got != "" || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, %v, want %s", name, got, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), "CANARY") || jobcontrol.CodeOf(err) == jobcontrol.Internal) {
			t.Errorf("%s: %v (%s)", name, err, jobcontrol.CodeOf(err))
		}
	}
	if _, err := f.Secret(context.Background(), "nothing"); !errors.Is(err, jobcontrol.ErrNotFound) {
		t.Errorf("an unknown secret: %v", err)
	}
	var out bytes.Buffer
	type wrapped struct {
		sources map[string]config.SecretSource
	}
	fmt.Fprintf(&out, "%v %+v %#v %+v %#v", f.Secrets, f.Secrets, f.Secrets, wrapped{f.Secrets}, wrapped{f.Secrets})
	fmt.Fprintf(&out, "%v %+v %s %s %v", f, *f, f.Expanded, f.Warnings, f.Jobs.All()[0])
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "file", f)
	body, _, err := f.Jobs.All()[0].Definition()
	all, _ := json.Marshal(f.Secrets)
	out.Write(body)
	out.Write(all)
	if err != nil || strings.Contains(out.String(), "CANARY") {
		t.Errorf("a secret is shown (%v):\n%s", err, out.String())
	}
}

// TestExpand holds that secrets are masked in whatever way they are written, also where
// the text cannot be parsed.
func TestExpand(t *testing.T) {
	const jobs = "jobs:\n- id: a\n  run: echo {{ 1 + 1 }}\n"
	for _, c := range []struct{ text, want string }{
		{jobs, "jobs:\n- id: a\n  run: echo 2\n"},
		{"secret: {a: CANARY1, b: {env: X}}\n" + jobs, "secret:\n  a: ***\n  b: {env: X}\njobs:\n- id: a\n  run: echo 2\n"},
		{"secret:\n  a: |\n    CANARY1\n    CANARY2\n  b: 'CANARY''3'\n" + jobs, "secret:\n  a: ***\n  b: ***\n\n\njobs:\n- id: a\n  run: echo 2\n"},
		{jobs + "secret:\n  a: CANARY1\n", "jobs:\n- id: a\n  run: echo 2\nsecret:\n  a: ***\n"},
		{"x: &x CANARY1\nsecret: {a: *x}\n" + jobs, "x: &x ***\nsecret:\n  a: ***\njobs:\n- id: a\n  run: echo 2\n"},
		{"secret: CANARY1\n" + jobs, "secret: ***\njobs:\n- id: a\n  run: echo 2\n"},
		{"secret:\n  a: CANARY1\n  b: \"CANARY2\n" + jobs, "secret:\n  a: ***\n  b: ***\njobs:\n- id: a\n  run: echo 2\n"},
		{"secret:\n  a: CANARY1\n   CANARY2\n  b: [\n  CANARY3\n" + jobs, "secret:\n  a: ***\n   ***\n  b: ***\n  ***\njobs:\n- id: a\n  run: echo 2\n"},
	} {
		path := write(t, c.text)
		got, err := config.Expand(context.Background(), path, options())
		if err != nil || got != c.want {
			t.Errorf("%q: %v\n got %q\nwant %q", c.text, err, got, c.want)
		}
	}
	if _, err := config.Expand(context.Background(), write(t, "{{ nope }}"), options()); !errors.Is(err, jobcontrol.ErrInvalid) {
		t.Errorf("a bad template: %v", err)
	}
}
