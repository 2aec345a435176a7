package postgres

import (
	"sync"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// claimers remember what this program has claimed, and where in the queues there
// is something to claim.
type claimers struct {
	mu      sync.Mutex
	leases  map[jobcontrol.Lease]*claimer
	cursors map[int64]*cursor // by service
}

// claimer serializes the claims of one lease, so that it can be told which of
// them its worker never heard of: those with greater numbers than it was given,
// when an answer was lost.
type claimer struct {
	mu    sync.Mutex
	last  int64        // the greatest number that was handed out
	doubt bool         // an answer was lost
	rows  []claimedRow // space for those of the next claim
}

// position is where a build stands in the queue of its service.
type position struct{ rank, phase, place, id int64 }

// first is before every build.
var first = position{rank: -1 << 63}

func (p position) less(q position) bool {
	switch {
	case p.rank != q.rank:
		return p.rank < q.rank
	case p.phase != q.phase:
		return p.phase < q.phase
	case p.place != q.place:
		return p.place < q.place
	}
	return p.id < q.id
}

// cursor is a lower bound of what is ready in a service. Before it stand builds
// that were claimed, perhaps finished, which nobody can remove while some
// transaction could still see them: looking through them at every claim would
// take ever longer. What becomes ready before the cursor is found by a search
// from the beginning; these are rare only where they are slow.
type cursor struct {
	at   position
	many bool          // the latest search from the beginning found many
	slow int           // searches from the beginning, one after the other, that were slow
	cost time.Duration // of the latest of them
	full time.Time     // when that was
}

// Where so many were found at once, what follows within a moment is as if more had
// been asked for: it need not pass over what was claimed.
const (
	manyBuilds = 200
	moment     = 50 * time.Millisecond
)

// A search from the beginning is slow from here on.
const (
	slowSearch = 5 * time.Millisecond
	slowBuild  = 25 * time.Microsecond // for each build that it found
)

// from returns where a search begins: at the cursor a moment after a search that
// found many, and where searches from the beginning are slow, unless they would
// cost less than a tenth of the time.
func (c *cursor) from(now time.Time) position {
	if c.many && now.Sub(c.full) < moment {
		return c.at
	}
	if c.slow < 2 || now.Sub(c.full) > 10*c.cost {
		return first
	}
	return c.at
}

func (c *claimers) of(l jobcontrol.Lease) *claimer {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leases == nil {
		c.leases, c.cursors = map[jobcontrol.Lease]*claimer{}, map[int64]*cursor{}
	}
	if c.leases[l] == nil {
		c.leases[l] = &claimer{}
	}
	return c.leases[l]
}

func (c *claimers) forget(l jobcontrol.Lease) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.leases, l)
}

// starts returns where to search in each service, and whether that is the
// beginning everywhere.
func (c *claimers) starts(services []int64, now time.Time) (at []position, full bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	full = true
	for _, id := range services {
		p := first
		if cur := c.cursors[id]; cur != nil {
			p = cur.from(now)
		}
		full = full && p == first
		at = append(at, p)
	}
	return at, full
}

// searched enters what a search found, and how long it took.
func (c *claimers) searched(services []int64, from []position, last map[int64]position, builds int, began time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	cost := now.Sub(began)
	for i, id := range services {
		cur := c.cursors[id]
		if cur == nil {
			cur = &cursor{at: first}
			c.cursors[id] = cur
		}
		if from[i] == first {
			cur.cost, cur.full, cur.many = cost, now, builds >= manyBuilds
			if cost > slowSearch+time.Duration(builds)*slowBuild {
				cur.slow++
			} else {
				cur.slow = 0
			}
		}
		if p, ok := last[id]; ok && (cur.at.less(p) || from[i] == first && builds > 0) {
			cur.at = p
		}
	}
}
