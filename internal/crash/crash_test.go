//go:build failpoints

package crash

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	_ "modernc.org/sqlite"
)

// file is the graph: a run-only job whose result is used, a job that can be
// checked and has a clean-up step, one with a build for each of its items and one
// that uses their results, one that needs two tries, one that fails for
// good and one that it blocks.
const file = `
defaults: {cwd: ., retry_delay: 0}
jobs:
  - id: all
    dependencies: [sum, flaky, blocked, total]
  - id: numbers
    run: echo "run numbers" >> effects; echo 40
    result: json
  - id: room
    check: test -e room
    run: touch room; echo "run room" >> effects; jobcontrol tell log "the room is there"
    cleanup: echo "clean room" >> effects
  - id: sum
    dependencies: [numbers, room]
    kwargs: {n: !retval numbers}
    run: echo "run sum" >> effects; echo $((JOBCONTROL_KWARG_N + 2))
    result: json
  - id: flaky
    tries: 2
    check: test "$(grep -c 'run flaky' effects)" -ge 2
    run: echo "run flaky" >> effects
  - id: pages
    dependencies: [numbers]
    for_each: {items: [4, 5], partial: true}
    run: echo "run pages$JOBCONTROL_KWARG_ITEM" >> effects; echo $((JOBCONTROL_KWARG_ITEM * 2))
    result: json
  - id: total
    dependencies: [pages]
    kwargs: {a: !retval "pages[4]", b: !retval "pages[5]"}
    run: echo "run total" >> effects; echo $((JOBCONTROL_KWARG_A + JOBCONTROL_KWARG_B))
    result: json
  - id: broken
    tries: 1
    run: echo "run broken" >> effects; exit 3
  - id: blocked
    dependencies: [broken]
    run: echo "run blocked" >> effects
`

// told is a line about a build that is final.
var told = regexp.MustCompile(`(?m)^(successful|failed|blocked|skipped|cancelled) +(\S+) +#(\d+)`)

// runJSON is what runs show prints.
type runJSON struct {
	ID    int64  `json:"id"`
	State string `json:"state"`
	Jobs  map[string]struct {
		State string `json:"state"`
		Build int64  `json:"build"`
	} `json:"jobs"`
	Builds []struct {
		ID     int64           `json:"id"`
		Job    string          `json:"job"`
		State  string          `json:"state"`
		Result json.RawMessage `json:"result"`
	} `json:"builds"`
}

func TestKilledAtEveryFailPoint(t *testing.T) {
	binary := buildProgram(t)
	names, hits := passed(t, binary)
	if len(names) < 8 {
		t.Fatalf("only %d fail points are passed: %v", len(names), names)
	}
	interrupted := 0
	for _, name := range names {
		for _, hit := range chosen(hits[name]) {
			t.Run(fmt.Sprintf("%s@%d", name, hit), func(t *testing.T) {
				if killedAt(t, binary, name, hit) {
					interrupted++
				}
			})
		}
	}
	if interrupted == 0 {
		t.Error("no run was interrupted: the fail points kill nothing")
	}
	t.Logf("%d fail points, %d interrupted runs", len(names), interrupted)
}

