package pgtest

import "syscall"

// attributes makes a process end with this one; SIGQUIT ends PostgreSQL at once.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT, Setpgid: true}
}
