//go:build linux

package faults

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
	"github.com/jobcontrol/jobcontrol/internal/pgtest"
	"github.com/jobcontrol/jobcontrol/store/sqlite"
	"github.com/jobcontrol/jobcontrol/worker"
)

var streamFaults = []fault{
	{"F35", "1 GB of lines on stdout, beside another job", "every byte kept or counted; the program grows by 32 MB beside SQLite's page cache (64 MB); the other job ends", func(ctx context.Context, t *trial) {
		t.flood(ctx, "yes "+strings.Repeat("x", 99), 100)
	}},
	{"F36", "1 GB without a line end", "every byte kept or counted; the program grows by 32 MB beside SQLite's page cache (64 MB)", func(ctx context.Context, t *trial) {
		t.flood(ctx, `tr '\0' x </dev/zero`, 0)
	}},
	{"F37", "noise on stdout: NUL, invalid UTF-8, lone CR, BOM, cut characters, chunk borders (SQLite, PostgreSQL)", "every byte comes back", noise},
	{"F38", "300 control sequences in what jobs write, return and are called, shown on a terminal", "nothing below 0x20 but \\n, \\t and colours reaches it", sequences},
	{"F40", "builds that log to their last moment, read as soon as they are final", "no build is final before its last line", lastLines},
	{"F41", "1,000,000 progress reports by a command, and malformed ones", "10 writes a second and build", reports},
}

// line is a log record as `builds log` prints it.
type line struct {
	Logger    string `json:"logger"`
	Message   string `json:"message"`
	Raw       []byte `json:"raw"` // base64
	Continued bool   `json:"continued"`
	Dropped   int64  `json:"dropped_bytes"`
}

// bytes are what the command wrote.
func (l *line) bytes() []byte {
	data := []byte(l.Message)
	if l.Raw != nil {
		data = bytes.Clone(l.Raw)
	}
	if !l.Continued {
		data = append(data, '\n')
	}
	return data
}

// log calls f for each record of a build's log.
func (t *trial) log(ctx context.Context, dir string, id int64, f func(*line), args ...string) {
	t.Helper()
	c := command(ctx, dir, append(args, "--format", "json", "builds", "log", fmt.Sprint(id))...)
	out, err := c.StdoutPipe()
	t.must(err)
	t.must(c.Start())
	for d := json.NewDecoder(bufio.NewReaderSize(out, 1<<20)); ; {
		var l line
		if err := d.Decode(&l); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		f(&l)
	}
	t.must(c.Wait())
}

// flood has a command write a gigabyte, in lines of so many bytes, 0: in one. The
// log counts bytes without the ends of lines, those that it keeps and others.
func (t *trial) flood(ctx context.Context, script string, width int64) {
	size := int64(scaled(1_000_000_000, 20_000_000))
	t.n = int(size)
	dir := t.project(jobs(
		`  - {id: quiet, tries: 1, run: "true"}`,
		fmt.Sprintf(`  - {id: flood, tries: 1, run: %s}`, quoted(fmt.Sprintf("%s | head -c %d", script, size))),
		`  - {id: beside, tries: 1, run: "for i in 1 2 3 4 5 6 7 8 9 10; do echo $i; sleep 0.02; done"}`,
		`  - {id: both, dependencies: [flood, beside]}`,
	))
	quiet := t.run(ctx, dir, "run", "quiet")
	r := t.run(ctx, dir, "run", "-j", "2", "both")
	if r.status != 0 {
		t.Errorf("exit status %d: %.500s", r.status, r.err)
	}
	var kept, dropped int64
	for _, b := range t.builds(ctx, dir) {
		switch {
		case b.State != "successful":
			t.Errorf("%s is %s", b.Job, b.State)
		case b.Job == "flood":
			t.log(ctx, dir, b.ID, func(l *line) {
				if dropped += l.Dropped; l.Logger == "stdout" && l.Dropped == 0 {
					kept += int64(len(bytes.TrimSuffix(l.bytes(), []byte("\n"))))
				}
			})
		}
	}
	lost := size - kept - dropped
	if width > 0 {
		lost -= size / width
	}
	t.figure("%d bytes kept, %d counted as dropped, %d lost; %.0f MB/s; RSS %+d MB", kept, dropped, lost, float64(size)/1e6/r.took.Seconds(), r.rss-quiet.rss)
	if lost != 0 {
		t.Errorf("%d bytes are lost", lost)
	}
	if r.rss-quiet.rss > 32+64 {
		t.Errorf("the program takes %d MB, without a flood %d", r.rss, quiet.rss)
	}
	info, err := os.Stat(state(dir))
	t.must(err)
	if info.Size() > 2*jobcontrol.MaxLogBytes {
		t.Errorf("the file has %d bytes", info.Size())
	}
}

