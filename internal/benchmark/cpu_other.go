//go:build !unix

package benchmark

import "time"

// cpuTime cannot be told here.
func cpuTime() time.Duration { return 0 }
