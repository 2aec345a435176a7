//go:build linux

package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

const (
	mostItems = 8 // of a Run's list
	itemKinds = 2 // functions and commands
)

// constantItems are those of the job that has no list.
var constantItems = []any{"x", "y", "z"}

// addItems adds jobs with a build for each item: of a list that another build
// makes, named after its fence, with a build that is given the results of all;
// and of constant items, which may be a Run of its own.
func (l *jobList) addItems() {
	l.add("list", 0).Kwargs["n"] = int64(0)
	for i := range itemKinds {
		each := l.add(fmt.Sprintf("each%d", i), i)
		needs(each, "list")
		each.ForEach = &jobcontrol.ForEach{Items: jobcontrol.Retval{Job: "list", Path: "items"}}
		gather := l.add(fmt.Sprintf("gather%d", i), 0)
		gather.Dependencies = []string{each.ID}
		gather.Kwargs["results"] = jobcontrol.Retval{Job: each.ID}
	}
	l.add("each-alone", 0).ForEach = &jobcontrol.ForEach{Items: constantItems}
}

// items are what a list returns.
func (d *doing) items() []string {
	if d.Job.ID != "list" {
		return nil
	}
	list := []string{}
	for i := range d.in.N {
		list = append(list, fmt.Sprintf("%d-%d", d.Fence, i))
	}
	return list
}

// eachOf is a Run with a list, builds of its items, and one that gathers.
func (c *client) eachOf(ctx context.Context, do string, ms int64) []jobcontrol.Build {
	gather := fmt.Sprintf("gather%d", c.rng.IntN(itemKinds))
	n := c.rng.Int64N(mostItems + 1)
	if do == doFail {
		n = max(n, 1) // none of no items fails
	}
	return c.submit(ctx, request{
		verb: jobcontrol.VerbRun, job: gather, do: do, other: map[string]string{"list": c.pick(doOK, doOK, doFlaky), gather: doOK},
		ms: ms, n: n,
	})
}

func (c *client) each(ctx context.Context) {
	c.eachOf(ctx, c.pick(doOK, doOK, doOK, doFlaky, doRetry, doFail), 40)
}

func (c *client) eachAlone(ctx context.Context) {
	c.submit(ctx, request{verb: jobcontrol.VerbBuild, job: "each-alone", do: c.pick(doOK, doFlaky), ms: 40})
}

func (c *client) cancelEach(ctx context.Context) {
	if builds := c.eachOf(ctx, doOK, 150); len(builds) > 0 {
		c.endRun(ctx, builds[0].Run)
	}
}

// isItem tells whether a build is that of an item.
func (b *chapter) isItem() bool { return strings.Contains(b.Job, "[") }

// standsForItems tells whether a build is that of a job with for_each.
func (b *chapter) standsForItems() bool { return strings.HasPrefix(b.Job, "each") && !b.isItem() }

// itemsOf returns the builds of the items of a build, by key.
func (s *story) itemsOf(b *chapter) []*chapter {
	pins := jobcontrol.ItemPins(b.Job, b.Pins)
	var out []*chapter
	for _, key := range slices.Sorted(maps.Keys(pins)) {
		if it := s.builds[pins[key]]; it != nil {
			out = append(out, it)
		}
	}
	return out
}

// checkItems: a build that was expanded has one build of each item, and no other
// is there; its result is the results of all of them.
func (s *story) checkItems(r *jobcontrol.Run) {
	known := map[int64]bool{} // builds of items that belong to a build
	for _, b := range s.members[r.ID] {
		if !b.standsForItems() {
			continue
		}
		pins := jobcontrol.ItemPins(b.Job, b.Pins)
		for key, id := range pins {
			it := s.builds[id]
			if it == nil || it.Run != b.Run || it.Job != jobcontrol.ItemJob(b.Job, key) {
				s.violate("lost", b, "the build of its item %s, %d, is not there", key, id)
				continue
			}
			known[id] = true
		}
		if keys, expanded := s.keysOf(b); expanded && (len(pins) > 0 || !s.cancelled(b)) {
			s.figures["expansions"]++
			if got := slices.Sorted(maps.Keys(pins)); !slices.Equal(got, keys) {
				s.violate("lost", b, "its items are %q, and it has builds of %q", keys, got)
			}
		}
		s.checkGathered(b, pins)
	}
	for _, b := range s.members[r.ID] {
		if b.isItem() {
			s.figures["builds of items"]++
			if !known[b.ID] {
				s.violate("twice", b, "it is the build of an item, and of no build's")
			}
		}
	}
}

// keysOf returns the keys of a build's items in order; false: it was not
// expanded, and did not have to be.
func (s *story) keysOf(b *chapter) (keys []string, expanded bool) {
	expanded = slices.ContainsFunc(b.attempts, func(a jobcontrol.Attempt) bool { return a.Failure == nil })
	list, ok := b.Pins["list"]
	switch {
	case !ok:
		for _, it := range constantItems {
			keys = append(keys, it.(string))
		}
	case s.builds[list] == nil:
		return nil, false
	default:
		keys = slices.Sorted(slices.Values(s.builds[list].out.Items))
	}
	return keys, expanded
}