// blob is noise that ends with a line.
func (t *trial) blob() []byte {
	var b bytes.Buffer
	parts := []string{"\x00", "\xff\xfe", "\xef\xbb\xbf", "\r", "\r\n", "\n", "\n\n", "é", "€", "😀", "\xf0\x9f\x98", "\xed\xa0\x80", "\xc0\xaf", "\x1b[31m", "\u2028", "\u202e", "{\"a\":1}", "</script>", "\x7f", "\x85"}
	for n := t.rng.IntN(200); n >= 0; n-- {
		switch t.rng.IntN(8) {
		case 0:
			noise := make([]byte, t.rng.IntN(300))
			t.noise(noise)
			b.Write(noise)
		case 1: // characters across the border of a record
			b.WriteString(strings.Repeat("x", jobcontrol.MaxLogRecord-b.Len()%jobcontrol.MaxLogRecord-t.rng.IntN(5)) + "😀")
			n -= 20
		default:
			b.WriteString(parts[t.rng.IntN(len(parts))])
		}
	}
	b.WriteByte('\n')
	return b.Bytes()
}

func noise(ctx context.Context, t *trial) {
	server, err := pgtest.Start(pgtest.Options{})
	t.must(err)
	defer func() { t.must(server.Close()) }()
	t.must(server.Exec(ctx, "postgres", "CREATE DATABASE noise"))
	wrong := 0
	for _, storage := range []string{"sqlite:noise.db", server.URL("postgres", "noise")} {
		var lines []string
		blobs := map[string][]byte{}
		for i := range scaled(200, 6) {
			id := fmt.Sprintf("n%d", i)
			blobs[id] = t.blob()
			lines = append(lines, fmt.Sprintf("  - {id: %s, tries: 1, run: 'cat %s'}", id, id))
		}
		dir := t.project(jobs(append(lines, all(len(blobs), "n"))...))
		for id, data := range blobs {
			t.must(os.WriteFile(filepath.Join(dir, id), data, 0o600))
		}
		if r := t.run(ctx, dir, "--storage", storage, "run", "-j", "2", "all"); r.status != 0 {
			t.Fatalf("exit status %d: %s", r.status, r.err)
		}
		var list []build
		t.decoded(ctx, &list, dir, "--storage", storage, "builds", "--limit", "0")
		for _, b := range list {
			if blobs[b.Job] == nil {
				continue
			}
			t.n++
			var got []byte
			t.log(ctx, dir, b.ID, func(l *line) { got = append(got, l.bytes()...) }, "--storage", storage)
			if !bytes.Equal(got, blobs[b.Job]) {
				wrong++
				t.Errorf("%s: %d bytes came back of %d:\n%.300q\n%.300q", b.Job, len(got), len(blobs[b.Job]), got, blobs[b.Job])
			}
		}
	}
	t.none(wrong, "others than were written")
}

