package sqlite

import (
	"context"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// PruneLogs removes log records; see [jobcontrol.Retention]. Of the logs of final
// builds nothing but this and their deletion changes: what goes is found before
// the transaction that removes it.
func (s *Store) PruneLogs(ctx context.Context, what jobcontrol.LogPruning, n int) (*jobcontrol.PrunedLogs, error) {
	p := &logPruning{LogPruning: what, rules: what.Rules, n: max(n, 1)}
	if err := s.read(ctx, p.look); err != nil {
		return nil, s.public(err)
	}
	if what.DryRun {
		for i := range p.found {
			p.done.Records += p.found[i].records
			p.done.Bytes += p.found[i].bytes
		}
		return &p.done, nil
	}
	if len(p.found) == 0 {
		return &p.done, nil
	}
	err := s.write(ctx, "prune logs", p.remove)
	return &p.done, err
}

// logPruning is one call of PruneLogs.
type logPruning struct {
	jobcontrol.LogPruning
	rules codec.LogRules
	n     int
	found []prunedChunk
	held  int // bytes of found
	done  jobcontrol.PrunedLogs
}

// prunedChunk is a chunk that loses records.
type prunedChunk struct {
	id             int64
	was, rest      codec.Chunk
	records, bytes int64 // that it loses
}

// mostHeld is how many bytes are rewritten in one transaction, about.
const mostHeld = 4 << 20

// look finds the chunks that lose records.
func (p *logPruning) look(c *conn) error {
	p.found, p.held, p.done = nil, 0, jobcontrol.PrunedLogs{}
	var builds []int64
	if err := c.each(func(r *row) error {
		builds = append(builds, r.int())
		return nil
	}, `SELECT b.id FROM builds b WHERE b.id > ? AND b.state >= 7 AND (? = 0 OR b.id = ?)
		AND (? = '' OR b.head = (SELECT id FROM heads WHERE job = ? AND project = ?)) ORDER BY b.id LIMIT ?`,
		p.After, p.Build, p.Build, p.Job, p.Job, p.Project, p.n); err != nil {
		return err
	}
	if len(builds) == p.n {
		p.done.Next = builds[p.n-1]
	}
	for _, id := range builds {
		if err := p.lookAt(c, id); err != nil {
			return err
		}
		if p.held > mostHeld {
			p.done.Next = id
			break
		}
	}
	return nil
}

// lookAt finds them in one log.
func (p *logPruning) lookAt(c *conn, build int64) error {
	from, to := codec.Span(build)
	first := len(p.found)
	if err := c.each(func(r *row) error {
		ch := scanChunk(r, build)
		p.found = append(p.found, prunedChunk{id: codec.Place(build, ch.Number), was: ch, bytes: r.int()})
		return nil
	}, chunkColumns+`, length(data) FROM logs WHERE id BETWEEN ? AND ? AND since < ? ORDER BY id`, from, to, p.rules.Latest()); err != nil {
		return err
	}
	kept := p.found[:first]
	for _, f := range p.found[first:] {
		if !p.rules.Cover(f.was.Level, f.was.Until) {
			if _, err := c.first(func(r *row) { f.was.Packed, f.was.Data = r.bool(), r.blob() },
				`SELECT packed, data FROM logs WHERE id = ?`, f.id); err != nil {
				return err
			}
		}
		var err error
		if f.rest, err = f.was.Prune(p.rules); err != nil {
			return err
		}
		f.was.Data = nil
		f.records, f.bytes = f.was.Count-f.rest.Count, f.bytes-int64(len(f.rest.Data))
		if f.records > 0 {
			kept = append(kept, f)
			p.held += len(f.rest.Data)
		}
	}
	p.found = kept
	return nil
}

// remove stores the chunks without them. Those that somebody else pruned
// meanwhile stay as they are.
func (p *logPruning) remove(t *tx) error {
	p.done.Records, p.done.Bytes = 0, 0
	for i := range p.found {
		f := &p.found[i]
		var n int64
		var err error
		if c := &f.rest; c.Count == 0 {
			n, err = t.exec(`DELETE FROM logs WHERE id = ? AND count = ? AND size = ?`, f.id, f.was.Count, f.was.Size)
		} else {
			n, err = t.exec(`UPDATE logs SET count = ?, level = ?, since = ?, until = ?, size = ?, bytes = ?, packed = ?, data = ?
				WHERE id = ? AND count = ? AND size = ?`,
				c.Count, int64(c.Level), c.Since, c.Until, c.Size, c.Bytes, c.Packed, c.Data, f.id, f.was.Count, f.was.Size)
		}
		if err != nil {
			return err
		}
		p.done.Records += n * f.records
		p.done.Bytes += n * f.bytes
	}
	return nil
}
