//go:build linux

package chaos

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// Wanted says how much of each fault a plan has; 0: none.
type Wanted struct {
	PointKills   int // kills at each of the chief fail points, of each store
	OtherKills   int // kills at each of the other fail points, of each store
	RandomKills  int // of each store
	Stops        int // of workers beyond their lease, of each store
	PointStops   int // at each fail point, of each store
	StaleWrites  int // straight into the store, of each store
	Wakes        int // of workers whose functions then write, of each store
	Poison       int // kills beside builds that kill their worker, of each store
	ItemKills    int // while builds are made of items, execute and are gathered, of each store
	ServerKills  int // of PostgreSQL
	Cuts         int // around COMMIT
	Partitions   int
	Splits       int // of network namespaces
	PowerCuts    int
	DiskErrors   int // from write or flush 1, 2 … of the disk on
	Hiccups      int // write or flush 1, 2 … of the disk fails, and no other
	FullDisks    int
	SizeLimits   int
	HostileJobs  int           // of each store
	Soak         time.Duration // instead of everything else
	DefaultLease bool          // of the soak
}

// Earnest is what `make chaos` asks for.
func Earnest() Wanted {
	return Wanted{
		PointKills: 50, OtherKills: 4, RandomKills: 200, Stops: 60, PointStops: 2, StaleWrites: 600, Wakes: 10, Poison: 20, ItemKills: 160, ServerKills: 60,
		Cuts: 1000, Partitions: 60, Splits: 24, PowerCuts: 50, DiskErrors: 30, Hiccups: 30, FullDisks: 12, SizeLimits: 12, HostileJobs: 200,
	}
}

// Brief is what every run of the tests does.
func Brief() Wanted {
	return Wanted{RandomKills: 6, ItemKills: 6, Stops: 2, StaleWrites: 400, ServerKills: 2, Cuts: 20, PowerCuts: 2, HostileJobs: 12}
}

// faults makes the faults of a scenario, so many of them.
type faults func(n int) func(context.Context, *trial) error

// plan is a list of scenarios in the making.
type plan struct {
	seed    uint64
	list    []*Scenario
	skipped []string // with the reason, what cannot be done on this machine
}

// add adds as many scenarios as n faults need, with so many in each at most.
func (p *plan) add(n, per int, s Scenario, f faults) {
	for ; n > 0; n -= per {
		one := s
		one.Number, one.Seed, one.Faults = len(p.list)+1, p.seed, f(min(n, per))
		p.list = append(p.list, &one)
	}
}

// scenarios is the plan for what is wanted: of the same seed always the same.
func (w Wanted) scenarios(seed uint64, points map[string][]point) *plan {
	p := &plan{seed: seed}
	for _, store := range []string{"sqlite", "postgres"} {
		w.ofWorkers(p, store, points[store])
	}
	w.ofStores(p)
	return p
}

// ofWorkers plans the faults of workers, which every store has to bear.
func (w Wanted) ofWorkers(p *plan, store string, points []point) {
	s := func(name string) Scenario {
		return Scenario{Name: name, Store: store, Workers: 2, Clients: 2, Load: Load{Steer: true, Each: 1}}
	}
	p.add(w.RandomKills, 40, s("kill"), killRandomly)
	p.add(w.Stops, 15, s("stop"), stopRandomly)
	for _, at := range points {
		kills := w.OtherKills
		if at.chief() {
			kills = w.PointKills
		}
		kill, stop := s("kill-at-"+at.name), s("stop-at-"+at.name)
		if strings.Contains(at.name, ".expand") {
			kill.Load.Each, stop.Load.Each = manyItems, manyItems // so that workers come there soon
		}
		p.add(kills, 25, kill, func(n int) func(context.Context, *trial) error { return killAtPoint(at, n) })
		p.add(w.PointStops, 25, stop, func(n int) func(context.Context, *trial) error { return stopAtPoint(at, n) })
	}
	items := s("items")
	items.Load.Each = manyItems
	p.add(w.ItemKills, 40, items, killAmongItems)
	alone := s("stale")
	alone.Workers, alone.Clients = 1, 0
	p.add(w.StaleWrites, 600, alone, writeStale)
	alone.Name, alone.Workers = "wake", 0
	p.add(w.Wakes, 5, alone, wakeStale)
	poison := s("poison")
	poison.Load.Poison = 1
	p.add(w.Poison, 20, poison, endure)
	hostile := s("hostile")
	hostile.Clients = 0
	p.add(w.HostileJobs, 50, hostile, beHostile)
}

// manyItems is the weight of Runs with items where most have some.
const manyItems = 40

// ofStores plans the faults of one kind of store, or of the way to it.
func (w Wanted) ofStores(p *plan) {
	s := func(name, store string, prepare func(context.Context, *trial) error) Scenario {
		return Scenario{Name: name, Store: store, Workers: 3, Clients: 3, Load: Load{Steer: true, Each: 2}, Prepare: prepare}
	}
	server := s("server", "postgres", nil)
	server.Own = true
	apart := s("split", "postgres", namespaces)
	apart.Workers = 0 // they are in the networks
	for _, e := range []struct {
		n, per int
		can    func() string // why not; "": it can be done
		s      Scenario
		faults faults
	}{
		{w.ServerKills, 15, nil, server, killServer},
		{w.Cuts, 125, nil, s("cut", "postgres", throughProxy), cutCommits},
		{w.Partitions, 15, nil, s("partition", "postgres", throughProxy), partition},
		{w.Splits, 12, canSplit, apart, split},
		{w.PowerCuts, 10, canCutPower, s("power", "sqlite", onMachine), cutPower},
		{w.DiskErrors, 10, canCutPower, s("eio", "sqlite", onMachine), failDisk},
		{w.Hiccups, 10, canCutPower, s("hiccup", "sqlite", onMachine), hiccup},
		{w.FullDisks, 6, canMount, s("full", "sqlite", onTinyDisk), fillDisk},
		{w.SizeLimits, 6, canMount, s("limit", "sqlite", nil), limitFiles},
	} {
		if e.n > 0 && e.can != nil {
			if why := e.can(); why != "" {
				p.skipped = append(p.skipped, e.s.Name+": "+why)
				continue
			}
		}
		p.add(e.n, e.per, e.s, e.faults)
	}
}

// endure lets builds kill their workers, which are started anew, until n have died.
func endure(n int) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		for deadline := time.Now().Add(time.Duration(n) * 3 * time.Second); t.figures["workers that ended by themselves"] < n; {
			if ctx.Err() != nil || time.Now().After(deadline) {
				return errors.Join(ctx.Err())
			}
			if err := t.revive(); err != nil {
				return err
			}
			pause(ctx, 20*time.Millisecond)
		}
		return nil
	}
}

// chiefPoints are the fail points before and after each durable step of an
// attempt; the store's name stands before most of them.
var chiefPoints = []string{"executor.start", ".claim", ".start", ".ran", ".report", ".shared", ".finish", ".expand", ".commit"}

// chief tells whether the point is one of those where workers are killed most.
func (p point) chief() bool {
	step := strings.TrimSuffix(strings.TrimSuffix(p.name, ".before"), ".after")
	return slices.ContainsFunc(chiefPoints, func(c string) bool {
		return c == step || strings.HasPrefix(c, ".") && strings.HasSuffix(step, c) && strings.Count(step, ".") == 1 && !strings.HasPrefix(step, "executor")
	})
}
