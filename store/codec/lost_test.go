package codec

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jobcontrol/jobcontrol"
)

// TestPolicyOf: what is no JSON, or says nothing, has the defaults.
func TestPolicyOf(t *testing.T) {
	for definition, want := range map[string]Policy{
		"": {MaxLost: 3}, "no JSON": {MaxLost: 3}, "{}": {MaxLost: 3}, `{"on_lost":"retry"}`: {MaxLost: 3},
		`{"max_lost":0}`: {}, `{"max_lost":7,"cleanup":{"shell":"true"}}`: {MaxLost: 7, Cleanup: true}, `{"cleanup":null}`: {MaxLost: 3},
		`{"max_lost":7,"on_lost":"fail"}`: {Fatal: true}, `{"max_lost":"7","on_lost":"fail"}`: {Fatal: true}, `{"on_lost":"fail"} x`: {MaxLost: 3},
	} {
		if d := cmp.Diff(want, PolicyOf([]byte(definition))); d != "" {
			t.Errorf("%s (-want +got):\n%s", definition, d)
		}
	}
}

// TestPackLost: the failure says which process is gone, and how often that was so.
func TestPackLost(t *testing.T) {
	at := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	for lost, want := range map[int]string{1: "lost with its worker (process 42)", 3: "lost with its worker (process 42) 3 times"} {
		p, err := PackLost(jobcontrol.Claim{Build: 5, Worker: 6, Number: 7}, jobcontrol.Attempt{Number: 8, StartedAt: at, FinishedAt: at.Add(time.Second)},
			jobcontrol.Process{PID: 42}, lost)
		if err != nil {
			t.Fatal(err)
		}
		a, err := DecodeAttempt(5, p.Data)
		if err != nil || a.Number != 8 || a.Worker != 6 || a.Claim != 7 || !a.StartedAt.Equal(at) || !a.FinishedAt.Equal(at.Add(time.Second)) {
			t.Errorf("%+v, %v", a, err)
		}
		f, err := DecodeFailure(p.Whole, nil)
		if err != nil || f.Kind != jobcontrol.FailLost || f.Message != want || len(f.Report) != 16 || p.State != jobcontrol.Failed {
			t.Errorf("%+v, %v", f, err)
		}
	}
}

// TestInterrupted: a Run that has something to execute ended with its process.
func TestInterrupted(t *testing.T) {
	suspended := jobcontrol.Counts{jobcontrol.Suspended: 2, jobcontrol.Waiting: 1}
	for _, test := range []struct {
		counts  jobcontrol.Counts
		process jobcontrol.Process
		want    string
	}{
		{nil, jobcontrol.Process{}, "interrupted: its program ended before the run was done"},
		{nil, jobcontrol.Process{PID: 4, Host: "h"}, "interrupted: process 4 on h ended before the run was done"},
		{suspended, jobcontrol.Process{PID: 4}, "interrupted: 2 of its builds are suspended and wait for a decision"},
		{
			jobcontrol.Counts{jobcontrol.Suspended: 2, jobcontrol.Scheduled: 1},
			jobcontrol.Process{PID: 4},
			"interrupted: process 4 ended before the run was done",
		},
	} {
		if got := Interrupted(test.counts, test.process); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}
