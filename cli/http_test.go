package cli_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// web starts a server for a script.
func web(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: web NAME")
	}
	s := httptest.NewServer(webHandler(ts.MkAbs("seen")))
	ts.Defer(s.Close)
	ts.Setenv(args[0], s.URL)
}

// webHandler is a small shop. It keeps the invoices that are put, wants a token,
// is busy the first time it is asked, and adds what it was asked to a file.
func webHandler(seen string) http.Handler {
	var mu sync.Mutex
	invoices, busy := map[string][]byte{}, true
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		body, _ := io.ReadAll(r.Body)
		path, isInvoice := strings.CutPrefix(r.URL.Path, "/invoices/")
		switch {
		case r.URL.Path == "/customer":
			_, _ = io.WriteString(w, `{"name": "ACME", "tags": ["a"]}`)
		case r.URL.Path == "/busy" && busy:
			busy = false
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusServiceUnavailable)
		case isInvoice && r.Header.Get("Authorization") != "Bearer hunter2-token":
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprintf(w, "no access with %s", r.Header.Get("Authorization"))
		case isInvoice && r.Method == http.MethodPut:
			invoices[path] = body
			w.WriteHeader(http.StatusCreated)
		case isInvoice && invoices[path] != nil:
			_, _ = w.Write(invoices[path])
		case r.URL.Path != "/busy":
			w.WriteHeader(http.StatusNotFound)
			_, _ = fmt.Fprintf(w, "nothing here for %s", r.Header.Get("Authorization"))
		}
		if f, err := os.OpenFile(seen, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
			_, _ = fmt.Fprintf(f, "%s %s key=%s %s\n", r.Method, r.URL, r.Header.Get("Idempotency-Key"), body)
			_ = f.Close()
		}
	})
}
