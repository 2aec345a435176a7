package cli

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
)

func newTell(e *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tell",
		Short: "Inside a job's command: report progress, log, set the result",
		Long: `Talk to the build that this command belongs to. It works in the commands of jobs
and in what they start, and waits until what was told is done.

skip, retry, suspend and fail take effect when the job's command ends, whatever
its exit status. The last result counts.`,
		Example: `  jobcontrol tell progress "" 3 10                      # the build: 3 of 10
  jobcontrol tell progress "download::file 1" 20 100 "20 of 100 MB"
  jobcontrol tell log --level warning "the mirror is slow"
  jobcontrol tell result '{"pages": 12}'                # any JSON
  jobcontrol tell skip "nothing new"                    # the build ends skipped
  jobcontrol tell retry 30 "the server is busy"         # again in 30 s; uses no try
  jobcontrol tell suspend "the licence wants a person"
  jobcontrol tell fail "there is no such customer"      # not tried again
  jobcontrol tell local set total 12                    # for run, recheck, cleanup
  jobcontrol tell local get total
  jobcontrol tell shared set start '"18:00"'            # for all builds of the run
  jobcontrol tell shared get start || echo "nobody has said when"
  jobcontrol tell shared set turn 2 --if-version 1      # exit status 4 if it changed
  jobcontrol tell shared keys`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("`jobcontrol tell --help` has examples", "jobcontrol tell wants what to tell")
			}
			return unknownCommand(cmd, args[0])
		},
		RunE: func(*cobra.Command, []string) error { return nil }, // Args refuses everything
	}
	cmd.AddCommand(
		newTellProgress(), newTellLog(), newTellResult(),
		newTellEnd("skip", "End the build skipped: there was nothing to do", (*executor.Teller).Skip),
		newTellRetry(),
		newTellEnd("suspend", "Put the build aside until a person resumes it", (*executor.Teller).Suspend),
		newTellEnd("fail", "Fail the build without another try", (*executor.Teller).Fail),
		newTellValues(e, localValues()), newTellValues(e, sharedValues()),
	)
	return cmd
}

// withTeller calls f with the teller of the job that this program is part of.
func withTeller(f func(ctx context.Context, t *executor.Teller, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		t, err := executor.NewTeller()
		if err != nil {
			return err
		}
		return f(cmd.Context(), t, args)
	}
}

func newTellProgress() *cobra.Command {
	return &cobra.Command{
		Use:   "progress PATH CURRENT TOTAL [STATUS]",
		Short: `Report progress; PATH is "" for the build, or names joined by ::`,
		Args:  arguments(3, 4, "a path, two numbers and perhaps a status line"),
		RunE: withTeller(func(ctx context.Context, t *executor.Teller, args []string) error {
			p := jobcontrol.Progress{Path: jobcontrol.ProgressPath(args[0])}
			for i, to := range []**int64{&p.Current, &p.Total} {
				if args[i+1] == "" || args[i+1] == "-" {
					continue // not said: the sum of what is below
				}
				n, err := strconv.ParseInt(args[i+1], 10, 64)
				if err != nil {
					return usage(`a whole number, or "-" for the sum of what is below`, "%q is no number", args[i+1])
				}
				*to = &n
			}
			if len(args) == 4 {
				p.Status = args[3]
			}
			return t.Progress(ctx, p)
		}),
	}
}

func newTellLog() *cobra.Command {
	var level, name string
	var attrs []string
	cmd := &cobra.Command{
		Use:   "log MESSAGE",
		Short: "Add a record to the build's log",
		Args:  arguments(1, 1, "a message"),
	}
	cmd.RunE = withTeller(func(ctx context.Context, t *executor.Teller, args []string) error {
		r := jobcontrol.LogRecord{Logger: name, Message: args[0]}
		var err error
		if r.Level, err = jobcontrol.ParseLevel(level); err != nil {
			return err
		}
		for _, text := range attrs {
			k, v, ok := strings.Cut(text, "=")
			if !ok || k == "" {
				return usage("use --attr name=value", "--attr %q has no name and value", text)
			}
			if r.Attrs == nil {
				r.Attrs = map[string]any{}
			}
			r.Attrs[k] = value(v)
		}
		return t.Log(ctx, r)
	})
	cmd.Flags().StringVar(&level, "level", "info", "`level`: debug, info, warning, error or critical")
	cmd.Flags().StringVar(&name, "logger", "", "`name` of the logger (default job)")
	cmd.Flags().StringArrayVar(&attrs, "attr", nil, "attribute as `name=value`: JSON, else a string (repeatable)")
	return cmd
}

func newTellResult() *cobra.Command {
	return &cobra.Command{
		Use:   "result JSON",
		Short: "Set the build's result",
		Args:  arguments(1, 1, "the result as JSON"),
		RunE: withTeller(func(ctx context.Context, t *executor.Teller, args []string) error {
			data, err := jsonArgument(args[0])
			if err != nil {
				return err
			}
			return t.Result(ctx, data)
		}),
	}
}

// jsonArgument is an argument that must be JSON.
func jsonArgument(text string) (json.RawMessage, error) {
	if !json.Valid([]byte(text)) {
		return nil, usage(`a text wants its quotes too: '"text"'`, "%q is not JSON", clip(text, 60))
	}
	return json.RawMessage(text), nil
}

// newTellEnd is a command that says how the attempt ends.
func newTellEnd(name, short string, tell func(*executor.Teller, context.Context, string) error) *cobra.Command {
	return &cobra.Command{
		Use:   name + " [MESSAGE]",
		Short: short,
		Args:  arguments(0, 1, "at most one message"),
		RunE: withTeller(func(ctx context.Context, t *executor.Teller, args []string) error {
			return tell(t, ctx, strings.Join(args, " "))
		}),
	}
}

func newTellRetry() *cobra.Command {
	return &cobra.Command{
		Use:   "retry [TIME [MESSAGE]]",
		Short: "Have the build tried again, without using a try",
		Args:  arguments(0, 2, "a time and a message"),
		RunE: withTeller(func(ctx context.Context, t *executor.Teller, args []string) error {
			after, message := time.Duration(0), ""
			if len(args) > 0 {
				var err error
				if after, err = parseDuration(args[0]); err != nil {
					return usage("a number of seconds, or 5m, 1h30m; 0: the job's own", "%q is no time", args[0])
				}
			}
			if len(args) == 2 {
				message = args[1]
			}
			return t.Retry(ctx, after, message)
		}),
	}
}
