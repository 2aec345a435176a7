package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// limits are those of one service, while its row is locked, and what is left of them.
type limits struct {
	id                      int64
	limited                 bool
	concurrency, keys, rate int64
	tokens                  float64
	room                    int64            // how many more may be claimed
	active                  map[string]int64 // claims by key
}

const noLimit = int64(1) << 40

// claimWithLimits claims where there are limits, or for a worker that may be
// given a suspect. The rows of limited services are locked: who claims there,
// sees what all others have claimed.
func (s *Store) claimWithLimits(ctx context.Context, l jobcontrol.Lease, w *jobcontrol.Wanted) (*jobcontrol.Claimed, []claimedRow, error) {
	var out *jobcontrol.Claimed
	var rows []claimedRow
	err := s.write(ctx, "claim", func(t *tx) error {
		out, rows = &jobcontrol.Claimed{}, nil
		n, err := t.number(`SELECT 1::bigint FROM {workers} w WHERE `+valid+` FOR KEY SHARE`, l.Worker, l.Epoch)
		if err != nil {
			return err
		}
		if n == 0 {
			return leaseLost(l)
		}
		services, err := s.serviceIDs(t.conn, w.Project, w.Services)
		if err != nil {
			return err
		}
		all, err := t.limits(services)
		if err != nil {
			return err
		}
		list, err := t.candidates(all, w.N+1, false)
		if err != nil {
			return err
		}
		suspects, err := t.candidates(all, 2, true)
		if err != nil {
			return err
		}
		waiting, err := t.number(`SELECT count(*) FROM (SELECT 1 FROM unnest($1) u(id) JOIN {builds} b ON b.service = u.id AND b.state = 4 AND b.detached AND b.suspect
			LIMIT 2) x`, unpaused(all))
		if err != nil {
			return err
		}
		out.Suspects = waiting > 0
		if w.Alone && len(suspects) > 0 && (len(list) == 0 || suspects[0].less(list[0].position)) {
			out.Suspects, out.More = waiting > 1, len(list)+len(suspects) > 1
			rows, err = t.claim(l, all, suspects[:1], true)
			return err
		}
		out.More = len(list) > w.N
		rows, err = t.claim(l, all, list[:min(len(list), w.N)], false)
		return err
	})
	return out, rows, err
}

func unpaused(all []*limits) []int64 {
	ids := []int64{}
	for _, m := range all {
		ids = append(ids, m.id)
	}
	return ids
}

// limits locks the rows of limited services and counts what is claimed there.
func (t *tx) limits(services []int64) ([]*limits, error) {
	var all []*limits
	by := map[int64]*limits{}
	add := func(r *row) error {
		m := &limits{room: noLimit, active: map[string]int64{}}
		m.id, m.limited, m.concurrency, m.keys, m.rate = r.int(), r.bool(), r.int(), r.int(), r.int()
		per := r.int()
		m.tokens = r.float()
		since := r.int()
		if per == 0 {
			per = int64(time.Second)
		}
		if m.rate > 0 {
			passed := float64(t.now.UnixMicro()-since) * 1000 / float64(per)
			m.tokens = min(float64(m.rate), m.tokens+max(passed, 0)*float64(m.rate))
			m.room = min(m.room, int64(m.tokens))
		}
		all, by[m.id] = append(all, m), m
		return nil
	}
	const columns = `SELECT v.id, ` + limited + `, v.concurrency, v.key_concurrency, v.rate, v.rate_per, v.tokens, v.tokens_at FROM {services} v
		WHERE v.id = ANY($1) AND NOT v.paused AND `
	t.queue(add, columns+limited+` ORDER BY v.id FOR UPDATE`, services)
	t.queue(add, columns+`NOT `+limited, services)
	t.queue(nil, `DELETE FROM {slots} s WHERE s.build = ANY (ARRAY(SELECT x.build FROM {slots} x WHERE x.service = ANY($1)
		AND NOT EXISTS (SELECT 1 FROM {builds} b WHERE b.id = x.build AND b.claim = x.claim AND b.service = x.service)))`, services)
	if err := t.each(func(r *row) error {
		if m := by[r.int()]; m != nil {
			m.active[r.text()] = r.int()
		}
		return nil
	}, `SELECT service, key, count(*) FROM {slots} WHERE service = ANY($1) GROUP BY service, key`, services); err != nil {
		return nil, err
	}
	for _, m := range all {
		if m.concurrency > 0 {
			n := int64(0)
			for _, v := range m.active {
				n += v
			}
			m.room = max(0, min(m.room, m.concurrency-n))
		}
	}
	return all, nil
}

// candidate is a build that may be claimed. It is locked.
type candidate struct {
	position
	service int64
	key     string
}

