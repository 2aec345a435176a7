package pgtest

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Options are the settings of a cluster. The zero value is for tests that do not
// look at what a crash leaves.
type Options struct {
	Durable  bool              // flush commits to the disk
	Settings map[string]string // further settings, as in postgresql.conf
}

// Cluster is a PostgreSQL server with a data directory of its own. Its methods
// are not for several goroutines at once, but URL and TCP.
type Cluster struct {
	dir      string // holds lock, data and socket
	bin      string
	port     int
	password string
	opts     Options
	as       *owner
	lock     *os.File
	process  *process // nil: it is stopped
}

// process is a running server.
type process struct {
	cmd   *exec.Cmd
	ready chan struct{} // closed when it accepts connections
	ended chan struct{} // closed when it has ended
	mu    sync.Mutex
	log   []string // its last lines
}

// startTime is how long a server may take to start; recovery after a crash included.
const startTime = time.Minute

// Start makes a cluster and starts its server.
func Start(opts Options) (*Cluster, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	as, err := findOwner()
	if err != nil {
		return nil, err
	}
	sweep(os.TempDir())
	c := &Cluster{bin: bin, opts: opts, as: as, password: rand.Text()}
	if err := c.create(); err != nil {
		return nil, errors.Join(err, c.remove())
	}
	// The port is free now; should another process take it first, another one is tried.
	for range 5 {
		if c.port, err = freePort(); err != nil {
			break
		}
		if err = c.Restart(); err == nil {
			return c, nil
		}
		if !strings.Contains(err.Error(), "could not bind") {
			break
		}
	}
	return nil, errors.Join(err, c.remove())
}

// create makes the directory and the data directory in it.
func (c *Cluster) create() error {
	var err error
	if c.dir, c.lock, err = makeDir(os.TempDir()); err != nil {
		return err
	}
	if err := c.as.own(c.dir); err != nil {
		return err
	}
	secret := filepath.Join(c.dir, "password")
	if err := os.WriteFile(secret, []byte(c.password), 0o600); err != nil {
		return err
	}
	if err := c.as.own(secret); err != nil {
		return err
	}
	args := []string{
		"-D", c.data(), "-U", "postgres", "-E", "UTF8", "--locale=C",
		"--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile=" + secret, "--no-sync",
	}
	if versionOf(c.bin) >= 15 {
		// Not the order of bytes: a store that sorts text must say how.
		args = append(args, "--locale-provider=icu", "--icu-locale=en-US")
	}
	cmd := c.as.command(filepath.Join(c.bin, "initdb"), args...)
	cmd.Dir = c.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return c.configure()
}

func (c *Cluster) configure() error {
	settings := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"unix_socket_directories": c.dir,
		"max_connections":         "200",
		"shared_buffers":          "64MB",
		"jit":                     "off",
		"log_min_messages":        "log",
		"log_checkpoints":         "off",
		"lc_messages":             "C",
	}
	if !c.opts.Durable {
		settings["fsync"], settings["full_page_writes"], settings["synchronous_commit"] = "off", "off", "off"
	}
	maps.Copy(settings, c.opts.Settings)
	f, err := os.OpenFile(filepath.Join(c.data(), "postgresql.conf"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(f, "%s = '%s'\n", name, strings.ReplaceAll(settings[name], "'", "''"))
	}
	return f.Close()
}

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }

// Restart starts the server; it stops it before if it runs. Port and data stay.
func (c *Cluster) Restart() error {
	if err := c.Stop(); err != nil {
		return err
	}
	cmd := c.as.command(filepath.Join(c.bin, "postgres"), "-D", c.data(), "-p", strconv.Itoa(c.port))
	cmd.Dir = c.dir
	p, err := run(cmd, "database system is ready to accept connections")
	if err != nil {
		return err
	}
	c.process = p
	if err := p.await("postgres"); err != nil {
		return errors.Join(err, c.Kill9())
	}
	return nil
}

// Stop ends the server as at a shutdown of the machine: transactions are rolled back.
func (c *Cluster) Stop() error {
	if c.process == nil {
		return nil
	}
	_ = c.process.cmd.Process.Signal(os.Interrupt) // an error: it has ended
	select {
	case <-c.process.ended:
		c.process = nil
		return nil
	case <-time.After(startTime):
		return errors.Join(errors.New("postgres did not stop: it is killed"), c.Kill9())
	}
}

