package main

import (
	"context"
	"database/sql"
	"strings"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/bench/peers/peer"
	"github.com/jobcontrol/jobcontrol/store/postgres"
	"github.com/jobcontrol/jobcontrol/store/sqlite"
)

// onPostgres tells a connection string from a path.
func onPostgres(dsn string) bool { return strings.HasPrefix(dsn, "host=") }

func openStore(ctx context.Context, o peer.Options) (jobcontrol.Store, error) {
	if !onPostgres(o.DSN) {
		return sqlite.Open(ctx, o.DSN, sqlite.Options{})
	}
	return postgres.Open(ctx, postgres.Options{URL: o.DSN, Connections: o.Conns})
}

// countRecorded counts the builds that are stored as successful, at the first
// attempt, never lost, with their result, and those that are not final.
func countRecorded(ctx context.Context, dsn string) (finished, left int64, err error) {
	// 7 is jobcontrol.Successful.
	driver, source := "sqlite", "file:"+dsn+"?mode=ro"
	final := "(SELECT count(*) FROM builds WHERE state = 7 AND attempts = 1 AND lost = 0 AND result IS NOT NULL)"
	open := "(SELECT count(*) FROM builds WHERE finished_at = 0)"
	if onPostgres(dsn) {
		driver, source = "pgx", dsn
		final = "(SELECT count(*) FROM jobcontrol_history WHERE state = 7 AND attempts = 1 AND lost = 0 AND result IS NOT NULL)"
		open = "(SELECT count(*) FROM jobcontrol_builds)"
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		return 0, 0, err
	}
	defer db.Close()
	err = db.QueryRowContext(ctx, "SELECT "+final+", "+open).Scan(&finished, &left)
	return finished, left, err
}
