package executor_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
)

func resultMode(mode string) func(*jobcontrol.Call) {
	return func(c *jobcontrol.Call) { c.Job.ResultOut = mode }
}

func TestResultModes(t *testing.T) {
	for _, test := range []struct{ mode, script, want string }{
		{"", "echo x", "null"},
		{"stdout", `printf 'a\nb\n\n'`, `"a\nb\n"`},
		{"stdout", "true", `""`},
		{"stdout", `printf '\377'`, `"�"`},
		{"lines", `printf 'a\n\nb'`, `["a","","b"]`},
		{"lines", "true", `[]`},
		{"json", `echo '{"a": [1, 2.50]}'`, `{"a":[1,2.50]}`},
		{"json", "echo null", "null"},
		{"stdout", `echo x; echo '{"result": 5}' >&3`, "5"},
		{"", `echo '{"result": 5}' >&3; echo '{"result": {"b": 6}}' >&3`, `{"b":6}`},
	} {
		v, _, err := sh(t, test.script, resultMode(test.mode))
		if err != nil || asJSON(t, v) != test.want {
			t.Errorf("%s of %s: got %s, %v, want %s", test.mode, test.script, asJSON(t, v), err, test.want)
		}
	}
}

func TestResultModesRefuse(t *testing.T) {
	for _, test := range []struct{ mode, script, want string }{
		{"json", "echo '{oops'", `stdout is not valid JSON: "{oops\n"`},
		{"json", "true", "stdout is empty"},
		{"json", `echo 1; echo 2`, `stdout is not valid JSON`},
		{"stdout", "head -c 2000000 /dev/zero", "store it elsewhere"},
		{"odd", "true", "no such result mode"},
	} {
		_, _, err := sh(t, test.script, resultMode(test.mode))
		if f := failure(t, err, jobcontrol.FailUser); !strings.Contains(f.Message, test.want) {
			t.Errorf("%s of %s: got %q, want %q", test.mode, test.script, f.Message, test.want)
		}
	}
}

func TestResultOnlyWhereItCounts(t *testing.T) {
	script := &jobcontrol.Task{Shell: "echo x"}
	for _, test := range []struct {
		job   jobcontrol.Job
		phase jobcontrol.Phase
		want  string
	}{
		{jobcontrol.Job{Run: script}, jobcontrol.PhaseRun, `"x"`},
		{jobcontrol.Job{Check: script}, jobcontrol.PhaseCheck, `"x"`},
		{jobcontrol.Job{Check: script, Run: script}, jobcontrol.PhaseCheck, "null"},
		{jobcontrol.Job{Check: script, Run: script}, jobcontrol.PhaseRecheck, "null"},
		{jobcontrol.Job{Run: script, Cleanup: script}, jobcontrol.PhaseCleanup, "null"},
	} {
		v, _, err := sh(t, script.Shell, func(c *jobcontrol.Call) {
			j := test.job
			j.ResultOut = "stdout"
			c.Job, c.Phase = &j, test.phase
		})
		if err != nil || asJSON(t, v) != test.want {
			t.Errorf("%s of a %s: got %s, %v", test.phase, test.job.Kind(), asJSON(t, v), err)
		}
	}
}

func TestFailedCommand(t *testing.T) {
	codes := func(c *jobcontrol.Call) { c.Job.ExitCodes = map[int]string{75: "retry", 100: "skip"} }
	for _, test := range []struct {
		script  string
		kind    jobcontrol.FailureKind
		code    int
		signal  string
		message string
	}{
		{"exit 3", "error", 3, "", "exit status 3"},
		{"echo one >&2; echo ' two ' >&2; echo >&2; exit 1", "error", 1, "", "two"},
		{`printf 'no newline' >&2; false`, "error", 1, "", "no newline"},
		{`printf 'a\377b' >&2; false`, "error", 1, "", "a�b"},
		{`head -c 5000 /dev/zero | tr '\0' x >&2; exit 1`, "error", 1, "", strings.Repeat("x", 1024)},
		{`head -c 200000 /dev/zero | tr '\0' y >&2; exit 1`, "error", 1, "", strings.Repeat("y", 1024)},
		{"exit 75", "retry", 75, "", "exit status 75"},
		{"echo nothing to do >&2; exit 100", "skip", 100, "", "nothing to do"},
		{"kill -TERM $$", "error", -1, "SIGTERM", "killed by signal SIGTERM"},
		{"echo dying >&2; kill -KILL $$", "error", -1, "SIGKILL", "killed by signal SIGKILL (perhaps out of memory); last line on stderr: dying"},
		{"sh -c 'kill -KILL $$'", "error", 137, "", "exit status 137: a process was killed by SIGKILL (perhaps out of memory)"},
		{"false; echo not reached", "error", 1, "", "exit status 1"},
		{"echo $UNSET_VARIABLE", "error", 2, "", "sh: 1: UNSET_VARIABLE: parameter not set"},
		{"-x", "error", 127, "", "sh: 1: -x: not found"},
	} {
		_, _, err := sh(t, test.script, codes)
		f := failure(t, err, test.kind)
		code := -1
		if f.ExitCode != nil {
			code = *f.ExitCode
		}
		if code != test.code || f.Signal != test.signal || !strings.HasPrefix(f.Message, test.message) {
			t.Errorf("%s: got code %d, signal %q, message %q", test.script, code, f.Signal, f.Message)
		}
	}
}

