package postgres

import (
	"context"
	"math"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// Log reads a log; see [jobcontrol.Logs]. No transaction is open while yield is called.
func (s *Store) Log(ctx context.Context, build int64, f jobcontrol.LogFilter, yield func(jobcontrol.LogRecord) bool) error {
	if f.Tail > 0 {
		return s.logTail(ctx, build, f, yield)
	}
	r := logReader{build: build, f: f, yield: yield}
	if err := s.readOne(ctx, r.seek); err != nil {
		return err
	}
	for !r.done {
		if err := s.readOne(ctx, r.next); err != nil {
			return err
		}
		for i := range r.page {
			if err := r.chunk(&r.page[i]); err != nil {
				return s.public(err)
			}
		}
		if len(r.page) < logPage {
			return nil
		}
	}
	return nil
}

// logPage is how many chunks are read at once.
const logPage = 8

// logTail is Log with a Tail: it reads from the end of the log.
func (s *Store) logTail(ctx context.Context, build int64, f jobcontrol.LogFilter, yield func(jobcontrol.LogRecord) bool) error {
	r := logReader{build: build, f: f}
	if err := s.readOne(ctx, r.exists); err != nil {
		return err
	}
	r.end.Number = math.MaxInt64
	return s.public(codec.ReadTail(f, func() ([]codec.Chunk, error) {
		err := s.readOne(ctx, r.previous)
		if n := len(r.page); n > 0 {
			r.end.Number = r.page[n-1].Number
		}
		return r.page, err
	}, yield))
}

// logReader hands out the records that a filter selects.
type logReader struct {
	build int64
	f     jobcontrol.LogFilter
	yield func(jobcontrol.LogRecord) bool
	page  []codec.Chunk
	end   codec.Chunk // the last chunk that was seen
	count int         // records handed out
	done  bool
}

// seek finds the last chunk before the first record that is wanted, from the
// end, so that a reader who follows a log does not read it all again.
func (r *logReader) seek(c *conn) error {
	found := false
	c.queue(func(*row) error { found = true; return nil }, `SELECT 1::bigint FROM {all_builds} WHERE id = $1`, r.build)
	r.end = codec.Chunk{}
	if r.f.AfterSeq > 0 {
		c.queue(func(row *row) error { r.end = scanChunk(row); return nil },
			`SELECT `+chunkColumns+` FROM {logs} WHERE build = $1 AND first_seq + count - 1 <= $2 ORDER BY number DESC LIMIT 1`, r.build, r.f.AfterSeq)
	}
	if err := c.send(); err != nil {
		return err
	}
	if !found {
		return noBuild(r.build)
	}
	return nil
}

// exists tells whether there is the build.
func (r *logReader) exists(c *conn) error {
	n, err := c.number(`SELECT 1::bigint FROM {all_builds} WHERE id = $1`, r.build)
	if err == nil && n == 0 {
		err = noBuild(r.build)
	}
	return err
}

// next reads the next page. The data of chunks that hold nothing wanted is not read.
func (r *logReader) next(c *conn) error {
	return r.read(c, `number > $2 ORDER BY number LIMIT $6`, logPage)
}

// previous reads the page before the last chunk that was seen, in reverse.
func (r *logReader) previous(c *conn) error {
	return r.read(c, `number < $2 ORDER BY number DESC LIMIT $6`, codec.TailPage)
}

func (r *logReader) read(c *conn, which string, n int) error {
	r.page = r.page[:0]
	return c.each(func(row *row) error {
		ch := scanChunk(row)
		ch.Packed, ch.Data = row.bool(), row.blob()
		r.page = append(r.page, ch)
		return nil
	}, `SELECT `+chunkColumns+`, packed, CASE WHEN level >= $3 AND until >= $4 AND ($5 = 0 OR since < $5) THEN data END
		FROM {logs} WHERE build = $1 AND `+which, r.build, r.end.Number, int64(r.f.MinLevel), r.f.Since, r.f.Until, int64(n))
}

// chunk hands out what is wanted of a chunk, and before it what is missing
// between the one before and it.
func (r *logReader) chunk(c *codec.Chunk) error {
	gap, missing := c.Gap(&r.end)
	r.end = *c
	r.end.Data = nil
	if missing {
		r.give(&gap)
	}
	if len(c.Data) == 0 {
		return nil
	}
	records, err := c.Records()
	for i := range records {
		if records[i].Level >= r.f.MinLevel {
			r.give(&records[i])
		}
	}
	return err
}

func (r *logReader) give(rec *jobcontrol.LogRecord) {
	if r.done || !codec.Wanted(&r.f, rec) {
		return
	}
	r.count++
	r.done = !r.yield(*rec) || r.count == r.f.Limit
}
