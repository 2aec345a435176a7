package sqlite

import (
	"context"
	"embed"
	"fmt"
	"strconv"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// The migrations are applied in the order of their names, each in a transaction
// of its own together with its number in table meta. A published one never changes.
//
//go:embed migrations/*.sql
var migrations embed.FS

var migrationFiles = []string{
	"0001_init.sql",
	"0002_queue.sql",
	"0003_expansions.sql",
	"0004_claimed.sql",
	"0005_free.sql",
}

// claimsVersion is the schema version that brought table claims.
const claimsVersion = 4

// schemaVersion returns the number of the last migration that was applied; 0:
// there are no tables.
func schemaVersion(c *conn) (int, error) {
	n, err := c.number(`SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'meta'`)
	if err != nil || n == 0 {
		return 0, err
	}
	var text string
	if _, err := c.first(func(r *row) { text = r.text() }, `SELECT value FROM meta WHERE key = 'version'`); err != nil {
		return 0, err
	}
	if text == "" {
		return 0, nil
	}
	v, err := strconv.Atoi(text)
	if err != nil {
		return 0, &codec.Damaged{What: "the schema version is " + strconv.Quote(text)}
	}
	return v, nil
}

// refuseNewer returns an error when the schema is newer than this program.
func (s *Store) refuseNewer(c *conn) error {
	v, err := schemaVersion(c)
	if err != nil {
		return err
	}
	if v > len(migrationFiles) {
		return &jobcontrol.Error{
			Code:    jobcontrol.Unavailable,
			Message: fmt.Sprintf("store unavailable: %s has schema version %d, this program knows versions up to %d", s.name, v, len(migrationFiles)),
			Hint:    "upgrade jobcontrol",
		}
	}
	return nil
}

// installed tells whether the tables exist.
func (s *Store) installed() bool {
	v := 0
	err := s.readOnce(context.Background(), false, func(c *conn) (err error) {
		v, err = schemaVersion(c)
		return err
	})
	return err != nil || v > 0
}

// Install creates the tables, or upgrades them one version after the other. It
// may be interrupted and repeated, and several programs may call it at once.
func (s *Store) Install(ctx context.Context) error {
	for done := false; !done; {
		err := s.write(ctx, "install", func(t *tx) (err error) {
			done, err = t.migrate()
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// migrate applies the next migration and tells whether there was none.
func (t *tx) migrate() (done bool, err error) {
	if err := t.s.refuseNewer(t.conn); err != nil {
		return false, err
	}
	v, err := schemaVersion(t.conn)
	if err != nil {
		return false, err
	}
	if v == len(migrationFiles) {
		return true, nil
	}
	if v >= claimsVersion {
		if err := t.spread(); err != nil {
			return false, err
		}
	}
	text, err := migrations.ReadFile("migrations/" + migrationFiles[v])
	if err != nil {
		return false, err
	}
	t.changes++
	err = t.script(`CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;` + string(text))
	if err != nil {
		return false, fmt.Errorf("migration %s: %w", migrationFiles[v], err)
	}
	_, err = t.exec(`INSERT OR REPLACE INTO meta (key, value) VALUES ('version', ?)`, strconv.Itoa(v+1))
	return false, err
}

// Uninstall removes the tables with everything in them.
func (s *Store) Uninstall(ctx context.Context) error {
	text, err := migrations.ReadFile("migrations/uninstall.sql")
	if err != nil {
		return err
	}
	return s.write(ctx, "uninstall", func(t *tx) error {
		t.changes++
		t.claims.known = false
		t.s.fresh.clear()
		return t.script(string(text))
	})
}
