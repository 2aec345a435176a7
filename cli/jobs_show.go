package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

func newJobsShow(e *environment) *cobra.Command {
	return &cobra.Command{
		Use:               "show JOB",
		Short:             "Show a job: what it does, how it stands and why",
		Args:              arguments(1, 1, "a job"),
		ValidArgsFunction: e.completeJobs,
		RunE:              func(cmd *cobra.Command, args []string) error { return showJob(cmd.Context(), e, args[0]) },
	}
}

// jobDetailJSON is a job with its definition.
type jobDetailJSON struct {
	jobJSON
	Notes      *string         `json:"notes"`
	Source     *string         `json:"source"`
	Code       string          `json:"code"`
	Definition json.RawMessage `json:"definition"`
}

func showJob(ctx context.Context, e *environment, id string) error {
	s, err := e.open(ctx, needJobs, 0)
	if err != nil {
		return err
	}
	defer s.close()
	i, err := s.client.Job(ctx, id)
	if err != nil {
		return err
	}
	reg := e.program.Registry
	if e.json() {
		body, _, err := i.Job.Definition()
		if err != nil {
			return err
		}
		return e.document(jobDetailJSON{
			newJobJSON(i), orNull(i.Job.Notes), orNull(i.Job.Source.String()), code(i.Job, reg), body,
		})
	}
	latest := "No successful builds"
	if i.Status.Good != 0 {
		b, err := s.client.Build(ctx, i.Status.Good)
		if err != nil {
			return err
		}
		latest = fmt.Sprintf("#%d, started %s, finished %s", b.ID, clock(b.StartedAt), clock(b.FinishedAt))
	}
	e.print(e.jobText(i, reg, latest))
	return nil
}

// jobText is a job for people.
func (e *environment) jobText(i *jobcontrol.JobInfo, reg *jobcontrol.Registry, latest string) string {
	j := i.Job
	status := statusCell(i.Status.Status)
	if flags := flagsOf(i); len(flags) > 0 {
		status.text += " (" + strings.Join(flags, ", ") + ")"
	}
	t := newTable()
	field := func(name string, v any) { t.add(cell{text: name, colour: bold}, v) }
	field("Id", j.ID)
	field("Title", orNone(j.Title))
	if len(j.Tags) > 0 {
		field("Tags", strings.Join(j.Tags, ", "))
	}
	for _, p := range []jobcontrol.Phase{jobcontrol.PhaseCheck, jobcontrol.PhaseRun, jobcontrol.PhaseCleanup} {
		if task := j.TaskOf(p); task != nil {
			field(capital(string(p)), taskText(task))
		}
	}
	if j.ForEach != nil {
		field("For each", forEachText(j.ForEach))
	}
	if j.OnDelete != "" {
		field("On delete", j.OnDelete)
	}
	field("Args", argsText(j.Args))
	field("Kwargs", kwargsText(j.Kwargs))
	field("Dependencies", orNone(strings.Join(j.Dependencies, ", ")))
	field("Dependants", orNone(strings.Join(i.Dependants, ", ")))
	field("Status", status)
	for n, why := range becauseOf(i) {
		name := ""
		if n == 0 {
			name = "Because"
		}
		field(name, why)
	}
	field("Latest successful", latest)
	if j.Source.Line > 0 {
		field("Defined at", j.Source.String())
	}
	text := t.render(e.streams)
	if j.Notes != "" {
		text += "\n" + e.paint(bold, "Notes") + "\n" + indent("    ", visible(j.Notes))
	}
	if doc := documentation(j, reg); doc != "" {
		text += "\n" + e.paint(bold, "Documentation") + "\n" + indent("    ", visible(doc))
	}
	return text + "\n" + e.paint(bold, "Code that will be executed") + "\n" + indent("    ", visible(code(j, reg)))
}

// taskText is a task on one line; a script of several is shown with the code.
func taskText(t *jobcontrol.Task) string {
	if n := strings.Count(strings.TrimRight(t.Shell, "\n"), "\n"); n > 0 {
		return fmt.Sprintf("a script of %d lines, below", n+1)
	}
	return clip(t.String(), 120)
}

