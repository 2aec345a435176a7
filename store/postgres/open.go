package postgres

import (
	"context"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jobcontrol/jobcontrol"
)

// Options are the settings of a store. The zero value is what is wanted, but
// for the URL.
type Options struct {
	// URL is that of the database, postgresql://…, or a connection string of
	// libpq. The parameters table_prefix and schema mean the fields below. What
	// it does not say comes from the environment (PGHOST, PGPASSFILE …).
	URL string
	// Schema is where the tables are; "": where the server looks first (public).
	Schema string
	// TablePrefix begins the name of everything that the store makes.
	TablePrefix string
	// Connections is the most that the store opens at a time; 0: 8. Up to three
	// more are for leases and hints, which must not wait for others.
	Connections int
	// Writers is how many transactions write batches at a time; 0: 2.
	Writers int
	// Pooled tells that a pooler may give every transaction another connection,
	// as PgBouncer does in transaction mode: nothing is prepared, and nobody listens.
	Pooled bool

	logBytes int64 // 0: jobcontrol.MaxLogBytes
}

// Store is a [jobcontrol.Store] in a PostgreSQL database.
type Store struct {
	opts     Options
	name     string // of the database, for errors
	pool     *pgxpool.Pool
	writers  *pgxpool.Pool // of the writer: a connection for each batch that is written at a time
	turns    chan struct{} // of those who may use the pool
	w        *writer
	known    known
	claimers claimers
	history  extended
	bodies   bodies // of definitions
	leases   *line  // of Renew
	hints    *hints

	texts  sync.Map // statements with their names replaced
	closed atomic.Bool
}

var _ jobcontrol.Store = (*Store)(nil)

// Open connects to a database. The tables are made by [Store.Install].
func Open(ctx context.Context, opts Options) (*Store, error) {
	if opts.Connections == 0 {
		opts.Connections = 8
	}
	if opts.Writers == 0 {
		opts.Writers = 2
	}
	if opts.logBytes == 0 {
		opts.logBytes = jobcontrol.MaxLogBytes
	}
	if opts.Connections < opts.Writers+2 {
		return nil, jobcontrol.Errorf(jobcontrol.Invalid, "postgresql: %d connections are not enough for %d writers", opts.Connections, opts.Writers)
	}
	cfg, name, err := opts.parse()
	if err != nil {
		return nil, err
	}
	if !opts.Pooled {
		if opts.Pooled, err = behindPooler(ctx, cfg.ConnConfig); err != nil {
			return nil, (&Store{name: name}).public(err)
		}
	}
	params := cfg.ConnConfig.RuntimeParams
	if params["application_name"] == "" && !opts.Pooled {
		params["application_name"] = "jobcontrol"
	}
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = 10 * time.Second
	}
	cfg.ShouldPing = doubtful
	others := opts.Connections - opts.Writers
	cfg.MaxConns, cfg.MinConns, cfg.MinIdleConns = int32(others), 0, 0
	s := &Store{opts: opts, name: name, turns: make(chan struct{}, others)}
	s.known.clear()
	if s.pool, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return nil, s.public(err)
	}
	// These keep the settings, so that a small write need not make them.
	cfg = cfg.Copy()
	cfg.MaxConns = int32(opts.Writers)
	if !opts.Pooled {
		text := ""
		for _, v := range settings {
			text += "SET " + v[0] + " = '" + v[1] + "';"
		}
		cfg.AfterConnect = func(ctx context.Context, c *pgx.Conn) error { return c.PgConn().Exec(ctx, text).Close() }
	}
	if s.writers, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		s.pool.Close()
		return nil, s.public(err)
	}
	s.leases = newLine(cfg.ConnConfig)
	s.hints = newHints(s, cfg.ConnConfig)
	s.w = newWriter(s)
	if err := s.open(ctx); err != nil {
		s.Close()
		return nil, s.public(err)
	}
	return s, nil
}

// doubtful tells whether a connection that was not used for a while is to be
// tried before it is used: that is a transaction for the server. One that the
// server has closed is known without asking it.
func doubtful(_ context.Context, p pgxpool.ShouldPingParams) bool {
	if p.IdleDuration < time.Second {
		return false
	}
	//lint:ignore SA1019 what it does not see is found by the statement that follows, and that is repeated
	return p.IdleDuration > time.Minute || p.Conn.PgConn().CheckConn() != nil
}

// open sees that the database can be used, and where the server looks for tables
// if no schema was named: statements name it, wherever they are executed.
func (s *Store) open(ctx context.Context) error {
	return s.readOne(ctx, func(c *conn) error {
		_, err := c.first(func(r *row) {
			if name := r.text(); s.opts.Schema == "" {
				s.opts.Schema = name
			}
		}, `SELECT current_schema()::text`)
		if err != nil {
			return err
		}
		return c.refuseNewer()
	})
}

// Close waits for the writes that were begun and closes the connections. Later
// calls of any method are refused.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.w.stop()
	s.hints.close()
	s.leases.close()
	s.pool.Close()
	s.writers.Close()
	return nil
}

// Now returns the server's time.
func (s *Store) Now(ctx context.Context) (now time.Time, err error) {
	err = s.readOne(ctx, func(c *conn) error {
		_, err := c.first(func(r *row) { now = r.time() }, `SELECT `+clock)
		return err
	})
	return now, err
}

// clock is the server's clock as we store it; present is the time at which the
// transaction began.
const (
	clock   = `(extract(epoch FROM clock_timestamp()) * 1000000)::bigint`
	present = `(extract(epoch FROM now()) * 1000000)::bigint`
)

// inBraces finds what [Store.sql] replaces.
var inBraces = regexp.MustCompile(`\{\.?[a-z][a-z_0-9]*\}`)

// sql replaces names in braces: {builds} is a table, {.builds_ready} the name of
// an index.
func (s *Store) sql(text string) string {
	if v, ok := s.texts.Load(text); ok {
		return v.(string)
	}
	out := inBraces.ReplaceAllStringFunc(text, func(m string) string {
		name := m[1 : len(m)-1]
		if strings.HasPrefix(name, ".") {
			return quote(s.opts.TablePrefix + name[1:])
		}
		if s.opts.Schema == "" {
			return quote(s.opts.TablePrefix + name)
		}
		return quote(s.opts.Schema) + "." + quote(s.opts.TablePrefix+name)
	})
	s.texts.Store(text, out)
	return out
}

// quote makes a name of SQL; it holds letters, digits and _ only.
func quote(name string) string { return `"` + name + `"` }
