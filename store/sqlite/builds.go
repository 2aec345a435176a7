package sqlite

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// pinsOf are a build's pins: with those of its items, if it was expanded.
const pinsOf = `coalesce((SELECT x.pins FROM expansions x WHERE x.parent = b.id), b.pins)`

// placeOf is a build's place in its Run: that of an item is its parent's.
const placeOf = `CASE b.run WHEN b.id THEN 0 ELSE coalesce((SELECT CASE WHEN b.id < x.first + x.size THEN x.parent END FROM expansions x
	WHERE x.size > 0 AND x.first <= b.id ORDER BY x.first DESC LIMIT 1), b.id) - b.run - 1 END`

// Builds are read with their job and the hash of their definition. The brief
// columns come first, then those that a brief build lacks.
const (
	briefColumns = `b.id, b.run, h.project, h.job, d.hash, b.state, b.changed, b.phase, b.deps_left,
	b.tries, b.retry_delay, b.tries_used, b.attempts, b.lost, b.asked,
	b.created_at, b.ready_at, b.started_at, b.finished_at,
	b.worker, b.epoch, b.claim, b.ran, b.cleaned, b.result_of, b.again_of,
	CASE b.service WHEN 0 THEN NULL ELSE (SELECT name FROM services WHERE id = b.service) END, b.priority, b.stop, b.unique_key, b.service_key,
	b.why, b.failure, b.args, b.kwargs, ` + placeOf
	fullColumns = briefColumns + `, b.dependants, ` + pinsOf + `, b.frames, b.result`
	buildTables = ` FROM builds b CROSS JOIN heads h ON h.id = b.head CROSS JOIN definitions d ON d.id = b.definition `
	selectFull  = `SELECT ` + fullColumns + buildTables
	selectBrief = `SELECT ` + briefColumns + buildTables
)

