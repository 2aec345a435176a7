package cli

import (
	"context"
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
)

// values are the local or the shared ones.
type values struct {
	name, short string
	get         func(context.Context, *executor.Teller, string) (value json.RawMessage, version int64, err error)
	set         func(context.Context, *executor.Teller, string, json.RawMessage, int64) error
	keys        func(*executor.Teller, context.Context) ([]string, error)
	versioned   bool
}

func localValues() values {
	return values{
		name: "local", short: "Values of this attempt: check, run, recheck and cleanup share them",
		get: func(ctx context.Context, t *executor.Teller, key string) (json.RawMessage, int64, error) {
			v, found, err := t.Local(ctx, key)
			if !found {
				return nil, 0, err
			}
			return v, 1, err
		},
		set: func(ctx context.Context, t *executor.Teller, key string, v json.RawMessage, _ int64) error {
			return t.SetLocal(ctx, key, v)
		},
		keys: (*executor.Teller).LocalKeys,
	}
}

func sharedValues() values {
	return values{
		name: "shared", short: "Values of this run: all of its builds share them", versioned: true,
		get: func(ctx context.Context, t *executor.Teller, key string) (json.RawMessage, int64, error) {
			return t.Shared(ctx, key)
		},
		set: func(ctx context.Context, t *executor.Teller, key string, v json.RawMessage, version int64) error {
			_, err := t.SetShared(ctx, key, v, version)
			return err
		},
		keys: (*executor.Teller).SharedKeys,
	}
}

// newTellValues is a command for values, with get, set and keys.
func newTellValues(e *environment, v values) *cobra.Command {
	cmd := &cobra.Command{
		Use:   v.name,
		Short: v.short,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("`"+cmd.CommandPath()+" --help`", "%s wants get, set or keys", cmd.CommandPath())
			}
			return unknownCommand(cmd, args[0])
		},
		RunE: func(*cobra.Command, []string) error { return nil }, // Args refuses everything
	}
	cmd.AddCommand(newTellGet(e, v), newTellSet(v), newTellKeys(e, v))
	return cmd
}

func newTellGet(e *environment, v values) *cobra.Command {
	var withVersion bool
	cmd := &cobra.Command{
		Use:   "get KEY",
		Short: "Print a value as JSON; exit status 3 if there is none",
		Args:  arguments(1, 1, "a key"),
		RunE: withTeller(func(ctx context.Context, t *executor.Teller, args []string) error {
			data, version, err := v.get(ctx, t, args[0])
			switch {
			case err != nil:
				return err
			case version == 0:
				return jobcontrol.Errorf(jobcontrol.NotFound, "there is no %s value %q", v.name, args[0])
			case withVersion:
				e.printf("%d %s", version, data)
			default:
				e.printf("%s", data)
			}
			return nil
		}),
	}
	if v.versioned {
		cmd.Flags().BoolVar(&withVersion, "with-version", false, "print the version, a space and the value")
	}
	return cmd
}

func newTellSet(v values) *cobra.Command {
	version := int64(-1)
	cmd := &cobra.Command{
		Use:   "set KEY JSON",
		Short: "Set a value",
		Args:  arguments(2, 2, "a key and a value as JSON"),
		RunE: withTeller(func(ctx context.Context, t *executor.Teller, args []string) error {
			data, err := jsonArgument(args[1])
			if err != nil {
				return err
			}
			return v.set(ctx, t, args[0], data, version)
		}),
	}
	if v.versioned {
		cmd.Flags().Int64Var(&version, "if-version", -1, "only if it has this `version` (0: if there is none)")
	}
	return cmd
}

func newTellKeys(e *environment, v values) *cobra.Command {
	return &cobra.Command{
		Use:   "keys",
		Short: "Print the keys, one per line",
		Args:  arguments(0, 0, "no argument"),
		RunE: withTeller(func(ctx context.Context, t *executor.Teller, _ []string) error {
			list, err := v.keys(t, ctx)
			for _, k := range list {
				e.printf("%s", k)
			}
			return err
		}),
	}
}