// controls are sequences that steer terminals.
func (t *trial) controls(n int) (out []string) {
	out = []string{
		"\x1b]0;title\x07", "\x1b]2;title\x1b\\", "\x1b]52;c;YQ==\x07", "\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "\x1b[2J", "\x1b[H", "\x1b[1A", "\x1b[?1049h",
		"\x1b[6n", "\x1b[c", "\x1bc", "\x1b[31m", "\x1b[38;5;1m", "\x1bP+q544e\x1b\\", "\x1b_x\x1b\\", "\x1b^x\x1b\\", "\x9b2J", "\u009b2J", "\x90x\x9c", "\x07", "\x08", "\x0b", "\x0c",
		"\r", "\x0e", "\x0f", "\x00", "\x01", "\x7f", "\u202e", "\u2066", "\u200f", "\u2028", "\x1b", "\x1b[", "\x1b]", "\x1b[?25l", "\x1b[5m", "\x1b[8m", "\x1b#8", "\x1b(0", "\x1b[99999999999m", "\x85",
	}
	for len(out) < n {
		b := []byte{0x1b, "[]P_^(#"[t.rng.IntN(7)]}
		for range t.rng.IntN(8) {
			b = append(b, byte(t.rng.IntN(256)))
		}
		out = append(out, string(b))
	}
	return out[:n]
}

// sequences shows what jobs say on a terminal.
func sequences(ctx context.Context, t *trial) {
	list := t.controls(scaled(300, 60))
	var lines []string
	for i, c := range list {
		// YAML's escapes make any character of names and texts; bytes come from a file.
		text := strconv.QuoteToASCII(strings.Map(func(r rune) rune {
			if r == '\n' || r == 0 || r == 0xfffd {
				return 'x'
			}
			return r
		}, c))
		lines = append(lines, fmt.Sprintf("  - {id: s%d, title: %s, notes: %s, tags: [%s], tries: 1, meta: {m: %s}, kwargs: {k: %s}, result: stdout, run: 'cat c%d; cat c%d >&2'}",
			i, text, text, text, text, text, i, i))
		lines = append(lines, fmt.Sprintf("  - {id: f%d, title: %s, tries: 1, function: 'hostile:say', kwargs: {text: %s}}", i, text, text))
	}
	dir := t.project("template: false\n" + jobs(append(lines, all(len(list), "s"), strings.Replace(all(len(list), "f"), "id: all", "id: fail", 1))...))
	for i, c := range list {
		t.must(os.WriteFile(filepath.Join(dir, fmt.Sprintf("c%d", i)), []byte(c), 0o600))
	}
	t.n = len(list)
	reached := 0
	show := func(args ...string) {
		out := t.onTerminal(ctx, dir, args...)
		for _, bad := range steering(out) {
			reached++
			t.Errorf("%v: %s reaches the terminal", args, bad)
			break
		}
		if out == "" && !slices.Contains(args, "log") { // some builds say nothing
			t.Errorf("%v shows nothing", args)
		}
	}
	show("run", "-j", "4", "--debug", "all")
	show("run", "-j", "4", "--debug", "fail")
	for _, args := range [][]string{
		{"jobs"},
		{"builds", "--limit", "0"},
		{"runs"},
		{"runs", "show", "1"},
		{"search", "x"},
		{"graph"},
		{"graph", "--to", "dot"},
		{"graph", "--to", "mermaid"},
		{"graph", "--to", "json"},
		{"dump-config"},
		{"plan", "fail"},
		{"why", "fail"},
		{"--format", "json", "jobs"},
		{"--format", "json", "builds", "--limit", "0"},
		{"validate"},
		{"tasks"},
	} {
		show(args...)
	}
	builds := t.builds(ctx, dir)
	for i := 0; i < len(builds); i += max(1, len(builds)/scaled(100, 10)) {
		id := fmt.Sprint(builds[i].ID)
		show("builds", "show", id)
		show("builds", "log", id)
		show("jobs", "show", builds[i].Job)
		show("--format", "json", "builds", "log", id)
	}
	for _, c := range list[:min(40, len(list))] { // of the caller
		if !strings.Contains(c, "\x00") {
			show("jobs", "show", c)
			show("run", "x"+c)
		}
	}
	t.figure("reached %d", reached)
}

// onTerminal executes a command line on a pseudo-terminal and returns what it got.
func (t *trial) onTerminal(ctx context.Context, dir string, args ...string) string {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	t.must(err)
	defer ours.Close()
	t.must(unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	t.must(err)
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	t.must(err)
	c := command(ctx, dir, args...)
	c.Env = append(c.Env, "NO_COLOR=", "TERM=xterm")
	c.Stdout, c.Stderr = tty, tty
	t.must(c.Start())
	_ = tty.Close() // the command has it
	var got bytes.Buffer
	_, _ = io.Copy(&got, ours) // ends with an error when nobody has the terminal any more
	_ = c.Wait()               // its status is not what is looked at
	return got.String()
}

// steering are the characters that could steer a terminal: all below a space but
// line ends (\r\n, as the terminal makes them), tabs and what the live picture and
// colours are made of, which must be whole.
func steering(out string) (found []string) {
	out = strings.ReplaceAll(out, "\r\n", "\n")
	for i := 0; i < len(out); i++ {
		c := out[i]
		if c == 0x1b && i+1 < len(out) && out[i+1] == '[' {
			end := i + 2
			for end < len(out) && strings.IndexByte("0123456789;?", out[end]) >= 0 {
				end++
			}
			if end < len(out) && strings.IndexByte("mKJAGhl", out[end]) >= 0 && ownSequence(out[i:end+1]) {
				i = end
				continue
			}
		}
		if c < ' ' && c != '\n' && c != '\t' && c != '\r' || c == 0x7f {
			found = append(found, fmt.Sprintf("%#x in %.40q", c, out[max(0, i-10):]))
		}
	}
	for i, r := range out {
		if r >= 0x80 && r <= 0x9f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			found = append(found, fmt.Sprintf("%U in %.40q", r, out[max(0, i-10):]))
		}
	}
	return found
}

// ownSequence tells whether the program itself writes a sequence: colours with
// one or two digits, and what redraws the live picture.
func ownSequence(s string) bool {
	switch s[len(s)-1] {
	case 'm':
		return len(s) <= 5
	case 'J':
		return s == "\x1b[J" || s == "\x1b[0J"
	case 'h', 'l':
		return s == "\x1b[?25l" || s == "\x1b[?25h" || s == "\x1b[?2026h" || s == "\x1b[?2026l"
	}
	return true
}

// watched is a store that counts reports, and whose builds are looked at as soon
// as they are final.
type watched struct {
	jobcontrol.Store
	reports atomic.Int64
}

// Report counts.
func (w *watched) Report(ctx context.Context, c jobcontrol.Claim, logs []jobcontrol.LogRecord, progress []jobcontrol.Progress) error {
	w.reports.Add(1)
	return w.Store.Report(ctx, c, logs, progress)
}

// lastLines executes builds of functions and commands, and reads the log of each
// as soon as it is final.
func lastLines(ctx context.Context, t *trial) {
	s, err := sqlite.Open(ctx, filepath.Join(t.dir, "state.db"), sqlite.Options{})
	t.must(err)
	defer s.Close()
	t.must(s.Install(ctx))
	reg := jobcontrol.NewRegistry()
	jobcontrol.Handle(reg, "last:line", func(ctx context.Context, _ jobcontrol.None) (jobcontrol.None, error) {
		for i := range 20 {
			jobcontrol.Logger(ctx, "x").Info(fmt.Sprintf("line %d", i))
		}
		jobcontrol.Logger(ctx, "x").Info("the last line")
		return jobcontrol.None{}, nil
	})
	x := executor.New(executor.Config{Registry: reg, Log: quiet()})
	defer x.Close()
	jobs := []*jobcontrol.Job{
		{ID: "function", Tries: 1, Run: &jobcontrol.Task{Function: "last:line"}},
		{ID: "command", Tries: 1, Run: &jobcontrol.Task{Shell: "seq 1 20; seq 1 20 >&2; printf 'the last line'"}},
	}
	list, err := jobcontrol.NewJobs(jobs)
	t.must(err)
	c := worker.NewClient(worker.Config{Store: s, Jobs: list, Executor: x, Registry: reg})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := worker.NewPool(worker.PoolConfig{Store: s, Executor: x, Parallel: 16, Log: quiet()})
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	early := 0
	for i, n := range []int{scaled(10_000, 400), scaled(1000, 40)} {
		t.n += n
		ids, err := c.EnqueueMany(ctx, jobs[i], make([]jobcontrol.Enqueued, n))
		t.must(err)
		for _, id := range ids {
			b, err := c.Wait(ctx, id)
			t.must(err)
			found := false
			t.must(s.Log(ctx, id, jobcontrol.LogFilter{}, func(r jobcontrol.LogRecord) bool {
				found = found || r.Message == "the last line"
				return true
			}))
			if !found || b.State != jobcontrol.Successful {
				early++
			}
		}
	}
	cancel()
	t.must(<-ended)
	t.none(early, "final without the last line")
}

// reports has a command report progress as fast as it can.
func reports(ctx context.Context, t *trial) {
	s, err := sqlite.Open(ctx, filepath.Join(t.dir, "state.db"), sqlite.Options{})
	t.must(err)
	defer s.Close()
	t.must(s.Install(ctx))
	w := &watched{Store: s}
	x := executor.New(executor.Config{Log: quiet()})
	defer x.Close()
	n := scaled(1_000_000, 30_000)
	odd := []string{
		`{"progress":{"path":"p","current":NaN}}`, `{"progress":{"path":"p","current":-1,"total":0}}`, `{"progress":{"path":"p","current":1e400}}`, `{"progress":[]}`,
		`{"progress":{"path":"` + strings.Repeat("a::", 10_000) + `"}}`, `{"progress":{"path":` + strings.Repeat("[", 10_000) + `}}`, `[`, "\x00", "",
	}
	script := fmt.Sprintf(`yes '{"progress":{"path":"p::q","current":1,"total":2}}' | head -n %d >&3; cat odd >&3; echo '{"progress":{"path":"end","current":7,"total":7}}' >&3`, n)
	t.must(os.WriteFile(filepath.Join(t.dir, "odd"), []byte(strings.Join(odd, "\n")+"\n"), 0o600))
	j := &jobcontrol.Job{ID: "fast", Tries: 1, Cwd: t.dir, Run: &jobcontrol.Task{Shell: script}}
	list, err := jobcontrol.NewJobs([]*jobcontrol.Job{j})
	t.must(err)
	c := worker.NewClient(worker.Config{Store: w, Jobs: list, Executor: x})
	begin := time.Now()
	run, err := c.Execute(ctx, jobcontrol.Request{Verb: jobcontrol.VerbRun, Jobs: []string{"fast"}}, nil)
	t.must(err)
	took := time.Since(begin).Seconds()
	t.n = n
	if run.State != jobcontrol.RunSuccessful {
		t.Errorf("the run is %s", run.State)
	}
	tree, err := c.Progress(ctx, 1)
	t.must(err)
	text, err := json.Marshal(tree)
	t.must(err)
	if !strings.Contains(string(text), "7") {
		t.Errorf("the last report is not there: %.300s", text)
	}
	most := 10*took + 5
	t.figure("%d writes in %.1f s, %.0f reports/s", w.reports.Load(), took, float64(n)/took)
	if float64(w.reports.Load()) > most {
		t.Errorf("%d writes in %.1f s", w.reports.Load(), took)
	}
}
