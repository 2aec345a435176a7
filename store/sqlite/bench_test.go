package sqlite

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// chains makes a Run of n builds in chains of the given length, of jobs whose
// names begin with prefix.
func chains(tb testing.TB, prefix string, n, length int, l *jobcontrol.Lease) jobcontrol.NewRun {
	tb.Helper()
	run := jobcontrol.NewRun{Run: jobcontrol.Run{Verb: jobcontrol.VerbRun, Targets: []string{"all"}, By: "somebody"}, Lease: l}
	for i := range n {
		job := jobcontrol.Job{ID: fmt.Sprintf("%s%06d", prefix, i), Run: &jobcontrol.Task{Shell: "true"}}
		var members []int
		if i%length != 0 {
			job.Dependencies = []string{fmt.Sprintf("%s%06d", prefix, i-1)}
			members = []int{i - 1}
		}
		body, hash, err := job.Definition()
		if err != nil {
			tb.Fatal(err)
		}
		run.Builds = append(run.Builds, jobcontrol.NewBuild{
			Build: jobcontrol.Build{Job: job.ID, Tries: 3, RetryDelay: time.Second}, Definition: body, Hash: hash, Members: members,
		})
	}
	return run
}

func succeeded(number int, at time.Time) jobcontrol.Ended {
	return jobcontrol.Ended{
		State: jobcontrol.Successful, Changed: true, Attempt: jobcontrol.Attempt{
			Number: number, StartedAt: at, FinishedAt: at.Add(time.Millisecond),
			Phases: []jobcontrol.PhaseResult{{Phase: jobcontrol.PhaseRun, Passed: true, Duration: time.Millisecond}},
		},
	}
}

// BenchmarkCreateRun makes Runs of 10,000 builds in chains of ten: first of jobs
// that were never built, then of the same again.
func BenchmarkCreateRun(b *testing.B) {
	for _, again := range []bool{false, true} {
		b.Run(fmt.Sprintf("again=%v", again), func(b *testing.B) {
			s, l := openTest(b, Options{})
			ctx := context.Background()
			n := chains(b, "job", 10000, 10, &l)
			if again {
				if _, _, err := s.CreateRun(ctx, n); err != nil {
					b.Fatal(err)
				}
			}
			i := 0
			for b.Loop() {
				if !again {
					b.StopTimer()
					i++
					n = chains(b, fmt.Sprintf("job%d-", i), 10000, 10, &l)
					b.StartTimer()
				}
				if _, _, err := s.CreateRun(ctx, n); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFinish finishes builds from many goroutines.
func BenchmarkFinish(b *testing.B) {
	for _, length := range []int{1, 10} {
		b.Run(fmt.Sprintf("chain=%d", length), func(b *testing.B) {
			s, l := openTest(b, Options{})
			ctx := context.Background()
			const size = 10000
			var builds []jobcontrol.Build
			for len(builds) < b.N {
				_, made, err := s.CreateRun(ctx, chains(b, "job", size, length, &l))
				if err != nil {
					b.Fatal(err)
				}
				builds = append(builds, made...)
			}
			builds = builds[:b.N-b.N%length]
			now := time.Now()
			e := succeeded(1, now)
			b.ResetTimer()
			var next atomic.Int64
			var wg sync.WaitGroup
			for range 1024 {
				wg.Go(func() {
					for {
						i := int(next.Add(int64(length))) - length
						if i >= len(builds) {
							return
						}
						for j := range length {
							if _, err := s.Finish(ctx, builds[i+j].Claim, e); err != nil {
								b.Error(err)
								return
							}
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "builds/s")
		})
	}
}

// BenchmarkChain finishes the builds of a chain one after the other, and counts
// what reaches the disk.
func BenchmarkChain(b *testing.B) {
	for _, what := range []string{"finish", "start+finish", "finish+log"} {
		b.Run(what, func(b *testing.B) {
			s, l := openTest(b, Options{})
			ctx := context.Background()
			_, builds, err := s.CreateRun(ctx, chains(b, "job", max(2, b.N), max(2, b.N), &l))
			if err != nil {
				b.Fatal(err)
			}
			at := time.Now()
			before := writeBytes(b)
			wal := walSize(s)
			b.ResetTimer()
			for i := range b.N {
				e := succeeded(1, at)
				c := builds[i].Claim
				if what == "start+finish" {
					if err := s.Start(ctx, []jobcontrol.Claim{c}, []time.Time{at}); err != nil {
						b.Fatal(err)
					}
				}
				if what == "finish+log" {
					e.Logs = []jobcontrol.LogRecord{{Time: at, Level: 20, Logger: "stdout", Message: "what the command said"}}
				}
				if _, err := s.Finish(ctx, c, e); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			b.ReportMetric(float64(writeBytes(b)-before)/float64(b.N), "disk-B/op")
			b.ReportMetric(float64(walSize(s)-wal)/float64(b.N), "wal-B/op")
		})
	}
}

// BenchmarkHeads reads the heads of 100,000 jobs.
func BenchmarkHeads(b *testing.B) {
	s, l := openTest(b, Options{})
	ctx := context.Background()
	_, builds, err := s.CreateRun(ctx, chains(b, "job", 100000, 10, &l))
	if err != nil {
		b.Fatal(err)
	}
	_ = builds
	b.ResetTimer()
	for b.Loop() {
		heads, err := s.Heads(ctx, "", nil)
		if err != nil || len(heads) != 100000 {
			b.Fatal(len(heads), err)
		}
	}
}

func writeBytes(tb testing.TB) int64 {
	data, err := os.ReadFile("/proc/self/io")
	if err != nil {
		tb.Skip(err)
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, "write_bytes: "); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			return n
		}
	}
	tb.Fatal("no write_bytes")
	return 0
}

func walSize(s *Store) int64 {
	info, err := os.Stat(s.path + "-wal")
	if err != nil {
		return 0
	}
	return info.Size()
}
