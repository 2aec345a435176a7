package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// Builds are read from the view of all of them, with their job, service and the
// hash of their definition. The brief columns come first, then those that a
// brief build lacks.
const (
	briefColumns = `b.id, b.run, h.project, h.job, d.hash, v.name, b.state, b.changed, b.phase, b.place, b.deps_left,
	b.tries, b.retry_delay, b.tries_used, b.attempts, b.lost, b.asked, b.priority,
	b.created_at, b.ready_at, b.started_at, b.finished_at,
	b.worker, b.epoch, b.claim, b.ran, b.cleaned, b.stopping, b.result_of, b.again_of, b.unique_key, b.key, b.why, b.failure, b.args, b.kwargs`
	fullColumns = briefColumns + `, b.dependants, b.pins, b.frames, b.result`
	buildTables = ` FROM {all_builds} b JOIN {heads} h ON h.id = b.head JOIN {definitions} d ON d.id = b.definition
	JOIN {services} v ON v.id = b.service `
	selectFull  = `SELECT ` + fullColumns + buildTables
	selectBrief = `SELECT ` + briefColumns + buildTables
)

// What stopping says.
const (
	stopCancel  = 1
	stopSuspend = 2
)

// scanBuild reads a row of fullColumns, or of briefColumns.
func scanBuild(r *row, brief bool) (b jobcontrol.Build, err error) {
	b.ID, b.Run, b.Project, b.Job, b.Definition = r.int(), r.int(), r.text(), r.text(), r.text()
	if b.Service = r.text(); b.Service == jobcontrol.DefaultService {
		b.Service = ""
	}
	b.State = r.state()
	if v := r.optional(); v != nil {
		changed := *v != 0
		b.Changed = &changed
	}
	b.Phase, b.Place, b.DepsLeft = int(r.int()), int(r.int()), int(r.int())
	b.Tries, b.RetryDelay, b.TriesUsed = int(r.int()), time.Duration(r.int()), int(r.int())
	b.Attempts, b.Lost, b.Asked, b.Priority = int(r.int()), int(r.int()), int(r.int()), int(r.int())
	b.CreatedAt, b.ReadyAt, b.StartedAt, b.FinishedAt = r.time(), r.time(), r.time(), r.time()
	b.Claim = jobcontrol.Claim{Worker: r.int(), Epoch: r.int(), Number: r.int()}
	if b.Claim.Number != 0 {
		b.Claim.Build = b.ID
	}
	b.Ran, b.Cleaned = r.int(), r.bool()
	switch r.int() {
	case stopCancel:
		b.Stopping = jobcontrol.ToCancel
	case stopSuspend:
		b.Stopping = jobcontrol.ToSuspend
	}
	b.ResultOf, b.AgainOf = r.int(), r.int()
	b.Unique, b.Key, b.Why = strings.TrimPrefix(r.text(), b.Project+"/"), r.text(), r.text()
	failure := r.json()
	b.Args, b.Kwargs = jobcontrol.EncodedArguments(r.json()), jobcontrol.EncodedArguments(r.json())
	var frames json.RawMessage
	if !brief {
		if b.Dependants, err = codec.DecodeIDs(b.ID, r.blob()); err != nil {
			return b, err
		}
		if b.Pins, err = codec.DecodePins(r.json()); err != nil {
			return b, err
		}
		frames = r.json()
		b.Result = r.json()
	}
	b.Failure, err = codec.DecodeFailure(failure, frames)
	return b, err
}

// build returns a build, or NotFound.
func (c *conn) build(id int64) (*jobcontrol.Build, error) {
	var b *jobcontrol.Build
	err := c.each(func(r *row) error {
		v, err := scanBuild(r, false)
		b = &v
		return err
	}, selectFull+`WHERE b.id = $1`, id)
	if err == nil && b == nil {
		err = noBuild(id)
	}
	return b, err
}

func noBuild(id int64) error { return jobcontrol.Errorf(jobcontrol.NotFound, "no such build: %d", id) }

// Build returns a build; see [jobcontrol.Builds].
func (s *Store) Build(ctx context.Context, id int64) (b *jobcontrol.Build, err error) {
	err = s.readOne(ctx, func(c *conn) (err error) {
		b, err = c.build(id)
		return err
	})
	return b, err
}

