package postgres

import (
	"context"
	"encoding/json"

	"github.com/jobcontrol/jobcontrol"
)

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
			`SELECT version, claim, value = $3 FROM {shared} WHERE run = $1 AND key = $2 FOR UPDATE`, g.run, []byte(key), string(value)); err != nil {
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
		// Of two that make the first version at once, one meets the other's row
		// and is executed again.
		if old == 0 {
			_, err = t.exec(`INSERT INTO {shared} (run, key, version, claim, value) VALUES ($1, $2, $3, $4, $5)`, g.run, []byte(key), next, c.Number, string(value))
		} else {
			_, err = t.exec(`UPDATE {shared} SET version = $3, claim = $4, value = $5 WHERE run = $1 AND key = $2`, g.run, []byte(key), next, c.Number, string(value))
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return next, nil
}
