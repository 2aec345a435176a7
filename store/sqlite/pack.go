package sqlite

import (
	"encoding/json"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// packed is how an attempt ended, encoded before the transaction.
type packed struct {
	jobcontrol.Ended
	claim           jobcontrol.Claim
	attempt         []byte          // all but the failure
	failure, frames json.RawMessage // apart, for the row of a build
	whole           json.RawMessage // together, for a row of attempts
	logs            *packedLogs
}

func (s *Store) pack(c jobcontrol.Claim, e *jobcontrol.Ended) (*packed, error) {
	p := &packed{Ended: *e, claim: c}
	a := &p.Attempt
	a.Build, a.Worker, a.Claim = c.Build, c.Worker, c.Number
	a.StartedAt, a.FinishedAt = jobcontrol.Micros(a.StartedAt), jobcontrol.Micros(a.FinishedAt)
	if a.Number < 0 {
		return nil, jobcontrol.Errorf(jobcontrol.Invalid, "build %d: attempt %d", c.Build, a.Number)
	}
	p.attempt = encodeAttempt(a)
	var err error
	if p.failure, p.frames, err = encodeFailure(a.Failure); err != nil {
		return nil, err
	}
	if a.Failure != nil {
		if p.whole, err = json.Marshal(a.Failure); err != nil {
			return nil, jobcontrol.Errorf(jobcontrol.Invalid, "build %d: failure: %v", c.Build, err)
		}
	}
	p.logs, err = s.packLogs(e.Logs)
	return p, err
}

// usesTry is how many tries the attempt used.
func (p *packed) usesTry() int {
	f := p.Attempt.Failure
	if f == nil && p.State == jobcontrol.Successful || f != nil && f.Kind.UsesTry() {
		return 1
	}
	return 0
}

// asked is how many retries the attempt asked for.
func (p *packed) asked() int {
	if f := p.Attempt.Failure; f != nil && f.Kind == jobcontrol.FailRetry {
		return 1
	}
	return 0
}

// startedAt is when the attempt started, or the given time if it does not say.
func (p *packed) startedAt(now time.Time) time.Time {
	if p.Attempt.StartedAt.IsZero() {
		return now
	}
	return p.Attempt.StartedAt
}

// finishedAt is when the attempt ended, or the given time if it does not say.
func (p *packed) finishedAt(now time.Time) time.Time {
	if p.Attempt.FinishedAt.IsZero() {
		return now
	}
	return p.Attempt.FinishedAt
}
