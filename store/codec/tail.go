package codec

import (
	"slices"

	"github.com/jobcontrol/jobcontrol"
)

// Wanted tells whether a filter's times and AfterSeq select a record.
func Wanted(f *jobcontrol.LogFilter, r *jobcontrol.LogRecord) bool {
	return r.Seq > f.AfterSeq && !r.Time.Before(f.Since) && (f.Until.IsZero() || r.Time.Before(f.Until))
}

// LogTail collects the last records that a filter with Tail selects, from the
// chunks of a log, which it is given from the last one on.
type LogTail struct {
	Filter  jobcontrol.LogFilter
	newer   *Chunk                 // the chunk that it was given before; nil: none
	records []jobcontrol.LogRecord // the newest first
}

// Add takes a chunk, with Data if it may hold something that is wanted, and tells
// whether the one before it is needed, too.
func (t *LogTail) Add(c *Chunk) (more bool, err error) {
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

// End says that there is no chunk before the last one that was given.
func (t *LogTail) End() { t.gap(&Chunk{}) }

// gap takes the record that stands for what is missing between a chunk and the one after it.
func (t *LogTail) gap(before *Chunk) {
	if t.newer == nil {
		return
	}
	if r, missing := t.newer.Gap(before); missing {
		t.take(&r)
	}
}

func (t *LogTail) take(r *jobcontrol.LogRecord) {
	if !t.full() && Wanted(&t.Filter, r) {
		t.records = append(t.records, *r)
	}
}

func (t *LogTail) full() bool { return len(t.records) >= t.Filter.Tail }

// Yield hands the records out in their order, at most Limit of them.
func (t *LogTail) Yield(yield func(jobcontrol.LogRecord) bool) {
	n := 0
	for _, r := range slices.Backward(t.records) {
		if n++; !yield(r) || n == t.Filter.Limit {
			return
		}
	}
}