// Kill9 ends the server and all of its processes as a crash does. After
// [Cluster.Restart] it recovers.
func (c *Cluster) Kill9() error {
	if c.process == nil {
		return nil
	}
	pid := c.process.cmd.Process.Pid
	children := childrenOf(pid)
	_ = c.process.cmd.Process.Kill() // an error: it has ended
	<-c.process.ended
	for _, child := range children {
		_ = syscall.Kill(child, syscall.SIGKILL) // likewise
	}
	for _, child := range children {
		for deadline := time.Now().Add(startTime); exists(child); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				return fmt.Errorf("process %d of postgres does not end", child)
			}
		}
	}
	c.process = nil
	return nil
}

// Close stops the server and removes the directory.
func (c *Cluster) Close() error { return errors.Join(c.Stop(), c.remove()) }

func (c *Cluster) remove() error {
	if c.dir == "" {
		return nil
	}
	return errors.Join(os.RemoveAll(c.dir), c.lock.Close())
}

// URL leads to a database through the socket, for a user, whom it believes.
func (c *Cluster) URL(user, database string) string {
	q := url.Values{"host": {c.dir}, "port": {strconv.Itoa(c.port)}, "user": {user}}
	return (&url.URL{Scheme: "postgresql", Path: "/" + database, RawQuery: q.Encode()}).String()
}

// TCP leads to a database through the port, for a user with a password.
func (c *Cluster) TCP(user, password, database string) string {
	u := url.URL{Scheme: "postgresql", User: url.UserPassword(user, password), Host: c.Address(), Path: "/" + database}
	return u.String()
}

// Address is host and port.
func (c *Cluster) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(c.port)) }

// Password is that of the superuser postgres.
func (c *Cluster) Password() string { return c.password }

// Exec executes statements in a database as its superuser.
func (c *Cluster) Exec(ctx context.Context, database, text string) error {
	conn, err := pgx.Connect(ctx, c.URL("postgres", database))
	if err != nil {
		return err
	}
	_, err = conn.PgConn().Exec(ctx, text).ReadAll()
	return errors.Join(err, conn.Close(ctx))
}

// Dump returns what pg_dump writes of a database with the given arguments.
func (c *Cluster) Dump(database string, args ...string) (string, error) {
	args = append([]string{"-h", c.dir, "-p", strconv.Itoa(c.port), "-U", "postgres"}, append(args, database)...)
	cmd := exec.Command(filepath.Join(c.bin, "pg_dump"), args...)
	var out, diag strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &diag
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("pg_dump: %w: %s", err, diag.String())
	}
	return out.String(), nil
}

// logLines is how many of its last lines are kept.
const logLines = 1000

// run starts a server that is ready when it says so on its standard error.
func run(cmd *exec.Cmd, ready string) (*process, error) {
	out, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, ready: make(chan struct{}), ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The server is stopped when the thread that started it ends: this one
		// ends with the server.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.read(out, ready)
		_ = cmd.Wait() // how it ended is in its log
		close(p.ended)
	}()
	return p, <-started
}

// read keeps the last lines of what the server writes and looks for the one that tells that it is ready.
func (p *process) read(out io.Reader, ready string) {
	lines := bufio.NewScanner(out)
	told := false
	for lines.Scan() {
		p.mu.Lock()
		p.log = append(p.log, lines.Text())
		p.log = p.log[max(0, len(p.log)-logLines):]
		p.mu.Unlock()
		if !told && strings.Contains(lines.Text(), ready) {
			told = true
			close(p.ready)
		}
	}
	_, _ = io.Copy(io.Discard, out) // after a line that is too long
}

// await returns when the server is ready, or an error with its last words.
func (p *process) await(name string) error {
	what := "did not get ready"
	select {
	case <-p.ready:
		return nil
	case <-p.ended:
		what = "ended"
	case <-time.After(startTime):
	}
	return fmt.Errorf("%s %s: %s", name, what, p.lines())
}

func (p *process) lines() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.log, "\n")
}

// Log returns the last lines that the server wrote since it was started.
func (c *Cluster) Log() string {
	if c.process == nil {
		return ""
	}
	return c.process.lines()
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
