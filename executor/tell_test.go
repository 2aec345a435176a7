package executor_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
)

// tellMain is a small `jobcontrol tell`.
func tellMain(args []string) int {
	ctx := context.Background()
	teller, err := executor.NewTeller()
	if err != nil {
		fmt.Println(jobcontrol.CodeOf(err), err)
		return 1
	}
	var out any
	switch verb, arg := args[0], append(args[1:], "", "")[:2]; verb {
	case "progress":
		n := int64(5)
		err = teller.Progress(ctx, jobcontrol.Progress{Path: jobcontrol.ProgressPath(arg[0]), Current: &n, Status: arg[1]})
	case "log":
		err = teller.Log(ctx, jobcontrol.LogRecord{Level: jobcontrol.LevelError, Logger: "told", Message: arg[0], Attrs: map[string]any{"a": 1}})
	case "result":
		err = teller.Result(ctx, json.RawMessage(arg[0]))
	case "large result":
		n, _ := strconv.Atoi(arg[0])
		err = teller.Result(ctx, json.RawMessage(`"`+strings.Repeat("x", n)+`"`))
	case "skip":
		err = teller.Skip(ctx, arg[0])
	case "retry":
		err = teller.Retry(ctx, 1500*time.Millisecond, arg[0])
	case "suspend":
		err = teller.Suspend(ctx, arg[0])
	case "fail":
		err = teller.Fail(ctx, arg[0])
	case "local set":
		err = teller.SetLocal(ctx, arg[0], json.RawMessage(arg[1]))
	case "local get":
		v, found, e := teller.Local(ctx, arg[0])
		out, err = fmt.Sprintf("%s %v", v, found), e
	case "local keys":
		out, err = teller.LocalKeys(ctx)
	case "shared set":
		out, err = teller.SetShared(ctx, arg[0], json.RawMessage(arg[1]), -1)
	case "shared create":
		out, err = teller.SetShared(ctx, arg[0], json.RawMessage(arg[1]), 0)
	case "shared get":
		v, version, e := teller.Shared(ctx, arg[0])
		out, err = fmt.Sprintf("%s %v", v, version), e
	case "shared keys":
		out, err = teller.SharedKeys(ctx)
	}
	switch {
	case err != nil:
		fmt.Println(jobcontrol.CodeOf(err), err)
		return 1
	case out != nil:
		fmt.Println(out)
	}
	return 0
}

// shared is the shared values of a Run, in memory.
type shared struct {
	mu       sync.Mutex
	values   map[string]json.RawMessage
	versions map[string]int64
}

func (s *shared) SharedGet(_ context.Context, _ int64, key string) (json.RawMessage, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values[key], s.versions[key], nil
}

func (s *shared) SharedSet(_ context.Context, _ jobcontrol.Claim, key string, value json.RawMessage, version int64) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if version >= 0 && version != s.versions[key] {
		return 0, jobcontrol.Errorf(jobcontrol.Conflict, "shared value %q is at version %d", key, s.versions[key])
	}
	s.values[key] = value
	s.versions[key]++
	return s.versions[key], nil
}

func (s *shared) SharedKeys(context.Context, int64) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []string
	for k := range s.values {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys, nil
}

// withTell makes `tell` in a script this program.
func withTell(c *jobcontrol.Call) {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	c.Env = map[string]string{"SELF": self}
	c.Task = &jobcontrol.Task{Shell: "tell() { " + envMode + `=` + modeTell + ` "$SELF" "$@"; }` + "\n" + c.Task.Shell}
	c.Job.ResultOut = "lines"
	c.Shared = jobcontrol.NewShared(&shared{values: map[string]json.RawMessage{}, versions: map[string]int64{}}, c.Run, jobcontrol.Claim{})
}

