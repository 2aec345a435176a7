package executor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jobcontrol/jobcontrol"
)

// maxLine is the longest message: a result of the largest size and its wrapping.
const maxLine = jobcontrol.MaxResult + 4<<10

// A message is one line that a command writes to descriptor 3; see doc.go.
type message struct {
	Progress *progressMessage `json:"progress,omitempty"`
	Log      *logMessage      `json:"log,omitempty"`
	Result   json.RawMessage  `json:"result,omitempty"`
	Skip     *string          `json:"skip,omitempty"`
	Retry    *retryMessage    `json:"retry,omitempty"`
	Suspend  *string          `json:"suspend,omitempty"`
	Fail     *string          `json:"fail,omitempty"`
	Local    *valueMessage    `json:"local,omitempty"`
	Shared   *valueMessage    `json:"shared,omitempty"`
	Call     bool             `json:"call,omitempty"`
}

type progressMessage struct {
	Path    progressPath `json:"path"`
	Current *number      `json:"current,omitempty"`
	Total   *number      `json:"total,omitempty"`
	Status  string       `json:"status,omitempty"`
}

type logMessage struct {
	Level   logLevel       `json:"level,omitempty"`
	Logger  string         `json:"logger,omitempty"`
	Message string         `json:"message"`
	Attrs   map[string]any `json:"attrs,omitempty"`
}

type retryMessage struct {
	After   float64 `json:"after,omitempty"` // seconds
	Message string  `json:"message,omitempty"`
}

// A valueMessage sets or asks for a value. Exactly one of Set, Get and Keys is given.
type valueMessage struct {
	Set     *string         `json:"set,omitempty"`
	Value   json.RawMessage `json:"value,omitempty"`
	Version *int64          `json:"version,omitempty"` // set only if it is still this one
	Get     *string         `json:"get,omitempty"`
	Keys    bool            `json:"keys,omitempty"`
}

// A reply answers a message sent with call.
type reply struct {
	Value   json.RawMessage `json:"value,omitempty"`
	Found   bool            `json:"found,omitempty"`
	Version int64           `json:"version,omitempty"`
	Keys    []string        `json:"keys,omitempty"`
	Error   string          `json:"error,omitempty"`
	Code    jobcontrol.Code `json:"code,omitempty"`
}

// parseMessage decodes one line.
func parseMessage(line []byte) (*message, error) {
	m := &message{}
	if err := json.Unmarshal(line, m); err != nil {
		return nil, err
	}
	if m.Progress == nil && m.Log == nil && m.Result == nil && m.Skip == nil && m.Retry == nil && m.Suspend == nil &&
		m.Fail == nil && m.Local == nil && m.Shared == nil && !m.Call {
		return nil, fmt.Errorf("none of progress, log, result, skip, retry, suspend, fail, local, shared")
	}
	return m, nil
}

// progressPath is a list of names, or one string that is split at "::".
type progressPath []string

// UnmarshalJSON accepts both forms.
func (p *progressPath) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(data, []byte(`"`)) {
		var s string
		err := json.Unmarshal(data, &s)
		*p = jobcontrol.ProgressPath(s)
		return err
	}
	return json.Unmarshal(data, (*[]string)(p))
}

// number is an integer that may be written in any way JSON has; it is clamped
// to what a progress report can hold.
type number int64

// UnmarshalJSON accepts integers and floats of any size.
func (n *number) UnmarshalJSON(data []byte) error {
	var v json.Number
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	if i, err := v.Int64(); err == nil {
		*n = number(i)
		return nil
	}
	f, err := v.Float64()
	if err != nil && !math.IsInf(f, 0) {
		return err
	}
	*n = number(min(max(f, 0), 1<<53))
	return nil
}

// logLevel is the name or the number of a level.
type logLevel jobcontrol.Level

// UnmarshalJSON accepts both forms.
func (l *logLevel) UnmarshalJSON(data []byte) error {
	level, err := jobcontrol.ParseLevel(string(bytes.Trim(data, `"`)))
	*l = logLevel(level)
	return err
}

// MarshalJSON writes the name, or the number where there is none.
func (l logLevel) MarshalJSON() ([]byte, error) {
	level := jobcontrol.Level(l)
	if named, err := jobcontrol.ParseLevel(level.String()); err == nil && named == level {
		return json.Marshal(level.String())
	}
	return json.Marshal(int(level))
}

// report makes a report of sane numbers and depth. Its texts are not cut: that is
// for who records them, after secrets were replaced.
func (m *progressMessage) report() jobcontrol.Progress {
	p := jobcontrol.ClampProgress(jobcontrol.Progress{Current: (*int64)(m.Current), Total: (*int64)(m.Total)})
	p.Path, p.Status = m.Path, m.Status
	if last := jobcontrol.MaxProgressDepth - 1; len(p.Path) > last+1 {
		p.Path = append(append([]string(nil), p.Path[:last]...), strings.Join(p.Path[last:], "::"))
	}
	return p
}

// Limits of a log message's parts, in bytes.
const (
	maxLogger = 128
	maxAttrs  = 16 << 10
)

// records returns the log records of a message: several where it is longer than one can hold.
func (m *logMessage) records(now time.Time) []jobcontrol.LogRecord {
	r := jobcontrol.LogRecord{Time: now, Level: jobcontrol.Level(m.Level), Logger: cut(m.Logger, maxLogger), Attrs: m.Attrs}
	if r.Level == 0 {
		r.Level = jobcontrol.LevelInfo
	}
	if r.Logger == "" {
		r.Logger = "job"
	}
	if data, err := json.Marshal(m.Attrs); err != nil || len(data) > maxAttrs {
		r.Attrs = map[string]any{"dropped": fmt.Sprintf("attributes of more than %d bytes", maxAttrs)}
	}
	var out []jobcontrol.LogRecord
	text := strings.TrimSuffix(m.Message, "\n")
	for len(text) > jobcontrol.MaxLogRecord {
		piece := cut(text, jobcontrol.MaxLogRecord)
		r.Message, r.Continued = piece, true
		out = append(out, r)
		text = text[len(piece):]
	}
	r.Message, r.Continued = text, false
	return append(out, r)
}

// outcome returns how the message says that the attempt ends, nil if it does not.
func (m *message) outcome() *jobcontrol.Failure {
	switch {
	case m.Fail != nil:
		return told(jobcontrol.FailUser, *m.Fail)
	case m.Suspend != nil:
		return told(jobcontrol.FailSuspend, *m.Suspend)
	case m.Skip != nil:
		return told(jobcontrol.FailSkip, *m.Skip)
	case m.Retry != nil:
		f := told(jobcontrol.FailRetry, m.Retry.Message)
		const year = 365 * 24 * time.Hour
		f.After = time.Duration(min(max(m.Retry.After, 0), year.Seconds()) * float64(time.Second))
		return f
	}
	return nil
}

func told(kind jobcontrol.FailureKind, message string) *jobcontrol.Failure {
	return &jobcontrol.Failure{Kind: kind, Message: message}
}

// excerpt quotes the beginning of data for a message.
func excerpt(data []byte) string {
	const most = 120
	if len(data) > most {
		return fmt.Sprintf("%q…", cut(strings.ToValidUTF8(string(data[:most]), "\uFFFD"), most))
	}
	return fmt.Sprintf("%q", strings.ToValidUTF8(string(data), "\uFFFD"))
}

// cut shortens valid UTF-8 to at most n bytes at the border of a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
