package executor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jobcontrol/jobcontrol"
)

// Limits of requests.
const (
	maxAnswerHeader = 64 << 10
	maxExcerpt      = 1 << 10   // of a body, in the log
	maxFailedBody   = 128 << 10 // of which an excerpt is taken: more than the longest secret
	maxRetryAfter   = time.Hour
	connectTime     = 30 * time.Second
)

// newTransport returns what requests go through. Each has a connection of its own:
// one that is used again and turns out to be closed would make net/http send a request
// with an Idempotency-Key twice, and nothing is left open when a task has ended.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: connectTime, KeepAlive: connectTime}).DialContext,
		TLSHandshakeTimeout:    connectTime,
		MaxResponseHeaderBytes: maxAnswerHeader,
		DisableKeepAlives:      true,
	}
}

// An exchange is a request and what became of it. One goroutine uses it.
type exchange struct {
	call  *jobcontrol.Call
	begin time.Time
	shown string // method and URL, for people

	status int // 0: there was no answer
	header http.Header
	body   []byte
	more   bool // the body is longer than what was read
}

// request executes a task that is an HTTP request.
func (e *Executor) request(ctx context.Context, c *jobcontrol.Call) (any, error) {
	if c.HTTP == nil || c.HTTP.URL == nil {
		return nil, userFailure("the request was not resolved")
	}
	x := &exchange{call: c, begin: time.Now(), shown: shownRequest(c)}
	err := x.perform(ctx, e.transport, e.agent)
	x.record(err)
	if err != nil {
		return nil, err
	}
	if !c.Task.HTTP.Expects(x.status) {
		x.recordBody()
		return nil, x.unexpected()
	}
	return x.result()
}

// perform sends the request and reads the answer. The error says why there is none.
func (x *exchange) perform(ctx context.Context, transport http.RoundTripper, agent string) error {
	spec, limited := x.call.Task.HTTP, ctx
	if spec.Timeout > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeoutCause(ctx, spec.Timeout, &jobcontrol.Failure{
			Kind: jobcontrol.FailTimeout, Message: fmt.Sprintf("%s: no answer within %v", x.shown, spec.Timeout),
		})
		defer cancel()
	}
	req, err := newRequest(limited, x.call, agent)
	if err != nil {
		return userFailure(x.shown + ": " + x.reason(err))
	}
	client := http.Client{Transport: transport, CheckRedirect: redirects(spec.RedirectLimit())}
	answer, err := client.Do(req)
	if err == nil {
		defer answer.Body.Close()
		x.status, x.header = answer.StatusCode, answer.Header
		err = x.read(answer.Body)
	}
	switch {
	case err == nil:
		return nil
	case limited.Err() != nil:
		return cancelled(limited)
	}
	return &jobcontrol.Failure{Kind: jobcontrol.FailError, Message: x.shown + ": " + x.reason(err)}
}

// read reads as much of the body as can be of use.
func (x *exchange) read(body io.Reader) error {
	most := jobcontrol.MaxResult
	if !x.call.Task.HTTP.Expects(x.status) {
		most = maxFailedBody
	}
	data, err := io.ReadAll(io.LimitReader(body, int64(most)+1))
	x.body = data
	if len(data) > most {
		x.body, x.more = data[:most], true
	}
	return err
}

// newRequest makes the request with our own headers.
func newRequest(ctx context.Context, c *jobcontrol.Call, agent string) (*http.Request, error) {
	var body io.Reader
	if c.HTTP.Body != nil {
		body = bytes.NewReader(c.HTTP.Body)
	}
	req, err := http.NewRequestWithContext(ctx, c.HTTP.Method, c.HTTP.URL.String(), body)
	if err != nil {
		return nil, err
	}
	h := req.Header
	h.Set("User-Agent", agent)
	if c.Build != 0 {
		h.Set("Jobcontrol-Build", strconv.FormatInt(c.Build, 10))
		h.Set("Jobcontrol-Attempt", strconv.Itoa(c.Attempt))
		h.Set("Jobcontrol-Fence", strconv.FormatInt(c.Fence, 10))
		if key := idempotencyKey(c); key != "" {
			h.Set("Idempotency-Key", key)
		}
	}
	switch {
	case c.Task.HTTP.JSON != nil:
		h.Set("Content-Type", "application/json")
	case c.HTTP.Body != nil:
		h.Set("Content-Type", "text/plain; charset=utf-8")
	}
	for name, value := range c.HTTP.Headers {
		if strings.EqualFold(name, "Host") {
			req.Host = value
			continue
		}
		h.Set(name, value)
	}
	return req, nil
}

// idempotencyKey is the same in all attempts of a build. A check has none: a server
// that remembers its answer would give it to the recheck, too.
func idempotencyKey(c *jobcontrol.Call) string {
	switch c.HTTP.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
	default:
		return ""
	}
	switch c.Phase {
	case jobcontrol.PhaseRun:
		return fmt.Sprintf("build-%d", c.Build)
	case jobcontrol.PhaseCleanup:
		return fmt.Sprintf("build-%d-cleanup", c.Build)
	}
	return ""
}

