package codec

import (
	"encoding/json"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// Packed is how an attempt ended, encoded before the transaction that stores it.
type Packed struct {
	jobcontrol.Ended
	Claim   jobcontrol.Claim
	Data    []byte          // the attempt, all but the failure
	Failure json.RawMessage // without frames, for the row of a build
	Frames  json.RawMessage // of the failure
	Whole   json.RawMessage // the failure with its frames, for a row of attempts
	Log     *Log            // nil: no records
}

// Pack encodes how an attempt ended; the given time stands in for that of log
// records without one.
func Pack(c jobcontrol.Claim, e jobcontrol.Ended, now time.Time) (*Packed, error) {
	p := &Packed{}
	return p, p.Pack(c, &e, now)
}

// Pack is the function of that name, into p.
func (p *Packed) Pack(c jobcontrol.Claim, e *jobcontrol.Ended, now time.Time) error {
	p.Ended, p.Claim = *e, c
	a := &p.Attempt
	a.Build, a.Worker, a.Claim = c.Build, c.Worker, c.Number
	a.StartedAt, a.FinishedAt = jobcontrol.Micros(a.StartedAt), jobcontrol.Micros(a.FinishedAt)
	if a.Number < 0 {
		return jobcontrol.Errorf(jobcontrol.Invalid, "build %d: attempt %d", c.Build, a.Number)
	}
	p.Data = EncodeAttempt(a)
	var err error
	if p.Failure, p.Frames, err = EncodeFailure(a.Failure); err != nil {
		return err
	}
	if a.Failure != nil {
		if p.Whole, err = json.Marshal(a.Failure); err != nil {
			return jobcontrol.Errorf(jobcontrol.Invalid, "build %d: failure: %v", c.Build, err)
		}
	}
	p.Log, err = PackLog(e.Logs, now)
	return err
}

// UsesTry is how many tries the attempt used.
func (p *Packed) UsesTry() int {
	f := p.Attempt.Failure
	if f == nil && p.State == jobcontrol.Successful || f != nil && f.Kind.UsesTry() {
		return 1
	}
	return 0
}

// Asked is how many retries the attempt asked for.
func (p *Packed) Asked() int {
	if f := p.Attempt.Failure; f != nil && f.Kind == jobcontrol.FailRetry {
		return 1
	}
	return 0
}

// Started is when the attempt started, or the given time if it does not say.
func (p *Packed) Started(now time.Time) time.Time {
	if p.Attempt.StartedAt.IsZero() {
		return now
	}
	return p.Attempt.StartedAt
}

// Finished is when the attempt ended, or the given time if it does not say.
func (p *Packed) Finished(now time.Time) time.Time {
	if p.Attempt.FinishedAt.IsZero() {
		return now
	}
	return p.Attempt.FinishedAt
}

// ResultOf returns the build whose result a finished build has: its own, that
// of its ResultOf, or 0.
func ResultOf(b *jobcontrol.Build) int64 {
	if len(b.Result) > 0 {
		return b.ID
	}
	return b.ResultOf
}
