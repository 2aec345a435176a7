package executor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
)

// payloads are texts that a program which takes data for code would execute;
// CANARY is a file that must not appear (F60).
func payloads(canary string) []string {
	forms := []string{
		"; touch CANARY", "& touch CANARY &", "| touch CANARY", "|| touch CANARY", "&& touch CANARY", "\ntouch CANARY\n",
		"\r\ntouch CANARY", "$(touch CANARY)", "`touch CANARY`", "${x:-$(touch CANARY)}", "$((`touch CANARY`))",
		"'; touch CANARY; '", "\"; touch CANARY; \"", "'\"; touch CANARY; #", "\\'; touch CANARY; #", "\\\"; touch CANARY; #",
		") ; touch CANARY ; (", "} ; touch CANARY ; {", "> CANARY", ">> CANARY", ">|CANARY", "2> CANARY", "&> CANARY", "<>CANARY",
		"<(touch CANARY)", ">(touch CANARY)", "-c 'touch CANARY'", "-c", "-e", "-x", "+x", "--", "-", "-s", "-i", "--help", "-o errexit",
		"%0atouch CANARY", "%s%s%n", "\\ntouch CANARY", "\\x0atouch CANARY", "$IFS;touch${IFS}CANARY", "{touch,CANARY}", "~", "*", "?", "[a-z]*",
		"$HOME", "$0", "$*", "$@", "!!", "!touch", "^a^b", "#", "# touch", "=touch", "x=1 touch CANARY", "EOF\ntouch CANARY\n", "<<X",
		"\x1b]0;title\x07", "\x1b[2J", "\u202e", "\ufeff", "\xff\xfe", "\x7f", "\t", " ", "", "  leading", "trailing  ", "é", "日本語",
		"__import__('os').system('touch CANARY')", "{{ 7*7 }}", "{% raw %}", "${jndi:ldap://x}", "../../CANARY", "/dev/fd/3",
		"() { :;}; touch CANARY", "() { _; } >_[$($())] { touch CANARY; }", "a[$(touch CANARY)]", "a[`touch CANARY`]", "1+a[$(touch CANARY)]",
		"JOBCONTROL_TOKEN=x", "LD_PRELOAD=CANARY", "PATH=.", "IFS=x", "ENV=CANARY", "BASH_ENV=CANARY", "PS4=$(touch CANARY)",
		strings.Repeat("A", 100_000), strings.Repeat("'", 1001), strings.Repeat("$(", 1000), strings.Repeat("`", 999),
	}
	for i, f := range forms {
		forms[i] = strings.ReplaceAll(f, "CANARY", canary)
	}
	return forms
}

