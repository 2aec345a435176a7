package jobcontrol

import (
	"context"
	"fmt"
	"time"
)

// Severity says how bad a [Finding] is.
type Severity string

// The severities.
const (
	SeverityOK      Severity = "ok"
	SeverityWarning Severity = "warning" // it works, and somebody should look at it
	SeverityError   Severity = "error"   // it does not work, or soon will not
)

// Finding is what was found when a part of a store was looked at.
type Finding struct {
	Check    string   `json:"check"` // what was looked at, such as schema or clock
	Severity Severity `json:"severity"`
	Text     string   `json:"text"`
	Mend     string   `json:"mend,omitempty"` // what to do about it
}

// Examiner is a [Store] that can examine itself: an optional ability. Doctor
// changes nothing, and also works where the schema is missing or of another
// version; then the first finding of severity error says so. An error is for
// what keeps it from looking at all.
type Examiner interface {
	Doctor(ctx context.Context) ([]Finding, error)
}

const (
	skewWarning    = time.Second      // between the store's clock and ours
	overdueWarning = 10 * time.Second // of a scheduled build
)

// Examine looks at a store: what it says of itself, its clock, its workers, and
// what of a project waits for somebody.
func Examine(ctx context.Context, s Store, project string) ([]Finding, error) {
	var found []Finding
	if x, ok := s.(Examiner); ok {
		own, err := x.Doctor(ctx)
		if err != nil {
			return nil, err
		}
		found = own
		for _, f := range own {
			if f.Check == "schema" && f.Severity == SeverityError {
				return found, nil // nothing else can be read
			}
		}
	}
	var now time.Time
	one := func(f Finding, err error) ([]Finding, error) { return []Finding{f}, err }
	for _, look := range []func() ([]Finding, error){
		func() ([]Finding, error) {
			f, at, err := examineClock(ctx, s)
			now = at
			return one(f, err)
		},
		func() ([]Finding, error) { return one(examineWorkers(ctx, s, now)) },
		func() ([]Finding, error) { return examineQueue(ctx, s, project) },
		func() ([]Finding, error) { return one(examineScheduled(ctx, s, project, now)) },
		func() ([]Finding, error) { return one(examineInterrupted(ctx, s, project)) },
	} {
		f, err := look()
		if err != nil {
			return found, err
		}
		found = append(found, f...)
	}
	return found, nil
}

// examineClock compares the store's clock with ours, as exactly as the time that
// asking takes allows.
func examineClock(ctx context.Context, s Store) (Finding, time.Time, error) {
	before := time.Now()
	now, err := s.Now(ctx)
	if err != nil {
		return Finding{}, now, err
	}
	took := time.Since(before)
	skew := now.Sub(before.Add(took / 2))
	f := Finding{Check: "clock", Severity: SeverityOK, Text: fmt.Sprintf(
		"the store's clock and this machine's differ by %v, give or take %v", round(skew.Abs()), round(took/2))}
	if skew.Abs() > skewWarning+took/2 {
		f.Severity = SeverityWarning
		f.Mend = "leases do not depend on it, but times that people see do: let both machines keep time (NTP)"
	}
	return f, now, nil
}

// round leaves the digits that matter to people.
func round(d time.Duration) time.Duration {
	if d > time.Second {
		return d.Round(10 * time.Millisecond)
	}
	return d.Round(10 * time.Microsecond)
}

func examineWorkers(ctx context.Context, s Store, now time.Time) (Finding, error) {
	workers, err := s.Workers(ctx)
	if err != nil {
		return Finding{}, err
	}
	f := Finding{Check: "workers", Severity: SeverityOK, Text: fmt.Sprintf("%d with a valid lease", len(workers))}
	for i := range workers {
		w := &workers[i]
		ago := now.Sub(w.LeaseUntil)
		if ago <= 0 {
			continue
		}
		f.Severity = SeverityWarning
		f.Text = fmt.Sprintf("worker %d (process %d on %s): its lease ended %v ago", w.ID, w.Process.PID, w.Process.Host, ago.Round(time.Second))
		f.Mend = "the next command or worker takes over what it was executing, unless its process is seen to live: look what it does"
		break
	}
	return f, nil
}

// examineQueue looks for builds that nobody takes: the first finding is of all
// services, each other one of a service that is paused.
func examineQueue(ctx context.Context, s Store, project string) ([]Finding, error) {
	services, err := s.Services(ctx, project)
	if err != nil {
		return nil, err
	}
	workers, err := s.Workers(ctx)
	if err != nil {
		return nil, err
	}
	f := Finding{Check: "queue", Severity: SeverityOK}
	queued, active := 0, 0
	for i := range services {
		queued += services[i].Queued
		active += services[i].Claimed + services[i].Running
	}
	f.Text = fmt.Sprintf("%s queued, %d claimed or running", number(queued, "build is", "builds are"), active)
	if queued > 0 && len(workers) == 0 {
		f.Severity, f.Mend = SeverityWarning, "no worker is there: start `jobcontrol worker`"
	}
	found := []Finding{f}
	for i := range services {
		if v := &services[i]; v.Queued > 0 && v.Paused {
			found = append(found, Finding{
				Check: "queue", Severity: SeverityWarning, Mend: "`jobcontrol services resume " + v.Name + "`",
				Text: fmt.Sprintf("service %s is paused, with %s queued", v.Name, number(v.Queued, "build", "builds")),
			})
		}
	}
	return found, nil
}

// number is a number with its word.
func number(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// examineScheduled looks for builds whose time has come and that nobody promoted.
func examineScheduled(ctx context.Context, s Store, project string, now time.Time) (Finding, error) {
	f := Finding{Check: "scheduled", Severity: SeverityOK, Text: "no scheduled build is overdue"}
	const most = 1000
	builds, err := s.ListBuilds(ctx, BuildFilter{Project: project, States: []State{Scheduled}, Asc: true, Limit: most, Brief: true})
	if err != nil {
		return f, err
	}
	overdue := 0
	var oldest *Build
	for i := range builds {
		b := &builds[i]
		if b.ReadyAt.IsZero() || now.Sub(b.ReadyAt) < overdueWarning {
			continue
		}
		overdue++
		if oldest == nil || b.ReadyAt.Before(oldest.ReadyAt) {
			oldest = b
		}
	}
	if overdue > 0 {
		f.Severity = SeverityWarning
		f.Text = fmt.Sprintf("%s overdue, build %d by %v", number(overdue, "scheduled build is", "scheduled builds are"), oldest.ID, now.Sub(oldest.ReadyAt).Round(time.Second))
		f.Mend = "workers promote them: start `jobcontrol worker`, or see whether the Run was interrupted"
	}
	return f, nil
}

func examineInterrupted(ctx context.Context, s Store, project string) (Finding, error) {
	const most = 100
	runs, err := s.ListRuns(ctx, RunFilter{Project: project, States: []RunState{RunInterrupted}, Limit: most})
	if err != nil {
		return Finding{}, err
	}
	f := Finding{Check: "interrupted", Severity: SeverityOK, Text: "no Run waits for a decision"}
	if n := len(runs); n > 0 {
		f.Severity = SeverityWarning
		f.Text = fmt.Sprintf("%s for a decision, the latest is %d", number(n, "interrupted Run waits", "interrupted Runs wait"), runs[0].ID)
		if n == most {
			f.Text = fmt.Sprintf("%d or more interrupted Runs wait for a decision, the latest is %d", n, runs[0].ID)
		}
		f.Mend = "`jobcontrol runs resume N` or `jobcontrol runs cancel N`"
	}
	return f, nil
}
