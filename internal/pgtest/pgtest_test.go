package pgtest_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jobcontrol/jobcontrol/internal/pgtest"
)

// child is set for the process that TestDiesWithParent kills.
const child = "PGTEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(child) != "" {
		c, err := pgtest.Start(pgtest.Options{})
		if err != nil {
			panic(err)
		}
		os.Stdout.WriteString(c.URL("postgres", "postgres") + "\n")
		select {}
	}
	os.Exit(m.Run())
}

func value(tb testing.TB, url, query string) string {
	tb.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close(ctx)
	var v string
	if err := conn.QueryRow(ctx, query).Scan(&v); err != nil {
		tb.Fatal(err)
	}
	return v
}

// TestKill9: what was committed is there after a crash; the port is the same.
func TestKill9(t *testing.T) {
	c, err := pgtest.Start(pgtest.Options{Durable: true, Settings: map[string]string{"max_connections": "33"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctx := context.Background()
	if err := c.Exec(ctx, "postgres", "CREATE TABLE t (x text); INSERT INTO t VALUES ('kept')"); err != nil {
		t.Fatal(err)
	}
	url := c.TCP("postgres", c.Password(), "postgres")
	if got := value(t, url, "SELECT current_setting('max_connections') || current_setting('fsync')"); got != "33on" {
		t.Errorf("settings are %s", got)
	}
	if err := c.Kill9(); err != nil {
		t.Fatal(err)
	}
	if _, err := pgx.Connect(ctx, url); err == nil {
		t.Fatal("it can be reached after it was killed")
	}
	if err := c.Restart(); err != nil {
		t.Fatal(err)
	}
	if got := value(t, url, "SELECT x FROM t"); got != "kept" {
		t.Errorf("got %q", got)
	}
	dump, err := c.Dump("postgres", "--schema-only")
	if err != nil || !strings.Contains(dump, "CREATE TABLE public.t") {
		t.Errorf("dump: %v %s", err, dump)
	}
}

// TestServer: each test has a database of its own.
func TestServer(t *testing.T) {
	var s pgtest.Server
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	var names []string
	for range 2 {
		t.Run("database", func(t *testing.T) {
			name, url := s.Database(t)
			names = append(names, name)
			if got := value(t, url, "SELECT current_database()"); got != name {
				t.Errorf("%s leads to %s", url, got)
			}
		})
	}
	if got := value(t, s.Cluster(t).URL("postgres", "postgres"), "SELECT count(*)::text FROM pg_database WHERE datname LIKE 'test%'"); got != "0" {
		t.Errorf("%s databases are left of %v", got, names)
	}
}

// TestDiesWithParent: a server ends with the process that started it, and its
// directory goes when the next one is started.
func TestDiesWithParent(t *testing.T) {
	temp := t.TempDir()
	for dir := temp; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), child+"=1", "TMPDIR="+temp)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(context.Background(), strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	// The connection ends with the server: nothing else is asked of it.
	for _, err = conn.WaitForNotification(context.Background()); err == nil; _, err = conn.WaitForNotification(context.Background()) {
	}
	if left, _ := filepath.Glob(filepath.Join(temp, "*")); len(left) != 1 {
		t.Fatalf("the killed process left %v", left)
	}
	t.Setenv("TMPDIR", temp)
	c, err := pgtest.Start(pgtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(temp, "*")); len(left) != 1 {
		t.Errorf("directories %v: one is wanted", left)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(temp, "*")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// TestBouncer: a connection through it is no process of the server's for long.
func TestBouncer(t *testing.T) {
	var s pgtest.Server
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	name, _ := s.Database(t)
	b, err := s.Cluster(t).Bouncer("transaction", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}()
	if got := value(t, b.URL(name)+"&default_query_exec_mode=simple_protocol", "SELECT current_database()"); got != name {
		t.Errorf("%s leads to %s", b.URL(name), got)
	}
}