func TestInjection(t *testing.T) {
	dir := t.TempDir()
	canary := filepath.Join(dir, "canary")
	t.Chdir(dir)
	e := newExecutor(t, executor.Config{})
	all := payloads(canary)
	tasks := map[string]*jobcontrol.Task{
		// Both write what they got, each word ended by a byte that is in no payload.
		"shell":   {Shell: `for a in "$@" "$JOBCONTROL_KWARG_K" "$OWN"; do printf '%s\001' "$a"; done`},
		"command": {Command: []string{"sh", "-c", `for a in "$@" "$JOBCONTROL_KWARG_K" "$OWN"; do printf '%s\001' "$a"; done`, "sh"}},
	}
	for name, task := range tasks {
		for _, p := range all {
			rec := newRecorder()
			c := newCall(rec, task)
			c.Args, c.Kwargs, c.Env = []any{p, []any{"x", int64(1)}, p}, map[string]any{"k": p}, map[string]string{"OWN": p}
			if _, err := e.Execute(limited(t), c); err != nil {
				t.Errorf("%s: %.50q: %v", name, p, err)
				continue
			}
			want := p + "\x01" + `["x",1]` + "\x01" + p + "\x01" + p + "\x01" + p + "\x01"
			if got := strings.Join(rec.lines("stdout"), "\n"); got != want {
				t.Errorf("%s: %.50q arrived as %.200q", name, p, got)
			}
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("files have appeared: %v, %v", left, err)
	}
}

// TestInjectionNames gives payloads as names.
func TestInjectionNames(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	e := newExecutor(t, executor.Config{})
	for _, p := range append(payloads(filepath.Join(dir, "canary")), "LD_PRELOAD", "PATH", "a\x00b", "a=b") {
		rec := newRecorder()
		c := newCall(rec, &jobcontrol.Task{Command: []string{"/usr/bin/env", "-0"}})
		c.Kwargs = map[string]any{p: "value of it"}
		if len(p) > 90_000 {
			continue // the name and the value together are longer than execve takes
		}
		if _, err := e.Execute(limited(t), c); err != nil {
			t.Errorf("%.50q: %v", p, err)
		}
		found := ""
		for _, kv := range strings.Split(strings.Join(rec.lines("stdout"), "\n"), "\x00") {
			if name, ok := strings.CutSuffix(kv, "=value of it"); ok {
				found += name
			}
		}
		if !strings.HasPrefix(found, "JOBCONTROL_KWARG_") || strings.Trim(found, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" {
			t.Errorf("%.50q became the variable %q", p, found)
		}
		c.Env, c.Kwargs = map[string]string{p: "x"}, nil
		_, err := e.Execute(limited(t), c)
		if bad := p == "" || strings.ContainsAny(p, "=\x00"); bad != (err != nil) {
			t.Errorf("%.50q as the name of a variable: %v", p, err)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("files have appeared: %v, %v", left, err)
	}
}

func TestArgumentsRefused(t *testing.T) {
	for name, change := range map[string]func(c *jobcontrol.Call){
		"argument 5 of the command contains a NUL byte":                             func(c *jobcontrol.Call) { c.Args = []any{"a\x00b"} },
		"environment variable JOBCONTROL_KWARG_K contains a NUL byte":               func(c *jobcontrol.Call) { c.Kwargs = map[string]any{"k": "\x00"} },
		"environment variable X contains a NUL byte":                                func(c *jobcontrol.Call) { c.Env = map[string]string{"X": "\x00"} },
		`environment variable "A=B": a name must not be empty nor contain = or NUL`: func(c *jobcontrol.Call) { c.Env = map[string]string{"A=B": ""} },
		`keyword arguments "a-b" and "a_b" would both be JOBCONTROL_KWARG_A_B`: func(c *jobcontrol.Call) {
			c.Kwargs = map[string]any{"a-b": 1, "a_b": 2}
		},
		"argument 0: json: unsupported value: NaN": func(c *jobcontrol.Call) { c.Args = []any{nan()} },
	} {
		_, _, err := sh(t, "true", change)
		if f := failure(t, err, jobcontrol.FailUser); f.Message != name {
			t.Errorf("got %q, want %q", f.Message, name)
		}
	}
}

func nan() float64 { zero := 0.0; return zero / zero }

func TestWords(t *testing.T) {
	_, rec, err := sh(t, `printf '%s\n' "$@" "$JOBCONTROL_KWARG_A_B_1" "$JOBCONTROL_KWARG_N" "$JOBCONTROL_KWARG_O"`, func(c *jobcontrol.Call) {
		c.Args = []any{"text", int64(1 << 60), 1.5, true, nil, []any{}, map[string]any{"<": "é"}}
		c.Kwargs = map[string]any{"a-b.1": "x y", "n": int64(5), "o": map[string]any{"k": []any{nil}}}
	})
	want := `["text" "1152921504606846976" "1.5" "true" "null" "[]" "{\"<\":\"é\"}" "x y" "5" "{\"k\":[null]}"]`
	if got := fmt.Sprintf("%q", rec.lines("stdout")); err != nil || got != want {
		t.Errorf("got %s, %v", got, err)
	}
}
