package template

import (
	"os/exec"
	"syscall"
)

// ownProgram is the program of this process, even if its file was replaced since.
func ownProgram() string { return "/proc/self/exe" }

// dieWithParent makes the process end when the thread that starts it does.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// limitData bounds the memory of this process; the Go runtime ends where it gets no more.
func limitData(n uint64) {
	_ = syscall.Setrlimit(syscall.RLIMIT_DATA, &syscall.Rlimit{Cur: n, Max: n})
}