func TestCannotStart(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := write("plain", "x", 0o600)
	noInterpreter := write("script", "#!/no/such/interpreter\n", 0o700)
	garbage := write("garbage", "\x00\x01\x02", 0o700)
	long := strings.Repeat("x", 200<<10)
	for _, test := range []struct {
		command []string
		cwd     string
		kind    jobcontrol.FailureKind
		want    string
	}{
		{[]string{"no-such-command"}, "", "error", "no-such-command: command not found"},
		{[]string{"/no/such"}, "", "error", "/no/such: command not found"},
		{[]string{plain}, "", "error", plain + ": not executable"},
		{[]string{"plain"}, "", "error", plain + ": not executable"},
		{[]string{dir}, "", "error", dir + ": is a directory"},
		{[]string{noInterpreter}, "", "error", noInterpreter + ": cannot be executed: its interpreter, named in its first line, does not exist"},
		{[]string{garbage}, "", "error", garbage + ": cannot be started: exec format error"},
		{[]string{"true"}, dir + "/none", "error", "cwd " + dir + "/none: no such file or directory"},
		{[]string{"true"}, plain, "error", "cwd " + plain + ": not a directory"},
		{[]string{""}, "", "user", "the command is empty"},
		{[]string{"echo", long}, "", "user", "echo: the arguments and the environment are too long for a command; use stdin: json"},
		{[]string{"echo", "a\x00b"}, "", "user", "argument 1 of the command contains a NUL byte"},
		{[]string{"true"}, "a\x00b", "user", "cwd contains a NUL byte"},
	} {
		c := newCall(discard{}, &jobcontrol.Task{Command: test.command})
		c.Job.Cwd = test.cwd
		c.Env = map[string]string{"PATH": dir + ":" + os.Getenv("PATH")}
		_, err := newExecutor(t, executor.Config{}).Execute(context.Background(), c)
		if f := failure(t, err, test.kind); f.Message != test.want {
			t.Errorf("%.40q: got %q, want %q", test.command, f.Message, test.want)
		}
	}
}

func TestWhereItIs(t *testing.T) {
	t.Setenv("INHERITED", "yes")
	t.Setenv("JOBCONTROL_KWARG_STALE", "of an outer job")
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	v, _, err := sh(t, `pwd
echo $JOBCONTROL_RUN $JOBCONTROL_BUILD "$JOBCONTROL_JOB" $JOBCONTROL_ATTEMPT $JOBCONTROL_PHASE $JOBCONTROL_FENCE $JOBCONTROL_TELL
echo $INHERITED $OWN ${JOBCONTROL_KWARG_STALE-none} $HOME
read line || echo empty stdin
ps -o pgid= -p $$ | tr -d ' ' | grep -qx $$ && echo own group`,
		func(c *jobcontrol.Call) {
			c.Job.Cwd, c.Job.ResultOut = dir, "lines"
			c.Env = map[string]string{"OWN": "own", "HOME": "/elsewhere", "JOBCONTROL_BUILD": "999"}
		})
	want := asJSON(t, []string{dir, "7 8 a job 1 run 9 3", "yes own none /elsewhere", "empty stdin", "own group"})
	if err != nil || asJSON(t, v) != want {
		t.Errorf("got %s, %v, want %s", asJSON(t, v), err, want)
	}
}

func TestStdinJSON(t *testing.T) {
	args := func(c *jobcontrol.Call) {
		c.Job.Stdin, c.Job.ResultOut = "json", "json"
		c.Args, c.Kwargs = []any{"<a>", int64(1), nil}, map[string]any{"k": map[string]any{"l": []any{true}}}
	}
	v, _, err := sh(t, "cat", args)
	if want := `{"args":["\u003ca\u003e",1,null],"kwargs":{"k":{"l":[true]}}}`; err != nil || asJSON(t, v) != want {
		t.Errorf("got %s, %v", asJSON(t, v), err)
	}
	v, _, err = sh(t, "cat", args, func(c *jobcontrol.Call) { c.Args, c.Kwargs = nil, nil })
	if want := `{"args":[],"kwargs":{}}`; err != nil || asJSON(t, v) != want {
		t.Errorf("got %s, %v", asJSON(t, v), err)
	}
}
