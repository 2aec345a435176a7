package executor

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// newToken is a token that nobody else has.
func newToken() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	return hex.EncodeToString(id[:])
}

// ownToken is a new token that also tells which process is its owner.
func ownToken() string {
	var buf [1024]byte
	self, _ := parseStat(readProc("self", "stat", buf[:])) // without /proc there is no command either
	return ownerMark(self.pid, self.born) + newToken()
}

// ownerMark is what the tokens of a process begin with.
func ownerMark(pid int, born uint64) string { return fmt.Sprintf("%d-%d-", pid, born) }

// EndLeft ends the commands that a process on this machine left behind that has
// died, and everything that descends from them. start is when it was started, in
// clock ticks since boot (field 22 of /proc/PID/stat). It returns nil when
// nothing is left: then nobody executes what that process did. A command's
// descendant that gave up environment, group and parents is not found, nor is
// what may go on running (leave_running).
func EndLeft(ctx context.Context, pid int, start uint64) error {
	c := &census{self: os.Getpid()}
	mark := ownerMark(pid, start)
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		left := c.leftBy(mark, start)
		if len(left) == 0 {
			return nil
		}
		for _, p := range left {
			_ = syscall.Kill(p.pid, syscall.SIGKILL) // the next look tells whether it worked
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%s still running that process %d left behind: %s", plural(len(left), "process is", "processes are"), pid, names(left))
		}
	}
}

// leftBy returns the processes with a mark in their environment, those in their
// process groups, which are those of commands, and the descendants of both.
func (c *census) leftBy(mark string, since uint64) []proc {
	all := c.processes()
	marked, groups := map[int]bool{}, map[int]bool{}
	for _, p := range all {
		if p.born < since || p.pid == c.self {
			continue
		}
		if env, _ := environOf(p.pid); hasMark(env, mark) {
			marked[p.pid], groups[p.group] = true, true
		}
	}
	delete(groups, unix.Getpgrp())
	for again := len(marked) > 0; again; {
		again = false
		for _, p := range all {
			if !marked[p.pid] && (marked[p.parent] || groups[p.group] && p.born >= since) && p.pid != c.self {
				marked[p.pid], again = true, true
			}
		}
	}
	var out []proc
	for _, p := range all {
		if marked[p.pid] && p.state != 'Z' {
			out = append(out, p)
		}
	}
	return out
}

// hasMark tells whether an environment's tokens, those of a command within a
// command separated by semicolons, have one that begins with a mark.
func hasMark(env, mark string) bool {
	_, rest, found := strings.Cut(env, envToken+"=")
	if !found {
		return false
	}
	tokens, _, _ := strings.Cut(rest, "\x00")
	return strings.HasPrefix(tokens, mark) || strings.Contains(tokens, ";"+mark)
}
