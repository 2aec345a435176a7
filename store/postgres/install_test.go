package postgres

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jobcontrol/jobcontrol"
)

var update = flag.Bool("update", false, "write the dumps of the schema's versions anew")

// TestURL: schema and prefix come from the URL, with defaults; what is wrong with
// it is told without the password.
func TestURL(t *testing.T) {
	for url, want := range map[string]string{
		"postgresql://u@h/db":                                       " jobcontrol_ db on h",
		"postgres://u@h:1/db?schema=s":                              "s jobcontrol_ db on h, schema s",
		"postgresql://u@h/db?table_prefix=jc_":                      " jc_ db on h",
		"postgresql://u@h/db?search_path=%22Mine%22,public":         "Mine jobcontrol_ db on h, schema Mine",
		"postgresql://u@h/db?schema=s&search_path=x":                "s jobcontrol_ db on h, schema s",
		"host=h user=u dbname=db schema=s":                          "s jobcontrol_ db on h, schema s",
		"postgresql:///db?host=/run/pg":                             " jobcontrol_ db on /run/pg",
		"postgresql://u:geheim@h/db?table_prefix=1x":                "",
		"postgresql://u:geheim@h/db?table_prefix=Big":               "",
		"postgresql://u:geheim@h/db?table_prefix=" + rep("x", 31):   "",
		"postgresql://u:geheim@h/db?schema=pg_catalog":              "",
		"postgresql://u:geheim@h/db?schema=a%22b":                   "",
		"postgresql://u:geheim@h:port/db":                           "",
		"postgresql://u:geheim@h/db?sslmode=geheim&password=geheim": "",
		"postgresql://u:geheim %zz@h/db":                            "",
		"user=u password=geheim port=x":                             "",
		"postgresql://u:geheim@h/db?pool_max_conns=geheim":          "",
	} {
		o := Options{URL: url}
		cfg, name, err := o.parse()
		if want == "" {
			code(t, err, jobcontrol.Invalid)
			if text := fmt.Sprintf("%v %s", err, jobcontrol.HintOf(err)); strings.Contains(text, "geheim") {
				t.Errorf("%s: the error shows the password: %s", url, text)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if got := o.Schema + " " + o.TablePrefix + " " + name; got != want {
			t.Errorf("%s: got %q, want %q", url, got, want)
		}
		for _, key := range []string{"schema", "table_prefix", "search_path"} {
			if _, ok := cfg.ConnConfig.RuntimeParams[key]; ok {
				t.Errorf("%s: the server is told %s", url, key)
			}
		}
	}
}

func rep(s string, n int) string { return strings.Repeat(s, n) }

func code(tb testing.TB, err error, want jobcontrol.Code) {
	tb.Helper()
	if got := jobcontrol.CodeOf(err); got != want {
		tb.Errorf("error %v has the code %q, want %q", err, got, want)
	}
}

// TestNoPassword: neither a server that refuses nor one that is not there makes
// an error that shows the password.
func TestNoPassword(t *testing.T) {
	c := server.Cluster(t)
	for _, url := range []string{
		c.TCP("postgres", "geheim", "postgres"),
		c.TCP("nobody", "geheim", "postgres"),
		"postgresql://postgres:geheim@127.0.0.1:1/postgres",
		"postgresql://postgres:geheim@nowhere.invalid/postgres",
	} {
		_, err := Open(context.Background(), Options{URL: url})
		code(t, err, jobcontrol.Unavailable)
		if text := fmt.Sprintf("%v %+v", err, err); strings.Contains(text, "geheim") {
			t.Errorf("the error shows the password: %s", text)
		}
	}
}

// TestInstallAtOnce: several programs may install, and several installations
// share a schema under different prefixes.
func TestInstallAtOnce(t *testing.T) {
	ctx := context.Background()
	_, url := server.Schema(t)
	stores := map[string]*Store{}
	for _, prefix := range []string{"a_", "a_b_"} {
		var all sync.WaitGroup
		for range 4 {
			s, err := Open(ctx, Options{URL: url, TablePrefix: prefix})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			stores[prefix] = s
			all.Go(func() {
				if err := s.Install(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	for _, s := range stores {
		if _, err := s.Register(ctx, jobcontrol.Process{}, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if err := stores["a_"].Uninstall(ctx); err != nil {
		t.Fatal(err)
	}
	workers, err := stores["a_b_"].Workers(ctx)
	if err != nil || len(workers) != 1 {
		t.Errorf("the other installation has %d workers: %v", len(workers), err)
	}
	if err := stores["a_b_"].Uninstall(ctx); err != nil {
		t.Fatal(err)
	}
	if err := stores["a_"].readOne(ctx, func(c *conn) error {
		n, err := c.number(`SELECT count(*) FROM pg_class WHERE relnamespace = $1::text::regnamespace`, c.s.opts.Schema)
		if n > 0 {
			t.Errorf("%d things are left", n)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// TestNewerSchema: a program older than the schema refuses, at start and while it runs.
func TestNewerSchema(t *testing.T) {
	ctx := context.Background()
	_, url := server.Schema(t)
	s, err := Open(ctx, Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Install(ctx); err != nil {
		t.Fatal(err)
	}
	l, err := s.Register(ctx, jobcontrol.Process{}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.readOne(ctx, func(c *conn) error { return c.scripted(`UPDATE {meta} SET version = 99`) }); err != nil {
		t.Fatal(err)
	}
	_, opened := Open(ctx, Options{URL: url})
	for what, err := range map[string]error{"Open": opened, "Renew": s.Renew(ctx, l, time.Hour), "Install": s.Install(ctx)} {
		if jobcontrol.CodeOf(err) != jobcontrol.Unavailable || !strings.Contains(err.Error(), "99") || jobcontrol.HintOf(err) == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// dumped is the schema that the dumps are of.
const dumped = "dumped"

// TestUpgrade: the schema of each version is as it was published, and Install
// makes the present one of it. A difference to a dump means that a published
// migration was changed; a new version needs a new dump (-update).
func TestUpgrade(t *testing.T) {
	ctx := context.Background()
	latest := ""
	for version := len(migrationFiles); version > 0; version-- {
		path := filepath.Join("testdata", "schema", fmt.Sprintf("%04d.sql", version))
		name, url := server.Database(t)
		s, err := Open(ctx, Options{URL: url, Schema: dumped})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for range version {
			if err := s.script(ctx, "install", (*conn).migrate); err != nil {
				t.Fatal(err)
			}
		}
		made := dump(t, name)
		if latest == "" {
			latest = made
		}
		if *update {
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(made), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		published, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}

		// The dump is loaded and dumped again, since pg_dump writes the same otherwise in other versions.
		name, url = server.Database(t)
		if err := server.Cluster(t).Exec(ctx, name, "SET check_function_bodies = false;"+string(published)); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(dump(t, name), made); d != "" {
			t.Errorf("version %d is not what was published (-published +made):\n%s", version, d)
		}
		old, err := Open(ctx, Options{URL: url, Schema: dumped})
		if err != nil {
			t.Fatal(err)
		}
		defer old.Close()
		if err := old.Install(ctx); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(latest, dump(t, name)); d != "" {
			t.Errorf("the upgrade from version %d (-installed +upgraded):\n%s", version, d)
		}
	}
}

// noise is what a dump holds beside statements that matter.
var noise = regexp.MustCompile(`(?m)^(--.*|\\.*|SET .*;|SELECT pg_catalog\.set_config.*|)\n`)

func dump(t *testing.T, database string) string {
	t.Helper()
	text, err := server.Cluster(t).Dump(database, "--inserts", "--no-owner", "--schema="+dumped)
	if err != nil {
		t.Fatal(err)
	}
	return noise.ReplaceAllString(text, "")
}
