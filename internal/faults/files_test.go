//go:build linux

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

var fileFaults = []fault{
	{"F39", "500 texts that are markup, script and links, in every field; graph as SVG, DOT, Mermaid, JSON (pages: with the pages)", "they are text everywhere", markup},
	{"F44", "the corpus of bad files, each by the program", "refused with a place, exit status 2, no panic", badFiles},
	{"F45", "what YAML 1.1 takes for something else", "as docs/file.md says", surprises},
	{"F46", "alias bombs and deep ones", "named error, 1 s, 100 MB", func(ctx context.Context, t *trial) { t.bombs(ctx, aliasBombs(), time.Second, 100) }},
	{"F47", "templates without end: recursive macro, nested loops, range(10**9), 'a' * 10**10", "named error, 5 s (and 1 s for the program), the program within 100 MB", func(ctx context.Context, t *trial) {
		t.bombs(ctx, templateBombs, 6*time.Second, 100)
	}},
	{"F48", "100,000 jobs: alone, a chain, a star, 1,000 × 1,000 edges", "validated within 12 s and 1 GB, drawn bounded", manyJobs},
	{"F49", "a file that an editor replaces, links and directories that change, under commands that read it", "either the old or the new file, never something else", editing},
	{"F50", "jobs changed, renamed, deleted while builds are queued, running, waiting for their retry", "builds are executed as they were made", frozen},
}

// payloads are texts that must stay texts.
func (t *trial) payloads(n int) []string {
	base := []string{
		`<script>alert(1)</script>`, `"><script>alert(1)</script>`, `<img src=x onerror=alert(1)>`, `<svg onload=alert(1)>`, `'-alert(1)-'`, `javascript:alert(1)`, `]]><script>x</script>`,
		`&lt;script&gt;`, `<!--`, `-->`, `<![CDATA[`, `</text></svg><script>x</script>`, `" onmouseover="alert(1)`, `\"; a -> b [label="x"]; //`, `"]; click a "javascript:x"; a["`, "`", `{{constructor.constructor('x')()}}`,
		`%%{init: {}}%%`, `end`, `subgraph x`, `<a href="javascript:x">y</a>`, `<style>*{}</style>`, `&#60;b&#62;`, `\u003cscript\u003e`, `--> b`, `|x|`, `#quot;`, `\N\G\L`, `<b>bold</b>`, `<TABLE><TR><TD>x</TD></TR></TABLE>`,
	}
	out := slices.Clone(base)
	for len(out) < n {
		a, b := base[t.rng.IntN(len(base))], base[t.rng.IntN(len(base))]
		out = append(out, a[:t.rng.IntN(len(a)+1)]+b[t.rng.IntN(len(b)):]+fmt.Sprint(len(out)))
	}
	return out[:min(n, len(out))]
}

func markup(ctx context.Context, t *trial) {
	list := t.payloads(scaled(500, 40))
	t.n = len(list)
	var lines []string
	var ids []string
	for i, p := range list {
		id := fmt.Sprintf("%d %s", i, strings.Join(strings.Fields(strings.ReplaceAll(p, "/", "|")), " "))
		if len([]rune(id)) > 120 {
			id = string([]rune(id)[:120])
		}
		id = strings.TrimSpace(id)
		p := quoted(p)
		dependencies := ""
		if i > 0 {
			dependencies = quoted(ids[t.rng.IntN(i)])
		}
		ids = append(ids, id)
		lines = append(lines, fmt.Sprintf("  - {id: %s, title: %s, notes: %s, tags: [%s], meta: {%s: %s}, dependencies: [%s], tries: 1, run: %s}",
			quoted(id), p, p, p, p, p, dependencies, "'echo \"$0\" >&2; exit 1'"))
	}
	dir := t.project("template: false\n" + jobs(lines...))
	if r := t.run(ctx, dir, "run", ids[0]); r.status != 1 {
		t.Fatalf("exit status %d: %.2000s", r.status, r.err)
	}
	t.svg(ctx, dir)
	t.dot(ctx, dir)
	t.mermaid(ctx, dir)
	var drawn struct {
		Nodes []struct {
			ID string `json:"id"`
		} `json:"nodes"`
	}
	r := t.run(ctx, dir, "graph", "--to", "json")
	t.must(json.Unmarshal([]byte(r.out), &drawn))
	if len(drawn.Nodes) != len(ids) {
		t.Errorf("%d nodes of %d in JSON", len(drawn.Nodes), len(ids))
	}
	for _, n := range drawn.Nodes {
		if !slices.Contains(ids, n.ID) {
			t.Errorf("JSON has a node %q", n.ID)
		}
	}
	t.figure("elements, statements and nodes of others 0")
}

