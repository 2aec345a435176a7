package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// settings are those of the PostgreSQL cluster, the same for all. What is not
// named has the server's default; what makes commits durable is on.
var settings = []string{
	"fsync=on", "synchronous_commit=on", "full_page_writes=on",
	"shared_buffers=256MB", "max_wal_size=4GB", "checkpoint_timeout=15min",
	"max_connections=400", "listen_addresses=", "log_min_messages=fatal", "jit=off",
}

// postgres is a cluster of its own.
type postgres struct {
	dir   string
	cmd   *exec.Cmd
	log   bytes.Buffer
	admin *pgx.Conn // on the database postgres
	n     int       // databases made
}

// startPostgres makes a cluster in dir and starts it.
func startPostgres(ctx context.Context, dir, bin string) (*postgres, error) {
	as, err := unprivileged()
	if err != nil {
		return nil, err
	}
	p := &postgres{dir: dir}
	data := filepath.Join(dir, "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, err
	}
	if as != nil {
		for _, d := range []string{dir, data} {
			if err := os.Chown(d, int(as.Uid), int(as.Gid)); err != nil {
				return nil, err
			}
		}
	}
	attr := &syscall.SysProcAttr{Credential: as}
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
	initdb.SysProcAttr, initdb.Dir = attr, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	args := []string{"-D", data, "-k", dir}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	p.cmd = exec.Command(filepath.Join(bin, "postgres"), args...)
	p.cmd.SysProcAttr, p.cmd.Dir = attr, dir
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	for range 200 {
		if p.admin, err = pgx.Connect(ctx, p.dsn("postgres")); err == nil {
			return p, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	p.stop()
	return nil, fmt.Errorf("postgres does not answer: %w\n%s", err, p.log.String())
}

// unprivileged is the user that a server runs as, when we are root; it refuses to be.
func unprivileged() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
}

func (p *postgres) dsn(database string) string {
	return fmt.Sprintf("host=%s user=postgres dbname=%s", p.dir, database)
}

func (p *postgres) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGINT)
	_ = p.cmd.Wait()
}

// fresh makes an empty database.
func (p *postgres) fresh(ctx context.Context) (string, func(), error) {
	p.n++
	name := "b" + strconv.Itoa(p.n)
	if _, err := p.admin.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		return "", nil, err
	}
	return p.dsn(name), func() {
		_, _ = p.admin.Exec(context.WithoutCancel(ctx), "DROP DATABASE "+name+" WITH (FORCE)")
	}, nil
}

// settle brings a database that was filled into the state that autovacuum would
// bring it into, and writes everything out, so that each measure begins alike.
func (p *postgres) settle(ctx context.Context, dsn string) error {
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	for _, s := range []string{"VACUUM ANALYZE", "CHECKPOINT"} {
		if _, err := c.Exec(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (p *postgres) cpu() (time.Duration, error) { return treeCPU(p.cmd.Process.Pid) }

// written is how many bytes of WAL were written.
func (p *postgres) written(ctx context.Context) (n int64, err error) {
	err = p.admin.QueryRow(ctx, "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint").Scan(&n)
	return n, err
}

// transactions is how many transactions ended in the database.
func (p *postgres) transactions(ctx context.Context, dsn string) (n int64, err error) {
	name := dsn[strings.LastIndexByte(dsn, '=')+1:]
	err = p.admin.QueryRow(ctx, "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = $1", name).Scan(&n)
	return n, err
}

// snapshot opens a transaction that sees the database as it is now, and leaves it idle until close.
func (p *postgres) snapshot(ctx context.Context, dsn string) (func(), error) {
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	for _, s := range []string{"BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT txid_current()"} {
		if _, err := c.Exec(ctx, s); err != nil {
			return nil, errors.Join(err, c.Close(ctx))
		}
	}
	return func() { _ = c.Close(context.WithoutCancel(ctx)) }, nil
}

// redis is a server of its own with an append-only file.
type redis struct {
	dir string
	cmd *exec.Cmd
}

// startRedis starts a server; sync is everysec or always.
func startRedis(dir, sync string) (*redis, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	r := &redis{dir: dir}
	r.cmd = exec.Command("redis-server", "--port", "0", "--unixsocket", r.socket(), "--dir", dir,
		"--save", "", "--appendonly", "yes", "--appendfsync", sync, "--loglevel", "warning", "--maxclients", "2000")
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	for range 200 {
		if _, err := os.Stat(r.socket()); err == nil {
			return r, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	r.stop()
	return nil, errors.New("redis-server does not answer")
}

func (r *redis) socket() string { return filepath.Join(r.dir, "redis.sock") }

func (r *redis) stop() {
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	_ = r.cmd.Wait()
}

func (r *redis) fresh(context.Context) (string, func(), error) { return r.socket(), func() {}, nil }
func (r *redis) settle(context.Context, string) error          { return nil }
func (r *redis) cpu() (time.Duration, error)                   { return treeCPU(r.cmd.Process.Pid) }
func (r *redis) written(context.Context) (int64, error)        { return 0, nil }

// files is where systems keep SQLite files: there is no server.
type files struct{ dir string }

func (f files) fresh(context.Context) (string, func(), error) {
	dir, err := os.MkdirTemp(f.dir, "sqlite-")
	return filepath.Join(dir, "state.db"), func() { os.RemoveAll(dir) }, err
}
func (f files) settle(context.Context, string) error   { return nil }
func (f files) cpu() (time.Duration, error)            { return 0, nil }
func (f files) written(context.Context) (int64, error) { return 0, nil }
