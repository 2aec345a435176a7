package jobcontrol_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jobcontrol/jobcontrol"
)

// httpJob is a job that only has this request.
func httpJob(h *jobcontrol.HTTP) *jobcontrol.Job {
	return &jobcontrol.Job{
		ID: "a", Run: &jobcontrol.Task{HTTP: h}, Dependencies: []string{"dep"},
		Args:   []any{"x/y", int64(2)},
		Kwargs: map[string]any{"id": int64(7), "path": "..", "token": jobcontrol.Secret{Name: "t"}, "text": "a b&c{id}", "dep": jobcontrol.Retval{Job: "dep"}},
	}
}

func resolveHTTP(j *jobcontrol.Job) (*jobcontrol.Resolved, error) {
	return jobcontrol.ResolveArguments(j, nil, jobcontrol.PhaseRun,
		func(jobcontrol.Retval) (any, error) {
			return map[string]any{"name": "{token}", "n": []any{int64(1)}}, nil
		},
		func(jobcontrol.Secret) (any, error) { return "hunter2{id}", nil })
}

func TestHTTPResolved(t *testing.T) {
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	const dep = `{"$retval": {"job": "dep", "path": "name"}}`
	for _, test := range []struct {
		h    jobcontrol.HTTP
		want string // method, URL, headers, body
	}{
		{jobcontrol.HTTP{URL: raw(`"http://x/"`)}, `GET http://x/ {} -`},
		{jobcontrol.HTTP{URL: raw(`"http://x/{id}/{0}?a={text}&b={1}&c={token}"`)}, `GET http://x/7/x%2Fy?a=a%20b%26c%7Bid%7D&b=2&c=hunter2%7Bid%7D {} -`},
		{jobcontrol.HTTP{URL: raw(`"http://x/"`), Body: raw(`"{id} {oops}"`)}, `POST http://x/ {} {id} {oops}`},
		{jobcontrol.HTTP{URL: raw(`"http://x/"`), Body: raw(`"{id}"`)}, `POST http://x/ {} 7`},
		{jobcontrol.HTTP{URL: raw(`"http://x/"`), Method: "PUT", Body: raw(dep)}, `PUT http://x/ {} {token}`},
		{
			jobcontrol.HTTP{
				URL: raw(`"http://x/"`), Headers: raw(`{"A": "Bearer {token}", "B": ` + dep + `, "C": {"$secret": "t"}}`),
				JSON: raw(`{"a": "{id}", "b": ["{text}", "not {id}", ` + dep + `, null, {"$retval": {"job": "dep"}}], "{id}": {"$secret": "t"}}`),
			},
			`POST http://x/ {"A":"Bearer hunter2{id}","B":"{token}","C":"hunter2{id}"} ` +
				`{"a":7,"b":["a b&c{id}","not {id}","{token}",null,{"n":[1],"name":"{token}"}],"{id}":"hunter2{id}"}`,
		},
	} {
		r, err := resolveHTTP(httpJob(&test.h))
		if err != nil {
			t.Errorf("%s: %v", test.want, err)
			continue
		}
		headers, _ := json.Marshal(r.HTTP.Headers)
		body := "-"
		if r.HTTP.Body != nil {
			body = string(r.HTTP.Body)
		}
		got := r.HTTP.Method + " " + r.HTTP.URL.String() + " " + string(headers) + " " + body
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Error(diff)
		}
		if r.Results["dep"] == nil {
			t.Error("the result of dep was used and is not told")
		}
	}
}

func TestHTTPRefused(t *testing.T) {
	for _, test := range []struct{ url, headers, want string }{
		{`"http://x/{path}/etc"`, "", "must not make . or .. a part"},
		{`"http://x/{none}"`, "", "no keyword argument {none}"},
		{`"http://x/{9}"`, "", "no argument {9}: the job has 2"},
		{`"http://{0}/"`, "", "URL"},
		{`{"$secret": "t"}`, "", "must begin with http"},
		{`"http://x/"`, `{"A": {"$retval": {"job": "dep", "path": "none"}}}`, "no key"},
	} {
		h := &jobcontrol.HTTP{URL: json.RawMessage(test.url)}
		if test.headers != "" {
			h.Headers = json.RawMessage(test.headers)
		}
		_, err := resolveHTTP(httpJob(h))
		var f *jobcontrol.Failure
		if !errors.As(err, &f) || f.Kind != jobcontrol.FailUser || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", test.url, err)
		}
	}
	j := httpJob(&jobcontrol.HTTP{URL: json.RawMessage(`"http://x/"`), Headers: json.RawMessage(`{"A": "{text}"}`)})
	j.Kwargs["text"] = "a\r\nInjected: b"
	if _, err := resolveHTTP(j); err == nil || !strings.Contains(err.Error(), "line break") {
		t.Errorf("a header of two lines: %v", err)
	}
}

// A definition without a request is what it was before there were requests.
func TestHTTPKeepsHashes(t *testing.T) {
	j := &jobcontrol.Job{ID: "a", Check: &jobcontrol.Task{Command: []string{"true"}}, Run: &jobcontrol.Task{Shell: "echo"}}
	body, hash, err := j.Definition()
	const want = `{"id":"a","check":{"command":["true"]},"run":{"shell":"echo"}}`
	if err != nil || string(body) != want || hash != jobcontrol.HashDefinition([]byte(want)) {
		t.Errorf("%s, %v", body, err)
	}
	j = httpJob(&jobcontrol.HTTP{URL: json.RawMessage(`"http://x/?a=1&b=2"`), Expect: []string{"2xx"}, Timeout: 5})
	body, hash, err = j.Definition()
	if err != nil {
		t.Fatal(err)
	}
	var back jobcontrol.Job
	if err := json.Unmarshal(body, &back); err != nil {
		t.Fatal(err)
	}
	if _, again, err := back.Definition(); err != nil || again != hash {
		t.Errorf("%s comes back as %s, %v", hash, again, err)
	}
	masked := jobcontrol.HTTP{URL: json.RawMessage(`"http://user:a:b@x/{id}?a=c@d"`)}
	if s := masked.String(); s != "GET http://user:***@x/{id}?a=c@d" {
		t.Error(s)
	}
	if s := back.Run.String(); s != "GET http://x/?a=1&b=2" || back.Run.IsCommand() {
		t.Error(s)
	}
}
