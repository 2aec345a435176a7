package executor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/internal/bounds"
)

// FuzzMessage parses any line of descriptor 3: what comes out is within the limits,
// and is the same message when a [Teller] writes it again.
func FuzzMessage(f *testing.F) {
	for _, line := range []string{
		`{"progress":{"path":"a::b","current":1,"total":2,"status":"s"}}`,
		`{"progress":{"path":["a"],"current":1e400,"total":-5}}`,
		`{"progress":{"path":` + strings.Repeat("[", 5000) + `}}`,
		`{"log":{"level":"warning","message":"m","attrs":{"a":[1]}}}`, `{"log":{"level":25}}`, `{"log":{"message":"` + strings.Repeat("é", 40000) + `"}}`,
		`{"result":[[]]}`, `{"result":null}`, `{"skip":""}`, `{"retry":{"after":1e308}}`, `{"shared":{"set":"k","value":1,"version":0}}`,
		`{"local":{"get":"k"}}`, `{"call":true}`, `{"fail":5}`, `[]`, ``, `{"fail":"a","FAIL":"b","skip":null}`,
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var m *message
		var err error
		bounds.Hold(t, func() { m, err = parseMessage(line) })
		if err != nil {
			if text := excerpt(line); len(text) > 1000 || !utf8.ValidString(text) || strings.ContainsAny(text, "\x00\x1b\n") {
				t.Fatalf("excerpt %q", text)
			}
			return
		}
		if m.Progress != nil {
			checkProgress(t, m.Progress)
		}
		if m.Log != nil {
			checkLog(t, m.Log)
		}
		if o := m.outcome(); o != nil && (o.After < 0 || o.After > 365*24*time.Hour) {
			t.Errorf("after %v", o.After)
		}
		if m.Result != nil && !json.Valid(m.Result) {
			t.Errorf("result %q", m.Result)
		}
		written, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseMessage(written)
		if err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		if rewritten, err := json.Marshal(again); err != nil || !bytes.Equal(written, rewritten) {
			t.Fatalf("%s became %s, %v", written, rewritten, err)
		}
	})
}

func checkProgress(t *testing.T, m *progressMessage) {
	t.Helper()
	p := m.report()
	for _, n := range []*int64{p.Current, p.Total} {
		if n != nil && (*n < 0 || *n > 1<<53) {
			t.Errorf("number %d", *n)
		}
	}
	if len(p.Path) > jobcontrol.MaxProgressDepth {
		t.Errorf("%d deep", len(p.Path))
	}
	// Who records it cuts it, after secrets were replaced.
	if p.Status != m.Status || strings.Join(p.Path, "::") != strings.Join(m.Path, "::") {
		t.Errorf("%q %q was told and is %q %q", m.Path, m.Status, p.Path, p.Status)
	}
}

func checkLog(t *testing.T, m *logMessage) {
	t.Helper()
	var text strings.Builder
	list := m.records(time.Now())
	for i, r := range list {
		if len(r.Message) > jobcontrol.MaxLogRecord || len(r.Logger) > maxLogger || r.Logger == "" || r.Level == 0 {
			t.Errorf("record of %d bytes, logger %q, level %d", len(r.Message), r.Logger, r.Level)
		}
		if !utf8.ValidString(r.Message) || r.Continued != (i < len(list)-1) {
			t.Errorf("record %d of %d: %.50q, continued %v", i, len(list), r.Message, r.Continued)
		}
		if data, err := json.Marshal(r.Attrs); err != nil || len(data) > maxAttrs {
			t.Errorf("attributes of %d bytes, %v", len(data), err)
		}
		text.WriteString(r.Message)
	}
	if want := strings.TrimSuffix(m.Message, "\n"); text.String() != want {
		t.Errorf("%d bytes became %d others", len(want), text.Len())
	}
}

// FuzzLogChunker writes a text, repeated, to a stream in pieces of the lengths that
// cuts has. The records have all its bytes, and their JSON shows valid UTF-8 from
// which the bytes can be had.
func FuzzLogChunker(f *testing.F) {
	f.Add([]byte("a\nb\r\nc"), []byte{3}, 10)
	f.Add([]byte("\n\n"), []byte{1, 255}, 40000)
	f.Add([]byte("é\x00\xff\xfe\r\u2028"), []byte{7, 0, 200}, 20000)
	f.Fuzz(func(t *testing.T, text, cuts []byte, repeat int) {
		text = bytes.Repeat(text, max(1, min(repeat, (160<<10)/(len(text)+1))))
		i := 0
		piece := func() int {
			if i++; len(cuts) == 0 {
				return 32 << 10
			}
			n := int(cuts[i%len(cuts)])
			return 1 + n*n // up to 65,026: more than a record
		}
		checkStream(t, text, piece)
		bounds.Hold(t, func() { feed(&stream{record: nowhere{}}, text, piece) })
		var got records
		feed(&stream{record: &got, name: "stdout"}, text, piece)
		for _, r := range got[:min(len(got), 1000)] {
			checkShown(t, r)
		}
	})
}

