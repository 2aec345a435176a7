package sqlite

import (
	"strconv"

	"github.com/jobcontrol/jobcontrol"
)

// A claim of many builds is one row of table claims, instead of a change of each
// of them: most end soon after it, and their rows are then written once instead
// of twice. It holds until one of them is to change in another way than to end by
// a bulk statement: then all that are left are written into their rows, and the
// row of table claims is deleted (spread). What is said in the rows of builds is
// therefore true for whoever has spread the claims first, and that does each op
// which does not know of them.
//
// The handle that wrote a claim remembers it. Nobody else may do so: a handle that
// sees that somebody else has written to the file spreads what it finds.
//
// Invariant: each build in a row of table claims is claimed by it, or has ended.

// manyClaims is how many builds are claimed by a row of table claims, and read
// beside the next transaction; fewer are claimed in their own rows, and read within
// the transaction that claims them.
const manyClaims = 64

// claims is what a handle knows of table claims.
type claims struct {
	known   bool // nobody else has written anything since version
	version int64
	looked  bool  // in this transaction
	spread  int64 // rows that spreading changed in it, which is no change by an op
	builds  map[int64]claimed
}

// claimed is a build that is claimed by a row of table claims.
type claimed struct {
	number int64 // of its claim
	by     *bulkClaim
}

// bulkClaim is a row of table claims.
type bulkClaim struct {
	first int64 // number of the first build's claim; the others' follow
	lease jobcontrol.Lease
	left  int // builds that have not ended
}

// spreadClaims writes claims into the rows of their builds. The plus keeps SQLite
// from looking through the queue for each of them.
const spreadClaims = `UPDATE builds SET worker = c.worker, epoch = c.epoch, claim = c.first + j.key, queue = 2
	FROM claims c, json_each(c.builds) j WHERE builds.id = j.value AND +builds.queue = 1`

// lookAtClaims spreads the claims that somebody else wrote, or that this handle
// did before somebody else wrote, and tells whether there were some.
func (t *tx) lookAtClaims() (found bool, err error) {
	k := &t.claims
	if k.looked {
		return false, nil
	}
	k.looked = true
	version, err := t.number(`PRAGMA data_version`)
	if err != nil || k.known && k.version == version {
		return false, err
	}
	clear(k.builds)
	k.known, k.version = true, version
	n, err := t.number(`SELECT count(*) FROM claims`)
	if err != nil || n == 0 {
		return false, err
	}
	return true, t.spreadAll()
}

// spread writes all claims into the rows of their builds.
func (t *tx) spread() error {
	_, err := t.lookAtClaims()
	if err != nil || len(t.claims.builds) == 0 {
		return err
	}
	clear(t.claims.builds)
	return t.spreadAll()
}

func (t *tx) spreadAll() error {
	return t.spreadWhere(``, `DELETE FROM claims`)
}

func (t *tx) spreadWhere(condition, forget string, args ...any) error {
	changes := t.changes
	_, err := t.exec(spreadClaims+condition, args...)
	if err == nil {
		_, err = t.exec(forget, args...)
	}
	t.claims.spread += t.changes - changes
	return err
}

// spreadWith writes the claims of a build, and of those that were claimed with
// it, into their rows, and tells whether the build's row may have changed.
func (t *tx) spreadWith(build int64) (bool, error) {
	found, err := t.lookAtClaims()
	if err != nil || found {
		return found, err
	}
	c, ok := t.claims.builds[build]
	if !ok {
		return false, nil
	}
	for id, other := range t.claims.builds {
		if other.by == c.by {
			delete(t.claims.builds, id)
		}
	}
	return true, t.spreadWhere(` AND c.first = ?`, forgetClaim, c.by.first)
}

const forgetClaim = `DELETE FROM claims WHERE first = ?`

// claimAll claims builds by a row of table claims; number is that of the first claim.
func (t *tx) claimAll(l jobcontrol.Lease, number int64, chosen []candidate) error {
	ids := append(make([]byte, 0, 10*len(chosen)), '[')
	by := &bulkClaim{first: number, lease: l, left: len(chosen)}
	for i := range chosen {
		if i > 0 {
			ids = append(ids, ',')
		}
		ids = strconv.AppendInt(ids, chosen[i].id, 10)
		t.claims.builds[chosen[i].id] = claimed{number + int64(i), by}
	}
	_, err := t.exec(`INSERT INTO claims (first, worker, epoch, builds) VALUES (?, ?, ?, ?)`, number, l.Worker, l.Epoch, string(append(ids, ']')))
	return err
}

// enterClaims enters the claims of builds whose rows do not tell of them.
func (c *conn) enterClaims(builds ...*jobcontrol.Build) error {
	queued := map[int64]*jobcontrol.Build{}
	some := "" // of a lone one: then lists without it need not be taken apart
	for _, b := range builds {
		if b.State == jobcontrol.Queued && b.Claim.Worker == 0 {
			queued[b.ID], some = b, itoa(b.ID)
		}
	}
	switch len(queued) {
	case 0:
		return nil
	case 1:
	default:
		some = ""
	}
	return c.each(func(r *row) error {
		id := r.int()
		if b := queued[id]; b != nil {
			b.Claim = jobcontrol.Claim{Build: id, Worker: r.int(), Epoch: r.int(), Number: r.int()}
		}
		return nil
	}, `SELECT j.value, c.worker, c.epoch, c.first + j.key FROM claims c, json_each(c.builds) j WHERE instr(c.builds, ?) > 0`, some)
}
