package executor

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jobcontrol/jobcontrol"
)

const (
	maxComplaints = 20              // about malformed messages; more are counted
	maxCalls      = 64              // descriptors that wait for their message
	callTimeout   = 5 * time.Second // for a caller to write its message, and to read the reply
	storeTimeout  = 30 * time.Second
)

// A listener carries out what a command tells on descriptor 3, one message
// after the other. One goroutine uses it at a time; most commands tell nothing,
// and then it needs none of its own.
type listener struct {
	ctx  context.Context
	call *jobcontrol.Call
	fd   int // ours; does not block

	outcome *jobcontrol.Failure // how the command says that its attempt ends
	result  json.RawMessage
	told    bool // there is a result

	buf        []byte
	held       int   // bytes at the start of buf that belong to an unfinished message
	calls      []int // descriptors that came along, for the messages that announce them
	skipping   bool  // the rest of a message that was too long
	complaints int
}

func newListener(ctx context.Context, call *jobcontrol.Call, fd int) *listener {
	return &listener{ctx: ctx, call: call, fd: fd}
}

// receive reads once, without waiting, and returns how much there is to carry
// out; io.EOF at the end, EAGAIN if there is nothing yet.
func (l *listener) receive() (int, error) {
	if l.held == len(l.buf) {
		grown := make([]byte, min(max(4*len(l.buf), firstBuffer), maxLine))
		copy(grown, l.buf)
		l.buf = grown
	}
	var oob [64]byte
	for {
		n, oobn, _, _, err := unix.Recvmsg(l.fd, l.buf[l.held:], oob[:], unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		if oobn > 0 {
			l.accept(oob[:oobn])
		}
		return n, nil
	}
}

// carryOut carries out the messages that end in the n bytes just received.
func (l *listener) carryOut(n int) {
	l.held = l.split(l.buf, l.held, l.held+n)
	if l.held == maxLine {
		l.tooLong(l.buf)
		l.held = 0
	}
}

// listen carries out messages until their end, or until the socket's deadline.
// It begins with the n bytes just received.
func (l *listener) listen(socket *os.File, n int) {
	raw, err := socket.SyscallConn()
	for err == nil {
		if n > 0 {
			l.carryOut(n)
		}
		waitErr := raw.Read(func(uintptr) bool {
			n, err = l.receive()
			return err != unix.EAGAIN
		})
		if waitErr != nil {
			err = waitErr
		}
	}
	for left := drainLimit; err != io.EOF && left > 0; left -= n { // given up: what is there still counts
		if n, err = l.receive(); err != nil {
			break
		}
		l.carryOut(n)
	}
}

// end carries out an unfinished message and frees what the listener holds.
func (l *listener) end() {
	if l.held > 0 && !l.skipping {
		l.line(l.buf[:l.held])
	}
	l.buf, l.held = nil, 0
	closeAll(l.calls)
	l.calls = nil
	if more := l.complaints - maxComplaints; more > 0 {
		report(l.call, jobcontrol.LevelWarning, fmt.Sprintf("%d more malformed messages on descriptor 3", more))
	}
}

// split carries out the lines that end in buf[from:to], moves the rest to the
// front and returns its length.
func (l *listener) split(buf []byte, from, to int) int {
	begin, end := 0, bytes.IndexByte(buf[from:to], '\n')
	for end >= 0 {
		end += from
		if !l.skipping {
			l.line(buf[begin:end])
		}
		l.skipping = false
		begin, from = end+1, end+1
		end = bytes.IndexByte(buf[from:to], '\n')
	}
	if l.skipping {
		return 0
	}
	return copy(buf, buf[begin:to])
}

// tooLong refuses a message of which buf is the beginning.
func (l *listener) tooLong(buf []byte) {
	l.skipping = true
	refused := fmt.Sprintf("a message of more than %d bytes on descriptor 3", maxLine)
	if bytes.HasPrefix(bytes.TrimSpace(buf), []byte(`{"result"`)) {
		l.outcome = userFailure("result refused: " + refused + "; store it elsewhere and tell a pointer to it")
	}
	l.complain(refused+" was refused", buf)
}

func (l *listener) complain(what string, line []byte) {
	if l.complaints++; l.complaints <= maxComplaints {
		report(l.call, jobcontrol.LevelWarning, what+": "+excerpt(line))
	}
}

// line carries out one message.
func (l *listener) line(line []byte) {
	line = bytes.TrimSpace(line)
	if len(line) == 0 {
		return
	}
	m, err := parseMessage(line)
	if err != nil {
		l.complain("malformed message on descriptor 3: "+err.Error(), line)
		return
	}
	if m.Call {
		l.answer()
		return
	}
	if r := l.do(m); r.Error != "" {
		l.complain("message on descriptor 3: "+r.Error, line)
	}
}

// do carries out a message and returns what there is to reply.
func (l *listener) do(m *message) reply {
	if m.Progress != nil {
		l.call.Record.Progress(m.Progress.report())
	}
	if m.Log != nil {
		for _, r := range m.Log.records(time.Now().UTC()) {
			l.call.Record.Log(r)
		}
	}
	if m.Result != nil {
		if len(m.Result) > jobcontrol.MaxResult {
			l.outcome = userFailure(fmt.Sprintf("result refused: %d bytes of JSON are more than %d; store it elsewhere and tell a pointer to it",
				len(m.Result), jobcontrol.MaxResult))
			return refusal(l.outcome)
		}
		l.result, l.told = m.Result, true
	}
	if f := m.outcome(); f != nil {
		l.outcome = f
	}
	switch {
	case m.Local != nil:
		return l.local(m.Local)
	case m.Shared != nil:
		return l.shared(m.Shared)
	}
	return reply{}
}

func (l *listener) local(v *valueMessage) (r reply) {
	values := l.call.Local
	switch {
	case values == nil:
		return refusal(jobcontrol.Errorf(jobcontrol.Invalid, "there are no local values in phase %s", l.call.Phase))
	case v.Set != nil && len(v.Value) > 0:
		if err := values.Set(*v.Set, v.Value); err != nil {
			return refusal(err)
		}
	case v.Get != nil:
		found, err := values.Load(*v.Get, &r.Value)
		if err != nil {
			return refusal(err)
		}
		r.Found = found
	case v.Keys:
		r.Keys = slices.Sorted(maps.Keys(values.All()))
	default:
		return refusal(jobcontrol.Errorf(jobcontrol.Invalid, "local: give set and value, or get, or keys"))
	}
	return r
}

func (l *listener) shared(v *valueMessage) (r reply) {
	values, err := l.call.Shared, error(nil)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.ctx), storeTimeout) // one that was cancelled may still save its work
	defer cancel()
	switch {
	case values == nil:
		return refusal(jobcontrol.Errorf(jobcontrol.Invalid, "there are no shared values in phase %s", l.call.Phase))
	case v.Set != nil && len(v.Value) > 0:
		version := int64(-1)
		if v.Version != nil {
			version = *v.Version
		}
		r.Version, err = values.CompareAndSet(ctx, *v.Set, v.Value, version)
	case v.Get != nil:
		r.Version, err = values.Load(ctx, *v.Get, &r.Value)
		r.Found = r.Version > 0
	case v.Keys:
		r.Keys, err = values.Keys(ctx)
	default:
		err = jobcontrol.Errorf(jobcontrol.Invalid, "shared: give set and value, or get, or keys")
	}
	if err != nil {
		return refusal(err)
	}
	return r
}

