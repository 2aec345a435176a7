package postgres

import (
	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/codec"
)

// isPlain tells whether an end is what most are: the first attempt ran and was
// successful.
func (o *finishOp) isPlain() bool {
	a := &o.Attempt
	return o.State == jobcontrol.Successful && o.Changed && a.Number == 1 && a.Failure == nil && !a.StartedAt.IsZero() && !a.FinishedAt.IsZero()
}

// fits tells whether two ends may be written by one statement.
func (o *finishOp) fits(p *finishOp) bool {
	return o.plain == p.plain && (!o.plain || o.Claim.Worker == p.Claim.Worker && o.Claim.Epoch == p.Claim.Epoch)
}

// finishPlain is finishBuilds for plain ends of one worker: an end brings half as
// many values, of which each costs.
const finishPlain = `WITH w AS MATERIALIZED (SELECT 1 FROM {workers} WHERE id = $1 AND epoch = $2 AND NOT gone FOR KEY SHARE),
	d AS (DELETE FROM {builds} b USING unnest($3, $4, $5, $6, $7, $8) u(id, claim, started, finished, result, last)
		WHERE EXISTS (SELECT 1 FROM w) AND b.id = u.id AND b.claim = u.claim AND b.worker = $1 AND b.epoch = $2
			AND b.state IN (3, 4, 5) AND b.attempts = 0
		RETURNING ` + movedPlain + `, b.tries_used, b.lost, b.started_at, b.open, u.started, u.finished, u.result, u.last)
	INSERT INTO {history} (` + moved + `, state, attempts, tries_used, lost, started_at, finished_at, open, changed, last, result)
	SELECT ` + moved + `, 7, 1, d.tries_used + 1, d.lost, coalesce(d.started_at, d.started), d.finished, ` + openAfter + `, true, d.last, d.result
	FROM d RETURNING id, nullif(run, id), head, definition, nullif(phase, 0), NULL::bigint, NULL::bigint, dependants, pins`

// movedPlain are the moved columns, of b.
const movedPlain = `b.id, b.run, b.created_at, b.retry_delay, b.head, b.definition, b.service, b.phase, b.place, b.deps_left, b.tries, b.asked, b.priority,
		b.detached, b.cancel, b.origin, b.ready_at, b.worker, b.epoch, b.claim, b.ran, b.again_of, b.unique_key, b.key, b.dependants, b.pins, b.why, b.args, b.kwargs`

// plainArguments makes the arguments of finishPlain.
func plainArguments(ends []*finishOp) []any {
	n := len(ends)
	id, claim, started, finished := newList(oidInt, n, 12), newList(oidInt, n, 12), newList(oidInt, n, 12), newList(oidInt, n, 12)
	result, last := newList(oidText, n, 32), newList(oidBytes, n, 64)
	for _, o := range ends {
		id.int(o.Claim.Build)
		claim.int(o.Claim.Number)
		started.int(codec.Micros(o.Attempt.StartedAt))
		finished.int(codec.Micros(o.Attempt.FinishedAt))
		result.json(o.Result)
		last.blob(o.Data)
	}
	return []any{ends[0].Claim.Worker, ends[0].Claim.Epoch, id, claim, started, finished, result, last}
}
