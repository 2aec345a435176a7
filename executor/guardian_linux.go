package executor

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// tellDelay is how long the guardian is not told of a command: most have
	// ended by then, and it finds the others by their token too.
	tellDelay = 50 * time.Millisecond
	// guardianPatience is how long a guardian may not read what it is told.
	guardianPatience = 2 * time.Second
	// guardianPause is the least time between two starts of a guardian.
	guardianPause = time.Second
)

// Guardian is a process beside this one that ends the trees of its commands when
// this process dies, by kill -9 too, when it is stopped beyond a command's hard
// limit, and when it no longer says that it may go on (see [Guardian.Trust]). It
// is started by the first command, and again if it dies. A nil Guardian does nothing.
// It is safe for concurrent use.
type Guardian struct {
	argv  []string
	token string
	then  []string // executed when this process has died

	mu      sync.Mutex
	closed  bool
	notify  []func(pid int, lives bool)
	pipe    *os.File // to the process; nil: there is none
	process *process
	started time.Time
	ended   chan struct{} // closed when the process was reaped
	watched map[int]*watch
	gone    []int // watched, told, and ended since
	trust   int64 // CLOCK_BOOTTIME in nanoseconds; 0: no bound
	dirty   bool  // trust was not told
	timer   *time.Timer
	telling sync.Mutex // held while writing to pipe
}

// A watch is what the guardian knows of a command.
type watch struct {
	pid   int
	born  uint64 // boot time in clock ticks, at or before its first process
	limit int64  // CLOCK_BOOTTIME in nanoseconds; 0: none
	token string
	told  bool
}

// NewGuardian returns a guardian that starts this program again, with argv as
// its arguments (argv[0] is what ps shows), when it is needed. The program must
// call [Child] before anything else; one that does not must not use a guardian.
func NewGuardian(argv []string) *Guardian {
	return &Guardian{argv: argv, token: ownToken(), watched: map[int]*watch{}}
}

// Then has a command of this program executed, once, when this process has died
// without [Guardian.Close] and what it left is ended: such as one that tells
// others. argv[0] is what ps shows; the directory is the root, so name files by
// their whole paths. It must be called before the first command is executed.
func (g *Guardian) Then(argv []string) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.then = argv
}

// Trust says until when this process may go on by itself, for example until its
// lease ends. If the time comes and was not moved on, the guardian ends all
// commands, since this process seems not to. The zero time: no bound.
//
// When Trust returns, nothing that it was told before ends a command any more:
// where the time had come, the guardian is replaced, since it may just be ending
// whatever it finds.
func (g *Guardian) Trust(until time.Time) {
	if g == nil {
		return
	}
	g.mu.Lock()
	lapsed := g.trust != 0 && bootNow() >= g.trust
	g.trust, g.dirty = bootTime(until), true
	pipe, process, ended := g.pipe, g.process, g.ended
	if lapsed && pipe != nil {
		g.pipe = nil // await starts no other one
		process.signal(syscall.SIGKILL)
	}
	g.mu.Unlock()
	if lapsed && pipe != nil {
		<-ended
		_ = pipe.Close() // not before: it would take that for our end
		g.mu.Lock()
		g.started = time.Time{}
		g.mu.Unlock()
		_ = g.ready() // tried again with the next command
	}
	g.tell()
}

// Close ends the guardian, and with it all commands that still run.
func (g *Guardian) Close() {
	if g == nil {
		return
	}
	g.mu.Lock()
	g.closed = true
	if g.timer != nil {
		g.timer.Stop()
	}
	pipe, ended, idle := g.pipe, g.ended, len(g.watched) == 0
	g.pipe = nil
	g.mu.Unlock()
	if pipe == nil {
		return
	}
	if idle {
		_ = pipe.SetWriteDeadline(time.Now().Add(guardianPatience))
		_, _ = pipe.WriteString("done\n") // else it looks twice for what is left, and finds nothing
	}
	_ = pipe.Close() // tells it to end
	<-ended
}

func (g *Guardian) workerToken() string {
	if g == nil {
		return ""
	}
	return g.token
}

// attach has the numbers of the guardian's processes told to notify.
func (g *Guardian) attach(notify func(pid int, lives bool)) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.notify = append(g.notify, notify)
	if g.process != nil {
		notify(g.process.pid, true)
	}
}

// ready starts the process if there is none.
func (g *Guardian) ready() error {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pipe != nil || g.closed || time.Since(g.started) < guardianPause {
		return nil
	}
	g.started = time.Now()
	if err := g.start(); err != nil {
		return fmt.Errorf("start the guardian: %w", err)
	}
	for _, w := range g.watched {
		w.told = false
	}
	g.dirty = g.trust != 0
	g.schedule(tellDelay)
	return nil
}

