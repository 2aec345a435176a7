//go:build !failpoints

package fault_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/jobcontrol/jobcontrol/internal/fault"
)

func TestDisabled(t *testing.T) {
	t.Setenv("JOBCONTROL_FAILPOINTS", "a=error;b=kill;not even a rule")
	if fault.Enabled {
		t.Error("Enabled is true without the build tag")
	}
	for _, name := range []string{"a", "b", ""} {
		if err := fault.Point(name); err != nil {
			t.Errorf("Point(%q) = %v, want nil", name, err)
		}
	}
}

// TestCostsNothing holds that a fail point in an ordinary build leaves nothing behind.
func TestCostsNothing(t *testing.T) {
	out, err := exec.Command("go", "build", "-gcflags=-m", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "can inline Point") {
		t.Errorf("the compiler does not inline Point:\n%s", out)
	}
}
