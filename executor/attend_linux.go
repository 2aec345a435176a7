package executor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jobcontrol/jobcontrol"
)

const (
	drainWait  = time.Second           // for the end of a stream after the command's last process
	killWait   = 5 * time.Second       // for a killed process to be gone
	drainLimit = 1 << 20               // read from a stream that is given up; no more is in it
	slowPoll   = 20 * time.Millisecond // where there is nothing to wait for
	endingPoll = time.Millisecond      // for the process alone, to wake up once rather than for each stream
)

// errStillThere says that a process did not end although it was killed.
var errStillThere = errors.New("it did not end although it was killed")

// An attendance is the time from the start of a command's process until
// everything it started has ended. One thread attends to it: it waits for all
// streams and the process at once, so that records come in the order of arrival.
type attendance struct {
	*command
	ending   bool          // a stream was just closed: most likely the process ends
	ended    bool          // the main process was reaped
	felled   chan struct{} // closed when the rest of the tree has ended; nil: not begun, or not needed
	cleared  bool          // nothing is left of the tree
	drainEnd time.Time     // when open streams are given up; set once the tree is cleared
	err      error

	socket *os.File      // descriptor 3, once something came from it
	heard  chan struct{} // closed when all of that was carried out
}

// attend waits until the command and everything it started have ended, or were
// given up.
func (c *command) attend(ctx context.Context) error {
	a := &attendance{command: c}
	stop := context.AfterFunc(ctx, func() { c.terminate(ctx) })
	defer stop()
	for !a.done() {
		a.wait()
	}
	a.close()
	return a.err
}

// done tells whether there is nothing left to attend to.
func (a *attendance) done() bool {
	if !a.ended {
		if end := a.killEnd(); !end.IsZero() && time.Now().After(end) {
			a.err = errStillThere
			return true
		}
		return false
	}
	return a.cleared && (a.fds[0] < 0 && a.fds[1] < 0 && (a.fds[2] < 0 || a.socket != nil) || time.Now().After(a.drainEnd))
}

// wait waits until something happens, and does what is to be done then.
func (a *attendance) wait() {
	fds := [4]unix.PollFd{{Fd: int32(a.fds[0])}, {Fd: int32(a.fds[1])}, {Fd: int32(a.fds[2])}, {Fd: int32(a.pidfd)}}
	for i := range fds {
		fds[i].Events = unix.POLLIN
	}
	if a.socket != nil {
		fds[2].Fd = -1
	}
	if a.ended {
		fds[3].Fd = -1
	}
	watched := fds[:]
	if a.ending && !a.ended && a.pidfd >= 0 {
		watched = fds[3:]
	}
	if _, err := unix.Poll(watched, int(a.patience().Milliseconds())); err != nil && err != unix.EINTR {
		time.Sleep(slowPoll) // no memory: it can only be tried again
		return
	}
	a.ending = false
	for i, s := range [2]*stream{a.out, a.errs} {
		if fds[i].Revents != 0 {
			a.read(i, s)
		}
	}
	if fds[2].Revents != 0 {
		a.hear()
	}
	switch {
	case !a.ended && (fds[3].Revents != 0 || a.pidfd < 0):
		a.reap()
	case a.ended && !a.cleared:
		a.look()
	}
}

// patience is how long to wait for something to happen.
func (a *attendance) patience() time.Duration {
	switch {
	case !a.ended && a.pidfd < 0:
		return slowPoll
	case !a.ended && a.ending:
		return endingPoll
	case !a.ended:
		return killWait // then to see whether it was killed in vain
	case !a.cleared:
		return slowPoll / 4
	}
	return max(time.Until(a.drainEnd), 0) + time.Millisecond
}

// read reads a stream once.
func (a *attendance) read(i int, s *stream) {
	n, err := unix.Read(a.fds[i], s.space())
	switch {
	case n > 0:
		s.advance(n)
	case err != unix.EAGAIN && err != unix.EINTR:
		_ = unix.Close(a.fds[i])
		a.fds[i], a.ending = -1, true
	}
}

