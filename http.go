package jobcontrol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// HTTP is a task that is a request. URL, Headers, Body and JSON have the form of
// [EncodeArguments], with placeholders. In texts of the file, never in what
// stands for a placeholder, {name} is the keyword argument of that name and {0} the
// first of the others: anywhere in the URL, where it is escaped, and in headers; in
// Body and JSON only as the whole of a text, and then it is the argument itself.
type HTTP struct {
	Method    string           `json:"method,omitempty"`           // "": GET, or POST where there is a body
	URL       EncodedArguments `json:"url"`                        // a text or a placeholder
	Headers   EncodedArguments `json:"headers,omitempty"`          // a mapping
	Body      EncodedArguments `json:"body,omitempty"`             // sent as it is, if it is a text, else as JSON
	JSON      EncodedArguments `json:"json,omitempty"`             // sent as JSON; not beside Body
	Expect    []string         `json:"expect,omitempty"`           // statuses such as 200 and 2xx; none: 2xx
	Result    string           `json:"result,omitempty"`           // "" (no result), "body" (a text) or "json"
	Timeout   time.Duration    `json:"timeout,omitempty"`          // of the request with its redirects; 0: only the job's
	Redirects *int             `json:"follow_redirects,omitempty"` // at most so many; nil: 10 for GET and HEAD, else none
}

// HTTPRequest is what an [HTTP] task sends, without placeholders.
type HTTPRequest struct {
	Method  string
	URL     *url.URL
	Headers map[string]string
	Body    []byte // nil: none
}

// MaxRedirects is how many redirects a request may be told to follow.
const MaxRedirects = 20

var (
	httpMethods  = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
	httpStatus   = regexp.MustCompile(`^[1-5](?:xx|[0-9][0-9])$`)
	httpHeader   = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
	urlUser      = regexp.MustCompile(`^(https?://[^/?#@:]*):[^/?#]*@`)
	httpArgument = regexp.MustCompile(`\{(?:[A-Za-z_][A-Za-z0-9_-]*|[0-9]{1,4})\}`)
)

// MethodOrDefault is the method of the request.
func (h *HTTP) MethodOrDefault() string {
	switch {
	case h.Method != "":
		return h.Method
	case h.Body != nil || h.JSON != nil:
		return "POST"
	}
	return "GET"
}

// RedirectLimit is how many redirects are followed. Requests that may change
// something follow none unless they say so: most redirects make a GET of them.
func (h *HTTP) RedirectLimit() int {
	if h.Redirects != nil {
		return *h.Redirects
	}
	if m := h.MethodOrDefault(); m == "GET" || m == "HEAD" {
		return 10
	}
	return 0
}

// Expects tells whether a status is a success.
func (h *HTTP) Expects(status int) bool {
	text := strconv.Itoa(status)
	if len(h.Expect) == 0 {
		return text[0] == '2'
	}
	return slices.ContainsFunc(h.Expect, func(e string) bool {
		return e == text || strings.HasSuffix(e, "xx") && e[0] == text[0]
	})
}

// String is the method and the URL, without a password that stands in it.
func (h *HTTP) String() string {
	v, err := DecodeArguments(h.URL)
	if err != nil {
		return h.MethodOrDefault()
	}
	return h.MethodOrDefault() + " " + urlUser.ReplaceAllString(fmt.Sprint(v), "$1:***@")
}

// resolve makes the request with the resolved arguments of the phase.
func (h *HTTP) resolve(args []any, kwargs map[string]any, replace func(placeholder any) (any, error)) (*HTTPRequest, error) {
	x := &httpArguments{args, kwargs, replace}
	r := &HTTPRequest{Method: h.MethodOrDefault()}
	var err error
	if r.URL, err = x.url(h.URL); err != nil {
		return nil, err
	}
	headers, err := decodeMap(h.Headers)
	if err != nil {
		return nil, UserError("stored headers: %v", err)
	}
	r.Headers = make(map[string]string, len(headers)+1)
	for _, name := range sortedKeys(headers) {
		text, err := x.text(headers[name], func(s string) string { return s })
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", name, err)
		}
		if strings.ContainsAny(text, "\r\n\x00") {
			return nil, UserError("header %s: the value has a line break or a NUL byte in it", name)
		}
		r.Headers[name] = text
	}
	r.Body, err = x.body(h)
	return r, err
}

// httpArguments replaces placeholders and {names}.
type httpArguments struct {
	args    []any
	kwargs  map[string]any
	replace func(placeholder any) (any, error)
}

