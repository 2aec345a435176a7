//go:build linux

package executor

import (
	"strconv"
	"sync/atomic"

	"github.com/jobcontrol/jobcontrol"
)

// WithoutChildrenFile makes e find children as where /proc does not list them.
// A command must have been executed.
func WithoutChildrenFile(e *Executor) {
	_ = e.commands.forest.census.children.Close()
	e.commands.forest.census.children = nil
}

// PidOf is the process that is held.
func PidOf(p jobcontrol.Prepared) int { return p.(*held).process.pid }

// Refuse makes e fail to hold the processes that it starts.
func Refuse(e *Executor) { e.commands.refusals = new(atomic.Int32) }

// Refused is how often that was tried.
func Refused(e *Executor) int { return int(e.commands.refusals.Load()) }

// WithoutPidfd makes e wait for commands as on a kernel that has no pidfds.
func WithoutPidfd(e *Executor) { e.commands.noPidfd = true }

// BornOf is when a process was started, in clock ticks since boot.
func BornOf(pid int) uint64 {
	var buf [1024]byte
	p, _ := parseStat(readProc(strconv.Itoa(pid), "stat", buf[:]))
	return p.born
}
