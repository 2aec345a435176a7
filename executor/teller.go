package executor

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// Teller is the other side of descriptor 3: with it a program that a command
// consists of, or starts, tells its build something. Each method waits until that
// was carried out, and returns why it was refused: an error with a code. It is
// safe for concurrent use.
type Teller struct{ fd int }

// Progress reports progress. What is too long is cut where it is recorded, after secrets were replaced.
func (t *Teller) Progress(ctx context.Context, p jobcontrol.Progress) error {
	m := progressMessage{Path: append(progressPath{}, p.Path...), Current: (*number)(p.Current), Total: (*number)(p.Total), Status: p.Status}
	return t.tell(ctx, message{Progress: &m})
}

// Log adds a record to the build's log. Its level, logger, message and
// attributes count.
func (t *Teller) Log(ctx context.Context, r jobcontrol.LogRecord) error {
	if r.Level == 0 {
		r.Level = jobcontrol.LevelInfo
	}
	m := logMessage{Level: logLevel(r.Level), Logger: r.Logger, Message: r.Message, Attrs: r.Attrs}
	return t.tell(ctx, message{Log: &m})
}

// Result sets the command's result; the last one counts. At most
// [jobcontrol.MaxResult] bytes.
func (t *Teller) Result(ctx context.Context, value json.RawMessage) error {
	return t.tell(ctx, message{Result: value})
}

// Skip ends the attempt when the command ends: there was nothing to do.
func (t *Teller) Skip(ctx context.Context, reason string) error {
	return t.tell(ctx, message{Skip: &reason})
}

// Retry has the build tried again when the command ends, after the delay (0: the job's).
func (t *Teller) Retry(ctx context.Context, after time.Duration, reason string) error {
	return t.tell(ctx, message{Retry: &retryMessage{After: after.Seconds(), Message: reason}})
}

// Suspend has the build put aside when the command ends.
func (t *Teller) Suspend(ctx context.Context, reason string) error {
	return t.tell(ctx, message{Suspend: &reason})
}

// Fail has the build fail, without another try, when the command ends.
func (t *Teller) Fail(ctx context.Context, reason string) error {
	return t.tell(ctx, message{Fail: &reason})
}

// Local returns a value of the attempt, and whether there is one.
func (t *Teller) Local(ctx context.Context, key string) (json.RawMessage, bool, error) {
	r, err := t.ask(ctx, message{Local: &valueMessage{Get: &key}})
	return r.Value, r.Found, err
}

// SetLocal sets a value of the attempt.
func (t *Teller) SetLocal(ctx context.Context, key string, value json.RawMessage) error {
	return t.tell(ctx, message{Local: &valueMessage{Set: &key, Value: value}})
}

// LocalKeys returns the keys of the attempt's values in order.
func (t *Teller) LocalKeys(ctx context.Context) ([]string, error) {
	r, err := t.ask(ctx, message{Local: &valueMessage{Keys: true}})
	return r.Keys, err
}

// Shared returns a value of the Run and its version; version 0: there is none.
func (t *Teller) Shared(ctx context.Context, key string) (json.RawMessage, int64, error) {
	r, err := t.ask(ctx, message{Shared: &valueMessage{Get: &key}})
	return r.Value, r.Version, err
}

// SetShared sets a value of the Run and returns its new version. It is a
// conflict if the version is not the given one any more (0: there is none; -1: any).
func (t *Teller) SetShared(ctx context.Context, key string, value json.RawMessage, version int64) (int64, error) {
	r, err := t.ask(ctx, message{Shared: &valueMessage{Set: &key, Value: value, Version: &version}})
	return r.Version, err
}

// SharedKeys returns the keys of the Run's values in order.
func (t *Teller) SharedKeys(ctx context.Context) ([]string, error) {
	r, err := t.ask(ctx, message{Shared: &valueMessage{Keys: true}})
	return r.Keys, err
}

func (t *Teller) tell(ctx context.Context, m message) error {
	_, err := t.ask(ctx, m)
	return err
}
