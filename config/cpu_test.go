package config_test

import (
	"syscall"
	"testing"
	"time"
)

// cpu is the processor time that this process and its ended children have used:
// unlike a clock it does not count what else a busy machine does.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var sum time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			t.Fatal(err)
		}
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}
