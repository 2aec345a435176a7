package sqlite

import (
	"context"

	"github.com/jobcontrol/jobcontrol"
)

// Of a log the first half of what may be kept is kept for good, and of the rest
// the newest chunks up to the other half. What is deleted between them leaves a
// gap in size_end and bytes_end, which the reader tells as dropped bytes.

const chunkColumns = `SELECT id, first_seq, count, level, since, until, size, size_end, bytes, bytes_end, tail, batch`

func scanChunk(r *row, build int64) (c chunk) {
	c.number = r.int() - place(build, 0)
	c.first, c.count, c.level, c.since, c.until = r.int(), r.int(), jobcontrol.Level(r.int()), r.int(), r.int()
	c.size, c.sizeEnd, c.bytes, c.bytesEnd, c.tail, c.batch = r.int(), r.int(), r.int(), r.int(), r.int(), r.int()
	return c
}

// appendLogs stores the records of a report, unless they are those of the last one.
func (t *tx) appendLogs(build int64, p *packedLogs) error {
	if p == nil {
		return nil
	}
	from, to := span(build)
	end := chunk{first: 1} // the last chunk
	if _, err := t.first(func(r *row) { end = scanChunk(r, build) },
		chunkColumns+` FROM logs WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1`, from, to); err != nil {
		return err
	}
	if end.batch == p.batch {
		return nil
	}
	half := t.s.opts.logBytes / 2
	for i := range p.chunks {
		c := p.chunks[i]
		c.number, c.first = end.number+1, end.first+end.count
		c.sizeEnd, c.bytesEnd = end.sizeEnd+c.size, end.bytesEnd+c.bytes
		if c.tail = end.tail; c.tail == 0 && c.sizeEnd > half {
			c.tail = c.number
		}
		if i == len(p.chunks)-1 {
			c.batch = p.batch
		}
		if _, err := t.exec(`INSERT INTO logs (id, first_seq, count, level, since, until, size, size_end, bytes, bytes_end, tail, batch, packed, data)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, place(build, c.number), c.first, c.count, int64(c.level), c.since, c.until,
			c.size, c.sizeEnd, c.bytes, c.bytesEnd, c.tail, c.batch, c.packed, c.data); err != nil {
			return err
		}
		end = c
	}
	if end.tail == 0 || end.sizeEnd <= 2*half {
		return nil
	}
	return t.trimLogs(build, end, half)
}

// trimLogs deletes the oldest chunks of the tail until it is small enough.
func (t *tx) trimLogs(build int64, end chunk, half int64) error {
	for {
		var c chunk
		if _, err := t.first(func(r *row) { c = scanChunk(r, build) },
			chunkColumns+` FROM logs WHERE id BETWEEN ? AND ? ORDER BY id LIMIT 1`, place(build, end.tail), place(build, end.number)); err != nil {
			return err
		}
		if c.number == end.number || c.sizeEnd-c.size >= end.sizeEnd-half {
			return nil
		}
		if _, err := t.exec(`DELETE FROM logs WHERE id = ?`, place(build, c.number)); err != nil {
			return err
		}
	}
}

// Log reads a log; see [jobcontrol.Logs]. No transaction is open while yield is called.
func (s *Store) Log(ctx context.Context, build int64, f jobcontrol.LogFilter, yield func(jobcontrol.LogRecord) bool) error {
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

// logReader hands out the records that a filter selects.
type logReader struct {
	s     *Store
	build int64
	f     jobcontrol.LogFilter
	yield func(jobcontrol.LogRecord) bool
	page  []chunk
	end   chunk // the last chunk that was seen
	count int   // records handed out
	done  bool
}

// seek finds the last chunk that begins at or before the first record that is
// wanted, so that a reader who follows a log does not read it all again.
func (r *logReader) seek(c *conn) error {
	n, err := c.number(`SELECT 1 FROM builds WHERE id = ?`, r.build)
	if err != nil {
		return err
	}
	if n == 0 {
		return noBuild(r.build)
	}
	from, to := span(r.build)
	newest, err := c.number(`SELECT max(id) FROM logs WHERE id BETWEEN ? AND ?`, from, to)
	if err != nil || newest == 0 || r.f.AfterSeq <= 0 {
		return err
	}
	for low, high := int64(1), newest-from; low <= high; {
		middle := (low + high) / 2
		var ch chunk
		if _, err := c.first(func(row *row) { ch = scanChunk(row, r.build) },
			chunkColumns+` FROM logs WHERE id BETWEEN ? AND ? ORDER BY id LIMIT 1`, from+middle, newest); err != nil {
			return err
		}
		if ch.first+ch.count-1 <= r.f.AfterSeq {
			r.end, low = ch, ch.number+1
		} else {
			high = middle - 1
		}
	}
	return nil
}

// next reads the next page. The data of chunks that hold nothing wanted is not read.
func (r *logReader) next(c *conn) error {
	r.page = r.page[:0]
	return c.each(func(row *row) error {
		ch := scanChunk(row, r.build)
		ch.packed, ch.data = row.bool(), row.blob()
		r.page = append(r.page, ch)
		return nil
	}, chunkColumns+`, packed, CASE WHEN level >= ? AND until >= ? AND (? = 0 OR since < ?) THEN data END
		FROM logs WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?`,
		int64(r.f.MinLevel), r.f.Since, r.f.Until, r.f.Until, place(r.build, r.end.number+1), place(r.build, perBuild-1), logPage)
}

// chunk hands out what is wanted of a chunk, and before it what is missing
// between the one before and it.
func (r *logReader) chunk(c *chunk) error {
	gap := jobcontrol.LogRecord{
		Seq: c.first - 1, Time: timeOf(c.since), Level: jobcontrol.LevelWarning, Dropped: c.bytesEnd - c.bytes - r.end.bytesEnd,
	}
	missing := c.first > r.end.first+r.end.count && r.end.number+1 < c.number
	r.end = *c
	r.end.data = nil
	if missing {
		r.give(&gap)
	}
	if len(c.data) == 0 {
		return nil
	}
	records, err := c.records()
	for i := range records {
		if records[i].Level >= r.f.MinLevel {
			r.give(&records[i])
		}
	}
	return err
}

func (r *logReader) give(rec *jobcontrol.LogRecord) {
	if r.done || rec.Seq <= r.f.AfterSeq || rec.Time.Before(r.f.Since) || !r.f.Until.IsZero() && !rec.Time.Before(r.f.Until) {
		return
	}
	r.count++
	r.done = !r.yield(*rec) || r.count == r.f.Limit
}
