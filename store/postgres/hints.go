package postgres

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// news is what a transaction did that may concern others.
type news struct {
	ready     bool // a build became ready, or a clean-up step is due
	scheduled bool // a build was scheduled, perhaps as the next one
	stop      bool // a worker is to stop something
	worker    bool // a worker came or went
}

func (n news) any() bool { return n.ready || n.scheduled || n.stop || n.worker }

// hints tells those who listen, in this program at once, and in others by
// notifications. These are sent after the commit, from a connection of their
// own, a few together: notifications that are part of transactions make their
// commits wait for each other.
type hints struct {
	s      *Store
	config *pgx.ConnConfig
	self   string // marks our own notifications
	line   *line
	ctx    context.Context // until close
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu        sync.Mutex
	listeners map[*func()]bool
	sending   bool      // a goroutine sends
	pending   bool      // there is something to be told
	credit    float64   // how many notifications may be sent at once
	at        time.Time // when that was so
}

// Notifications: so many at once, so many a second.
const (
	hintBurst = 10
	hintRate  = 100
)

func newHints(s *Store, config *pgx.ConnConfig) *hints {
	var self [8]byte
	_, _ = rand.Read(self[:]) // never fails (crypto/rand)
	h := &hints{s: s, config: config, self: hex.EncodeToString(self[:]), line: newLine(config), listeners: map[*func()]bool{}, credit: hintBurst}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h
}

func (h *hints) close() {
	h.cancel()
	h.done.Wait()
	h.line.close()
}

// channel is the name of the notifications, one for each set of tables.
func (h *hints) channel() string {
	name := h.s.opts.TablePrefix + "hints"
	if h.s.opts.Schema != "" {
		name = h.s.opts.Schema + "." + name
	}
	return name[:min(len(name), 63)]
}

// tell tells everybody what was committed.
func (h *hints) tell(n news) {
	if !n.any() {
		return
	}
	h.wakeAll()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pending = true
	if !h.sending && !h.s.opts.Pooled && h.ctx.Err() == nil {
		h.sending = true
		h.done.Add(1)
		go h.send()
	}
}

func (h *hints) wakeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for wake := range h.listeners {
		(*wake)()
	}
}

// send sends notifications while there is something to be told.
func (h *hints) send() {
	defer h.done.Done()
	for {
		h.mu.Lock()
		if !h.pending || h.ctx.Err() != nil {
			h.sending = false
			h.mu.Unlock()
			return
		}
		now := time.Now()
		h.credit = min(hintBurst, h.credit+now.Sub(h.at).Seconds()*hintRate)
		h.at = now
		if h.credit < 1 {
			h.mu.Unlock()
			select {
			case <-time.After(time.Second / hintRate):
			case <-h.ctx.Done():
			}
			continue
		}
		h.credit--
		h.pending = false
		h.mu.Unlock()
		ctx, cancel := context.WithTimeout(h.ctx, 5*time.Second)
		// It makes nothing durable. Should it fail: behind each hint stands a poll.
		_ = h.line.use(ctx, h.s, func(c *conn) error {
			_, err := c.exec(`SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)`, h.channel(), h.self)
			return err
		})
		cancel()
	}
}

// Listen calls wake when something was written that may concern a worker; see
// [jobcontrol.Hints].
func (s *Store) Listen(ctx context.Context, wake func()) error {
	if s.opts.Pooled {
		return nil
	}
	h := s.hints
	h.mu.Lock()
	h.listeners[&wake] = true
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.listeners, &wake)
		h.mu.Unlock()
	}()
	h.done.Add(1)
	defer h.done.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(h.ctx, cancel)()
	for n := 0; ctx.Err() == nil; n++ {
		began := time.Now()
		_ = h.listen(ctx, wake) // the connection was lost, or there is none: try again
		if time.Since(began) > time.Minute {
			n = 0
		}
		d := time.Duration(float64(100*time.Millisecond<<min(n, 6)) * (0.5 + mathrand.Float64()))
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
	return nil
}

// listen listens on a connection until that ends.
func (h *hints) listen(ctx context.Context, wake func()) error {
	c, err := pgx.ConnectConfig(ctx, h.config)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = c.Close(ctx) // nothing was written
	}()
	if _, err := c.Exec(ctx, `LISTEN "`+h.channel()+`"`); err != nil {
		return err
	}
	wake() // what was told before
	for {
		n, err := c.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		if n.Payload != h.self {
			wake()
		}
	}
}

// line is a connection for one purpose, which is opened when it is needed.
type line struct {
	config *pgx.ConnConfig
	turn   chan struct{} // of who uses c
	c      *pgx.Conn
	closed bool
}

func newLine(config *pgx.ConnConfig) *line {
	return &line{config: config, turn: make(chan struct{}, 1)}
}

// use gives f the connection. f is executed again if the connection turns out to
// have been lost.
func (l *line) use(ctx context.Context, s *Store, f func(*conn) error) error {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if l.closed {
		return errClosed
	}
	for fresh := false; ; {
		if l.c == nil || l.c.IsClosed() {
			c, err := pgx.ConnectConfig(ctx, l.config)
			if err != nil {
				return err
			}
			l.c, fresh = c, true
		}
		err := f(newConn(ctx, s, l.c.PgConn()))
		if fresh || !disconnected(err) || errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		l.c = nil
	}
}

func (l *line) close() {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	l.closed = true
	if l.c != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = l.c.Close(ctx) // it has no transaction open
	}
}
