//go:build linux

package chaos

import (
	"context"
	"fmt"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// soakSlots is how many jobs are busy at a time.
const soakSlots = 100

// soak keeps workers busy for a while at nine tenths of the processors, with
// commands and functions, and with leases that must not end. Nothing is killed.
func soak(while time.Duration) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		c, err := newClient(t.store, t.journal, "soak", t.seed, Load{})
		if err != nil {
			return err
		}
		for end := time.Now().Add(while); time.Now().Before(end) && ctx.Err() == nil; {
			list, err := t.store.ListRuns(ctx, jobcontrol.RunFilter{States: []jobcontrol.RunState{jobcontrol.RunRunning}, Limit: -1})
			if err != nil {
				return err
			}
			for range soakSlots + soakSlots/5 - len(list) {
				c.submit(ctx, request{verb: jobcontrol.VerbBuild, job: c.pick("go", "go", "go", "go", "go", "go", "go", "go", "go", "cmd"), do: doBusy, ms: 20_000})
			}
			pause(ctx, 500*time.Millisecond)
		}
		return ctx.Err()
	}
}

// spin uses its share of the processors for a while: of all slots together
// all of it; but one in ten of them executes a command that sleeps.
func spin(ctx context.Context, d time.Duration, processors int) error {
	share := float64(processors) / soakSlots
	const period = 100 * time.Millisecond
	for end := time.Now().Add(d); time.Now().Before(end); {
		busy := time.Now().Add(time.Duration(share * float64(period)))
		for n := 0; time.Now().Before(busy); n++ {
			_ = fmt.Sprint(n)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Duration((1 - share) * float64(period))):
		}
	}
	return nil
}
