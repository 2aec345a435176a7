//go:build linux

package chaos

import (
	"context"
	"net/url"
	"sync"
	"time"

	"github.com/jobcontrol/jobcontrol/internal/pgtest"
)

// ownServer starts a server that only this cluster uses, and returns the URL of a database.
func (t *trial) ownServer(ctx context.Context) (string, error) {
	srv, err := pgtest.Start(durable())
	if err != nil {
		return "", err
	}
	t.server = srv
	t.later(func() { _ = srv.Close() })
	return createDatabase(ctx, srv, "chaos")
}

// killServer ends the server's processes n times under load, and starts them again.
func killServer(n int) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		for range n {
			pause(ctx, t.among(300*time.Millisecond, 1200*time.Millisecond))
			if ctx.Err() != nil {
				return ctx.Err()
			}
			t.fault("kill the server")
			if err := t.server.Kill9(); err != nil {
				return err
			}
			pause(ctx, t.among(0, 400*time.Millisecond))
			if err := t.server.Restart(); err != nil {
				return err
			}
			t.fault("the server is back")
			t.figures["kills of postgres"]++
		}
		return nil
	}
}

// throughProxy makes the processes reach the server through proxies: one for the
// workers, one for the clients.
func throughProxy(_ context.Context, t *trial) error {
	u, err := url.Parse(t.place.Postgres)
	if err != nil {
		return err
	}
	if t.proxy, err = newProxy("127.0.0.1:0", u.Host); err != nil {
		return err
	}
	t.later(t.proxy.Close)
	u.Host = t.proxy.Address()
	t.remote.Postgres = u.String()
	return nil
}

// cutCommits cuts n connections around their commit: half of them before the
// server has seen it, half after.
func cutCommits(n int) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		k := &cutter{left: n, of: map[string]int{}, figures: Figures{}, note: t.fault}
		t.proxy.OnCommit(k.decide)
		deadline := time.Now().Add(time.Duration(n)*200*time.Millisecond + 20*time.Second)
		for k.more() && ctx.Err() == nil && time.Now().Before(deadline) {
			pause(ctx, 20*time.Millisecond)
		}
		t.proxy.OnCommit(nil)
		k.mu.Lock()
		defer k.mu.Unlock()
		t.figures.add(k.figures)
		return ctx.Err()
	}
}

// cutter decides which commits are cut: of what is rare more than of what is not.
type cutter struct {
	mu      sync.Mutex
	left    int
	all     int
	of      map[string]int // commits by what they did
	figures Figures
	note    func(format string, args ...any)
}

func (k *cutter) more() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.left > 0
}

// decide is asked at each commit.
func (k *cutter) decide(deed string) Cut {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all++
	k.of[deed]++
	k.figures["commits seen"]++
	// All that is done gets a share, and between two cuts work goes on.
	step := max(4, 60*k.of[deed]/k.all)
	if deed == "" || k.left == 0 || k.of[deed]%step != 0 { // "": it only read
		return CutNot
	}
	k.left--
	k.figures["cuts around "+deed]++
	if k.left%2 == 0 {
		k.note("cut before a commit: %s", deed)
		k.figures["cuts before commit"]++
		return CutBefore
	}
	k.note("cut after a commit: %s", deed)
	k.figures["cuts after commit"]++
	return CutAfter
}

// partition breaks the network n times in every way, for longer and shorter than a lease.
func partition(n int) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		for i := range n {
			pause(ctx, t.among(200*time.Millisecond, 800*time.Millisecond))
			d := t.among(t.ttl/3, 2*t.ttl)
			switch i % 5 {
			case 0:
				t.fault("reset all connections")
				t.figures["connections reset"] += t.proxy.Reset()
				t.figures["partitions"]++
				continue
			case 1:
				t.fault("black hole for %v", d)
				t.proxy.setWeather(weather{deafUp: true, deafDown: true})
			case 2:
				t.fault("nothing reaches the server for %v", d)
				t.proxy.setWeather(weather{deafUp: true})
			case 3:
				t.fault("nothing comes from the server for %v", d)
				t.proxy.setWeather(weather{deafDown: true})
			case 4:
				latency := t.among(20*time.Millisecond, 600*time.Millisecond)
				t.fault("latency %v for %v", latency, d)
				t.proxy.setWeather(weather{latency: latency})
			}
			pause(ctx, d)
			t.proxy.setWeather(weather{})
			t.fault("the network is whole")
			t.figures["partitions"]++
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		pause(ctx, t.ttl)
		return nil
	}
}