// forEachText says of what there is one build each.
func forEachText(f *jobcontrol.ForEach) string {
	text := "item of " + clip(literal(f.Items), 100)
	switch v := f.Items.(type) {
	case []any:
		text = plural(len(v), "item") + " " + clip(literal(v), 100)
	case map[string]any:
		text = plural(len(v), "item") + " " + clip(literal(v), 100)
	}
	text += ", given as " + f.Name()
	if f.Key != "" {
		text += ", named by " + f.Key
	}
	if f.Partial {
		text += "; some may fail"
	}
	return text
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// documentation is what is known of the functions that a job calls.
func documentation(j *jobcontrol.Job, reg *jobcontrol.Registry) string {
	var parts, seen []string
	for _, p := range []jobcontrol.Phase{jobcontrol.PhaseCheck, jobcontrol.PhaseRun, jobcontrol.PhaseCleanup, jobcontrol.PhaseOnDelete} {
		task := j.TaskOf(p)
		if task == nil || task.Function == "" || slices.Contains(seen, task.Function) {
			continue
		}
		seen = append(seen, task.Function)
		f, ok := reg.Lookup(task.Function)
		switch {
		case !ok:
			parts = append(parts, task.Function+"\n    Error: this program has no function of this name.")
		case f.Doc == "":
			parts = append(parts, signature(f)+"\n    No documentation available.")
		default:
			parts = append(parts, signature(f)+"\n"+strings.TrimRight(indent("    ", f.Doc), "\n"))
		}
	}
	return strings.Join(parts, "\n")
}

// signature is a function with its parameters as a person reads them.
func signature(f *jobcontrol.RegisteredFunction) string {
	if f.Parameters == nil {
		return f.Name + "(...)"
	}
	params := make([]string, len(f.Parameters))
	for i, p := range f.Parameters {
		params[i] = p.Name + " " + p.Type
		if p.Optional {
			params[i] = "[" + params[i] + "]"
		}
	}
	return f.Name + "(" + strings.Join(params, ", ") + ")"
}

// code is what a job will execute: a call for a function, in JobControl's form,
// the script or the words of a command.
func code(j *jobcontrol.Job, reg *jobcontrol.Registry) string {
	var parts []string
	for _, p := range []jobcontrol.Phase{jobcontrol.PhaseCheck, jobcontrol.PhaseRun, jobcontrol.PhaseCleanup} {
		if task := j.TaskOf(p); task != nil {
			parts = append(parts, "# "+string(p)+"\n"+taskCode(j, p, task, reg))
		}
	}
	if len(parts) == 0 {
		return "# nothing: it only has dependencies"
	}
	return strings.Join(parts, "\n")
}

func taskCode(j *jobcontrol.Job, p jobcontrol.Phase, task *jobcontrol.Task, reg *jobcontrol.Registry) string {
	args, kwargs := argumentsOf(j, p)
	if task.HTTP != nil {
		return httpCode(task.HTTP, args, kwargs)
	}
	if task.IsCommand() {
		return commandCode(task, args, kwargs)
	}
	var list []string
	for _, v := range args {
		list = append(list, literal(v))
	}
	for _, k := range sortedKeys(kwargs) {
		list = append(list, k+"="+literal(kwargs[k]))
	}
	text := task.Function + "()"
	if len(list) > 0 {
		text = task.Function + "(\n    " + strings.Join(list, ",\n    ") + ")"
	}
	if _, ok := reg.Lookup(task.Function); !ok {
		text = "# Invalid function: " + task.Function + " is not registered in this program\n" + text
	}
	return text
}

// commandCode is a command with its arguments: each kwarg as the variable that
// the command gets, then what is executed.
func commandCode(task *jobcontrol.Task, args []any, kwargs map[string]any) string {
	var b strings.Builder
	for _, k := range sortedKeys(kwargs) {
		fmt.Fprintf(&b, "# %s = %s\n", k, literal(kwargs[k]))
	}
	for i, v := range args {
		fmt.Fprintf(&b, "# $%d = %s\n", i+1, literal(v))
	}
	if task.Shell != "" {
		b.WriteString(strings.TrimRight(task.Shell, "\n"))
		return b.String()
	}
	words := make([]string, len(task.Command))
	for i, w := range task.Command {
		words[i] = shellWord(w)
	}
	b.WriteString(strings.Join(words, " "))
	return b.String()
}

// argumentsOf are the arguments of a phase with their placeholders: the task's
// own, else the job's.
func argumentsOf(j *jobcontrol.Job, p jobcontrol.Phase) ([]any, map[string]any) {
	args, kwargs := j.Args, j.Kwargs
	t := j.TaskOf(p)
	if v, err := jobcontrol.DecodeArguments(t.Args); err == nil {
		args, _ = v.([]any)
	}
	if v, err := jobcontrol.DecodeArguments(t.Kwargs); err == nil {
		kwargs, _ = v.(map[string]any)
	}
	return args, kwargs
}

func argsText(args []any) string {
	list := make([]string, len(args))
	for i, v := range args {
		list[i] = literal(v)
	}
	return "[" + strings.Join(list, ", ") + "]"
}

func kwargsText(kwargs map[string]any) string {
	list := make([]string, 0, len(kwargs))
	for _, k := range sortedKeys(kwargs) {
		list = append(list, k+": "+literal(kwargs[k]))
	}
	return "{" + strings.Join(list, ", ") + "}"
}

// literal is a value as JSON, with placeholders as the file writes them.
func literal(v any) string {
	switch v := v.(type) {
	case jobcontrol.Retval:
		path := v.Path
		if path != "" && path[0] != '[' {
			path = "." + path
		}
		return "!retval " + v.Job + path
	case jobcontrol.Secret:
		return "!secret " + v.Name
	case []any:
		return argsText(v)
	case map[string]any:
		list := make([]string, 0, len(v))
		for _, k := range sortedKeys(v) {
			list = append(list, literal(k)+": "+literal(v[k]))
		}
		return "{" + strings.Join(list, ", ") + "}"
	}
	data, err := encodeJSON(v, "")
	if err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimRight(string(data), "\n")
}

// shellWord quotes a word for a shell where that is needed.
func shellWord(w string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./:=@%+,", r)
	}
	if w != "" && strings.IndexFunc(w, func(r rune) bool { return !plain(r) }) < 0 {
		return w
	}
	return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
