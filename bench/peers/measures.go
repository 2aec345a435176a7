package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// system is a queue with its settings.
type system struct {
	name    string
	program string   // folder
	place   string   // where it stores its jobs
	args    []string // for all commands
	ours    bool
	times   int64 // it gets so many times the usual number of jobs, since it is that much faster; 0: once
}

// figure is what one system gave in one round. Values are by column; a job's
// costs are in µs of processor time and bytes of WAL, negative where they are not measured.
type figure struct {
	Values map[string]float64 `json:"values"`
	Client float64            `json:"client_cpu_us_per_job"`
	Server float64            `json:"server_cpu_us_per_job"`
	WAL    float64            `json:"wal_bytes_per_job"`
	Fsyncs float64            `json:"fsyncs_per_second"`  // that the disk did just before
	Others float64            `json:"others_cpu_percent"` // of the whole machine: what neither client nor server used
}

// measure is a few rows of the table: one for each system.
type measure struct {
	name    string
	what    string
	columns []string // the first is what is compared; a unit, or a name and a unit
	less    bool     // the smaller the better
	against string   // the peer that must is about, if it is not the best one
	must    string
	reached func(r result) bool
	systems []system
	count   func(ctx context.Context, b *bench, s system) (figure, error)
}

// result is a measure with the figures of all rounds.
type result struct {
	measure
	figures map[string][]figure // by system
	execs   float64             // processes that the machine starts a second
}

func river(place, program, kind string, slots int) system {
	s := system{place: place, program: program, name: "River " + kind, args: []string{"-slots", fmt.Sprint(slots)}}
	if place == "sqlite" {
		s.name = "River 0.31 SQLite " + kind
	}
	if kind == "tuned" {
		s.args = append(s.args, "-tuned")
	}
	s.name += fmt.Sprintf(", %d workers", slots)
	return s
}

func ours(place string, args ...string) system {
	name := "ours"
	if place == "sqlite" {
		name = "ours, SQLite"
	}
	return system{name: name, program: "jobcontrol", place: place, args: args, ours: true}
}

func (s system) named(name string) system { s.name = name; return s }
func (s system) by(times int64) system    { s.times = times; return s }

// measures returns all of them, in the order of the table.
func measures(o options) []measure {
	all := []measure{
		drainMeasure(o), drainSQLite(), drainRedis(),
		enqueueMeasure(1, 3000, 1, 1.5), enqueueMeasure(16, 10_000, 2, 2.5), enqueueMeasure(256, 10_000, 10, 20), enqueueMany(),
		latencyMeasure(), visibleMeasure(), snapshotMeasure(o), historyMeasure(o), idleMeasure(),
		shapeMeasure("chain", 100, 20_000), shapeMeasure("fan", 1000, 50_000),
	}
	if o.systems != "" {
		for i := range all {
			all[i].systems = slices.DeleteFunc(all[i].systems, func(s system) bool {
				return !slices.ContainsFunc(strings.Split(o.systems, ","), func(w string) bool { return strings.Contains(s.name, w) })
			})
		}
	}
	return slices.DeleteFunc(all, func(m measure) bool { return len(m.systems) == 0 })
}

// measure lets the systems have their turns.
func (b *bench) measure(ctx context.Context, m measure) (result, error) {
	r := result{measure: m, figures: map[string][]figure{}}
	var err error
	if r.execs, err = execs(ctx); err != nil {
		return r, err
	}
	for round := range b.rounds {
		for _, s := range m.systems {
			fsyncs, err := fsyncs(b.dir)
			if err != nil {
				return r, err
			}
			limited, cancel := context.WithTimeout(ctx, 30*time.Minute)
			f, err := m.count(limited, b, s)
			cancel()
			if err != nil {
				return r, fmt.Errorf("%s: %w", s.name, err)
			}
			f.Fsyncs = fsyncs
			r.figures[s.name] = append(r.figures[s.name], f)
			fmt.Fprintf(os.Stderr, "%s, round %d of %d: %s: %s\n", m.name, round+1, b.rounds, s.name, m.text(f.Values))
		}
	}
	return r, nil
}

// n is how many jobs a system gets where n is usual.
func (b *bench) n(s system, n int64) int64 {
	return max(int64(float64(n*max(s.times, 1))*b.scale), 100)
}

// median is the median of a column over the rounds.
func (r result) median(system, column string) float64 {
	return median(r.figures[system], func(f figure) float64 { return f.Values[column] })
}

func median(figures []figure, of func(figure) float64) float64 {
	if len(figures) == 0 {
		return 0
	}
	var all []float64
	for _, f := range figures {
		all = append(all, of(f))
	}
	slices.Sort(all)
	if n := len(all); n%2 == 0 {
		return (all[n/2-1] + all[n/2]) / 2
	}
	return all[len(all)/2]
}

// ours is our system; best the peer with the best median. Either may be missing.
func (r result) ours() (system, bool) {
	for _, s := range r.systems {
		if s.ours {
			return s, true
		}
	}
	return system{}, false
}

func (r result) best() (best system, ok bool) {
	for _, s := range r.systems {
		if s.ours {
			continue
		}
		v, b := r.median(s.name, r.columns[0]), r.median(best.name, r.columns[0])
		if !ok || (r.less && v < b) || (!r.less && v > b) {
			best, ok = s, true
		}
	}
	return best, ok
}

// ratio is how many times better ours is than the best peer: the median over
// the rounds, in each of which both were measured; 0 where one is missing.
func (r result) ratio() float64 {
	peer, _ := r.best()
	return r.ratioTo(peer.name)
}

// ratioTo is ratio for a certain peer.
func (r result) ratioTo(peer string) float64 {
	us, ok := r.ours()
	if !ok || len(r.figures[peer]) == 0 {
		return 0
	}
	var ratios []figure
	for i, f := range r.figures[us.name] {
		ratio := f.Values[r.columns[0]] / r.figures[peer][i].Values[r.columns[0]]
		if r.less {
			ratio = 1 / ratio
		}
		ratios = append(ratios, figure{Client: ratio})
	}
	return median(ratios, func(f figure) float64 { return f.Client })
}

// cheaper is how many times less processor time a job of ours takes than one of
// the best peer: what the ratio would be where nothing else is in the way.
func (r result) cheaper() float64 {
	us, ok := r.ours()
	peer, also := r.best()
	cost := func(f figure) float64 { return max(f.Client, 0) + max(f.Server, 0) }
	own := median(r.figures[us.name], cost)
	if !ok || !also || own == 0 {
		return 0
	}
	return median(r.figures[peer.name], cost) / own
}

// ok tells whether ours is what it must be; also where there is nothing that it must be.
func (r result) ok() bool {
	_, ours := r.ours()
	return !ours || r.reached == nil || r.reached(r)
}

// value is the median of one of our columns.
func (r result) value(column string) float64 {
	us, _ := r.ours()
	return r.median(us.name, column)
}

// atLeast is a target: ours is so many times better than the best peer.
func atLeast(times float64) (string, func(result) bool) {
	return fmt.Sprintf("≥ %g × River", times), func(r result) bool { return r.ratio() >= times }
}
