package cli

import (
	"context"
	_ "embed"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

//go:embed starter.yaml
var starter string

func newInit(e *environment) *cobra.Command {
	return &cobra.Command{
		Use:   "init [DIR]",
		Short: "Write a file to start with",
		Long: `Write jobcontrol.yaml, a commented file with a few jobs that run, into the
directory, by default this one. A file that is there already is left alone.`,
		Args: arguments(0, 1, "at most one directory"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) == 1 {
				dir = args[0]
			}
			return initialise(cmd.Context(), e, dir)
		},
	}
}

func initialise(_ context.Context, e *environment, dir string) error {
	path := filepath.Join(dir, "jobcontrol.yaml")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return &jobcontrol.Error{Code: jobcontrol.Invalid, Cause: err}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	switch {
	case errors.Is(err, fs.ErrExist):
		return &jobcontrol.Error{Code: jobcontrol.Conflict, Message: path + " exists already", Hint: "name another directory: jobcontrol init DIR"}
	case err != nil:
		return &jobcontrol.Error{Code: jobcontrol.Invalid, Cause: err}
	}
	_, err = f.WriteString(starter)
	if err = errors.Join(err, f.Close()); err != nil {
		return &jobcontrol.Error{Code: jobcontrol.Internal, Message: "write " + path, Cause: err}
	}
	if e.json() {
		return e.document(map[string]string{"file": path})
	}
	e.printf("%s is written; now", line(path))
	if dir != "." {
		e.printf("  cd %s", shellWord(line(dir)))
	}
	e.print("  jobcontrol jobs       # what there is\n" +
		"  jobcontrol plan all   # what would be done, and why\n" +
		"  jobcontrol run all    # do it; then once more\n")
	return nil
}
