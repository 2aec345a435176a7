// Command jobcontrol runs jobs and keeps their story. See `jobcontrol --help`.
package main

import (
	"os"

	"github.com/jobcontrol/jobcontrol/cli"
)

// version is set by the linker.
var version string

func main() {
	os.Exit(cli.Program{Version: version}.Main())
}
