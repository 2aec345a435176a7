package postgres

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/storetest"
)

// documented are the statements of docs/postgres.md, in its order: roles, schema,
// privileges, after a restore.
func documented(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/postgres.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, m := range regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, m[1])
	}
	if len(blocks) != 4 {
		t.Fatalf("the documentation has %d blocks of SQL", len(blocks))
	}
	return blocks
}

// roles makes the documented roles, for the time of a test.
func roles(t *testing.T) {
	t.Helper()
	ctx, c := context.Background(), server.Cluster(t)
	if err := c.Exec(ctx, "postgres", documented(t)[0]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Exec(ctx, "postgres", `DROP ROLE jobcontrol_owner, jobcontrol_worker, jobcontrol_reader`); err != nil {
			t.Error(err)
		}
	})
}

// asWorker is a store of the worker role, whose tables the owner makes.
type asWorker struct {
	*Store
	owner  *Store
	grants string
}

func (w *asWorker) Install(ctx context.Context) error {
	if err := w.owner.Install(ctx); err != nil {
		return err
	}
	if err := w.owner.readOne(ctx, func(c *conn) error { return c.scripted(w.grants) }); err != nil {
		return err
	}
	return w.Store.Install(ctx)
}

func (w *asWorker) Uninstall(ctx context.Context) error { return w.owner.Uninstall(ctx) }

func (w *asWorker) Close() error {
	_ = w.owner.Close() // it never fails
	return w.Store.Close()
}

// openAsWorker does what the documentation says, in a schema of the test's own.
func openAsWorker(t *testing.T) (w *asWorker, reader *Store) {
	t.Helper()
	ctx, c := context.Background(), server.Cluster(t)
	name, _ := server.Schema(t)
	blocks := documented(t)
	for i := range blocks {
		blocks[i] = strings.NewReplacer("SCHEMA jobcontrol ", "SCHEMA "+name+" ", " jobcontrol.", " "+name+".", "'jobcontrol.", "'"+name+".").Replace(blocks[i])
	}
	if err := c.Exec(ctx, "postgres", "DROP SCHEMA "+name+";"+blocks[1]); err != nil {
		t.Fatal(err)
	}
	open := func(role string) *Store {
		s, err := Open(ctx, Options{URL: c.URL(role, "postgres"), Schema: name})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	return &asWorker{open("jobcontrol_worker"), open("jobcontrol_owner"), blocks[2] + blocks[3]}, open("jobcontrol_reader")
}

// TestWorkerRole: with the documented privileges the worker role can do all that
// a store does.
func TestWorkerRole(t *testing.T) {
	roles(t)
	storetest.TestPlain(t, func(t *testing.T) jobcontrol.Store {
		w, reader := openAsWorker(t)
		_ = reader.Close() // it never fails
		return w
	})
}

// TestRoles: nobody can do more than the documentation says.
func TestRoles(t *testing.T) {
	ctx := context.Background()
	roles(t)
	w, reader := openAsWorker(t)
	defer reader.Close()
	defer w.Close()
	if err := w.Install(ctx); err != nil {
		t.Fatal(err)
	}
	if w.history.until.Load() != 0 {
		t.Error("history has tables already")
	}
	if _, err := w.Register(ctx, jobcontrol.Process{}, time.Hour); err != nil {
		t.Fatal(err)
	}
	if w.history.until.Load() == 0 {
		t.Error("the worker role made no table of history")
	}
	if _, err := reader.ListRuns(ctx, jobcontrol.RunFilter{}); err != nil {
		t.Errorf("the reader cannot read: %v", err)
	}
	_, err := reader.Register(ctx, jobcontrol.Process{}, time.Hour)
	code(t, err, jobcontrol.Unavailable)
	code(t, w.Store.Uninstall(ctx), jobcontrol.Unavailable)
	for _, text := range []string{
		`UPDATE {meta} SET version = 7`, `DELETE FROM {partitions}`, `DROP TABLE {builds}`, `TRUNCATE {builds}`, `CREATE TABLE {mine} (x int)`,
	} {
		err := w.readOne(ctx, func(c *conn) error { return c.scripted(text) })
		if code(t, err, jobcontrol.Unavailable); jobcontrol.HintOf(err) == "" {
			t.Errorf("%s: %v", text, err)
		}
	}
	err = reader.readOne(ctx, func(c *conn) error { return c.scripted(`SELECT {extend_history}(0)`) })
	code(t, err, jobcontrol.Unavailable)
}
