package jobcontrol

import (
	"errors"
	"fmt"
)

// Code classifies an [Error]; each interface maps it to its own status.
type Code string

// The codes and the exit status of the command line for each.
const (
	Internal    Code = "internal"    // 1: a fault of this program
	BuildFailed Code = "failed"      // 1: some build failed
	Invalid     Code = "invalid"     // 2: usage or configuration
	NotFound    Code = "not_found"   // 3: no such job, build, run
	Conflict    Code = "conflict"    // 4: the state does not allow it, or a confirmation is missing
	Unavailable Code = "unavailable" // 5: the store cannot be reached or written
	Interrupted Code = "interrupted" // 130: stopped by a signal
	LeaseLost   Code = "lease_lost"  // 5: the claim under which something was written is no longer ours
)

// ExitStatus is the exit status of the command line for a code.
func (c Code) ExitStatus() int {
	switch c {
	case Invalid:
		return 2
	case NotFound:
		return 3
	case Conflict:
		return 4
	case Unavailable, LeaseLost:
		return 5
	case Interrupted:
		return 130
	}
	return 1
}

// Error is the one error type of this module. Message is safe to show to
// anyone; Hint says how to mend it and may be empty; Cause is for logs.
type Error struct {
	Code    Code
	Message string
	Hint    string
	Cause   error
}

// Error returns the message and the cause, without the hint.
func (e *Error) Error() string {
	if e.Cause == nil {
		if e.Message == "" {
			return string(e.Code)
		}
		return e.Message
	}
	if e.Message == "" {
		return e.Cause.Error()
	}
	return e.Message + ": " + e.Cause.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Is makes errors.Is(err, ErrLeaseLost) and the like compare by code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Message == "" && t.Cause == nil && t.Code == e.Code
}

// Sentinels for errors.Is; they match any [Error] of the same code.
var (
	ErrLeaseLost   error = &Error{Code: LeaseLost}
	ErrNotFound    error = &Error{Code: NotFound}
	ErrConflict    error = &Error{Code: Conflict}
	ErrInvalid     error = &Error{Code: Invalid}
	ErrUnavailable error = &Error{Code: Unavailable}
)

// Errorf makes an [Error] of a code with a formatted message.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// CodeOf returns the code of the first [Error] in err's chain, else Internal;
// for nil it returns "".
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	if errors.Is(err, ErrInvalid) { // Problems
		return Invalid
	}
	return Internal
}

// HintOf returns the first hint in err's chain, or "".
func HintOf(err error) string {
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return ""
		}
		if e.Hint != "" {
			return e.Hint
		}
		err = e.Cause
	}
	return ""
}