// svg holds that a picture has no element and attribute but those of pictures.
func (t *trial) svg(ctx context.Context, dir string) {
	t.Helper()
	r := t.run(ctx, dir, "graph", "--to", "svg")
	d := xml.NewDecoder(strings.NewReader(r.out))
	allowed := []string{"svg", "g", "rect", "path", "text", "title", "tspan", "line", "polygon", "polyline", "circle", "ellipse", "defs", "marker", "desc"}
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Errorf("SVG is not XML: %v", err)
			return
		}
		switch e := token.(type) {
		case xml.StartElement:
			if !slices.Contains(allowed, e.Name.Local) {
				t.Errorf("SVG has an element %s", e.Name.Local)
			}
			for _, a := range e.Attr {
				if name := strings.ToLower(a.Name.Local); strings.HasPrefix(name, "on") || name == "href" || name == "style" && strings.Contains(a.Value, "url") {
					t.Errorf("SVG has an attribute %s=%q", a.Name.Local, a.Value)
				}
			}
		case xml.Directive, xml.ProcInst:
			if p, ok := e.(xml.ProcInst); !ok || p.Target != "xml" {
				t.Errorf("SVG has %T", e)
			}
		}
	}
}

var (
	dotText    = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	dotRest    = regexp.MustCompile(`^[\s\w=\[\],;{}.#-]*(?:->[\s\w=\[\],;{}.#-]*)*$`)
	mermaidRow = regexp.MustCompile(`^\s*(?:flowchart LR|graph LR|\w+(?:\["[^"<>]*"\]|\("[^"<>]*"\)|\[\["[^"<>]*"\]\]|\(\["[^"<>]*"\]\))?(?::::\w+)?;?|\w+ (?:-->|==>|-\.->) \w+;?|classDef [\w:#,. -]+;?|class [\w,]+ \w+;?)?\s*$`)
)

// dot holds that outside of quoted texts there are names and arrows only.
func (t *trial) dot(ctx context.Context, dir string) {
	t.Helper()
	r := t.run(ctx, dir, "graph", "--to", "dot")
	for row := range strings.Lines(r.out) {
		if rest := dotText.ReplaceAllString(row, ""); !dotRest.MatchString(rest) {
			t.Errorf("DOT has %q in %q", rest, row)
		}
	}
}

// mermaid holds that each row is a node, an edge or a class.
func (t *trial) mermaid(ctx context.Context, dir string) {
	t.Helper()
	r := t.run(ctx, dir, "graph", "--to", "mermaid")
	for row := range strings.Lines(r.out) {
		if !mermaidRow.MatchString(strings.TrimRight(row, "\n")) {
			t.Errorf("Mermaid has %q", row)
		}
	}
}

// position is a place in a file as an error tells it.
var position = regexp.MustCompile(`(?m)^(?:jobcontrol: )?[^\s:]+(?: \(expanded\))?:\d+:\d+: `)

