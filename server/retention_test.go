package server_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
	"github.com/jobcontrol/jobcontrol/server"
	"github.com/jobcontrol/jobcontrol/store/sqlite"
	"github.com/jobcontrol/jobcontrol/worker"
)

// TestRetention has a server remove what is old, and keep what is needed.
func TestRetention(t *testing.T) {
	ctx := t.Context()
	var ahead atomic.Int64
	store, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "state.db"), sqlite.Options{
		Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Install(ctx); err != nil {
		t.Fatal(err)
	}
	jobs, err := jobcontrol.NewJobs([]*jobcontrol.Job{{ID: "talk", Run: &jobcontrol.Task{Shell: "echo hello"}}})
	if err != nil {
		t.Fatal(err)
	}
	x := executor.New(executor.Config{})
	defer x.Close()
	client := worker.NewClient(worker.Config{Store: store, Jobs: jobs, Executor: x})
	for range 3 {
		if _, err := client.Execute(ctx, jobcontrol.Request{Verb: jobcontrol.VerbBuild, Jobs: []string{"talk"}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	kept := func() (builds, records int) {
		list, err := client.Builds(ctx, jobcontrol.BuildFilter{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range list {
			if err := client.Log(ctx, list[i].ID, jobcontrol.LogFilter{}, func(jobcontrol.LogRecord) bool { records++; return true }); err != nil {
				t.Fatal(err)
			}
		}
		return len(list), records
	}
	for _, c := range []struct {
		after           time.Duration
		builds, records int
	}{{time.Hour, 3, 3}, {25 * time.Hour, 3, 0}, {49 * time.Hour, 1, 0}} {
		ahead.Store(int64(c.after))
		s, err := server.New(server.Config{
			Pool:      worker.PoolConfig{Store: store, Executor: x, Log: slog.New(slog.DiscardHandler)},
			Retention: jobcontrol.RetentionPolicy{Builds: 48 * time.Hour, Logs: map[jobcontrol.Level]time.Duration{0: 24 * time.Hour}},
			Pruner:    func() *worker.Pruner { return &worker.Pruner{Client: client, Store: store} },
		})
		if err != nil {
			t.Fatal(err)
		}
		serving, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- s.Run(serving) }()
		<-s.Ready()
		builds, records := kept()
		for end := time.Now().Add(10 * time.Second); (builds != c.builds || records != c.records) && time.Now().Before(end); builds, records = kept() {
			time.Sleep(10 * time.Millisecond)
		}
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if builds, records = kept(); builds != c.builds || records != c.records {
			t.Errorf("after %v: %d builds with %d log records, want %d with %d", c.after, builds, records, c.builds, c.records)
		}
	}
}
