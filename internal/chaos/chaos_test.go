//go:build linux

package chaos

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol/internal/fault"
)

// The flags of the long forms.
var (
	minutes    = flag.Int("chaos.minutes", 0, "how long the long form may take; 0: only the short form")
	seed       = flag.Uint64("chaos.seed", 1, "what the faults are drawn from")
	only       = flag.String("chaos.only", "", "numbers of the scenarios to execute, such as 3,17; or a part of their names")
	from       = flag.Int("chaos.from", 1, "the number of the scenario to begin with")
	parallel   = flag.Int("chaos.parallel", 3, "clusters at a time")
	keep       = flag.String("chaos.dir", "", "where the directories of scenarios with violations are kept; default: a temporary one")
	soakFor    = flag.Duration("chaos.soak", 0, "how long the soak takes, instead of everything else")
	longTTL    = flag.Bool("chaos.default-lease", false, "the soak has the default lease of 15 s")
	diskErrors = flag.Int("chaos.disk-errors", 8, "how many writes of a disk fail, each alone")
	quick      = flag.Int("chaos.part", 1, "divides all numbers, for a rehearsal")
)

func TestMain(m *testing.M) {
	Main()
	os.Exit(m.Run())
}

// TestChaos is the short form; with its flags it is `make chaos`.
func TestChaos(t *testing.T) {
	t.Parallel()
	c := &campaign{t: t, figures: Figures{}, servers: &servers{}}
	t.Cleanup(func() {
		if err := c.servers.close(); err != nil {
			t.Error(err)
		}
	})
	c.dir = *keep
	if c.dir == "" {
		dir, err := os.MkdirTemp("", "chaos-")
		if err != nil {
			t.Fatal(err)
		}
		c.dir = dir
		t.Cleanup(func() { _ = os.Remove(dir) }) // fails where something is kept
	}
	w := Brief()
	points := map[string][]point{}
	if *minutes > 0 {
		w = Earnest().divided(*quick)
		if !fault.Enabled {
			t.Fatal("the long form needs -tags failpoints")
		}
		points = c.points()
	}
	if *soakFor > 0 {
		c.soak()
		return
	}
	p := w.scenarios(*seed, points)
	for _, why := range p.skipped {
		t.Log("not done:", why)
	}
	c.execute(selected(p.list))
	t.Logf("seed %d, %d scenarios: %s", *seed, c.figures["scenarios"], c.figures)
}

// selected leaves out what the flags do.
func selected(plan []*Scenario) []*Scenario {
	return slices.DeleteFunc(plan, func(s *Scenario) bool {
		if s.Number < *from {
			return true
		}
		if *only == "" {
			return false
		}
		return !slices.ContainsFunc(strings.Split(*only, ","), func(o string) bool {
			return o == fmt.Sprint(s.Number) || strings.Contains(s.Name+"-"+s.Store, o) && strings.Trim(o, "0123456789") != ""
		})
	})
}

// campaign executes scenarios and adds up what they tell.
type campaign struct {
	t       *testing.T
	dir     string
	servers *servers

	mu      sync.Mutex
	figures Figures
}

// execute executes scenarios, some at a time, until they are done or the time is over.
func (c *campaign) execute(plan []*Scenario) {
	limit := time.Minute
	if *minutes > 0 {
		limit = time.Duration(*minutes) * time.Minute
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	next := make(chan *Scenario)
	var lanes sync.WaitGroup
	for range min(*parallel, len(plan)) {
		lanes.Go(func() {
			for s := range next {
				c.one(s)
			}
		})
	}
	for i, s := range plan {
		select {
		case next <- s:
			continue
		case <-ctx.Done():
		}
		c.t.Errorf("the time is over before scenario %d of %d: go on with -chaos.seed=%d -chaos.from=%d", s.Number, len(plan), *seed, plan[i].Number)
		break
	}
	close(next)
	lanes.Wait()
}

// one executes a scenario.
func (c *campaign) one(s *Scenario) {
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute+*soakFor)
	defer cancel()
	out, err := s.Run(ctx, c.dir, c.servers)
	again := fmt.Sprintf("-chaos.seed=%d -chaos.only=%d", s.Seed, s.Number)
	if err != nil {
		c.t.Errorf("scenario %d, %s on %s (%s): %v", s.Number, s.Name, s.Store, again, err)
		return
	}
	c.mu.Lock()
	c.figures.add(out.Figures)
	c.mu.Unlock()
	c.t.Logf("scenario %d, %s on %s, %.1f s: %s", s.Number, s.Name, s.Store, out.Took.Seconds(), out.Figures)
	for i, v := range out.Violations {
		if i == 10 {
			c.t.Errorf("… and %d more", len(out.Violations)-i)
			break
		}
		c.t.Errorf("scenario %d, %s on %s (%s): %s: run %d, build %d: %s", s.Number, s.Name, s.Store, again, v.Rule, v.Run, v.Build, v.Text)
	}
	if len(out.Violations) > 0 {
		c.t.Errorf("see %s", filepath.Join(out.Dir, "violations"))
	}
}

// points finds the fail points that workers pass, on each store.
func (c *campaign) points() map[string][]point {
	out := map[string][]point{}
	for _, store := range []string{"sqlite", "postgres"} {
		s := &Scenario{Name: "trace", Store: store, Clients: 2, Seed: 1, Load: Load{Steer: true, Each: 4}, Faults: func(ctx context.Context, t *trial) (err error) {
			out[store], err = tracePoints(ctx, t)
			return err
		}}
		c.one(s)
		// What only clients and the harness do is no fault of a worker.
		out[store] = slices.DeleteFunc(out[store], func(p point) bool {
			return slices.ContainsFunc([]string{".create", ".install", ".request-cancel", ".steer"}, func(part string) bool { return strings.Contains(p.name, part) })
		})
		c.t.Logf("%d fail points on %s: %v", len(out[store]), store, out[store])
		if len(out[store]) < 14 {
			c.t.Errorf("workers pass only %d fail points on %s, want 14", len(out[store]), store)
		}
	}
	return out
}

// soak lets workers be busy for long; none may lose its lease.
func (c *campaign) soak() {
	for i, store := range []string{"sqlite", "postgres"} {
		s := &Scenario{Name: "soak", Number: i + 1, Seed: *seed, Store: store, Faults: soak(*soakFor / 2), Prepare: func(ctx context.Context, t *trial) error {
			if *longTTL {
				t.ttl = 15 * time.Second
			}
			for range 2 {
				if _, err := t.start(role{Kind: "worker", Parallel: soakSlots / 2}, ""); err != nil {
					return err
				}
			}
			return nil
		}}
		c.one(s)
	}
	if n := c.figures["lost attempts"]; n > 0 {
		c.t.Errorf("%d false rescues", n)
	}
	c.t.Logf("soak of %v: %s", *soakFor, c.figures)
}

// divided is less of everything, but of nothing none.
func (w Wanted) divided(by int) Wanted {
	for _, n := range []*int{
		&w.PointKills, &w.OtherKills, &w.RandomKills, &w.Stops, &w.PointStops, &w.StaleWrites, &w.Wakes, &w.Poison, &w.ItemKills, &w.ServerKills, &w.Cuts,
		&w.Partitions, &w.Splits, &w.PowerCuts, &w.DiskErrors, &w.Hiccups, &w.FullDisks, &w.SizeLimits, &w.HostileJobs,
	} {
		if *n > 0 {
			*n = max(1, *n/by)
		}
	}
	return w
}
