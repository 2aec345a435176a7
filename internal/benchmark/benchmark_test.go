package benchmark_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/internal/benchmark"
	"github.com/jobcontrol/jobcontrol/store/sqlite"
)

// TestRun makes each measurement once and looks whether what it says was measured
// was made, and nothing else.
func TestRun(t *testing.T) {
	ctx := context.Background()
	for _, name := range benchmark.Names {
		t.Run(name, func(t *testing.T) {
			s, err := sqlite.Open(ctx, sqlite.Memory, sqlite.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := s.Install(ctx); err != nil {
				t.Fatal(err)
			}
			const jobs, history, waiting = 30, 20, 10
			r, err := benchmark.Run(ctx, benchmark.Measurement{
				Name: name, Store: s, StoreName: "memory", Jobs: jobs, History: history, Waiting: waiting, Callers: 3, Rate: 1000,
			})
			if err != nil {
				t.Fatal(err)
			}
			if r.Name != name || r.Store != "memory" || r.Jobs != jobs || r.History != history || r.Waiting != waiting || r.Seconds <= 0 || r.PerSecond <= 0 {
				t.Errorf("report: %+v", r)
			}
			if (r.P50 == nil) != (name == "drain") || (r.P99 == nil) != (name == "drain") {
				t.Errorf("latencies: %v, %v", r.P50, r.P99)
			}
			states := map[jobcontrol.State]int{}
			builds, err := s.ListBuilds(ctx, jobcontrol.BuildFilter{Limit: -1})
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range builds {
				states[b.State]++
			}
			queued, successful := waiting, history+jobs
			if name == "enqueue" {
				queued, successful = waiting+jobs, history
			}
			if states[jobcontrol.Queued] != queued || states[jobcontrol.Successful] != successful || len(builds) != queued+successful {
				t.Errorf("builds: %v", states)
			}
		})
	}
}

// TestRemote looks whether a worker in another process gets the slots that the
// report tells.
func TestRemote(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct{ workers, want int }{{0, 4}, {2, 2}} {
		s, err := sqlite.Open(ctx, sqlite.Memory, sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.Install(ctx); err != nil {
			t.Fatal(err)
		}
		got := 0
		m := benchmark.Measurement{Name: "latency", Store: s, Jobs: 3, Rate: 1000, Workers: c.workers}
		m.Remote = func(ctx context.Context, project string, workers int) (func() error, error) {
			got = workers
			ctx, cancel := context.WithCancel(ctx)
			ready, ended := make(chan struct{}), make(chan error, 1)
			go func() { ended <- benchmark.Serve(ctx, s, project, workers, func() { close(ready) }) }()
			select {
			case <-ready:
			case err := <-ended:
				cancel()
				return nil, err
			}
			return func() error {
				cancel()
				return <-ended
			}, nil
		}
		r, err := benchmark.Run(ctx, m)
		if err != nil {
			t.Fatal(err)
		}
		if got != c.want || r.Workers != c.want {
			t.Errorf("--workers %d: %d slots, told %d, want %d", c.workers, got, r.Workers, c.want)
		}
	}
}

func TestUnknown(t *testing.T) {
	if _, err := benchmark.Run(context.Background(), benchmark.Measurement{Name: "speed"}); !errors.Is(err, jobcontrol.ErrInvalid) {
		t.Errorf("Run: %v", err)
	}
}
