package executor

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jobcontrol/jobcontrol"
)

const (
	tellDescriptor = 3               // of a command, for its messages
	drainWait      = time.Second     // for the end of a stream after the command's last process
	killWait       = 5 * time.Second // for a killed process to be gone
)

// commands executes commands. The fields below once are set by the first one.
type commands struct {
	log       *slog.Logger
	guardian  *Guardian
	subreaper bool
	token     string // of this process; each command's begins with it
	sequence  atomic.Int64

	once    sync.Once
	failed  error
	null    *os.File
	spawner *spawner
	forest  *forest
}

func newCommands(c Config, log *slog.Logger) *commands {
	m := &commands{log: log, guardian: c.Guardian, subreaper: c.Subreaper}
	if m.token = c.Guardian.workerToken(); m.token == "" {
		m.token = newToken()
	}
	return m
}

func newToken() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	return hex.EncodeToString(id[:])
}

func (m *commands) begin() {
	if m.null, m.failed = os.Open(os.DevNull); m.failed != nil {
		return
	}
	m.spawner = newSpawner()
	if m.forest, m.failed = newForest(m.subreaper, m.log); m.failed == nil {
		m.guardian.attach(m.forest.other)
	}
}

func (m *commands) close() {
	m.once.Do(func() { m.failed = os.ErrClosed })
	if m.spawner != nil {
		m.forest.close()
		m.spawner.close()
		_ = m.null.Close() // read only
	}
}

// A command is one command being executed.
type command struct {
	commands *commands
	call     *jobcontrol.Call
	process  *process
	tree     *tree
	token    string

	out, errs *stream
	tell      *listener
	pipes     [3]*pipe
	names     [3]string
	reading   sync.WaitGroup
	drained   chan struct{} // closed when all readers have returned
	readers   atomic.Int32

	exited chan struct{} // closed when the main process was reaped

	mu     sync.Mutex
	asked  bool      // the context was cancelled before the process ended, and it was told
	killAt time.Time // when its grace is over
	killed bool      // we sent SIGKILL
}

// execute executes the command of a call.
func (m *commands) execute(ctx context.Context, call *jobcontrol.Call) (any, error) {
	if m.once.Do(m.begin); m.failed != nil {
		return nil, fmt.Errorf("execute commands: %w", m.failed)
	}
	token := m.token + "." + strconv.FormatInt(m.sequence.Add(1), 10) + ";"
	p, err := newProgram(call, os.Environ(), token)
	if err != nil {
		return nil, err
	}
	if err := m.guardian.ready(); err != nil {
		return nil, err
	}
	c := &command{commands: m, call: call, token: token, exited: make(chan struct{}), drained: make(chan struct{})}
	if err := c.start(ctx, p); err != nil {
		return nil, err
	}
	return c.finish(ctx, c.run(ctx))
}

// start starts the process and the readers of what it writes.
func (c *command) start(ctx context.Context, p *program) error {
	stdin := c.commands.null
	if p.stdin != nil {
		f, err := memoryFile(p.stdin)
		if err != nil {
			return fmt.Errorf("stdin of the command: %w", err)
		}
		defer f.Close()
		stdin = f
	}
	ours, theirs, err := openPipes()
	if err != nil {
		return fmt.Errorf("pipes of the command: %w", err)
	}
	pidfd := -1
	attr := &syscall.ProcAttr{
		Dir: p.dir, Env: p.env,
		Files: []uintptr{stdin.Fd(), uintptr(theirs[0]), uintptr(theirs[1]), uintptr(theirs[2])},
		Sys:   &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, PidFD: &pidfd},
	}
	started := time.Now()
	c.tree = &tree{forest: c.commands.forest, token: c.token, born: bootTicks(), pipes: ours}
	err = c.commands.forest.plant(c.tree, func() (int, error) { return c.commands.spawner.start(p.path, p.argv, attr) })
	closeAll(theirs[:])
	if err != nil {
		closeAll(ours[:])
		return startFailure(p, err)
	}
	c.process = newProcess(c.tree.pid, pidfd)
	c.commands.guardian.watch(c.tree, hardLimit(ctx, c.call.Job, started))
	c.listen(ctx, ours)
	return nil
}

