//go:build linux

package chaos

import (
	"context"
	"slices"
	"testing"
	"time"
)

// TestTakeover is a part of `make chaos`: it prints how soon the death of a
// process and of a host is noticed with the default lease.
func TestTakeover(t *testing.T) {
	if *minutes == 0 {
		t.Skip("a part of the long form")
	}
	c := &campaign{t: t, figures: Figures{}, servers: &servers{}, dir: t.TempDir()}
	t.Cleanup(func() {
		if err := c.servers.close(); err != nil {
			t.Error(err)
		}
	})
	for i, k := range []struct {
		what, store string
		n, workers  int
		most        time.Duration
		prepare     func(context.Context, *trial) error
		end         func(context.Context, *trial, *process) (func() error, error)
	}{
		{"process", "sqlite", 10, 2, 2 * time.Second, withDefaultLease, killOne},
		{"process", "postgres", 10, 2, 2 * time.Second, withDefaultLease, killOne},
		{"host", "postgres", 8, 0, 17 * time.Second, inHosts, killHost},
	} {
		if why := canSplit(); k.what == "host" && why != "" {
			t.Log("not done:", why)
			continue
		}
		var took []time.Duration
		c.one(&Scenario{
			Name: "takeover", Number: i + 1, Seed: *seed, Store: k.store, Workers: k.workers, Prepare: k.prepare,
			Faults: takeover(k.n, func(d time.Duration) { took = append(took, d) }, k.end),
		})
		slices.Sort(took)
		if len(took) < k.n {
			t.Errorf("dead %s, %s: %d of %d", k.what, k.store, len(took), k.n)
			continue
		}
		t.Logf("dead %s, %s: taken over after %.1f to %.1f s, median %.1f, wanted at most %.0f", k.what, k.store,
			took[0].Seconds(), took[len(took)-1].Seconds(), took[len(took)/2].Seconds(), k.most.Seconds())
		if took[len(took)-1] > k.most {
			t.Errorf("dead %s, %s: noticed after %v", k.what, k.store, took[len(took)-1])
		}
	}
}
