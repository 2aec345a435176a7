package main

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"github.com/jobcontrol/jobcontrol/bench/peers/peer"
)

const perSecond = "jobs/s"

func drainMeasure(o options) measure {
	m := measure{
		name: "drain", what: "no-op jobs that decode JSON, all waiting at the start, 1,000 slots",
		columns: []string{perSecond}, count: drainOf(200_000),
		systems: []system{
			river("postgres", "river", "tuned", 1000), river("postgres", "river", "tuned", 2000), ours("postgres", "-slots", "1000"),
		},
	}
	if o.full {
		m.systems = append([]system{river("postgres", "river", "default", 1000)}, m.systems...)
	}
	m.must, m.reached = atLeast(2.5)
	return m
}

func drainSQLite() measure {
	m := measure{
		name: "drain-sqlite", what: "the same on a SQLite file, WAL, synchronous FULL",
		columns: []string{perSecond}, count: drainOf(20_000),
		systems: []system{river("sqlite", "riversqlite", "tuned", 1000), ours("sqlite", "-slots", "1000").by(10)},
	}
	m.must, m.reached = atLeast(15)
	return m
}

func drainRedis() measure {
	asynq := system{program: "asynq", args: []string{"-slots", "1000", "-conns", "100"}}
	every, always := asynq, asynq
	every.name, every.place = "asynq, synced every second", "redis everysec"
	always.name, always.place = "asynq, synced always", "redis always"
	return measure{
		name: "drain-redis", what: "the same with asynq on Redis, append-only file; ours on PostgreSQL",
		columns: []string{perSecond}, count: drainOf(20_000),
		systems: []system{every, always, ours("postgres", "-slots", "1000").by(10)},
	}
}

// store is a system's store for one measure.
type store struct {
	system
	place  place
	dsn    string
	binary string
	drop   func()
}

// open makes an empty store for the system.
func (b *bench) open(ctx context.Context, s system) (*store, error) {
	st := &store{system: s}
	var err error
	if st.binary, err = b.program(ctx, s.program); err != nil {
		return nil, err
	}
	if st.place, err = b.place(ctx, s.place); err != nil {
		return nil, err
	}
	if st.dsn, st.drop, err = st.place.fresh(ctx); err != nil {
		return nil, err
	}
	if _, _, err = st.once(ctx, "install"); err != nil {
		st.drop()
	}
	return st, err
}

func (st *store) command(command string, args []string) []string {
	all := append([]string{command, "-dsn", st.dsn}, st.args...)
	return append(all, args...)
}

func (st *store) once(ctx context.Context, command string, args ...string) (peer.Event, time.Duration, error) {
	return once(ctx, st.binary, st.command(command, args)...)
}

// fill enqueues n jobs, numbered from first, and lets the server settle.
func (st *store) fill(ctx context.Context, first, n int64) error {
	callers := "2"
	switch st.system.place {
	case "sqlite":
		callers = "1"
	case "redis everysec", "redis always": // it has no way to enqueue many at once
		callers = "64"
	}
	if _, _, err := st.once(ctx, "fill", "-tuned", "-n", num(n), "-first", num(first), "-callers", callers); err != nil {
		return err
	}
	return st.place.settle(ctx, st.dsn)
}

// work starts the program that executes jobs, up to where it is ready to begin.
func (st *store) work(ctx context.Context, first, n int64) (*process, error) {
	p, err := start(ctx, st.binary, st.command("work", []string{"-first", num(first), "-n", num(n)})...)
	if err != nil {
		return nil, err
	}
	_, err = p.expect("ready")
	return p, err
}

// recorded checks that the store has n jobs, all recorded as finished.
func (st *store) recorded(ctx context.Context, n int64) error {
	e, _, err := st.once(ctx, "count")
	if err != nil {
		return err
	}
	if e.Finished != n || e.Left != 0 {
		return fmt.Errorf("of %d jobs %d are recorded as finished at the first attempt, and %d are left", n, e.Finished, e.Left)
	}
	return nil
}

// executedOnce checks the tally of a program that should have executed n jobs.
func executedOnce(e peer.Event, n int64) error {
	if e.Executed != n || e.Distinct != n {
		return fmt.Errorf("%d jobs were executed %d times, %d of them at least once", n, e.Executed, e.Distinct)
	}
	return nil
}

// usage is what was used up at one time.
type usage struct {
	at      time.Time
	client  time.Duration
	server  time.Duration
	machine time.Duration // all that the machine's processors did
	written int64
}

// usage reads the clocks; p may be nil.
func (st *store) usage(ctx context.Context, p *process) (u usage, err error) {
	if p != nil {
		if u.client, err = processCPU(p.cmd.Process.Pid); err != nil {
			return u, err
		}
	}
	if u.server, err = st.place.cpu(); err != nil {
		return u, err
	}
	if u.machine, err = machineCPU(); err != nil {
		return u, err
	}
	if u.written, err = st.place.written(ctx); err != nil {
		return u, err
	}
	u.at = time.Now()
	return u, nil
}

// costs is what n jobs cost between two times.
func (st *store) costs(a, b usage, n int64) figure {
	per := 1 / float64(max(n, 1))
	f := figure{
		Client: float64((b.client - a.client).Microseconds()) * per,
		Server: float64((b.server - a.server).Microseconds()) * per,
		WAL:    float64(b.written-a.written) * per,
		Values: map[string]float64{},
	}
	others := b.machine - a.machine - (b.client - a.client) - (b.server - a.server)
	f.Others = max(0, 100*others.Seconds()/b.at.Sub(a.at).Seconds()/float64(runtime.NumCPU()))
	if st.system.place != "postgres" {
		f.WAL = -1
	}
	if st.system.place == "sqlite" {
		f.Server = -1
	}
	return f
}

// drainOf measures from the start of a worker until every job is recorded as finished.
func drainOf(usual int64) func(ctx context.Context, b *bench, s system) (figure, error) {
	return func(ctx context.Context, b *bench, s system) (figure, error) {
		st, err := b.open(ctx, s)
		if err != nil {
			return figure{}, err
		}
		defer st.drop()
		n := b.n(s, usual)
		if err := st.fill(ctx, 0, n); err != nil {
			return figure{}, err
		}
		return st.drain(ctx, n, n)
	}
}

// drain lets a worker execute the n jobs that wait; total are in the store then.
func (st *store) drain(ctx context.Context, n, total int64) (figure, error) {
	p, err := st.work(ctx, total-n, n)
	if err != nil {
		return figure{}, err
	}
	before, err := st.usage(ctx, p)
	if err != nil {
		return figure{}, err
	}
	if _, err := p.ask("go", "drained"); err != nil {
		return figure{}, err
	}
	after, err := st.usage(ctx, p)
	if err != nil {
		return figure{}, err
	}
	e, err := p.finish()
	if err != nil {
		return figure{}, err
	}
	if err := executedOnce(e, n); err != nil {
		return figure{}, err
	}
	f := st.costs(before, after, n)
	f.Values[perSecond] = float64(n) / after.at.Sub(before.at).Seconds()
	return f, st.recorded(ctx, total)
}

func num(n int64) string { return strconv.FormatInt(n, 10) }
