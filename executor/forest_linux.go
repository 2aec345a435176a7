package executor

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jobcontrol/jobcontrol"
)

const (
	settleTime  = 100 * time.Millisecond // for what is about to end by itself, such as a tee
	stubborn    = 500 * time.Millisecond // a killed process that lives so long is given up
	fellLimit   = 5 * time.Second        // for a tree that grows as fast as it is cut
	janitorTick = 2 * time.Second
	zombieAge   = 10 * time.Second // a zombie that nobody took by then is nobody's
)

// A forest is all trees of processes that the commands of one executor have
// made. A process belongs to a tree if it is in its process group, has its token
// in its initial environment, or descends from one that does. A child that we
// inherited and that shows neither belongs to the tree whose pipes it holds
// open, or that alone can have made it, since it is the only one old enough.
type forest struct {
	log       *slog.Logger
	token     string // that all its trees' tokens begin with
	subreaper bool
	self      int
	group     int
	session   int
	census    *census

	planting atomic.Int32 // how many processes may exist that are not in trees yet

	mu      sync.Mutex
	trees   map[int]*tree // standing, by the number of the main process
	others  map[int]bool  // children of ours that belong to no command
	left    map[int]proc  // what commands may leave running
	janitor *time.Timer
	closed  bool

	sweeping sync.Mutex
	zombies  map[procKey]time.Time // children that somebody may wait for, since when
	unclear  map[procKey]bool      // strangers whose environment could not be told at the last sweep
}

// A tree is a command's main process and all that descends from it.
type tree struct {
	forest *forest
	pid    int
	token  string
	born   uint64 // boot time in clock ticks, at or before its first process
	pipes  [3]int // our ends, to know who holds the others
}

func newForest(token string, subreaper bool, log *slog.Logger) (*forest, error) {
	f := &forest{
		log: log, token: token, subreaper: subreaper, self: os.Getpid(), group: unix.Getpgrp(),
		trees: map[int]*tree{}, others: map[int]bool{}, left: map[int]proc{},
	}
	f.session, _ = unix.Getsid(0) // fails for no process of ours
	f.census = newCensus(f.self)
	if subreaper {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return nil, os.NewSyscallError("prctl", err)
		}
	}
	return f, nil
}

// plant adds a tree whose main process start starts.
func (f *forest) plant(t *tree, start func() (int, error)) error {
	f.planting.Add(1)
	defer f.planting.Add(-1)
	pid, err := start()
	if err != nil {
		return err
	}
	t.pid = pid
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trees[pid] = t
	if f.subreaper && f.janitor == nil {
		f.janitor = time.AfterFunc(janitorTick, f.sweep)
	}
	return nil
}

// other tells of a child that belongs to no command, or that it has ended.
func (f *forest) other(pid int, lives bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if lives {
		f.others[pid] = true
	} else {
		delete(f.others, pid)
	}
}

// known tells whether a process is the main process of a standing tree, belongs
// to no command, or may go on running.
func (f *forest) known(pid int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.trees[pid] != nil || f.others[pid] || f.left[pid].pid == pid
}

// stranger tells whether a child is none of those that known knows.
func (f *forest) stranger(pid int) bool {
	for range 20 {
		if f.known(pid) {
			return false
		}
		if f.planting.Load() == 0 {
			break
		}
		time.Sleep(100 * time.Microsecond) // it may just have been started
	}
	return !f.known(pid)
}

// awaitGroup waits until the process group of a tree, whose main process has
// ended, is empty, at most until then.
func (t *tree) awaitGroup(until time.Time) {
	for t.groupLives() && time.Now().Before(until) {
		time.Sleep(5 * time.Millisecond)
	}
}

// groupLives tells whether the tree's process group has members. Those that we
// inherited and that have ended are reaped on the way.
func (t *tree) groupLives() bool {
	if syscall.Kill(-t.pid, 0) == syscall.ESRCH {
		return false
	}
	for {
		pid, err := syscall.Wait4(-t.pid, nil, syscall.WNOHANG|unix.WALL, nil)
		if err != nil || pid <= 0 {
			break
		}
	}
	return syscall.Kill(-t.pid, 0) != syscall.ESRCH
}

// remove takes a tree out of the forest.
func (f *forest) remove(t *tree) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.trees, t.pid)
	if f.subreaper && f.janitor == nil && !f.closed {
		f.janitor = time.AfterFunc(janitorTick, f.sweep) // for what was inherited since the last sweep
	}
}

// bare tells whether nothing is left of a tree whose main process was reaped. It
// takes some microseconds, and says no when it would take longer to know.
func (f *forest) bare(t *tree) bool { return !t.groupLives() && !f.census.suspicious(f, t) }

