package postgres

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// runRow is a Run with what the store alone knows of it.
type runRow struct {
	jobcontrol.Run
	size     int64 // builds that it was made with
	epoch    int64 // of its worker
	detached bool
	left     int64            // builds that are not final; of a Run of several
	build    jobcontrol.State // of a lone build
}

const (
	selectRuns = `SELECT r.id, r.size, r.project, o.verb, o.author, o.file, o.no_cleanup, r.state, r.worker, r.epoch, r.cancel, r.detached,
		r.created_at, r.finished_at, r.message, r.targets, r.remaining, r.successful, r.skipped, r.failed, r.cancelled, r.blocked
		FROM {runs} r JOIN {origins} o ON o.id = r.origin `
	selectLone = `SELECT b.id, h.project, o.verb, o.author, o.file, o.no_cleanup, b.state, b.open, b.worker, b.epoch, b.cancel, b.detached,
		b.created_at, b.finished_at, h.job
		FROM {all_builds} b JOIN {heads} h ON h.id = b.head JOIN {origins} o ON o.id = b.origin `
)

func scanRun(r *row) (v runRow, err error) {
	v.ID, v.size, v.Project = r.int(), r.int(), r.text()
	v.Verb, v.By, v.File, v.NoCleanup = jobcontrol.Verb(r.text()), r.text(), r.text(), r.bool()
	v.State, v.Worker, v.epoch, v.Cancel, v.detached = jobcontrol.RunState(r.int()), r.int(), r.int(), r.bool(), r.bool()
	v.CreatedAt, v.FinishedAt, v.Message = r.time(), r.time(), r.text()
	if json.Unmarshal([]byte(r.text()), &v.Targets) != nil {
		return v, &codec.Damaged{What: "targets of a run"}
	}
	v.left = r.int()
	v.Counts = jobcontrol.Counts{}
	for state := jobcontrol.Successful; state <= jobcontrol.Blocked; state++ {
		if n := r.int(); n > 0 {
			v.Counts[state] = int(n)
		}
	}
	return v, nil
}

// scanLone makes the Run that a lone build is.
func scanLone(r *row) (v runRow) {
	v.ID, v.Project = r.int(), r.text()
	v.Verb, v.By, v.File, v.NoCleanup = jobcontrol.Verb(r.text()), r.text(), r.text(), r.bool()
	v.build = r.state()
	open := jobcontrol.RunState(r.int())
	v.Worker, v.epoch, v.Cancel, v.detached = r.int(), r.int(), r.bool(), r.bool()
	if v.detached {
		v.Worker, v.epoch = 0, 0 // they are those of the build
	}
	v.CreatedAt, v.FinishedAt = r.time(), r.time()
	v.Targets = []string{r.text()}
	v.Lone, v.size = true, 1
	v.Counts = jobcontrol.Counts{v.build: 1}
	switch {
	case open == jobcontrol.RunInterrupted:
		v.State, v.Message = open, loneInterrupted
		if v.build == jobcontrol.Suspended {
			v.Message = loneSuspended
		}
	case open == jobcontrol.RunCleaning:
		v.State = open
	case v.build.Final():
		v.State = v.Counts.Outcome()
	default:
		v.State = jobcontrol.RunRunning
	}
	if !v.State.Final() {
		v.FinishedAt = time.Time{}
	}
	return v
}

// The messages of interrupted lone builds, which have no row for one.
const (
	loneInterrupted = "interrupted: the program that ran it ended before it was done"
	loneSuspended   = "interrupted: it is suspended and waits for a decision"
)

// run returns a Run with its counts, or NotFound.
func (c *conn) run(id int64) (*runRow, error) {
	var rows []runRow
	c.queue(func(r *row) error {
		v, err := scanRun(r)
		rows = append(rows, v)
		return err
	}, selectRuns+`WHERE r.id = $1`, id)
	if err := c.each(func(r *row) error {
		rows = append(rows, scanLone(r))
		return nil
	}, selectLone+`WHERE b.id = $1 AND b.run = b.id`, id); err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, c.noRun(id)
	}
	return &rows[0], c.count(rows)
}

func (c *conn) noRun(id int64) error {
	e := jobcontrol.Errorf(jobcontrol.NotFound, "no such run: %d", id)
	run, err := c.number(`SELECT run FROM {all_builds} WHERE id = $1`, id)
	if err != nil {
		return err
	}
	if run != 0 {
		e.Hint = "build " + itoa(id) + " belongs to run " + itoa(run)
	}
	return e
}

