package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

const rootHelp = `Run jobs: work that depends on other work, may fail, and whose story is kept.

Jobs are described in a file, jobcontrol.yaml. A job that can say whether its
work is already done is only run when it is not: run the same file again and it
gets closer to completion, never further away. Every execution is a build that
is kept, with its log, its result and, if it failed, why.

  jobcontrol init          write a file to start with
  jobcontrol plan all      say what would be done, and why
  jobcontrol run all       do it
  jobcontrol builds        see what was done

Exit status:
  0    done
  1    some build failed
  2    usage or configuration
  3    there is no such job, build or run
  4    the state does not allow it, or a confirmation is missing
  5    the store cannot be reached or written
  130  interrupted by a signal

Environment:
  JOBCONTROL_CONFIG_FILE  the file, where --config-file does not name one
  NO_COLOR                no colours, if not empty
  TERM, COLORTERM         what the terminal can; dumb: no colours, no picture that moves
  PGHOST, PGPASSWORD …    as for psql, where the store is PostgreSQL`

// The groups of the commands in the help.
const (
	groupFile  = "file"
	groupDo    = "do"
	groupLook  = "look"
	groupWork  = "work"
	groupStore = "store"
)

// newRoot returns the whole tree of commands.
func newRoot(e *environment) *cobra.Command {
	root := &cobra.Command{
		Use:           "jobcontrol",
		Short:         "Run jobs and keep their story",
		Long:          rootHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
	}
	f := root.PersistentFlags()
	f.StringVarP(&e.file, "config-file", "c", "", "the `file` with the jobs (default $JOBCONTROL_CONFIG_FILE, else jobcontrol.yaml)")
	f.StringVar(&e.storage, "storage", "", "the store: a `url` sqlite:PATH, postgresql://… or memory: (default the file's, else .jobcontrol/state.db beside it)")
	f.StringVar(&e.format, "format", "human", "what standard output has: `form` human or json")
	_ = root.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"human", "json"}, cobra.ShellCompDirectiveNoFileComp))
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		e.understood = true
		if e.format != "human" && e.format != "json" {
			return usage("use human or json", "--format %q is not known", e.format)
		}
		return nil
	}
	root.SetFlagErrorFunc(flagError)
	root.SetIn(e.in)
	root.SetOut(writer(e.print))
	root.SetErr(writer(e.tell))
	addCommands(root, e)
	return root
}

