package postgres

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// PutServices describes services; see [jobcontrol.Services].
func (s *Store) PutServices(ctx context.Context, project string, services []jobcontrol.Service) error {
	if err := jobcontrol.CheckServices(services); err != nil {
		return err
	}
	sorted := slices.Clone(services)
	slices.SortFunc(sorted, func(a, b jobcontrol.Service) int { return strings.Compare(a.Name, b.Name) })
	return s.write(ctx, "put-services", func(t *tx) error {
		for i := range sorted {
			if err := t.putService(project, &sorted[i]); err != nil {
				return err
			}
		}
		t.news.ready = true // somebody may be given more
		return nil
	})
}

func (t *tx) putService(project string, v *jobcontrol.Service) error {
	var key json.RawMessage
	if len(v.Key) > 0 {
		var err error
		if key, err = json.Marshal(v.Key); err != nil {
			return err
		}
	}
	t.queue(nil, `INSERT INTO {services} (project, name) VALUES ($1, $2) ON CONFLICT DO NOTHING`, project, v.Name)
	var id int64
	was := false
	if _, err := t.first(func(r *row) { id, was = r.int(), r.bool() },
		`SELECT v.id, `+limited+` FROM {services} v WHERE project = $1 AND name = $2 FOR UPDATE`, project, v.Name); err != nil {
		return err
	}
	n, err := t.exec(`UPDATE {services} SET described = true, concurrency = $2, key_concurrency = $3, rate = $4, rate_per = $5, priority = $6,
			fallback = $7, key = $8, manual = $9, paused = CASE WHEN $9 THEN $10 ELSE paused END, draining = CASE WHEN $9 THEN $11 ELSE draining END
		WHERE id = $1 AND ($9 OR NOT manual)`,
		id, v.Concurrency, v.KeyConcurrency, v.Rate, int64(v.RatePer), v.Priority, v.Fallback, key, v.Manual, v.Paused, v.Draining)
	if err != nil || n == 0 || was || !v.Limited() {
		return err
	}
	return t.enterClaims(id)
}

// enterClaims enters what is claimed in a service that gets its first limit.
func (t *tx) enterClaims(service int64) error {
	for _, state := range []string{`state = 4 AND detached AND NOT suspect`, `state = 5 AND detached`} {
		t.queue(nil, `INSERT INTO {slots} (build, service, claim, key) SELECT id, service, claim, key FROM {builds}
			WHERE service = $1 AND claim IS NOT NULL AND `+state+`
			ON CONFLICT (build) DO UPDATE SET service = excluded.service, claim = excluded.claim, key = excluded.key`, service)
	}
	return t.send()
}

// ResetService forgets the description of a service; see [jobcontrol.Services].
func (s *Store) ResetService(ctx context.Context, project, name string, as *jobcontrol.Service) error {
	described, err := jobcontrol.DescribedAs(name, as)
	if err != nil {
		return err
	}
	return s.write(ctx, "reset-service", func(t *tx) error {
		t.news.ready = true
		_, err := t.exec(`UPDATE {services} SET described = false, concurrency = 0, key_concurrency = 0, rate = 0, rate_per = 0, priority = 0,
			fallback = '', key = NULL, manual = false, paused = false, draining = false WHERE project = $1 AND name = $2`, project, serviceOf(name))
		if err != nil || described == nil {
			return err
		}
		return t.putService(project, described)
	})
}

// Services returns the services of a project; see [jobcontrol.Services].
func (s *Store) Services(ctx context.Context, project string) ([]jobcontrol.ServiceStatus, error) {
	var all []jobcontrol.ServiceStatus
	err := s.readOne(ctx, func(c *conn) error {
		all = nil
		return c.each(func(r *row) error {
			var v jobcontrol.ServiceStatus
			v.Name, v.Concurrency, v.KeyConcurrency, v.Rate = r.text(), int(r.int()), int(r.int()), int(r.int())
			v.RatePer, v.Priority, v.Fallback = time.Duration(r.int()), int(r.int()), r.text()
			v.Paused, v.Draining, v.Manual = r.bool(), r.bool(), r.bool()
			if key := r.json(); key != nil && json.Unmarshal(key, &v.Key) != nil {
				return &codec.Damaged{What: "key of a service"}
			}
			v.Waiting, v.Scheduled, v.Queued = int(r.int()), int(r.int()), int(r.int())
			v.Claimed, v.Running = int(r.int()), int(r.int())
			all = append(all, v)
			return nil
		}, `SELECT v.name, v.concurrency, v.key_concurrency, v.rate, v.rate_per, v.priority, v.fallback, v.paused, v.draining, v.manual, v.key,
				coalesce(n.waiting, 0), coalesce(n.scheduled, 0), coalesce(n.queued, 0), coalesce(n.claimed, 0), coalesce(n.running, 0)
			FROM {services} v LEFT JOIN (SELECT service, count(*) FILTER (WHERE state IN (1, 2, 6)) AS waiting, count(*) FILTER (WHERE state = 3) AS scheduled,
					count(*) FILTER (WHERE state = 4 AND claim IS NULL) AS queued, count(*) FILTER (WHERE state = 4 AND claim IS NOT NULL) AS claimed,
					count(*) FILTER (WHERE state = 5) AS running
				FROM {builds} WHERE detached GROUP BY service) n ON n.service = v.id
			WHERE v.project = $1 AND (v.described OR n.service IS NOT NULL) ORDER BY v.name COLLATE "C"`, project)
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}