func checkShown(t *testing.T, r jobcontrol.LogRecord) {
	t.Helper()
	data, err := json.Marshal(r)
	if err != nil || !utf8.Valid(data) {
		t.Fatalf("%.50q: %v", r.Message, err)
	}
	var shown struct {
		Message string
		Raw     []byte
	}
	if err := json.Unmarshal(data, &shown); err != nil {
		t.Fatal(err)
	}
	if shown.Raw == nil {
		shown.Raw = []byte(shown.Message)
	}
	if string(shown.Raw) != r.Message {
		t.Fatalf("%.50q is shown as %.50q", r.Message, shown.Raw)
	}
}

// FuzzArgv makes programs of calls with any texts in them. An argument is one word
// of the program, as it was given; none becomes text for the shell, an option of it,
// another word, or a variable of another name.
func FuzzArgv(f *testing.F) {
	for _, p := range []string{"$(touch x)", "`x`", "'; x; '", "-c", "--", "\n", "", "\x00", "\xff", "JOBCONTROL_TOKEN=x", "{{ x }}"} {
		f.Add(`echo "$@"`, p, "word", "key", p)
		f.Add(p, "word", p, p, "value")
	}
	f.Fuzz(func(t *testing.T, script, first, second, name, value string) {
		args := []any{first, []any{second, int64(1)}, second, nil}
		list, _ := json.Marshal([]any{second, 1})
		words := []string{first, strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(list)), second, "null"}
		call := func(task *jobcontrol.Task) *jobcontrol.Call {
			return &jobcontrol.Call{Task: task, Env: map[string]string{"OWN": first}, Execution: &jobcontrol.Execution{
				Build: 7, Run: 3, Attempt: 2, Fence: 9, Phase: jobcontrol.PhaseRun, Job: &jobcontrol.Job{ID: "id", Stdin: "json"},
				Args: args, Kwargs: map[string]any{name: value},
			}}
		}
		base := []string{"PATH=/nowhere", "JOBCONTROL_BUILD=1", "JOBCONTROL_KWARG_OLD=1", "OWN=base", "LEFT=" + second}
		nul := strings.Contains(first+second+value, "\x00")

		shellCall, wantShell := call(&jobcontrol.Task{Shell: script}), append([]string{"sh", "-eu", "-c", script, "sh"}, words...)
		if strings.HasPrefix(script, "-") || strings.HasPrefix(script, "+") {
			wantShell[3] = " " + script
		}
		if script == "" || strings.Contains(script, "\x00") {
			_, err := newProgram(shellCall, base, "token")
			if err == nil {
				t.Fatalf("script %q has a program", script)
			}
		} else {
			checkProgram(t, shellCall, base, shell, wantShell, nul)
		}
		command := []string{"/bin/echo", "-n", script}
		if !strings.Contains(script, "\x00") {
			checkProgram(t, call(&jobcontrol.Task{Command: command}), base, "/bin/echo", append(command, words...), nul)
		}
	})
}

func checkProgram(t *testing.T, c *jobcontrol.Call, base []string, path string, argv []string, nul bool) {
	t.Helper()
	var p *program
	var err error
	bounds.Hold(t, func() { p, err = newProgram(c, base, "token") })
	if nul != (err != nil) {
		t.Fatalf("%q: %v", argv, err)
	}
	if err != nil {
		if f, ok := err.(*jobcontrol.Failure); !ok || f.Kind != jobcontrol.FailUser {
			t.Fatalf("%#v", err)
		}
		return
	}
	if diff := cmp.Diff(argv, p.argv); diff != "" || p.path != path {
		t.Fatalf("%s (-want +got):\n%s", p.path, diff)
	}
	set := map[string]string{}
	for _, kv := range p.env {
		name, value, ok := strings.Cut(kv, "=")
		if _, twice := set[name]; twice || !ok || name == "" || strings.Contains(kv, "\x00") {
			t.Fatalf("variable %q of %q", kv, p.env)
		}
		set[name] = value
	}
	want := map[string]string{
		"PATH": "/nowhere", "OWN": c.Env["OWN"], "LEFT": strings.TrimPrefix(base[4], "LEFT="), envBuild: "7", envRun: "3",
		envJob: "id", envAttempt: "2", envPhase: "run", envFence: "9", envTell: "3", envToken: "token",
	}
	for name, value := range c.Kwargs {
		want[kwargName(name)] = fmt.Sprint(value)
	}
	if diff := cmp.Diff(want, set); diff != "" {
		t.Fatalf("variables (-want +got):\n%s", diff)
	}
	if !json.Valid(p.stdin) || bytes.Count(p.stdin, []byte("\n")) != 1 {
		t.Fatalf("stdin %q", p.stdin)
	}
}

// kwargName is the variable of a keyword argument: ASCII letters in upper case,
// digits, and an underscore for each other character.
func kwargName(name string) string {
	out := "JOBCONTROL_KWARG_"
	for _, r := range name {
		switch {
		case strings.ContainsRune("abcdefghijklmnopqrstuvwxyz", r):
			out += strings.ToUpper(string(r))
		case strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", r):
			out += string(r)
		default:
			out += "_"
		}
	}
	return out
}
