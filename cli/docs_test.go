package cli_test

import (
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/jobcontrol/jobcontrol"
)

// TestDocs executes what the documentation shows. Each chapter ("## …") is one
// session of a shell in an empty directory; its blocks are executed in their order:
//
//	yaml, go  a file, of the name in the comment of its first line, else jobcontrol.yaml or main.go;
//	          a file that no command follows is validated
//	sh        commands. "# → TEXT" behind one: TEXT is in its output. "# exit status N": how it ends.
//	          "# in a shell of its own": it is executed behind the others until the end.
//	console   the same, each after "$ ", and below it the whole of its output
//	json      must be JSON
//
// In shown output … stands for anything, alone on a line for any lines; spaces, times and
// durations may differ. PostgreSQL on *.example.com is the tests' own server, https://shop.example
// the shop of the scripts, and /tmp a directory of the chapter's own. Comments in the Markdown say what a reader does not see:
//
//	<!-- not executed: WHY -->        of the next block
//	<!-- executed by a job -->        the next block's commands are those of a job
//	<!-- printed by: COMMAND -->      the next block is what this prints
//	<!-- executed first: COMMANDS --> what the reader has done before
//	<!-- in the clone -->             what follows is done in a clone of the repository
//	<!-- goes on -->                  the chapter goes on with the session of the one before
func TestDocs(t *testing.T) {
	names, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var scripts []string
	for _, name := range append(names, "../README.md") {
		if filepath.Base(name) == "commands.md" {
			continue // generated; TestCommandExamples looks at its examples
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		line, chapters := 1, strings.SplitAfter(string(data), "\n## ")
		for i := 0; i < len(chapters); i++ {
			text := chapters[i]
			for i+1 < len(chapters) && strings.Contains(chapters[i+1], "\n<!-- goes on -->\n") {
				i++
				text += chapters[i]
			}
			c := &chapter{t: t, file: filepath.Base(name), line: line, text: text}
			line += strings.Count(text, "\n")
			if !c.read() {
				continue
			}
			script := filepath.Join(dir, fmt.Sprintf("%s-%d.txt", strings.TrimSuffix(c.file, ".md"), i))
			if err := os.WriteFile(script, []byte(c.script()), 0o600); err != nil {
				t.Fatal(err)
			}
			scripts = append(scripts, script)
		}
	}
	if len(scripts) < 15 {
		t.Errorf("only %d chapters have something to execute", len(scripts))
	}
	shop := httptest.NewServer(webHandler(filepath.Join(dir, "seen")))
	t.Cleanup(shop.Close)
	testscript.Run(t, testscript.Params{
		Files: scripts, RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			for _, kv := range [][2]string{{"TZ", "UTC"}, {"NO_COLOR", "1"}, {"GORACE", "atexit_sleep_ms=0"}, {"JOBCONTROL_CONFIG_FILE", ""}, {"SHOP", shop.URL}, {"GOPROXY", "off"}} {
				env.Setenv(kv[0], kv[1])
			}
			for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOFLAGS", "CGO_ENABLED"} {
				value, err := exec.Command("go", "env", name).Output()
				if err != nil {
					return err
				}
				env.Setenv(name, strings.TrimSpace(string(value)))
			}
			root, err := filepath.Abs("..")
			env.Setenv("ROOT", root)
			return err
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"session": session(t), "prints": prints, "has": has,
		},
	})
}

// chapter is a part of a document, and what of it is executed.
type chapter struct {
	t    *testing.T
	file string
	line int // where it begins
	text string

	sh     strings.Builder // of the session
	checks []string        // of its output, by the number of the command
	wanted []string
	n      int    // commands so far
	last   string // the file that no command has followed
}

// place is where a line of the chapter is.
func (c *chapter) place(n int) string { return fmt.Sprintf("%s:%d", c.file, c.line+n) }

