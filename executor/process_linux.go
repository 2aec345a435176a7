package executor

import (
	"errors"
	"io"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A spawner starts processes from one thread that lives as long as it does: the
// kernel sends a child its parent-death signal when the thread that made it
// ends, and Go ends threads now and then.
type spawner struct {
	requests chan spawnRequest
}

type spawnRequest struct {
	path string
	argv []string
	attr *syscall.ProcAttr
	done chan<- spawned
}

type spawned struct {
	pid int
	err error
}

func newSpawner() *spawner {
	s := &spawner{requests: make(chan spawnRequest)}
	go s.serve()
	return s
}

func (s *spawner) serve() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread() // the thread goes on to live: what it started must
	for r := range s.requests {
		pid, err := syscall.ForkExec(r.path, r.argv, r.attr)
		r.done <- spawned{pid, err}
	}
}

func (s *spawner) start(path string, argv []string, attr *syscall.ProcAttr) (int, error) {
	done := make(chan spawned, 1)
	s.requests <- spawnRequest{path, argv, attr, done}
	r := <-done
	return r.pid, r.err
}

func (s *spawner) close() { close(s.requests) }

// A process is a child of ours, the leader of its own process group.
type process struct {
	pid   int
	pidfd *os.File // nil where the kernel has none

	mu     sync.Mutex
	reaped bool
	status syscall.WaitStatus
}

// newProcess takes over a pidfd; -1: there is none.
func newProcess(pid, pidfd int) *process {
	p := &process{pid: pid}
	if pidfd >= 0 {
		_ = unix.SetNonblock(pidfd, true) // else a thread waits for it
		p.pidfd = os.NewFile(uintptr(pidfd), "pidfd")
	}
	return p
}

// errStillThere says that a process did not end although it was killed.
var errStillThere = errors.New("it did not end although it was killed")

// wait waits until the process has ended, and reaps it.
func (p *process) wait() error {
	if p.pidfd == nil {
		return p.waitBlocking()
	}
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var waitErr error
	err = raw.Read(func(uintptr) bool {
		var done bool
		done, waitErr = p.reap()
		return done
	})
	if err != nil { // the deadline set by giveUp
		if done, _ := p.reap(); done {
			return nil
		}
		return errStillThere
	}
	return waitErr
}

// reap takes the exit status if there is one.
func (p *process) reap() (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		pid, err := syscall.Wait4(p.pid, &p.status, syscall.WNOHANG, nil)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil:
			p.reaped = true
			return true, os.NewSyscallError("wait4", err)
		case pid == 0:
			return false, nil
		}
		p.reaped = true
		return true, nil
	}
}

// waitBlocking is for kernels without pidfds: a thread waits for each process.
func (p *process) waitBlocking() error {
	for {
		err := unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			break
		}
	}
	_, err := p.reap()
	return err
}

// giveUp makes wait return after d even if the process is still there.
func (p *process) giveUp(d time.Duration) {
	if p.pidfd != nil {
		_ = p.pidfd.SetReadDeadline(time.Now().Add(d)) // fails only when wait has returned
	}
}

// signal sends a signal to the process alone, unless it was reaped.
func (p *process) signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		_ = syscall.Kill(p.pid, sig) // it is ours, and there
	}
}

// signalGroup sends a signal to the process group, unless the process was
// reaped: then its number may be somebody else's.
func (p *process) signalGroup(sig syscall.Signal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.reaped && syscall.Kill(-p.pid, sig) == nil
}

func (p *process) close() {
	if p.pidfd != nil {
		_ = p.pidfd.Close() // nothing was written
	}
}

// errGivenUp ends a pipe that somebody still holds open.
var errGivenUp = errors.New("given up")

// drainLimit is how much is still read from a pipe that is given up: more than
// a pipe can hold, so that nothing is lost that was written before.
const drainLimit = 1 << 20

// A pipe is our end of a pipe or socket that a command writes to.
type pipe struct {
	file *os.File
	fd   int

	givenUp bool // read by others after the reader has ended
	left    int
}

// newPipe takes over our end, which must not block.
func newPipe(fd int, name string) *pipe {
	return &pipe{file: os.NewFile(uintptr(fd), name), fd: fd}
}

// giveUp makes the reader return after it has read what is there.
func (p *pipe) giveUp() { _ = p.file.SetReadDeadline(time.Unix(1, 0)) }

// Read reads; after giveUp what is there, and then fails with errGivenUp.
func (p *pipe) Read(b []byte) (int, error) {
	if !p.givenUp {
		n, err := p.file.Read(b)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		p.givenUp, p.left = true, drainLimit
	}
	return p.drain(func() (int, error) { return unix.Read(p.fd, b) })
}

func (p *pipe) drain(read func() (int, error)) (int, error) {
	if p.left <= 0 {
		return 0, errGivenUp
	}
	for {
		n, err := read()
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, errGivenUp
		case n == 0:
			p.givenUp = false
			return 0, io.EOF
		}
		p.left -= n
		return n, nil
	}
}

func (p *pipe) close() { _ = p.file.Close() } // nothing was written
