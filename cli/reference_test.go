package cli

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write docs/commands.md anew")

const referenceFile = "../docs/commands.md"

// TestCommandReference holds that docs/commands.md says what the commands say of themselves.
func TestCommandReference(t *testing.T) {
	want := reference(commandTree())
	if *update {
		if err := os.WriteFile(referenceFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) == want {
		return
	}
	old, now := strings.Split(string(got), "\n"), strings.Split(want, "\n")
	n := 0
	for n < len(old) && n < len(now) && old[n] == now[n] {
		n++
	}
	t.Errorf("docs/commands.md is not what the commands say, from line %d on: go test ./cli -run TestCommandReference -update", n+1)
}

// commandTree is every command, with those of the library.
func commandTree() *cobra.Command {
	root := newRoot(newEnvironment(Program{}))
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	return root
}

// reference is the text of docs/commands.md.
func reference(root *cobra.Command) string {
	var b strings.Builder
	parts := strings.Split(root.Long, "\n\n")
	b.WriteString("# Commands\n\n<!-- Generated from the commands: go test ./cli -run TestCommandReference -update -->\n\n")
	b.WriteString("Every command and flag, as `--help` tells them. What the commands do with a file is in [the file](file.md), what they print for programs in [JSON](json.md).\n")
	for _, g := range root.Groups() {
		fmt.Fprintf(&b, "\n| %s | |\n|---|---|\n", strings.TrimSuffix(g.Title, ":"))
		for _, c := range root.Commands() {
			if c.GroupID == g.ID && !c.Hidden {
				fmt.Fprintf(&b, "| [%s](#%s) | %s |\n", c.Name(), anchor(c), inTable(c.Short))
			}
		}
	}
	b.WriteString("\n## For all commands\n\n")
	flagTable(&b, root.PersistentFlags().FlagUsages())
	for _, title := range []string{"Exit status", "Environment"} {
		i := slices.IndexFunc(parts, func(p string) bool { return strings.HasPrefix(p, title+":\n") })
		fmt.Fprintf(&b, "\n## %s\n\n| | |\n|---|---|\n", title)
		for l := range strings.Lines(strings.TrimPrefix(parts[i], title+":\n")) {
			name, what, _ := strings.Cut(strings.TrimSpace(l), "  ")
			fmt.Fprintf(&b, "| `%s` | %s |\n", name, inTable(strings.TrimSpace(what)))
		}
	}
	b.WriteString("\nThe commands of jobs get more: see [tasks](file.md#tasks).\n")
	for _, g := range root.Groups() {
		fmt.Fprintf(&b, "\n## %s\n", strings.TrimSuffix(g.Title, ":"))
		for _, c := range root.Commands() {
			if c.GroupID == g.ID {
				describe(&b, c)
			}
		}
	}
	b.WriteString("\n## Old names\n\nStill understood, and not shown by `--help`.\n\n| old | now |\n|---|---|\n")
	for _, c := range root.Commands() {
		if _, now, ok := strings.Cut(c.Long, ": the old name of "); ok {
			fmt.Fprintf(&b, "| `%s` | %s |\n", c.Name(), strings.TrimSuffix(now, "."))
		}
	}
	return b.String()
}

// describe writes a command and those below it.
func describe(b *strings.Builder, c *cobra.Command) {
	if c.Hidden {
		return
	}
	fmt.Fprintf(b, "\n### %s\n\n", c.CommandPath())
	if c.Name() == "completion" || c.Name() == "help" { // the library's: what they say of themselves is long
		fmt.Fprintf(b, "%s.\n\n```\n%s\n```\n", c.Short, strings.TrimSuffix(c.UseLine(), " [flags]"))
		return
	}
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	fmt.Fprintf(b, "%s\n\n```\n%s\n```\n", prose(text), strings.TrimSuffix(c.UseLine(), " [flags]"))
	if usages := c.LocalFlags().FlagUsages(); usages != "" {
		b.WriteString("\n")
		flagTable(b, usages)
	}
	if c.Example != "" {
		var lines []string
		for l := range strings.Lines(c.Example) {
			lines = append(lines, strings.TrimPrefix(strings.TrimRight(l, "\n"), "  "))
		}
		fmt.Fprintf(b, "\n```\n%s\n```\n", strings.Join(lines, "\n"))
	}
	for _, sub := range c.Commands() {
		describe(b, sub)
	}
}

// anchor is what a link to a command names.
func anchor(c *cobra.Command) string {
	return strings.ReplaceAll(c.CommandPath(), " ", "-")
}

var (
	flagLine = regexp.MustCompile(`^ +(?:(-\w), )?(--[\w-]+)(?: (\S+))? {3,}(.*)$`)
	cores    = regexp.MustCompile(`\(default the cores: \d+\)`) // of this machine
)

// flagTable writes the flags as the library prints them.
func flagTable(b *strings.Builder, usages string) {
	rows := ""
	for l := range strings.Lines(usages) {
		m := flagLine.FindStringSubmatch(strings.TrimRight(l, "\n"))
		if m == nil {
			panic(fmt.Sprintf("a flag that does not look like one: %q", l))
		}
		if m[2] == "--help" {
			continue
		}
		name := strings.TrimSpace(m[2] + " " + m[3])
		if m[1] != "" {
			name = m[1] + ", " + name
		}
		rows += fmt.Sprintf("| `%s` | %s |\n", strings.ReplaceAll(name, "|", `\|`), inTable(cores.ReplaceAllString(m[4], "(default: as many as there are cores)")))
	}
	if rows != "" {
		b.WriteString("| flag | |\n|---|---|\n" + rows)
	}
}

// prose makes Markdown of a command's description: lines that are set in are kept as they are.
func prose(text string) string {
	var out []string
	inside := false
	fence := func(begin bool) {
		if inside != begin {
			out = append(out, "```")
			inside = begin
		}
	}
	for l := range strings.Lines(strings.TrimSpace(text)) {
		l = strings.TrimRight(l, "\n")
		switch {
		case strings.HasPrefix(l, "  "):
			fence(true)
			out = append(out, strings.TrimPrefix(l, "  "))
		default:
			fence(false)
			out = append(out, unmarked(l))
		}
	}
	fence(false)
	return strings.ReplaceAll(strings.Join(out, "\n"), "\n```\n\n```\n", "\n\n")
}

// unmarked keeps Markdown from reading text as markup.
func unmarked(text string) string {
	return strings.NewReplacer("<", `\<`, "*", `\*`).Replace(text)
}

// inTable is text in a table.
func inTable(text string) string { return strings.ReplaceAll(unmarked(text), "|", `\|`) }

// TestCommandExamples holds that what the help shows as examples is understood.
func TestCommandExamples(t *testing.T) {
	examples := 0
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for l := range strings.Lines(c.Example) {
			for _, args := range commandLines(l) {
				examples++
				root := commandTree()
				found, rest, err := root.Find(args)
				if err == nil {
					err = found.ParseFlags(rest)
				}
				if err == nil {
					err = found.ValidateArgs(found.Flags().Args())
				}
				if err != nil || found == root {
					t.Errorf("%s: the example %q is not understood: %v", c.CommandPath(), args, err)
				}
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(commandTree())
	if examples < 50 {
		t.Errorf("%d examples", examples)
	}
}

var shellWords = regexp.MustCompile(`'[^']*'|"[^"]*"|&&|\|\||[|;&<>]|(?:[^\s'"|;&<>]|"[^"]*"|'[^']*')+`)

// commandLines are the arguments of each call of the program in a line of shell.
func commandLines(line string) (calls [][]string) {
	line, _, _ = strings.Cut(line, " # ")
	current := []string(nil)
	end := func() {
		if len(current) > 1 && current[0] == "jobcontrol" {
			calls = append(calls, current[1:])
		}
		current = nil
	}
	redirected := false
	for _, w := range shellWords.FindAllString(line, -1) {
		switch {
		case redirected:
			redirected = false
		case w == ">" || w == "<":
			redirected = true
		case strings.ContainsAny(w[:1], "&|;"):
			end()
		default:
			current = append(current, strings.Trim(w, `'"`))
		}
	}
	end()
	return calls
}
