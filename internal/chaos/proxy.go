//go:build linux

package chaos

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Cut is what a proxy does around a commit.
type Cut int

// The cuts.
const (
	CutNot    Cut = iota
	CutBefore     // the connection ends, the server never sees the commit
	CutAfter      // the server commits, the connection ends before the answer is forwarded
)

// Proxy stands between processes and a PostgreSQL server and breaks their
// connections. It understands enough of the protocol to know a commit.
type Proxy struct {
	listener net.Listener
	target   string

	// decide is asked at each commit; nil: none is cut. Any goroutine may call it.
	decide atomic.Pointer[func(deed string) Cut]
	weak   atomic.Pointer[weather]

	mu     sync.Mutex
	links  map[*link]bool
	closed bool
	done   sync.WaitGroup
}

// weather is the state of the network. It is replaced, never changed.
type weather struct {
	deafUp, deafDown bool          // nothing goes to the server, nothing comes from it
	latency          time.Duration // in each direction
	over             chan struct{} // closed when the weather changes
}

// newProxy listens on an address, such as 127.0.0.1:0.
func newProxy(address, target string) (*Proxy, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: l, target: target, links: map[*link]bool{}}
	p.weak.Store(&weather{over: make(chan struct{})})
	p.done.Go(p.accept)
	return p, nil
}

// Address is where the proxy listens.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// OnCommit sets who decides about commits, knowing what the transaction did
// first, such as "update builds"; nil: none is cut.
func (p *Proxy) OnCommit(f func(deed string) Cut) {
	if f == nil {
		p.decide.Store(nil)
		return
	}
	p.decide.Store(&f)
}

func (p *Proxy) ask(deed string) Cut {
	if f := p.decide.Load(); f != nil {
		return (*f)(deed)
	}
	return CutNot
}

// setWeather changes the network from now on.
func (p *Proxy) setWeather(w weather) {
	w.over = make(chan struct{})
	close(p.weak.Swap(&w).over)
}

// Reset ends every connection at once, as a host that lost its state does (RST).
func (p *Proxy) Reset() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.reset()
	}
	return len(p.links)
}

// Close ends everything.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listener.Close() // accept ends
	p.Reset()
	p.setWeather(weather{})
	p.done.Wait()
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.done.Go(func() { p.serve(c.(*net.TCPConn)) })
	}
}

// serve forwards one connection until an end of it closes or it is cut.
func (p *Proxy) serve(client *net.TCPConn) {
	defer client.Close()
	up, err := net.Dial("tcp", p.target)
	if err != nil {
		_ = client.SetLinger(0) // as a port where nobody listens
		return
	}
	server := up.(*net.TCPConn)
	defer server.Close()
	l := &link{proxy: p, client: client, server: server, names: map[string]string{}, portals: map[string]string{}, status: 'I'}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.links[l] = true
	p.mu.Unlock()
	var both sync.WaitGroup
	for _, f := range []func() error{l.forward, l.answer} {
		both.Go(func() {
			// Whatever ended it: nothing more is forwarded in either direction.
			if err := f(); errors.Is(err, errCut) {
				l.reset()
			}
			_ = client.Close()
			_ = server.Close()
		})
	}
	both.Wait()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

var errCut = errors.New("cut")

// link is one connection. forward owns names, portals, pending and deed; answer
// owns what is read from the server.
type link struct {
	proxy          *Proxy
	client, server *net.TCPConn
	names          map[string]string // SQL of prepared statements
	portals        map[string]string // SQL of portals
	pending        string            // SQL of what was executed since the last Sync
	deed           string            // the first thing that the transaction changes

	mu     sync.Mutex
	sent   int  // exchanges (Query or Sync) that were forwarded
	done   int  // … and were answered
	doomed int  // the exchange whose answer nobody gets; 0: none
	status byte // of the transaction, as the server said last: I, T or E
}

// reset ends the connection without a farewell.
func (l *link) reset() {
	_ = l.client.SetLinger(0) // RST instead of FIN
	_ = l.client.Close()
	_ = l.server.Close()
}

// pass waits until the weather lets something through in a direction.
func (l *link) pass(up bool) {
	for {
		w := l.proxy.weak.Load()
		if !(up && w.deafUp || !up && w.deafDown) {
			if w.latency > 0 {
				select {
				case <-time.After(w.latency):
				case <-w.over:
				}
			}
			return
		}
		<-w.over
	}
}

// write writes to an end in the given direction.
func (l *link) write(up bool, data []byte) error {
	l.pass(up)
	to := l.client
	if up {
		to = l.server
	}
	_, err := to.Write(data)
	return err
}

// forward carries messages to the server.
func (l *link) forward() error {
	if err := l.greet(); err != nil {
		return err
	}
	in := &messages{r: l.client}
	for {
		kind, body, raw, err := in.next()
		if err != nil {
			return err
		}
		cut := CutNot
		if l.commits(kind, body) {
			cut = l.proxy.ask(l.deed)
			l.deed = ""
		}
		if cut == CutBefore {
			return errCut
		}
		l.note(kind, cut)
		if err := l.write(true, raw); err != nil {
			return err
		}
	}
}

// note counts exchanges before they are forwarded.
func (l *link) note(kind byte, cut Cut) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if kind == 'Q' || kind == 'S' {
		l.sent++
	}
	if cut == CutAfter && l.doomed == 0 {
		l.doomed = l.sent
		if kind == 'E' {
			l.doomed++ // its Sync follows
		}
	}
}

// answer carries messages to the client.
func (l *link) answer() error {
	// The answer to a wish for TLS is a single byte, and not a message.
	in := &messages{r: l.server, greeting: true}
	for {
		kind, body, raw, err := in.next()
		if err != nil {
			return err
		}
		l.mu.Lock()
		lost := l.doomed != 0 && l.done == l.doomed-1
		if kind == 'Z' && len(body) == 1 && l.sent > 0 {
			l.done++
			l.status = body[0]
		}
		l.mu.Unlock()
		if lost {
			if kind == 'Z' {
				return errCut
			}
			continue
		}
		if err := l.write(false, raw); err != nil {
			return err
		}
	}
}

// greet forwards what comes before the first message: the start-up packet, and
// wishes for encryption.
func (l *link) greet() error {
	for {
		head := make([]byte, 8)
		if _, err := io.ReadFull(l.client, head); err != nil {
			return err
		}
		n := int(uint32(head[0])<<24 | uint32(head[1])<<16 | uint32(head[2])<<8 | uint32(head[3]))
		if n < 8 || n > 1<<20 {
			return errors.New("no start-up packet")
		}
		packet := append(head, make([]byte, n-8)...)
		if _, err := io.ReadFull(l.client, packet[8:]); err != nil {
			return err
		}
		if err := l.write(true, packet); err != nil {
			return err
		}
		if packet[4] == 0 && packet[5] == 3 {
			return nil
		}
	}
}
