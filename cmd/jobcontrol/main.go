// Command jobcontrol runs jobs and keeps their story. See `jobcontrol --help`.
package main

import (
	"os"
	"runtime"

	"github.com/jobcontrol/jobcontrol/cli"
)

// version is set by the linker.
var version string

func main() {
	// Never touched, so it takes no memory, but counts for the garbage collector:
	// it need not run for a heap that is smaller.
	ballast := make([]byte, 32<<20)
	status := cli.Program{Version: version}.Main()
	runtime.KeepAlive(ballast)
	os.Exit(status)
}
