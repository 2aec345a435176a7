package executor

import (
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A process is a child of ours. Its methods are safe for concurrent use.
type process struct {
	pid int

	mu     sync.Mutex
	reaped bool
	status syscall.WaitStatus
}

// reap takes the exit status if there is one, and tells whether the process is gone.
func (p *process) reap() (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return true, nil
	}
	for {
		pid, err := syscall.Wait4(p.pid, &p.status, syscall.WNOHANG, nil)
		switch {
		case err == syscall.EINTR:
			continue
		case err == nil && pid == 0:
			return false, nil
		}
		p.reaped = true
		return true, os.NewSyscallError("wait4", err)
	}
}

// signalLiving sends a signal to the process's group, unless the process has ended.
func (p *process) signalLiving(sig syscall.Signal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return false
	}
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, p.pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	if err == nil && info.Signo != 0 {
		return false // a zombie
	}
	return syscall.Kill(-p.pid, sig) == nil
}

// wait waits in a thread of its own until the process has ended, and reaps it.
func (p *process) wait() {
	for {
		err := unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			break
		}
	}
	_, _ = p.reap() // who waits so does not ask how it ended
}

// signal sends a signal to the process alone, unless it was reaped.
func (p *process) signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		_ = syscall.Kill(p.pid, sig) // it is ours, and there
	}
}

// signalGroup sends a signal to the process's group, unless it was reaped: then
// the number may be somebody else's.
func (p *process) signalGroup(sig syscall.Signal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.reaped && syscall.Kill(-p.pid, sig) == nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		if fd >= 0 {
			_ = unix.Close(fd) // nothing was written, or it does not matter
		}
	}
}
