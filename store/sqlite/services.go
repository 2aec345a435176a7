package sqlite

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// service is a row of table services.
type service struct {
	jobcontrol.Service
	id     int64 // 0: there is no row
	rateAt int64 // when all tokens of its rate are there again, nanoseconds
	known  bool  // somebody has described it
}

// interval is the time in which one token of the rate comes, in nanoseconds.
func (v *service) interval() int64 { return max(1, int64(v.RatePerOrDefault())/int64(v.Rate)) }

// full is where rateAt stands when no token is left.
func (v *service) full(now time.Time) int64 { return now.UnixNano() + int64(v.Rate)*v.interval() }

const serviceColumns = `SELECT id, name, tokens_at, settings FROM services `

func scanService(r *row) (*service, error) {
	v := &service{id: r.int()}
	name := r.text()
	v.rateAt = r.int()
	if settings := r.json(); settings != nil {
		if json.Unmarshal(settings, &v.Service) != nil {
			return nil, &codec.Damaged{What: "settings of a service"}
		}
		v.known = true
	}
	v.Name = name
	return v, nil
}

// service returns a service, with id 0 if there is no row of it.
func (t *tx) service(project, name string) (*service, error) {
	key := headName{project, serviceName(name)}
	if v := t.services[key]; v != nil {
		return v, nil
	}
	v := &service{Service: jobcontrol.Service{Name: key.job}}
	err := t.each(func(r *row) (err error) {
		v, err = scanService(r)
		return err
	}, serviceColumns+`WHERE project = ? AND name = ?`, project, key.job)
	if err == nil {
		t.services[key] = v
	}
	return v, err
}

// makeService is service, and makes its row if there is none.
func (t *tx) makeService(project, name string) (*service, error) {
	v, err := t.service(project, name)
	if err == nil && v.id == 0 {
		_, err = t.returning(func(r *row) { v.id = r.int() }, `INSERT INTO services (project, name) VALUES (?, ?) RETURNING id`, project, v.Name)
	}
	return v, err
}

// wanted returns the services that a worker asks for, each once, without those
// that have no builds or are paused.
func (t *tx) wanted(w jobcontrol.Wanted) ([]*service, error) {
	var list []*service
	for _, name := range w.Services {
		v, err := t.service(w.Project, name)
		if err != nil {
			return nil, err
		}
		if v.id != 0 && !v.Paused && !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	return list, nil
}

// freed tells others that a claim of a service has ended, if it limits them.
func (t *tx) freed(service int64) {
	if !t.hint && t.s.hints.limited(service) {
		t.hint = true
	}
}

// PutServices describes services; see [jobcontrol.Services].
func (s *Store) PutServices(ctx context.Context, project string, services []jobcontrol.Service) error {
	if err := jobcontrol.CheckServices(services); err != nil {
		return err
	}
	return s.write(ctx, "put-services", func(t *tx) error {
		for i := range services {
			if err := t.putService(project, services[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (t *tx) putService(project string, n jobcontrol.Service) error {
	old, err := t.service(project, n.Name)
	if err != nil {
		return err
	}
	if !n.Manual {
		if old.Manual {
			return nil
		}
		n.Paused, n.Draining = old.Paused, old.Draining
	}
	settings, err := json.Marshal(n)
	if err != nil {
		return err
	}
	delete(t.services, headName{project, n.Name})
	t.hint = true
	_, err = t.exec(`INSERT INTO services (project, name, settings) VALUES (?, ?, ?)
		ON CONFLICT (project, name) DO UPDATE SET settings = excluded.settings`, project, n.Name, string(settings))
	return err
}

// ResetService forgets how a service was described; see [jobcontrol.Services].
func (s *Store) ResetService(ctx context.Context, project, name string, as *jobcontrol.Service) error {
	described, err := jobcontrol.DescribedAs(name, as)
	if err != nil {
		return err
	}
	return s.write(ctx, "reset-service", func(t *tx) error {
		name := serviceName(name)
		delete(t.services, headName{project, name})
		n, err := t.exec(`UPDATE services SET settings = NULL, tokens_at = 0 WHERE project = ? AND name = ? AND settings IS NOT NULL`, project, name)
		t.hint = t.hint || n > 0
		if err != nil || described == nil {
			return err
		}
		return t.putService(project, *described)
	})
}

// Services returns the services of a project; see [jobcontrol.Services]. Builds
// of foreground Runs are not counted: they are of no worker.
func (s *Store) Services(ctx context.Context, project string) ([]jobcontrol.ServiceStatus, error) {
	var out []jobcontrol.ServiceStatus
	err := s.read(ctx, func(c *conn) error {
		var list []*service
		if err := c.each(func(r *row) error {
			v, err := scanService(r)
			list = append(list, v)
			return err
		}, serviceColumns+`WHERE project = ? ORDER BY name`, project); err != nil {
			return err
		}
		claimed := map[int64]int{}
		if err := c.each(func(r *row) error {
			claimed[r.int()] = int(r.int())
			return nil
		}, `SELECT b.service, count(*) FROM claims c, json_each(c.builds) j CROSS JOIN builds b ON b.id = j.value WHERE b.queue = 1 GROUP BY b.service`); err != nil {
			return err
		}
		out = nil
		for _, v := range list {
			status := jobcontrol.ServiceStatus{Service: v.Service}
			for _, n := range []struct {
				n         *int
				condition string
			}{
				{&status.Waiting, `queue = 4 AND queue <> 2 AND (queue > 2 OR alone = 1)`},
				{&status.Scheduled, `queue = 3 AND queue <> 2 AND (queue > 2 OR alone = 1)`},
				{&status.Queued, `queue = 1 AND alone = 0`},
				{&status.Queued, `queue = 1 AND queue <> 2 AND alone = 1`},
				{&status.Claimed, `queue = 2 AND state = 4`},
				{&status.Running, `queue = 2 AND state = 5`},
			} {
				count, err := c.number(`SELECT count(*) FROM builds WHERE service = ? AND `+n.condition, v.id)
				if err != nil {
					return err
				}
				*n.n += int(count)
			}
			status.Queued -= claimed[v.id]
			status.Claimed += claimed[v.id]
			if v.known || status.Waiting+status.Scheduled+status.Queued+status.Claimed+status.Running > 0 {
				out = append(out, status)
			}
		}
		return nil
	})
	return out, err
}
