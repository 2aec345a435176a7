//go:build linux

package chaos

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"time"
)

// canSplit tells why processes cannot have networks of their own; "": they can.
func canSplit() string {
	if os.Getuid() != 0 {
		return "only root can make network namespaces"
	}
	name := fmt.Sprintf("chaos-probe-%d", os.Getpid())
	if err := command("ip", "netns", "add", name); err != nil {
		return err.Error()
	}
	if err := command("ip", "netns", "del", name); err != nil {
		return err.Error()
	}
	return ""
}

// network is a namespace with the way to it: a pair of interfaces that leads to
// a proxy on this machine, and so to the server.
type network struct {
	name, inside, outside string
	url                   string // of the store, as it is reached from inside
	proxy                 *Proxy
}

// networkBlocks are the blocks of addresses for documentation; each holds 64 networks.
var networkBlocks = []string{"192.0.2", "198.51.100", "203.0.113"}

// newNetwork makes the n-th network, below 64, in which the store with the given
// URL is reached.
func newNetwork(n int, store string) (*network, error) {
	u, err := url.Parse(store)
	if err != nil {
		return nil, err
	}
	id := os.Getpid()%10000*100 + n // names of interfaces are short
	w := &network{name: fmt.Sprintf("chaos%d", id), inside: fmt.Sprintf("cw%d", id), outside: fmt.Sprintf("ch%d", id)}
	block := networkBlocks[os.Getpid()%len(networkBlocks)]
	here, there := fmt.Sprintf("%s.%d", block, 4*n+1), fmt.Sprintf("%s.%d", block, 4*n+2)
	for _, args := range [][]string{
		{"netns", "add", w.name},
		{"link", "add", w.outside, "type", "veth", "peer", "name", w.inside, "netns", w.name},
		{"addr", "add", here + "/30", "dev", w.outside},
		{"link", "set", w.outside, "up"},
		{"netns", "exec", w.name, "ip", "addr", "add", there + "/30", "dev", w.inside},
		{"netns", "exec", w.name, "ip", "link", "set", w.inside, "up"},
		{"netns", "exec", w.name, "ip", "link", "set", "lo", "up"},
	} {
		if err := command("ip", args...); err != nil {
			w.remove()
			return nil, err
		}
	}
	if w.proxy, err = newProxy(here+":0", u.Host); err != nil {
		w.remove()
		return nil, err
	}
	u.Host = w.proxy.Address()
	w.url = u.String()
	return w, nil
}

// enter is what is put before a command that is to be executed in the network.
func (n *network) enter() []string { return []string{"ip", "netns", "exec", n.name} }

// set takes the network down, or up again.
func (n *network) set(state string) error { return command("ip", "link", "set", n.outside, state) }

// remove takes it away. Errors say that it, or a part of it, is not there.
func (n *network) remove() {
	if n.proxy != nil {
		n.proxy.Close()
	}
	_ = command("ip", "netns", "del", n.name) // its interface goes with it
	_ = command("ip", "link", "del", n.outside)
}

// splitWorkers is how many workers have networks of their own.
const splitWorkers = 3

// namespaces makes a network for each worker.
func namespaces(_ context.Context, t *trial) error {
	for i := range splitWorkers {
		n, err := newNetwork((t.Number*splitWorkers+i)%48, t.place.Postgres)
		if err != nil {
			return err
		}
		t.later(n.remove)
		t.networks = append(t.networks, n)
	}
	return nil
}

// split starts a worker in each network and takes one network after the other
// away, n times, for longer and shorter than a lease, killing one now and then.
func split(n int) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		workers := make([]*process, len(t.networks))
		enter := func(i int) (err error) {
			workers[i], err = t.inNetwork(t.networks[i])
			return err
		}
		for i := range workers {
			if err := enter(i); err != nil {
				return err
			}
		}
		for range n {
			pause(ctx, t.among(200*time.Millisecond, 800*time.Millisecond))
			i := t.rng.IntN(len(workers))
			d := t.among(t.ttl/3, 2*t.ttl)
			t.fault("network of %s is down for %v", workers[i].role.Name, d)
			if err := t.networks[i].set("down"); err != nil {
				return err
			}
			if t.rng.IntN(4) == 0 {
				t.fault("kill %s", workers[i].role.Name)
				workers[i].kill()
				t.figures["kills of workers"]++
			}
			pause(ctx, d)
			if err := t.networks[i].set("up"); err != nil {
				return err
			}
			t.figures["networks taken down"]++
			if !alive(workers[i]) {
				if err := enter(i); err != nil {
					return err
				}
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		return nil
	}
}

func alive(p *process) bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// inNetwork starts a worker in a network, by a further command where one is given.
func (t *trial) inNetwork(n *network, by ...string) (*process, error) {
	remote, wrap := t.remote, t.wrap
	defer func() { t.remote, t.wrap = remote, wrap }()
	t.remote.Postgres, t.wrap = n.url, append(n.enter(), by...)
	return t.worker("")
}
