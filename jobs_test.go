package jobcontrol_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jobcontrol/jobcontrol"
)

func TestNewJobsTellsEveryProblem(t *testing.T) {
	run := &jobcontrol.Task{Shell: "true"}
	negative := -100 * time.Millisecond
	_, err := jobcontrol.NewJobs([]*jobcontrol.Job{
		{ID: "a", Dependencies: []string{"b"}, Run: run},
		{ID: "b", Dependencies: []string{"c"}, Run: run, Tries: -1},
		{ID: "c", Dependencies: []string{"a"}, Run: run, RetryDelay: &negative},
		{ID: "b", Run: run},
		{ID: "self", Dependencies: []string{"self"}, Run: run},
		{ID: "lost", Dependencies: []string{"sefl"}, Run: run},
		{ID: "slash/", Run: run},
		{ID: "arg", Run: run, Args: []any{jobcontrol.Retval{Job: "a"}}},
		{ID: "leak", Run: run, Args: []any{jobcontrol.Secret{Name: "token"}}},
		{ID: "clean", Check: run, Cleanup: run},
	})
	var problems jobcontrol.Problems
	if !errors.As(err, &problems) || !errors.Is(err, jobcontrol.ErrInvalid) {
		t.Fatalf("got %v", err)
	}
	var got []string
	for _, p := range problems {
		got = append(got, fmt.Sprintf("%d %s: %s (%s)", p.Index, p.Field, p.Message, p.Hint))
	}
	want := []string{
		`0 dependencies[0]: the dependencies form a cycle: a -> b -> c -> a (remove one of these dependencies)`,
		`1 tries: TRIES "-1" must be >= 1. (tries counts the attempts in all)`,
		`2 retry_delay: RETRY_DELAY "-0.1" cannot be negative ()`,
		`3 id: job "b" is defined twice (job ids must be unique)`,
		`4 dependencies[0]: a job cannot depend on itself ()`,
		`5 dependencies[0]: there is no job "sefl" (did you mean "self"?)`,
		`6 id: job id "slash/" must not contain '/' ()`,
		`7 args[0]: job "a" is not a dependency of this job (add "a" to the dependencies)`,
		`8 args[0]: a secret must not be an argument of a command (give it in kwargs or env: everybody on the machine can read a process's arguments)`,
		`9 cleanup: there is no run (cleanup undoes what run did; a job without run has nothing to clean up)`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestCheckJobID(t *testing.T) {
	for _, id := range []string{"a", "Invite Wendell Bagg", "größe", strings.Repeat("x", 128), "a:b.c-d_e"} {
		if err := jobcontrol.CheckJobID(id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, id := range []string{"", " a", "a ", "a/b", "a\nb", "\x00", "a\u202eb", "\xff", strings.Repeat("x", 129)} {
		if err := jobcontrol.CheckJobID(id); err == nil {
			t.Errorf("%q was accepted", id)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"crawl_example_com", "crawl_example_org", "process", "dependencies"}
	for name, want := range map[string]string{"proces": "process", "prcoess": "process", "dependencys": "dependencies", "crawl_example_cm": "crawl_example_com", "zzz": ""} {
		if got := jobcontrol.Nearest(name, names); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func TestStatuses(t *testing.T) {
	run := &jobcontrol.Task{Shell: "true"}
	jobs, err := jobcontrol.NewJobs([]*jobcontrol.Job{
		{ID: "a", Run: run},
		{ID: "b", Run: run, Dependencies: []string{"a"}},
		{ID: "c", Run: run, Dependencies: []string{"b"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	at := func(s int) time.Time { return time.Date(2026, 1, 1, 0, 0, s, 0, time.UTC) }
	good := func(id int64, s int, changed int64, pins map[string]int64) jobcontrol.Head {
		return jobcontrol.Head{Latest: id, LatestFinished: id, FinishedState: jobcontrol.Successful, Good: id, GoodAt: at(s), GoodPins: pins, GoodChanged: changed, GoodChangedAt: at(s)}
	}
	for name, c := range map[string]struct {
		heads map[string]jobcontrol.Head
		want  string
	}{
		"nothing built":                {map[string]jobcontrol.Head{}, "not_built/true not_built/false not_built/false"},
		"created builds do not count":  {map[string]jobcontrol.Head{"a": {Latest: 1, Unfinished: 1}}, "not_built/true not_built/false not_built/false"},
		"only skipped builds":          {map[string]jobcontrol.Head{"a": {Latest: 1, LatestFinished: 1, FinishedState: jobcontrol.Skipped}}, "failed/true not_built/false not_built/false"},
		"all good":                     {map[string]jobcontrol.Head{"a": good(1, 1, 1, nil), "b": good(2, 2, 2, map[string]int64{"a": 1}), "c": good(3, 3, 3, map[string]int64{"b": 2})}, "successful/true successful/true successful/true"},
		"a newer, changed":             {map[string]jobcontrol.Head{"a": good(4, 4, 4, nil), "b": good(2, 2, 2, map[string]int64{"a": 1}), "c": good(3, 3, 3, map[string]int64{"b": 2})}, "successful/true outdated/true successful/true+upstream"},
		"a newer, unchanged":           {map[string]jobcontrol.Head{"a": good(4, 4, 1, nil), "b": good(2, 2, 2, map[string]int64{"a": 1})}, "successful/true successful/true not_built/true"},
		"no pin: by end time":          {map[string]jobcontrol.Head{"a": good(4, 4, 4, nil), "b": good(2, 2, 2, nil)}, "successful/true outdated/true not_built/true+upstream"},
		"no pin, same end: up to date": {map[string]jobcontrol.Head{"a": good(1, 2, 1, nil), "b": good(2, 2, 2, nil)}, "successful/true successful/true not_built/true"},
	} {
		var got []string
		for _, s := range jobcontrol.Statuses(jobs, c.heads) {
			text := fmt.Sprintf("%s/%v", s.Status, s.Buildable)
			if len(s.OutdatedUpstream) > 0 {
				text += "+upstream"
			}
			got = append(got, text)
		}
		if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}

func TestTransitions(t *testing.T) {
	for from := jobcontrol.Held; from <= jobcontrol.Blocked; from++ {
		for name := range jobcontrol.Transitions {
			for to := jobcontrol.Held; to <= jobcontrol.Blocked; to++ {
				err := name.Check(from, to)
				if from.Final() && err == nil {
					t.Errorf("%s leads from the final state %s to %s", name, from, to)
				}
				if err != nil && !errors.Is(err, jobcontrol.ErrConflict) {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
}
