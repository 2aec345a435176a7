package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// SQLSTATE codes that mean something to us.
const (
	codeDeadlock      = "40P01"
	codeSerialization = "40001"
	codeLockTimeout   = "55P03"
	codeIdle          = "25P03" // idle in a transaction for too long: rolled back, and disconnected
	codeUnique        = "23505"
	codeNoTable       = "42P01"
	codeNoColumn      = "42703"
	codeNoSchema      = "3F000"
	codeNoDatabase    = "3D000"
	codeReadOnly      = "25006"
	codeDenied        = "42501"
	codeDiskFull      = "53100"
	codeTooMany       = "53300"
	codeCanceled      = "57014"
	codeDamaged       = "XX001"
	codeIndexDamaged  = "XX002"
)

// codeOf returns the SQLSTATE in err's chain, or "".
func codeOf(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
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

// passing tells whether a transaction that failed so was rolled back by the
// server because of what others did: it may be executed again.
func passing(err error) bool {
	switch codeOf(err) {
	case codeDeadlock, codeSerialization, codeLockTimeout, codeIdle:
		return true
	}
	return false
}

// disconnected tells whether err is the end of a connection, or that there was none.
func disconnected(err error) bool {
	if err == nil {
		return false
	}
	if code := codeOf(err); code != "" {
		// 57P01–57P05: the server, or somebody there, ended it. 08…: it was lost.
		return strings.HasPrefix(code, "57P") || strings.HasPrefix(code, "08") || code == codeTooMany
	}
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.As(err, &network) || strings.Contains(err.Error(), "conn closed") ||
		strings.Contains(err.Error(), "closed pool")
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
	err = toldOnce(err)
	unavailable := func(hint, format string, args ...any) error {
		return &jobcontrol.Error{
			Code: jobcontrol.Unavailable, Message: "store unavailable: " + fmt.Sprintf(format, args...), Hint: hint, Cause: err,
		}
	}
	code := codeOf(err)
	var damaged *codec.Damaged
	switch {
	case code == "" && errors.Is(err, context.Canceled):
		return &jobcontrol.Error{Code: jobcontrol.Interrupted, Message: "store", Cause: err}
	case code == "" && errors.Is(err, context.DeadlineExceeded):
		return unavailable("", "the database did not answer in time")
	case errors.As(err, &damaged), code == codeDamaged, code == codeIndexDamaged:
		return unavailable("restore it from a backup", "the database %s is damaged", s.name)
	}
	switch code {
	case codeDeadlock, codeSerialization, codeLockTimeout, codeCanceled, codeIdle:
		return unavailable("", "the database is busy")
	case codeTooMany:
		return unavailable("raise max_connections, or put a pooler in front", "the server has no connection left")
	case codeNoTable, codeNoColumn, codeNoSchema:
		return unavailable("install it first", "the database %s does not have our tables", s.name)
	case codeNoDatabase:
		database, _, _ := strings.Cut(s.name, " on ")
		return unavailable("make it first, such as by: createdb "+database, "there is no database %s", s.name)
	case codeReadOnly:
		return unavailable("is it a standby?", "the database %s cannot be written", s.name)
	case codeDenied:
		return unavailable("grant the privileges that the documentation lists", "the role may not do this in the database %s", s.name)
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return unavailable("is the server running, and is it that host and port?", "nobody answers for the database %s", s.name)
	case strings.HasPrefix(code, "53"):
		return unavailable("make space", "the server has no space or memory left")
	case strings.HasPrefix(code, "28"):
		return unavailable("check user and password", "the server refused us")
	case disconnected(err):
		return unavailable("", "the connection to the database was lost, or there is none")
	}
	return &jobcontrol.Error{Code: jobcontrol.Internal, Message: "store " + s.name, Cause: err}
}

// unconnected is why no connection was made. Each way to connect was tried, with
// TLS and without, at each address; what several of them say, it says once.
type unconnected struct {
	error
	message string
}

func (u *unconnected) Error() string { return u.message }
func (u *unconnected) Unwrap() error { return u.error }

func toldOnce(err error) error {
	var connect *pgconn.ConnectError
	if !errors.As(err, &connect) {
		return err
	}
	var lines []string
	for _, line := range strings.Split(err.Error(), "\n") {
		if line = strings.TrimSpace(line); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return &unconnected{err, strings.Join(lines, " ")}
}