// checkGathered: the result of a build that stands for items is theirs.
func (s *story) checkGathered(b *chapter, pins map[string]int64) {
	if b.State != jobcontrol.Successful {
		return
	}
	var results map[string]workOut
	if err := json.Unmarshal(b.Result, &results); err != nil || len(results) != len(pins) {
		s.violate("lost", b, "it has %d items and the result %s (%v)", len(pins), b.Result, err)
		return
	}
	for key, id := range pins {
		it := s.builds[id]
		if it == nil {
			continue
		}
		s.figures["results gathered"]++
		if out, ok := results[key]; !ok || it.State != jobcontrol.Successful || out.Fence != it.out.Fence || out.Attempt != it.out.Attempt {
			s.violate("twice", b, "its result of item %s is %+v, and build %d is %s with %+v", key, results[key], id, it.State, it.out)
		}
	}
}

// killAmongItems ends workers n times: when a list was made, so that it is being
// expanded, when an item is executed, and when the last one has ended, so that
// they are gathered. Each is replaced.
func killAmongItems(n int) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		tail, err := openTail(filepath.Join(t.dir, "journal"))
		if err != nil {
			return err
		}
		defer tail.close()
		m := &moments{left: map[int64]int64{}, ended: map[int64]bool{}}
		for i, tries := 0, 0; i < n && tries < 2*n; tries++ {
			wanted := []string{"expand", "execute", "gather"}[i%3]
			e, err := m.await(ctx, tail, wanted, itemPatience)
			if err != nil {
				return err
			}
			if e == nil {
				t.figures["moments missed"]++
				continue
			}
			pause(ctx, t.among(0, 6*time.Millisecond))
			p := t.processWith(e.PID)
			if p == nil {
				p = t.someone("worker") // it was a command's
			}
			if p == nil {
				continue
			}
			t.fault("kill %s (%d), which is to %s", p.role.Name, p.cmd.Process.Pid, wanted)
			p.kill()
			t.figures["kills to "+wanted]++
			if _, err := t.start(p.role, ""); err != nil {
				return err
			}
			i++
		}
		return nil
	}
}

// itemPatience is how long a moment to kill a worker is waited for.
const itemPatience = 5 * time.Second

// processWith returns the worker with a process id; nil: there is none.
func (t *trial) processWith(pid int) *process {
	for _, p := range t.running("worker") {
		if p.cmd.Process.Pid == pid {
			return p
		}
	}
	return nil
}

// moments finds in the journal what workers are about to do with items.
type moments struct {
	left  map[int64]int64 // items of a Run whose executions have not ended
	ended map[int64]bool  // builds of items
}

// await returns the entry after which a worker does what is wanted; nil: there was
// none for so long.
func (m *moments) await(ctx context.Context, tail *tail, wanted string, patience time.Duration) (*Entry, error) {
	if err := m.skip(tail); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline) && ctx.Err() == nil; {
		e, err := tail.next()
		if err != nil {
			return nil, err
		}
		if e == nil {
			pause(ctx, time.Millisecond)
		} else if slices.Contains(m.see(e), wanted) {
			return e, nil
		}
	}
	return nil, ctx.Err()
}

// skip takes in what is over.
func (m *moments) skip(tail *tail) error {
	for {
		e, err := tail.next()
		if e == nil || err != nil {
			return err
		}
		m.see(e)
	}
}

// see takes in an entry and tells what follows it.
func (m *moments) see(e *Entry) (follows []string) {
	item := strings.Contains(e.Job, "[")
	switch {
	case e.Kind == entryEnd && e.Job == "list" && e.Err == "":
		m.left[e.Run] = e.N
		return []string{"expand"}
	case e.Kind == entryStart && item:
		return []string{"execute"}
	case e.Kind == entryEnd && item && e.Err == "" && !m.ended[e.Build]:
		m.ended[e.Build] = true
		if m.left[e.Run]--; m.left[e.Run] == 0 {
			return []string{"gather"}
		}
	}
	return nil
}

// tail reads a journal while it is written.
type tail struct {
	f    *os.File
	in   *bufio.Reader
	part []byte // of a line
}

func openTail(path string) (*tail, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &tail{f: f, in: bufio.NewReader(f)}, nil
}

// next returns the next entry; nil: there is none yet.
func (t *tail) next() (*Entry, error) {
	line, err := t.in.ReadBytes('\n')
	t.part = append(t.part, line...)
	if err == io.EOF {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	e := &Entry{}
	err = json.Unmarshal(t.part, e)
	t.part = nil
	return e, err
}

func (t *tail) close() { _ = t.f.Close() } // it was only read
