//go:build failpoints

package fault

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// Enabled says whether the fail points are compiled in.
const Enabled = true

// The environment variables that steer the fail points.
const (
	specVariable  = "JOBCONTROL_FAILPOINTS"
	traceVariable = "JOBCONTROL_FAILPOINTS_TRACE"
)

// process has the fail points of this process, as its environment has them at the first hit.
var process = sync.OnceValue(func() *points {
	p, err := newPoints(os.Getenv(specVariable), os.Getenv(traceVariable))
	if err != nil {
		exit(err)
	}
	return p
})

// Point marks a place named name where a fault can be injected. It returns nil, or the injected error; it may delay
// its caller, or stop or kill the process. Any number of goroutines may call it.
func Point(name string) error { return process().hit(name) }

// points are the rules of one specification and how often their points were hit.
type points struct {
	rules map[string][]rule // never written after newPoints
	trace *os.File          // nil: no trace

	mu   sync.Mutex
	hits map[string]int // of the points that have rules
}

// newPoints reads a specification and opens the trace file; either may be empty.
func newPoints(spec, trace string) (*points, error) {
	rules, err := parse(spec)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", specVariable, err)
	}
	p := &points{rules: rules, hits: map[string]int{}}
	if trace != "" {
		p.trace, err = os.OpenFile(trace, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", traceVariable, err)
		}
	}
	return p, nil
}

func (p *points) hit(name string) error {
	if p.trace != nil {
		// One write, so that lines of several processes do not mix.
		if _, err := p.trace.WriteString(name + "\n"); err != nil {
			exit(fmt.Errorf("%s: %w", traceVariable, err))
		}
	}
	rules := p.rules[name]
	if rules == nil {
		return nil
	}
	p.mu.Lock()
	p.hits[name]++
	n := p.hits[name]
	p.mu.Unlock()

	for _, r := range rules {
		if r.at != 0 && r.at != n {
			continue
		}
		switch r.action {
		case kill:
			killSelf()
		case stop:
			stopSelf()
		case delay:
			time.Sleep(r.delay)
		case fail:
			return errors.New("fault: injected at " + name)
		}
	}
	return nil
}

// exit ends the process because the faults that were asked for cannot be injected.
func exit(err error) {
	fmt.Fprintln(os.Stderr, "fault:", err)
	os.Exit(2)
}
