package jobcontrol_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

func TestCheckServices(t *testing.T) {
	for _, c := range []struct {
		name     string
		services []jobcontrol.Service
		want     string
	}{
		{"good", []jobcontrol.Service{{Name: "fast", Fallback: "slow"}, {Name: "slow", Concurrency: 2}}, ""},
		{"fallback that is not described", []jobcontrol.Service{{Name: "fast", Fallback: "slow"}}, ""},
		{"bad name", []jobcontrol.Service{{Name: "a b"}}, `service "a b" must be letters, digits and . _ - : and begin with a letter or digit`},
		{"negative", []jobcontrol.Service{{Name: "a", Concurrency: -1}}, "service a: concurrency must not be negative"},
		{"no key", []jobcontrol.Service{{Name: "a", KeyConcurrency: 1}}, "service a: key_concurrency needs a key, such as key: [kwargs.site]"},
		{"itself", []jobcontrol.Service{{Name: "a", Fallback: "a"}}, "service a: it cannot be its own fallback"},
		{"twice", []jobcontrol.Service{{Name: "a"}, {Name: "a"}}, "service a is described twice"},
		{
			"circular", // Launchpad: Circular chain of fallback queues
			[]jobcontrol.Service{{Name: "launchpad_job", Fallback: "launchpad_job_slow"}, {Name: "launchpad_job_slow", Fallback: "launchpad_job"}},
			"circular chain of fallback services: launchpad_job already in [launchpad_job, launchpad_job_slow]",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			if err := jobcontrol.CheckServices(c.services); err != nil {
				got = err.Error()
				if jobcontrol.CodeOf(err) != jobcontrol.Invalid {
					t.Errorf("code is %s", jobcontrol.CodeOf(err))
				}
			}
			if got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

// enqueueing is what the queue knows of a build of j with these arguments.
func enqueueing(t *testing.T, j *jobcontrol.Job, b jobcontrol.Build, services ...jobcontrol.Service) jobcontrol.Build {
	t.Helper()
	p := jobcontrol.Planner{Services: services}
	if err := p.Enqueueing(j, &b); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEnqueueingKeys(t *testing.T) {
	args := func(v ...any) jobcontrol.EncodedArguments {
		data, err := jobcontrol.EncodeArguments(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	kwargs := func(m map[string]any) jobcontrol.EncodedArguments {
		data, err := jobcontrol.EncodeArguments(m)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	byFirst := &jobcontrol.Job{ID: "a", Unique: []string{"args.0", "kwargs.site.host"}}
	same := []jobcontrol.Build{
		{Args: args("x", 1), Kwargs: kwargs(map[string]any{"site": map[string]any{"host": "h", "port": 1}})},
		{Args: args("x", 2), Kwargs: kwargs(map[string]any{"site": map[string]any{"host": "h", "port": 2}, "more": true})},
	}
	one, two := enqueueing(t, byFirst, same[0]), enqueueing(t, byFirst, same[1])
	if one.Unique == "" || one.Unique != two.Unique {
		t.Errorf("what the paths do not name makes a difference: %q and %q", one.Unique, two.Unique)
	}
	if other := enqueueing(t, byFirst, jobcontrol.Build{Args: args("y", 1), Kwargs: same[0].Kwargs}); other.Unique == one.Unique {
		t.Error("another first argument makes no difference")
	}
	if other := enqueueing(t, &jobcontrol.Job{ID: "b", Unique: byFirst.Unique}, same[0]); other.Unique == one.Unique {
		t.Error("another job makes no difference")
	}
	all := &jobcontrol.Job{ID: "a", Unique: []string{"*"}, Args: []any{"x"}}
	if enqueueing(t, all, jobcontrol.Build{}).Unique != enqueueing(t, all, jobcontrol.Build{Args: args("x")}).Unique {
		t.Error("the job's own arguments, given by hand, make a difference")
	}
	if enqueueing(t, all, jobcontrol.Build{}).Unique == enqueueing(t, all, jobcontrol.Build{Args: args("z")}).Unique {
		t.Error("other arguments make no difference")
	}
	plain := enqueueing(t, &jobcontrol.Job{ID: "a", Args: []any{"x"}}, jobcontrol.Build{})
	if plain.Unique != "" || plain.Key != "" {
		t.Errorf("a job without unique has keys: %+v", plain)
	}
}

func TestEnqueueingService(t *testing.T) {
	crawl := jobcontrol.Service{Name: "crawl", Key: []string{"kwargs.site"}, KeyConcurrency: 1, Priority: 10}
	job := func(site string) *jobcontrol.Job {
		return &jobcontrol.Job{ID: "get " + site, Service: "crawl", Priority: 2, Kwargs: map[string]any{"site": site}}
	}
	one := enqueueing(t, job("a.example"), jobcontrol.Build{Priority: 1}, crawl)
	if one.Service != "crawl" || one.Priority != 13 || one.Key == "" {
		t.Errorf("service %q, priority %d, key %q", one.Service, one.Priority, one.Key)
	}
	if enqueueing(t, job("b.example"), jobcontrol.Build{}, crawl).Key == one.Key {
		t.Error("two sites have one key")
	}
	crawl.KeyConcurrency, crawl.RatePer = 0, time.Minute
	if enqueueing(t, job("a.example"), jobcontrol.Build{}, crawl).Key != "" {
		t.Error("a service without a limit by key has keys")
	}
	unnamed := enqueueing(t, &jobcontrol.Job{ID: "x"}, jobcontrol.Build{}, jobcontrol.Service{Name: jobcontrol.DefaultService, Priority: 4})
	if unnamed.Service != "" || unnamed.Priority != 4 {
		t.Errorf("the default service is not meant by no name: %+v", unnamed)
	}
}

// TestUniqueHoweverWritten: what is unique by all of its arguments is so by their
// values, not by how a program has written them.
func TestUniqueHoweverWritten(t *testing.T) {
	j := &jobcontrol.Job{ID: "a", Unique: []string{"*"}}
	first := enqueueing(t, j, jobcontrol.Build{Kwargs: []byte(`{"age":3,"url":"a<b"}`)}).Unique
	for _, b := range []jobcontrol.Build{
		{Kwargs: []byte(`{"url":"a\u003cb","age":3}`)},
		{Args: []byte(`[]`), Kwargs: []byte(`{"age":3,"url":"a<b"}`)},
	} {
		if got := enqueueing(t, j, b).Unique; got != first {
			t.Errorf("%s %s: %s, want %s", b.Args, b.Kwargs, got, first)
		}
	}
}

// TestArgumentsTooLarge: arguments beyond a megabyte are refused, however they come.
func TestArgumentsTooLarge(t *testing.T) {
	j := &jobcontrol.Job{ID: "a"}
	data := []byte(`["` + strings.Repeat("x", jobcontrol.MaxArguments-4) + `"]`)
	var p jobcontrol.Planner
	if _, err := p.Lone("", j, nil, "", jobcontrol.Enqueued{Args: data}); err != nil {
		t.Errorf("%d bytes: %v", len(data), err)
	}
	_, err := p.Lone("", j, nil, "", jobcontrol.Enqueued{Args: data, Kwargs: []byte(`{}`)})
	if !errors.Is(err, jobcontrol.ErrInvalid) || !strings.Contains(err.Error(), "build of a: its arguments have 1048578 bytes") || jobcontrol.HintOf(err) == "" {
		t.Errorf("%v, hint %q", err, jobcontrol.HintOf(err))
	}
}
