package executor

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	auxEntry   = 9    // AT_ENTRY of elf.h: where the program begins
	breakpoint = 0xCC // int3
)

// loading is a held process whose loader is at work. It will stop before its
// program's first instruction.
type loading struct {
	entry uintptr
	was   byte // what is there
}

// load lets a process that is held after its execve go on until its program's
// first instruction, and does not wait for that: the dynamic loader does its
// work, which takes as long as all the rest of a small shell command. It returns
// nil where it does not know that instruction.
func (p *process) load() (*loading, error) {
	entry, err := entryOf(p.pid)
	if err != nil {
		return nil, nil // it is held where it is
	}
	var was [1]byte
	if _, err = syscall.PtracePeekText(p.pid, entry, was[:]); err != nil {
		return nil, nil // likewise
	}
	if _, err = syscall.PtracePokeText(p.pid, entry, []byte{breakpoint}); err != nil {
		return nil, err
	}
	return &loading{entry, was[0]}, syscall.PtraceCont(p.pid, 0)
}

// await waits until the process has come to its program, and makes that whole again.
func (l *loading) await(p *process) error {
	if err := p.awaitTrap(); err != nil {
		return err
	}
	var regs syscall.PtraceRegs
	if err := syscall.PtraceGetRegs(p.pid, &regs); err != nil {
		return err
	}
	if regs.PC() != uint64(l.entry)+1 {
		return errStray
	}
	if _, err := syscall.PtracePokeText(p.pid, l.entry, []byte{l.was}); err != nil {
		return err
	}
	regs.SetPC(uint64(l.entry))
	return syscall.PtraceSetRegs(p.pid, &regs)
}

// entryOf returns the address of a held program's first instruction.
func entryOf(pid int) (uintptr, error) {
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/auxv", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	var buf [1024]byte
	n, err := unix.Read(fd, buf[:])
	for aux := buf[:max(n, 0)]; len(aux) >= 16; aux = aux[16:] {
		if binary.NativeEndian.Uint64(aux) == auxEntry {
			return uintptr(binary.NativeEndian.Uint64(aux[8:])), nil
		}
	}
	return 0, cmp.Or(err, error(unix.ENOENT))
}
