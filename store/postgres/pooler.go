package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

// behindPooler tells whether something between this program and the server,
// such as PgBouncer, hands out the server's processes as it likes, so that two
// transactions of one connection may be two processes': it introduces itself
// with another process number than the server's. A connection that looks so and
// is one process's for as long as it lasts is served in the same, slower way.
// PgBouncer refuses settings that it does not know: none is made here.
func behindPooler(ctx context.Context, config *pgx.ConnConfig) (pooled bool, err error) {
	config = config.Copy()
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	delete(config.RuntimeParams, "application_name")
	config.StatementCacheCapacity, config.DescriptionCacheCapacity = 0, 0
	c, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, c.Close(ctx)) }()
	var pid uint32
	if err := c.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&pid); err != nil {
		return false, err
	}
	return pid != c.PgConn().PID(), nil
}
