//go:build linux

package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// wakeBuilds is how many functions a worker executes when it is stopped.
const wakeBuilds = 12

// wakeStale stops a worker that executes functions until another one has taken
// some or all of its builds, lets it go on, and lets its functions write all that
// they can write then, whatever their context says; n times.
func wakeStale(n int) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		c, err := newClient(t.store, t.journal, "wake", t.seed, Load{})
		if err != nil {
			return err
		}
		for range n {
			if err := t.wakeOnce(ctx, c); err != nil {
				return err
			}
		}
		return nil
	}
}

func (t *trial) wakeOnce(ctx context.Context, c *client) error {
	goFile := filepath.Join(t.dir, "go")
	if err := os.RemoveAll(goFile); err != nil {
		return err
	}
	old, err := t.start(role{Kind: "worker", Parallel: wakeBuilds}, "")
	if err != nil {
		return err
	}
	var ids []int64
	for range wakeBuilds {
		for _, b := range c.submit(ctx, request{verb: jobcontrol.VerbBuild, job: "go", do: doWait, ms: 100}) {
			ids = append(ids, b.ID)
		}
	}
	if err := t.awaitStarts(ctx, ids); err != nil {
		return err
	}
	if t.rng.IntN(3) > 0 {
		pause(ctx, 100*time.Millisecond) // they are marked as running
	}
	t.fault("stop %s, which executes %v", old.role.Name, ids)
	old.signal(syscall.SIGSTOP)
	heir, err := t.worker("")
	if err != nil {
		return err
	}
	pause(ctx, t.ttl+t.among(500*time.Millisecond, 3500*time.Millisecond))
	if err := os.WriteFile(goFile, nil, 0o600); err != nil {
		return err
	}
	t.fault("continue %s", old.role.Name)
	old.signal(syscall.SIGCONT)
	t.figures["stops of workers"]++
	for _, id := range ids {
		if err := t.awaitFinal(ctx, id, 40*time.Second); err != nil {
			return err
		}
	}
	pause(ctx, 300*time.Millisecond) // its last writes
	old.kill()
	heir.kill()
	return nil
}

// awaitStarts waits until each of the builds is executed.
func (t *trial) awaitStarts(ctx context.Context, ids []int64) error {
	path := filepath.Join(t.dir, "journal")
	for deadline := time.Now().Add(20 * time.Second); ; {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		begun := 0
		for _, id := range ids {
			for line := range strings.Lines(string(data)) {
				if strings.HasPrefix(line, `{"e":"start"`) && strings.Contains(line, fmt.Sprintf(`"build":%d,`, id)) {
					begun++
					break
				}
			}
		}
		if begun == len(ids) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of the builds %v began", begun, ids)
		}
		pause(ctx, 20*time.Millisecond)
	}
}
