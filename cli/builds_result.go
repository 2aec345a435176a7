package cli

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
)

func newBuildsResult(e *environment) *cobra.Command {
	return &cobra.Command{
		Use:   "result N",
		Short: "Print the result of a build, as JSON",
		Long: `Print the result of a build, as JSON. A build that changed nothing and returned
nothing has the result of the build before it. One without a result prints null.`,
		Args: arguments(1, 1, "the number of a build"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := e.buildNumber(cmd, args[0])
			if err != nil {
				return err
			}
			return showResult(cmd.Context(), e, id)
		},
	}
}

func showResult(ctx context.Context, e *environment, id int64) error {
	s, err := e.open(ctx, needStore, 0)
	if err != nil {
		return err
	}
	defer s.close()
	result, err := resultOf(ctx, s.client, id)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, result, "", "  "); err != nil {
		return jobcontrol.Errorf(jobcontrol.Internal, "result of build %d: %v", id, err)
	}
	out.WriteByte('\n')
	e.print(out.String())
	return nil
}

// resultOf returns the JSON of a build's result, following builds whose result
// is that of an earlier one.
func resultOf(ctx context.Context, c jobcontrol.Reader, id int64) (json.RawMessage, error) {
	first := id
	for range 100 {
		b, err := c.Build(ctx, id)
		if err != nil {
			return nil, orRun(ctx, c, err, id)
		}
		switch {
		case !b.State.Final():
			return nil, &jobcontrol.Error{
				Code: jobcontrol.Conflict, Message: "build " + itoa(id) + " has no result yet: it is " + b.State.String(),
				Hint: "`jobcontrol builds log -f " + itoa(id) + "` waits for its end",
			}
		case !b.State.Satisfied():
			return nil, &jobcontrol.Error{
				Code: jobcontrol.Conflict, Message: "build " + itoa(id) + " has no result: it is " + b.State.String(),
				Hint: "`jobcontrol builds show " + itoa(id) + "` says why",
			}
		case b.ResultOf != 0 && b.ResultOf != id:
			id = b.ResultOf
		case len(b.Result) == 0:
			return json.RawMessage("null"), nil
		default:
			return b.Result, nil
		}
	}
	return nil, jobcontrol.Errorf(jobcontrol.Internal, "the results of build %d and others refer to each other", first)
}
