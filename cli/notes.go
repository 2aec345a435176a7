package cli

import (
	"context"
	"encoding"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// note writes a sentence of the program's own to standard error.
func (s *streams) note(format string, args ...any) { s.noteAt(slog.LevelInfo, format, args...) }

// warning is note for what somebody should look at.
func (s *streams) warning(format string, args ...any) { s.noteAt(slog.LevelWarn, format, args...) }

func (s *streams) noteAt(level slog.Level, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	switch {
	case s.logged:
		slog.New(&noteHandler{streams: s}).Log(context.Background(), level, text)
	case level >= slog.LevelWarn:
		s.tell("jobcontrol: warning: " + text + "\n")
	default:
		s.tell("jobcontrol: " + text + "\n")
	}
}

// noteHandler writes what a part of this program logs to standard error: a line
// for people, or, with --format json, a JSON document on each line.
type noteHandler struct {
	*streams
	debug bool
	told  string // a message that is not shown: it is told in other words
	attrs []slog.Attr
}

// Enabled leaves out debug messages unless they are wanted.
func (h *noteHandler) Enabled(_ context.Context, l slog.Level) bool {
	return l >= slog.LevelInfo || h.debug
}

// Handle writes one record.
func (h *noteHandler) Handle(_ context.Context, r slog.Record) error {
	attrs := append([]slog.Attr{}, h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, a)
		return true
	})
	if r.Message == h.told && !h.json() {
		return nil
	}
	if h.json() {
		m := map[string]any{"time": newStamp(r.Time), "level": r.Level.String(), "message": r.Message}
		for _, a := range attrs {
			m[a.Key] = jsonValue(a.Value.Resolve().Any())
		}
		data, err := encodeJSON(m, "")
		if err == nil {
			h.tell(string(data))
		}
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "jobcontrol: %s ", r.Time.Local().Format("15:04:05"))
	switch {
	case r.Level >= slog.LevelError:
		b.WriteString("error: ")
	case r.Level >= slog.LevelWarn:
		b.WriteString("warning: ")
	}
	b.WriteString(line(r.Message))
	cause, sep := "", " ("
	for _, a := range attrs {
		text := line(fmt.Sprint(a.Value.Resolve().Any()))
		if a.Key == "error" {
			cause = ": " + text
			continue
		}
		b.WriteString(sep + a.Key + " " + text)
		sep = ", "
	}
	if sep == ", " {
		b.WriteByte(')')
	}
	h.tell(b.String() + cause + "\n")
	return nil
}

// jsonValue is a value as JSON has it; what JSON has no form for is text.
func jsonValue(v any) any {
	switch v := v.(type) {
	case time.Duration:
		return v.Seconds()
	case json.Marshaler, encoding.TextMarshaler:
		return v
	case error:
		return v.Error()
	case fmt.Stringer:
		return v.String()
	}
	return v
}

// WithAttrs returns a handler that adds attributes to every record.
func (h *noteHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.attrs = append(append([]slog.Attr{}, h.attrs...), attrs...)
	return &c
}

// WithGroup is not wanted here: names stay as they are.
func (h *noteHandler) WithGroup(string) slog.Handler { return h }
