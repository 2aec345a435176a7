package sqlite

import (
	"context"
	"encoding/json"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// newBuild is a build of a NewRun with what creating it decides.
type newBuild struct {
	jobcontrol.Draft
	service *service
	body    json.RawMessage
	frames  json.RawMessage
}

// CreateRun stores a Run; see [jobcontrol.Runs].
func (s *Store) CreateRun(ctx context.Context, n jobcontrol.NewRun) (*jobcontrol.Run, []jobcontrol.Build, error) {
	var run *jobcontrol.Run
	var builds []jobcontrol.Build
	err := s.write(ctx, "create", func(t *tx) error {
		run, builds = nil, nil
		old, err := t.keyed(&n)
		if err != nil {
			return err
		}
		if old != 0 {
			run, builds, err = t.runWithBuilds(old)
			return err
		}
		old, run, builds, err = t.createRun(&n)
		if err != nil || old == 0 {
			return err
		}
		run, builds, err = t.runWithBuild(old)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return run, builds, nil
}

// CreateRuns stores many Runs; see [jobcontrol.Runs].
func (s *Store) CreateRuns(ctx context.Context, many []jobcontrol.NewRun) ([]int64, error) {
	if len(many) == 0 {
		return nil, ctx.Err()
	}
	var ids []int64
	err := s.write(ctx, "create-many", func(t *tx) error {
		ids = make([]int64, len(many))
		for i := range many {
			id, err := t.createOne(&many[i])
			if err != nil {
				return err
			}
			ids[i] = id
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
}

// createOne returns the id of a Run that it makes, or that there is.
func (t *tx) createOne(n *jobcontrol.NewRun) (int64, error) {
	old, err := t.keyed(n)
	if err != nil || old != 0 {
		return old, err
	}
	old, run, _, err := t.createRun(n)
	if err != nil {
		return 0, err
	}
	if old != 0 {
		return t.number(`SELECT run FROM builds WHERE id = ?`, old)
	}
	return run.ID, nil
}

// keyed returns the Run that was made with the key before; 0: none.
func (t *tx) keyed(n *jobcontrol.NewRun) (int64, error) {
	if n.Key == "" {
		return 0, nil
	}
	return t.number(`SELECT run FROM run_keys WHERE key = ?`, n.Key)
}

// runWithBuild returns a build and its Run.
func (t *tx) runWithBuild(id int64) (*jobcontrol.Run, []jobcontrol.Build, error) {
	if err := t.settle(); err != nil {
		return nil, nil, err
	}
	b, err := t.build(id)
	if err != nil {
		return nil, nil, err
	}
	r, err := t.run(b.Run)
	if err != nil {
		return nil, nil, err
	}
	return &r.Run, []jobcontrol.Build{*b}, nil
}

// runWithBuilds returns a Run and all its builds.
func (t *tx) runWithBuilds(id int64) (*jobcontrol.Run, []jobcontrol.Build, error) {
	if err := t.settle(); err != nil {
		return nil, nil, err
	}
	r, err := t.run(id)
	if err != nil {
		return nil, nil, err
	}
	builds, err := t.builds(r, "")
	if err != nil {
		return nil, nil, err
	}
	return &r.Run, builds, nil
}

// createRun makes a Run; old: nothing was made, since this unfinished build has
// the unique key of the lone one.
func (t *tx) createRun(n *jobcontrol.NewRun) (old int64, _ *jobcontrol.Run, _ []jobcontrol.Build, err error) {
	if n.Lease != nil {
		if err := t.held(*n.Lease); err != nil {
			return 0, nil, nil, err
		}
	}
	builds, err := t.prepare(n)
	if err != nil {
		return 0, nil, nil, err
	}
	if old, err = t.admit(n, builds); err != nil || old != 0 {
		return old, nil, nil, err
	}
	run, out, err := t.insert(n, builds)
	return 0, run, out, err
}

// admit returns the unfinished build that a lone one meets by its unique key; a
// member of a larger Run that meets one is a conflict, and so is a service that
// drains. Nothing is written before.
func (t *tx) admit(n *jobcontrol.NewRun, builds []newBuild) (met int64, err error) {
	var mine map[string]*newBuild
	var refused *newBuild // by its service
	for i := range builds {
		b := &builds[i]
		if n.Lease == nil || b.Made.Service != "" {
			if b.service, err = t.service(n.Run.Project, b.Made.Service); err != nil {
				return 0, err
			}
			if n.Lease == nil && b.service.Draining && !b.Made.State.Final() && refused == nil {
				refused = b
			}
		}
		if b.Made.Unique == "" || b.Made.State.Final() {
			continue
		}
		if other := mine[b.Made.Unique]; other != nil {
			return 0, jobcontrol.UniqueMemberConflict(b.Made.Job, other.Made.Job)
		}
		met = 0
		if _, err = t.first(func(r *row) {
			if id := r.int(); !r.state().Final() {
				met = id
			}
		}, `SELECT id, state FROM builds WHERE unique_key = ? AND unique_key IS NOT NULL ORDER BY id DESC LIMIT 1`,
			uniqueKey(n.Run.Project, b.Made.Unique)); err != nil {
			return 0, err
		}
		if met != 0 && len(builds) > 1 {
			return 0, jobcontrol.UniqueConflict(b.Made.Job, met)
		}
		if mine == nil {
			mine = map[string]*newBuild{}
		}
		mine[b.Made.Unique] = b
	}
	if refused != nil && met == 0 {
		return 0, jobcontrol.DrainingConflict(refused.Made.Job, refused.service.Name)
	}
	if met != 0 && n.Key != "" {
		run, err := t.number(`SELECT run FROM builds WHERE id = ?`, met)
		if err != nil {
			return 0, err
		}
		return met, t.insertKey(n.Key, run)
	}
	return met, nil
}

// uniqueKey is builds.unique_key.
func uniqueKey(project, key string) string { return project + "\n" + key }

// prepare decides the state and the dependants of each build.
func (t *tx) prepare(n *jobcontrol.NewRun) ([]newBuild, error) {
	drafts, err := n.Drafts(t.now)
	if err != nil {
		return nil, err
	}
	builds := make([]newBuild, len(drafts))
	for i := range drafts {
		b := &builds[i]
		b.Draft = drafts[i]
		if b.body, b.frames, err = codec.EncodeFailure(b.Failure); err != nil {
			return nil, err
		}
	}
	return builds, nil
}
