package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/internal/fault"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// The migrations are applied in the order of their names, each in a transaction
// of its own together with its number in table meta. A published one never changes.
//
//go:embed migrations/*.sql
var migrations embed.FS

var migrationFiles = []string{
	"0001_init.sql",
	"0002_partitions.sql",
	"0003_items.sql",
}

// schemaVersion returns the number of the last migration that was applied; 0:
// there are no tables.
func (c *conn) schemaVersion() (int64, error) {
	// Not to_regclass: it may not see yet what another program committed.
	n, err := c.number(`SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2`,
		c.s.opts.Schema, c.s.opts.TablePrefix+"meta")
	if err != nil || n == 0 {
		return 0, err
	}
	return c.number(`SELECT version FROM {meta}`)
}

// refuseNewer returns an error when the schema is newer than this program, which
// then may neither read nor write.
func (c *conn) refuseNewer() error {
	v, err := c.schemaVersion()
	if err != nil {
		return err
	}
	return c.s.refuse(v)
}

// refuse is refuseNewer for a version that was read.
func (s *Store) refuse(version int64) error {
	if known := int64(len(migrationFiles)); version > known {
		return &jobcontrol.Error{
			Code:    jobcontrol.Unavailable,
			Message: fmt.Sprintf("store unavailable: %s has schema version %d, this program knows versions up to %d", s.name, version, known),
			Hint:    "upgrade jobcontrol",
		}
	}
	return nil
}

// Install creates the tables, or upgrades them one version after the other. It
// may be interrupted and repeated, and several programs may call it at once.
// Where nothing is to be done, no privilege but that of reading is needed.
func (s *Store) Install(ctx context.Context) error {
	defer s.forget()
	for {
		current := false
		err := s.readOne(ctx, func(c *conn) error {
			if err := c.refuseNewer(); err != nil {
				return err
			}
			v, err := c.schemaVersion()
			current = v == int64(len(migrationFiles))
			return err
		})
		if err != nil || current {
			return err
		}
		if err := s.script(ctx, "install", (*conn).migrate); err != nil {
			return err
		}
	}
}

// forget forgets what is remembered of tables that may be others now.
func (s *Store) forget() {
	s.known.clear()
	s.bodies.clear()
	s.history.until.Store(0)
}

// script executes statements that change the schema in a transaction of its own,
// one program at a time.
func (s *Store) script(ctx context.Context, name string, f func(c *conn) error) error {
	err := s.use(ctx, func(c *conn) error {
		if err := c.scripted("BEGIN; SET LOCAL lock_timeout = '30s'"); err != nil {
			return err
		}
		err := fault.Point("postgres." + name + ".before")
		if err == nil {
			// The lock ends with the transaction: that of a session would outlive it behind a pooler.
			_, err = c.exec(`SELECT pg_advisory_xact_lock(hashtextextended($1 || coalesce(nullif($2, ''), current_schema(), ''), 0))`,
				"jobcontrol "+s.opts.TablePrefix, s.opts.Schema)
		}
		if err == nil {
			err = f(c)
		}
		if err == nil {
			err = fault.Point("postgres." + name + ".after")
		}
		if err != nil {
			if !c.pg.IsClosed() {
				err = errors.Join(err, c.scripted("ROLLBACK"))
			}
			return err
		}
		return c.scripted("COMMIT")
	})
	return s.public(err)
}

// scripted executes any number of statements without arguments.
func (c *conn) scripted(text string) error {
	_, err := c.pg.Exec(c.ctx, c.s.sql(text)).ReadAll()
	return err
}

// migrate applies the next migration, if there is one still.
func (c *conn) migrate() error {
	if err := c.refuseNewer(); err != nil {
		return err
	}
	v, err := c.schemaVersion()
	if err != nil || v == int64(len(migrationFiles)) {
		return err
	}
	text, err := migrations.ReadFile("migrations/" + migrationFiles[v])
	if err != nil {
		return err
	}
	if v == 0 {
		if err := c.prepareSchema(); err != nil {
			return err
		}
	}
	if err := c.scripted(string(text)); err != nil {
		return fmt.Errorf("migration %s: %w", migrationFiles[v], withPlace(err))
	}
	n, err := c.exec(`UPDATE {meta} SET version = $1`, v+1)
	if err == nil && n != 1 {
		err = &codec.Damaged{What: "there is no schema version"}
	}
	return err
}

// prepareSchema makes the schema, if it is named and missing, and table meta.
func (c *conn) prepareSchema() error {
	if schema := c.s.opts.Schema; schema != "" {
		n, err := c.number(`SELECT count(*) FROM pg_namespace WHERE nspname = $1`, schema)
		if err != nil {
			return err
		}
		if n == 0 {
			if err := c.scripted(`CREATE SCHEMA ` + quote(schema)); err != nil {
				return err
			}
		}
	}
	return c.scripted(`CREATE TABLE {meta} (version integer NOT NULL); INSERT INTO {meta} VALUES (0)`)
}

// withPlace adds what PostgreSQL says beside the message.
func withPlace(err error) error {
	var e *pgconn.PgError
	if errors.As(err, &e) && (e.Where != "" || e.Detail != "") {
		return fmt.Errorf("%w (%s %s)", err, e.Detail, e.Where)
	}
	return err
}

// Uninstall removes the tables with everything in them. The schema stays.
func (s *Store) Uninstall(ctx context.Context) error {
	defer s.forget()
	text, err := migrations.ReadFile("migrations/uninstall.sql")
	if err != nil {
		return err
	}
	return s.script(ctx, "uninstall", func(c *conn) error { return c.scripted(string(text)) })
}