// hear reads what a command tells. After its first message a goroutine does so:
// carrying out a message may take long.
func (a *attendance) hear() {
	n, err := a.tell.receive()
	switch {
	case err == nil:
		a.socket, a.heard = os.NewFile(uintptr(a.fds[2]), "descriptor 3"), make(chan struct{})
		go func() {
			defer close(a.heard)
			a.tell.listen(a.socket, n)
		}()
	case err != unix.EAGAIN:
		_ = unix.Close(a.fds[2])
		a.fds[2] = -1
	}
}

// reap takes the exit status, and begins to end what the process left behind.
func (a *attendance) reap() {
	gone, err := a.process.reap()
	if !gone {
		return
	}
	a.ended, a.err = true, err
	a.mu.Lock()
	asked, killAt := a.asked, a.killAt
	a.mu.Unlock()
	if a.call.Job.LeaveRunning && !asked {
		a.commands.forest.leave(a.tree)
		a.cleared, a.drainEnd = true, time.Now().Add(drainWait)
		return
	}
	if a.cleared = !asked && a.commands.forest.bare(a.tree); a.cleared {
		a.drainEnd = time.Now().Add(drainWait)
		return
	}
	a.felled = make(chan struct{})
	go func() {
		defer close(a.felled)
		if asked {
			a.tree.awaitGroup(killAt)
		}
		if f := a.commands.forest; !f.bare(a.tree) {
			f.fell(a.tree, func(level jobcontrol.Level, m string) { report(a.call, level, m) })
		}
	}()
}

// look sees whether the rest of the tree has ended.
func (a *attendance) look() {
	select {
	case <-a.felled:
		a.cleared, a.drainEnd = true, time.Now().Add(drainWait)
	default:
	}
}

// close reads what is left of the streams, and frees them.
func (a *attendance) close() {
	for i, s := range [2]*stream{a.out, a.errs} {
		if a.fds[i] >= 0 {
			a.drain(i, s)
			report(a.call, jobcontrol.LevelWarning, s.name+" is still held open by a process that was not ended; what it writes from now on is lost")
		}
		s.end()
	}
	if a.socket != nil {
		timer := time.AfterFunc(time.Until(a.drainEnd), func() { _ = a.socket.SetReadDeadline(time.Unix(1, 0)) })
		<-a.heard
		timer.Stop()
		_ = a.socket.Close() // nothing was written
		a.fds[2] = -1
	}
	a.tell.end()
	if a.err != nil {
		report(a.call, jobcontrol.LevelError, fmt.Sprintf("process %d: %v", a.process.pid, a.err))
	}
}

// drain reads what is there, without waiting.
func (a *attendance) drain(i int, s *stream) {
	for left := drainLimit; left > 0; {
		n, err := unix.Read(a.fds[i], s.space())
		if err == unix.EINTR {
			continue
		}
		if n <= 0 {
			return
		}
		s.advance(n)
		left -= n
	}
}

// terminate ends the process group: SIGTERM, and SIGKILL when the grace is over.
func (c *command) terminate(ctx context.Context) {
	grace := graceLeft(ctx, c.call.Job)
	first := syscall.SIGTERM
	if grace == 0 {
		first = syscall.SIGKILL
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked = c.process.signalLiving(first); !c.asked {
		return
	}
	c.killAt = time.Now().Add(grace)
	if grace > 0 {
		c.process.signalGroup(syscall.SIGCONT) // a stopped process cannot end
		c.killer = time.AfterFunc(grace, func() { c.process.signalGroup(syscall.SIGKILL) })
	}
}

// killEnd is when a process that was killed is given up; zero: it was not.
func (c *command) killEnd() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.asked {
		return time.Time{}
	}
	return c.killAt.Add(killWait)
}
