//go:build linux

package chaos

import (
	"context"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/postgres"
	"github.com/jobcontrol/jobcontrol/store/sqlite"
)

// place is where a store is.
type place struct {
	SQLite   string // path of a file, or
	Postgres string // URL of a database
}

func (p place) open(ctx context.Context) (jobcontrol.Store, error) {
	if p.SQLite != "" {
		return sqlite.Open(ctx, p.SQLite, sqlite.Options{})
	}
	return postgres.Open(ctx, postgres.Options{URL: p.Postgres})
}
