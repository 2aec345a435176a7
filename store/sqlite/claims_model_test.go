package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// TestClaimsModel: by whatever handles and in whatever order builds are claimed and end,
// none is claimed twice at a time, and an end is stored if its claim is held, else not.
func TestClaimsModel(t *testing.T) {
	for seed := range uint64(25) {
		claimsModel(t, seed)
		if t.Failed() {
			t.Fatal("seed", seed)
		}
	}
}

func claimsModel(t *testing.T, seed uint64) {
	ctx := context.Background()
	r := rand.New(rand.NewPCG(seed, 1))
	many := []int{1, 2, 8, 64}[r.IntN(4)]
	handles := 1 + r.IntN(2)
	type worker struct {
		s *Store
		l jobcontrol.Lease
	}
	var ws []worker
	path := t.TempDir() + "/state.db"
	for range handles {
		s, l := openAt(t, path, Options{manyClaims: many})
		ws = append(ws, worker{s, l})
		if r.IntN(2) == 0 {
			l, err := s.Register(ctx, jobcontrol.Process{PID: 7}, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			ws = append(ws, worker{s, l})
		}
	}
	var mu sync.Mutex
	held := map[int64]jobcontrol.Claim{}
	owner := map[int64]int{}
	attempts := map[int64]int{}
	maybe := map[int64]bool{} // stop asked
	done := map[int64]bool{}
	var stale []jobcontrol.Claim
	pick := func(w int, n int) (list []int64) {
		for id := range held {
			if owner[id] == w && len(list) < n {
				list = append(list, id)
			}
		}
		return list
	}
	drop := func(id int64) { delete(held, id); delete(owner, id) }
	for step := range 60 {
		w := r.IntN(len(ws))
		s, l := ws[w].s, ws[w].l
		what := r.IntN(15)
		switch what {
		case 0:
			n := 1 + r.IntN(150)
			runs := make([]jobcontrol.NewRun, n)
			for i := range runs {
				runs[i] = call(t, "job"+itoa(int64(r.IntN(3))), i)
				if r.IntN(20) == 0 {
					runs[i].Builds[0].Build.Unique = fmt.Sprint(seed, step, i)
				}
			}
			if _, err := s.CreateRuns(ctx, runs); err != nil {
				t.Fatal(err)
			}
		case 1, 2:
			got, err := s.Claim(ctx, l, jobcontrol.Wanted{Services: []string{"default"}, N: 1 + r.IntN(120)})
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range got.Builds {
				if c, ok := held[b.ID]; ok {
					t.Errorf("step %d: build %d claimed %+v while held %+v", step, b.ID, b.Claim, c)
				}
				if done[b.ID] {
					t.Errorf("step %d: done build %d claimed", step, b.ID)
				}
				held[b.ID], owner[b.ID], attempts[b.ID] = b.Claim, w, b.Attempts
			}
		case 3:
			var cs []jobcontrol.Claim
			for _, id := range pick(w, 1+r.IntN(3)) {
				cs = append(cs, held[id])
			}
			if err := s.Start(ctx, cs, nil); err != nil {
				t.Errorf("start %v", err)
			}
		case 4:
			for _, id := range pick(w, 1) {
				if err := s.MarkRan(ctx, held[id], time.Now()); err != nil {
					t.Errorf("ran %v", err)
				}
			}
		case 5:
			for _, id := range pick(w, 1+r.IntN(4)) {
				c := held[id]
				if err := s.GiveBack(ctx, []jobcontrol.Claim{c}); err != nil {
					t.Errorf("%v", err)
				}
				if maybe[id] {
					done[id] = true
				}
				stale = append(stale, c)
				drop(id)
			}
		case 6:
			for _, id := range pick(r.IntN(len(ws)), 1) {
				if _, err := s.RequestCancel(ctx, id); err != nil {
					t.Errorf("cancel %v", err)
				}
				maybe[id] = true
			}
		case 7: // stale ends
			for i := range min(3, len(stale)) {
				c := stale[len(stale)-1-i]
				if held[c.Build] == c {
					continue
				}
				if _, err := s.Finish(ctx, c, succeeded(1, time.Now())); !errors.Is(err, jobcontrol.ErrLeaseLost) && !errors.Is(err, jobcontrol.ErrConflict) {
					t.Errorf("step %d: stale end %+v: %v", step, c, err)
				}
			}
		case 8: // the worker ends, or is lost
			if r.IntN(3) > 0 {
				break
			}
			if r.IntN(2) == 0 {
				if err := s.Unregister(ctx, l); err != nil {
					t.Errorf("unregister: %v", err)
				}
			} else {
				other := ws[r.IntN(len(ws))].s
				list, err := other.Workers(ctx)
				if err != nil {
					t.Fatal(err)
				}
				at := 0
				if _, err := other.Rescue(ctx, func(jobcontrol.Process) (bool, bool) {
					at++
					return list[at-1].ID != l.Worker, true
				}); err != nil {
					t.Errorf("rescue: %v", err)
				}
			}
			for id := range held {
				if owner[id] == w {
					stale = append(stale, held[id])
					if maybe[id] {
						done[id] = true
					}
					drop(id)
				}
			}
			l, err := s.Register(ctx, jobcontrol.Process{PID: 9}, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			ws[w].l = l
		case 9:
			for _, id := range pick(w, 1+r.IntN(2)) {
				if maybe[id] {
					continue
				}
				e := succeeded(attempts[id]+1, time.Now())
				e.State, e.Changed, e.Attempt.Failure = jobcontrol.Queued, false, &jobcontrol.Failure{Kind: jobcontrol.FailRetry, Message: "again"}
				if _, err := s.Retry(ctx, held[id], e); err != nil {
					t.Errorf("retry: %v", err)
				}
				stale = append(stale, held[id])
				drop(id)
			}
		case 10:
			for _, id := range pick(w, 1) {
				if err := s.Report(ctx, held[id], []jobcontrol.LogRecord{{Time: time.Now(), Message: "x"}}, nil); err != nil {
					t.Errorf("report: %v", err)
				}
			}
		case 11:
			if r.IntN(3) == 0 {
				if err := ws[r.IntN(len(ws))].s.PutServices(ctx, "", []jobcontrol.Service{{Name: "default", Concurrency: []int{0, 100000}[r.IntN(2)]}}); err != nil {
					t.Errorf("put: %v", err)
				}
			}
			if b, err := s.ClaimCleanup(ctx, l, jobcontrol.Wanted{Services: []string{"default"}, N: 1}); err != nil {
				t.Errorf("cleanup: %v", err)
			} else if b != nil {
				e := succeeded(b.Attempts+1, time.Now())
				if err := s.Cleaned(ctx, b.Claim, e); err != nil {
					t.Errorf("cleaned: %v", err)
				}
			}
		default: // a batch of many ends, other writes among them
			g := gather(s)
			var wg sync.WaitGroup
			type one struct {
				id  int64
				bad bool
			}
			var ends []one
			for v := range ws {
				if ws[v].s != s {
					continue
				}
				for _, id := range pick(v, r.IntN(400)) {
					ends = append(ends, one{id, r.IntN(40) == 0})
				}
			}
			r.Shuffle(len(ends), func(i, j int) { ends[i], ends[j] = ends[j], ends[i] })
			var got *jobcontrol.Claimed
			n := 0
			wait := func() {
				for {
					s.w.mu.Lock()
					q := len(s.w.queue)
					s.w.mu.Unlock()
					if q >= n {
						return
					}
					time.Sleep(100 * time.Microsecond)
				}
			}
			claimAt := r.IntN(2 * (len(ends) + 1))
			for i, e := range ends {
				if i == claimAt {
					wg.Add(1)
					go func() {
						defer wg.Done()
						var err error
						if got, err = s.Claim(ctx, l, jobcontrol.Wanted{Services: []string{"default"}, N: 100}); err != nil {
							t.Errorf("claim: %v", err)
						}
					}()
					n++
					wait()
				}
				x := succeeded(attempts[e.id]+1, time.Now())
				if e.bad {
					x.State, x.Changed, x.Attempt.Failure = jobcontrol.Failed, false, &jobcontrol.Failure{Kind: jobcontrol.FailUser, Message: "no"}
				}
				wg.Add(1)
				calls := 0
				s.FinishThen(ctx, held[e.id], &x, func(_ *jobcontrol.Released, err error) {
					mu.Lock()
					defer mu.Unlock()
					if calls++; calls != 1 {
						t.Error("then called twice")
					}
					if err != nil {
						t.Errorf("step %d: end of %+v: %v", step, held[e.id], err)
					}
					wg.Done()
				})
				n++
			}
			close(g.release)
			g.wg.Wait()
			wg.Wait()
			if got != nil {
				for _, b := range got.Builds {
					if c, ok := held[b.ID]; ok {
						t.Errorf("step %d: build %d claimed %+v in a batch while held %+v", step, b.ID, b.Claim, c)
					}
				}
			}
			for _, e := range ends {
				stale = append(stale, jobcontrol.Claim{Build: e.id, Worker: held[e.id].Worker, Epoch: held[e.id].Epoch, Number: held[e.id].Number + 100000})
				done[e.id] = true
				drop(e.id)
			}
			if got != nil {
				for _, b := range got.Builds {
					held[b.ID], owner[b.ID], attempts[b.ID] = b.Claim, w, b.Attempts
				}
			}
		}
		// what readers are told
		for id, c := range held {
			b, err := s.Build(ctx, id)
			if err != nil || b.Claim != c {
				t.Errorf("step %d (%d): build %d is told claimed %+v (%v), held %+v", step, what, id, b.Claim, b.State, c)
			}
			if r.IntN(4) == 0 {
				break
			}
		}
		if t.Failed() {
			return
		}
	}
	c := &crowd{T: t, s: ws[0].s}
	c.consistent()
	st, err := ws[0].s.Services(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, v := range st {
		n += v.Claimed + v.Running
	}
	if n != len(held) {
		t.Errorf("services tell of %d claimed, held %d: %+v", n, len(held), st)
	}
	for _, w := range ws {
		_ = w.s.Close()
	}
}
