//go:build !linux

package pgtest

import "syscall"

// attributes are those of a process that an interrupt at the keyboard does not reach.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