// argument is what {name} stands for.
func (x *httpArguments) argument(name string) (any, error) {
	name = name[1 : len(name)-1]
	if i, err := strconv.Atoi(name); err == nil {
		if i >= len(x.args) {
			return nil, UserError("there is no argument {%d}: the job has %d", i, len(x.args))
		}
		return x.args[i], nil
	}
	v, ok := x.kwargs[name]
	if !ok {
		return nil, UserError("there is no keyword argument {%s}", name)
	}
	return v, nil
}

// text makes a text of a value; what an argument adds goes through escape.
func (x *httpArguments) text(v any, escape func(string) string) (string, error) {
	literal, ok := v.(string)
	if !ok {
		v, err := x.value(v)
		if err != nil {
			return "", err
		}
		return httpText(v)
	}
	var failed error
	text := httpArgument.ReplaceAllStringFunc(literal, func(name string) string {
		v, err := x.argument(name)
		if err == nil {
			var t string
			if t, err = httpText(v); err == nil {
				return escape(t)
			}
		}
		failed = errors.Join(failed, err)
		return ""
	})
	return text, failed
}

// value replaces what stands in a value for another one.
func (x *httpArguments) value(v any) (any, error) {
	switch v := v.(type) {
	case string:
		if m := httpArgument.FindString(v); m != "" && m == v {
			return x.argument(v)
		}
	case Retval, Secret:
		return x.replace(v)
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			var err error
			if out[i], err = x.value(e); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			var err error
			if out[k], err = x.value(e); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return v, nil
}

func (x *httpArguments) url(encoded EncodedArguments) (*url.URL, error) {
	v, err := DecodeArguments(encoded)
	if err != nil {
		return nil, UserError("stored url: %v", err)
	}
	text, err := x.text(v, escapeURL)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	if literal, ok := v.(string); ok && literal != text && dotSegments(text) > dotSegments(literal) {
		return nil, UserError("url: an argument must not make . or .. a part of the path")
	}
	return parseHTTP(text)
}

// body is what is sent; nil: nothing.
func (x *httpArguments) body(h *HTTP) ([]byte, error) {
	name, encoded := "body", h.Body
	if h.JSON != nil {
		name, encoded = "json", h.JSON
	}
	if encoded == nil {
		return nil, nil
	}
	v, err := DecodeArguments(encoded)
	if err != nil {
		return nil, UserError("stored %s: %v", name, err)
	}
	if v, err = x.value(v); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if h.JSON == nil {
		text, err := httpText(v)
		return []byte(text), err
	}
	data, err := compactValue(v)
	if err != nil {
		return nil, UserError("json: %v", err)
	}
	return data, nil
}

// httpText is a value as a text: strings as they are, others as JSON.
func httpText(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case Secret: // of a Plan, where nothing is sent
		return v.String(), nil
	}
	data, err := compactValue(v)
	if err != nil {
		return "", UserError("%v", err)
	}
	return string(data), nil
}

func compactValue(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// escapeURL makes a text one part of a path or one value of a query.
func escapeURL(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

func dotSegments(text string) int {
	path, _, _ := strings.Cut(text, "?")
	n := 0
	for part := range strings.SplitSeq(path, "/") {
		if part == "." || part == ".." {
			n++
		}
	}
	return n
}

// parseHTTP reads a URL; the error never has the URL in it.
func parseHTTP(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err
		}
		return nil, UserError("the URL cannot be read: %v", err)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, UserError("the URL must begin with http:// or https://")
	case u.Hostname() == "":
		return nil, UserError("the URL names no host")
	}
	return u, nil
}

// checkHTTP checks the request of a task of a job.
func checkHTTP(field string, j *Job, t *Task, add func(field, hint, format string, args ...any)) {
	h := t.HTTP
	field += ".http"
	if h.Method != "" && !slices.Contains(httpMethods, h.Method) {
		hint := "use one of " + strings.Join(httpMethods, ", ")
		if near := Nearest(h.Method, httpMethods); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		add(field+".method", hint, "%q is no method", h.Method)
	}
	if h.Result != "" && h.Result != "body" && h.Result != "json" {
		add(field+".result", "use body or json or none", "%q is not allowed here", h.Result)
	}
	for i, e := range h.Expect {
		if !httpStatus.MatchString(e) {
			add(fmt.Sprintf("%s.expect[%d]", field, i), "such as 200 or 2xx", "%q is no status", e)
		}
	}
	if h.Timeout < 0 {
		add(field+".timeout", "", "%v cannot be negative", h.Timeout)
	}
	if n := h.Redirects; n != nil && (*n < 0 || *n > MaxRedirects) {
		add(field+".follow_redirects", "", "%d is not between 0 and %d", *n, MaxRedirects)
	}
	if h.Body != nil && h.JSON != nil {
		add(field, "", "body and json are both given")
	}
	kwargs := j.Kwargs
	if t.Kwargs != nil {
		kwargs, _ = decodeMap(t.Kwargs) // a fault in them is told elsewhere
	}
	checkHTTPValues(field, h, kwargs, add)
}

