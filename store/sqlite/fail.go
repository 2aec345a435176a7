package sqlite

import (
	"context"
	"errors"
	"fmt"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
	driver "modernc.org/sqlite"
)

// Primary result codes of SQLite that mean something to us.
const (
	codeError    = 1
	codeBusy     = 5
	codeLocked   = 6
	codeReadOnly = 8
	codeIO       = 10
	codeCorrupt  = 11
	codeFull     = 13
	codeCantOpen = 14
	codeNotADB   = 26
)

// codeOf returns the primary result code in err's chain; 0: there is none.
func codeOf(err error) int {
	var e *driver.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	var d *codec.Damaged
	if errors.As(err, &d) {
		return codeCorrupt
	}
	return 0
}

func isBusy(err error) bool {
	code := codeOf(err)
	return code == codeBusy || code == codeLocked
}

// refused tells whether err is an answer, rather than a fault: it was decided
// before anything was written.
func refused(err error) bool {
	switch jobcontrol.CodeOf(err) {
	case jobcontrol.NotFound, jobcontrol.Conflict, jobcontrol.LeaseLost, jobcontrol.Invalid:
		return true
	}
	return false
}

// deadly tells whether nothing may be written through this handle after err:
// what the file holds is unknown after a failed write or sync, or it is damaged.
func deadly(err error) bool {
	switch codeOf(err) {
	case codeIO, codeCorrupt, codeNotADB:
		return true
	}
	var p *panicked
	return errors.As(err, &p)
}

// final is an error after which a store refuses everything, until it is opened
// anew. A worker ends with it.
type final struct{ error }

// Final tells that.
func (f *final) Final() bool { return true }

func (f *final) Unwrap() error { return f.error }

// panicked is a panic below us, which a damaged file may cause.
type panicked struct{ value any }

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// safely makes a panic of f an error.
func safely(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicked{v}
		}
	}()
	return f()
}

// public makes the error that callers see.
func (s *Store) public(err error) error {
	if err == nil {
		return nil
	}
	var e *jobcontrol.Error
	if errors.As(err, &e) {
		return err
	}
	unavailable := func(hint, format string, args ...any) error {
		return &jobcontrol.Error{
			Code: jobcontrol.Unavailable, Message: "store unavailable: " + fmt.Sprintf(format, args...), Hint: hint, Cause: err,
		}
	}
	switch {
	case errors.Is(err, context.Canceled):
		return &jobcontrol.Error{Code: jobcontrol.Interrupted, Message: "store", Cause: err}
	case errors.Is(err, context.DeadlineExceeded):
		return unavailable("", "it did not answer in time")
	}
	var p *panicked
	if errors.As(err, &p) {
		return unavailable("start again; if it happens again, restore the file from a backup", "using the database file %s failed", s.name)
	}
	switch codeOf(err) {
	case codeBusy, codeLocked:
		return unavailable("another program has been writing to it for a long time", "the database is busy")
	case codeFull:
		return unavailable("make space", "no space left for %s", s.name)
	case codeReadOnly:
		return unavailable("", "%s cannot be written", s.name)
	case codeCorrupt, codeNotADB:
		return unavailable("restore it from a backup", "the database file %s is damaged", s.name)
	case codeIO:
		return unavailable("check the disk, then start again", "reading or writing %s failed", s.name)
	case codeCantOpen:
		return unavailable("", "%s cannot be opened", s.name)
	case codeError:
		if !s.installed() {
			return unavailable("install it first", "%s has no tables", s.name)
		}
	}
	return &jobcontrol.Error{Code: jobcontrol.Internal, Message: "store " + s.name, Cause: err}
}