func TestTellFromAShell(t *testing.T) {
	v, rec, err := sh(t, `
echo '{"progress": {"path": "a::b", "current": 1, "total": 2, "status": "half"}}' >&3
echo '{"progress": {"path": ["x::y", "z"], "current": 1.5e3}}' >&3
echo '{"progress": {}}' >&3
printf '{"log": {"message": "one"}}\n\n{"log": {"level": 30, "logger": "l", "message": "two\\n", "attrs": {"k": [1]}}}\n' >&3
echo '{"local": {"set": "k", "value": {"x": 1}}}' >&3
printf '{"result": "no newline"}' >&3
`)
	if err != nil || asJSON(t, v) != `"no newline"` {
		t.Errorf("got %s, %v", asJSON(t, v), err)
	}
	want := `[{"path":["a","b"],"current":1,"total":2,"status":"half"},{"path":["x::y","z"],"current":1500},{"path":null}]`
	if got := asJSON(t, rec.progress); got != want {
		t.Errorf("progress %s, want %s", got, want)
	}
	if len(rec.logs) != 2 {
		t.Fatalf("log %+v", rec.logs)
	}
	one, two := rec.logs[0], rec.logs[1]
	if one.Message != "one" || one.Level != jobcontrol.LevelInfo || one.Logger != "job" {
		t.Errorf("got %+v", one)
	}
	if two.Message != "two" || two.Level != jobcontrol.LevelWarning || two.Logger != "l" || asJSON(t, two.Attrs) != `{"k":[1]}` {
		t.Errorf("got %+v", two)
	}
}

func TestTellOutcomes(t *testing.T) {
	for _, test := range []struct {
		script  string
		kind    jobcontrol.FailureKind
		message string
		after   time.Duration
	}{
		{`echo '{"skip": "nothing to do"}' >&3`, "skip", "nothing to do", 0},
		{`echo '{"retry": {"after": 1.5, "message": "busy"}}' >&3; exit 1`, "retry", "busy", 1500 * time.Millisecond},
		{`echo '{"retry": {}}' >&3`, "retry", "", 0},
		{`echo '{"retry": {"after": 1e300}}' >&3`, "retry", "", 365 * 24 * time.Hour},
		{`echo '{"retry": {"after": -1}}' >&3`, "retry", "", 0},
		{`echo '{"suspend": "wait"}' >&3`, "suspend", "wait", 0},
		{`echo '{"skip": "x"}' >&3; echo '{"fail": "no such user"}' >&3; kill -9 $$`, "user", "no such user", 0},
		{`head -c 3000000 /dev/zero | tr '\0' 1 | sed 's/^/{"result":/' >&3`, "user", "store it elsewhere", 0},
		{`(printf '{"result":"'; head -c 1048576 /dev/zero | tr '\0' x; echo '"}') >&3`, "user", "store it elsewhere", 0},
	} {
		_, _, err := sh(t, test.script, func(c *jobcontrol.Call) { c.Job.ExitCodes = map[int]string{1: "skip"} })
		f := failure(t, err, test.kind)
		if !strings.Contains(f.Message, test.message) || f.After != test.after {
			t.Errorf("%s: got %q after %v", test.script, f.Message, f.After)
		}
	}
}

func TestTellMalformed(t *testing.T) {
	_, rec, err := sh(t, `exec 4>&3
cat >&3 <<'END'
not json
{"progress": {"current": NaN}}
{"progress": 5}
{"unknown": 1}
[]
"text"
{"skip": null}
{"log": {"level": "loud", "message": ""}}
{"shared": {"get": "k"}}
{"local": {}}
{"call": true}
{"result": }
END
head -c 2000000 /dev/zero | tr '\0' x >&3; echo >&3
printf '\377\376\n' >&3
echo '{"log": {"message": "still listening"}}' >&3
i=0; while [ $i -lt 30 ]; do echo bad; i=$((i+1)); done >&3`)
	if err != nil {
		t.Error(err)
	}
	if got := rec.lines("job"); len(got) != 1 {
		t.Errorf("log %q", got)
	}
	got := rec.lines("jobcontrol")
	if len(got) != 21 || !strings.Contains(got[20], "24 more malformed messages") {
		t.Errorf("%d warnings: %q", len(got), got)
	}
	for _, m := range got {
		if len(m) > 1000 {
			t.Errorf("warning of %d bytes", len(m))
		}
	}
}

