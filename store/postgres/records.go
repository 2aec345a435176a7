package postgres

import (
	"crypto/sha256"
	"encoding/json"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// logRow is a row of table logs.
type logRow struct {
	build int64
	codec.Chunk
}

const chunkColumns = `number, first_seq, count, level, since, until, size, size_end, bytes, bytes_end, tail, batch`

func scanChunk(r *row) (c codec.Chunk) {
	c.Number, c.First, c.Count, c.Level = r.int(), r.int(), r.int(), jobcontrol.Level(r.int())
	c.Since, c.Until, c.Size, c.SizeEnd, c.Bytes, c.BytesEnd = r.int(), r.int(), r.int(), r.int(), r.int(), r.int()
	c.Tail, c.Batch = r.int(), r.int()
	return c
}

// queueLast queues the reading of the last chunks of logs.
func (t *tx) queueLast(builds []int64) map[int64]codec.Chunk {
	last := map[int64]codec.Chunk{}
	if len(builds) > 0 {
		t.queue(func(r *row) error {
			build := r.int()
			last[build] = scanChunk(r)
			return nil
		}, `SELECT u.id, l.* FROM unnest($1) u(id) CROSS JOIN LATERAL
			(SELECT `+chunkColumns+` FROM {logs} WHERE build = u.id ORDER BY number DESC LIMIT 1) l`, builds)
	}
	return last
}

// queueLastChunks is queueLast for those of the ends that have log records.
func (t *tx) queueLastChunks(list []*finishOp) map[int64]codec.Chunk {
	var builds []int64
	for _, o := range list {
		if o.Log != nil {
			builds = append(builds, o.Claim.Build)
		}
	}
	return t.queueLast(builds)
}

// appendLog adds records to a log whose last chunk is known.
func (t *tx) appendLog(build int64, log *codec.Log, last map[int64]codec.Chunk) {
	half := t.s.opts.logBytes / 2
	for _, c := range log.After(last[build], half) {
		t.logs = append(t.logs, logRow{build, c})
		c.Data = nil
		last[build] = c
	}
	if c := last[build]; c.TooLong(half) {
		t.trims = append(t.trims, logRow{build, c})
	}
}

// flushLogs queues what was added to logs, and removes what they may not keep.
func (t *tx) flushLogs() {
	if n := len(t.logs); n > 0 {
		lists := make([]*list, 13)
		args := make([]any, 15)
		for i := range lists {
			lists[i] = newList(oidInt, n, 12)
			args[i] = lists[i]
		}
		packed, data := newList(oidBool, n, 5), newList(oidBytes, n, 256)
		args[13], args[14] = packed, data
		for i := range t.logs {
			c := &t.logs[i]
			for j, v := range []int64{
				c.build, c.Number, c.First, c.Count, int64(c.Level), c.Since, c.Until, c.Size, c.SizeEnd, c.Bytes, c.BytesEnd, c.Tail, c.Batch,
			} {
				lists[j].int(v)
			}
			packed.bool(c.Packed)
			data.raw(c.Data)
		}
		t.queue(nil, `INSERT INTO {logs} (build, `+chunkColumns+`, packed, data)
			SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`, args...)
	}
	half := t.s.opts.logBytes / 2
	for _, c := range t.trims {
		t.queue(nil, `DELETE FROM {logs} WHERE build = $1 AND number >= $2 AND number < $3 AND size_end - size < $4`,
			c.build, c.Tail, c.Number, c.SizeEnd-half)
	}
	t.logs, t.trims = nil, nil
}

// progressRow is a row of table progress.
type progressRow struct {
	build int64
	path  string
	jobcontrol.Progress
}

// putProgress adds reports: of each path the last one counts.
func (t *tx) putProgress(build int64, reports []jobcontrol.Progress) error {
	for i := range reports {
		p := jobcontrol.ClampProgress(reports[i])
		path, err := json.Marshal(append([]string{}, p.Path...))
		if err != nil {
			return err
		}
		t.steps = append(t.steps, progressRow{build, string(path), p})
	}
	return nil
}

// flushProgress queues the reports, in order of first appearance, of at most so
// many paths.
func (t *tx) flushProgress() {
	if len(t.steps) == 0 {
		return
	}
	type key struct {
		build int64
		path  string
	}
	index := map[key]int{}
	var rows []progressRow
	for _, p := range t.steps {
		k := key{p.build, p.path}
		if i, ok := index[k]; ok {
			rows[i] = p
			continue
		}
		index[k] = len(rows)
		rows = append(rows, p)
	}
	t.steps = nil
	n := len(rows)
	build, current, total := newList(oidInt, n, 12), newList(oidInt, n, 12), newList(oidInt, n, 12)
	hash, path, status := newList(oidBytes, n, 20), newList(oidText, n, 32), newList(oidText, n, 32)
	number := func(l *list, v *int64) {
		if v == nil {
			l.null()
			return
		}
		l.int(*v)
	}
	for i := range rows {
		p := &rows[i]
		sum := sha256.Sum256([]byte(p.path))
		build.int(p.build)
		hash.raw(sum[:16])
		path.text(p.path)
		number(current, p.Current)
		number(total, p.Total)
		status.optional(p.Status)
	}
	t.queue(nil, putProgress, build, hash, path, current, total, status, int64(jobcontrol.MaxProgressRows))
}

const putProgress = `WITH u AS MATERIALIZED (SELECT * FROM unnest($1, $2, $3, $4, $5, $6) WITH ORDINALITY u(build, hash, path, current, total, status, place)),
	m AS MATERIALIZED (SELECT p.build, max(p.number) AS number FROM {progress} p WHERE p.build = ANY($1) GROUP BY p.build),
	o AS (UPDATE {progress} p SET current = u.current, total = u.total, status = u.status FROM u WHERE p.build = u.build AND p.hash = u.hash)
	INSERT INTO {progress} (build, hash, path, current, total, status, number)
	SELECT * FROM (SELECT u.build, u.hash, u.path, u.current, u.total, u.status,
			coalesce(m.number, 0) + row_number() OVER (PARTITION BY u.build ORDER BY u.place) AS number
		FROM u LEFT JOIN m ON m.build = u.build
		WHERE NOT EXISTS (SELECT 1 FROM {progress} p WHERE p.build = u.build AND p.hash = u.hash)) n
	WHERE n.number <= $7`
