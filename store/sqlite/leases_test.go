package sqlite

import (
	"context"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// clocks are those of a machine: one that people set, and one that counts from
// the start of the machine.
type clocks struct {
	wall time.Time
	up   time.Duration
	id   string
}

func (c *clocks) options() Options {
	return Options{
		Now:  func() time.Time { return c.wall },
		boot: func() (int64, string, error) { return c.up.Microseconds(), c.id, nil },
	}
}

func (c *clocks) pass(d time.Duration) { c.wall, c.up = c.wall.Add(d), c.up+d }

// TestLeaseClock: a lease ends by the boot clock, whatever happens to the other
// one, and with the boot, whatever is said of its process.
func TestLeaseClock(t *testing.T) {
	ctx := context.Background()
	c := &clocks{wall: time.Date(2024, 3, 31, 0, 59, 0, 0, time.UTC), up: time.Hour, id: "first"}
	s, _ := openTest(t, c.options())
	unseen := func(jobcontrol.Process) (alive, known bool) { return false, false }
	seen := func(jobcontrol.Process) (alive, known bool) { return true, true }
	l, err := s.Register(ctx, jobcontrol.Process{PID: 5}, 15*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	lost := func(what string, alive func(jobcontrol.Process) (alive, known bool), want bool) {
		t.Helper()
		if _, err := s.Rescue(ctx, alive); err != nil {
			t.Fatal(err)
		}
		workers, err := s.Workers(ctx)
		if err != nil {
			t.Fatal(err)
		}
		got := true
		for _, w := range workers {
			if w.ID == l.Worker {
				got = false
			}
		}
		if got != want {
			t.Fatalf("%s: lost is %v", what, got)
		}
	}
	c.wall = c.wall.Add(24 * time.Hour)
	lost("the wall clock jumps ahead", unseen, false)
	c.wall = c.wall.Add(-48 * time.Hour)
	lost("the wall clock jumps back", unseen, false)
	c.pass(14 * time.Second)
	lost("within its time", unseen, false)
	if err := s.Renew(ctx, l, 15*time.Second); err != nil {
		t.Fatal(err)
	}
	c.pass(14 * time.Second)
	lost("renewed", unseen, false)
	workers, err := s.Workers(ctx)
	if err != nil || !workers[1].LeaseUntil.Equal(c.wall.Add(time.Second)) {
		t.Fatalf("the lease ends %v, at %v (%v)", workers[1].LeaseUntil, c.wall, err)
	}
	c.pass(2 * time.Second)
	lost("it has ended, but the process lives", seen, false)
	lost("it has ended", unseen, true)

	if l, err = s.Register(ctx, jobcontrol.Process{PID: 6}, time.Hour); err != nil {
		t.Fatal(err)
	}
	c.id, c.up = "second", time.Minute
	lost("the machine was started again", seen, true)

	// Between looking and taking away it may be renewed.
	if l, err = s.Register(ctx, jobcontrol.Process{PID: 7}, 0); err != nil {
		t.Fatal(err)
	}
	lost("renewed while somebody looks", func(jobcontrol.Process) (alive, known bool) {
		if err := s.Renew(ctx, l, time.Hour); err != nil {
			t.Error(err)
		}
		return false, false
	}, false)
}

// TestPruned: workers that are gone and keys are kept for a day.
func TestPruned(t *testing.T) {
	ctx := context.Background()
	c := &clocks{wall: time.Date(2024, 3, 31, 0, 59, 0, 0, time.UTC), up: time.Hour, id: "first"}
	s, l := openTest(t, c.options())
	if err := s.Unregister(ctx, l); err != nil {
		t.Fatal(err)
	}
	n := chains(t, "job", 2, 1, nil)
	n.Key = "key"
	first, _, err := s.CreateRun(ctx, n)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		pass  time.Duration
		rows  int64
		again bool
	}{{time.Hour, 1, true}, {23*time.Hour + time.Minute, 0, false}} {
		c.pass(test.pass)
		if _, err := s.Register(ctx, jobcontrol.Process{}, time.Hour); err != nil {
			t.Fatal(err)
		}
		var rows int64
		if err := s.readOne(ctx, func(c *conn) (err error) {
			rows, err = c.number(`SELECT count(*) FROM workers WHERE gone = 1`)
			return err
		}); err != nil || rows != test.rows {
			t.Errorf("after %v: %d workers that are gone, %v", test.pass, rows, err)
		}
		run, _, err := s.CreateRun(ctx, n)
		if err != nil || (run.ID == first.ID) != test.again {
			t.Errorf("after %v: run %v, %v", test.pass, run, err)
		}
	}
}

// TestNow: the store's clock is the one that was given.
func TestNow(t *testing.T) {
	at := time.Date(2024, 3, 31, 3, 0, 0, 123456789, time.FixedZone("x", 3600))
	s, l := openTest(t, Options{Now: func() time.Time { return at }})
	now, err := s.Now(context.Background())
	if err != nil || !now.Equal(at.Truncate(time.Microsecond)) || now.Location() != time.UTC {
		t.Errorf("now is %v, %v", now, err)
	}
	if b := one(t, s, l); !b.CreatedAt.Equal(now) {
		t.Errorf("created at %v", b.CreatedAt)
	}
}
