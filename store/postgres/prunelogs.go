package postgres

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
	if err := s.readOne(ctx, p.look); err != nil {
		return nil, err
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
	if err := s.write(ctx, "prune logs", p.remove); err != nil {
		return nil, err
	}
	return &p.done, nil
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
	build          int64
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
	}, `SELECT b.id FROM {history} b WHERE b.id > $1 AND ($2 = 0 OR b.id = $2)
		AND ($3 = '' OR b.head = (SELECT id FROM {heads} WHERE job = $3 AND project = $4)) ORDER BY b.id LIMIT $5`,
		p.After, p.Build, p.Job, p.Project, int64(p.n)); err != nil || len(builds) == 0 {
		return err
	}
	if len(builds) == p.n {
		p.done.Next = builds[p.n-1]
	}
	var maybe []prunedChunk
	if err := c.each(func(r *row) error {
		f := prunedChunk{build: r.int(), bytes: r.int()}
		f.was = scanChunk(r)
		maybe = append(maybe, f)
		return nil
	}, `SELECT build, length(data)::bigint, `+chunkColumns+` FROM {logs} WHERE build = ANY($1) AND since < $2 ORDER BY build, number`,
		builds, p.rules.Latest()); err != nil {
		return err
	}
	for i := range maybe {
		f := &maybe[i]
		if p.held > mostHeld && f.build != maybe[i-1].build {
			p.done.Next = maybe[i-1].build
			break
		}
		if err := p.lookAt(c, f); err != nil {
			return err
		}
	}
	return nil
}

// lookAt finds out what a chunk loses.
func (p *logPruning) lookAt(c *conn, f *prunedChunk) (err error) {
	if !p.rules.Cover(f.was.Level, f.was.Until) {
		if _, err := c.first(func(r *row) { f.was.Packed, f.was.Data = r.bool(), r.blob() },
			`SELECT packed, data FROM {logs} WHERE build = $1 AND number = $2`, f.build, f.was.Number); err != nil {
			return err
		}
		if f.was.Data == nil {
			return nil // deleted meanwhile
		}
	}
	if f.rest, err = f.was.Prune(p.rules); err != nil {
		return err
	}
	f.was.Data = nil
	f.records, f.bytes = f.was.Count-f.rest.Count, f.bytes-int64(len(f.rest.Data))
	if f.records > 0 {
		p.found = append(p.found, *f)
		p.held += len(f.rest.Data)
	}
	return nil
}

// remove stores the chunks without them. Those that somebody else pruned
// meanwhile stay as they are.
func (p *logPruning) remove(t *tx) error {
	p.done.Records, p.done.Bytes = 0, 0
	changed := make([]int64, len(p.found))
	for i := range p.found {
		f := &p.found[i]
		count := func(*row) error {
			changed[i]++
			return nil
		}
		if c := &f.rest; c.Count == 0 {
			t.queue(count, `DELETE FROM {logs} WHERE build = $1 AND number = $2 AND count = $3 AND size = $4 RETURNING 1::bigint`,
				f.build, f.was.Number, f.was.Count, f.was.Size)
		} else {
			t.queue(count, `UPDATE {logs} SET count = $5, level = $6::bigint, since = $7, until = $8, size = $9, bytes = $10, packed = $11, data = $12
				WHERE build = $1 AND number = $2 AND count = $3 AND size = $4 RETURNING 1::bigint`,
				f.build, f.was.Number, f.was.Count, f.was.Size, c.Count, int64(c.Level), c.Since, c.Until, c.Size, c.Bytes, c.Packed, c.Data)
		}
	}
	if err := t.send(); err != nil {
		return err
	}
	for i := range p.found {
		p.done.Records += changed[i] * p.found[i].records
		p.done.Bytes += changed[i] * p.found[i].bytes
	}
	return nil
}
