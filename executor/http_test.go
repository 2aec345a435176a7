package executor_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
)

// fetch sends a request in phase run.
func fetch(t *testing.T, ctx context.Context, h jobcontrol.HTTP, address string, change ...func(c *jobcontrol.Call)) (any, *recorder, error) {
	t.Helper()
	rec := newRecorder()
	h.URL, _ = json.Marshal(address)
	c := newCall(rec, &jobcontrol.Task{HTTP: &h})
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	c.HTTP = &jobcontrol.HTTPRequest{Method: h.MethodOrDefault(), URL: u}
	for _, f := range change {
		f(c)
	}
	v, err := newExecutor(t, executor.Config{UserAgent: "jobcontrol/test"}).Execute(ctx, c)
	return v, rec, err
}

func serve(t *testing.T, f http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s.URL
}

func TestHTTPStatus(t *testing.T) {
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var status int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d", &status)
		if after := r.URL.Query().Get("after"); after != "" {
			w.Header().Set("Retry-After", after)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "the server says why")
	})
	date := url.QueryEscape(time.Now().Add(100 * time.Hour).UTC().Format(http.TimeFormat))
	for _, test := range []struct {
		path   string
		expect []string
		kind   jobcontrol.FailureKind // "": success
		after  time.Duration
	}{
		{"/200", nil, "", 0},
		{"/204", nil, "", 0},
		{"/200", []string{"201"}, "error", 0},
		{"/404", []string{"200", "404"}, "", 0},
		{"/404", []string{"4xx"}, "", 0},
		{"/304", nil, "error", 0},
		{"/400", nil, "user", 0},
		{"/404?after=5", nil, "user", 0},
		{"/408", nil, "error", 0},
		{"/425", nil, "error", 0},
		{"/429", nil, "error", 0},
		{"/429?after=7", nil, "retry", 7 * time.Second},
		{"/429?after=soon", nil, "error", 0},
		{"/500", nil, "error", 0},
		{"/503?after=120", nil, "retry", 2 * time.Minute},
		{"/503?after=99999999", nil, "retry", time.Hour},
		{"/503?after=" + date, nil, "retry", time.Hour},
		{"/503?after=-1", nil, "error", 0},
	} {
		_, rec, err := fetch(t, context.Background(), jobcontrol.HTTP{Expect: test.expect}, address+test.path)
		logs := rec.lines("http")
		if test.kind == "" {
			if err != nil || len(logs) != 1 {
				t.Errorf("%s: %v, %q", test.path, err, logs)
			}
			continue
		}
		f := failure(t, err, test.kind)
		if f.After != test.after {
			t.Errorf("%s: tried again after %v, want %v", test.path, f.After, test.after)
		}
		want := 2
		if test.path == "/304" { // has no body
			want = 1
		}
		if len(logs) != want || want == 2 && logs[1] != "the server says why" {
			t.Errorf("%s: log %q", test.path, logs)
		}
	}
}

func TestHTTPCheckThatSaysNotDone(t *testing.T) {
	address := serve(t, http.NotFound)
	for _, test := range []struct {
		phase jobcontrol.Phase
		kind  jobcontrol.FailureKind
	}{{jobcontrol.PhaseCheck, "error"}, {jobcontrol.PhaseRecheck, "error"}, {jobcontrol.PhaseRun, "user"}, {jobcontrol.PhaseCleanup, "user"}} {
		_, _, err := fetch(t, context.Background(), jobcontrol.HTTP{}, address, func(c *jobcontrol.Call) { c.Phase = test.phase })
		failure(t, err, test.kind)
	}
	_, _, err := fetch(t, context.Background(), jobcontrol.HTTP{}, address, func(c *jobcontrol.Call) {
		c.Phase, c.Job.Run = jobcontrol.PhaseCheck, nil // an assertion
	})
	failure(t, err, "user")
}

