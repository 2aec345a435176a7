package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

func newTasks(e *environment) *cobra.Command {
	return &cobra.Command{
		Use:   "tasks",
		Short: "List the functions that jobs may name",
		Args:  arguments(0, 0, "no argument"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return listTasks(cmd.Context(), e) },
	}
}

// taskJSON is a registered function.
type taskJSON struct {
	Name       string          `json:"name"`
	Doc        *string         `json:"doc"`
	Parameters []parameterJSON `json:"parameters"` // null: any arguments
	File       *string         `json:"file"`
	Line       int             `json:"line"`
}

// parameterJSON is a parameter of a registered function.
type parameterJSON struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Optional bool   `json:"optional"`
}

func listTasks(_ context.Context, e *environment) error {
	reg := e.program.Registry
	var found []*jobcontrol.RegisteredFunction
	for _, name := range reg.Names() {
		if f, ok := reg.Lookup(name); ok {
			found = append(found, f)
		}
	}
	if e.json() {
		out := make([]taskJSON, len(found))
		for i, f := range found {
			out[i] = taskJSON{Name: f.Name, Doc: orNull(f.Doc), File: orNull(f.File), Line: f.Line}
			if f.Parameters != nil {
				out[i].Parameters = make([]parameterJSON, len(f.Parameters))
			}
			for k, p := range f.Parameters {
				out[i].Parameters[k] = parameterJSON{p.Name, p.Type, p.Optional}
			}
		}
		return e.document(out)
	}
	if len(found) == 0 {
		e.printf("this program has registered no functions; jobs may be commands")
		return nil
	}
	t := newTable("Task", "Defined at", "Documentation")
	for _, f := range found {
		t.add(signature(f), fmt.Sprintf("%s:%d", f.File, f.Line), clip(line(f.Doc), 100))
	}
	e.print(t.render(e.streams))
	return nil
}