// hardLimit is when the guardian ends the command if this process does not: a
// little after the last moment at which this process would have. Zero: never.
func hardLimit(ctx context.Context, job *jobcontrol.Job, now time.Time) time.Time {
	const slack = 2 * time.Second
	var limit time.Time
	if at, ok := ctx.Deadline(); ok {
		limit = at.Add(job.GraceOrDefault() + slack)
	}
	if job.Timeout > 0 {
		if at := now.Add(job.Timeout + slack); limit.IsZero() || at.Before(limit) {
			limit = at
		}
	}
	return limit
}

// listen starts the readers.
func (c *command) listen(ctx context.Context, ours [3]int) {
	wanted := resultMode(c.call)
	c.names = [3]string{"stdout", "stderr", "descriptor 3"}
	for i, fd := range ours {
		c.pipes[i] = newPipe(fd, c.names[i])
	}
	c.out = &stream{name: "stdout", level: jobcontrol.LevelInfo, record: c.call.Record, source: c.pipes[0], capture: wanted != ""}
	c.errs = &stream{name: "stderr", level: jobcontrol.LevelWarning, record: c.call.Record, source: c.pipes[1]}
	c.tell = newListener(ctx, c.call, c.pipes[2])
	c.readers.Store(3)
	for _, read := range [3]func(){c.out.read, c.errs.read, c.tell.read} {
		go func() {
			read()
			if c.readers.Add(-1) == 0 {
				close(c.drained)
			}
		}()
	}
}

// run waits until the command and everything it started have ended, or were
// given up. The error is that of the waiting.
func (c *command) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { c.terminate(ctx) })
	err := c.process.wait()
	close(c.exited)
	stop()
	c.mu.Lock()
	asked, killAt := c.asked, c.killAt
	c.mu.Unlock()
	if asked {
		c.tree.awaitGroup(killAt)
	}
	c.commands.guardian.forget(c.process.pid)
	c.commands.forest.fell(c.tree, func(level jobcontrol.Level, m string) { report(c.call, level, m) })
	c.drain()
	c.process.close()
	return err
}

// terminate ends the process group: SIGTERM, and SIGKILL when the grace is over.
func (c *command) terminate(ctx context.Context) {
	grace := graceLeft(ctx, c.call.Job)
	c.mu.Lock()
	c.killAt = time.Now().Add(grace)
	first := syscall.SIGTERM
	if grace == 0 {
		first = syscall.SIGKILL
	}
	c.asked = c.process.signalGroup(first)
	c.killed = c.asked && grace == 0
	c.mu.Unlock()
	if !c.asked {
		return
	}
	if grace > 0 {
		c.process.signalGroup(syscall.SIGCONT) // a stopped process cannot end
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-c.exited:
			return
		case <-timer.C:
		}
		c.mu.Lock()
		c.killed = c.process.signalGroup(syscall.SIGKILL)
		c.mu.Unlock()
	}
	c.process.giveUp(killWait)
}

// drain waits for the readers to reach the end of what was written.
func (c *command) drain() {
	timer := time.NewTimer(drainWait)
	defer timer.Stop()
	select {
	case <-c.drained:
	case <-timer.C:
		for _, p := range c.pipes {
			p.giveUp()
		}
		<-c.drained
	}
	for i, p := range c.pipes {
		if p.givenUp {
			report(c.call, jobcontrol.LevelWarning, c.names[i]+" is still held open by a process that was not ended; what it writes from now on is lost")
		}
		p.close()
	}
}

// openPipes makes what a command writes to: stdout, stderr and descriptor 3.
// Our ends do not block, theirs do.
func openPipes() (ours, theirs [3]int, err error) {
	ours, theirs = [3]int{-1, -1, -1}, [3]int{-1, -1, -1}
	defer func() {
		if err != nil {
			closeAll(ours[:])
			closeAll(theirs[:])
		}
	}()
	for i := range 2 {
		var p [2]int
		if err = unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			return ours, theirs, os.NewSyscallError("pipe2", err)
		}
		ours[i], theirs[i] = p[0], p[1]
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return ours, theirs, os.NewSyscallError("socketpair", err)
	}
	ours[2], theirs[2] = pair[0], pair[1]
	for _, fd := range ours {
		if err = unix.SetNonblock(fd, true); err != nil {
			return ours, theirs, os.NewSyscallError("fcntl", err)
		}
	}
	return ours, theirs, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		if fd >= 0 {
			_ = unix.Close(fd) // nothing was written
		}
	}
}

// memoryFile returns a file that no other process can find by name.
func memoryFile(data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("stdin", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "stdin")
	if _, err = f.Write(data); err == nil {
		_, err = f.Seek(0, 0)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func isTooLong(err error) bool { return err == syscall.E2BIG }
