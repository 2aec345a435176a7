package jobcontrol_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jobcontrol/jobcontrol"
)

// tape records what a task reports.
type tape struct {
	logs     []jobcontrol.LogRecord
	progress []jobcontrol.Progress
}

func (t *tape) Log(r jobcontrol.LogRecord)     { t.logs = append(t.logs, r) }
func (t *tape) Progress(p jobcontrol.Progress) { t.progress = append(t.progress, p) }

func TestCurrent(t *testing.T) {
	if _, err := jobcontrol.Current(context.Background()); !errors.Is(err, jobcontrol.ErrInvalid) {
		t.Errorf("outside of an execution: %v", err)
	}
	if err := jobcontrol.Report(context.Background(), "a", 1, 2, ""); !errors.Is(err, jobcontrol.ErrInvalid) {
		t.Errorf("outside of an execution: %v", err)
	}
	var rec tape
	ctx := jobcontrol.WithExecution(context.Background(), &jobcontrol.Execution{Build: 3, Record: &rec})
	if x, err := jobcontrol.Current(ctx); err != nil || x.Build != 3 {
		t.Errorf("%+v, %v", x, err)
	}
	if err := jobcontrol.Report(ctx, "a::b", 1, 2, "s"); err != nil || len(rec.progress) != 1 || !cmp.Equal(rec.progress[0].Path, []string{"a", "b"}) {
		t.Errorf("%v, %+v", err, rec.progress)
	}
}

// TestLoggedValuesAreEncodedAtOnce: who logged a value may go on changing it, and
// no value keeps a record from being stored.
func TestLoggedValuesAreEncodedAtOnce(t *testing.T) {
	var rec tape
	ctx := jobcontrol.WithExecution(context.Background(), &jobcontrol.Execution{Record: &rec})
	state := map[string]int{"n": 1}
	jobcontrol.Logger(ctx, "l").With("who", "me").WithGroup("g").Error("m", "state", state, "nan", math.NaN(), "err", errors.New("e"), "ch", make(chan int) == nil)
	state["n"] = 2
	data, err := json.Marshal(rec.logs[0].Attrs)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`{"g.ch":false,"g.err":"e","g.nan":"NaN","g.state":{"n":1},"who":"me"}`, string(data)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if rec.logs[0].Level != jobcontrol.LevelError || rec.logs[0].Logger != "l" || rec.logs[0].Line == 0 {
		t.Errorf("%+v", rec.logs[0])
	}
}

func TestLocalValues(t *testing.T) {
	l := jobcontrol.NewLocal(nil)
	if err := l.Set("k", "v"); err != nil {
		t.Fatal(err)
	}
	var v string
	if ok, err := l.Load("k", &v); !ok || err != nil || v != "v" {
		t.Errorf("%v %v %q", ok, err, v)
	}
	if ok, _ := l.Load("other", &v); ok {
		t.Error("there is no such value")
	}
	if err := l.Set("big", make([]byte, jobcontrol.MaxLocal)); !errors.Is(err, jobcontrol.ErrInvalid) {
		t.Errorf("64 KiB and more: %v", err)
	}
}
