package sqlite

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/jobcontrol/jobcontrol"
)

// reader is a connection of the read pool, which cannot write.
type reader struct {
	c *conn // nil before first use
}

// read calls f with a connection that cannot write. All statements of f see the
// same state of the database.
func (s *Store) read(ctx context.Context, f func(*conn) error) error {
	return s.public(s.readOnce(ctx, true, f))
}

// readOne is read for an f that executes a single statement.
func (s *Store) readOne(ctx context.Context, f func(*conn) error) error {
	return s.public(s.readOnce(ctx, false, f))
}

func (s *Store) readOnce(ctx context.Context, snapshot bool, f func(*conn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var r *reader
	select {
	case <-ctx.Done():
		return ctx.Err()
	case r = <-s.readers:
	}
	defer func() { s.readers <- r }()
	if s.closed.Load() {
		return jobcontrol.Errorf(jobcontrol.Unavailable, "store unavailable: it is closed")
	}
	if err := s.file.same(); err != nil {
		return err
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	var err error
	if r.c == nil {
		pragmas := fmt.Sprintf(`PRAGMA busy_timeout = %d; `, s.opts.BusyTimeout.Milliseconds()) + readerPragmas
		if r.c, err = s.connect(pragmas); err != nil {
			return err
		}
	}
	broken := false
	err = safely(func() error {
		if !snapshot {
			return f(r.c)
		}
		if err := r.c.script("BEGIN"); err != nil {
			return err
		}
		err := f(r.c)
		broken = r.c.script("ROLLBACK") != nil
		return err
	})
	var p *panicked
	if broken || errors.As(err, &p) {
		r.discard()
	}
	return err
}

// discard closes a connection that may be broken.
func (r *reader) discard() {
	if r.c != nil {
		_ = safely(r.c.close) // nothing was written through it
	}
	r.c = nil
}
