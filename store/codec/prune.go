package codec

import "github.com/jobcontrol/jobcontrol"

// LogRules are the rules of a [jobcontrol.LogPruning]: together they select the
// records that one of them selects.
type LogRules []jobcontrol.LogRule

// Latest is a time, in microseconds, from which on no record is selected.
func (rules LogRules) Latest() int64 {
	latest := int64(-1 << 63)
	for _, r := range rules {
		if !r.Before.IsZero() {
			latest = max(latest, Micros(r.Before))
		}
	}
	return latest
}

// Cover tells whether every record that is not later and not of a higher level
// than given is selected: a chunk with these bounds goes as a whole.
func (rules LogRules) Cover(level jobcontrol.Level, until int64) bool {
	for _, r := range rules {
		if (r.Level == 0 || level <= r.Level) && !r.Before.IsZero() && until < Micros(r.Before) {
			return true
		}
	}
	return false
}

// Prune returns a chunk without the records that the rules select, at the same
// place in its log; one with Count 0 is to be deleted. The sums up to it stay: a
// reader tells what is missing between two chunks.
func (c *Chunk) Prune(rules LogRules) (Chunk, error) {
	if rules.Cover(c.Level, c.Until) {
		return Chunk{}, nil
	}
	records, err := c.Records()
	if err != nil {
		return Chunk{}, err
	}
	var w chunkWriter
	for i := range records {
		if rules.Cover(records[i].Level, Micros(records[i].Time)) {
			continue
		}
		if err := w.add(&records[i]); err != nil {
			return Chunk{}, err
		}
	}
	switch w.c.Count {
	case 0:
		return Chunk{}, nil
	case c.Count:
		return *c, nil
	}
	rest := w.chunk()
	rest.Number, rest.First, rest.SizeEnd, rest.BytesEnd, rest.Tail, rest.Batch = c.Number, c.First, c.SizeEnd, c.BytesEnd, c.Tail, c.Batch
	return rest, nil
}