func badFiles(ctx context.Context, t *trial) {
	corpus := map[string]string{} // name → directory
	dir := filepath.Join(t.dir, "bad")
	t.must(os.CopyFS(dir, os.DirFS("../../config/testdata/bad")))
	names, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	t.must(err)
	for _, name := range names {
		corpus[name] = dir
	}
	archives, err := filepath.Glob("../../config/testdata/bad/*.txtar")
	t.must(err)
	for _, name := range archives {
		a, err := txtar.ParseFile(name)
		t.must(err)
		for i, f := range a.Files {
			if strings.HasSuffix(f.Name, ".yaml") {
				path := filepath.Join(dir, fmt.Sprintf("%s-%d.yaml", filepath.Base(name), i))
				t.must(os.WriteFile(path, f.Data, 0o600))
				corpus[path] = dir
			}
		}
	}
	all := sortedKeys(corpus)
	t.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	without, rss := 0, 0
	for _, path := range all[:scaled(len(all), 20)] {
		t.n++
		c := command(ctx, dir, "-c", filepath.Base(path), "validate")
		c.Env = append(c.Env, "SITE=example.com", "COUNT=3")
		r := t.finish(c)
		rss = max(rss, r.rss)
		if r.status != 2 {
			t.Errorf("%s: exit status %d: %.500s", filepath.Base(path), r.status, r.err)
		}
		if !position.MatchString(r.err) && !strings.Contains(r.err, "empty") {
			without++
			t.Logf("%s: no place: %.300s", filepath.Base(path), r.err)
		}
	}
	t.figure("corpus of %d", len(all))
	t.none(without, "without a place")
	t.figure("RSS %d MB", rss)
}

func surprises(ctx context.Context, t *trial) {
	values := []struct{ yaml, json string }{
		{"no", `"no"`},
		{"yes", `"yes"`},
		{"on", `"on"`},
		{"off", `"off"`},
		{"y", `"y"`},
		{"n", `"n"`},
		{"NO", `"NO"`},
		{"true", `true`},
		{"True", `true`},
		{"FALSE", `false`},
		{"~", `null`},
		{"null", `null`},
		{"Null", `null`},
		{"", `null`},
		{"0777", `777`},
		{"0o17", `15`},
		{"0x1F", `31`},
		{"1_000", `"1_000"`},
		{"0b11", `"0b11"`},
		{"+1", `1`},
		{"1e3", `1000`},
		{".5", `0.5`},
		{"1.0", `1`},
		{"2026-01-31", `"2026-01-31"`},
		{"2026-01-31T08:00:00Z", `"2026-01-31T08:00:00Z"`},
		{"12:30:45", `"12:30:45"`},
		{"1:20", `"1:20"`},
		{`"no"`, `"no"`},
		{"'0777'", `"0777"`},
		{"=", `"="`},
		{"<<", `"\u003c\u003c"`},
	}
	t.n = len(values)
	var lines []string
	for i, v := range values {
		lines = append(lines, fmt.Sprintf("  - id: v%d\n    run: 'true'\n    args:\n    - %s", i, v.yaml))
	}
	dir := t.project(jobs(lines...))
	other := 0
	for i, v := range values {
		var shown struct {
			Definition struct {
				Args []json.RawMessage `json:"args"`
			} `json:"definition"`
		}
		t.decoded(ctx, &shown, dir, "jobs", "show", fmt.Sprintf("v%d", i))
		if len(shown.Definition.Args) != 1 || string(shown.Definition.Args[0]) != v.json {
			other++
			t.Logf("%q is %s, want %s", v.yaml, shown.Definition.Args, v.json)
		}
	}
	t.none(other, "others")
}

