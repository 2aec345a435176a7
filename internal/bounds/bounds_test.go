package bounds_test

import (
	"testing"

	"github.com/jobcontrol/jobcontrol/internal/bounds"
)

// failures counts what a test is told.
type failures struct {
	testing.TB
	n int
}

func (f *failures) Helper()               {}
func (f *failures) Errorf(string, ...any) { f.n++ }

var sink []byte

func TestHold(t *testing.T) {
	var f failures
	bounds.Hold(&f, func() { sink = make([]byte, bounds.Memory/2) })
	if f.n != 0 {
		t.Error("what is within the bounds fails")
	}
	bounds.Hold(&f, func() { sink = make([]byte, 2*bounds.Memory) })
	if f.n != 1 {
		t.Errorf("what needs too much memory fails %d times", f.n)
	}
	calls := 0
	bounds.Hold(&f, func() {
		if calls++; calls == 1 {
			sink = make([]byte, 2*bounds.Memory)
		}
	})
	if f.n != 1 || calls != 2 {
		t.Errorf("what was beyond a bound once fails, or is called %d times", calls)
	}
}
