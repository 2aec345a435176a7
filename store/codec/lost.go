package codec

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/jobcontrol/jobcontrol"
)

// Policy is what a definition says of its builds that stores want to know.
type Policy struct {
	MaxLost int  // how many attempts of a build may be lost
	Fatal   bool // on_lost: fail, of a job that executes something; MaxLost is 0 then
	Cleanup bool // there is a clean-up step
}

// PolicyOf reads a definition. One that is no JSON has the defaults.
func PolicyOf(definition []byte) Policy {
	var job struct {
		MaxLost *int            `json:"max_lost"`
		OnLost  string          `json:"on_lost"`
		Cleanup json.RawMessage `json:"cleanup"`
		ForEach json.RawMessage `json:"for_each"`
	}
	_ = json.Unmarshal(definition, &job) // see above
	p := Policy{Fatal: job.OnLost == "fail" && len(job.ForEach) == 0, Cleanup: len(job.Cleanup) > 0 && string(job.Cleanup) != "null"}
	if !p.Fatal {
		p.MaxLost = (&jobcontrol.Job{MaxLost: job.MaxLost}).MaxLostOrDefault()
	}
	return p
}

// Fate is how a worker came to be gone.
type Fate int

// The fates of workers.
const (
	Left    Fate = iota // it said so itself: nothing counts as lost
	Expired             // its lease ended, or its machine was started anew; nobody saw what became of its process
	Died                // its process is gone
)

// Suspect tells whether a build is a suspect that such a worker was executing,
// having been lost so often with that time; limit is how often it may be. A lease
// that ended is more often the work of a net that was cut, and then for all that
// the worker had, than of a build that killed its machine: that is found the second
// time, or before the last.
func (f Fate) Suspect(lost, limit int) bool {
	return f == Died || f == Expired && (lost > 1 || lost >= limit)
}

// PackLost encodes an attempt that ended with its worker, a process that is gone:
// its number and times are those of a, and lost is how many attempts of the build
// were lost with it.
func PackLost(c jobcontrol.Claim, a jobcontrol.Attempt, p jobcontrol.Process, lost int) (*Packed, error) {
	var report [8]byte
	_, _ = rand.Read(report[:]) // never fails (crypto/rand)
	times := ""
	if lost != 1 {
		times = fmt.Sprintf(" %d times", lost)
	}
	a.Failure = &jobcontrol.Failure{
		Kind: jobcontrol.FailLost, Report: hex.EncodeToString(report[:]),
		Message: fmt.Sprintf("lost with its worker (process %d)%s", p.PID, times),
	}
	return Pack(c, jobcontrol.Ended{State: jobcontrol.Failed, Attempt: a}, a.FinishedAt)
}

// Interrupted is the message of a Run of several builds whose process is gone.
func Interrupted(counts jobcontrol.Counts, p jobcontrol.Process) string {
	if n := counts[jobcontrol.Suspended]; n > 0 && counts[jobcontrol.Queued]+counts[jobcontrol.Scheduled] == 0 {
		return fmt.Sprintf("interrupted: %d of its builds are suspended and wait for a decision", n)
	}
	name := "its program"
	if p.PID != 0 {
		name = fmt.Sprintf("process %d", p.PID)
	}
	if p.Host != "" {
		name += " on " + p.Host
	}
	return fmt.Sprintf("interrupted: %s ended before the run was done", name)
}
