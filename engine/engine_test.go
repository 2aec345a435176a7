package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/engine"
)

// script is what each phase returns: a value or an error.
type script map[jobcontrol.Phase]any

func (s script) Execute(ctx context.Context, c *jobcontrol.Call) (any, error) {
	switch v := s[c.Phase].(type) {
	case error:
		return nil, v
	case func(context.Context, *jobcontrol.Call) (any, error):
		return v(ctx, c)
	default:
		return v, nil
	}
}

// attempt executes one attempt of a job with the script's tasks.
func attempt(t *testing.T, s script, j *jobcontrol.Job, e engine.Engine) (jobcontrol.Ended, []string) {
	t.Helper()
	var lines []string
	e.Executor = s
	b := &jobcontrol.Build{ID: 7, Run: 7, Job: j.ID, Tries: 3}
	ended, err := e.Attempt(context.Background(), engine.Input{Build: b, Job: j, Number: 1, Observe: func(p jobcontrol.Phase, passed bool, f *jobcontrol.Failure) {
		lines = append(lines, fmt.Sprintf("%s:%v", p, passed))
	}})
	if err != nil {
		t.Fatal(err)
	}
	return ended, lines
}

func TestTruthTable(t *testing.T) {
	task := &jobcontrol.Task{Shell: "x"}
	jobs := map[string]*jobcontrol.Job{
		"job": {ID: "a", Check: task, Run: task}, "run-only": {ID: "a", Run: task},
		"assertion": {ID: "a", Check: task}, "group": {ID: "a"},
	}
	fail := errors.New
	retry := jobcontrol.Retry(time.Second, "busy")
	panicked := &jobcontrol.Failure{Kind: jobcontrol.FailPanic, Message: "boom"}
	for _, c := range []struct {
		name, kind         string
		script             script
		state              jobcontrol.State
		changed            bool
		result, fail, seen string
	}{
		{"check passes", "job", script{"check": 1}, jobcontrol.Successful, false, "1", "", "check:true"},
		{"run mends it", "job", script{"check": fail("c"), "run": 2, "recheck": 3}, jobcontrol.Successful, true, "3", "", "check:false run:true recheck:true"},
		{"the run's value where the recheck has none", "job", script{"check": fail("c"), "run": 2}, jobcontrol.Successful, true, "2", "", "check:false run:true recheck:true"},
		{"a run that fails is ignored if the recheck passes", "job", script{"check": fail("c"), "run": fail("r"), "recheck": 3}, jobcontrol.Successful, true, "3", "", "check:false run:false recheck:true"},
		{"the recheck decides", "job", script{"check": fail("c"), "run": 2, "recheck": fail("rc")}, jobcontrol.Failed, true, "", "error rc", "check:false run:true recheck:false"},
		{"both fail", "job", script{"check": fail("c"), "run": fail("r"), "recheck": fail("rc")}, jobcontrol.Failed, true, "", "error rc", "check:false run:false recheck:false"},
		{"a panic is not tried again", "job", script{"check": fail("c"), "run": panicked, "recheck": fail("rc")}, jobcontrol.Failed, true, "", "panic rc", "check:false run:false recheck:false"},
		{"an expected failure", "job", script{"check": fail("c"), "run": jobcontrol.UserError("no such customer"), "recheck": fail("rc")}, jobcontrol.Failed, true, "", "user rc", "check:false run:false recheck:false"},
		{"the run asks to be tried again", "job", script{"check": fail("c"), "run": retry}, jobcontrol.Failed, true, "", "retry busy", "check:false run:false"},
		{"the check asks to skip", "job", script{"check": jobcontrol.Skip("nothing")}, jobcontrol.Skipped, false, "", "skip nothing", "check:false"},
		{"the run asks to skip", "job", script{"check": fail("c"), "run": jobcontrol.Skip("nothing")}, jobcontrol.Skipped, true, "", "skip nothing", "check:false run:false"},
		{"the run suspends", "job", script{"check": fail("c"), "run": jobcontrol.Suspend("wait")}, jobcontrol.Suspended, true, "", "suspend wait", "check:false run:false"},
		{"run-only passes", "run-only", script{"run": 2}, jobcontrol.Successful, true, "2", "", "check:false run:true recheck:true"},
		{"run-only fails", "run-only", script{"run": fail("r")}, jobcontrol.Failed, true, "", "error r", "check:false run:false recheck:false"},
		{"assertion passes", "assertion", script{"check": 1}, jobcontrol.Successful, false, "1", "", "check:true"},
		{"assertion fails", "assertion", script{"check": fail("c")}, jobcontrol.Failed, false, "", "error c", "check:false"},
		{"group", "group", script{}, jobcontrol.Successful, false, "", "", "check:true"},
		{"a result that JSON cannot hold", "run-only", script{"run": make(chan int)}, jobcontrol.Failed, true, "", "user result refused: json: unsupported type: chan int", "check:false run:false recheck:false"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ended, lines := attempt(t, c.script, jobs[c.kind], engine.Engine{})
			if ended.State != c.state || ended.Changed != c.changed || string(ended.Result) != c.result {
				t.Errorf("got %s, changed %v, result %s", ended.State, ended.Changed, ended.Result)
			}
			got := ""
			if f := ended.Attempt.Failure; f != nil {
				got = string(f.Kind) + " " + f.Message
			}
			if diff := cmp.Diff(c.fail, got); diff != "" {
				t.Errorf("failure (-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(c.seen, strings.Join(lines, " ")); diff != "" {
				t.Errorf("phases (-want +got)\n%s", diff)
			}
		})
	}
}

