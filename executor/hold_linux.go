package executor

import (
	"context"
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/internal/fault"
)

// A held is a command whose process exists and has executed nothing of its
// program: it has done its execve, and the loader may have loaded the libraries
// that the program is linked with and executed their constructors.
// We trace it. If this process dies the kernel kills it, as its tracee and as its
// child. All that is done to a tracee comes from the thread that started it.
type held struct {
	*command
	ended   func()
	loading *loading // until its program begins; nil: it waits after its execve
}

// prepare starts the process of a shell command and holds it; nil: it cannot.
// The commands that are lists are never held: a traced execve ignores the
// set-user-ID bit of the program, which a shell does not have; what the shell
// starts is not traced any more.
func (m *commands) prepare(call *jobcontrol.Call) *held {
	if m.noHold.Load() {
		return nil
	}
	c, p, err := m.command(call)
	if err != nil {
		return nil // it is executed in vain later, and then told
	}
	runtime.LockOSThread()
	h := &held{command: c}
	if err = c.start(p, true); err == nil {
		if err = h.hold(p.env); err == nil {
			err = fault.Point("executor.held")
		}
	}
	if err != nil {
		// Most likely tracing is not allowed here, or we are traced ourselves.
		// If it was something else, nothing but time is lost.
		m.noHold.Store(true)
		m.log.Debug("commands are not prepared any more while their dependencies' ends are stored", "error", err)
		h.free()
		return nil
	}
	return h
}

// hold waits until the process is where we want it, has it killed with us, and
// has its libraries loaded, unless they include some that the environment names.
func (h *held) hold(env []string) error {
	if n := h.commands.refusals; n != nil {
		n.Add(1)
		return syscall.EPERM
	}
	if err := h.process.awaitTrap(); err != nil {
		return err
	}
	if err := syscall.PtraceSetOptions(h.process.pid, unix.PTRACE_O_EXITKILL); err != nil {
		return err
	}
	if h.commands.noLoad.Load() || foreignLibraries(env) {
		return nil
	}
	var err error
	h.loading, err = h.process.load()
	return err
}

// preloads is the file of libraries that the loader puts into every program.
const preloads = "/etc/ld.so.preload"

// foreignLibraries tells whether the loader would execute what is not the
// program's own: constructors of libraries that the machine or the environment adds.
func foreignLibraries(env []string) bool {
	if info, err := os.Stat(preloads); err == nil && info.Size() > 0 {
		return true
	}
	return slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, "LD_") })
}

// awaitTrap waits until a traced process stops by itself.
func (p *process) awaitTrap() error {
	var status syscall.WaitStatus
	for {
		switch _, err := syscall.Wait4(p.pid, &status, 0, nil); {
		case err == syscall.EINTR:
			continue
		case err != nil:
			return err
		case status.Stopped() && status.StopSignal() == syscall.SIGTRAP:
			return nil
		case !status.Stopped():
			p.reaped, p.status = true, status
		}
		return errors.New("it did not stop where it should")
	}
}

// Execute lets the process go, and attends to it.
func (h *held) Execute(ctx context.Context) (any, error) {
	if ctx.Err() != nil {
		h.Discard()
		return nil, cancelled(ctx)
	}
	defer h.ended()
	err := h.await(ctx)
	started := time.Now()
	if err == nil {
		err = syscall.PtraceDetach(h.process.pid)
	}
	if err != nil {
		h.free() // most likely somebody has sent it a signal
		if ctx.Err() != nil {
			return nil, cancelled(ctx)
		}
		return h.commands.execute(ctx, h.call)
	}
	defer runtime.UnlockOSThread()
	defer h.release()
	return h.run(ctx, started)
}

// await waits until the process has come to its program, but not longer than ctx.
func (h *held) await(ctx context.Context) error {
	if h.loading == nil {
		return nil
	}
	defer context.AfterFunc(ctx, func() { h.process.signalGroup(syscall.SIGKILL) })()
	err := h.loading.await(h.process)
	if errors.Is(err, errStray) {
		h.commands.noLoad.Store(true) // it would be in vain each time
	}
	return err
}

// errStray says that a process stopped somewhere else than at its entry.
var errStray = errors.New("it did not stop at its entry")

// Discard implements [jobcontrol.Prepared].
func (h *held) Discard() {
	defer h.ended()
	h.free()
}

// free ends the process and frees what it used. It waits until the process is gone.
func (h *held) free() {
	defer runtime.UnlockOSThread()
	defer h.release()
	if h.process != nil {
		h.process.signalGroup(syscall.SIGKILL)
		h.process.wait()
	}
}
