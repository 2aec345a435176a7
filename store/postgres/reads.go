package postgres

import (
	"context"
	"encoding/json"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// Progress returns the progress reports of a build; see [jobcontrol.Builds].
func (s *Store) Progress(ctx context.Context, build int64) ([]jobcontrol.Progress, error) {
	var reports []jobcontrol.Progress
	err := s.read(ctx, func(c *conn) error {
		reports = nil
		found := false
		c.queue(func(*row) error { found = true; return nil }, `SELECT 1::bigint FROM {all_builds} WHERE id = $1`, build)
		err := c.each(func(r *row) error {
			var p jobcontrol.Progress
			if json.Unmarshal([]byte(r.text()), &p.Path) != nil {
				return &codec.Damaged{What: "path of a progress report"}
			}
			if len(p.Path) == 0 {
				p.Path = nil
			}
			p.Current, p.Total, p.Status = r.optional(), r.optional(), r.text()
			reports = append(reports, p)
			return nil
		}, `SELECT path, current, total, status FROM {progress} WHERE build = $1 ORDER BY number`, build)
		if err == nil && !found {
			err = noBuild(build)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return reports, nil
}

// SharedGet returns a shared value; see [jobcontrol.SharedValues].
func (s *Store) SharedGet(ctx context.Context, run int64, key string) (json.RawMessage, int64, error) {
	var value json.RawMessage
	var version int64
	err := s.readOne(ctx, func(c *conn) error {
		value, version = nil, 0
		_, err := c.first(func(r *row) { version, value = r.int(), r.json() },
			`SELECT version, value FROM {shared} WHERE run = $1 AND key = $2`, run, []byte(key))
		return err
	})
	return value, version, err
}

// SharedKeys returns the keys of the shared values of a Run; see [jobcontrol.SharedValues].
func (s *Store) SharedKeys(ctx context.Context, run int64) ([]string, error) {
	var keys []string
	err := s.readOne(ctx, func(c *conn) error {
		keys = nil
		return c.each(func(r *row) error {
			keys = append(keys, r.text())
			return nil
		}, `SELECT key FROM {shared} WHERE run = $1 ORDER BY key`, run)
	})
	return keys, err
}

const workerColumns = `id, epoch, gone, pid, start_time, boot_id, pid_space, host, started_at, lease_until`

func scanWorker(r *row) (w jobcontrol.Worker) {
	w.ID, w.Epoch, w.Gone = r.int(), r.int(), r.bool()
	w.Process = jobcontrol.Process{
		PID: int(r.int()), StartTime: uint64(r.int()), BootID: r.text(), PIDSpace: r.text(), Host: r.text(),
	}
	w.StartedAt, w.LeaseUntil = r.time(), r.time()
	return w
}

// Workers returns the workers that are not gone; see [jobcontrol.Leases].
func (s *Store) Workers(ctx context.Context) ([]jobcontrol.Worker, error) {
	workers := []jobcontrol.Worker{}
	err := s.readOne(ctx, func(c *conn) error {
		workers = workers[:0]
		return c.each(func(r *row) error {
			workers = append(workers, scanWorker(r))
			return nil
		}, `SELECT `+workerColumns+` FROM {workers} WHERE NOT gone ORDER BY id`)
	})
	if err != nil {
		return nil, err
	}
	return workers, nil
}