// waits blocks until its context ends and returns why, as a command does.
func waits(ctx context.Context, _ *jobcontrol.Call) (any, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

func TestTimeouts(t *testing.T) {
	task := &jobcontrol.Task{Shell: "x"}
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		ended, _ := attempt(t, script{"run": waits}, &jobcontrol.Job{ID: "a", Run: task, SoftTimeout: 3 * time.Second, Timeout: time.Minute}, engine.Engine{})
		if f := ended.Attempt.Failure; f == nil || f.Kind != jobcontrol.FailTimeout || time.Since(begin) != 3*time.Second {
			t.Errorf("got %+v after %v", f, time.Since(begin))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		ended, lines := attempt(t, script{"check": errors.New("c"), "run": waits, "recheck": 5}, &jobcontrol.Job{ID: "a", Check: task, Run: task, Timeout: time.Second}, engine.Engine{})
		if ended.State != jobcontrol.Successful || string(ended.Result) != "5" {
			t.Errorf("a recheck after a timeout: %s %v", ended.State, lines)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		hard := false
		ended, _ := attempt(t, script{"run": func(ctx context.Context, c *jobcontrol.Call) (any, error) {
			<-ctx.Done()
			var h interface{ Hard() bool }
			hard = errors.As(context.Cause(ctx), &h) && h.Hard()
			return nil, context.Cause(ctx)
		}}, &jobcontrol.Job{ID: "a", Run: task, Timeout: time.Second}, engine.Engine{})
		if !hard || ended.Attempt.Failure.Kind != jobcontrol.FailTimeout {
			t.Errorf("hard %v, %+v", hard, ended.Attempt.Failure)
		}
	})
}

func TestRecorderFlushesAtMostTenTimesASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flushes, records := 0, 0
		e := engine.Engine{Report: func(_ context.Context, _ jobcontrol.Claim, logs []jobcontrol.LogRecord, _ []jobcontrol.Progress) error {
			flushes++
			records += len(logs)
			return nil
		}}
		ended, _ := attempt(t, script{"run": func(ctx context.Context, c *jobcontrol.Call) (any, error) {
			for range 5000 {
				c.Record.Log(jobcontrol.LogRecord{Message: "x"})
				n := int64(1)
				c.Record.Progress(jobcontrol.Progress{Current: &n})
				time.Sleep(time.Millisecond)
			}
			return nil, nil
		}}, &jobcontrol.Job{ID: "a", Run: &jobcontrol.Task{Shell: "x"}}, e)
		if flushes == 0 || flushes > 50 {
			t.Errorf("%d flushes in five seconds", flushes)
		}
		if records+len(ended.Logs) != 5000 {
			t.Errorf("%d records were stored, %d came at the end", records, len(ended.Logs))
		}
	})
}

func TestFaultOfTheStoreEndsTheAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := &jobcontrol.Error{Code: jobcontrol.Unavailable, Message: "disk full"}
		e := &engine.Engine{
			Report: func(context.Context, jobcontrol.Claim, []jobcontrol.LogRecord, []jobcontrol.Progress) error {
				return broken
			},
			Executor: script{"run": func(ctx context.Context, c *jobcontrol.Call) (any, error) {
				c.Record.Log(jobcontrol.LogRecord{Message: "x"})
				return waits(ctx, c)
			}},
		}
		_, err := e.Attempt(context.Background(), engine.Input{Build: &jobcontrol.Build{ID: 1}, Job: &jobcontrol.Job{ID: "a", Run: &jobcontrol.Task{Shell: "x"}}, Number: 1})
		if !errors.Is(err, jobcontrol.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	})
}

