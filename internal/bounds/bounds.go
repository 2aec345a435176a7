// Package bounds lets a test hold that code needs little time and memory,
// whatever it is given. Fuzz targets do so for each input.
//
// The bounds are far above what any input of a few kilobytes needs and far below
// what a runaway needs. A busy machine can stop a program at any moment, so code
// that was beyond a bound is tried again, and its best try counts.
package bounds

import (
	"runtime/metrics"
	"testing"
	"time"
)

// What one call may need.
const (
	Time   = 2 * time.Second
	Memory = 64 << 20 // bytes, those that were freed meanwhile included
)

// Hold calls do, and fails the test if it needs more than [Time] or [Memory]. What
// do does must be the same whenever it is called.
func Hold(t testing.TB, do func()) {
	t.Helper()
	took, needed := measure(do)
	for range 2 {
		if took <= Time && needed <= Memory {
			return
		}
		again, less := measure(do)
		took, needed = min(took, again), min(needed, less)
	}
	if took > Time {
		t.Errorf("it needs %v, more than %v", took, Time)
	}
	if needed > Memory {
		t.Errorf("it needs %d bytes of memory, more than %d", needed, Memory)
	}
}

func measure(do func()) (took time.Duration, needed uint64) {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	before, begin := s[0].Value.Uint64(), time.Now()
	do()
	took = time.Since(begin)
	metrics.Read(s)
	return took, s[0].Value.Uint64() - before
}
