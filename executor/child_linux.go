package executor

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The mark of a child process of our own program.
const (
	childEnv      = "JOBCONTROL_CHILD"
	childGuardian = "guardian"
)

const (
	guardianTick  = time.Second            // a stopped or sleeping machine is noticed so late
	guardianLimit = 5 * time.Second        // for ending what a dead worker left behind
	lastLook      = 200 * time.Millisecond // after nothing was found
)

// Child runs the guardian, and does not return, if this process was started as
// one; else it does nothing. Programs that use a [Guardian] call it first in main.
func Child() {
	if os.Getenv(childEnv) != childGuardian {
		return
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(0, &st); err != nil || st.Mode&syscall.S_IFMT != syscall.S_IFIFO {
		fmt.Fprintf(os.Stderr, "%s=%s is for processes that jobcontrol starts itself\n", childEnv, childGuardian)
		os.Exit(2)
	}
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGTSTP)
	closeInherited()
	lines := make(chan string)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			lines <- in.Text()
		}
	}()
	w := &warden{census: &census{self: os.Getpid()}, watches: map[int]watch{}}
	w.guard(lines)
	if !w.done {
		w.lastStand()
		w.tellOthers()
	}
	os.Exit(0)
}

// closeInherited closes descriptors that were not meant for this process, but
// not those of the Go runtime.
func closeInherited() {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd < 3 {
			continue
		}
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.HasPrefix(to, "anon_inode:") {
			_ = syscall.Close(fd) // the directory itself is closed already
		}
	}
}

// A warden is the guardian's own side: what it knows and does.
type warden struct {
	census  *census
	worker  string // token that all commands of the worker share
	watches map[int]watch
	trust   int64
	done    bool // the worker has ended all by itself
	then    []string
}

// guard does what it is told, and ends what is past its limit, until the worker has gone.
func (w *warden) guard(lines <-chan string) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				return
			}
			w.obey(line)
		case <-timer.C:
		}
		w.enforce()
		timer.Reset(w.pause())
	}
}

// obey carries out one line.
func (w *warden) obey(line string) {
	var a watch
	switch verb, rest, _ := strings.Cut(line, " "); verb {
	case "done":
		w.done = true
	case "worker":
		w.worker = rest
	case "then":
		_ = json.Unmarshal([]byte(rest), &w.then) // ours
	case "trust":
		w.trust, _ = strconv.ParseInt(rest, 10, 64)
	case "forget":
		pid, _ := strconv.Atoi(rest)
		delete(w.watches, pid)
	case "watch":
		if n, _ := fmt.Sscan(rest, &a.pid, &a.born, &a.limit, &a.token); n == 4 {
			w.watches[a.pid] = a
		}
	}
}

// pause is how long nothing needs to be enforced. What is past its limit is
// looked at again, and the clock may jump.
func (w *warden) pause() time.Duration {
	now, next, some := bootNow(), int64(guardianTick), w.trust > 0
	if left := w.trust - now; some && left > 0 {
		next = min(next, left)
	}
	for _, a := range w.watches {
		some = some || a.limit > 0
		if left := a.limit - now; left > 0 {
			next = min(next, left)
		}
	}
	if !some {
		return time.Hour
	}
	return time.Duration(next)
}

// enforce ends what is past its limit.
func (w *warden) enforce() {
	now := bootNow()
	if w.trust > 0 && now >= w.trust {
		w.end(w.worker, w.watches)
		return
	}
	for _, a := range w.watches {
		if a.limit > 0 && now >= a.limit {
			w.end(a.token, map[int]watch{a.pid: a})
		}
	}
}

// lastStand ends everything that a worker that has gone left behind.
func (w *warden) lastStand() {
	for begin := time.Now(); time.Since(begin) < guardianLimit; {
		if w.end(w.worker, w.watches) == 0 {
			time.Sleep(lastLook)
			if w.end(w.worker, w.watches) == 0 {
				return
			}
		}
	}
}

// tellOthers becomes the command of [Guardian.Then].
func (w *warden) tellOthers() {
	if len(w.then) == 0 {
		return
	}
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, childEnv+"=") })
	_ = syscall.Exec("/proc/self/exe", w.then, env) // nobody could be told that it failed
}

// end kills the processes that have a token or are in the group of a watched
// command, and their descendants, until there are none, for a second at most. It
// returns how many it found at first.
func (w *warden) end(token string, watches map[int]watch) int {
	if token == "" {
		return 0
	}
	first := -1
	for begin := time.Now(); time.Since(begin) < time.Second; time.Sleep(5 * time.Millisecond) {
		found := w.find(token, watches)
		if first < 0 {
			first = len(found)
		}
		if len(found) == 0 {
			break
		}
		for _, pid := range found {
			_ = syscall.Kill(pid, syscall.SIGKILL) // the next look tells whether it worked
		}
	}
	return first
}

func (w *warden) find(token string, watches map[int]watch) []int {
	all := w.census.processes()
	mine := map[int]bool{}
	var out []int
	for again := true; again; {
		again = false
		for _, p := range all {
			if mine[p.pid] || p.pid == w.census.self {
				continue
			}
			a, grouped := watches[p.group]
			env, _ := environOf(p.pid)
			if mine[p.parent] || grouped && p.born >= a.born || strings.Contains(env, token) {
				mine[p.pid], again = true, true
				if p.state != 'Z' {
					out = append(out, p.pid)
				}
			}
		}
	}
	return out
}