// checkHTTPValues checks the parts of a request that may have placeholders.
func checkHTTPValues(field string, h *HTTP, kwargs map[string]any, add func(field, hint, format string, args ...any)) {
	names := func(path, text string, whole bool) {
		for _, m := range httpArgument.FindAllString(text, -1) {
			name := m[1 : len(m)-1]
			if _, ok := kwargs[name]; ok || name[0] <= '9' || whole && m != text {
				continue
			}
			hint := "name it in kwargs"
			if near := Nearest(name, sortedKeys(kwargs)); near != "" {
				hint = fmt.Sprintf("did you mean {%s}?", near)
			}
			add(path, hint, "the job has no keyword argument {%s}", name)
		}
	}
	switch v, err := DecodeArguments(h.URL); v := v.(type) {
	case string:
		names(field+".url", v, false)
		if _, err := parseHTTP(httpArgument.ReplaceAllString(v, "1")); err != nil {
			add(field+".url", "", "%v", err)
		}
	case Retval, Secret:
	default:
		if err == nil {
			err = Errorf(Invalid, "a request needs a URL")
		}
		add(field+".url", "", "%v", err)
	}
	checkHTTPHeaders(field, h, names, add)
	for _, b := range []struct {
		name string
		data EncodedArguments
	}{{"body", h.Body}, {"json", h.JSON}} {
		v, err := DecodeArguments(b.data)
		if b.data != nil && err != nil {
			add(field+"."+b.name, "", "%v", err)
		}
		walkTexts(field+"."+b.name, v, func(path, text string) { names(path, text, true) })
	}
}

// checkHTTPHeaders checks the headers of a request; names checks the {names} of a text.
func checkHTTPHeaders(field string, h *HTTP, names func(path, text string, whole bool), add func(field, hint, format string, args ...any)) {
	headers, err := decodeMap(h.Headers)
	if err != nil {
		add(field+".headers", "", "%v", err)
	}
	seen := map[string]string{}
	for _, name := range sortedKeys(headers) {
		path, low := field+".headers."+name, strings.ToLower(name)
		switch {
		case !httpHeader.MatchString(name):
			add(path, "", "%q is no name of a header", name)
		case low == "content-length" || low == "transfer-encoding" || low == "connection" || strings.HasPrefix(low, "jobcontrol-"):
			add(path, "", "header %s is set by jobcontrol itself", name)
		case seen[low] != "":
			add(path, "", "headers %s and %s are the same", seen[low], name)
		}
		seen[low] = name
		switch v := headers[name].(type) {
		case string:
			names(path, v, false)
			if strings.ContainsAny(v, "\r\n\x00") {
				add(path, "", "a header must be one line")
			}
		case Retval, Secret:
		default:
			add(path, "", "the value of a header must be a text")
		}
	}
}

// walkHTTP calls visit for each part of a request with what it has, decoded.
func (h *HTTP) walkHTTP(visit func(name string, v any)) {
	for _, p := range []struct {
		name string
		data EncodedArguments
	}{{"url", h.URL}, {"headers", h.Headers}, {"body", h.Body}, {"json", h.JSON}} {
		if v, err := DecodeArguments(p.data); p.data != nil && err == nil {
			visit(p.name, v)
		}
	}
}

// Placeholders calls visit for each [Retval] and [Secret] of the request.
func (h *HTTP) Placeholders(visit func(placeholder any)) {
	h.walkHTTP(func(_ string, v any) { WalkArguments(v, visit) })
}

func walkTexts(path string, v any, visit func(path, text string)) {
	switch v := v.(type) {
	case string:
		visit(path, v)
	case []any:
		for i, e := range v {
			walkTexts(fmt.Sprintf("%s[%d]", path, i), e, visit)
		}
	case map[string]any:
		for _, k := range sortedKeys(v) {
			walkTexts(path+"."+k, v[k], visit)
		}
	}
}
