package postgres

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// finishThen ends builds all at once and returns the answers.
func finishThen(s *Store, ctx context.Context, claims []jobcontrol.Claim, ends []jobcontrol.Ended) (released []*jobcontrol.Released, errs []error) {
	released, errs = make([]*jobcontrol.Released, len(claims)), make([]error, len(claims))
	answered := make(chan bool, len(claims))
	for i := range claims {
		s.FinishThen(ctx, claims[i], &ends[i], func(r *jobcontrol.Released, err error) {
			released[i], errs[i] = r, err
			answered <- true
		})
	}
	for range claims {
		<-answered
	}
	return released, errs
}

// TestPlainEnds: ends that are written by the narrow statement leave what the
// general one leaves.
func TestPlainEnds(t *testing.T) {
	s, _, l, _ := openPair(t)
	ctx := context.Background()
	at := time.Now().Truncate(time.Microsecond).UTC()
	many := make([]jobcontrol.NewRun, 8)
	for i := range many {
		n := loneBuild(t, fmt.Sprint("job", i/2))
		b := &n.Builds[0].Build
		switch i / 2 {
		case 1:
			b.Priority, b.Key, b.Why, b.Unique = 3, "key", "because", fmt.Sprint("unique", i)
		case 2:
			b.Kwargs, b.AgainOf = jobcontrol.EncodedArguments(`{"a":1}`), 7
		case 3:
			b.ReadyAt = at.Add(-time.Hour)
		}
		many[i] = n
	}
	if _, err := s.CreateRuns(ctx, many); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Promote(ctx, 100); err != nil {
		t.Fatal(err)
	}
	builds := claim(t, s, l, 100)
	if len(builds) != len(many) {
		t.Fatalf("%d builds were claimed", len(builds))
	}
	if err := s.Start(ctx, []jobcontrol.Claim{builds[0].Claim, builds[1].Claim}, []time.Time{at, at}); err != nil {
		t.Fatal(err)
	}
	seen := map[string]*jobcontrol.Build{}
	for _, b := range builds {
		e := success(1)
		e.Attempt.StartedAt, e.Attempt.FinishedAt = at.Add(time.Second), at.Add(2*time.Second)
		e.Attempt.Phases = []jobcontrol.PhaseResult{{Phase: jobcontrol.PhaseRun, Passed: true, Duration: 5}}
		if seen[b.Job] == nil {
			_, err := s.Finish(ctx, b.Claim, e)
			if err != nil {
				t.Fatal(err)
			}
		} else if err := s.write(ctx, "finish", func(x *tx) error { // the general statement
			o, err := s.finishOp(ctx, b.Claim, &e)
			if err != nil || !o.plain {
				return fmt.Errorf("the end is not plain: %w", err)
			}
			o.plain = false
			hit, err := x.finish([]*finishOp{o})
			if err == nil && !hit[0] {
				err = errors.New("it was not written")
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		got, err := s.Build(ctx, b.ID)
		if err != nil {
			t.Fatal(err)
		}
		attempts, err := s.Attempts(ctx, b.ID)
		if err != nil || len(attempts) != 1 {
			t.Fatalf("%d attempts, %v", len(attempts), err)
		}
		head, err := s.Heads(ctx, "", []string{b.Job})
		if err != nil {
			t.Fatal(err)
		}
		if h := head[b.Job]; h.LatestFinished != b.ID && h.LatestFinished != seen[b.Job].ID || h.LatestState == 0 {
			t.Errorf("head of %s: %+v", b.Job, h)
		}
		if seen[b.Job] == nil {
			seen[b.Job] = got
			continue
		}
		want := seen[b.Job]
		got.ID, got.Run, got.Claim, got.CreatedAt, got.Unique = want.ID, want.Run, want.Claim, want.CreatedAt, want.Unique
		if !reflect.DeepEqual(got, want) {
			t.Errorf("of %s the general statement leaves\n%+v\nand the narrow one\n%+v", b.Job, got, want)
		}
	}
}

// TestFinishThen: among many ends that come at once each has its own answer,
// whatever it is and whoever's it is.
func TestFinishThen(t *testing.T) {
	s, _, l, m := openPair(t)
	ctx := context.Background()
	var claims []jobcontrol.Claim
	var ends []jobcontrol.Ended
	chain := loneBuild(t, "first")
	after := loneBuild(t, "second").Builds[0]
	after.Members = []int{0}
	chain.Builds = append(chain.Builds, after)
	if _, _, err := s.CreateRun(ctx, chain); err != nil {
		t.Fatal(err)
	}
	lone(t, s, "a", 119)
	for _, lease := range []jobcontrol.Lease{l, m} {
		for _, b := range claim(t, s, lease, 60) {
			e := success(1)
			switch len(claims) % 6 {
			case 1:
				e.State, e.Attempt.Failure = jobcontrol.Failed, &jobcontrol.Failure{Kind: jobcontrol.FailUser, Message: "broken"}
			case 2:
				e.Changed = false
			case 3:
				e.Attempt.Number = 2
			case 4:
				b.Claim.Number += 1000 // which is not its
			case 5:
				e.Logs = []jobcontrol.LogRecord{{Message: "tail"}}
			}
			claims, ends = append(claims, b.Claim), append(ends, e)
		}
	}
	for range 2 { // the second time it is a repetition
		released, errs := finishThen(s, ctx, claims, ends)
		for i, c := range claims {
			b, err := s.Build(ctx, c.Build)
			if err != nil {
				t.Fatal(err)
			}
			if i%6 == 4 {
				if !errors.Is(errs[i], jobcontrol.ErrLeaseLost) || b.State != jobcontrol.Queued {
					t.Errorf("with another claim: %s, %v", b.State, errs[i])
				}
				continue
			}
			if errs[i] != nil || b.State != ends[i].State || b.Attempts != ends[i].Attempt.Number {
				t.Errorf("build %d is %s after %d attempts: %v", i, b.State, b.Attempts, errs[i])
			}
			want := 0
			if b.Job == "first" {
				want = 1
			}
			if errs[i] == nil && len(released[i].Ready) != want {
				t.Errorf("build %d released %+v", i, released[i])
			}
		}
	}
}

// TestFinishThenEnds: what waits to be written when the context ends is not
// written; who has asked is told at once.
func TestFinishThenEnds(t *testing.T) {
	s, other, l, _ := openPair(t)
	lone(t, s, "a", 2)
	builds := claim(t, s, l, 2)
	s.opts.Writers = 1 // the second end waits for the first
	locked, finish := make(chan struct{}), make(chan struct{})
	held := make(chan error, 1)
	go func() {
		held <- other.write(context.Background(), "hold", func(t *tx) error {
			_, err := t.exec(`SELECT 1 FROM {workers} WHERE id = $1 FOR UPDATE`, l.Worker)
			close(locked)
			<-finish
			return err
		})
	}()
	<-locked
	first, second := make(chan error, 1), make(chan error, 1)
	e, e2 := success(1), success(1)
	s.FinishThen(context.Background(), builds[0].Claim, &e, func(_ *jobcontrol.Released, err error) { first <- err })
	for begun := false; !begun; time.Sleep(time.Millisecond) {
		s.w.mu.Lock()
		begun = len(s.w.queue) == 0
		s.w.mu.Unlock()
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.FinishThen(ctx, builds[1].Claim, &e2, func(_ *jobcontrol.Released, err error) { second <- err })
	cancel()
	if err := <-second; err == nil {
		t.Error("the second end was written")
	}
	s.FinishThen(ctx, builds[1].Claim, &e2, func(_ *jobcontrol.Released, err error) { second <- err })
	if err := <-second; err == nil {
		t.Error("it was written after all")
	}
	close(finish)
	if err := errors.Join(<-first, <-held); err != nil {
		t.Error(err)
	}
	for i, want := range []jobcontrol.State{jobcontrol.Successful, jobcontrol.Queued} {
		if b, err := s.Build(context.Background(), builds[i].ID); err != nil || b.State != want {
			t.Errorf("build %d: %v, %+v", i, err, b)
		}
	}
}

// TestClaimMoment: after a search that found many the next goes on behind them,
// for a moment, and looks at everything where that is not enough.
func TestClaimMoment(t *testing.T) {
	now := time.Now()
	c := cursor{at: position{rank: 5}, many: true, full: now}
	if at := c.from(now.Add(moment / 2)); at != c.at {
		t.Errorf("within the moment it begins at %+v", at)
	}
	if at := c.from(now.Add(moment)); at != first {
		t.Errorf("after the moment it begins at %+v", at)
	}
	s, _, l, _ := openPair(t)
	ids := lone(t, s, "a", manyBuilds+20)
	if got := claim(t, s, l, manyBuilds); len(got) != manyBuilds {
		t.Fatalf("claimed %d", len(got))
	}
	for _, c := range s.claimers.cursors {
		c.full = time.Now().Add(time.Hour) // the moment lasts
	}
	n := loneBuild(t, "urgent")
	n.Builds[0].Build.Priority = 10
	urgent, _, err := s.CreateRun(context.Background(), n)
	if err != nil {
		t.Fatal(err)
	}
	if got := claim(t, s, l, 10); len(got) != 10 || got[0].ID != ids[manyBuilds] {
		t.Fatalf("behind them: %d, from %d on", len(got), got[0].ID)
	}
	if got := claim(t, s, l, 12); len(got) != 11 || got[0].ID != urgent.ID {
		t.Fatalf("the rest: %d", len(got))
	}
}