// redirects follows at most so many redirects. Another host gets none of the
// headers that were given, which may be credentials, and nothing goes from https to http.
func redirects(most int) func(*http.Request, []*http.Request) error {
	return func(req *http.Request, via []*http.Request) error {
		first := via[0]
		req.Header.Del("Referer") // it has the query
		switch {
		case most == 0:
			return http.ErrUseLastResponse
		case len(via) > most:
			return fmt.Errorf("stopped after %d redirects", most)
		case via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https":
			return errors.New("redirected from https to " + req.URL.Scheme)
		case req.URL.Scheme == first.URL.Scheme && req.URL.Host == first.URL.Host:
			return nil
		case req.Body != nil && req.Body != http.NoBody:
			return errors.New("redirected with its body to another host")
		}
		for name := range req.Header {
			switch name {
			case "Accept", "Accept-Language", "User-Agent":
			default:
				req.Header.Del(name)
			}
		}
		return nil
	}
}

// record writes the one record that every request leaves.
func (x *exchange) record(err error) {
	attrs := map[string]any{"duration_ms": time.Since(x.begin).Milliseconds()}
	text := x.shown + ": no answer"
	if x.status != 0 {
		text = x.shown + ": " + statusText(x.status)
		attrs["status"], attrs["size"] = x.status, len(x.body)
		switch {
		case err != nil:
			text += ", then it broke off"
		case x.more:
			text += fmt.Sprintf(", more than %d bytes", len(x.body))
		}
	}
	x.call.Record.Log(jobcontrol.LogRecord{Level: jobcontrol.LevelInfo, Logger: "http", Message: text, Attrs: attrs})
}

// recordBody writes the beginning of what an unexpected answer says.
func (x *exchange) recordBody() {
	text := strings.TrimSpace(x.redacted(strings.ToValidUTF8(string(x.body), "\uFFFD")))
	if text == "" {
		return
	}
	x.call.Record.Log(jobcontrol.LogRecord{Level: jobcontrol.LevelWarning, Logger: "http", Message: cut(text, maxExcerpt)})
}

func (x *exchange) redacted(s string) string {
	if x.call.Redact == nil {
		return s
	}
	return x.call.Redact(s)
}

// unexpected is the failure of an answer with a status that is not expected.
func (x *exchange) unexpected() *jobcontrol.Failure {
	want := "2xx"
	if e := x.call.Task.HTTP.Expect; len(e) > 0 {
		want = strings.Join(e, " or ")
	}
	f := &jobcontrol.Failure{Kind: jobcontrol.FailError, Message: fmt.Sprintf("%s: %s, not %s", x.shown, statusText(x.status), want)}
	switch s := x.status; {
	case s >= 500 || s == http.StatusTooManyRequests:
		if after, ok := retryAfter(x.header.Get("Retry-After"), time.Now()); ok {
			f.Kind, f.After = jobcontrol.FailRetry, after
		}
	case s == http.StatusRequestTimeout || s == http.StatusTooEarly:
	case s >= 400 && !x.convergent():
		f.Kind = jobcontrol.FailUser
	}
	return f
}

// convergent tells whether the request is the check of a job that has a run: then a
// status such as 404 says that something is not done, not that it cannot be.
func (x *exchange) convergent() bool {
	p := x.call.Phase
	return (p == jobcontrol.PhaseCheck || p == jobcontrol.PhaseRecheck) && x.call.Job.Run != nil
}

// retryAfter reads a number of seconds or a date; 0: the job's own delay.
func retryAfter(text string, now time.Time) (time.Duration, bool) {
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return min(time.Duration(n)*time.Second, maxRetryAfter), true
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0, false
	}
	return min(max(at.Sub(now), 0), maxRetryAfter), true
}

// result makes the value of the task.
func (x *exchange) result() (any, error) {
	mode := x.call.Task.HTTP.Result
	if mode == "" {
		return nil, nil
	}
	if x.more {
		return nil, userFailure(fmt.Sprintf(
			"result refused: more than %d bytes in the body; store it elsewhere and return a pointer to it", jobcontrol.MaxResult))
	}
	if mode == "body" {
		return strings.ToValidUTF8(string(x.body), "\uFFFD"), nil
	}
	data := bytes.TrimSpace(x.body)
	switch {
	case mode != "json":
		return nil, userFailure(fmt.Sprintf("result refused: no such result mode %q", mode))
	case len(data) == 0:
		return nil, userFailure("result refused: the body is empty, not JSON")
	case !json.Valid(data) || !utf8.Valid(data):
		x.recordBody()
		return nil, userFailure("result refused: the body is not valid JSON")
	}
	return json.RawMessage(data), nil
}

// reason is an error of net/http without the URL.
func (x *exchange) reason(err error) string {
	if e := (*url.Error)(nil); errors.As(err, &e) {
		err = e.Err
	}
	return cut(x.redacted(strings.ToValidUTF8(err.Error(), "\uFFFD")), lastLineMax)
}

// shownRequest is the method and the URL without what may be a secret in it: user,
// password, and the values of the query.
func shownRequest(c *jobcontrol.Call) string {
	u := *c.HTTP.URL
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	var names []string
	for part := range strings.SplitSeq(u.RawQuery, "&") {
		name, _, valued := strings.Cut(part, "=")
		if valued {
			name += "=…"
		}
		names = append(names, name)
	}
	u.RawQuery = ""
	text := u.String()
	if c.HTTP.URL.RawQuery != "" {
		text += "?" + strings.Join(names, "&")
	}
	if c.Redact != nil {
		text = c.Redact(text)
	}
	return cut(c.HTTP.Method+" "+text, lastLineMax)
}

func statusText(status int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", status, http.StatusText(status)))
}
