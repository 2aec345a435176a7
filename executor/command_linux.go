package executor

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/internal/fault"
)

// commands executes commands. What the first one needs is made by once.
type commands struct {
	log       *slog.Logger
	guardian  *Guardian
	subreaper bool
	token     string // of this process; each command's begins with it
	sequence  atomic.Int64
	noPidfd   bool          // in tests: as on an old kernel
	noHold    atomic.Bool   // commands cannot be prepared here
	noLoad    atomic.Bool   // their libraries cannot be loaded meanwhile
	refusals  *atomic.Int32 // in tests: as where nobody may trace; counts

	once   sync.Once
	failed error
	null   *os.File
	forest *forest
}

func newCommands(c Config, log *slog.Logger) *commands {
	m := &commands{log: log, guardian: c.Guardian, subreaper: c.Subreaper}
	if m.token = c.Guardian.workerToken(); m.token == "" {
		m.token = ownToken()
	}
	return m
}

func (m *commands) begin() {
	if m.null, m.failed = os.Open(os.DevNull); m.failed != nil {
		return
	}
	if m.forest, m.failed = newForest(m.token, m.subreaper, m.log); m.failed == nil {
		m.guardian.attach(m.forest.other)
	}
}

func (m *commands) close() {
	m.once.Do(func() { m.failed = os.ErrClosed })
	if m.failed == nil {
		m.forest.close()
		_ = m.null.Close() // read only
	}
}

// A command is one command being executed.
type command struct {
	commands *commands
	call     *jobcontrol.Call
	process  *process
	tree     *tree
	pidfd    int // -1: the kernel has none

	fds  [3]int // our ends of stdout, stderr and descriptor 3; -1: at its end
	out  *stream
	errs *stream
	tell *listener

	mu     sync.Mutex
	asked  bool      // the context was cancelled before the process ended, and it was told
	killAt time.Time // when its grace is over
	killer *time.Timer
}

// execute executes the command of a call. Its goroutine keeps its thread: the
// kernel sends the process its parent-death signal when the thread ends that
// started it, and Go ends threads now and then.
func (m *commands) execute(ctx context.Context, call *jobcontrol.Call) (any, error) {
	c, p, err := m.command(call)
	if err != nil {
		return nil, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer c.release()
	started := time.Now()
	if err := c.start(p, false); err != nil {
		return nil, err
	}
	return c.run(ctx, started)
}

// command makes the command of a call, and the program that it starts.
func (m *commands) command(call *jobcontrol.Call) (*command, *program, error) {
	if m.once.Do(m.begin); m.failed != nil {
		return nil, nil, fmt.Errorf("execute commands: %w", m.failed)
	}
	worker := m.token
	if call.Job.LeaveRunning {
		// What it leaves running is nobody's: neither this executor nor the
		// guardian looks for such a token after the command has ended.
		worker = newToken()
	}
	token := worker + "." + strconv.FormatInt(m.sequence.Add(1), 10) + ";"
	p, err := newProgram(call, os.Environ(), token)
	if err == nil {
		err = m.guardian.ready()
	}
	return &command{commands: m, call: call, tree: &tree{forest: m.forest, token: token}}, p, err
}

// start starts the process; one that is traced stops before its first instruction.
func (c *command) start(p *program, traced bool) error {
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
	c.pidfd = -1
	attr := &syscall.ProcAttr{
		Dir: p.dir, Env: p.env,
		Files: []uintptr{stdin.Fd(), uintptr(theirs[0]), uintptr(theirs[1]), uintptr(theirs[2])},
		Sys:   &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, PidFD: &c.pidfd, Ptrace: traced},
	}
	if err := fault.Point("executor.start.before"); err != nil {
		closeAll(ours[:])
		closeAll(theirs[:])
		return err
	}
	c.tree.born, c.tree.pipes = bootTicks(), ours
	err = c.commands.forest.plant(c.tree, func() (int, error) { return syscall.ForkExec(p.path, p.argv, attr) })
	closeAll(theirs[:])
	if err != nil {
		closeAll(ours[:])
		return startFailure(p, err)
	}
	c.process, c.fds = &process{pid: c.tree.pid}, ours
	if c.commands.noPidfd {
		closeAll([]int{c.pidfd})
		c.pidfd = -1
	}
	c.commands.guardian.watch(c.tree, time.Time{})
	return nil
}

// run attends to the process until its end, and makes its outcome.
func (c *command) run(ctx context.Context, started time.Time) (any, error) {
	if limit := hardLimit(ctx, c.call.Job, started); !limit.IsZero() {
		c.commands.guardian.watch(c.tree, limit)
	}
	c.out = &stream{name: "stdout", level: jobcontrol.LevelInfo, record: c.call.Record, capture: resultMode(c.call) != ""}
	c.errs = &stream{name: "stderr", level: jobcontrol.LevelWarning, record: c.call.Record}
	c.tell = newListener(ctx, c.call, c.fds[2])
	if err := fault.Point("executor.start.after"); err != nil {
		return nil, err
	}
	return c.finish(ctx, c.attend(ctx))
}

// release frees what the command used. A process that is still there could not
// be ended, or a recorder has panicked: it is left to a thread of its own.
func (c *command) release() {
	if c.process == nil {
		return // it was not started
	}
	c.mu.Lock()
	if c.killer != nil {
		c.killer.Stop()
	}
	c.mu.Unlock()
	c.process.signalGroup(syscall.SIGKILL)
	c.commands.guardian.forget(c.process.pid)
	closeAll(append(c.fds[:], c.pidfd))
	if gone, _ := c.process.reap(); gone {
		c.commands.forest.remove(c.tree)
		return
	}
	go func() {
		c.process.wait()
		c.commands.forest.remove(c.tree)
	}()
}

// hardLimit is when the guardian ends the command if this process does not: a
// little after the last moment at which this process would have. Zero: never.
func hardLimit(ctx context.Context, job *jobcontrol.Job, now time.Time) time.Time {
	const slack = 2 * time.Second
	var limit time.Time
	sooner := func(at time.Time) {
		if limit.IsZero() || at.Before(limit) {
			limit = at
		}
	}
	if at, ok := ctx.Deadline(); ok {
		sooner(at.Add(job.GraceOrDefault() + slack))
	}
	if job.SoftTimeout > 0 {
		sooner(now.Add(job.SoftTimeout + job.GraceOrDefault() + slack))
	}
	if job.Timeout > 0 {
		sooner(now.Add(job.Timeout + slack))
	}
	return limit
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
		if _, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, unix.O_NONBLOCK); err != nil {
			return ours, theirs, os.NewSyscallError("fcntl", err)
		}
	}
	return ours, theirs, nil
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
