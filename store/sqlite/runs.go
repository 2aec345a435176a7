package sqlite

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// runRow is a Run with what the store alone knows of it.
type runRow struct {
	jobcontrol.Run
	size  int64 // of a Run of several builds
	epoch int64 // of its worker
	build jobcontrol.State

	detached bool
}

// span returns the first and the last id of the builds that the Run was made with.
func (r *runRow) span() (first, last int64) {
	if r.Lone {
		return r.ID, r.ID
	}
	return r.ID + 1, r.ID + r.size
}

const (
	runColumns = `SELECT r.id, r.size, r.project, o.verb, o.author, o.file, o.no_cleanup, r.state, r.worker, r.epoch, r.cancel,
		r.created_at, r.finished_at, r.message, r.targets, r.counts, r.detached
		FROM runs r CROSS JOIN origins o ON o.id = r.origin `
	loneColumns = `SELECT b.id, h.project, o.verb, o.author, o.file, o.no_cleanup, b.state, b.open, CASE b.detached WHEN 0 THEN b.worker ELSE 0 END,
		b.epoch, b.cancel, b.created_at, b.finished_at, h.job, b.detached
		FROM builds b CROSS JOIN heads h ON h.id = b.head CROSS JOIN origins o ON o.id = b.origin `
)

func scanRun(r *row) (v runRow, err error) {
	v.ID, v.size, v.Project = r.int(), r.int(), r.text()
	v.Verb, v.By, v.File, v.NoCleanup = jobcontrol.Verb(r.text()), r.text(), r.text(), r.bool()
	v.State, v.Worker, v.epoch, v.Cancel = jobcontrol.RunState(r.int()), r.int(), r.int(), r.bool()
	v.CreatedAt, v.FinishedAt, v.Message = r.time(), r.time(), r.text()
	if json.Unmarshal([]byte(r.text()), &v.Targets) != nil {
		return v, &codec.Damaged{What: "targets of a run"}
	}
	v.Counts, err = codec.DecodeCounts(r.json())
	v.detached = r.bool()
	return v, err
}

// scanLone makes the Run that a lone build is.
func scanLone(r *row) (v runRow) {
	v.ID, v.Project = r.int(), r.text()
	v.Verb, v.By, v.File, v.NoCleanup = jobcontrol.Verb(r.text()), r.text(), r.text(), r.bool()
	v.build = r.state()
	open := jobcontrol.RunState(r.int())
	v.Worker, v.epoch, v.Cancel = r.int(), r.int(), r.bool()
	v.CreatedAt, v.FinishedAt = r.time(), r.time()
	v.Targets, v.detached = []string{r.text()}, r.bool()
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
	var v runRow
	found := false
	err := c.each(func(r *row) (err error) {
		v, err = scanRun(r)
		found = true
		return err
	}, runColumns+`WHERE r.id = ?`, id)
	if err != nil {
		return nil, err
	}
	if found {
		if v.Counts == nil {
			v.Counts, err = c.count(&v)
		}
		return &v, err
	}
	found, err = c.first(func(r *row) { v = scanLone(r) }, loneColumns+`WHERE b.id = ? AND b.run = b.id`, id)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, c.noRun(id)
	}
	return &v, nil
}

func (c *conn) noRun(id int64) error {
	e := jobcontrol.Errorf(jobcontrol.NotFound, "no such run: %d", id)
	run, err := c.number(`SELECT run FROM builds WHERE id = ?`, id)
	if err != nil {
		return err
	}
	if run != 0 {
		e.Hint = "build " + itoa(id) + " belongs to run " + itoa(run)
	}
	return e
}

