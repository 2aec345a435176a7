package jobcontrol

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"
)

// FailureKind says what kind of end an attempt had, and so what follows:
//
//	kind     tried again                  uses a try  report
//	error    yes                          yes         yes
//	timeout  yes                          yes         yes
//	panic    no                           yes         yes
//	user     no                           yes         no   an expected failure, told to the requester
//	retry    yes, at most 100 times       no          no   asked for by the job
//	skip     –                            no          no   ends the attempt at once
//	suspend  –                            no          no   ends the attempt at once
//	cancel   –                            no          no   ends the attempt at once
//	lost     yes, at most max_lost times  no          yes  its worker died or lost its lease
type FailureKind string

// The kinds of failure.
const (
	FailError   FailureKind = "error"
	FailTimeout FailureKind = "timeout"
	FailPanic   FailureKind = "panic"
	FailUser    FailureKind = "user"
	FailRetry   FailureKind = "retry"
	FailSkip    FailureKind = "skip"
	FailSuspend FailureKind = "suspend"
	FailCancel  FailureKind = "cancel"
	FailLost    FailureKind = "lost"
)

// MaxAskedRetries is how often a build may ask to be tried again without using a try.
const MaxAskedRetries = 100

// UsesTry tells whether an attempt that ended so counts as a try.
func (k FailureKind) UsesTry() bool {
	return k == FailError || k == FailTimeout || k == FailPanic || k == FailUser
}

// Repeatable tells whether a failed attempt of this kind may be tried again.
func (k FailureKind) Repeatable() bool {
	return k == FailError || k == FailTimeout || k == FailRetry || k == FailLost
}

// EndsAttempt tells whether a task that ends so ends its whole attempt at once:
// no recheck follows a run that asked for it.
func (k FailureKind) EndsAttempt() bool {
	return k == FailRetry || k == FailSkip || k == FailSuspend || k == FailCancel || k == FailLost
}

// Reported tells whether a failure of this kind gets a report id.
func (k FailureKind) Reported() bool {
	return k == FailError || k == FailTimeout || k == FailPanic || k == FailLost
}

// Failure is why an attempt failed. It is an error: a task may return one.
type Failure struct {
	Kind     FailureKind `json:"kind"`
	Message  string      `json:"message"`
	Phase    Phase       `json:"phase,omitempty"`
	Report   string      `json:"report,omitempty"`    // id of the report, 16 hexadecimal digits
	Causes   []string    `json:"causes,omitempty"`    // messages of the wrapped errors, outermost first
	Frames   []Frame     `json:"frames,omitempty"`    // the call stack, outermost first
	ExitCode *int        `json:"exit_code,omitempty"` // of a command
	Signal   string      `json:"signal,omitempty"`    // that ended a command

	After time.Duration `json:"-"` // of kind retry: the delay it asked for; 0: the job's
	Soft  bool          `json:"-"` // of kind timeout: the limit was the soft one
}

// Frame is one call of a failure's stack.
type Frame struct {
	Function string       `json:"function"`
	File     string       `json:"file,omitempty"`
	Line     int          `json:"line,omitempty"`
	Source   []SourceLine `json:"source,omitempty"` // five lines before and after, where readable
	Locals   []Variable   `json:"locals,omitempty"` // sorted by name; where the language has them
}

// SourceLine is a numbered line of source.
type SourceLine struct {
	Line int    `json:"line"`
	Text string `json:"text"`
}

// Variable is a local variable of a frame, its value trimmed to 1,024 characters.
type Variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Error returns the message.
func (f *Failure) Error() string {
	if f == nil { // returned by mistake as an error that is not nil
		return ""
	}
	return f.Message
}

// Traceback returns the stack as text in JobControl's format, with source lines
// where they are known; "" without frames.
func (f *Failure) Traceback() string {
	if len(f.Frames) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("Traceback (most recent call last):\n\n")
	for _, fr := range f.Frames {
		fmt.Fprintf(&b, "  File %q, line %d, in %s\n", fr.File, fr.Line, fr.Function)
		for _, l := range fr.Source {
			mark := "      "
			if l.Line == fr.Line {
				mark = "    > "
			}
			fmt.Fprintf(&b, "%s%4d: %s\n", mark, l.Line, l.Text)
		}
		b.WriteString("\n")
		if len(fr.Locals) > 0 {
			b.WriteString("      Local variables:\n")
			for _, v := range fr.Locals {
				fmt.Fprintf(&b, "        %s = %s\n", v.Name, v.Value)
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

// Skip ends the attempt: there is nothing to do. The build ends skipped.
func Skip(message string) error { return &Failure{Kind: FailSkip, Message: message} }

// Retry ends the attempt: try again after the delay (0: the job's own), without using a try.
func Retry(after time.Duration, message string) error {
	return &Failure{Kind: FailRetry, Message: message, After: after}
}

// Suspend ends the attempt: put the build aside until a person resumes it.
func Suspend(message string) error { return &Failure{Kind: FailSuspend, Message: message} }

// UserError fails the build without another try: an expected failure, told to
// the requester as it is.
func UserError(format string, args ...any) error {
	return &Failure{Kind: FailUser, Message: fmt.Sprintf(format, args...)}
}

// maxMessage bounds the message of a stored failure, in bytes.
const maxMessage = 16 << 10

// FailureOf makes the stored form of an error that ended a phase: its kind, its
// message and its causes. A nil error gives nil.
func FailureOf(err error, phase Phase) *Failure {
	if err == nil {
		return nil
	}
	var f *Failure
	if errors.As(err, &f) && f != nil {
		c := *f
		f = &c
		f.Message = err.Error()
	} else {
		f = &Failure{Kind: FailError, Message: err.Error()}
		if errors.Is(err, context.DeadlineExceeded) {
			f.Kind = FailTimeout
		}
	}
	if f.Message == "" {
		f.Message = "failed without a message"
	}
	f.Message = trimUTF8(strings.ToValidUTF8(f.Message, "\uFFFD"), maxMessage)
	f.Phase = phase
	if f.Causes == nil {
		for e := errors.Unwrap(err); e != nil && len(f.Causes) < 20; e = errors.Unwrap(e) {
			f.Causes = append(f.Causes, trimUTF8(strings.ToValidUTF8(e.Error(), "\uFFFD"), maxMessage))
		}
	}
	if f.Kind.Reported() && f.Report == "" {
		f.Report = newReport()
	}
	return f
}

func newReport() string {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	return hex.EncodeToString(id[:])
}

// Frames describes program counters from runtime.Callers, innermost first, as
// frames, outermost first.
func Frames(pcs []uintptr) []Frame {
	var out []Frame
	it := runtime.CallersFrames(pcs)
	for {
		fr, more := it.Next()
		if fr.Function != "" {
			out = append(out, Frame{Function: fr.Function, File: fr.File, Line: fr.Line})
		}
		if !more {
			break
		}
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}
