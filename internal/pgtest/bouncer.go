package pgtest

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Bouncer is PgBouncer in front of a cluster.
type Bouncer struct {
	cluster *Cluster
	port    int
	process *process
}

// Bouncer starts PgBouncer with a pool mode (session, transaction or statement)
// and so many connections to each database. Stop it before the cluster.
func (c *Cluster) Bouncer(mode string, size int) (*Bouncer, error) {
	path, err := bouncer()
	if err != nil {
		return nil, err
	}
	b := &Bouncer{cluster: c}
	if b.port, err = freePort(); err != nil {
		return nil, err
	}
	config, users := filepath.Join(c.dir, "pgbouncer.ini"), filepath.Join(c.dir, "users.txt")
	text := fmt.Sprintf("[databases]\n* = host=%s port=%d\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\n"+
		"auth_type = trust\nauth_file = %s\npool_mode = %s\ndefault_pool_size = %d\nmax_client_conn = 200\nlogfile =\n",
		c.dir, c.port, b.port, users, mode, size)
	for path, text := range map[string]string{config: text, users: "\"postgres\" \"\"\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return nil, err
		}
		if err := c.as.own(path); err != nil {
			return nil, err
		}
	}
	cmd := c.as.command(path, config)
	cmd.Dir = c.dir
	if b.process, err = run(cmd, "process up"); err != nil {
		return nil, err
	}
	if err := b.process.await("pgbouncer"); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// URL leads to a database for the superuser.
func (b *Bouncer) URL(database string) string {
	u := url.URL{Scheme: "postgresql", User: url.User("postgres"), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(b.port)), Path: "/" + database}
	return u.String() + "?sslmode=disable"
}

// Close ends it, and the connections through it.
func (b *Bouncer) Close() error {
	_ = b.process.cmd.Process.Signal(os.Interrupt) // an error: it has ended
	select {
	case <-b.process.ended:
	case <-time.After(time.Second): // it waits for clients
		_ = b.process.cmd.Process.Kill() // likewise
		<-b.process.ended
	}
	return nil
}
