package worker

import (
	"context"
	"errors"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// holdFor is how long a claimed build may wait for a slot before it is given
// back: what was expected to be short is not.
const holdFor = time.Second

// mark marks attempts that have been executed for a while as running, and gives
// back builds that have waited for a slot for too long, until ctx ends.
func (t *term) mark(ctx context.Context) {
	repeat(ctx, t.marking, 0, 0, func(context.Context) time.Duration {
		claims, starts, marked := t.unmarked(time.Now())
		if len(claims) > 0 {
			t.storeMarks(claims, starts, marked)
		}
		return t.untilMark(time.Now())
	})
}

// unmarked returns the attempts that are to be marked now.
func (t *term) unmarked(now time.Time) (claims []jobcontrol.Claim, starts []time.Time, marked []*holding) {
	done := make(chan struct{})
	t.mu.Lock()
	defer t.mu.Unlock()
	here := t.now()
	for _, k := range t.begun {
		if k.ended || k.marked || now.Sub(k.started) < markAfter {
			continue
		}
		k.marked, k.marking = true, done
		marked = append(marked, k)
		claims = append(claims, k.build.Claim)
		starts = append(starts, jobcontrol.Micros(here.Add(k.started.Sub(now))))
	}
	return claims, starts, marked
}

// storeMarks stores marks. Ends of these attempts are stored afterwards, so that
// one that comes too late hinders no other.
func (t *term) storeMarks(claims []jobcontrol.Claim, starts []time.Time, marked []*holding) {
	err := t.at("worker.mark.before")
	if err == nil {
		err = t.cfg.Store.Start(t.life, claims, starts)
	}
	if err == nil {
		err = t.at("worker.mark.after")
	}
	each := make([]error, len(claims))
	for i := range claims {
		each[i] = err
		if err != nil && len(claims) > 1 && !errors.Is(err, jobcontrol.ErrUnavailable) {
			// One is refused: the others are marked all the same.
			each[i] = t.cfg.Store.Start(t.life, claims[i:i+1], starts[i:i+1])
		}
	}
	t.heard("mark attempts as running", errors.Join(each...))
	t.mu.Lock()
	defer t.mu.Unlock()
	close(marked[0].marking)
	for i, k := range marked {
		k.marking = nil
		k.marked = !errors.Is(each[i], jobcontrol.ErrUnavailable)
	}
}

// untilMark is when to look again.
func (t *term) untilMark(now time.Time) time.Duration {
	wait := time.Hour
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range t.begun {
		if !k.ended && !k.marked {
			wait = min(wait, max(markAfter-now.Sub(k.started), time.Millisecond))
		}
	}
	if t.waiting() > 0 {
		held := now.Sub(t.queue[t.head].claimed)
		if held >= holdFor && !t.closing {
			// The mean follows what was executed; this is known before.
			t.mean = max(t.mean, holdFor)
			t.group.Go(t.giveBackQueue)
		}
		wait = min(wait, max(holdFor-held, markAfter))
	}
	t.sleeping = wait == time.Hour
	return wait
}