// addCommands adds the commands in their groups.
func addCommands(root *cobra.Command, e *environment) {
	root.SetHelpCommandGroupID(groupStore)
	root.SetCompletionCommandGroupID(groupStore)
	root.AddGroup(
		&cobra.Group{ID: groupFile, Title: "The file:"},
		&cobra.Group{ID: groupDo, Title: "Do:"},
		&cobra.Group{ID: groupLook, Title: "Look:"},
		&cobra.Group{ID: groupWork, Title: "Workers:"},
		&cobra.Group{ID: groupStore, Title: "The program and its store:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupFile, newInit(e), newValidate(e), newSchema(e), newDumpConfig(e), newTasks(e))
	add(groupDo, newPlan(e), newRun(e), newBuild(e), newTell(e))
	add(groupLook, newJobs(e), newWhy(e), newSearch(e), newGraph(e), newBuilds(e), newRuns(e))
	add(groupWork, newWorker(e), newServe(e), newWorkers(e), newServices(e))
	root.AddCommand(newRescue(e))
	root.AddCommand(oldNames(e)...)
	add(groupStore, newInstall(e), newUninstall(e), newDoctor(e), newPrune(e), newBackup(e), newRestore(e), newBench(e), newVersion(e))
}

// execute executes one command line and returns the exit status.
func (e *environment) execute(ctx context.Context, args []string) int {
	root := newRoot(e)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		err = e.failed()
	case !e.understood && codeOf(err) == jobcontrol.Internal: // the library's own
		err = usage("", "%v", err)
	}
	return e.fail(err)
}

// fail reports an error and returns the exit status for it.
func (e *environment) fail(err error) int {
	if err == nil {
		return 0
	}
	if r := (reported{}); errors.As(err, &r) {
		return r.code.ExitStatus()
	}
	code := codeOf(err)
	if e.interrupted.Load() && (errors.Is(err, context.Canceled) || code == jobcontrol.Interrupted) {
		err = &jobcontrol.Error{Code: jobcontrol.Interrupted, Message: "interrupted"}
		code = jobcontrol.Interrupted
	}
	if e.json() {
		e.tell(errorDocument(code, err))
	} else {
		e.tell(errorText(err))
	}
	return code.ExitStatus()
}

// codeOf is the code of an error; [jobcontrol.Problems] and the like have one too.
func codeOf(err error) jobcontrol.Code {
	code := jobcontrol.CodeOf(err)
	if code == jobcontrol.Internal && errors.Is(err, jobcontrol.ErrInvalid) {
		code = jobcontrol.Invalid
	}
	return code
}

// errorText is an error for people.
func errorText(err error) string {
	text := "jobcontrol: " + visible(strings.TrimRight(err.Error(), "\n")) + "\n"
	if places := diagnosticsOf(err); places != nil { // they show themselves
		text = visible(err.Error()) + "\njobcontrol: " + plural(len(places), "error") + " in the file\n"
	}
	if hint := jobcontrol.HintOf(err); hint != "" {
		text += "hint: " + visible(hint) + "\n"
	}
	return text
}

// errorDocument is an error for programs.
func errorDocument(code jobcontrol.Code, err error) string {
	body := struct {
		Error errorJSON `json:"error"`
	}{errorJSON{code, err.Error(), orNull(jobcontrol.HintOf(err)), diagnosticsOf(err)}}
	data, encodeErr := encodeJSON(body, "")
	if encodeErr != nil {
		return errorText(err)
	}
	return string(data)
}

// errorJSON is an error on standard error with --format json.
type errorJSON struct {
	Code    jobcontrol.Code `json:"code"`
	Message string          `json:"message"`
	Hint    *string         `json:"hint"`

	Diagnostics []diagnosticJSON `json:"diagnostics,omitempty"` // of a file
}

// diagnosticJSON is an error at its place in a file; line 0: the file as a whole.
type diagnosticJSON struct {
	File    string  `json:"file"`
	Line    int     `json:"line"`
	Column  int     `json:"column"`
	Message string  `json:"message"`
	Hint    *string `json:"hint"`
}

// unknownCommand refuses a word that is no command, and says which may be meant.
func unknownCommand(cmd *cobra.Command, name string) error {
	return usage(didYouMean(name, commandNames(cmd), cmd.CommandPath()+" --help"), "there is no command %q", cmd.CommandPath()+" "+name)
}

// commandNames are the commands of a command that its help shows.
func commandNames(cmd *cobra.Command) (names []string) {
	for _, c := range cmd.Commands() {
		if !c.Hidden {
			names = append(names, c.Name())
		}
	}
	return names
}

// flagError refuses a flag, and says which may be meant.
func flagError(cmd *cobra.Command, err error) error {
	hint := "`" + cmd.CommandPath() + " --help` lists the flags"
	if unknown, ok := err.(interface{ GetSpecifiedName() string }); ok && len(unknown.GetSpecifiedName()) > 1 {
		var names []string
		for l := range strings.Lines(cmd.Flags().FlagUsages() + cmd.InheritedFlags().FlagUsages()) {
			if _, rest, ok := strings.Cut(l, "--"); ok {
				names = append(names, strings.FieldsFunc(rest, func(r rune) bool { return r == ' ' || r == '[' || r == '\n' })[0])
			}
		}
		if near := jobcontrol.Nearest(unknown.GetSpecifiedName(), names); near != "" {
			hint = fmt.Sprintf("did you mean --%s?", near)
		}
	}
	return usage(hint, "%s: %v", cmd.CommandPath(), err)
}

func didYouMean(name string, names []string, help string) string {
	return cmp.Or(nearHint(name, names), "`"+help+"` lists the commands")
}

// arguments checks how many arguments a command has; what says which.
func arguments(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		hint := fmt.Sprintf("`%s`; more with --help", strings.TrimSuffix(cmd.UseLine(), " [flags]"))
		switch {
		case len(args) < least:
			return usage(hint, "%s wants %s", cmd.CommandPath(), what)
		case most >= 0 && len(args) > most && most == 0:
			return usage(hint, "%s takes no argument, got %q", cmd.CommandPath(), args[0])
		case most >= 0 && len(args) > most:
			return usage(hint, "%s wants %s, got %d arguments", cmd.CommandPath(), what, len(args))
		}
		return nil
	}
}

// writer makes an io.Writer of a function that writes text.
type writer func(text string)

// Write passes p on.
func (w writer) Write(p []byte) (int, error) {
	w(string(p))
	return len(p), nil
}
