package postgres

import (
	"context"
	"sync/atomic"
	"time"
)

// ahead is for how long history has tables before they are needed.
const ahead = 3 * 24 * time.Hour

// extended remembers until when history has tables, so that asking for more
// costs nothing. The zero value knows of none.
type extended struct{ until atomic.Int64 }

// extend makes tables of history ahead of time, by the server's clock; our own
// one tells only when to ask. That it cannot be done now is no error: what has no
// table of its own yet goes to history_rest, and the next call tries again.
func (s *Store) extend(ctx context.Context) {
	if s.history.until.Load() > time.Now().Add(ahead/2).UnixMicro() {
		return
	}
	_ = s.use(ctx, func(c *conn) error { // see above
		until, err := c.number(`SELECT {extend_history}(`+clock+` + $1)`, ahead.Microseconds())
		if err == nil {
			s.history.until.Store(until)
		}
		return err
	})
}
