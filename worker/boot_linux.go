package worker

import (
	"time"

	"golang.org/x/sys/unix"
)

// sinceBoot is a clock that all processes share and that goes on while the
// machine sleeps, as leases do.
func sinceBoot() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // cannot fail
	return time.Duration(ts.Nano())
}
