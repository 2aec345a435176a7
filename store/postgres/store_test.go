package postgres

import (
	"context"
	"testing"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/storetest"
)

// TestStore is the conformance suite.
func TestStore(t *testing.T) {
	storetest.Test(t, func(t *testing.T) jobcontrol.Store { return openEmpty(t) })
}

// openEmpty opens a schema of its own without tables.
func openEmpty(tb testing.TB) *Store {
	tb.Helper()
	_, url := server.Schema(tb)
	s, err := Open(context.Background(), Options{URL: url})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}
