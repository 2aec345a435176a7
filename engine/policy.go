package engine

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// maxBackoff is the longest delay of an exponential backoff.
const maxBackoff = time.Hour

// Next says what follows an attempt of a build that ended failed: whether it is
// tried again and not before when. It turns an attempt that asked to be tried
// again too often into a failure.
func Next(b *jobcontrol.Build, j *jobcontrol.Job, e *jobcontrol.Ended) (again bool, at time.Time) {
	f := e.Attempt.Failure
	if e.State != jobcontrol.Failed || f == nil || !f.Kind.Repeatable() {
		return false, time.Time{}
	}
	if f.Kind == jobcontrol.FailRetry {
		if b.Asked >= jobcontrol.MaxAskedRetries {
			c := *f // it was told already
			c.Message = fmt.Sprintf("asked to be tried again more than %d times: %s", jobcontrol.MaxAskedRetries, f.Message)
			e.Attempt.Failure = &c
			return false, time.Time{}
		}
		delay := f.After
		if delay <= 0 {
			delay = b.RetryDelay
		}
		return true, e.Attempt.FinishedAt.Add(min(delay, 365*24*time.Hour))
	}
	used := b.TriesUsed + 1
	if used >= b.Tries {
		return false, time.Time{}
	}
	from := e.Attempt.StartedAt
	if j.RetryFrom == "end" {
		from = e.Attempt.FinishedAt
	}
	return true, from.Add(Delay(b.RetryDelay, j.Backoff, used, rand.Float64()))
}

// Delay is the time before the attempt that follows used tries: base, or with
// backoff "exponential" base doubled for each further one, varied by up to a
// tenth by jitter (0 to 1), at least base and at most an hour (or base, if that
// is longer).
func Delay(base time.Duration, backoff string, used int, jitter float64) time.Duration {
	if backoff != "exponential" || base <= 0 {
		return max(base, 0)
	}
	d := base
	for i := 1; i < used && d < maxBackoff; i++ {
		d *= 2
	}
	d = max(base, min(d, maxBackoff))
	d += -d/10 + time.Duration(jitter*float64(d)/5)
	return max(base, min(d, maxBackoff))
}

// TimedOutSoftly tells whether an attempt failed by its soft timeout.
func TimedOutSoftly(e *jobcontrol.Ended) bool {
	f := e.Attempt.Failure
	return e.State == jobcontrol.Failed && f != nil && f.Kind == jobcontrol.FailTimeout && f.Soft
}

// Fallback returns the service where a build that failed by its soft timeout gets
// one extra try: that of its service, unless the build is there already; "": none.
func Fallback(b *jobcontrol.Build, services []jobcontrol.ServiceStatus) string {
	name := cmp.Or(b.Service, jobcontrol.DefaultService)
	for i := range services {
		if s := &services[i]; s.Name == name && s.Fallback != name {
			return s.Fallback
		}
	}
	return ""
}