func TestTellProgram(t *testing.T) {
	v, rec, err := sh(t, `
tell progress a::b half
tell log hello
tell 'local set' k '{"x": 1}'
tell 'local get' k
tell 'local get' none
tell 'local keys'
tell 'shared set' s '[1]'
tell 'shared get' s
tell 'shared get' none
tell 'shared create' s 2 || true
tell 'shared create' new 2
tell 'shared keys'
tell 'large result' 2000000 || true
tell 'large result' 1048576 || true
tell 'local set' large "\"$(head -c 70000 /dev/zero | tr '\0' x)\"" || true
tell 'local set' bad '{oops' || true
(sleep 0; tell 'local get' k) 3>&- || true
JOBCONTROL_TELL= tell skip || true
`, withTell)
	if f := failure(t, err, jobcontrol.FailUser); !strings.Contains(f.Message, "store it elsewhere") {
		t.Errorf("got %q", f.Message)
	}
	want := []string{
		`{"x":1} true`, " false", "[k]", "1", "[1] 1", " 0", `conflict shared value "s" is at version 1`, "1", "[new s]",
		"invalid tell the job: 2000013 bytes are more than 1052672",
		"invalid result refused: 1048578 bytes of JSON are more than 1048576; store it elsewhere and tell a pointer to it",
		`invalid local value "large": the values of an attempt may hold 65536 bytes`,
		"invalid tell the job: the value is not valid JSON",
		"invalid descriptor 3, to tell the job, was closed or used for something else",
		"invalid there is no job to tell: JOBCONTROL_TELL is not set",
	}
	got := rec.lines("stdout")
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("line %d: got %q, want %q", i+1, got, want)
		}
	}
	if v != nil || len(rec.progress) != 1 || rec.progress[0].Status != "half" || rec.lines("told")[0] != "hello" {
		t.Errorf("got %v, %+v", v, rec)
	}
	if warnings := rec.lines("jobcontrol"); len(warnings) > 0 {
		t.Errorf("warnings %q", warnings)
	}
}

func TestTellProgramOutcomes(t *testing.T) {
	for script, kind := range map[string]jobcontrol.FailureKind{
		"tell skip x": "skip", "tell retry x": "retry", "tell suspend x": "suspend", "tell fail x; exit 7": "user",
	} {
		_, _, err := sh(t, script, withTell)
		if f := failure(t, err, kind); f.Message != "x" || kind == "retry" && f.After != 1500*time.Millisecond {
			t.Errorf("%s: got %+v", script, f)
		}
	}
	v, _, err := sh(t, `tell result '{"a": 1}'; echo out`, withTell)
	if err != nil || asJSON(t, v) != `{"a":1}` {
		t.Errorf("got %s, %v", asJSON(t, v), err)
	}
}

// TestTellConcurrently has several programs ask at the same time, beside one that writes.
func TestTellConcurrently(t *testing.T) {
	_, rec, err := sh(t, `
writes() { for i in 1 2 3 4 5 6 7 8 9 10; do echo '{"log": {"logger": "w", "message": "m"}}' >&3; done; }
asks() { tell 'local set' $1 "\"$(head -c 9000 /dev/zero | tr '\0' $1)\"" && tell 'local get' $1; }
pids=
for i in a b c d e f; do asks $i & pids="$pids $!"; writes & pids="$pids $!"; done
wait $pids`, withTell)
	if err != nil {
		t.Error(err, rec.lines("stderr"))
	}
	if len(rec.lines("w")) != 60 {
		t.Errorf("%d records", len(rec.lines("w")))
	}
	got := rec.lines("stdout")
	slices.Sort(got)
	for i, c := range []string{"a", "b", "c", "d", "e", "f"} {
		if i >= len(got) || got[i] != `"`+strings.Repeat(c, 9000)+`" true` {
			t.Errorf("answer %d is wrong", i)
		}
	}
}

// TestTellAbuse has a command tell as fast as it can (F41).
func TestTellAbuse(t *testing.T) {
	const most = 300_000
	for name, line := range map[string]string{
		"fast":      `{"progress":{"path":"p","current":1,"total":0}}`,
		"extremes":  `{"progress":{"path":"` + strings.Repeat("a::", 500) + `","current":-1,"total":1e300}}`,
		"malformed": `{"progress":{"current":NaN}}`,
		"depth":     `{"result":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			n := most
			if len(line) > 100 {
				n = 30_000
			}
			if len(line) > 10000 {
				n = 1000
			}
			var rec counter
			e := newExecutor(t, executor.Config{})
			var err error
			grown := memory(func() {
				c := newCall(&rec, &jobcontrol.Task{Shell: fmt.Sprintf(`yes "$1" | head -n %d >&3`, n)})
				c.Args = []any{line}
				_, err = e.Execute(context.Background(), c)
			})
			if err != nil || grown > 32<<20 {
				t.Errorf("the heap grew by %d, %v", grown, err)
			}
			switch name {
			case "malformed", "depth":
				if rec.records.Load() != 21 {
					t.Errorf("%d warnings", rec.records.Load())
				}
			default:
				if rec.progress.Load() != int64(n) || rec.deepest.Load() > jobcontrol.MaxProgressDepth {
					t.Errorf("%d reports, %d deep", rec.progress.Load(), rec.deepest.Load())
				}
			}
		})
	}
}