// ListBuilds returns the builds that a filter selects; see [jobcontrol.Builds].
func (s *Store) ListBuilds(ctx context.Context, f jobcontrol.BuildFilter) ([]jobcontrol.Build, error) {
	var builds []jobcontrol.Build
	err := s.read(ctx, func(c *conn) error {
		builds = nil
		if f.Run == 0 {
			c.queue(nil, inOrder) // else there is an index for just these
		}
		q, err := c.listBuilds(f)
		if err != nil || q == nil {
			return err
		}
		return c.each(func(r *row) error {
			b, err := scanBuild(r, f.Brief)
			builds = append(builds, b)
			return err
		}, q.text, q.args...)
	})
	if err != nil {
		return nil, err
	}
	return builds, nil
}

// inOrder makes the plans of lists follow the indexes, which are in the order of
// the lists, until there is enough: the planner thinks too little of how many
// rows fulfil our conditions, and would rather sort all of them. Each list has a
// plan of its own: a job may have most of the builds, or a few.
const inOrder = `SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
	set_config('enable_sort', 'off', true), set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
	set_config('jit', 'off', true), set_config('plan_cache_mode', 'force_custom_plan', true)`

// query is a statement that is being put together.
type query struct {
	where []string
	text  string
	args  []any
}

// add adds a condition, whose values are the % of it.
func (q *query) add(condition string, values ...any) {
	for _, v := range values {
		q.args = append(q.args, v)
		condition = strings.Replace(condition, "%", fmt.Sprintf("$%d", len(q.args)), 1)
	}
	q.where = append(q.where, condition)
}

// exactly adds a condition that must hold, must not, or does not matter.
func (q *query) exactly(want *bool, condition string) {
	switch {
	case want == nil:
	case *want:
		q.add(condition)
	default:
		q.add("NOT " + condition)
	}
}

// end adds the conditions, an order and the limit of a filter: 0 means 100, below 0 none.
func (q *query) end(text, order string, n int) *query {
	q.text = text
	if len(q.where) > 0 {
		q.text += ` WHERE ` + strings.Join(q.where, ` AND `)
	}
	q.text += order
	if n == 0 {
		n = 100
	}
	if n > 0 {
		q.args = append(q.args, int64(n))
		q.text += fmt.Sprintf(" LIMIT $%d", len(q.args))
	}
	return q
}

// listBuilds makes the statement of a filter; nil: there is no such job.
// Conditions on state are numbers in the text: the planner then leaves out the
// builds that are final, or all others, and finds the index of running ones.
func (c *conn) listBuilds(f jobcontrol.BuildFilter) (*query, error) {
	q := &query{}
	if f.Job != "" {
		heads, unfinished, err := c.headsOf(f.Project, f.Job)
		if err != nil || len(heads) == 0 {
			return nil, err
		}
		if unfinished == 0 {
			q.add("b.final") // the others have no index by job
		}
		if len(heads) == 1 {
			q.add("b.head = %", heads[0])
		} else {
			q.add("b.head = ANY(%)", heads)
		}
	} else if f.Project != "" {
		q.add("h.project = %", f.Project)
	}
	if f.Run != 0 {
		several, err := c.number(`SELECT id FROM {runs} WHERE id = $1`, f.Run)
		if err != nil {
			return nil, err
		}
		if several != 0 {
			q.add("b.run = % AND b.run <> b.id", f.Run)
		} else {
			q.add("b.id = % AND b.run = b.id", f.Run)
		}
	}
	if f.States != nil {
		q.add(listedIn(f.States))
	}
	q.exactly(f.Started, "(b.started_at IS NOT NULL)")
	q.exactly(f.Finished, "b.final")
	if f.Success != nil && *f.Success {
		q.add("b.final")
	}
	q.exactly(f.Success, "(b.state IN (7, 8))")
	if f.Skipped != nil && *f.Skipped {
		q.add("b.final")
	}
	q.exactly(f.Skipped, "(b.state = 8)")
	if !f.Since.IsZero() {
		q.add("b.created_at >= %", f.Since)
	}
	if !f.Until.IsZero() {
		q.add("b.created_at < %", f.Until)
	}
	if f.Before != 0 {
		q.add("b.id < %", f.Before)
	}
	text, order := selectFull, ` ORDER BY b.id DESC`
	if f.Brief {
		text = selectBrief
	}
	if f.Asc {
		order = ` ORDER BY b.id`
	}
	return q.end(text, order, f.Limit), nil
}

