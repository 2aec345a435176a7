//go:build linux

package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jobcontrol/jobcontrol"
)

// Violation is a promise that did not hold.
type Violation struct {
	Rule  string // see the package documentation
	Run   int64  // 0: none
	Build int64  // 0: none
	Text  string
}

// Figures are the numbers that a scenario counts, by name.
type Figures map[string]int

// add adds other figures.
func (f Figures) add(other Figures) {
	for k, n := range other {
		f[k] += n
	}
}

// String lists the figures by name.
func (f Figures) String() string {
	var names []string
	for k := range f {
		names = append(names, k)
	}
	slices.Sort(names)
	for i, k := range names {
		names[i] = fmt.Sprintf("%s %d", k, f[k])
	}
	return strings.Join(names, ", ")
}

// story is everything that is known when a scenario is over: the journal and the store.
type story struct {
	entries []Entry
	byBuild map[int64][]Entry // of executions
	byOp    map[string][]Entry
	answers map[string]Entry // by call
	runs    map[int64]*jobcontrol.Run
	builds  map[int64]*chapter
	members map[int64][]*chapter // by Run, by id
	order   []int64              // ids of builds
	figures Figures
	found   []Violation
}

// chapter is what the store knows of a build.
type chapter struct {
	jobcontrol.Build
	in       workIn
	out      workOut
	attempts []jobcontrol.Attempt // without clean-up
	cleanups []jobcontrol.Attempt
	logs     []jobcontrol.LogRecord
	progress []jobcontrol.Progress
	shared   int64 // the fence that it wrote into a Shared value last; 0: none
}

func (s *story) violate(rule string, b *chapter, format string, args ...any) {
	v := Violation{Rule: rule, Text: fmt.Sprintf(format, args...)}
	if b != nil {
		v.Run, v.Build = b.Run, b.ID
	}
	s.found = append(s.found, v)
}

// readStory reads journal and store.
func readStory(ctx context.Context, dir string, store jobcontrol.Store) (*story, error) {
	entries, err := readJournal(filepath.Join(dir, "journal"))
	if err != nil {
		return nil, err
	}
	s := &story{runs: map[int64]*jobcontrol.Run{}, builds: map[int64]*chapter{}, members: map[int64][]*chapter{}, figures: Figures{}}
	s.index(entries)
	runs, err := store.ListRuns(ctx, jobcontrol.RunFilter{Limit: -1})
	if err != nil {
		return nil, err
	}
	for i := range runs {
		s.runs[runs[i].ID] = &runs[i]
	}
	builds, err := store.ListBuilds(ctx, jobcontrol.BuildFilter{Limit: -1, Asc: true})
	if err != nil {
		return nil, err
	}
	for i := range builds {
		if err := s.read(ctx, store, builds[i]); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// index takes in the journal.
func (s *story) index(entries []Entry) {
	s.entries, s.byBuild, s.byOp, s.answers = entries, map[int64][]Entry{}, map[string][]Entry{}, map[string]Entry{}
	for i := range entries {
		entries[i].line = i + 1
		switch e := entries[i]; e.Kind {
		case entryCall:
			s.byOp[e.Op] = append(s.byOp[e.Op], e)
		case entryAnswer:
			s.answers[e.ID] = e
		case entryStart, entryEnd, entryTry, entryDone, entryRefused, entryOverlap:
			s.byBuild[e.Build] = append(s.byBuild[e.Build], e)
		}
	}
}

// read adds a build.
func (s *story) read(ctx context.Context, store jobcontrol.Store, b jobcontrol.Build) error {
	c := &chapter{Build: b}
	s.builds[b.ID], s.order = c, append(s.order, b.ID)
	s.members[b.Run] = append(s.members[b.Run], c)
	var in struct{ K, Do, U string } // prev is a placeholder
	if len(b.Kwargs) > 0 {
		if err := json.Unmarshal(b.Kwargs, &in); err != nil {
			return fmt.Errorf("build %d: %w", b.ID, err)
		}
	}
	c.in = workIn{K: in.K, Do: in.Do, U: in.U}
	if len(b.Result) > 0 {
		if err := json.Unmarshal(b.Result, &c.out); err != nil {
			s.violate("stale", c, "its result %s is not what executions return", b.Result)
		}
	}
	attempts, err := store.Attempts(ctx, b.ID)
	if err != nil {
		return err
	}
	for _, a := range attempts {
		if a.Cleanup {
			c.cleanups = append(c.cleanups, a)
		} else {
			c.attempts = append(c.attempts, a)
		}
	}
	if err := store.Log(ctx, b.ID, jobcontrol.LogFilter{}, func(r jobcontrol.LogRecord) bool {
		c.logs = append(c.logs, r)
		return true
	}); err != nil {
		return err
	}
	if c.progress, err = store.Progress(ctx, b.ID); err != nil {
		return err
	}
	raw, version, err := store.SharedGet(ctx, b.Run, fmt.Sprintf("b%d", b.ID))
	if err == nil && version > 0 {
		err = json.Unmarshal(raw, &c.shared)
	}
	return err
}

// fenceOf is the fence in a build's result; 0: there is none.
func fenceOf(b *jobcontrol.Build) int64 {
	var out workOut
	_ = json.Unmarshal(b.Result, &out) // else 0
	return out.Fence
}

// about are the journal's entries on a build and its Run.
func (s *story) about(run, build int64) []Entry {
	var out []Entry
	for _, e := range s.entries {
		if build != 0 && (e.Build == build || slices.Contains(e.IDs, build)) || run != 0 && (e.Run == run && e.Build == 0 || slices.Contains(e.IDs, run)) {
			out = append(out, e)
		}
	}
	return out
}
