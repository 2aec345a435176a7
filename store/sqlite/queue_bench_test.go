package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// call is a lone detached build with arguments, as a program enqueues it.
func call(tb testing.TB, job string, i int) jobcontrol.NewRun {
	tb.Helper()
	j := jobcontrol.Job{ID: job, Run: &jobcontrol.Task{Shell: "true"}}
	body, hash, err := j.Definition()
	if err != nil {
		tb.Fatal(err)
	}
	return jobcontrol.NewRun{
		Run: jobcontrol.Run{Verb: jobcontrol.VerbBuild, By: "somebody"},
		Builds: []jobcontrol.NewBuild{{
			Build:      jobcontrol.Build{Job: job, Tries: 1, Args: json.RawMessage(`[` + strconv.Itoa(i) + `,"an argument"]`)},
			Definition: body, Hash: hash,
		}},
	}
}

// fill enqueues n builds.
func fill(tb testing.TB, s *Store, n int) {
	tb.Helper()
	template := call(tb, "job", 0)
	for made := 0; made < n; {
		many := make([]jobcontrol.NewRun, min(1000, n-made))
		for i := range many {
			many[i] = template
			many[i].Builds = []jobcontrol.NewBuild{template.Builds[0]}
		}
		if _, err := s.CreateRuns(context.Background(), many); err != nil {
			tb.Fatal(err)
		}
		made += len(many)
	}
}

// drain claims n builds by the thousand and finishes them from 1,000 goroutines.
func drain(tb testing.TB, s *Store, l jobcontrol.Lease, n int) {
	tb.Helper()
	ctx := context.Background()
	e := succeeded(1, time.Now())
	e.Result = json.RawMessage(`{"ok":true}`)
	builds := make(chan jobcontrol.Claim, 2000)
	var failed atomic.Bool
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			for c := range builds {
				if _, err := s.Finish(ctx, c, e); err != nil && !failed.Swap(true) {
					tb.Error(err)
				}
			}
		})
	}
	for n > 0 && !failed.Load() {
		c, err := s.Claim(ctx, l, jobcontrol.Wanted{Services: []string{"default"}, N: min(n, 1000)})
		if err != nil || len(c.Builds) == 0 {
			tb.Errorf("claimed %v, %v", c, err)
			break
		}
		n -= len(c.Builds)
		for i := range c.Builds {
			builds <- c.Builds[i].Claim
		}
	}
	close(builds)
	wg.Wait()
}

// BenchmarkDrain executes lone detached builds that do nothing.
func BenchmarkDrain(b *testing.B) {
	s, l := openTest(b, Options{})
	fill(b, s, b.N)
	before := writeBytes(b)
	b.ResetTimer()
	drain(b, s, l, b.N)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "builds/s")
	b.ReportMetric(float64(writeBytes(b)-before)/float64(b.N), "disk-B/op")
}

// BenchmarkEnqueue creates lone detached builds one by one from many goroutines.
func BenchmarkEnqueue(b *testing.B) {
	for _, callers := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			s, _ := openTest(b, Options{})
			ctx := context.Background()
			n := call(b, "job", 7)
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range callers {
				wg.Go(func() {
					for next.Add(1) <= int64(b.N) {
						if _, _, err := s.CreateRun(ctx, n); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "builds/s")
		})
	}
}

// BenchmarkEnqueueMany creates lone detached builds by the thousand.
func BenchmarkEnqueueMany(b *testing.B) {
	s, _ := openTest(b, Options{})
	b.ResetTimer()
	fill(b, s, b.N)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "builds/s")
}

// BenchmarkDrainFull is BenchmarkDrain beside a history and a queue of the sizes
// that the variables name, in thousands.
func BenchmarkDrainFull(b *testing.B) {
	finished, _ := strconv.Atoi(os.Getenv("JOBCONTROL_BENCH_FINISHED"))
	waiting, _ := strconv.Atoi(os.Getenv("JOBCONTROL_BENCH_WAITING"))
	if finished+waiting == 0 {
		b.Skip("JOBCONTROL_BENCH_FINISHED and JOBCONTROL_BENCH_WAITING are not set")
	}
	s, l := openTest(b, Options{})
	for n := finished * 1000; n > 0; n -= 100000 {
		fill(b, s, min(n, 100000))
		drain(b, s, l, min(n, 100000))
	}
	fill(b, s, waiting*1000+200000)
	for b.Loop() {
		begin := time.Now()
		drain(b, s, l, 100000)
		b.ReportMetric(100000/time.Since(begin).Seconds(), "builds/s")
	}
}