// candidates returns up to n builds that the limits allow, best first.
func (t *tx) candidates(all []*limits, n int, suspects bool) ([]candidate, error) {
	var list []candidate
	for _, m := range all {
		found, err := t.candidatesOf(m, int(min(int64(n), m.room)), suspects)
		if err != nil {
			return nil, err
		}
		list = append(list, found...)
	}
	slices.SortFunc(list, func(a, b candidate) int {
		if a.position.less(b.position) {
			return -1
		}
		return 1
	})
	return list[:min(len(list), n)], nil
}

// candidatesOf returns up to n builds of one service, page by page: of keys that
// have become full no more are looked at.
func (t *tx) candidatesOf(m *limits, n int, suspects bool) ([]candidate, error) {
	text := `SELECT b.rank, b.phase, b.place, b.id, b.key FROM {builds} b WHERE b.service = $1 AND b.state = 4 AND b.detached AND NOT b.suspect
		AND b.claim IS NULL AND (b.rank, b.phase, b.place, b.id) > ($2, $3, $4, $5) AND (b.key IS NULL OR b.key <> ALL ($6))
		ORDER BY b.rank, b.phase, b.place, b.id LIMIT $7 FOR UPDATE SKIP LOCKED`
	if suspects {
		text = `SELECT b.rank, b.phase, b.place, b.id, b.key FROM {builds} b WHERE b.service = $1 AND b.state = 4 AND b.detached AND b.suspect
		AND b.claim IS NULL AND (b.rank, b.phase, b.place, b.id) > ($2, $3, $4, $5) AND (b.key IS NULL OR b.key <> ALL ($6))
		ORDER BY b.rank, b.phase, b.place, b.id LIMIT $7 FOR UPDATE SKIP LOCKED`
	}
	var list []candidate
	taken := map[string]int64{}
	full := []string{}
	if m.keys > 0 {
		for key, count := range m.active {
			if taken[key] = count; key != "" && count >= m.keys {
				full = append(full, key)
			}
		}
	}
	for at := first; len(list) < n; {
		page := n - len(list)
		if m.keys > 0 {
			page = max(4*page, 100)
		}
		seen := 0
		if err := t.each(func(r *row) error {
			c := candidate{position: position{r.int(), r.int(), r.int(), r.int()}, service: m.id, key: r.text()}
			at = c.position
			seen++
			if len(list) == n {
				return nil
			}
			if m.keys > 0 && c.key != "" {
				if taken[c.key] >= m.keys {
					return nil
				}
				if taken[c.key]++; taken[c.key] == m.keys {
					full = append(full, c.key)
				}
			}
			list = append(list, c)
			return nil
		}, text, m.id, at.rank, at.phase, at.place, at.id, full, page); err != nil {
			return nil, err
		}
		if seen < page {
			break
		}
	}
	return list, nil
}

// claim claims candidates and enters them where there are limits. A suspect is
// marked as running.
func (t *tx) claim(l jobcontrol.Lease, all []*limits, list []candidate, suspect bool) ([]claimedRow, error) {
	if len(list) == 0 {
		return nil, nil
	}
	ids := make([]int64, len(list))
	for i, c := range list {
		ids[i] = c.id
	}
	slices.Sort(ids)
	set := ``
	if suspect {
		set = `, state = 5, attempt_at = ` + present + `, started_at = coalesce(b.started_at, ` + present + `)`
	}
	var rows []claimedRow
	if err := t.each(func(r *row) error {
		b, err := scanClaimed(r, l)
		rows = append(rows, b)
		return err
	}, `UPDATE {builds} b SET worker = $1, epoch = $2, claim = nextval('{claims}')`+set+` WHERE b.id = ANY($3) RETURNING `+claimedColumns,
		l.Worker, l.Epoch, ids); err != nil {
		return nil, err
	}
	var builds, services, claims []int64
	var keys texts
	for _, m := range all {
		if !m.limited {
			continue
		}
		used := 0
		for i := range rows {
			if b := &rows[i]; b.service == m.id {
				used++
				builds, services, claims, keys = append(builds, b.ID), append(services, m.id), append(claims, b.Claim.Number), append(keys, b.Key)
			}
		}
		if m.rate > 0 && used > 0 {
			t.queue(nil, `UPDATE {services} SET tokens = $2, tokens_at = $3 WHERE id = $1`, m.id, m.tokens-float64(used), t.now)
		}
	}
	if len(builds) > 0 {
		t.queue(nil, `INSERT INTO {slots} (build, service, claim, key) SELECT * FROM unnest($1, $2, $3, $4)
			ON CONFLICT (build) DO UPDATE SET service = excluded.service, claim = excluded.claim, key = excluded.key`, builds, services, claims, keys)
	}
	return rows, t.send()
}
