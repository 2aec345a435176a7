package sqlite

import (
	"context"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// Of a log the first half of what may be kept is kept for good, and of the rest
// the newest chunks up to the other half. What is deleted between them leaves a
// gap in size_end and bytes_end, which the reader tells as dropped bytes.

const chunkColumns = `SELECT id, first_seq, count, level, since, until, size, size_end, bytes, bytes_end, tail, batch`

func scanChunk(r *row, build int64) (c codec.Chunk) {
	c.Number = r.int() - codec.Place(build, 0)
	c.First, c.Count, c.Level, c.Since, c.Until = r.int(), r.int(), jobcontrol.Level(r.int()), r.int(), r.int()
	c.Size, c.SizeEnd, c.Bytes, c.BytesEnd, c.Tail, c.Batch = r.int(), r.int(), r.int(), r.int(), r.int(), r.int()
	return c
}

// appendLogs stores the records of a report, unless they are those of the last one.
func (t *tx) appendLogs(build int64, log *codec.Log) error {
	if log == nil {
		return nil
	}
	from, to := codec.Span(build)
	var last codec.Chunk
	if _, err := t.first(func(r *row) { last = scanChunk(r, build) },
		chunkColumns+` FROM logs WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1`, from, to); err != nil {
		return err
	}
	half := t.s.opts.logBytes / 2
	for _, c := range log.After(last, half) {
		if _, err := t.exec(`INSERT INTO logs (id, first_seq, count, level, since, until, size, size_end, bytes, bytes_end, tail, batch, packed, data)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, codec.Place(build, c.Number), c.First, c.Count, int64(c.Level), c.Since, c.Until,
			c.Size, c.SizeEnd, c.Bytes, c.BytesEnd, c.Tail, c.Batch, c.Packed, c.Data); err != nil {
			return err
		}
		last = c
	}
	if !last.TooLong(half) {
		return nil
	}
	return t.trimLogs(build, &last, half)
}

// trimLogs deletes the oldest chunks of the tail until it is small enough.
func (t *tx) trimLogs(build int64, last *codec.Chunk, half int64) error {
	for {
		var c codec.Chunk
		if _, err := t.first(func(r *row) { c = scanChunk(r, build) },
			chunkColumns+` FROM logs WHERE id BETWEEN ? AND ? ORDER BY id LIMIT 1`, codec.Place(build, last.Tail), codec.Place(build, last.Number)); err != nil {
			return err
		}
		if !c.Surplus(last, half) {
			return nil
		}
		if _, err := t.exec(`DELETE FROM logs WHERE id = ?`, codec.Place(build, c.Number)); err != nil {
			return err
		}
	}
}

// Log reads a log; see [jobcontrol.Logs]. No transaction is open while yield is called.
func (s *Store) Log(ctx context.Context, build int64, f jobcontrol.LogFilter, yield func(jobcontrol.LogRecord) bool) error {
	if f.Tail > 0 {
		return s.logTail(ctx, build, f, yield)
	}
	r := logReader{s: s, build: build, f: f, yield: yield}
	if err := s.read(ctx, r.seek); err != nil {
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
	r := logReader{s: s, build: build, f: f}
	if err := s.readOne(ctx, r.exists); err != nil {
		return err
	}
	r.end.Number = codec.PerBuild
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
	s     *Store
	build int64
	f     jobcontrol.LogFilter
	yield func(jobcontrol.LogRecord) bool
	page  []codec.Chunk
	end   codec.Chunk // the last chunk that was seen
	count int         // records handed out
	done  bool
}

// seek finds the last chunk that begins at or before the first record that is
// wanted, so that a reader who follows a log does not read it all again.
func (r *logReader) seek(c *conn) error {
	if err := r.exists(c); err != nil {
		return err
	}
	from, to := codec.Span(r.build)
	newest, err := c.number(`SELECT max(id) FROM logs WHERE id BETWEEN ? AND ?`, from, to)
	if err != nil || newest == 0 || r.f.AfterSeq <= 0 {
		return err
	}
	for low, high := int64(1), newest-from; low <= high; {
		middle := (low + high) / 2
		var ch codec.Chunk
		if _, err := c.first(func(row *row) { ch = scanChunk(row, r.build) },
			chunkColumns+` FROM logs WHERE id BETWEEN ? AND ? ORDER BY id LIMIT 1`, from+middle, newest); err != nil {
			return err
		}
		if ch.First+ch.Count-1 <= r.f.AfterSeq {
			r.end, low = ch, ch.Number+1
		} else {
			high = middle - 1
		}
	}
	return nil
}

// exists tells whether there is the build.
func (r *logReader) exists(c *conn) error {
	n, err := c.number(`SELECT 1 FROM builds WHERE id = ?`, r.build)
	if err == nil && n == 0 {
		err = noBuild(r.build)
	}
	return err
}

// next reads the next page. The data of chunks that hold nothing wanted is not read.
func (r *logReader) next(c *conn) error {
	return r.read(c, `ORDER BY id`, r.end.Number+1, codec.PerBuild-1, logPage)
}

// previous reads the page before the last chunk that was seen, in reverse.
func (r *logReader) previous(c *conn) error {
	return r.read(c, `ORDER BY id DESC`, 0, r.end.Number-1, codec.TailPage)
}

func (r *logReader) read(c *conn, order string, from, to int64, n int) error {
	r.page = r.page[:0]
	return c.each(func(row *row) error {
		ch := scanChunk(row, r.build)
		ch.Packed, ch.Data = row.bool(), row.blob()
		r.page = append(r.page, ch)
		return nil
	}, chunkColumns+`, packed, CASE WHEN level >= ? AND until >= ? AND (? = 0 OR since < ?) THEN data END
		FROM logs WHERE id BETWEEN ? AND ? `+order+` LIMIT ?`,
		int64(r.f.MinLevel), r.f.Since, r.f.Until, r.f.Until, codec.Place(r.build, from), codec.Place(r.build, to), n)
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