func TestHTTPRequestHeaders(t *testing.T) {
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprint(w, r.Method, " ", r.Host, " ", string(body))
		for _, name := range []string{"User-Agent", "Jobcontrol-Build", "Jobcontrol-Attempt", "Jobcontrol-Fence", "Idempotency-Key", "Content-Type", "X-Own"} {
			_, _ = fmt.Fprint(w, "|", r.Header.Get(name))
		}
	})
	text := func(method, body string, headers map[string]string) func(c *jobcontrol.Call) {
		return func(c *jobcontrol.Call) {
			c.HTTP.Method, c.HTTP.Headers = method, headers
			if body != "" {
				c.HTTP.Body = []byte(body)
			}
		}
	}
	phase := func(p jobcontrol.Phase) func(c *jobcontrol.Call) {
		return func(c *jobcontrol.Call) { c.Phase = p }
	}
	for _, test := range []struct {
		h      jobcontrol.HTTP
		change []func(c *jobcontrol.Call)
		want   string
	}{
		{jobcontrol.HTTP{}, nil, "GET HOST |jobcontrol/test|8|1|9|||"},
		{jobcontrol.HTTP{}, []func(c *jobcontrol.Call){text("POST", "a=1", map[string]string{"X-Own": "x"})}, "POST HOST a=1|jobcontrol/test|8|1|9|build-8|text/plain; charset=utf-8|x"},
		{jobcontrol.HTTP{JSON: []byte("1")}, []func(c *jobcontrol.Call){text("PUT", "1", nil)}, "PUT HOST 1|jobcontrol/test|8|1|9|build-8|application/json|"},
		{jobcontrol.HTTP{}, []func(c *jobcontrol.Call){text("PATCH", "1", map[string]string{"idempotency-key": "mine", "host": "other.example", "user-agent": "me", "content-type": "a/b"})}, "PATCH other.example 1|me|8|1|9|mine|a/b|"},
		{jobcontrol.HTTP{}, []func(c *jobcontrol.Call){text("POST", "", nil), phase(jobcontrol.PhaseCheck)}, "POST HOST |jobcontrol/test|8|1|9|||"},
		{jobcontrol.HTTP{}, []func(c *jobcontrol.Call){text("POST", "", nil), phase(jobcontrol.PhaseCleanup)}, "POST HOST |jobcontrol/test|8|1|9|build-8-cleanup||"},
		{jobcontrol.HTTP{}, []func(c *jobcontrol.Call){text("DELETE", "", nil), func(c *jobcontrol.Call) { c.Build = 0 }}, "DELETE HOST |jobcontrol/test||||||"},
	} {
		test.h.Result = "body"
		v, _, err := fetch(t, context.Background(), test.h, address, test.change...)
		want := strings.ReplaceAll(test.want, "HOST", strings.TrimPrefix(address, "http://"))
		if err != nil || v != want {
			t.Errorf("got  %v, %v\nwant %s", v, err, want)
		}
	}
}

func TestHTTPResult(t *testing.T) {
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n := r.URL.Query().Get("size"); n != "" {
			var size int
			_, _ = fmt.Sscan(n, &size)
			_, _ = w.Write([]byte(strings.Repeat("1", size)))
			return
		}
		_, _ = io.WriteString(w, r.URL.Query().Get("body"))
	})
	most := jobcontrol.MaxResult
	for _, test := range []struct{ result, query, want string }{
		{"", "body=x", "null"},
		{"", fmt.Sprint("size=", 2*most), "null"},
		{"body", "body=a%0Ab", `"a\nb"`},
		{"body", "body=%ff", `"` + "\uFFFD" + `"`},
		{"json", "body=%20{\"a\":[1,2.50]}%0A", `{"a":[1,2.50]}`},
		{"json", fmt.Sprint("size=", most), strings.Repeat("1", most)},
	} {
		v, _, err := fetch(t, context.Background(), jobcontrol.HTTP{Result: test.result}, address+"/?"+test.query)
		if err != nil || asJSON(t, v) != test.want {
			t.Errorf("%s of %s: %v", test.result, test.query, err)
		}
	}
	for _, test := range []struct{ result, query, want string }{
		{"body", fmt.Sprint("size=", most+1), "more than 1048576 bytes in the body"},
		{"json", fmt.Sprint("size=", 20*most), "more than 1048576 bytes in the body"},
		{"json", "body=", "the body is empty"},
		{"json", "body={oops", "not valid JSON"},
	} {
		_, _, err := fetch(t, context.Background(), jobcontrol.HTTP{Result: test.result}, address+"/?"+test.query)
		if f := failure(t, err, "user"); !strings.Contains(f.Message, test.want) {
			t.Errorf("%s of %s: %s", test.result, test.query, f.Message)
		}
	}
}

func TestHTTPLimits(t *testing.T) {
	huge := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Huge", strings.Repeat("x", 128<<10))
	})
	_, _, err := fetch(t, context.Background(), jobcontrol.HTTP{}, huge)
	if f := failure(t, err, "error"); !strings.Contains(f.Message, "headers exceeded 65536 bytes") {
		t.Error(f.Message)
	}
	long := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(500)
		_, _ = w.Write([]byte(strings.Repeat("é", 1<<20)))
	})
	_, rec, err := fetch(t, context.Background(), jobcontrol.HTTP{}, long)
	failure(t, err, "error")
	if logs := rec.lines("http"); len(logs) != 2 || len(logs[1]) != 1<<10 || !strings.Contains(logs[0], "more than 131072 bytes") {
		t.Errorf("log %.200q", logs)
	}
	_, _, err = fetch(t, context.Background(), jobcontrol.HTTP{}, "http://127.0.0.1:1/?token=hunter2")
	if f := failure(t, err, "error"); !strings.Contains(f.Message, "GET http://127.0.0.1:1/?token=…: dial tcp") || strings.Contains(f.Message, "hunter2") {
		t.Error(f.Message)
	}
	torn := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "half")
	})
	_, rec, err = fetch(t, context.Background(), jobcontrol.HTTP{}, torn)
	if f := failure(t, err, "error"); !strings.Contains(f.Message, "unexpected EOF") || !strings.Contains(rec.lines("http")[0], "broke off") {
		t.Error(f.Message, rec.lines("http"))
	}
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // it says that the client refused
	secure.StartTLS()
	defer secure.Close()
	_, _, err = fetch(t, context.Background(), jobcontrol.HTTP{}, secure.URL)
	if f := failure(t, err, "error"); !strings.Contains(f.Message, "certificate") {
		t.Error(f.Message)
	}
}

