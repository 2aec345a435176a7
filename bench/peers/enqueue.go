package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jobcontrol/jobcontrol/bench/peers/peer"
)

// enqueueMeasure enqueues one at a time; ours gets times as many jobs.
func enqueueMeasure(callers int, usual, times int64, must float64) measure {
	conns := min(callers, 16)
	m := measure{
		name: fmt.Sprintf("enqueue-%d", callers), what: fmt.Sprintf("one at a time, durable, %d callers", callers),
		columns: []string{perSecond, "p50 ms", "p99 ms"}, count: enqueueOf("enqueue", usual, callers),
		systems: []system{
			{name: fmt.Sprintf("River, %d connections", conns), program: "river", place: "postgres", args: []string{"-conns", fmt.Sprint(conns)}},
			ours("postgres").by(times),
		},
	}
	m.must, m.reached = atLeast(must)
	if callers > conns {
		// What is asked for was measured so, and fewer connections serve River better.
		each := system{name: "River, a connection for each caller", program: "river", place: "postgres", args: []string{"-conns", fmt.Sprint(callers)}}
		m.systems, m.against = slices.Insert(m.systems, 1, each), each.name
		m.must += " with a connection for each caller"
		m.reached = func(r result) bool { return r.ratioTo(each.name) >= must }
	}
	return m
}

func enqueueMany() measure {
	m := measure{
		name: "enqueue-many", what: "5,000 at a time, two callers",
		columns: []string{perSecond}, count: enqueueOf("fill", 200_000, 2),
		systems: []system{
			{name: "River InsertMany", program: "river", place: "postgres"},
			{name: "River InsertManyFast", program: "river", place: "postgres", args: []string{"-tuned"}},
			ours("postgres"),
		},
	}
	m.must, m.reached = atLeast(2)
	return m
}

func enqueueOf(command string, usual int64, callers int) func(ctx context.Context, b *bench, s system) (figure, error) {
	return func(ctx context.Context, b *bench, s system) (figure, error) {
		st, err := b.open(ctx, s)
		if err != nil {
			return figure{}, err
		}
		defer st.drop()
		n := b.n(s, usual)
		before, err := st.usage(ctx, nil)
		if err != nil {
			return figure{}, err
		}
		e, cpu, err := st.once(ctx, command, "-n", num(n), "-callers", fmt.Sprint(callers))
		if err != nil {
			return figure{}, err
		}
		// What a connection's process used is the server's when that has noticed its end.
		time.Sleep(200 * time.Millisecond)
		after, err := st.usage(ctx, nil)
		if err != nil {
			return figure{}, err
		}
		after.client = cpu
		f := st.costs(before, after, n)
		f.Values[perSecond] = float64(n) / e.Seconds
		f.Values["p50 ms"], f.Values["p99 ms"] = e.P50, e.P99
		e, _, err = st.once(ctx, "count")
		if err == nil && (e.Finished != 0 || e.Left != n) {
			err = fmt.Errorf("%d jobs were enqueued, but %d wait", n, e.Left)
		}
		return f, err
	}
}

const (
	p50 = "p50 ms"
	p99 = "p99 ms"
)

func latencyMeasure() measure {
	return measure{
		name: "latency", what: "from before the enqueue to the start, 50 jobs/s, worker in another process",
		columns: []string{p50, p99}, less: true, count: latency,
		must:    "p50 ≤ 3 ms, p99 ≤ 15 ms",
		reached: func(r result) bool { return r.value(p50) <= 3 && r.value(p99) <= 15 },
		systems: []system{
			river("postgres", "river", "default", 100), river("postgres", "river", "tuned", 100),
			ours("postgres").named("ours, default settings"),
		},
	}
}

// latency drops the first second: there connections are opened and statements prepared.
func latency(ctx context.Context, b *bench, s system) (figure, error) {
	const rate = 50
	n := max(b.n(s, 500), 2*rate)
	f, e, _, err := b.observe(ctx, s, n, "pace", "-rate", fmt.Sprint(rate))
	if err != nil {
		return f, err
	}
	f.Values[p50], f.Values[p99] = peer.Quantile(e.Latency[rate:], 0.5), peer.Quantile(e.Latency[rate:], 0.99)
	return f, nil
}

func visibleMeasure() measure {
	return measure{
		name: "visible", what: "from a job's end to where another process reads it as finished, a job every 60 ms",
		columns: []string{p50, p99}, less: true, count: visible,
		must:    "≤ 10 ms",
		reached: func(r result) bool { return r.value(p99) <= 10 },
		systems: []system{
			river("postgres", "river", "default", 100), river("postgres", "river", "tuned", 100),
			ours("postgres").named("ours, default settings"),
		},
	}
}

func visible(ctx context.Context, b *bench, s system) (figure, error) {
	f, worked, saw, err := b.observe(ctx, s, max(b.n(s, 200), 20), "visible")
	if err != nil {
		return f, err
	}
	var lags []float64
	for seq, at := range saw.Visible {
		if seq >= 5 { // the first ones open connections
			lags = append(lags, float64(at-worked.Started[seq])/1e6)
		}
	}
	f.Values[p50], f.Values[p99] = peer.Quantile(lags, 0.5), peer.Quantile(lags, 0.99)
	return f, nil
}

// observe enqueues n jobs by a command while a worker executes them, and
// returns what the worker and what the command told.
func (b *bench) observe(ctx context.Context, s system, n int64, command string, args ...string) (f figure, worked, told peer.Event, err error) {
	st, err := b.open(ctx, s)
	if err != nil {
		return f, worked, told, err
	}
	defer st.drop()
	p, err := st.work(ctx, 0, n)
	if err != nil {
		return f, worked, told, err
	}
	if err := p.say("go"); err != nil {
		return f, worked, told, p.wrong(err)
	}
	before, err := st.usage(ctx, p)
	if err != nil {
		return f, worked, told, p.wrong(err)
	}
	if told, _, err = st.once(ctx, command, append(args, "-n", num(n))...); err != nil {
		return f, worked, told, p.wrong(err)
	}
	if _, err = p.expect("drained"); err != nil {
		return f, worked, told, err
	}
	after, err := st.usage(ctx, p)
	if err != nil {
		return f, worked, told, p.wrong(err)
	}
	if worked, err = p.finish(); err != nil {
		return f, worked, told, err
	}
	return st.costs(before, after, n), worked, told, errors.Join(executedOnce(worked, n), st.recorded(ctx, n))
}
