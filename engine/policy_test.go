package engine_test

import (
	"testing"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/engine"
)

func TestFallback(t *testing.T) {
	services := []jobcontrol.ServiceStatus{
		{Service: jobcontrol.Service{Name: "default", Fallback: "slow"}},
		{Service: jobcontrol.Service{Name: "slow"}},
		{Service: jobcontrol.Service{Name: "own", Fallback: "own"}},
	}
	for service, want := range map[string]string{"": "slow", "default": "slow", "slow": "", "own": "", "unknown": ""} {
		if got := engine.Fallback(&jobcontrol.Build{Service: service}, services); got != want {
			t.Errorf("%q: got %q, want %q", service, got, want)
		}
	}
}
