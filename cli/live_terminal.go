package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/jobcontrol/jobcontrol"
)

const (
	drawPause = 100 * time.Millisecond // between two drawings, at least
	lookPause = 300 * time.Millisecond // between two looks at the progress of what is shown, at least
)

// picture draws a [live] at the bottom of a terminal, below everything that is
// written meanwhile. Whatever it writes leaves the cursor shown and at the
// beginning of the line below the picture: a program that dies at any moment leaves
// the terminal as it should be. All but the channel is guarded by the mutex of
// the streams.
type picture struct {
	s     *streams
	state live
	size  func() (width, height int)
	wake  chan struct{} // something is to be drawn

	pending []piece // what is to be written above the picture
	waiting int     // its bytes
	gap     int     // blank lines above those that are drawn
	drawn   []string
	width   int // of the window when they were drawn
	last    time.Time
}

// piece is text for one of the two streams.
type piece struct {
	text  string
	isErr bool
}

// maxWaiting is how many bytes wait for the next drawing at most.
const maxWaiting = 32 << 10

// begin shows what a Run does until end is called; a second call does nothing.
// Where standard output is no terminal nothing is shown and the picture is nil.
func (s *streams) begin(ctx context.Context, c jobcontrol.Reader) (p *picture, end func()) {
	if s.screen == nil || s.json() {
		return nil, func() {}
	}
	p = &picture{s: s, size: s.windowSize, wake: make(chan struct{}, 1), last: time.Now()}
	if s.colour {
		p.state.depth = s.depth
	}
	s.mu.Lock()
	s.picture = p
	s.mu.Unlock()
	// It goes on after the first Ctrl-C: the jobs do, too.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var parts sync.WaitGroup
	parts.Go(func() { p.draw(ctx) })
	parts.Go(func() { p.look(ctx, c) })
	return p, sync.OnceFunc(func() {
		cancel()
		parts.Wait()
		s.unpicture()
	})
}

// windowSize is that of the terminal; 0: it is not known.
func (s *streams) windowSize() (width, height int) {
	width, height, err := term.GetSize(int(s.screen.Fd()))
	if err != nil {
		return 0, 0
	}
	return width, height
}

// unpicture takes the picture away, if there is one.
func (s *streams) unpicture() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.picture; p != nil {
		p.state.rows = nil
		p.flush(time.Now())
		s.picture = nil
	}
}

// unpictureSoon is for a program that ends at once, even if its terminal takes nothing.
func (s *streams) unpictureSoon() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.unpicture()
	}()
	select {
	case <-done:
	case <-time.After(drawPause):
	}
}

// event changes the picture; it is seen with the next drawing. A nil picture takes it, too.
func (p *picture) event(e jobcontrol.Event) {
	if p == nil {
		return
	}
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.state.event(e, time.Now())
	p.changed()
}

func (p *picture) changed() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// add writes whole lines above the picture, at once or with the next drawing.
func (p *picture) add(x piece) {
	p.pending = append(p.pending, x)
	p.waiting += len(x.text)
	if now := time.Now(); p.waiting >= maxWaiting || now.Sub(p.last) >= drawPause {
		p.flush(now)
		return
	}
	p.changed()
}

// draw draws what has changed, until ctx ends.
func (p *picture) draw(ctx context.Context) {
	tick := time.NewTicker(lookPause) // ages grow
	defer tick.Stop()
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-resized:
		case <-p.wake:
			p.s.mu.Lock()
			wait := drawPause - time.Since(p.last)
			p.s.mu.Unlock()
			if wait > 0 {
				select {
				case <-ctx.Done():
					return
				case <-time.After(wait):
				}
			}
		}
		p.redraw()
	}
}

func (p *picture) redraw() {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.flush(time.Now())
}

// look reads the progress of the builds that are shown, until ctx ends. A store
// that is slow is asked less often; one that does not answer changes nothing.
func (p *picture) look(ctx context.Context, c jobcontrol.Reader) {
	pause := lookPause
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		begin := time.Now()
		for _, id := range p.shown() {
			if progress, err := c.Progress(ctx, id); err == nil && progress != nil {
				p.report(id, progress)
			}
		}
		pause = max(lookPause, 10*time.Since(begin))
	}
}