// start starts the process. What it must know at least is in the pipe before it exists.
func (g *Guardian) start() error {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return os.NewSyscallError("pipe2", err)
	}
	defer unix.Close(p[0])
	if err := unix.SetNonblock(p[1], true); err != nil {
		unix.Close(p[1])
		return os.NewSyscallError("fcntl", err)
	}
	pipe := os.NewFile(uintptr(p[1]), "guardian")
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err == nil {
		defer null.Close()
		_, err = pipe.WriteString(g.introduction())
	}
	var pid int
	if err == nil {
		pid, err = syscall.ForkExec("/proc/self/exe", g.argv, &syscall.ProcAttr{
			Dir:   "/",
			Env:   guardianEnv(os.Environ()),
			Files: []uintptr{uintptr(p[0]), null.Fd(), null.Fd()},
			Sys:   &syscall.SysProcAttr{Setsid: true},
		})
	}
	if err != nil {
		_ = pipe.Close() // nothing was written that matters
		return err
	}
	g.pipe, g.process, g.ended = pipe, &process{pid: pid}, make(chan struct{})
	for _, n := range g.notify {
		n(pid, true)
	}
	go g.await(g.process, pipe, g.ended)
	return nil
}

// introduction is what the process has to know at least.
func (g *Guardian) introduction() string {
	s := "worker " + g.token + "\n"
	if len(g.then) > 0 {
		if argv, err := json.Marshal(g.then); err == nil { // strings always can be
			s += "then " + string(argv) + "\n"
		}
	}
	return s
}

// guardianEnv marks the child, and keeps what it does not need small.
func guardianEnv(base []string) []string {
	env := []string{childEnv + "=" + childGuardian, "GOMAXPROCS=1", "GOMEMLIMIT=64MiB"}
	for _, kv := range base {
		if name, _, _ := strings.Cut(kv, "="); name != childEnv && !strings.HasPrefix(name, "GO") {
			env = append(env, kv)
		}
	}
	return env
}

// await reaps the process, and has another one started if it should not have ended.
func (g *Guardian) await(p *process, pipe *os.File, ended chan struct{}) {
	p.wait()
	g.mu.Lock()
	for _, n := range g.notify {
		n(p.pid, false)
	}
	if g.pipe == pipe {
		_ = pipe.Close() // the reader is gone
		g.pipe = nil
		g.schedule(max(guardianPause-time.Since(g.started), 0))
	}
	g.mu.Unlock()
	close(ended)
}

// watch has a command ended if this process does not end it.
func (g *Guardian) watch(t *tree, limit time.Time) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.watched[t.pid] = &watch{pid: t.pid, born: t.born, token: t.token, limit: bootTime(limit)}
	if g.timer == nil {
		g.schedule(tellDelay)
	}
}

// forget says that a command has ended.
func (g *Guardian) forget(pid int) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if w := g.watched[pid]; w != nil && w.told {
		g.gone = append(g.gone, pid)
		if g.timer == nil {
			g.schedule(tellDelay)
		}
	}
	delete(g.watched, pid)
}

// schedule has the news told after d.
func (g *Guardian) schedule(d time.Duration) {
	if g.timer != nil {
		g.timer.Stop()
	}
	if !g.closed {
		g.timer = time.AfterFunc(d, g.tell)
	}
}

// tell writes the news to the process, and starts one if it is missing while
// there are commands.
func (g *Guardian) tell() {
	g.telling.Lock()
	defer g.telling.Unlock()
	g.mu.Lock()
	g.timer = nil
	missing := g.pipe == nil && len(g.watched) > 0
	g.mu.Unlock()
	if missing {
		_ = g.ready() // tried again with the next command
	}
	g.mu.Lock()
	pipe, news := g.pipe, ""
	if pipe != nil {
		news = g.news()
	}
	g.mu.Unlock()
	if news == "" {
		return
	}
	_ = pipe.SetWriteDeadline(time.Now().Add(guardianPatience))
	if _, err := pipe.WriteString(news); err != nil {
		g.mu.Lock()
		if g.pipe == pipe {
			g.process.signal(syscall.SIGKILL) // it does not read: await starts another one
		}
		g.mu.Unlock()
	}
}

// news is what the process was not told yet.
func (g *Guardian) news() string {
	var b strings.Builder
	for _, pid := range g.gone {
		fmt.Fprintf(&b, "forget %d\n", pid)
	}
	g.gone = nil
	for _, w := range g.watched {
		if !w.told {
			fmt.Fprintf(&b, "watch %d %d %d %s\n", w.pid, w.born, w.limit, w.token)
			w.told = true
		}
	}
	if g.dirty {
		fmt.Fprintf(&b, "trust %d\n", g.trust)
		g.dirty = false
	}
	return b.String()
}

// bootTime converts a time to CLOCK_BOOTTIME, which all processes share and
// which goes on while the machine sleeps. The zero time gives 0.
func bootTime(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return bootNow() + int64(time.Until(t))
}

func bootNow() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // cannot fail
	return ts.Nano()
}