// read goes through the chapter, and says whether something of it is executed.
func (c *chapter) read() bool {
	lines, mark, why := strings.Split(c.text, "\n"), "", ""
	for i := 0; i < len(lines); i++ {
		switch l := lines[i]; {
		case strings.HasPrefix(l, "<!-- "):
			first := i
			for !strings.HasSuffix(lines[i], "-->") {
				i++
			}
			text := strings.TrimSuffix(strings.Join(lines[first:i+1], "\n"), "-->")
			mark, why, _ = strings.Cut(strings.TrimPrefix(text, "<!-- "), ":")
			switch mark = strings.TrimSpace(mark); mark {
			case "executed first":
				c.commands(first, strings.Split(strings.TrimSpace(why), "\n"))
			case "in the clone":
				c.sh.WriteString(inClone)
			case "not executed", "executed by a job", "printed by", "goes on":
			default:
				c.t.Errorf("%s: %q is no mark", c.place(first), mark)
			}
		case strings.HasPrefix(l, "```"):
			first := i + 1
			for i++; i < len(lines) && lines[i] != "```"; i++ {
			}
			c.block(first, strings.TrimPrefix(l, "```"), lines[first:i], mark, strings.TrimSpace(why))
			mark = ""
		case strings.HasPrefix(strings.TrimSpace(l), "```"):
			c.t.Errorf("%s: a block that is set in is not executed", c.place(i))
		case l != "":
			mark = ""
		}
	}
	if c.last != "" {
		c.add(len(lines), "jobcontrol -c "+c.last+" validate")
	}
	return c.n > 0
}

var nameLine = regexp.MustCompile(`^(?:#|//) ([\w.-]+\.(?:yaml|go|sh))$`)

// block is what follows ``` in line n.
func (c *chapter) block(n int, language string, lines []string, mark, why string) {
	text := strings.Join(lines, "\n") + "\n"
	if mark == "not executed" {
		if len(why) < 10 {
			c.t.Errorf("%s: the block does not say why it is not executed", c.place(n))
		}
		return
	}
	if mark == "printed by" {
		c.add(n, why)
		c.check("prints", n, text)
		return
	}
	switch language {
	case "yaml", "go":
		name := map[string]string{"yaml": "jobcontrol.yaml", "go": "main.go"}[language]
		if m := nameLine.FindStringSubmatch(lines[0]); m != nil {
			name = m[1]
		}
		if c.last = name; language == "go" {
			c.last = ""
		}
		c.write(name, text)
	case "sh":
		if mark == "executed by a job" {
			c.write("told.yaml", "jobs:\n  - id: told\n    run: |\n      "+strings.Join(lines, "\n      ")+"\n      touch told\n")
			c.add(n, "jobcontrol -c told.yaml build told || true; test -e told || jobcontrol -c told.yaml builds log 1")
			c.add(n, "test -e told")
			return
		}
		c.commands(n, lines)
	case "console":
		c.last = ""
		for i := 0; i < len(lines); {
			command, isCommand := strings.CutPrefix(lines[i], "$ ")
			if !isCommand {
				c.t.Errorf("%s: the output of no command", c.place(n+i))
				return
			}
			first := i
			for i++; i < len(lines) && strings.HasPrefix(lines[i], "> "); i++ {
				command += "\n" + lines[i][2:]
			}
			output := i
			for i < len(lines) && !strings.HasPrefix(lines[i], "$ ") {
				i++
			}
			c.add(n+first, command)
			c.check("prints", n+first, strings.Join(lines[output:i], "\n")+"\n")
		}
	case "json":
		if _, err := jobcontrol.DecodeJSON([]byte(text)); err != nil {
			c.t.Errorf("%s: %v", c.place(n), err)
		}
	default:
		c.t.Errorf("%s: a block of the language %q is neither executed nor marked: <!-- not executed: WHY -->", c.place(n), language)
	}
}

// write writes a file in the session.
func (c *chapter) write(name, text string) {
	fmt.Fprintf(&c.sh, "cat > %s <<'END OF FILE'\n%sEND OF FILE\n", name, text)
}

