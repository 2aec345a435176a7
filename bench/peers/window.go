package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jobcontrol/jobcontrol/bench/peers/peer"
)

const (
	without = "without jobs/s"
	share   = "share %"
)

func snapshotMeasure(o options) measure {
	return measure{
		name: "snapshot", what: fmt.Sprintf("drain for %v while a transaction elsewhere is idle, against without", o.seconds),
		columns: []string{perSecond, without, share}, count: snapshot,
		must: "share ≥ 50 %, ≥ 2.5 × River's then", reached: func(r result) bool { return r.value(share) >= 50 && r.ratio() >= 2.5 },
		systems: []system{river("postgres", "river", "tuned", 1000), ours("postgres", "-slots", "1000").by(4)},
	}
}

// snapshot measures both ways one after the other, on new databases.
func snapshot(ctx context.Context, b *bench, s system) (figure, error) {
	n := b.n(s, int64(25_000*b.seconds.Seconds()))
	var figures [2]figure
	for i := range figures {
		st, err := b.open(ctx, s)
		if err != nil {
			return figure{}, err
		}
		figures[i], err = st.timed(ctx, b, n, i == 1)
		st.drop()
		if err != nil {
			return figure{}, err
		}
	}
	f := figures[1]
	f.Values[without] = figures[0].Values[perSecond]
	f.Values[share] = 100 * f.Values[perSecond] / f.Values[without]
	return f, nil
}

func (st *store) timed(ctx context.Context, b *bench, n int64, held bool) (figure, error) {
	if err := st.fill(ctx, 0, n); err != nil {
		return figure{}, err
	}
	if held {
		release, err := b.pg.snapshot(ctx, st.dsn)
		if err != nil {
			return figure{}, err
		}
		defer release()
	}
	f, done, err := st.window(ctx, n, n, b.seconds)
	if err != nil {
		return figure{}, err
	}
	return f, st.partly(ctx, done, n-done)
}

// window lets a worker execute jobs until enough are executed or the time is
// over, and returns how many it executed. The jobs are numbered 0 to total-1.
func (st *store) window(ctx context.Context, total, enough int64, most time.Duration) (figure, int64, error) {
	p, err := st.work(ctx, 0, total)
	if err != nil {
		return figure{}, 0, err
	}
	before, err := st.usage(ctx, p)
	if err != nil {
		return figure{}, 0, p.wrong(err)
	}
	if err := p.say("go"); err != nil {
		return figure{}, 0, p.wrong(err)
	}
	var e peer.Event
	for e.Executed < enough && time.Since(before.at) < most {
		time.Sleep(2 * time.Millisecond)
		if e, err = p.ask("count", "counted"); err != nil {
			return figure{}, 0, err
		}
	}
	after, err := st.usage(ctx, p)
	if err != nil {
		return figure{}, 0, p.wrong(err)
	}
	f := st.costs(before, after, e.Executed)
	f.Values[perSecond] = float64(e.Executed) / time.Unix(0, e.At).Sub(before.at).Seconds()
	if e, err = p.finish(); err != nil {
		return figure{}, 0, err
	}
	return f, e.Executed, executedOnce(e, e.Executed)
}

// partly checks that so many jobs are recorded as finished and so many are left.
func (st *store) partly(ctx context.Context, finished, left int64) error {
	e, _, err := st.once(ctx, "count")
	if err == nil && (e.Finished != finished || e.Left != left) {
		err = fmt.Errorf("%d jobs are recorded as finished and %d are left, not %d and %d", e.Finished, e.Left, finished, left)
	}
	return err
}

func historyMeasure(o options) measure {
	finished, waiting := int64(1_000_000), int64(100_000)
	m := measure{
		name: "history", columns: []string{perSecond, without, share},
		must: "share ≥ 80 %", reached: func(r result) bool { return r.value(share) >= 80 },
		systems: []system{ours("postgres", "-slots", "1000")},
	}
	if o.full {
		finished, waiting = 10_000_000, 1_000_000
		m.systems = append([]system{river("postgres", "river", "tuned", 1000)}, m.systems...)
	}
	m.what = fmt.Sprintf("drain with %s finished and %s waiting, against neither",
		number(float64(finished)*o.scale), number(float64(waiting)*o.scale))
	old := map[string]*grown{}
	m.count = func(ctx context.Context, b *bench, s system) (figure, error) {
		g := old[s.name]
		if g == nil {
			g = &grown{}
			if err := g.grow(ctx, b, s, b.n(s, finished), b.n(s, waiting)); err != nil {
				return figure{}, err
			}
			old[s.name] = g
		}
		return g.count(ctx, b, s, b.n(s, waiting))
	}
	return m
}

// grown is a store with history, which is kept over the rounds.
type grown struct {
	st    *store
	total int64 // jobs ever enqueued
	done  int64
}

// grow makes a store in which so many jobs were executed and so many wait. It
// takes the long way, so that what is measured is what users get.
func (g *grown) grow(ctx context.Context, b *bench, s system, finished, waiting int64) error {
	var err error
	if g.st, err = b.open(ctx, s); err != nil {
		return err
	}
	if err := g.st.fill(ctx, 0, finished); err != nil {
		return err
	}
	if _, err := g.st.drain(ctx, finished, finished); err != nil {
		return err
	}
	g.total, g.done = finished, finished
	return g.refill(ctx, waiting)
}

func (g *grown) refill(ctx context.Context, waiting int64) error {
	n := g.done + waiting - g.total
	if n <= 0 {
		return nil
	}
	g.total += n
	return g.st.fill(ctx, g.total-n, n)
}

// count drains the same number of jobs from the store with history, and from an empty one.
func (g *grown) count(ctx context.Context, b *bench, s system, waiting int64) (figure, error) {
	n := min(waiting*9/10, 300_000) // some keep waiting
	empty, err := b.open(ctx, s)
	if err != nil {
		return figure{}, err
	}
	defer empty.drop()
	if err := empty.fill(ctx, 0, waiting); err != nil {
		return figure{}, err
	}
	alone, done, err := empty.window(ctx, waiting, n, time.Hour)
	if err := errors.Join(err, empty.partly(ctx, done, waiting-done)); err != nil {
		return figure{}, err
	}
	if err := g.refill(ctx, waiting); err != nil {
		return figure{}, err
	}
	f, done, err := g.st.window(ctx, g.total, n, time.Hour)
	if err != nil {
		return figure{}, err
	}
	g.done += done
	if err := g.st.partly(ctx, g.done, g.total-g.done); err != nil {
		return figure{}, err
	}
	f.Values[without] = alone.Values[perSecond]
	f.Values[share] = 100 * f.Values[perSecond] / f.Values[without]
	return f, nil
}
