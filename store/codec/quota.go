package codec

import "github.com/jobcontrol/jobcontrol"

// After returns the chunks as they follow the last one of a log, which is the
// zero Chunk for a log that has none. Nothing follows if the report is the one
// that the log ended with: it is a repetition. Half is half of what may be kept.
func (l *Log) After(last Chunk, half int64) []Chunk {
	if l == nil || last.Batch == l.Batch {
		return nil
	}
	if last.First == 0 {
		last.First = 1
	}
	chunks := make([]Chunk, len(l.Chunks))
	for i, c := range l.Chunks {
		c.Number, c.First = last.Number+1, last.First+last.Count
		c.SizeEnd, c.BytesEnd = last.SizeEnd+c.Size, last.BytesEnd+c.Bytes
		if c.Tail = last.Tail; c.Tail == 0 && c.SizeEnd > half {
			c.Tail = c.Number
		}
		if i == len(l.Chunks)-1 {
			c.Batch = l.Batch
		}
		chunks[i], last = c, c
	}
	return chunks
}

// TooLong tells whether a log that ends with this chunk has more than may be kept.
func (c *Chunk) TooLong(half int64) bool { return c.Tail != 0 && c.SizeEnd > 2*half }

// Surplus tells whether a chunk of the tail is to be deleted from a log that ends
// with last: what follows it is half of what may be kept, or more.
func (c *Chunk) Surplus(last *Chunk, half int64) bool {
	return c.Number != last.Number && c.SizeEnd-c.Size < last.SizeEnd-half
}

// Gap returns a record that stands for what is missing between a chunk and the
// one that was read before it (the zero Chunk: none), and whether anything is.
func (c *Chunk) Gap(before *Chunk) (jobcontrol.LogRecord, bool) {
	gap := jobcontrol.LogRecord{
		Seq: c.First - 1, Time: TimeOf(c.Since), Level: jobcontrol.LevelWarning, Dropped: c.BytesEnd - c.Bytes - before.BytesEnd,
	}
	return gap, c.First > before.First+before.Count && before.Number+1 < c.Number
}