func refusal(err error) reply {
	r := reply{Error: err.Error(), Code: jobcontrol.CodeOf(err)}
	if f := (*jobcontrol.Failure)(nil); errors.As(err, &f) {
		r.Code = jobcontrol.Invalid
	}
	return r
}

// answer reads a message from the descriptor that came with its announcement,
// carries it out, and replies there.
func (l *listener) answer() {
	if len(l.calls) == 0 {
		l.complain("message on descriptor 3: a call came without its descriptor", nil)
		return
	}
	fd := l.calls[0]
	l.calls = l.calls[1:]
	f := os.NewFile(uintptr(fd), "call")
	conn, err := net.FileConn(f) // a copy that does not block
	_ = f.Close()
	if err != nil {
		l.complain("message on descriptor 3: the descriptor of a call is no socket", nil)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(callTimeout))
	line, err := bufio.NewReader(io.LimitReader(conn, maxLine)).ReadBytes('\n')
	if err != nil {
		l.complain("message on descriptor 3: a call was not completed", line)
		return
	}
	m, err := parseMessage(line)
	var r reply
	if err != nil {
		r = refusal(jobcontrol.Errorf(jobcontrol.Invalid, "malformed message: %v", err))
	} else {
		r = l.do(m)
	}
	data, err := compactJSON(r)
	if err == nil {
		_ = conn.SetDeadline(time.Now().Add(callTimeout))
		_, _ = conn.Write(append(data, '\n')) // who does not wait for the reply has no use for it
	}
}

// accept keeps the descriptors of a control message.
func (l *listener) accept(oob []byte) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			if len(l.calls) >= maxCalls {
				_ = unix.Close(fd)
				continue
			}
			l.calls = append(l.calls, fd)
		}
	}
}