// headsOf returns the heads of a job in a project, or in all of them, and how
// many builds of it are not final.
func (c *conn) headsOf(project, job string) (heads []int64, unfinished int64, err error) {
	err = c.each(func(r *row) error {
		heads = append(heads, r.int())
		unfinished += r.int()
		return nil
	}, `SELECT id, unfinished FROM {heads} WHERE job = $1 AND (project = $2 OR $2 = '')`, job, project)
	return heads, unfinished, err
}

// stateIn is the condition that a build's state is one of several.
func stateIn(states []jobcontrol.State) string {
	if len(states) == 0 {
		return "false"
	}
	names := make([]string, len(states))
	for i, s := range states {
		names[i] = strconv.Itoa(int(s))
	}
	if len(names) == 1 {
		return "b.state = " + names[0] // so the index of running builds is found
	}
	return "b.state IN (" + strings.Join(names, ", ") + ")"
}

// listedIn is stateIn in the view, of which it leaves out what cannot be in
// these states.
func listedIn(states []jobcontrol.State) string {
	text := stateIn(states)
	final := slices.ContainsFunc(states, jobcontrol.State.Final)
	other := slices.ContainsFunc(states, func(s jobcontrol.State) bool { return !s.Final() })
	switch {
	case final && !other:
		text += " AND b.final"
	case other && !final:
		text += " AND NOT b.final"
	}
	return text
}

// Attempts returns the attempts of a build; see [jobcontrol.Builds].
func (s *Store) Attempts(ctx context.Context, build int64) ([]jobcontrol.Attempt, error) {
	var attempts []jobcontrol.Attempt
	err := s.read(ctx, func(c *conn) error {
		attempts = nil
		add := func(data []byte, failure, frames json.RawMessage) error {
			a, err := codec.DecodeAttempt(build, data)
			if err != nil {
				return err
			}
			a.Failure, err = codec.DecodeFailure(failure, frames)
			attempts = append(attempts, a)
			return err
		}
		var last []byte
		var failure, frames json.RawMessage
		found := false
		c.queue(func(r *row) error {
			found = true
			last, failure, frames = r.blob(), r.json(), r.json()
			return nil
		}, `SELECT last, failure, frames FROM {all_builds} WHERE id = $1`, build)
		if err := c.each(func(r *row) error { return add(r.blob(), r.json(), nil) },
			`SELECT data, failure FROM {attempts} WHERE build = $1 ORDER BY number`, build); err != nil {
			return err
		}
		if !found {
			return noBuild(build)
		}
		if len(last) == 0 {
			return nil
		}
		if err := add(last, failure, frames); err != nil {
			return err
		}
		// The attempt that ended the build stands before clean-up steps.
		for i := len(attempts) - 1; i > 0 && attempts[i-1].Number > attempts[i].Number; i-- {
			attempts[i-1], attempts[i] = attempts[i], attempts[i-1]
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return attempts, nil
}

// Definition returns a definition by its hash; see [jobcontrol.Builds].
func (s *Store) Definition(ctx context.Context, hash string) (*jobcontrol.Job, error) {
	body, found := s.bodies.get(hash)
	if !found {
		err := s.readOne(ctx, func(c *conn) (err error) {
			found, err = c.first(func(r *row) { body = r.text() }, `SELECT body FROM {definitions} WHERE hash = $1`, hash)
			return err
		})
		if err != nil {
			return nil, err
		}
		if !found {
			return nil, jobcontrol.Errorf(jobcontrol.NotFound, "no such definition: %s", hash)
		}
		s.bodies.put(hash, body)
	}
	job := &jobcontrol.Job{}
	if err := json.Unmarshal([]byte(body), job); err != nil {
		return nil, &jobcontrol.Error{Code: jobcontrol.Internal, Message: "definition " + hash, Cause: err}
	}
	return job, nil
}

// bodies are definitions as they are stored, those that were read lately: they
// never change. What is made of one is its reader's own.
type bodies struct {
	mu sync.Mutex
	m  map[string]string // by hash
}

// mostBodies is how many of them are remembered.
const mostBodies = 1000

func (b *bodies) get(hash string) (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	body, ok := b.m[hash]
	return body, ok
}

func (b *bodies) put(hash, body string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.m == nil || len(b.m) >= mostBodies {
		b.m = map[string]string{}
	}
	b.m[hash] = body
}

func (b *bodies) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.m)
}
