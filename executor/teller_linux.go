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