// count counts those builds of Runs that are not final; the others are counted
// as they end.
func (c *conn) count(rows []runRow) error {
	byID := map[int64]jobcontrol.Counts{}
	var ids []int64
	for i := range rows {
		if !rows[i].Lone && rows[i].left > 0 {
			ids = append(ids, rows[i].ID)
			byID[rows[i].ID] = rows[i].Counts
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return c.each(func(r *row) error {
		run, state := r.int(), r.state()
		byID[run][state] += int(r.int())
		return nil
	}, `SELECT run, state, count(*) FROM {builds} WHERE run = ANY($1) AND run <> id GROUP BY run, state`, ids)
}

// builds returns those builds of a Run for which the condition holds, in its order.
func (c *conn) builds(r *runRow, condition string) ([]jobcontrol.Build, error) {
	var builds []jobcontrol.Build
	text := selectFull + `WHERE b.run = $1 AND b.run <> b.id `
	if r.Lone {
		text = selectFull + `WHERE b.id = $1 `
	}
	err := c.each(func(r *row) error {
		b, err := scanBuild(r, false)
		builds = append(builds, b)
		return err
	}, text+condition+` ORDER BY b.place, b.id`, r.ID)
	return builds, err
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// Run returns a Run; see [jobcontrol.Runs].
func (s *Store) Run(ctx context.Context, id int64) (*jobcontrol.Run, error) {
	var run *jobcontrol.Run
	err := s.read(ctx, func(c *conn) error {
		r, err := c.run(id)
		if err == nil {
			run = &r.Run
		}
		return err
	})
	return run, err
}

// CancelRequested tells whether a Run is to be cancelled; see [jobcontrol.Runs].
func (s *Store) CancelRequested(ctx context.Context, run int64) (bool, error) {
	var cancel bool
	err := s.readOne(ctx, func(c *conn) error {
		found, err := c.first(func(r *row) { cancel = r.bool() },
			`SELECT cancel FROM {runs} WHERE id = $1 UNION ALL SELECT cancel FROM {all_builds} WHERE id = $1 AND run = id`, run)
		if err == nil && !found {
			err = c.noRun(run)
		}
		return err
	})
	return cancel, err
}

// ListRuns returns Runs, newest first; see [jobcontrol.Runs].
func (s *Store) ListRuns(ctx context.Context, f jobcontrol.RunFilter) ([]jobcontrol.Run, error) {
	n := f.Limit
	if n == 0 {
		n = 100
	}
	var runs []jobcontrol.Run
	err := s.read(ctx, func(c *conn) error {
		c.queue(nil, inOrder)
		rows, err := c.listRuns(f, n)
		if err != nil {
			return err
		}
		if err := c.count(rows); err != nil {
			return err
		}
		runs = make([]jobcontrol.Run, 0, len(rows))
		for i := range rows {
			runs = append(runs, rows[i].Run)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return runs, nil
}

// loneState is the state of the Run that a lone build is, as scanLone says it.
const loneState = `CASE WHEN b.open IN (2, 7) THEN b.open WHEN b.state IN (7, 8) THEN 3 WHEN b.state = 10 THEN 6
	WHEN b.state IN (9, 11) THEN 5 ELSE 1 END`

// listRuns lists Runs of several builds and lone builds, n of each at most, and
// puts them in order. No lone build is looked for that is older than the Runs.
func (c *conn) listRuns(f jobcontrol.RunFilter, n int) ([]runRow, error) {
	var rows []runRow
	q := &query{}
	if f.Project != "" {
		q.add("r.project = %", f.Project)
	}
	if len(f.States) > 0 {
		q.add(runStateIn("r.state", f.States))
		if onlyOpen(f.States) {
			q.add("r.state IN (1, 2, 7)") // the index of those
		}
	}
	q.end(selectRuns, ` ORDER BY r.id DESC`, n)
	if err := c.each(func(r *row) error {
		v, err := scanRun(r)
		rows = append(rows, v)
		return err
	}, q.text, q.args...); err != nil {
		return nil, err
	}
	var floor int64
	if n > 0 && len(rows) == n {
		floor = rows[n-1].ID
	}
	if err := c.loneRuns(f, floor, n, func(r *row) error {
		rows = append(rows, scanLone(r))
		return nil
	}); err != nil {
		return nil, err
	}
	slices.SortFunc(rows, func(a, b runRow) int { return int(b.ID - a.ID) })
	if n >= 0 && len(rows) > n {
		rows = rows[:n]
	}
	return rows, nil
}

// loneRuns lists lone builds with ids above floor: first those that are not
// final, then the others, each as far as the states allow it.
func (c *conn) loneRuns(f jobcontrol.RunFilter, floor int64, n int, add func(*row) error) error {
	final := func(s jobcontrol.RunState) bool { return s.Final() }
	for _, part := range []struct {
		condition string
		skip      bool
	}{
		{"NOT b.final", len(f.States) > 0 && !slices.ContainsFunc(f.States, func(s jobcontrol.RunState) bool {
			return s == jobcontrol.RunRunning || s == jobcontrol.RunInterrupted
		})},
		{"b.final AND b.open IS NOT NULL", len(f.States) > 0 && !slices.ContainsFunc(f.States, func(s jobcontrol.RunState) bool {
			return s == jobcontrol.RunCleaning || s == jobcontrol.RunInterrupted
		})},
		{"b.final AND b.open IS NULL", len(f.States) > 0 && !slices.ContainsFunc(f.States, final)},
	} {
		if part.skip {
			continue
		}
		q := &query{}
		q.add(part.condition)
		q.add("b.run = b.id AND b.id > %", floor)
		if f.Project != "" {
			q.add("h.project = %", f.Project)
		}
		if len(f.States) > 0 {
			q.add(runStateIn(loneState, f.States))
		}
		q.end(selectLone, ` ORDER BY b.id DESC`, n)
		c.queue(add, q.text, q.args...)
	}
	return c.send()
}

// onlyOpen tells whether all of the states are those of unfinished Runs, which
// have an index.
func onlyOpen(states []jobcontrol.RunState) bool {
	return len(states) > 0 && !slices.ContainsFunc(states, jobcontrol.RunState.Final)
}

// runStateIn is the condition that a state is one of several.
func runStateIn(column string, states []jobcontrol.RunState) string {
	names := make([]string, len(states))
	for i, s := range states {
		names[i] = strconv.Itoa(int(s))
	}
	return column + " IN (" + strings.Join(names, ", ") + ")"
}