// commands are those of lines of shell: a line that is set in, or follows a backslash, belongs to the one before it.
func (c *chapter) commands(n int, lines []string) {
	c.last = ""
	for i := 0; i < len(lines); {
		first, command := i, lines[i]
		for i++; i < len(lines) && (strings.HasSuffix(lines[i-1], `\`) || strings.HasPrefix(lines[i], " ") || slices.Contains([]string{"done", "fi", "}", "EOF"}, lines[i])); i++ {
			command += "\n" + lines[i]
		}
		if command = strings.TrimSpace(command); command != "" && command[0] != '#' {
			c.add(n+first, command)
		}
	}
}

var (
	hasComment    = regexp.MustCompile(`\s# → (.*)$`)
	statusComment = regexp.MustCompile(`\s# exit status (\d+)$`)
)

// add adds a command.
func (c *chapter) add(n int, command string) {
	c.n++
	c.last = ""
	want := 0
	if m := statusComment.FindStringSubmatch(command); m != nil {
		want, _ = strconv.Atoi(m[1])
	}
	if strings.HasSuffix(command, "# in a shell of its own") {
		command = "{ " + command + "\n} &"
	}
	fmt.Fprintf(&c.sh, "{\n%s\n} > $out/%d 2>&1 < /dev/null\nended %d $? %d %s\n", command, c.n, c.n, want, c.place(n))
	if m := hasComment.FindStringSubmatch(command); m != nil {
		c.check("has", n, m[1])
	}
}

// check checks the output of the last command.
func (c *chapter) check(how string, n int, want string) {
	c.checks = append(c.checks, fmt.Sprintf("%s %d %d %s", how, c.n, len(c.wanted), c.place(n)))
	c.wanted = append(c.wanted, want)
}

// preamble begins each session. Each job has a process group, so that at the end all of it can be ended. Nothing is asked of
// a network: where tidy would have to, a module gets the requirements of ours.
const preamble = `out=$WORK/out
mkdir -p $out $WORK/here $WORK/tmp
cd $WORK/here
ended() {
	[ $2 -eq $3 ] && return
	echo "$4: exit status $2, want $3"
	cat $out/$1
	exit 1
}
go() {
	command go "$@" || { [ "$*" = "mod tidy" ] && requirements "$(command go mod edit -print | head -1)"; }
}
requirements() {
	cp $ROOT/go.sum . && sed "s,^module .*,$1," $ROOT/go.mod > go.mod &&
		command go mod edit -require github.com/jobcontrol/jobcontrol@v0.0.0 -replace github.com/jobcontrol/jobcontrol=$ROOT
}
set -m
trap 'for job in $(jobs -p); do kill -- -$job 2>&-; done; wait' EXIT
`

// inClone goes to a copy of the examples that can be built.
const inClone = `mkdir $WORK/clone && cd $WORK/clone && cp -r $ROOT/examples . && requirements "module clone" || exit
`

// script is the chapter for testscript.
func (c *chapter) script() string {
	title, _, _ := strings.Cut(c.text, "\n")
	text := "# " + title + "\nsession\n" + strings.Join(c.checks, "\n") + "\n-- session.sh --\n" + preamble + c.sh.String()
	for i, w := range c.wanted {
		text += fmt.Sprintf("\n-- want/%d --\n%s", i, w)
	}
	return text
}

var exampleDatabase = regexp.MustCompile(`postgresql://[\w@.]*example\.com/\w+(\?)?`)

// session executes session.sh, with what the documentation only speaks of in its place.
func session(t *testing.T) func(ts *testscript.TestScript, neg bool, args []string) {
	return func(ts *testscript.TestScript, _ bool, _ []string) {
		text := strings.NewReplacer("/tmp/", ts.Getenv("WORK")+"/tmp/", "https://shop.example", ts.Getenv("SHOP"), "/path/to/your/clone", ts.Getenv("ROOT")).Replace(ts.ReadFile("session.sh"))
		if exampleDatabase.MatchString(text) {
			_, url := server.Database(t)
			text = exampleDatabase.ReplaceAllStringFunc(text, func(found string) string {
				if strings.HasSuffix(found, "?") {
					return url + "&"
				}
				return url
			})
		}
		ts.Check(os.WriteFile(ts.MkAbs("session.sh"), []byte(text), 0o600))
		ts.Check(ts.Exec("timeout", "-k", "5", "120", "bash", "session.sh"))
	}
}

// has checks that a text is in the output of a command.
func has(ts *testscript.TestScript, _ bool, args []string) {
	got, want := ts.ReadFile("out/"+args[0]), strings.TrimSpace(ts.ReadFile("want/"+args[1]))
	if !strings.Contains(got, want) {
		ts.Fatalf("%s: %q is not in\n%s", args[2], want, got)
	}
}

// prints checks the whole output of a command.
func prints(ts *testscript.TestScript, _ bool, args []string) {
	got, want := ts.ReadFile("out/"+args[0]), ts.ReadFile("want/"+args[1])
	if !pattern(want).MatchString(strings.TrimSpace(got) + "\n") {
		ts.Fatalf("%s: it does not print\n%s\nbut\n%s", args[2], want, got)
	}
}

// varying are the parts of an output that differ from run to run.
var varying = regexp.MustCompile(`\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d(?:\.\d+)?)?Z?)?|\d\d:\d\d:\d\d|\d+(?:\.\d+)? ?(?:ms|s|min|h)\b|[0-9a-f]{16}|…|\s+`)

// pattern matches the output that is shown, but for what varies.
func pattern(shown string) *regexp.Regexp {
	shown = strings.TrimSpace(strings.ReplaceAll("\n"+shown, "\n…\n", "\n¶"))
	expr, end := "", 0
	for _, at := range varying.FindAllStringIndex(shown, -1) {
		found := shown[at[0]:at[1]]
		expr += regexp.QuoteMeta(shown[end:at[0]])
		switch end = at[1]; {
		case found == "…":
			expr += `.*`
		case strings.Contains(found, "\n"):
			expr += `\s*\n\s*`
		case strings.TrimSpace(found) == "":
			expr += `[ \t]+`
		case strings.Contains(found, "-"):
			expr += `\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d(?:\.\d+)?)?Z?)?`
		case strings.Contains(found, ":"):
			expr += `\d\d:\d\d:\d\d`
		case strings.HasSuffix(found, "s"), strings.HasSuffix(found, "min"), strings.HasSuffix(found, "h"):
			expr += `\d+(?:\.\d+)? ?(?:ms|s|min|h)`
		default:
			expr += `[0-9a-f]{16}`
		}
	}
	expr += regexp.QuoteMeta(shown[end:])
	return regexp.MustCompile(`\A` + strings.ReplaceAll(expr, "¶", `(?:.*\n)*?`) + `\s*\z`)
}

// TestDocsPattern holds what may differ from the output that is shown, and what not.
func TestDocsPattern(t *testing.T) {
	for _, c := range []struct {
		shown, got string
		want       bool
	}{
		{"run 1 successful: 2 jobs, 0.1 s\n", "run 1 successful: 2 jobs, 12 ms", true},
		{"run 1 successful: 2 jobs, 0.1 s\n", "run 1 successful: 3 jobs, 0.1 s", false},
		{"a\n…\nz\n", "a\nb\nc\nz", true},
		{"a\n…\nz\n", "a\nz", true},
		{"a\n…\nz\n", "a\nb\nz\nc", false},
		{"#1  2026-01-31 08:00:00  ok\n", "#1 2026-11-02 08:10:00       ok", true},
		{"#1  …  ok\n", "#1  x y  ok", true},
		{"one\n", "one\ntwo", false},
		{"a\n\nb\n", "a\n\n   b", true},
		{"in 3 s\n…\n", "in 1.2 min\nx\n", true},
	} {
		if got := pattern(c.shown).MatchString(c.got); got != c.want {
			t.Errorf("%q shows %q: %v", c.shown, c.got, got)
		}
	}
}

// TestDocsLinks: what the documents link to is there.
func TestDocsLinks(t *testing.T) {
	names, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	link, fence := regexp.MustCompile(`\]\(([^)\s]+)\)`), regexp.MustCompile("(?ms)^```.*?^```$|`[^`\n]*`")
	links := 0
	for _, name := range append(names, "../README.md", "../ARCHITECTURE.md") {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(string(data), ""), -1) {
			file, part, _ := strings.Cut(m[1], "#")
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			to := name
			if file != "" {
				to = filepath.Join(filepath.Dir(name), file)
			}
			target, err := os.ReadFile(to)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			} else if part != "" && !slices.Contains(anchors(string(target)), part) {
				t.Errorf("%s: %s has no chapter #%s", name, to, part)
			}
		}
	}
	if links < 50 {
		t.Errorf("%d links", links)
	}
}

// anchors are what links may name of a document: its headings, as GitHub makes them.
func anchors(text string) (out []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		heading := strings.ToLower(regexp.MustCompile(`[^\pL\pN _-]`).ReplaceAllString(m[1], ""))
		out = append(out, strings.ReplaceAll(heading, " ", "-"))
	}
	return out
}
