package worker_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
	"github.com/jobcontrol/jobcontrol/store/sqlite"
	"github.com/jobcontrol/jobcontrol/worker"
)

// A program that enqueues durable work for a function, and a pool that executes
// it: here both are one process.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	store, err := sqlite.Open(ctx, filepath.Join(dir, "state.db"), sqlite.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	if err := store.Install(ctx); err != nil {
		log.Fatal(err)
	}

	type order struct {
		Product string `json:"product"`
		Pieces  int    `json:"pieces"`
	}
	reg := jobcontrol.NewRegistry()
	pack := jobcontrol.Handle(reg, "shop:pack", func(_ context.Context, o order) (string, error) {
		return fmt.Sprintf("packed %d × %s", o.Pieces, o.Product), nil
	})
	exec := executor.New(executor.Config{Registry: reg})
	defer exec.Close()

	pool := worker.NewPool(worker.PoolConfig{
		Store: store, Executor: exec, Parallel: 8, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	working, stop := context.WithCancel(ctx)
	ended := make(chan error)
	go func() { ended <- pool.Run(working) }()

	client := worker.NewClient(worker.Config{Store: store, Executor: exec, Registry: reg})
	id, err := pack.Enqueue(ctx, client, order{"tea", 3}, jobcontrol.EnqueueOptions{})
	if err != nil {
		log.Fatal(err)
	}
	result, err := pack.Wait(ctx, client, id)
	fmt.Println(result, err)

	stop()
	fmt.Println(<-ended)
	// Output:
	// packed 3 × tea <nil>
	// <nil>
}