// fell ends what is left of a tree whose main process was reaped, and reports it.
func (f *forest) fell(t *tree, report func(jobcontrol.Level, string)) {
	rest, clear := f.members(t)
	for end := time.Now().Add(settleTime); (len(rest) > 0 || !clear) && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
		rest, clear = f.members(t)
	}
	if len(rest) == 0 {
		return
	}
	found, left := f.cut(t, rest)
	report(jobcontrol.LevelWarning, fmt.Sprintf("%s still running and %s ended: %s",
		plural(len(found), "process was", "processes were"), plural2(len(found), "was", "were"), names(found)))
	if len(left) > 0 {
		report(jobcontrol.LevelError, fmt.Sprintf("%s not be ended: %s", plural(len(left), "process could", "processes could"), names(left)))
	}
}

// cut kills processes until a look finds no more of the tree. It returns all that it found,
// and those that it could not end.
func (f *forest) cut(t *tree, rest []proc) (found, left []proc) {
	killed := map[procKey]time.Time{}
	begin := time.Now()
	for pause := time.Millisecond; len(rest) > 0; pause = min(2*pause, 20*time.Millisecond) {
		now, hope := time.Now(), false
		for _, p := range rest {
			at, again := killed[p.key()]
			if !again {
				killed[p.key()] = now
				found = append(found, p)
			}
			if !again || now.Sub(at) < stubborn {
				hope = true
			}
			_ = syscall.Kill(p.pid, syscall.SIGKILL) // the next look tells whether it worked
		}
		if !hope || now.Sub(begin) > fellLimit {
			return found, rest
		}
		time.Sleep(pause)
		rest, _ = f.members(t)
	}
	for k := range killed { // a zombie does not show that it belonged to the tree
		for end := time.Now().Add(stubborn); reapOrphan(k.pid) && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
	}
	return found, nil
}

// members looks who belongs to a tree and lives. Zombies that we inherited are reaped.
// It is not clear if there was one of which that could not be told just then.
func (f *forest) members(t *tree) (out []proc, clear bool) {
	all := f.census.processes()
	mine := map[int]bool{}
	clear = true
	for _, p := range all {
		yes, sure := f.belongs(t, p)
		clear = clear && sure
		if yes {
			mine[p.pid] = true
		}
	}
	for again := len(mine) > 0; again; {
		again = false
		for _, p := range all {
			if !mine[p.pid] && mine[p.parent] && !f.known(p.pid) {
				mine[p.pid], again = true, true
			}
		}
	}
	for _, p := range all {
		switch {
		case p.state == 'Z' && p.parent == f.self && (mine[p.pid] || f.inherited(p)):
			reapOrphan(p.pid)
		case p.state != 'Z' && mine[p.pid]:
			out = append(out, p)
		}
	}
	return out, clear
}

// reapOrphan takes the exit status of a child that nobody waits for. It returns
// whether there still is such a child.
func reapOrphan(pid int) bool {
	got, err := syscall.Wait4(pid, nil, syscall.WNOHANG|unix.WALL, nil)
	return err == nil && got == 0
}

// belongs tells whether a process belongs to a tree by itself, and whether that is sure.
func (f *forest) belongs(t *tree, p proc) (yes, sure bool) {
	switch {
	case p.born < t.born || p.pid == f.self || f.known(p.pid) || f.mayStay(p):
		return false, true
	case p.group == t.pid:
		return true, true
	}
	env, clear := environOf(p.pid)
	if strings.Contains(env, t.token) {
		return true, true
	}
	sure = clear || p.state == 'Z'
	if !f.subreaper || p.parent != f.self || p.session == f.session || f.elsewhere(env) {
		return false, sure
	}
	return holdsPipe(p.pid, t.pipes) || f.onlyMaker(t, p) && !isHelper(p.pid), sure
}

// elsewhere tells whether an environment names another standing tree, or another executor's.
func (f *forest) elsewhere(env string) bool {
	if strings.Contains(env, envToken+"=") && !strings.Contains(env, f.token) {
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.trees {
		if strings.Contains(env, t.token) {
			return true
		}
	}
	return false
}

// onlyMaker tells whether t is the only standing tree that is older than p.
func (f *forest) onlyMaker(t *tree, p proc) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range f.trees {
		if o != t && o.born <= p.born {
			return false
		}
	}
	return true
}

// close ends what no tree could be made responsible for.
func (f *forest) close() {
	f.mu.Lock()
	f.closed = true
	if f.janitor != nil {
		f.janitor.Stop()
	}
	f.mu.Unlock()
	if f.subreaper {
		f.sweep()
		all := &tree{forest: f, pid: -1, token: noToken, pipes: [3]int{-1, -1, -1}}
		rest, _ := f.members(all)
		if found, left := f.cut(all, rest); len(found) > 0 {
			f.log.Warn("ended processes that commands left behind", "processes", names(found), "not ended", names(left))
		}
	}
	f.census.close()
}

// noToken is in no environment: it has a NUL byte.
const noToken = "\x00none\x00"

func names(ps []proc) string {
	const most = 10
	var b strings.Builder
	for i, p := range ps[:min(len(ps), most)] {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%d %s", p.pid, p.name)
	}
	if len(ps) > most {
		fmt.Fprintf(&b, " and %d more", len(ps)-most)
	}
	return b.String()
}

func plural(n int, one, many string) string { return fmt.Sprintf("%d %s", n, plural2(n, one, many)) }

func plural2(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
