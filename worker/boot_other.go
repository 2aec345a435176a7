//go:build !linux

package worker

import "time"

// start is when this process began; its monotonic clock is the best there is here.
var start = time.Now()

// sinceBoot is a clock that only grows.
func sinceBoot() time.Duration { return time.Since(start) }
