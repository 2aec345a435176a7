package executor

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jobcontrol/jobcontrol"
)

// Teller is the other side of descriptor 3: with it a program that a command
// consists of, or starts, tells its build something. Each method waits until that
// was carried out, and returns why it was refused: an error with a code. It is
// safe for concurrent use.
type Teller struct{ fd int }

// NewTeller finds the descriptor by the variable JOBCONTROL_TELL. Outside of a
// command's execution that is an error.
func NewTeller() (*Teller, error) {
	name := os.Getenv(envTell)
	if name == "" {
		return nil, &jobcontrol.Error{
			Code: jobcontrol.Invalid, Message: "there is no job to tell: " + envTell + " is not set",
			Hint: "use this in the command of a job",
		}
	}
	fd, err := strconv.Atoi(name)
	if err != nil || fd < 3 {
		return nil, jobcontrol.Errorf(jobcontrol.Invalid, "%s=%s is no descriptor", envTell, name)
	}
	if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil || kind != unix.AF_UNIX {
		return nil, &jobcontrol.Error{
			Code: jobcontrol.Invalid, Message: "descriptor " + name + ", to tell the job, was closed or used for something else",
			Hint: "programs such as sudo and ssh close it: tell the job outside of them",
		}
	}
	return &Teller{fd: fd}, nil
}

// Progress reports progress. Reports are clamped as by [jobcontrol.ClampProgress].
func (t *Teller) Progress(ctx context.Context, p jobcontrol.Progress) error {
	p = jobcontrol.ClampProgress(p)
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

// ask sends a message over a socket of its own, and reads the reply there.
func (t *Teller) ask(ctx context.Context, m message) (reply, error) {
	for _, v := range []*valueMessage{{Value: m.Result}, m.Local, m.Shared} {
		if v != nil && len(v.Value) > 0 && !json.Valid(v.Value) {
			return reply{}, jobcontrol.Errorf(jobcontrol.Invalid, "tell the job: the value is not valid JSON")
		}
	}
	data, err := compactJSON(m)
	if err != nil {
		return reply{}, jobcontrol.Errorf(jobcontrol.Invalid, "tell the job: %v", err)
	}
	if len(data) >= maxLine {
		return reply{}, jobcontrol.Errorf(jobcontrol.Invalid, "tell the job: %d bytes are more than %d", len(data), maxLine)
	}
	conn, err := t.call(ctx)
	if err != nil {
		return reply{}, unavailable(ctx, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err = conn.Write(append(data, '\n')); err != nil {
		return reply{}, unavailable(ctx, err)
	}
	line, err := bufio.NewReader(io.LimitReader(conn, 2*maxLine)).ReadBytes('\n')
	if err != nil {
		return reply{}, unavailable(ctx, err)
	}
	var r reply
	if err := json.Unmarshal(line, &r); err != nil {
		return reply{}, unavailable(ctx, err)
	}
	if r.Error != "" {
		return r, &jobcontrol.Error{Code: r.Code, Message: r.Error}
	}
	return r, nil
}

func unavailable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	} else if errors.Is(err, io.EOF) {
		err = errors.New("it does not answer")
	}
	return &jobcontrol.Error{Code: jobcontrol.Unavailable, Message: "tell the job", Cause: err}
}

// call announces a message, and returns our end of the socket that it goes over.
func (t *Teller) call(ctx context.Context) (net.Conn, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	ours := os.NewFile(uintptr(pair[0]), "call")
	defer ours.Close()
	defer unix.Close(pair[1])
	announcement := []byte("{\"call\":true}\n")
	for {
		err := unix.Sendmsg(t.fd, announcement, unix.UnixRights(pair[1]), nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		switch {
		case err == nil:
			return net.FileConn(ours)
		case err == unix.EAGAIN: // the job tells faster than it can be stored
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(t.fd), Events: unix.POLLOUT}}, 100)
		case err != unix.EINTR:
			return nil, os.NewSyscallError("sendmsg", err)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}