// scanBuild reads a row of fullColumns, or of briefColumns.
func scanBuild(r *row, brief bool) (b jobcontrol.Build, err error) {
	b.ID, b.Run, b.Project, b.Job, b.Definition = r.int(), r.int(), r.text(), r.text(), r.text()
	b.State = r.state()
	if v := r.optional(); v != nil {
		changed := *v != 0
		b.Changed = &changed
	}
	b.Phase, b.DepsLeft = int(r.int()), int(r.int())
	b.Tries, b.RetryDelay, b.TriesUsed = int(r.int()), time.Duration(r.int()), int(r.int())
	b.Attempts, b.Lost, b.Asked = int(r.int()), int(r.int()), int(r.int())
	b.CreatedAt, b.ReadyAt, b.StartedAt, b.FinishedAt = r.time(), r.time(), r.time(), r.time()
	b.Claim = jobcontrol.Claim{Worker: r.int(), Epoch: r.int(), Number: r.int()}
	if b.Claim.Worker != 0 {
		b.Claim.Build = b.ID
	} else {
		b.Claim = jobcontrol.Claim{} // it was given up
	}
	b.Ran, b.Cleaned, b.ResultOf, b.AgainOf = r.int(), r.bool(), r.int(), r.int()
	if b.Service = r.text(); b.Service == jobcontrol.DefaultService {
		b.Service = ""
	}
	b.Priority = int(r.int())
	b.Stopping = stopping[r.int()&3]
	b.Unique, b.Key, b.Why = uniqueOf(b.Project, r.text()), r.text(), r.text()
	failure := r.json()
	b.Args, b.Kwargs = r.json(), r.json()
	b.Place = int(r.int())
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

// stopping are what builds.stop means.
var stopping = [4]jobcontrol.Transition{stopCancel: jobcontrol.ToCancel, stopSuspend: jobcontrol.ToSuspend}

// uniqueOf is Build.Unique by what stands in the row; see uniqueKey.
func uniqueOf(project, unique string) string {
	if unique == "" {
		return ""
	}
	return strings.TrimPrefix(unique, uniqueKey(project, ""))
}

// row returns a build as its row tells of it, or NotFound.
func (c *conn) row(id int64) (*jobcontrol.Build, error) {
	builds, err := c.selected(false, selectFull+`WHERE b.id = ?`, id)
	switch {
	case err != nil:
		return nil, err
	case len(builds) == 0:
		return nil, noBuild(id)
	}
	return &builds[0], nil
}

// build is row, with the claim that its row does not tell of.
func (c *conn) build(id int64) (*jobcontrol.Build, error) {
	b, err := c.row(id)
	if err == nil {
		err = c.enterClaims(b)
	}
	return b, err
}

// build is conn.build; what is claimed by table claims the handle remembers.
func (t *tx) build(id int64) (*jobcontrol.Build, error) {
	b, err := t.row(id)
	if err != nil || b.State != jobcontrol.Queued || b.Claim.Worker != 0 {
		return b, err
	}
	spread, err := t.lookAtClaims()
	switch c, ok := t.claims.builds[id]; {
	case err != nil:
		return nil, err
	case spread:
		return t.row(id)
	case ok:
		b.Claim = jobcontrol.Claim{Build: id, Worker: c.by.lease.Worker, Epoch: c.by.lease.Epoch, Number: c.number}
	}
	return b, nil
}

// selected returns builds, as their rows tell of them, by a statement with fullColumns, or briefColumns.
func (c *conn) selected(brief bool, text string, args ...any) ([]jobcontrol.Build, error) {
	var builds []jobcontrol.Build
	err := c.each(func(r *row) error {
		b, err := scanBuild(r, brief)
		builds = append(builds, b)
		return err
	}, text, args...)
	return builds, err
}

// listed is selected, with the claims that their rows do not tell of.
func (c *conn) listed(brief bool, text string, args ...any) ([]jobcontrol.Build, error) {
	builds, err := c.selected(brief, text, args...)
	if err == nil {
		err = c.enterClaims(pointers(builds)...)
	}
	return builds, err
}

func pointers[T any](list []T) []*T {
	out := make([]*T, len(list))
	for i := range list {
		out[i] = &list[i]
	}
	return out
}

func noBuild(id int64) error { return jobcontrol.Errorf(jobcontrol.NotFound, "no such build: %d", id) }

// builds returns those builds of a Run for which the condition holds.
func (c *conn) builds(r *runRow, condition string) ([]jobcontrol.Build, error) {
	var builds []jobcontrol.Build
	err := c.spans(r, func(first, last int64) error {
		list, err := c.listed(false, selectFull+`WHERE b.id BETWEEN ? AND ? `+condition, first, last)
		builds = append(builds, list...)
		return err
	})
	return builds, err
}

// Build returns a build; see [jobcontrol.Builds].
func (s *Store) Build(ctx context.Context, id int64) (b *jobcontrol.Build, err error) {
	err = s.read(ctx, func(c *conn) (err error) {
		b, err = c.build(id)
		return err
	})
	return b, err
}

// ListBuilds returns the builds that a filter selects; see [jobcontrol.Builds].
func (s *Store) ListBuilds(ctx context.Context, f jobcontrol.BuildFilter) ([]jobcontrol.Build, error) {
	var builds []jobcontrol.Build
	text, args := listBuilds(f)
	err := s.read(ctx, func(c *conn) (err error) {
		builds, err = c.listed(f.Brief, text, args...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return builds, nil
}

// ofRun is the condition that a build is one of a Run, or is it. Those that it was
// made with and those of its expansions have ids in a row.
const ofRun = `b.run = ? AND b.id IN (
	SELECT id FROM builds WHERE id BETWEEN ? AND ? + coalesce((SELECT size FROM runs WHERE id = ?), 0)
	UNION ALL SELECT i.id FROM expansions x CROSS JOIN builds i ON i.id BETWEEN x.first AND x.first + x.size - 1 WHERE x.run = ? AND x.size > 0)`

func listBuilds(f jobcontrol.BuildFilter) (text string, args []any) {
	var where []string
	add := func(condition string, values ...any) {
		where = append(where, condition)
		args = append(args, values...)
	}
	exactly := func(want *bool, condition string) {
		if want != nil && *want {
			add(condition)
		} else if want != nil {
			add("NOT " + condition)
		}
	}
	switch {
	case f.Job != "" && f.Project != "":
		add("b.head = (SELECT id FROM heads WHERE job = ? AND project = ?)", f.Job, f.Project)
	case f.Job != "":
		add("b.head IN (SELECT id FROM heads WHERE job = ?)", f.Job)
	case f.Project != "":
		add("h.project = ?", f.Project)
	}
	if f.Run != 0 {
		add(ofRun, f.Run, f.Run, f.Run, f.Run, f.Run)
	}
	if f.States != nil {
		add("b.state " + stateIn(f.States))
	}
	exactly(f.Started, "(b.started_at <> 0)")
	exactly(f.Finished, "(b.state >= 7)")
	exactly(f.Success, "(b.state IN (7, 8))")
	exactly(f.Skipped, "(b.state = 8)")
	if !f.Since.IsZero() {
		add("b.created_at >= ?", f.Since)
	}
	if !f.Until.IsZero() {
		add("b.created_at < ?", f.Until)
	}
	if f.Before != 0 {
		add("b.id < ?", f.Before)
	}
	text = selectFull
	if f.Brief {
		text = selectBrief
	}
	if len(where) > 0 {
		text += "WHERE " + strings.Join(where, " AND ")
	}
	text += " ORDER BY b.id"
	if !f.Asc {
		text += " DESC"
	}
	text, args = limit(text, args, f.Limit)
	return text, args
}

// limit adds the limit of a filter: 0 means 100, below 0 none.
func limit(text string, args []any, n int) (string, []any) {
	switch {
	case n < 0:
		return text, args
	case n == 0:
		n = 100
	}
	return text + " LIMIT ?", append(args, n)
}

// stateIn is the condition that a state is one of several. A single one is
// compared with =, which is how the index of running builds is found.
func stateIn(states []jobcontrol.State) string {
	if len(states) == 1 {
		return "= " + itoa(int64(states[0]))
	}
	names := make([]string, len(states))
	for i, s := range states {
		names[i] = itoa(int64(s))
	}
	return "IN (" + strings.Join(names, ", ") + ")"
}

// Attempts returns the attempts of a build; see [jobcontrol.Builds].
func (s *Store) Attempts(ctx context.Context, build int64) ([]jobcontrol.Attempt, error) {
	var attempts []jobcontrol.Attempt
	add := func(data []byte, failure, frames json.RawMessage) error {
		a, err := codec.DecodeAttempt(build, data)
		if err != nil {
			return err
		}
		a.Failure, err = codec.DecodeFailure(failure, frames)
		attempts = append(attempts, a)
		return err
	}
	err := s.read(ctx, func(c *conn) error {
		attempts = nil
		var last []byte
		var failure, frames json.RawMessage
		found, err := c.first(func(r *row) { last, failure, frames = r.blob(), r.json(), r.json() },
			`SELECT last, failure, frames FROM builds WHERE id = ?`, build)
		if err != nil {
			return err
		}
		if !found {
			return noBuild(build)
		}
		from, to := codec.Span(build)
		err = c.each(func(r *row) error { return add(r.blob(), r.json(), nil) },
			`SELECT data, failure FROM attempts WHERE id BETWEEN ? AND ? ORDER BY id`, from, to)
		if err != nil || len(last) == 0 {
			return err
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
	var body string
	found := false
	err := s.readOne(ctx, func(c *conn) (err error) {
		found, err = c.first(func(r *row) { body = r.text() }, `SELECT body FROM definitions WHERE hash = ?`, hash)
		return err
	})
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, jobcontrol.Errorf(jobcontrol.NotFound, "no such definition: %s", hash)
	}
	job := &jobcontrol.Job{}
	if err := json.Unmarshal([]byte(body), job); err != nil {
		return nil, &jobcontrol.Error{Code: jobcontrol.Internal, Message: "definition " + hash, Cause: err}
	}
	return job, nil
}
