//go:build linux

package chaos

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
	"github.com/jobcontrol/jobcontrol/worker"
)

// pool executes builds until ctx ends.
func (r *role) pool(ctx context.Context, store jobcontrol.Store, x jobcontrol.Executor, g *executor.Guardian) error {
	return worker.NewPool(worker.PoolConfig{
		Store: store, Executor: x, Parallel: r.Parallel, TTL: r.TTL, Grace: 3 * time.Second, Guardian: g,
		EndLeft: func(ctx context.Context, p jobcontrol.Process) error {
			return executor.EndLeft(ctx, p.PID, p.StartTime)
		},
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}).Run(ctx)
}
