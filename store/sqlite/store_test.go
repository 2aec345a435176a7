package sqlite_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/sqlite"
	"github.com/jobcontrol/jobcontrol/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Test(t, func(t *testing.T) jobcontrol.Store {
		s, err := sqlite.Open(context.Background(), filepath.Join(t.TempDir(), "state.db"), sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
