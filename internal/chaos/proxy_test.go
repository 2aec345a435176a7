//go:build linux

package chaos

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/jobcontrol/jobcontrol/internal/pgtest"
)

// TestProxy holds that a commit that is cut before has not happened, one that is
// cut after has, and that the client is told neither.
func TestProxy(t *testing.T) {
	srv, err := pgtest.Start(pgtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	ctx := context.Background()
	if err := srv.Exec(ctx, "postgres", "CREATE TABLE t (n int)"); err != nil {
		t.Fatal(err)
	}
	p, err := newProxy("127.0.0.1:0", srv.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	url := strings.Replace(srv.TCP("postgres", srv.Password(), "postgres"), srv.Address(), p.Address(), 1)
	transaction := func(c *pgx.Conn, n int) error {
		tx, err := c.Begin(ctx)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "INSERT INTO t VALUES ($1)", n); err != nil {
			return err
		}
		return tx.Commit(ctx)
	}
	implicit := func(c *pgx.Conn, n int) error {
		_, err := c.Exec(ctx, "INSERT INTO t VALUES ($1)", n)
		return err
	}
	batch := func(c *pgx.Conn, n int) error {
		b := &pgx.Batch{}
		b.Queue("BEGIN")
		b.Queue("INSERT INTO t VALUES ($1)", n)
		b.Queue("COMMIT")
		return c.SendBatch(ctx, b).Close()
	}
	n := 0
	for name, do := range map[string]func(*pgx.Conn, int) error{"transaction": transaction, "implicit": implicit, "batch": batch} {
		for _, cut := range []Cut{CutNot, CutBefore, CutAfter} {
			n++
			c, err := pgx.Connect(ctx, url)
			if err != nil {
				t.Fatal(err)
			}
			asked := 0
			p.OnCommit(func(deed string) Cut {
				if asked++; deed != "insert into t" {
					t.Errorf("%s: it did %q", name, deed)
				}
				return cut
			})
			err = do(c, n)
			p.OnCommit(nil)
			_ = c.Close(ctx)
			var rows int
			direct, derr := pgx.Connect(ctx, srv.URL("postgres", "postgres"))
			if derr != nil {
				t.Fatal(derr)
			}
			if err := direct.QueryRow(ctx, "SELECT count(*) FROM t WHERE n = $1", n).Scan(&rows); err != nil {
				t.Fatal(err)
			}
			_ = direct.Close(ctx)
			want := map[Cut]int{CutNot: 1, CutBefore: 0, CutAfter: 1}[cut]
			if rows != want || (err == nil) != (cut == CutNot) || asked != 1 {
				t.Errorf("%s, cut %d: %d rows, error %v, asked %d times", name, cut, rows, err, asked)
			}
		}
	}
}
