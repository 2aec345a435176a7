package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestComingFrom executes the examples of docs/coming-from.md. Each chapter is a
// script: its YAML is the file; a comment behind a command is in its output, and
// a command that ends with & is stopped at the end.
func TestComingFrom(t *testing.T) {
	data, err := os.ReadFile("../docs/coming-from.md")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	dir := t.TempDir()
	for _, chapter := range strings.Split(string(data), "\n## ")[1:] {
		title, _, _ := strings.Cut(chapter, "\n")
		file := filepath.Join(dir, fmt.Sprintf("%d.txt", len(files)))
		if err := os.WriteFile(file, []byte(scriptOf(t, title, chapter)), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	if len(files) != 4 {
		t.Errorf("%d chapters", len(files))
	}
	testscript.Run(t, testscript.Params{
		Files: files, RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			env.Setenv("JOBCONTROL_CONFIG_FILE", "")
			return nil
		},
	})
}

// scriptOf makes a chapter a script.
func scriptOf(t *testing.T, title, chapter string) string {
	file, commands := block(chapter, "yaml"), block(chapter, "sh")
	if file == "" || commands == "" {
		t.Errorf("the chapter %s has no file or no commands", title)
	}
	script, end := "# "+title+"\n", ""
	for l := range strings.Lines(commands) {
		command, output, _ := strings.Cut(strings.TrimSpace(l), " # ")
		command = strings.TrimSpace(command)
		if before, ok := strings.CutSuffix(command, "&"); ok {
			command, end = before+"&behind&", "kill -INT behind\nwait behind\n"
		}
		script += "exec " + command + "\n"
		if output = strings.TrimSpace(output); output != "" {
			script += "stdout '" + regexp.QuoteMeta(output) + "'\n"
		}
	}
	return script + end + "\n-- jobcontrol.yaml --\n" + file
}

// block is the first code block of a language.
func block(text, language string) string {
	_, text, _ = strings.Cut(text, "\n```"+language+"\n")
	text, _, _ = strings.Cut(text, "```\n")
	return text
}