func TestHTTPRedirects(t *testing.T) {
	other := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.Method, "|", r.Header.Get("X-Key"), r.Header.Get("Jobcontrol-Build"), r.Header.Get("Referer"))
	})
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/other":
			http.Redirect(w, r, other, http.StatusTemporaryRedirect)
		case "/file":
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		case "/here":
			http.Redirect(w, r, "/there", http.StatusFound)
		default:
			_, _ = fmt.Fprint(w, r.Method, "|", r.Header.Get("X-Key"))
		}
	})
	key := func(c *jobcontrol.Call) { c.HTTP.Headers = map[string]string{"X-Key": "hunter2"} }
	three, none := 3, 0
	for _, test := range []struct {
		path, method string
		most         *int
		want         string // of the body; else of the failure, after !
	}{
		{"/here", "GET", nil, "GET|hunter2"},
		{"/other", "GET", nil, "GET|"},
		{"/loop", "GET", nil, "!stopped after 10 redirects"},
		{"/loop", "GET", &three, "!stopped after 3 redirects"},
		{"/here", "GET", &none, "!302 Found, not 2xx"},
		{"/here", "POST", nil, "!302 Found, not 2xx"},
		{"/here", "POST", &three, "GET|hunter2"},
		{"/other", "POST", &three, "!redirected with its body to another host"},
		{"/file", "GET", nil, "!unsupported protocol scheme"},
	} {
		v, _, err := fetch(t, context.Background(), jobcontrol.HTTP{Method: test.method, Redirects: test.most, Result: "body"}, address+test.path+"?q=hunter2", key,
			func(c *jobcontrol.Call) {
				if test.method == "POST" {
					c.HTTP.Body = []byte("body")
				}
			})
		if want, fails := strings.CutPrefix(test.want, "!"); fails {
			if f := failure(t, err, "error"); !strings.Contains(f.Message, want) || strings.Contains(f.Message, "hunter2") {
				t.Errorf("%s: %s", test.path, f.Message)
			}
		} else if err != nil || v != test.want {
			t.Errorf("%s: %v, %v", test.path, v, err)
		}
	}
}

func TestHTTPEnds(t *testing.T) {
	for _, path := range []string{"/", "/body"} {
		began := make(chan struct{}, 1)
		address := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/body" {
				_, _ = io.WriteString(w, "some")
				w.(http.Flusher).Flush()
			}
			select {
			case began <- struct{}{}:
			default:
			}
			<-r.Context().Done()
		})
		ctx, cancel := context.WithCancelCause(context.Background())
		go func() {
			<-began
			cancel(&jobcontrol.Failure{Kind: jobcontrol.FailCancel, Message: "asked to"})
		}()
		_, _, err := fetch(t, ctx, jobcontrol.HTTP{}, address+path)
		if f := failure(t, err, "cancel"); f.Message != "asked to" {
			t.Error(f.Message)
		}
		_, _, err = fetch(t, context.Background(), jobcontrol.HTTP{Timeout: 50 * time.Millisecond}, address+path)
		if f := failure(t, err, "timeout"); !strings.Contains(f.Message, "no answer within 50ms") {
			t.Error(f.Message)
		}
	}
}

func TestHTTPShowsNoSecret(t *testing.T) {
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(500)
		_, _ = io.WriteString(w, strings.Repeat("x", 1<<10-3)+"hunter2")
	})
	address = strings.Replace(address, "http://", "http://user:hunter2@", 1) + "/hunter2?a=hunter2&hunter2#hunter2"
	_, rec, err := fetch(t, context.Background(), jobcontrol.HTTP{}, address, func(c *jobcontrol.Call) {
		c.Redact = func(s string) string { return strings.ReplaceAll(s, "hunter2", "***") }
	})
	f := failure(t, err, "error")
	all := f.Message + strings.Join(rec.lines("http"), "\n")
	if strings.Contains(all, "hun") || !strings.Contains(f.Message, "/***?a=…&***: 500 Internal Server Error, not 2xx") {
		t.Errorf("%s", all)
	}
	if _, _, err := fetch(t, context.Background(), jobcontrol.HTTP{}, address, func(c *jobcontrol.Call) { c.HTTP = nil }); err == nil || errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
