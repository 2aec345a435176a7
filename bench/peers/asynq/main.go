// Asynq executes the comparison's jobs with asynq on Redis.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/jobcontrol/jobcontrol/bench/peers/peer"
)

func main() { os.Exit(peer.Main(open)) }

const queue = "default"

type system struct {
	o       peer.Options
	redis   *redis.Client
	client  *asynq.Client
	inspect *asynq.Inspector
}

func open(_ context.Context, o peer.Options) (peer.System, error) {
	r := redis.NewClient(&redis.Options{Network: "unix", Addr: o.DSN, PoolSize: o.Conns})
	return &system{o: o, redis: r, client: asynq.NewClientFromRedisClient(r), inspect: asynq.NewInspectorFromRedisClient(r)}, nil
}

// Install implements [peer.System].
func (s *system) Install(ctx context.Context) error { return s.redis.FlushAll(ctx).Err() }

// Insert implements [peer.System].
func (s *system) Insert(ctx context.Context, j peer.Job) (string, error) {
	payload, err := json.Marshal(j)
	if err != nil {
		return "", err
	}
	info, err := s.client.EnqueueContext(ctx, asynq.NewTask("noop", payload))
	if err != nil {
		return "", err
	}
	return info.ID, nil
}

// InsertMany implements [peer.System]. Asynq enqueues only one at a time.
func (s *system) InsertMany(ctx context.Context, jobs []peer.Job) error {
	for _, j := range jobs {
		if _, err := s.Insert(ctx, j); err != nil {
			return err
		}
	}
	return nil
}

// Final implements [peer.System]. A finished task is gone.
func (s *system) Final(_ context.Context, id string) (bool, error) {
	_, err := s.inspect.GetTaskInfo(queue, id)
	if errors.Is(err, asynq.ErrTaskNotFound) {
		return true, nil
	}
	return false, err
}

// Left implements [peer.System].
func (s *system) Left(ctx context.Context) (bool, error) {
	_, left, err := s.Count(ctx)
	return left > 0, err
}

// Count implements [peer.System].
func (s *system) Count(context.Context) (finished, left int64, err error) {
	i, err := s.inspect.GetQueueInfo(queue)
	if errors.Is(err, asynq.ErrQueueNotFound) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	return int64(i.ProcessedTotal - i.FailedTotal), int64(i.Size), nil
}

// Work implements [peer.System].
func (s *system) Work(_ context.Context, handle func(peer.Job)) (func(context.Context) error, error) {
	srv := asynq.NewServerFromRedisClient(s.redis, asynq.Config{Concurrency: s.o.Slots, Logger: silent{}, LogLevel: asynq.FatalLevel})
	err := srv.Start(asynq.HandlerFunc(func(_ context.Context, t *asynq.Task) error {
		var j peer.Job
		if err := json.Unmarshal(t.Payload(), &j); err != nil {
			return err
		}
		handle(j)
		return nil
	}))
	return func(context.Context) error { srv.Shutdown(); return nil }, err
}

// silent drops what asynq logs.
type silent struct{}

// Debug implements [asynq.Logger].
func (silent) Debug(...any) {}

// Info implements [asynq.Logger].
func (silent) Info(...any) {}

// Warn implements [asynq.Logger].
func (silent) Warn(...any) {}

// Error implements [asynq.Logger].
func (silent) Error(...any) {}

// Fatal implements [asynq.Logger].
func (silent) Fatal(...any) { os.Exit(1) }
