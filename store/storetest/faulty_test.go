package storetest_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/storetest"
)

// counting is a store of which only what is counted may be called.
type counting struct {
	jobcontrol.Store
	renewed, read int
}

func (c *counting) Renew(context.Context, jobcontrol.Lease, time.Duration) error {
	c.renewed++
	return nil
}

func (c *counting) SharedGet(context.Context, int64, string) (json.RawMessage, int64, error) {
	c.read++
	return json.RawMessage("1"), 1, nil
}

func (c *counting) Build(context.Context, int64) (*jobcontrol.Build, error) {
	c.read++
	return nil, jobcontrol.Errorf(jobcontrol.NotFound, "no")
}

func TestFaulty(t *testing.T) {
	ctx := context.Background()
	mine := errors.New("mine")
	for _, test := range []struct {
		name     string
		fault    storetest.Fault
		answers  []bool // of three calls of Renew: whether they failed
		executed int
	}{
		{"none", storetest.Fault{Method: "Finish"}, []bool{false, false, false}, 3},
		{"every call", storetest.Fault{Method: "Renew"}, []bool{true, true, true}, 0},
		{"any method", storetest.Fault{}, []bool{true, true, true}, 0},
		{"the second", storetest.Fault{Method: "Renew", At: 2}, []bool{false, true, false}, 2},
		{"the second call of all", storetest.Fault{At: 2}, []bool{false, true, false}, 2},
		{"executed all the same", storetest.Fault{Method: "Renew", At: 2, Mode: storetest.FailAfter}, []bool{false, true, false}, 3},
		{"another error", storetest.Fault{Method: "Renew", Err: mine}, []bool{true, true, true}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := &counting{}
			f := storetest.Faulty(c, test.fault)
			fired := 0
			for i, failed := range test.answers {
				err := f.Renew(ctx, jobcontrol.Lease{}, 0)
				if (err != nil) != failed {
					t.Errorf("call %d: %v", i+1, err)
				}
				if failed {
					fired++
					if test.fault.Err == nil && !errors.Is(err, jobcontrol.ErrUnavailable) || test.fault.Err != nil && err != mine {
						t.Errorf("call %d: %v", i+1, err)
					}
				}
			}
			if c.renewed != test.executed || f.Calls("Renew") != 3 || f.Calls("") != 3 || f.Fired() != fired {
				t.Errorf("%d executed, %d called, %d in all, %d fired", c.renewed, f.Calls("Renew"), f.Calls(""), f.Fired())
			}
		})
	}

	// A value is lost with the answer; the store's own error wins.
	c := &counting{}
	f := storetest.Faulty(c, storetest.Fault{Mode: storetest.FailAfter})
	if value, version, err := f.SharedGet(ctx, 1, "k"); value != nil || version != 0 || err == nil || c.read != 1 {
		t.Errorf("SharedGet: %q, %d, %v", value, version, err)
	}
	if _, err := f.Build(ctx, 1); !errors.Is(err, jobcontrol.ErrNotFound) {
		t.Errorf("Build: %v", err)
	}
	f.Set()
	if value, _, err := f.SharedGet(ctx, 1, "k"); string(value) != "1" || err != nil || f.Calls("SharedGet") != 1 {
		t.Errorf("SharedGet after Set: %q, %v", value, err)
	}
	if f.Unwrap() != jobcontrol.Store(c) {
		t.Error("Unwrap returns another store")
	}
}

// finishing is a store that is a Finisher: it answers at once.
type finishing struct {
	counting
	finished int
}

func (f *finishing) Finish(context.Context, jobcontrol.Claim, jobcontrol.Ended) (*jobcontrol.Released, error) {
	return &jobcontrol.Released{}, nil
}

func (f *finishing) FinishThen(_ context.Context, c jobcontrol.Claim, _ *jobcontrol.Ended, then func(*jobcontrol.Released, error)) {
	f.finished++
	if c.Build == 0 {
		then(nil, jobcontrol.ErrLeaseLost)
		return
	}
	then(&jobcontrol.Released{Blocked: []int64{c.Build}}, nil)
}

// TestFaultyFinisher: FinishThen is there where the store has it, and fails by faults of its own.
func TestFaultyFinisher(t *testing.T) {
	if _, ok := jobcontrol.Store(storetest.Faulty(&counting{})).(jobcontrol.Finisher); ok {
		t.Error("a store that is no Finisher has become one")
	}
	synctest.Test(t, func(t *testing.T) {
		inner := &finishing{}
		f := storetest.Faulty(inner)
		end := func(ctx context.Context, build int64) (r *jobcontrol.Released, err error) {
			answers := 0
			f.(jobcontrol.Finisher).FinishThen(ctx, jobcontrol.Claim{Build: build}, &jobcontrol.Ended{}, func(released *jobcontrol.Released, failed error) {
				r, err = released, failed
				answers++
			})
			time.Sleep(time.Hour)
			synctest.Wait()
			if answers != 1 {
				t.Errorf("%d answers", answers)
			}
			return r, err
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for _, test := range []struct {
			name     string
			fault    storetest.Fault
			build    int64
			ctx      context.Context
			want     error
			executed int
		}{
			{"none", storetest.Fault{Method: "Finish"}, 7, t.Context(), nil, 1},
			{"refused by the store", storetest.Fault{Method: "Renew"}, 0, t.Context(), jobcontrol.ErrLeaseLost, 1},
			{"before", storetest.Fault{Method: "FinishThen"}, 7, t.Context(), jobcontrol.ErrUnavailable, 0},
			{"any method", storetest.Fault{Err: jobcontrol.ErrConflict}, 7, t.Context(), jobcontrol.ErrConflict, 0},
			{"the answer is lost", storetest.Fault{Method: "FinishThen", Mode: storetest.FailAfter}, 7, t.Context(), jobcontrol.ErrUnavailable, 1},
			{"the store's own error wins", storetest.Fault{Method: "FinishThen", Mode: storetest.FailAfter}, 0, t.Context(), jobcontrol.ErrLeaseLost, 1},
			{"late", storetest.Fault{Method: "FinishThen", Mode: storetest.Delay, Wait: time.Minute}, 7, t.Context(), nil, 1},
			{"given up", storetest.Fault{Method: "FinishThen", Mode: storetest.Delay, Wait: time.Minute}, 7, short, context.DeadlineExceeded, 0},
		} {
			inner.finished = 0
			f.Set(test.fault)
			r, err := end(test.ctx, test.build)
			if !errors.Is(err, test.want) || (err == nil) != (r != nil) || inner.finished != test.executed || f.Calls("FinishThen") != 1 {
				t.Errorf("%s: %+v, %v, %d executed", test.name, r, err, inner.finished)
			}
		}
		f.Set(storetest.Fault{Method: "FinishThen"})
		if _, err := f.Finish(t.Context(), jobcontrol.Claim{}, jobcontrol.Ended{}); err != nil || f.Fired() != 0 {
			t.Errorf("Finish met a fault of FinishThen: %v", err)
		}
	})
}

func TestFaultyDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counting{}
		f := storetest.Faulty(c, storetest.Fault{Method: "Renew", Mode: storetest.Delay, Wait: time.Minute})
		start := time.Now()
		if err := f.Renew(context.Background(), jobcontrol.Lease{}, 0); err != nil || time.Since(start) != time.Minute || c.renewed != 1 {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := f.Renew(ctx, jobcontrol.Lease{}, 0); !errors.Is(err, context.DeadlineExceeded) || c.renewed != 1 {
			t.Errorf("given up: %v", err)
		}
	})
}
