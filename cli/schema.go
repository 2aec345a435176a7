package cli

import (
	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol/config"
)

func newSchema(e *environment) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the file, for editors",
		Long: `Print the JSON Schema of the file: with it an editor completes keys and says what
they are for. It is about the file as it is after its templates.

Write it to a file and name that in the first line of yours:

  # yaml-language-server: $schema=jobcontrol.schema.json

In the settings of the editor, yaml.customTags may want "!retval scalar",
"!retval mapping", "!secret scalar", "!env scalar" and "!env mapping".`,
		Example: `  jobcontrol schema > jobcontrol.schema.json`,
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			data, err := config.Schema()
			if err == nil {
				e.print(string(data))
			}
			return err
		},
	}
}