// count counts the builds of a Run by state.
func (c *conn) count(r *runRow) (jobcontrol.Counts, error) {
	counts := jobcontrol.Counts{}
	err := c.spans(r, func(first, last int64) error {
		_, err := c.first(func(r *row) {
			for state := jobcontrol.Held; state <= jobcontrol.Blocked; state++ {
				if n := r.int(); n > 0 {
					counts[state] += int(n)
				}
			}
		}, `SELECT sum(state = 1), sum(state = 2), sum(state = 3), sum(state = 4), sum(state = 5), sum(state = 6),
			sum(state = 7), sum(state = 8), sum(state = 9), sum(state = 10), sum(state = 11)
			FROM builds WHERE id BETWEEN ? AND ?`, first, last)
		return err
	})
	return counts, err
}

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
	err := s.read(ctx, func(c *conn) error {
		found, err := c.first(func(r *row) { cancel = r.bool() }, `SELECT cancel FROM runs WHERE id = ?`, run)
		if err != nil || found {
			return err
		}
		found, err = c.first(func(r *row) { cancel = r.bool() }, `SELECT cancel FROM builds WHERE id = ? AND run = id`, run)
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
	err := s.read(ctx, func(c *conn) (err error) {
		if runs = nil; onlyOpen(f.States) {
			runs, err = c.openRuns(f, n)
		} else {
			runs, err = c.allRuns(f, n)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return runs, nil
}

// onlyOpen tells whether all of the states are those of unfinished Runs, which
// have an index.
func onlyOpen(states []jobcontrol.RunState) bool {
	return len(states) > 0 && !slices.ContainsFunc(states, jobcontrol.RunState.Final)
}

func selected(f jobcontrol.RunFilter, r *runRow) bool {
	return (f.Project == "" || f.Project == r.Project) && (len(f.States) == 0 || slices.Contains(f.States, r.State))
}

// openRuns lists unfinished Runs.
func (c *conn) openRuns(f jobcontrol.RunFilter, n int) ([]jobcontrol.Run, error) {
	var rows []runRow
	if err := c.each(func(r *row) error {
		v, err := scanRun(r)
		rows = append(rows, v)
		return err
	}, runColumns+`WHERE r.state IN (1, 2, 7)`); err != nil {
		return nil, err
	}
	if err := c.each(func(r *row) error {
		rows = append(rows, scanLone(r))
		return nil
	}, loneColumns+`WHERE b.open IS NOT NULL`); err != nil {
		return nil, err
	}
	if len(f.States) == 0 || slices.Contains(f.States, jobcontrol.RunRunning) {
		waiting, err := c.loneUnfinished(f, n)
		if err != nil {
			return nil, err
		}
		rows = append(rows, waiting...)
	}
	slices.SortFunc(rows, func(a, b runRow) int { return int(b.ID - a.ID) })
	var runs []jobcontrol.Run
	for i := range rows {
		if len(runs) == n {
			break
		}
		if selected(f, &rows[i]) {
			if err := c.appendRun(&runs, &rows[i]); err != nil {
				return nil, err
			}
		}
	}
	return runs, nil
}

// loneUnfinished lists detached lone builds that are not final, the newest n of
// each index that has some.
func (c *conn) loneUnfinished(f jobcontrol.RunFilter, n int) ([]runRow, error) {
	var rows []runRow
	for _, condition := range []string{
		`b.queue = 1 AND b.alone = 0`, `b.queue = 1 AND b.queue <> 2 AND b.alone = 1`, `b.queue = 2`,
		`b.queue = 3 AND b.queue <> 2 AND (b.queue > 2 OR b.alone = 1)`, `b.queue = 4 AND b.queue <> 2 AND (b.queue > 2 OR b.alone = 1)`,
	} {
		if err := c.each(func(r *row) error {
			rows = append(rows, scanLone(r))
			return nil
		}, loneColumns+`WHERE b.id IN (SELECT b.id FROM services s CROSS JOIN builds b ON b.service = s.id
			WHERE (s.project = ? OR ? = '') AND `+condition+` AND b.run = b.id ORDER BY b.id DESC LIMIT ?)`,
			f.Project, f.Project, n); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// allRuns lists Runs from the newest on. Between the builds of one Run and the
// next Run lie the lone builds, so no build of a Run is looked at.
func (c *conn) allRuns(f jobcontrol.RunFilter, n int) ([]jobcontrol.Run, error) {
	const pageSize = 100
	var runs []jobcontrol.Run
	top := int64(1) << 62 // everything from here on was seen
	for len(runs) != n {
		var next runRow
		found := false
		if err := c.each(func(r *row) (err error) {
			next, err = scanRun(r)
			found = true
			return err
		}, runColumns+`WHERE r.id < ? ORDER BY r.id DESC LIMIT 1`, top); err != nil {
			return nil, err
		}
		_, floor := next.span()
		if !found {
			floor = 0
		}
		for len(runs) != n {
			var page []runRow
			if err := c.each(func(r *row) error {
				page = append(page, scanLone(r))
				return nil
			}, loneColumns+`WHERE b.id > ? AND b.id < ? AND b.run = b.id ORDER BY b.id DESC LIMIT ?`, floor, top, pageSize); err != nil {
				return nil, err
			}
			for i := range page {
				top = page[i].ID
				if len(runs) != n && selected(f, &page[i]) {
					runs = append(runs, page[i].Run)
				}
			}
			if len(page) < pageSize {
				break
			}
		}
		if !found {
			break
		}
		if len(runs) != n && selected(f, &next) {
			if err := c.appendRun(&runs, &next); err != nil {
				return nil, err
			}
		}
		top = next.ID
	}
	return runs, nil
}

func (c *conn) appendRun(runs *[]jobcontrol.Run, r *runRow) (err error) {
	if r.Counts == nil {
		r.Counts, err = c.count(r)
	}
	*runs = append(*runs, r.Run)
	return err
}
