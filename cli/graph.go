package cli

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/graph/layout"
)

// graphOptions are the flags of `graph`.
type graphOptions struct {
	to  string
	out string
	run int64
}

// graphForms are what a graph can be written as.
var graphForms = []string{"text", "svg", "png", "dot", "mermaid", "json"}

func newGraph(e *environment) *cobra.Command {
	var o graphOptions
	cmd := &cobra.Command{
		Use:   "graph [JOB]",
		Short: "Draw the jobs and their dependencies",
		Long: `Draw the graph of all jobs, or everything that JOB depends on or that depends on
it, however indirectly. The colours say how the jobs stand:

  green   successful      orange  outdated
  red     failed          grey    not built

With --run the builds of a run are drawn as DoJobber does: red failed, light green
already done, dark green changed, grey not executed.

Edges lead from a dependency to what depends on it. Without -o, text, dot, mermaid
and json are printed; svg and png are too, unless to a terminal.`,
		Example: `  jobcontrol graph
  jobcontrol graph site -o site.svg
  jobcontrol graph --run 12 --to png -o run.png`,
		Args:              arguments(0, 1, "a job"),
		ValidArgsFunction: e.completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			job := ""
			if len(args) > 0 {
				job = args[0]
			}
			return drawGraph(cmd.Context(), e, o, job)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.to, "to", "", "the `form`: "+strings.Join(graphForms, ", ")+" (default: that of the file's name, else text)")
	f.StringVarP(&o.out, "output", "o", "", "write to this `file`")
	f.Int64Var(&o.run, "run", 0, "draw the builds of run `N`")
	_ = cmd.RegisterFlagCompletionFunc("to", cobra.FixedCompletions(graphForms, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func drawGraph(ctx context.Context, e *environment, o graphOptions, job string) error {
	form, err := graphForm(e, o)
	if err != nil {
		return err
	}
	if o.run != 0 && job != "" {
		return usage("name either a job or a run", "a run's graph has all of its builds")
	}
	n := needJobs
	if o.run != 0 {
		n = needStore
	}
	s, err := e.openFor(ctx, n, 0, o.run)
	if err != nil {
		return err
	}
	defer s.close()
	var d *layout.Drawing
	if o.run != 0 {
		d, err = runDrawing(ctx, s.client, o.run)
	} else {
		d, err = jobsDrawing(ctx, s, job)
	}
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := draw(d, form, &b); err != nil {
		return err
	}
	return e.deliver(&b, o.out, plural(len(d.Nodes), "job"))
}

// deliver prints a picture, or writes it to a file and says what is in it.
func (e *environment) deliver(b *bytes.Buffer, out, what string) error {
	if out == "" {
		e.print(b.String())
		return nil
	}
	if err := os.WriteFile(out, b.Bytes(), 0o644); err != nil {
		return &jobcontrol.Error{Code: jobcontrol.Invalid, Message: err.Error()}
	}
	e.note("%s: %s", out, what)
	return nil
}

// graphForm is the form to draw in: --to, else the file's suffix, else text.
func graphForm(e *environment, o graphOptions) (string, error) {
	form, err := e.pictureForm(o.to, o.out, graphForms)
	switch {
	case err != nil || form != "":
		return form, err
	case e.json():
		return "json", nil
	}
	return "text", nil
}

// pictureForm is one of the forms: that of --to, else of the file's suffix; "": neither is given.
func (e *environment) pictureForm(to, out string, forms []string) (string, error) {
	form := to
	if form == "" && out != "" {
		form = map[string]string{".svg": "svg", ".png": "png", ".dot": "dot", ".gv": "dot", ".mmd": "mermaid", ".json": "json", ".txt": "text"}[strings.ToLower(filepath.Ext(out))]
		if !slices.Contains(forms, form) {
			return "", usage("name it by --to "+strings.Join(forms, ", "), "the form of %s is not known", out)
		}
	}
	switch {
	case form != "" && !slices.Contains(forms, form):
		return "", usage("use "+strings.Join(forms, ", "), "--to %q is not known", form)
	case form == "png" && out == "" && e.terminal:
		return "", usage("write it to a file: -o FILE.png", "a picture cannot be shown in a terminal")
	}
	return form, nil
}

func draw(d *layout.Drawing, form string, w io.Writer) error {
	switch form {
	case "dot":
		return d.DOT(w)
	case "mermaid":
		return d.Mermaid(w)
	case "text":
		return d.Text(w)
	}
	p := layout.Place(d)
	switch form {
	case "png":
		return p.PNG(w)
	case "json":
		return p.JSON(w)
	}
	return p.SVG(w)
}

// statusFills are JobControl's colours (JC-39).
var statusFills = map[string]string{
	jobcontrol.StatusOutdated: "#f0ad4e", jobcontrol.StatusSuccessful: "#5cb85c",
	jobcontrol.StatusFailed: "#d9534f", jobcontrol.StatusNotBuilt: "#777777",
}

// jobsDrawing draws the jobs of the file, or those that a job is connected with.
func jobsDrawing(ctx context.Context, s *opened, job string) (*layout.Drawing, error) {
	all, err := s.client.Jobs(ctx, nil)
	if err != nil {
		return nil, err
	}
	g := s.jobs.Graph()
	var members []int32
	current := int32(-1)
	if job == "" {
		for i := range g.Len() {
			members = append(members, int32(i))
		}
	} else {
		if _, err := s.jobs.Job(job); err != nil {
			return nil, err
		}
		current, _ = g.Index(job)
		members = g.Component(current)
	}
	d := &layout.Drawing{Title: "jobs"}
	for _, status := range []string{jobcontrol.StatusSuccessful, jobcontrol.StatusOutdated, jobcontrol.StatusFailed, jobcontrol.StatusNotBuilt} {
		d.Legend = append(d.Legend, layout.Entry{Fill: statusFills[status], Text: strings.ReplaceAll(status, "_", " ")})
	}
	place := make(map[int32]int, len(members))
	for n, i := range members {
		place[i] = n
		info := &all[i]
		node := layout.Node{ID: info.Job.ID, Fill: statusFills[info.Status.Status], Current: i == current, Tooltip: graphTooltip(info)}
		if info.Status.Running {
			node.Note = "running"
		}
		d.Nodes = append(d.Nodes, node)
	}
	for _, i := range members {
		for _, dep := range g.Dependencies(i) {
			d.Edges = append(d.Edges, layout.Edge{From: place[dep], To: place[i]})
		}
	}
	return d, nil
}

// graphTooltip is the job's title, its status and why it has it.
func graphTooltip(i *jobcontrol.JobInfo) string {
	lines := []string{i.Job.ID}
	if i.Job.Title != "" {
		lines = append(lines, i.Job.Title)
	}
	lines = append(lines, i.Status.Status)
	return strings.Join(append(lines, becauseOf(i)...), "\n")
}

// runFills are DoJobber's colours (DJ-15).
const (
	fillFailed  = "#e5534b"
	fillDone    = "#8ddb8c"
	fillChanged = "#2b6a30"
	fillNone    = "#b0b0b0"
)

// runFill is the colour of a build by what it did.
func runFill(b *jobcontrol.Build) string {
	switch {
	case b.State == jobcontrol.Failed:
		return fillFailed
	case b.Changed != nil && *b.Changed:
		return fillChanged
	case b.State.Satisfied():
		return fillDone
	}
	return fillNone
}

// runDrawing draws the builds of a Run.
func runDrawing(ctx context.Context, c jobcontrol.Client, id int64) (*layout.Drawing, error) {
	run, err := c.Run(ctx, id)
	if err != nil {
		return nil, err
	}
	builds, err := buildsOf(ctx, c, run, false)
	if err != nil {
		return nil, err
	}
	d := &layout.Drawing{Title: "run " + itoa(id), Legend: []layout.Entry{
		{Fill: fillChanged, Text: "changed"}, {Fill: fillDone, Text: "already done"}, {Fill: fillFailed, Text: "failed"}, {Fill: fillNone, Text: "not executed"},
	}}
	place := make(map[int64]int, len(builds))
	for i := range builds {
		place[builds[i].ID] = i
	}
	for i := range builds {
		b := &builds[i]
		node := layout.Node{ID: b.Job, Note: "#" + itoa(b.ID) + " " + b.State.String(), Fill: runFill(b), Tooltip: b.Job + "\n" + b.Why}
		if b.State == jobcontrol.Failed {
			node.Tooltip += "\n" + messageOf(b.Failure)
		}
		d.Nodes = append(d.Nodes, node)
		for _, job := range sortedKeys(b.Pins) {
			if from, member := place[b.Pins[job]]; member {
				d.Edges = append(d.Edges, layout.Edge{From: from, To: i})
			}
		}
	}
	return d, nil
}
