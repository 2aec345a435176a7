package jobcontrol

import (
	"encoding/json"
	"log/slog"
	"time"
	"unicode/utf8"
)

// Level is the severity of a log record, with Python's numbers.
type Level int

// The levels of log records.
const (
	LevelDebug    Level = 10
	LevelInfo     Level = 20
	LevelWarning  Level = 30
	LevelError    Level = 40
	LevelCritical Level = 50
)

var levelNames = []struct {
	level Level
	name  string
}{{LevelCritical, "CRITICAL"}, {LevelError, "ERROR"}, {LevelWarning, "WARNING"}, {LevelInfo, "INFO"}, {LevelDebug, "DEBUG"}}

// String returns the name of the nearest level at or below l.
func (l Level) String() string {
	for _, n := range levelNames {
		if l >= n.level {
			return n.name
		}
	}
	return "DEBUG"
}

// LevelOf maps slog's levels to ours; above slog's ERROR by 4 is CRITICAL.
func LevelOf(l slog.Level) Level {
	switch {
	case l >= slog.LevelError+4:
		return LevelCritical
	case l >= slog.LevelError:
		return LevelError
	case l >= slog.LevelWarn:
		return LevelWarning
	case l >= slog.LevelInfo:
		return LevelInfo
	}
	return LevelDebug
}

// ParseLevel accepts a level's name in any case ("warn" too) or its number.
func ParseLevel(name string) (Level, error) {
	up := []byte(name)
	for i, c := range up {
		if c >= 'a' && c <= 'z' {
			up[i] = c - 32
		}
	}
	for _, n := range levelNames {
		if string(up) == n.name || string(up) == n.name[:min(4, len(n.name))] {
			return n.level, nil
		}
	}
	var num Level
	if err := json.Unmarshal([]byte(name), (*int)(&num)); err == nil && num >= 0 && num <= 100 {
		return num, nil
	}
	return 0, &Error{Code: Invalid, Message: "no such log level: " + name, Hint: "use debug, info, warning, error or critical"}
}

// LogRecord is one line of a build's log. Message may hold any bytes: it is
// stored as it is and shown escaped.
type LogRecord struct {
	Seq       int64          // place in the build's log, from 1; set by the store
	Time      time.Time      // UTC, microseconds
	Level     Level          //
	Logger    string         // name of the logger; "stdout" and "stderr" for what a command writes
	Message   string         //
	Attempt   int            //
	Phase     Phase          //
	File      string         // where in the source it was logged, if known
	Line      int            //
	Function  string         //
	Attrs     map[string]any // structured attributes; JSON values
	Continued bool           // the line goes on in the next record of this logger: it was longer than a chunk
	Dropped   int64          // > 0: this record stands for so many bytes that were not kept
}

// MarshalJSON gives the API form: message is always valid UTF-8; where bytes had
// to be replaced, raw holds them all in base64.
func (r LogRecord) MarshalJSON() ([]byte, error) {
	out := struct {
		Seq       int64          `json:"seq"`
		Time      string         `json:"time"`
		Level     string         `json:"level"`
		Logger    string         `json:"logger"`
		Message   string         `json:"message"`
		Raw       []byte         `json:"raw,omitempty"`
		Attempt   int            `json:"attempt,omitempty"`
		Phase     Phase          `json:"phase,omitempty"`
		File      string         `json:"file,omitempty"`
		Line      int            `json:"line,omitempty"`
		Function  string         `json:"function,omitempty"`
		Attrs     map[string]any `json:"attrs,omitempty"`
		Continued bool           `json:"continued,omitempty"`
		Dropped   int64          `json:"dropped_bytes,omitempty"`
	}{r.Seq, r.Time.UTC().Format("2006-01-02T15:04:05.000000Z"), r.Level.String(), r.Logger, r.Message, nil, r.Attempt, r.Phase, r.File, r.Line, r.Function, r.Attrs, r.Continued, r.Dropped}
	if !utf8.ValidString(r.Message) {
		out.Raw = []byte(r.Message)
	}
	return json.Marshal(out)
}

// Limits of a build's log: what one record holds, and how much is kept; beyond
// that the first and the last half are kept and the bytes between are counted.
const (
	MaxLogRecord = 64 << 10
	MaxLogBytes  = 64 << 20
)

// LogFilter selects records of a build's log. The zero value selects all.
type LogFilter struct {
	MinLevel Level
	Since    time.Time // inclusive; zero: no bound
	Until    time.Time // exclusive; zero: no bound
	AfterSeq int64     // only records after this one
	Tail     int       // of these the last so many, without reading what is before them; 0: all
	Limit    int       // at most so many; 0: all
}
