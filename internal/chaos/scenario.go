//go:build linux

package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/internal/pgtest"
)

// Scenario is a cluster under faults.
type Scenario struct {
	Name    string
	Number  int    // in the plan
	Seed    uint64 // of the plan
	Store   string // sqlite or postgres
	Own     bool   // PostgreSQL: a server of its own, which can be killed
	Workers int
	Clients int
	Load    Load
	// Faults injects faults and returns when there were enough. Its figures are
	// what it did.
	Faults func(ctx context.Context, t *trial) error
	// Prepare makes the cluster another one than usual; may be nil.
	Prepare func(ctx context.Context, t *trial) error
}

// trial is one execution of a scenario.
type trial struct {
	*Cluster
	*Scenario
	store    jobcontrol.Store // of the harness; the faults do not reach it
	servers  *servers
	rng      *rand.Rand
	machine  *machine        // where its power can be cut; else nil
	server   *pgtest.Cluster // of its own; else nil
	proxy    *Proxy          // of all processes; else nil
	networks []*network
	figures  Figures
	found    []Violation // by the faults themselves
	markers  []string    // in the arguments of processes that must not be left
	undo     []func()    // at the end, last in first out
}

// Outcome is what became of a scenario.
type Outcome struct {
	Figures    Figures
	Violations []Violation
	Dir        string // kept where there are violations
	Took       time.Duration
}

// drainPatience is how long what is left may take to end without faults.
const drainPatience = 90 * time.Second

// Run executes the scenario in a directory of its own below dir.
func (s *Scenario) Run(ctx context.Context, dir string, servers *servers) (out *Outcome, err error) {
	begin := time.Now()
	// The slash keeps number and name apart from what the system adds.
	dir, err = os.MkdirTemp(dir, fmt.Sprintf("%03d-%s-%s-", s.Number, s.Name, s.Store))
	if err != nil {
		return nil, err
	}
	t := &trial{Scenario: s, servers: servers, rng: rand.New(rand.NewPCG(s.Seed, uint64(s.Number))), figures: Figures{}}
	defer func() {
		for i := len(t.undo) - 1; i >= 0; i-- {
			t.undo[i]()
		}
		if err == nil && len(out.Violations) == 0 {
			err = os.RemoveAll(dir)
		}
	}()
	if err := t.setUp(ctx, dir); err != nil {
		return nil, err
	}
	if err := t.play(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	found, err := t.examine(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return &Outcome{Figures: t.figures, Violations: found, Dir: dir, Took: time.Since(begin)}, nil
}

func (t *trial) later(f func()) { t.undo = append(t.undo, f) }

// setUp makes the cluster.
func (t *trial) setUp(ctx context.Context, dir string) error {
	var p place
	switch t.Scenario.Store {
	case "sqlite":
		p.SQLite = filepath.Join(dir, "state.db")
	case "postgres":
		database := t.servers.database
		if t.Own {
			database = t.ownServer
		}
		db, err := database(ctx)
		if err != nil {
			return err
		}
		p.Postgres = db
	}
	var err error
	if t.Cluster, err = newCluster(ctx, dir, p, t.Seed<<16+uint64(t.Number)<<8); err != nil {
		return err
	}
	t.later(t.Cluster.close)
	t.load = t.Load
	if t.Prepare != nil {
		if err := t.Prepare(ctx, t); err != nil {
			return err
		}
	}
	if t.store, err = t.place.open(ctx); err != nil {
		return err
	}
	t.later(func() { _ = t.store.Close() })
	return nil
}

// play injects the faults under load, and lets everything come to an end.
func (t *trial) play(ctx context.Context) error {
	for range t.Workers {
		if _, err := t.worker(""); err != nil {
			return err
		}
	}
	for range t.Clients {
		if _, err := t.client(); err != nil {
			return err
		}
	}
	if err := t.Faults(ctx, t); err != nil {
		return err
	}
	t.fault("end of the faults")
	if err := t.stop("client", 15*time.Second); err != nil {
		return err
	}
	return nil
}

// examine drains the cluster, stops it and checks.
func (t *trial) examine(ctx context.Context) ([]Violation, error) {
	stuck := t.drain(ctx, t.store, drainPatience)
	slow := t.stop("worker", 20*time.Second)
	s, err := readStory(ctx, t.dir, t.store)
	if err != nil {
		return nil, err
	}
	s.check()
	for rule, err := range map[string]error{"final": stuck, "orphan": slow} {
		if err != nil {
			s.violate(rule, nil, "%v", err)
		}
	}
	left, err := Leftovers(append(t.markers, t.dir), 5*time.Second)
	if err != nil {
		return nil, err
	}
	for _, p := range left {
		s.violate("orphan", nil, "%s lives", p)
	}
	s.found = append(t.found, s.found...)
	s.figures.add(t.figures)
	t.figures = s.figures
	t.figures["scenarios"] = 1
	t.figures["violations"] = len(s.found)
	return s.found, t.report(s)
}

// report writes down what was found, with what the journal has about it.
func (t *trial) report(s *story) error {
	if len(s.found) == 0 {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "scenario %d (%s on %s) of seed %d: %d violations\n%s\n", t.Number, t.Name, t.Scenario.Store, t.Seed, len(s.found), s.figures)
	for _, v := range s.found {
		fmt.Fprintf(&b, "\n%s: run %d, build %d: %s\n", v.Rule, v.Run, v.Build, v.Text)
		if c := s.builds[v.Build]; c != nil {
			fmt.Fprintf(&b, "  stored: %s, service %q, tries %d of %d, attempts %d, lost %d, created %v, finished %v, result %s, failure %v, pins %v\n",
				c.State, c.Service, c.TriesUsed, c.Tries, c.Attempts, c.Lost, c.CreatedAt, c.FinishedAt, c.Result, c.Failure, c.Pins)
			for _, a := range c.attempts {
				fmt.Fprintf(&b, "  attempt %d: worker %d, claim %d, %v to %v: %v\n", a.Number, a.Worker, a.Claim, a.StartedAt, a.FinishedAt, a.Failure)
			}
		}
		if v.Build == 0 && v.Run == 0 {
			continue
		}
		for _, e := range s.about(v.Run, v.Build) {
			fmt.Fprintf(&b, "  %s\n", e)
		}
	}
	return os.WriteFile(filepath.Join(t.dir, "violations"), []byte(b.String()), 0o600)
}