func (p *picture) shown() []int64 {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if _, height := p.size(); height >= leastHeight {
		return p.state.shown(height)
	}
	return nil
}

func (p *picture) report(build int64, progress *jobcontrol.ProgressNode) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.state.report(build, progress)
	p.changed()
}

// The control sequences that are used.
const (
	hideCursor = "\x1b[?25l"
	showCursor = "\x1b[?25h"
	noWrap     = "\x1b[?7l" // a character that is wider than it was thought does not shift the lines below
	wrap       = "\x1b[?7h"
	clearBelow = "\x1b[J"
	clearRight = "\x1b[K"
)

// clearAll clears from the beginning of a line that is not the last one. It does
// not do so from the first line of the window: tmux would keep what it clears there
// in its history.
const clearAll = clearRight + "\n" + clearBelow + "\x1b[1A"

// flush writes what waits and, if anything has changed, the picture below it.
func (p *picture) flush(now time.Time) {
	width, height := p.size()
	lines := p.state.lines(now, width, height)
	resized := width != p.width && len(p.drawn) > 0
	if len(p.pending) == 0 && !resized && slices.Equal(lines, p.drawn) {
		return
	}
	var b strings.Builder
	if len(p.drawn) > 0 {
		rows := p.rowsIn(width, height)
		p.widen(rows, len(lines), width, height)
		fmt.Fprintf(&b, "%s\x1b[%dA\r", hideCursor, rows)
		if len(p.pending) > 0 || resized {
			b.WriteString(clearAll)
		}
	}
	for _, x := range p.pending {
		if x.isErr {
			p.put(&b)
			_, _ = io.WriteString(p.s.err, x.text) // nowhere to report it
			continue
		}
		b.WriteString(escape(x.text, true))
	}
	if len(p.drawn) > 0 || len(lines) > 0 {
		b.WriteString(hideCursor + noWrap + strings.Repeat(clearRight+"\n", p.gap))
		for _, l := range lines {
			b.WriteString(l + clearRight + "\n")
		}
		b.WriteString(clearBelow + wrap + showCursor)
	}
	p.put(&b)
	p.pending, p.waiting, p.drawn, p.width, p.last = nil, 0, lines, width, now
}

// widen sets the gap above a picture of so many lines that takes the place of
// what takes so many rows now. In a window that has become narrower the cursor
// stays in its row: what the terminal moves into its history when the window
// becomes narrower still is then blank, and no old picture. What is written above
// the picture fills the gap.
func (p *picture) widen(rows, lines, columns, height int) {
	if lines == 0 || columns >= p.width && p.gap == 0 {
		p.gap = 0
		return
	}
	if columns < p.width {
		p.gap = rows - len(p.drawn)
	}
	for _, x := range p.pending {
		p.gap -= rowsOf(strings.Split(strings.TrimSuffix(x.text, "\n"), "\n"), columns)
	}
	p.gap = max(0, min(p.gap, height-1-lines))
}

// rowsIn is how many rows the picture takes in a window that may have become
// narrower: terminals break its lines then.
func (p *picture) rowsIn(columns, height int) int {
	rows := len(p.drawn)
	if columns < p.width {
		rows = rowsOf(p.drawn, columns)
	}
	rows += p.gap
	if height > 1 {
		rows = min(rows, height-1)
	}
	return rows
}

// rowsOf is how many rows lines take that a terminal breaks.
func rowsOf(lines []string, columns int) int {
	rows := 0
	for _, l := range lines {
		n := 1
		if columns > 0 {
			n = max(1, (width(visible(l))+columns-1)/columns)
		}
		rows += n
	}
	return rows
}

// put writes to the terminal, past its guard: all text in it is escaped already.
func (p *picture) put(b *strings.Builder) {
	if p.s.fault == nil && b.Len() > 0 {
		_, p.s.fault = io.WriteString(p.s.screen, b.String())
	}
	b.Reset()
}