func TestSecretsNeverLeave(t *testing.T) {
	const value = "s3cr3t-value"
	e := engine.Engine{Secret: func(_ context.Context, name string) (string, error) { return value, nil }}
	j := &jobcontrol.Job{ID: "a", Run: &jobcontrol.Task{Shell: "x"}, Kwargs: map[string]any{"token": jobcontrol.Secret{Name: "t"}}}
	var given any
	ended, _ := attempt(t, script{"run": func(_ context.Context, c *jobcontrol.Call) (any, error) {
		given = c.Kwargs["token"]
		c.Record.Log(jobcontrol.LogRecord{Logger: "stdout", Message: "a " + value[:4], Continued: true})
		c.Record.Log(jobcontrol.LogRecord{Logger: "stdout", Message: value[4:] + " b", Attrs: map[string]any{"k": value}})
		n := int64(1)
		c.Record.Progress(jobcontrol.Progress{Path: []string{value}, Status: value, Current: &n})
		return map[string]any{"url": "http://x/?t=" + value}, nil
	}}, j, e)
	if given != value {
		t.Errorf("the task got %v", given)
	}
	failed, _ := attempt(t, script{"run": errors.New("bad token " + value)}, j, e)
	long, _ := attempt(t, script{"run": func(_ context.Context, c *jobcontrol.Call) (any, error) {
		c.Record.Progress(jobcontrol.Progress{Status: strings.Repeat("z", 1020) + value})
		return nil, errors.New(strings.Repeat("z", 100) + value[:7]) // it was cut
	}}, j, e)
	for _, text := range []string{long.Progress[0].Status, long.Attempt.Failure.Message} {
		if strings.Contains(text, value[:4]) {
			t.Errorf("a part of the secret stands at the end: …%s", text[len(text)-20:])
		}
	}
	for _, v := range []any{ended, ended.Logs, ended.Progress, failed, failed.Attempt.Phases} {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), value) || strings.Contains(string(data), value[4:]) {
			t.Errorf("the secret stands in %s", data)
		}
	}
	if !strings.Contains(failed.Attempt.Failure.Message, "bad token ***") {
		t.Errorf("got %q", failed.Attempt.Failure.Message)
	}
}

func TestDelay(t *testing.T) {
	for _, c := range []struct {
		base    time.Duration
		backoff string
		used    int
		want    time.Duration
	}{
		{time.Second, "", 5, time.Second},
		{time.Second, "exponential", 1, time.Second},
		{time.Second, "exponential", 4, 8 * time.Second},
		{time.Second, "exponential", 1 << 40, time.Hour},
		{2 * time.Hour, "exponential", 3, 2 * time.Hour},
		{1 << 62, "exponential", 3, 1 << 62},
		{-1, "", 1, 0},
	} {
		if got := engine.Delay(c.base, c.backoff, c.used, 0.5); got < c.want-time.Nanosecond*10 || got > c.want+time.Duration(float64(c.want)*0.001) {
			t.Errorf("%v %s %d: %v, want %v", c.base, c.backoff, c.used, got, c.want)
		}
	}
}

func TestNext(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	end := start.Add(time.Minute)
	for name, c := range map[string]struct {
		build jobcontrol.Build
		job   jobcontrol.Job
		kind  jobcontrol.FailureKind
		again bool
		at    time.Time
	}{
		"counts from the start":    {jobcontrol.Build{Tries: 2, RetryDelay: time.Second}, jobcontrol.Job{}, jobcontrol.FailError, true, start.Add(time.Second)},
		"counts from the end":      {jobcontrol.Build{Tries: 2, RetryDelay: time.Second}, jobcontrol.Job{RetryFrom: "end"}, jobcontrol.FailError, true, end.Add(time.Second)},
		"no try left":              {jobcontrol.Build{Tries: 2, TriesUsed: 1}, jobcontrol.Job{}, jobcontrol.FailError, false, time.Time{}},
		"panic":                    {jobcontrol.Build{Tries: 9}, jobcontrol.Job{}, jobcontrol.FailPanic, false, time.Time{}},
		"user":                     {jobcontrol.Build{Tries: 9}, jobcontrol.Job{}, jobcontrol.FailUser, false, time.Time{}},
		"asked, no try left":       {jobcontrol.Build{Tries: 1, RetryDelay: time.Second}, jobcontrol.Job{}, jobcontrol.FailRetry, true, end.Add(time.Second)},
		"asked for the 101st time": {jobcontrol.Build{Tries: 1, Asked: 100}, jobcontrol.Job{}, jobcontrol.FailRetry, false, time.Time{}},
	} {
		e := &jobcontrol.Ended{State: jobcontrol.Failed, Attempt: jobcontrol.Attempt{StartedAt: start, FinishedAt: end, Failure: &jobcontrol.Failure{Kind: c.kind}}}
		again, at := engine.Next(&c.build, &c.job, e)
		if again != c.again || !at.Equal(c.at) {
			t.Errorf("%s: %v %v", name, again, at)
		}
	}
}
