package executor

import (
	"maps"
	"syscall"
	"time"
)

// leave lets what is left of a tree, whose main process was reaped, go on running.
func (f *forest) leave(t *tree) {
	if f.bare(t) {
		return
	}
	rest, _ := f.members(t)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range rest {
		f.left[p.pid] = p
	}
}

// mayStay tells whether a process was left running, or is in the session of one
// that was.
func (f *forest) mayStay(p proc) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.left {
		if l.key() == p.key() || l.session == p.session && l.session != f.session {
			return true
		}
	}
	return false
}

// sweep reaps inherited processes that have ended while trees still stand, and
// forgets what was left running and has ended.
func (f *forest) sweep() {
	f.sweeping.Lock()
	defer f.sweeping.Unlock()
	f.mu.Lock()
	left := maps.Clone(f.left)
	f.mu.Unlock()
	zombies, running := map[procKey]time.Time{}, map[procKey]bool{}
	all := f.census.processes()
	f.endStrangers(all)
	for _, p := range all {
		if p.state != 'Z' {
			running[p.key()] = true
			continue
		}
		if p.parent != f.self || p.group == f.group || f.awaited(p.pid) {
			continue
		}
		since, seen := f.zombies[p.key()]
		if !seen {
			since = time.Now()
		}
		if f.inherited(p) || time.Since(since) >= zombieAge {
			reapOrphan(p.pid)
		} else {
			zombies[p.key()] = since
		}
	}
	f.zombies = zombies
	f.mu.Lock()
	defer f.mu.Unlock()
	for pid, p := range left {
		if !running[p.key()] {
			delete(f.left, pid)
		}
	}
	f.janitor = nil
	if (len(f.trees) > 0 || len(f.unclear) > 0) && !f.closed {
		f.janitor = time.AfterFunc(janitorTick, f.sweep)
	}
}

// endStrangers ends children that we inherited and that are older than every
// standing tree: whatever can have made them has ended. While a tree stood that
// was as old as they are, it could not be told whose they were.
func (f *forest) endStrangers(all []proc) {
	if !f.subreaper {
		return
	}
	doomed, unclear := map[int]bool{}, map[procKey]bool{}
	for _, p := range all {
		if p.state == 'Z' || p.parent != f.self || p.session == f.session || !f.older(p) || f.mayStay(p) || f.known(p.pid) {
			continue
		}
		env, clear := environOf(p.pid)
		switch {
		case f.elsewhere(env) || isHelper(p.pid):
		case clear || f.unclear[p.key()]: // one that stays empty is
			doomed[p.pid] = true
		default:
			unclear[p.key()] = true
		}
	}
	f.unclear = unclear
	var ended []proc
	for again := len(doomed) > 0; again; {
		again = false
		for _, p := range all {
			if !doomed[p.pid] && doomed[p.parent] {
				doomed[p.pid], again = true, true
			}
		}
	}
	for _, p := range all {
		if doomed[p.pid] && p.state != 'Z' {
			_ = syscall.Kill(p.pid, syscall.SIGKILL) // the next sweep finds what it left
			ended = append(ended, p)
		}
	}
	if len(ended) > 0 {
		f.log.Warn("ended processes that commands left behind", "processes", names(ended))
	}
}

// older tells whether a process is older than every standing tree.
func (f *forest) older(p proc) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.trees {
		if t.born <= p.born {
			return false
		}
	}
	return f.planting.Load() == 0
}

// awaited tells whether the end of a child is waited for here.
func (f *forest) awaited(pid int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.trees[pid] != nil || f.others[pid]
}

// inherited tells whether a child was surely not started by another part of this program,
// which would wait for it.
func (f *forest) inherited(p proc) bool {
	if f.awaited(p.pid) {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return p.session != f.session || f.trees[p.group] != nil || f.left[p.pid].key() == p.key()
}
