package worker

import (
	"sync"

	"github.com/jobcontrol/jobcontrol"
)

// keptBytes is how much of the results of a Run is kept in memory for dependants.
const keptBytes = 16 << 20

// results keeps what dependants ask of the builds of a Run that have ended: the
// result and whether it changed something. What is not kept is in the store.
type results struct {
	mu     sync.Mutex
	builds map[int64]*jobcontrol.Build
	bytes  int
}

// keep keeps a build unless its result is that of an earlier one, or there is no room.
func (r *results) keep(b *jobcontrol.Build) {
	if b.State != jobcontrol.Successful || len(b.Result) == 0 && !*b.Changed {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	size := len(b.Result) + 128
	if r.bytes+size > keptBytes {
		return
	}
	if r.builds == nil {
		r.builds = map[int64]*jobcontrol.Build{}
	}
	r.bytes += size
	r.builds[b.ID] = &jobcontrol.Build{ID: b.ID, Run: b.Run, Job: b.Job, State: b.State, Changed: b.Changed, Result: b.Result}
}

// find returns a build that is kept, or nil.
func (r *results) find(id int64) *jobcontrol.Build {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.builds[id]
}
