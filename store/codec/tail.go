package codec

import (
	"slices"

	"github.com/jobcontrol/jobcontrol"
)

// Wanted tells whether a filter's times and AfterSeq select a record.
func Wanted(f *jobcontrol.LogFilter, r *jobcontrol.LogRecord) bool {
	return r.Seq > f.AfterSeq && !r.Time.Before(f.Since) && (f.Until.IsZero() || r.Time.Before(f.Until))
}

// TailPage is how many chunks are read at once from the end of a log: mostly one is enough.
const TailPage = 2

// ReadTail yields the last records that a filter with Tail selects. page returns the
// next TailPage chunks of the log, from the last one on, fewer only at its beginning;
// a chunk has Data if it may hold something that is wanted.
func ReadTail(f jobcontrol.LogFilter, page func() ([]Chunk, error), yield func(jobcontrol.LogRecord) bool) error {
	t := logTail{Filter: f}
	for more := true; more; {
		chunks, err := page()
		if err != nil {
			return err
		}
		for i := 0; i < len(chunks) && more; i++ {
			if more, err = t.add(&chunks[i]); err != nil {
				return err
			}
		}
		if more && len(chunks) < TailPage {
			t.end()
			break
		}
	}
	t.yield(yield)
	return nil
}

// logTail collects the last records that a filter with Tail selects, from the
// chunks of a log, which it is given from the last one on.
type logTail struct {
	Filter  jobcontrol.LogFilter
	newer   *Chunk                 // the chunk that it was given before; nil: none
	records []jobcontrol.LogRecord // the newest first
}

// add takes a chunk, with Data if it may hold something that is wanted, and tells
// whether the one before it is needed, too.
func (t *logTail) add(c *Chunk) (more bool, err error) {
	t.gap(c)
	if t.full() || c.First+c.Count-1 <= t.Filter.AfterSeq {
		return false, nil
	}
	if len(c.Data) > 0 {
		records, err := c.Records()
		if err != nil {
			return false, err
		}
		for i := range slices.Backward(records) {
			if records[i].Level >= t.Filter.MinLevel {
				t.take(&records[i])
			}
		}
	}
	bare := *c
	bare.Data = nil
	t.newer = &bare
	return !t.full(), nil
}

// end says that there is no chunk before the last one that was given.
func (t *logTail) end() { t.gap(&Chunk{}) }

// gap takes the record that stands for what is missing between a chunk and the one after it.
func (t *logTail) gap(before *Chunk) {
	if t.newer == nil {
		return
	}
	if r, missing := t.newer.Gap(before); missing {
		t.take(&r)
	}
}

func (t *logTail) take(r *jobcontrol.LogRecord) {
	if !t.full() && Wanted(&t.Filter, r) {
		t.records = append(t.records, *r)
	}
}

func (t *logTail) full() bool { return len(t.records) >= t.Filter.Tail }

// yield hands the records out in their order, at most Limit of them.
func (t *logTail) yield(yield func(jobcontrol.LogRecord) bool) {
	n := 0
	for _, r := range slices.Backward(t.records) {
		if n++; !yield(r) || n == t.Filter.Limit {
			return
		}
	}
}
