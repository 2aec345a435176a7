package sqlite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jobcontrol/jobcontrol"
)

// schema is every table and index with its text.
func schema(t *testing.T, s *Store) map[string]string {
	t.Helper()
	texts := map[string]string{}
	if err := s.readOne(context.Background(), func(c *conn) error {
		return c.each(func(r *row) error {
			name := r.text()
			texts[name] = r.text()
			return nil
		}, `SELECT name, sql FROM sqlite_master`)
	}); err != nil {
		t.Fatal(err)
	}
	return texts
}

// older makes a store from a dump of an earlier schema version.
func older(t *testing.T, dump string) *Store {
	t.Helper()
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "state.db")
	text, err := os.ReadFile(filepath.Join("testdata", dump))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(ctx, path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.write(ctx, "install", func(tx *tx) error {
		tx.changes++
		return tx.script(string(text))
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(ctx, path, Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// upgraded makes a store from a dump of an earlier schema version and brings it to
// the present one: it has the same schema as a new one then.
func upgraded(t *testing.T, dump string) *Store {
	t.Helper()
	s := older(t, dump)
	if err := s.Install(context.Background()); err != nil {
		t.Fatal(err)
	}
	fresh, _ := openTest(t, Options{})
	if d := cmp.Diff(schema(t, fresh), schema(t, s)); d != "" {
		t.Fatalf("schema (-new +upgraded):\n%s", d)
	}
	sound(t, s)
	return s
}

// TestUpgrade brings a store of version 1 to the present one: what it held is
// there, and Runs that nobody had claimed are those of the queue.
func TestUpgrade(t *testing.T) {
	ctx := context.Background()
	s := upgraded(t, "0001.sql")

	states := func() string {
		t.Helper()
		runs, err := s.ListRuns(ctx, jobcontrol.RunFilter{Limit: -1})
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, r := range runs {
			list = append(list, fmt.Sprintf("%d %s %d", r.ID, r.State, r.Counts.Total()))
		}
		return strings.Join(list, ", ")
	}
	if d := cmp.Diff("16 running 2, 15 interrupted 1, 12 interrupted 2, 11 running 1, 6 running 4, 5 successful 1, 1 partial 3", states()); d != "" {
		t.Fatalf("runs (-want +got):\n%s", d)
	}
	b, err := s.Build(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	got := []any{b.State, b.Attempts, b.Cleaned, string(b.Args), string(b.Result), b.Why, b.Service, b.Priority, b.Stopping}
	if d := cmp.Diff([]any{jobcontrol.Successful, 3, true, "[1]", `{"x":1}`, "because", "", 0, jobcontrol.Transition("")}, got); d != "" {
		t.Fatalf("build (-want +got):\n%s", d)
	}
	attempts, err := s.Attempts(ctx, 2)
	if err != nil || len(attempts) != 3 || attempts[0].Failure.Frames[0].Function != "f" {
		t.Fatalf("attempts: %v, %v", attempts, err)
	}

	// What nobody had claimed is in the queue.
	l, err := s.Register(ctx, jobcontrol.Process{PID: os.Getpid()}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	claim := func(project, want string) []jobcontrol.Build {
		t.Helper()
		c, err := s.Claim(ctx, l, jobcontrol.Wanted{Project: project, Services: []string{"default"}, N: 10})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, b := range c.Builds {
			names = append(names, b.Job)
		}
		if d := cmp.Diff(want, strings.Join(names, " ")); d != "" {
			t.Fatalf("claimed (-want +got):\n%s", d)
		}
		return c.Builds
	}
	if _, err := s.Finish(ctx, claim("", "a")[0].Claim, succeeded(1, time.Now())); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Finish(ctx, claim("p", "d")[0].Claim, succeeded(1, time.Now())); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Finish(ctx, claim("p", "e")[0].Claim, succeeded(1, time.Now())); err != nil {
		t.Fatal(err)
	}
	if _, err := s.RequestCancel(ctx, 6); err != nil {
		t.Fatal(err)
	}
	if _, builds, err := s.Adopt(ctx, 12, l); err != nil || builds[0].Claim.Worker != l.Worker {
		t.Fatalf("Adopt: %v, %v", builds, err)
	}
	if d := cmp.Diff("16 running 2, 15 interrupted 1, 12 running 2, 11 successful 1, 6 cancelled 4, 5 successful 1, 1 partial 3", states()); d != "" {
		t.Fatalf("runs (-want +got):\n%s", d)
	}
	heads, err := s.Heads(ctx, "p", nil)
	if err != nil || len(heads) != 4 {
		t.Fatal(heads, err)
	}
	for job, h := range heads {
		if h.Unfinished != 0 {
			t.Errorf("%s: %d builds are not finished", job, h.Unfinished)
		}
	}
}

// TestUpgradeClaims brings a store of version 4 to the present one: what was
// claimed by a row of table claims is claimed still, and all that waits is found.
func TestUpgradeClaims(t *testing.T) {
	ctx := context.Background()
	s := upgraded(t, "0004.sql")
	var claimed []string
	builds, err := s.ListBuilds(ctx, jobcontrol.BuildFilter{Limit: -1})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range builds {
		if b.Claim.Worker != 0 && !b.State.Final() {
			claimed = append(claimed, b.Job)
		}
	}
	slices.Sort(claimed)
	if d := cmp.Diff([]string{"chain000000", "job"}, claimed); d != "" {
		t.Errorf("claimed (-want +got):\n%s", d)
	}
	services, err := s.Services(ctx, "")
	if err != nil || len(services) != 1 {
		t.Fatal(services, err)
	}
	v := services[0]
	if d := cmp.Diff([]int{1, 1, 3, 2, 0}, []int{v.Waiting, v.Scheduled, v.Queued, v.Claimed, v.Running}); d != "" {
		t.Errorf("waiting, scheduled, queued, claimed, running (-want +got):\n%s", d)
	}

	l, err := s.Register(ctx, jobcontrol.Process{PID: os.Getpid()}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	claim := func(alone bool) (builds []jobcontrol.Build, suspects bool) {
		t.Helper()
		c, err := s.Claim(ctx, l, jobcontrol.Wanted{Services: []string{"default"}, N: 10, Alone: alone})
		if err != nil {
			t.Fatal(err)
		}
		return c.Builds, c.Suspects
	}
	if b, suspects := claim(false); len(b) != 2 || !suspects {
		t.Errorf("claimed %d builds, suspects %v, want the two that are free", len(b), suspects)
	}
	if b, _ := claim(true); len(b) != 1 || b[0].Lost != 1 {
		t.Errorf("claimed %+v, want the suspect", b)
	}
	if b, suspects := claim(true); len(b) != 0 || suspects {
		t.Errorf("claimed %+v, want nothing", b)
	}
}
