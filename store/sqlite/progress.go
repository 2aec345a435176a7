package sqlite

import (
	"context"
	"encoding/json"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// putProgress stores reports: of each path the last one, in order of first
// appearance, of at most so many paths.
func (t *tx) putProgress(build int64, reports []jobcontrol.Progress) error {
	for i := range reports {
		if err := t.putOneProgress(build, jobcontrol.ClampProgress(reports[i])); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) putOneProgress(build int64, p jobcontrol.Progress) error {
	path, err := json.Marshal(append([]string{}, p.Path...))
	if err != nil {
		return err
	}
	number := func(v *int64) any {
		if v == nil {
			return nil
		}
		return *v
	}
	current, total, status := number(p.Current), number(p.Total), optional(p.Status)
	n, err := t.exec(`UPDATE progress SET current = ?, total = ?, status = ? WHERE build = ? AND path = ?`,
		current, total, status, build, string(path))
	if err != nil || n > 0 {
		return err
	}
	from, to := codec.Span(build)
	id, err := t.number(`SELECT max(id) FROM progress WHERE id BETWEEN ? AND ?`, from, to)
	if err != nil {
		return err
	}
	if id = max(id, from) + 1; id > from+jobcontrol.MaxProgressRows {
		return nil
	}
	_, err = t.exec(`INSERT INTO progress (id, build, path, current, total, status) VALUES (?, ?, ?, ?, ?, ?)`,
		id, build, string(path), current, total, status)
	return err
}

// Progress returns the progress reports of a build; see [jobcontrol.Builds].
func (s *Store) Progress(ctx context.Context, build int64) ([]jobcontrol.Progress, error) {
	var reports []jobcontrol.Progress
	err := s.read(ctx, func(c *conn) error {
		reports = nil
		if n, err := c.number(`SELECT 1 FROM builds WHERE id = ?`, build); err != nil || n == 0 {
			if err == nil {
				err = noBuild(build)
			}
			return err
		}
		from, to := codec.Span(build)
		return c.each(func(r *row) error {
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
		}, `SELECT path, current, total, status FROM progress WHERE id BETWEEN ? AND ? ORDER BY id`, from, to)
	})
	if err != nil {
		return nil, err
	}
	return reports, nil
}
