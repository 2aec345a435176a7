package postgres

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/internal/pgtest"
)

// openDurable opens a store in a cluster that does all that makes commits durable.
func openDurable(b *testing.B, opts Options) (*Store, jobcontrol.Lease) {
	b.Helper()
	c, err := pgtest.Start(pgtest.Options{Durable: true, Settings: map[string]string{"shared_buffers": "512MB", "max_wal_size": "4GB"}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	opts.URL = c.URL("postgres", "postgres")
	ctx := context.Background()
	s, err := Open(ctx, opts)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	if err := s.Install(ctx); err != nil {
		b.Fatal(err)
	}
	l, err := s.Register(ctx, jobcontrol.Process{PID: os.Getpid()}, time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	return s, l
}

// loneBuild is a lone detached build with small arguments.
func loneBuild(tb testing.TB, job string) jobcontrol.NewRun {
	tb.Helper()
	j := jobcontrol.Job{ID: job, Run: &jobcontrol.Task{Shell: "true"}}
	body, hash, err := j.Definition()
	if err != nil {
		tb.Fatal(err)
	}
	return jobcontrol.NewRun{Run: jobcontrol.Run{Verb: jobcontrol.VerbBuild, By: "somebody"}, Builds: []jobcontrol.NewBuild{{
		Build:      jobcontrol.Build{Job: job, Tries: 3, RetryDelay: time.Second, Args: json.RawMessage(`[1, "an argument"]`)},
		Definition: body, Hash: hash,
	}}}
}

// costs measures the processor's time of this program and of the server.
type costs struct {
	b      *testing.B
	s      *Store
	began  time.Time
	own    time.Duration
	server time.Duration
	wal    float64
}

func measure(b *testing.B, s *Store) *costs {
	c := &costs{b: b, s: s}
	c.own, c.server, c.wal = ownTime(), serverTime(b, s), walBytes(b, s)
	c.began = time.Now()
	return c
}

// report reports what n builds cost.
func (c *costs) report(n int, what string) {
	passed := time.Since(c.began)
	c.b.ReportMetric(float64(n)/passed.Seconds(), what+"/s")
	c.b.ReportMetric(float64((ownTime()-c.own).Microseconds())/float64(n), "client-µs/build")
	c.b.ReportMetric(float64((serverTime(c.b, c.s)-c.server).Microseconds())/float64(n), "server-µs/build")
	c.b.ReportMetric((walBytes(c.b, c.s)-c.wal)/float64(n), "WAL-B/build")
	c.b.ReportMetric(0, "ns/op")
}

func ownTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // never fails for oneself
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func walBytes(b *testing.B, s *Store) (n float64) {
	b.Helper()
	err := s.readOne(context.Background(), func(c *conn) error {
		_, err := c.first(func(r *row) { n = r.float() }, `SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8`)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// serverTime is that of all processes whose parent is that of our server's.
func serverTime(b *testing.B, s *Store) time.Duration {
	b.Helper()
	var pid int64
	if err := s.readOne(context.Background(), func(c *conn) (err error) {
		pid, err = c.number(`SELECT pg_backend_pid()::bigint`)
		return err
	}); err != nil {
		b.Fatal(err)
	}
	const ppid, utime, cstime = 1, 11, 14 // fields of stat after the name, which begin with the state
	field := func(path string, from, to int) (n int64) {
		data, err := os.ReadFile(path)
		if err != nil {
			return 0
		}
		fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
		for _, f := range fields[from : to+1] {
			v, _ := strconv.ParseInt(string(f), 10, 64)
			n += v
		}
		return n
	}
	parent := field(fmt.Sprintf("/proc/%d/stat", pid), ppid, ppid)
	ticks := field(fmt.Sprintf("/proc/%d/stat", parent), utime, cstime)
	all, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range all {
		if field(path, ppid, ppid) == parent {
			ticks += field(path, utime, utime+1)
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// BenchmarkEnqueue makes lone builds one by one, from so many callers.
func BenchmarkEnqueue(b *testing.B) {
	for _, callers := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			s, _ := openDurable(b, Options{})
			n := loneBuild(b, "job")
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ResetTimer()
			c := measure(b, s)
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						if _, _, err := s.CreateRun(context.Background(), n); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			c.report(b.N, "builds")
		})
	}
}

// fill makes n lone builds.
func fill(b *testing.B, s *Store, n int) {
	b.Helper()
	many := make([]jobcontrol.NewRun, min(n, 4000))
	for i := range many {
		many[i] = loneBuild(b, fmt.Sprint("job", i%3))
	}
	for ; n > 0; n -= len(many) {
		if _, err := s.CreateRuns(context.Background(), many[:min(n, len(many))]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCreateRuns makes lone builds, thousands at a time.
func BenchmarkCreateRuns(b *testing.B) {
	s, _ := openDurable(b, Options{})
	b.ResetTimer()
	c := measure(b, s)
	fill(b, s, b.N)
	c.report(b.N, "builds")
}

// BenchmarkDrain claims and finishes b.N builds, with a small result, in a
// thousand goroutines.
func BenchmarkDrain(b *testing.B) {
	s, l := openDurable(b, Options{})
	fill(b, s, b.N)
	b.ResetTimer()
	c := measure(b, s)
	drain(b, s, l, b.N)
	c.report(b.N, "builds")
}

func drain(b *testing.B, s *Store, l jobcontrol.Lease, n int) {
	ctx := context.Background()
	const slots = 1000
	todo := make(chan jobcontrol.Build, 3*slots)
	var wg sync.WaitGroup
	var done atomic.Int64
	for range slots {
		wg.Go(func() {
			for build := range todo {
				now := time.Now()
				if _, err := s.Finish(ctx, build.Claim, jobcontrol.Ended{
					State: jobcontrol.Successful, Changed: true, Result: json.RawMessage(`{"sum": 42}`),
					Attempt: jobcontrol.Attempt{Number: build.Attempts + 1, StartedAt: now, FinishedAt: now, Phases: []jobcontrol.PhaseResult{
						{Phase: jobcontrol.PhaseRun, Passed: true},
					}},
				}); err != nil {
					b.Error(err)
				}
				done.Add(1)
			}
		})
	}
	for claimed := 0; claimed < n; {
		got, err := s.Claim(ctx, l, jobcontrol.Wanted{Services: []string{jobcontrol.DefaultService}, N: 2 * slots})
		if err != nil {
			b.Error(err)
			break
		}
		claimed += len(got.Builds)
		for _, build := range got.Builds {
			todo <- build
		}
	}
	close(todo)
	wg.Wait()
	if int(done.Load()) != n {
		b.Errorf("%d of %d builds are done", done.Load(), n)
	}
}
