package sqlite

import (
	"context"
	"encoding/json"

	"github.com/jobcontrol/jobcontrol"
)

// SharedGet returns a shared value; see [jobcontrol.SharedValues].
func (s *Store) SharedGet(ctx context.Context, run int64, key string) (json.RawMessage, int64, error) {
	var value json.RawMessage
	var version int64
	err := s.readOne(ctx, func(c *conn) error {
		_, err := c.first(func(r *row) { version, value = r.int(), r.json() },
			`SELECT version, value FROM shared WHERE run = ? AND key = ?`, run, key)
		return err
	})
	return value, version, err
}

// SharedSet stores a shared value; see [jobcontrol.SharedValues]. Repeated with
// a version it is a conflict, since the version is another one then; repeated
// with -1 it changes nothing.
func (s *Store) SharedSet(ctx context.Context, c jobcontrol.Claim, key string, value json.RawMessage, version int64) (int64, error) {
	if !json.Valid(value) {
		return 0, jobcontrol.Errorf(jobcontrol.Invalid, "shared value %q: it is not valid JSON", key)
	}
	var next int64
	err := s.write(ctx, "shared", func(t *tx) error {
		g, err := t.active(c)
		if err != nil {
			return err
		}
		var old, claim int64
		var same bool
		if _, err := t.first(func(r *row) { old, claim, same = r.int(), r.int(), r.bool() },
			`SELECT version, claim, value = ? FROM shared WHERE run = ? AND key = ?`, string(value), g.run, key); err != nil {
			return err
		}
		switch {
		case version >= 0 && old != version:
			return jobcontrol.Errorf(jobcontrol.Conflict, "shared value %q has version %d, not %d", key, old, version)
		case version < 0 && same && claim == c.Number:
			next = old
			return nil
		}
		next = old + 1
		_, err = t.exec(`INSERT INTO shared (run, key, version, claim, value) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (run, key) DO UPDATE SET version = excluded.version, claim = excluded.claim, value = excluded.value`,
			g.run, key, next, c.Number, string(value))
		return err
	})
	if err != nil {
		return 0, err
	}
	return next, nil
}

// SharedKeys returns the keys of the shared values of a Run; see [jobcontrol.SharedValues].
func (s *Store) SharedKeys(ctx context.Context, run int64) ([]string, error) {
	var keys []string
	err := s.readOne(ctx, func(c *conn) error {
		keys = nil
		return c.each(func(r *row) error {
			keys = append(keys, r.text())
			return nil
		}, `SELECT key FROM shared WHERE run = ? ORDER BY key`, run)
	})
	return keys, err
}