// aliasBombs are small files that become large, or deep ones.
func aliasBombs() map[string]string {
	var wide, merge strings.Builder
	wide.WriteString("jobs:\n- id: a\n  kwargs:\n    a0: &a0 x\n")
	merge.WriteString("defaults:\n  meta:\n    a0: &a0 {k: 1}\n")
	for i := 1; i <= 9; i++ {
		alias := fmt.Sprintf("*a%d, ", i-1)
		fmt.Fprintf(&wide, "    a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(alias, 9), ", "))
		fmt.Fprintf(&merge, "    a%d: &a%d {<<: [%s], k%d: 1}\n", i, i, strings.TrimSuffix(strings.Repeat(alias, 9), ", "), i)
	}
	return map[string]string{
		"aliases": wide.String(), "merges": merge.String() + "jobs: []\n", "itself": "jobs:\n- &a\n  id: a\n  kwargs: {x: *a}\n",
		"deep": "jobs: " + strings.Repeat("[", 1_000_000), "deep block": "jobs:\n" + strings.Repeat("- ", 1_000_000), "deep mapping": "a: " + strings.Repeat("{a: ", 1_000_000),
	}
}

var templateBombs = map[string]string{
	"macro":  "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
	"loops":  "jobs:\n{% for i in range(10**5) %}{% for j in range(10**5) %}{% for k in range(10**5) %}{% endfor %}{% endfor %}{% endfor %}",
	"range":  "{% for i in range(10**9) %}{% endfor %}",
	"repeat": "jobs:\n- id: {{ 'a' * 10**10 }}\n",
}

// bombs has the program read files that are made to use up time or memory.
func (t *trial) bombs(ctx context.Context, bombs map[string]string, most time.Duration, megabytes int) {
	longest, rss := time.Duration(0), 0
	for _, name := range sortedKeys(bombs) {
		if name == "loops" && !timed() {
			continue // it takes all of its five seconds
		}
		for _, args := range [][]string{{"validate"}, {"jobs"}} {
			t.n++
			r := t.run(ctx, t.project(bombs[name]), args...)
			if r.status != 2 || !strings.Contains(r.err, "jobcontrol.yaml") {
				t.Errorf("%s: exit status %d, %.300s", name, r.status, r.err)
			}
			longest, rss = max(longest, r.took), max(rss, r.rss)
		}
	}
	t.figure("longest %.2f s, RSS %d MB", longest.Seconds(), rss)
	if timed() && longest > most {
		t.Errorf("%v, more than %v", longest, most)
	}
	if timed() && rss > megabytes {
		t.Errorf("%d MB, more than %d", rss, megabytes)
	}
}

func manyJobs(ctx context.Context, t *trial) {
	n, m := scaled(100_000, 2000), scaled(1000, 40)
	shapes := map[string]func(b *bytes.Buffer){
		"alone": func(b *bytes.Buffer) {
			for i := range n {
				fmt.Fprintf(b, "- {id: j%d, run: 'true'}\n", i)
			}
		},
		"chain": func(b *bytes.Buffer) {
			b.WriteString("- {id: j0, run: 'true'}\n")
			for i := 1; i < n; i++ {
				fmt.Fprintf(b, "- {id: j%d, run: 'true', dependencies: [j%d]}\n", i, i-1)
			}
		},
		"star": func(b *bytes.Buffer) {
			b.WriteString("- {id: j0, run: 'true'}\n")
			for i := 1; i < n-1; i++ {
				fmt.Fprintf(b, "- {id: j%d, run: 'true', dependencies: [j0]}\n", i)
			}
			b.WriteString(all(n-1, "j")[2:] + "\n")
		},
		"edges": func(b *bytes.Buffer) {
			list := strings.TrimSuffix(strings.TrimPrefix(all(m, "j"), "  - {id: all, dependencies: "), "}")
			for i := range m {
				fmt.Fprintf(b, "- {id: j%d, run: 'true'}\n", i)
			}
			for i := range m {
				fmt.Fprintf(b, "- {id: k%d, run: 'true', dependencies: %s}\n", i, list)
			}
		},
	}
	for _, name := range sortedKeys(shapes) {
		var b bytes.Buffer
		b.WriteString("template: false\njobs:\n")
		shapes[name](&b)
		dir := t.project(b.String())
		r := t.run(ctx, dir, "validate")
		if r.status != 0 {
			t.Errorf("%s: exit status %d, %.300s", name, r.status, r.err)
		}
		t.n += n
		t.figure("%s %.1f s, %d MB", name, r.took.Seconds(), r.rss)
		if timed() && r.took > 12*time.Second || r.rss > 1024 {
			t.Errorf("%s: %v, %d MB", name, r.took, r.rss)
		}
		begin := time.Now()
		drawn := t.run(ctx, dir, "graph", "--to", "svg", "-o", "graph.svg")
		switch {
		case drawn.status == 0:
			info, err := os.Stat(filepath.Join(dir, "graph.svg"))
			t.must(err)
			t.figure("drawn %.1f s, %d MB", time.Since(begin).Seconds(), info.Size()>>20)
		case drawn.status == 2 || drawn.status == 4:
			t.figure("drawing refused")
		default:
			t.Errorf("%s: graph: exit status %d, %.300s", name, drawn.status, drawn.err)
		}
		if timed() && time.Since(begin) > 30*time.Second || drawn.rss > 1024 {
			t.Errorf("%s: graph: %v, %d MB", name, time.Since(begin), drawn.rss)
		}
	}
}

// versions of a file that tell themselves: so many jobs, with the version in each.
func version(v int) string {
	var lines []string
	for i := range 20 {
		lines = append(lines, fmt.Sprintf("  - {id: j%d, title: 'v%d', run: 'true'}", i, v))
	}
	return jobs(lines...)
}

// editing reads a file that is changed meanwhile.
func editing(ctx context.Context, t *trial) {
	dir := t.project(version(0))
	stop, stopped := make(chan bool), make(chan bool)
	go func() {
		defer close(stopped)
		for v := 1; ; v++ {
			select {
			case <-stop:
				return
			default:
			}
			path := filepath.Join(dir, "jobcontrol.yaml")
			switch v % 3 {
			case 0: // as editors do, with a copy
				_ = os.Rename(path, path+"~") // the program may find nothing for a moment
				_ = os.WriteFile(path+".tmp", []byte(version(v)), 0o600)
				_ = os.Rename(path+".tmp", path)
			case 1: // a link to another directory, as deployments do
				release := filepath.Join(dir, fmt.Sprintf("release%d", v%2))
				_ = os.MkdirAll(release, 0o700)
				_ = os.WriteFile(filepath.Join(release, "jobs.tmp"), []byte(version(v)), 0o600)
				_ = os.Rename(filepath.Join(release, "jobs.tmp"), filepath.Join(release, "jobs.yaml"))
				_ = os.Remove(path + ".link")
				_ = os.Symlink(filepath.Join(release, "jobs.yaml"), path+".link")
				_ = os.Rename(path+".link", path)
			case 2:
				_ = os.WriteFile(path+".tmp", []byte(version(v)), 0o600)
				_ = os.Rename(path+".tmp", path)
			}
			time.Sleep(time.Millisecond)
		}
	}()
	wrong, missing := 0, 0
	t.n = scaled(200, 15)
	for range t.n {
		r := t.run(ctx, dir, "--format", "json", "jobs")
		if r.status == 2 && strings.Contains(r.err, "not found") {
			missing++ // between the two renames
			continue
		}
		var list []struct {
			Title string `json:"title"`
		}
		if err := json.Unmarshal([]byte(r.out), &list); err != nil || len(list) != 20 {
			wrong++
			t.Errorf("exit status %d, %d jobs: %.300s", r.status, len(list), r.err)
			continue
		}
		for _, j := range list {
			if j.Title != list[0].Title {
				wrong++
				t.Errorf("two versions at once: %s and %s", j.Title, list[0].Title)
				break
			}
		}
	}
	close(stop)
	<-stopped
	t.none(wrong, "others")
	t.figure("told that there was none %d", missing)
	for name, change := range map[string]func(path string) error{
		"loop":      func(path string) error { return os.Symlink(path, path) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"gone":      func(string) error { return nil },
		"empty":     func(path string) error { return os.WriteFile(path, nil, 0o600) },
	} {
		t.n++
		dir := t.project("")
		path := filepath.Join(dir, "jobcontrol.yaml")
		t.must(os.Remove(path))
		t.must(change(path))
		if r := t.run(ctx, dir, "validate"); r.status != 2 || !strings.Contains(r.err, "jobcontrol.yaml") {
			t.Errorf("%s: exit status %d, %.300s", name, r.status, r.err)
		}
	}
}

// broken is no file of jobs.
const broken = "jobs: ["

// frozen changes jobs under builds that were made.
func frozen(ctx context.Context, t *trial) {
	changes := []string{
		jobs(`  - {id: a, tries: 2, retry_delay: 0.1, run: "echo new >>ran; exit 0"}`),
		jobs(`  - {id: renamed, tries: 2, run: "echo new >>ran"}`),
		jobs(`  - {id: other, run: "true"}`),
		broken,
	}
	wrong := 0
	for i := range scaled(36, 8) {
		t.n++
		change, when := changes[i%len(changes)], []string{"queued", "running", "retry"}[i/len(changes)%3]
		dir := t.project(jobs(`  - {id: a, tries: 2, retry_delay: 0.1, run: "echo old >>ran; while [ ! -e go ]; do sleep 0.01; done; [ -e once ] || { : >once; exit 1; }"}`))
		storage := "sqlite:" + state(dir)
		worker := func() *background { return t.start(dir, "worker") }
		var w *background
		if when != "queued" {
			w = worker()
		} else {
			w = t.start(dir, "worker", "elsewhere") // it has read the file, and serves another service
		}
		if r := t.run(ctx, dir, "run", "--detach", "a"); r.status != 0 {
			t.Fatalf("exit status %d: %s", r.status, r.err)
		}
		ran := func(lines int) func() bool {
			return func() bool {
				data, err := os.ReadFile(filepath.Join(dir, "ran"))
				return err == nil && bytes.Count(data, []byte("\n")) >= lines
			}
		}
		free := func() { t.must(os.WriteFile(filepath.Join(dir, "go"), nil, 0o600)) }
		switch when {
		case "queued":
			t.write(dir, change)
			w.end(syscall.SIGTERM)
			if change == broken {
				if r := t.run(ctx, dir, "worker"); r.status != 2 || !strings.Contains(r.err, "jobcontrol.yaml:1:") {
					t.Errorf("a worker with a broken file: exit status %d, %s", r.status, r.err)
					wrong++
				}
				t.write(dir, changes[0])
			}
			w = worker()
			free()
		case "running":
			t.soon(30*time.Second, "it runs", ran(1))
			t.write(dir, change)
			free()
		case "retry":
			t.soon(30*time.Second, "it runs", ran(1))
			free()
			t.write(dir, change)
		}
		if r := t.run(ctx, dir, "--storage", storage, "runs", "watch", "1"); r.status != 0 {
			t.Errorf("%s: exit status %d: %s%s\n%s", when, r.status, r.out, r.err, w.said())
			wrong++
		}
		w.end(syscall.SIGTERM)
		data, err := os.ReadFile(filepath.Join(dir, "ran"))
		t.must(err)
		if string(data) != "old\nold\n" {
			t.Errorf("%s, change %d: executed were %q", when, i%len(changes), data)
			wrong++
		}
		var b build
		t.decoded(ctx, &b, dir, "--storage", storage, "builds", "show", "1")
		if b.Job != "a" || b.State != "successful" {
			t.Errorf("the build of a job that is gone: %+v", b)
			wrong++
		}
	}
	t.none(wrong, "others")
}