// chosen are the hits of a point at which the program is killed: the first few,
// some in the middle and the last.
func chosen(n int) []int {
	out := []int{}
	for _, k := range []int{1, 2, 3, n / 2, n * 3 / 4, n} {
		if k >= 1 && k <= n && !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out
}

func buildProgram(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "jobcontrol")
	c := exec.Command("go", "build", "-tags", "failpoints", "-o", binary, "./cmd/jobcontrol")
	c.Dir = "../.."
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// command runs the program in dir and returns what it wrote and its exit status.
func command(t *testing.T, binary, dir string, env []string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	c := exec.Command(binary, args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"), "NO_COLOR=1")
	c.Env = append(c.Env, env...)
	var out, errs strings.Builder
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		t.Fatal(err)
	}
	return out.String(), errs.String(), c.ProcessState.ExitCode()
}

func freshDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"jobcontrol.yaml": file, "effects": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// passed returns the fail points that an undisturbed run passes, and how often.
func passed(t *testing.T, binary string) ([]string, map[string]int) {
	t.Helper()
	dir := freshDir(t)
	trace := filepath.Join(dir, "trace")
	out, errs, status := command(t, binary, dir, []string{"JOBCONTROL_FAILPOINTS_TRACE=" + trace}, "run", "all", "-j", "2")
	if status != 1 {
		t.Fatalf("exit status %d\n%s%s", status, out, errs)
	}
	data, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	hits := map[string]int{}
	var names []string
	for _, n := range strings.Fields(string(data)) {
		if hits[n] == 0 {
			names = append(names, n)
		}
		hits[n]++
	}
	return names, hits
}

// killedAt runs the graph, kills the program at a point, and checks the story.
func killedAt(t *testing.T, binary, name string, hit int) (interrupted bool) {
	dir := freshDir(t)
	out, errs, status := command(t, binary, dir, []string{fmt.Sprintf("JOBCONTROL_FAILPOINTS=%s=kill@%d", name, hit)}, "run", "all", "-j", "2")
	if status == 1 && strings.Contains(out, "run 1 ") {
		return false // this time it did not come there
	}
	if status != -1 {
		t.Fatalf("exit status %d, not killed\n%s%s", status, out, errs)
	}
	acknowledged := told.FindAllStringSubmatch(out, -1)
	executedThen := effects(t, dir)
	list, notes, status := command(t, binary, dir, nil, "--format", "json", "runs")
	if status != 0 {
		t.Fatalf("runs: exit status %d\n%s%s", status, list, notes)
	}
	var runs []runJSON
	if err := json.Unmarshal([]byte(list), &runs); err != nil {
		t.Fatalf("%v in %s", err, list)
	}
	if len(runs) == 0 {
		if len(acknowledged) > 0 || len(executedThen) > 0 {
			t.Fatalf("there is no run, but something was done: %v %v", acknowledged, executedThen)
		}
		return false
	}
	before := show(t, binary, dir, runs[0].ID)
	for _, a := range acknowledged {
		if got := before.Jobs[a[2]].State; got != a[1] {
			t.Errorf("%s was told as %s and is %s", a[2], a[1], got)
		}
	}
	if before.State == "interrupted" {
		interrupted = true
		if !strings.Contains(notes, "was interrupted") || !strings.Contains(notes, "runs resume") {
			t.Errorf("the next command did not say that the run was interrupted: %s", notes)
		}
		out, errs, status = command(t, binary, dir, nil, "runs", "resume", fmt.Sprint(before.ID))
		if status != 1 {
			t.Fatalf("resume: exit status %d\n%s%s", status, out, errs)
		}
	}
	after := show(t, binary, dir, runs[0].ID)
	checkStory(t, after, acknowledged, executedThen, effects(t, dir))
	integrity(t, dir)
	return interrupted
}

func show(t *testing.T, binary, dir string, id int64) runJSON {
	t.Helper()
	out, errs, status := command(t, binary, dir, nil, "--format", "json", "runs", "show", fmt.Sprint(id))
	if status != 0 {
		t.Fatalf("runs show: exit status %d\n%s%s", status, out, errs)
	}
	var r runJSON
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return r
}

// checkStory checks how everything ended.
func checkStory(t *testing.T, r runJSON, acknowledged [][]string, then, now []string) {
	t.Helper()
	want := map[string]string{
		"numbers": "successful", "room": "successful", "sum": "successful", "flaky": "successful",
		"pages": "successful", "pages[4]": "successful", "pages[5]": "successful", "total": "successful",
		"broken": "failed", "blocked": "blocked", "all": "blocked",
	}
	for job, state := range want {
		if got := r.Jobs[job].State; got != state {
			t.Errorf("%s ended %s, want %s", job, got, state)
		}
	}
	if r.State != "partial" {
		t.Errorf("the run ended %s", r.State)
	}
	for _, b := range r.Builds {
		if b.Job == "sum" && string(b.Result) != "42" {
			t.Errorf("the result of sum is %s", b.Result)
		}
		if b.Job == "total" && string(b.Result) != "18" {
			t.Errorf("the result of total is %s", b.Result)
		}
	}
	if len(r.Builds) != 11 {
		t.Errorf("the run has %d builds", len(r.Builds))
	}
	for _, a := range acknowledged {
		effect := "run " + strings.NewReplacer("[", "", "]", "").Replace(a[2])
		if count(now, effect) != count(then, effect) {
			t.Errorf("%s was told as %s and executed again: %v", a[2], a[1], now)
		}
	}
	for effect, most := range map[string]int{"run numbers": 2, "run room": 1, "run sum": 2, "run flaky": 2, "run broken": 2, "run blocked": 0, "run pages4": 2, "run pages5": 2, "run total": 2, "clean room": 2} {
		if n := count(now, effect); n > most {
			t.Errorf("%d × %q: %v", n, effect, now)
		}
	}
	if count(now, "clean room") == 0 {
		t.Errorf("the clean-up step was not executed: %v", now)
	}
	if i := slices.Index(now, "clean room"); i >= 0 {
		for _, e := range now[i:] {
			if e != "clean room" {
				t.Errorf("%q after the clean-up step: %v", e, now)
			}
		}
	}
}

func effects(t *testing.T, dir string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "effects"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for l := range strings.Lines(string(data)) {
		out = append(out, strings.TrimSpace(l))
	}
	return out
}

// integrity asks SQLite whether the file is whole.
func integrity(t *testing.T, dir string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, ".jobcontrol", "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var answer string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&answer); err != nil || answer != "ok" {
		t.Errorf("integrity: %q, %v", answer, err)
	}
}

func count(list []string, s string) int {
	n := 0
	for _, e := range list {
		if e == s {
			n++
		}
	}
	return n
}
