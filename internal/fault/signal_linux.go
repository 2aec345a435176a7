//go:build failpoints

package fault

import (
	"os"
	"runtime"
	"syscall"
)

// killSelf does not return.
func killSelf() {
	signalSelf(syscall.SIGKILL)
	select {} // never reached: the signal is delivered before the system call returns
}

// stopSelf returns after the process was continued.
func stopSelf() { signalSelf(syscall.SIGSTOP) }

// signalSelf sends the signal to the calling thread, whence it takes the whole process: a signal to the process as
// such may be delivered by another thread, and this one would go on for a moment beyond the fail point.
func signalSelf(sig syscall.Signal) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := syscall.Tgkill(os.Getpid(), syscall.Gettid(), sig); err != nil {
		exit(os.NewSyscallError("tgkill", err))
	}
}
