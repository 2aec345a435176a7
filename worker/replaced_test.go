package worker_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
	"github.com/jobcontrol/jobcontrol/store/sqlite"
	"github.com/jobcontrol/jobcontrol/worker"
)

// TestStoreReplaced: a pool whose file was deleted ends its attempts with its
// lease, and itself: only another program can open what is there now.
func TestStoreReplaced(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "state.db")
	store, err := sqlite.Open(ctx, path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Install(ctx); err != nil {
		t.Fatal(err)
	}
	came, left := make(chan bool, 1), make(chan error, 1)
	h := build(t, store, 1, map[string]function{"wait": func(ctx context.Context, _ *house, _ *jobcontrol.Execution) (any, error) {
		came <- true
		<-ctx.Done()
		left <- ctx.Err()
		return nil, ctx.Err()
	}}, &jobcontrol.Job{ID: "a", Run: call("wait")})
	p := worker.NewPool(worker.PoolConfig{Store: store, Executor: executor.New(executor.Config{Registry: h.reg, Log: quiet}), TTL: 500 * time.Millisecond, Log: quiet})
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	h.submit(t, runJob("a"))
	<-came
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, jobcontrol.ErrUnavailable) || jobcontrol.HintOf(err) == "" {
		t.Errorf("the pool ended with %v, hint %q", err, jobcontrol.HintOf(err))
	}
	if err := <-left; err == nil {
		t.Error("the attempt was not ended")
	}
}
