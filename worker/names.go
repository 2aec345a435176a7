package worker

import (
	"context"
	"slices"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

const (
	// A pool that serves all services looks for new ones this often where the store
	// cannot tell what happens, and where it can at most so often; it tells of other
	// things, too.
	namesEvery = 5 * time.Second
	// namesTold is how often it does where nothing is told.
	namesTold = 30 * time.Second
	// namesCost is how many times as long as a look takes it waits for the next:
	// the store counts the builds of each service.
	namesCost = 50
)

// services are those whose builds are executed.
func (p *Pool) services() []string { return *p.serves.Load() }

// serveAll adds services of the project that come into being, until ctx ends.
func (t *term) serveAll(ctx context.Context) {
	var next time.Time // not before
	repeat(ctx, t.naming, 0, 0, func(ctx context.Context) time.Duration {
		began := time.Now()
		if rest := next.Sub(began); rest > 0 {
			return rest
		}
		list, err := t.cfg.Store.Services(ctx, t.cfg.Project)
		if ctx.Err() != nil {
			return namesEvery
		}
		t.heard("look for services", err)
		if err == nil && t.serve(list) {
			t.hint()
			t.cleaning.ring()
		}
		least := max(namesEvery, namesCost*time.Since(began))
		next = began.Add(least)
		if t.deaf.Load() || err != nil {
			return vary(least)
		}
		return vary(max(least, namesTold))
	})
}

// serve adds those services that are new, and tells whether there were some.
func (p *Pool) serve(list []jobcontrol.ServiceStatus) bool {
	names := slices.Clone(p.services())
	known := len(names)
	for i := range list {
		if !slices.Contains(names, list[i].Name) {
			names = append(names, list[i].Name)
		}
	}
	if len(names) == known {
		return false
	}
	p.log.Info("more services are served", "services", names[known:])
	p.serves.Store(&names)
	return true
}
