package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	queries = "transactions/s"
	core    = "client % of a core"
	server  = "server % of a core"
	memory  = "memory MB"
)

func idleMeasure() measure {
	return measure{
		name: "idle", what: "ten workers without a job, each",
		columns: []string{queries, core, server, memory}, less: true, count: idle,
		must: "≤ 1 query/s, ≤ 0.3 % of a core, ≤ 40 MB",
		reached: func(r result) bool {
			return r.value(queries) <= 1 && r.value(core) <= 0.3 && r.value(memory) <= 40
		},
		systems: []system{river("postgres", "river", "default", 100), ours("postgres").named("ours, default settings")},
	}
}

// idle starts the workers, lets them calm down, and watches them.
func idle(ctx context.Context, b *bench, s system) (f figure, err error) {
	const workers = 10
	st, err := b.open(ctx, s)
	if err != nil {
		return figure{}, err
	}
	defer st.drop()
	var all []*process
	for range workers {
		p, err := st.work(ctx, 0, 0)
		if err == nil {
			err = p.say("go")
		}
		if err != nil {
			return figure{}, err
		}
		all = append(all, p)
	}
	time.Sleep(10 * time.Second)
	a, err := b.idleAt(ctx, st, all)
	if err != nil {
		return figure{}, err
	}
	time.Sleep(time.Duration(max(30*b.scale, 10)) * time.Second)
	z, err := b.idleAt(ctx, st, all)
	if err != nil {
		return figure{}, err
	}
	f = figure{Client: -1, Server: -1, WAL: -1, Others: -1}
	seconds := z.at.Sub(a.at).Seconds() * workers
	f.Values = map[string]float64{
		queries: float64(z.transactions-a.transactions) / seconds,
		core:    100 * (z.client - a.client).Seconds() / seconds,
		server:  100 * (z.server - a.server).Seconds() / seconds,
		memory:  float64(z.resident) / 1e6,
	}
	for _, p := range all {
		_, e := p.finish()
		err = errors.Join(err, e)
	}
	return f, err
}

// still is what idle workers have used.
type still struct {
	usage
	transactions int64
	resident     int64 // of the largest
}

func (b *bench) idleAt(ctx context.Context, st *store, all []*process) (s still, err error) {
	for _, p := range all {
		cpu, err := processCPU(p.cmd.Process.Pid)
		if err != nil {
			return s, p.wrong(err)
		}
		s.client += cpu
		rss, err := resident(p.cmd.Process.Pid)
		if err != nil {
			return s, p.wrong(err)
		}
		s.resident = max(s.resident, rss)
	}
	if s.server, err = b.pg.cpu(); err != nil {
		return s, err
	}
	s.transactions, err = b.pg.transactions(ctx, st.dsn)
	s.at = time.Now()
	return s, err
}

// shapeMeasure drains graphs of size jobs each, which only ours has.
func shapeMeasure(shape string, width int, usual int64) measure {
	const steps = "steps/s"
	size, what := int64(width), fmt.Sprintf("chains of %d steps, detached, all waiting at the start", width)
	if shape == "fan" {
		size, what = int64(width)+2, fmt.Sprintf("fans of one, %d, and one, detached, all waiting at the start", width)
	}
	return measure{
		name: shape + "s", what: what, columns: []string{steps},
		must: "≥ 5,000 steps/s", reached: func(r result) bool { return r.value(steps) >= 5000 },
		systems: []system{ours("postgres", "-slots", "1000")},
		count: func(ctx context.Context, b *bench, s system) (figure, error) {
			st, err := b.open(ctx, s)
			if err != nil {
				return figure{}, err
			}
			defer st.drop()
			n := (b.n(s, usual) + size - 1) / size * size
			if _, _, err := st.once(ctx, "shape", "-shape", shape, "-size", num(size), "-n", num(n)); err != nil {
				return figure{}, err
			}
			if err := st.place.settle(ctx, st.dsn); err != nil {
				return figure{}, err
			}
			f, err := st.drain(ctx, n, n)
			if err == nil {
				f.Values[steps] = f.Values[perSecond]
			}
			return f, err
		},
	}
}
