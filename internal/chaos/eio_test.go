//go:build linux

package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/jobcontrol/jobcontrol"
)

// TestSingleDiskError holds that nothing acknowledged is lost where write or flush
// n of the disk fails, and no other: what was acknowledged before that, by a handle
// that was open meanwhile, and by one that was opened then, survives a power cut.
func TestSingleDiskError(t *testing.T) {
	if why := canCutPower(); why != "" {
		t.Skip(why)
	}
	errors, acknowledged := 0, map[string]int{}
	for _, beside := range []bool{false, true} {
		for n := 1; n <= *diskErrors; n++ {
			t.Run(fmt.Sprintf("%d,%v", n, beside), func(t *testing.T) {
				x := newSingle(t, n)
				x.check(beside)
				for when, runs := range x.told {
					acknowledged[when] += len(runs)
				}
				if x.failed {
					errors++
				}
			})
		}
	}
	if errors == 0 {
		t.Error("nothing failed")
	}
	t.Logf("disk errors %d, acknowledged %v", errors, acknowledged)
}

// single is a disk that fails once under a store.
type single struct {
	*testing.T
	n       int // of the write or flush that fails
	m       *machine
	place   place
	journal *Journal
	told    map[string]map[int64]string // Run → key of what was acknowledged, and when
	failed  bool
	clients int
}

func newSingle(t *testing.T, n int) *single {
	dir := t.TempDir()
	m, err := newMachine(filepath.Join(dir, "machine"))
	if err != nil {
		t.Fatal(err)
	}
	journal, err := OpenJournal(filepath.Join(dir, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.release(); err != nil {
			t.Error(err)
		}
		_ = journal.Close() // nothing is buffered
	})
	return &single{T: t, n: n, m: m, place: place{SQLite: filepath.Join(m.mount, "state.db")}, journal: journal, told: map[string]map[int64]string{}}
}

// open opens the store; nil: it cannot be.
func (x *single) open() jobcontrol.Store {
	store, err := x.place.open(x.Context())
	if err != nil {
		return nil
	}
	return store
}

// create makes a Run and tells whether it was acknowledged.
func (x *single) create(store jobcontrol.Store, when string) bool {
	x.Helper()
	x.clients++
	c, err := newClient(store, x.journal, fmt.Sprintf("c%d", x.clients), 1, Load{})
	if err != nil {
		x.Fatal(err)
	}
	r, err := c.make(x.Context(), request{verb: jobcontrol.VerbBuild, job: "go", do: doOK})
	if err != nil {
		return false
	}
	run, _, err := store.CreateRun(x.Context(), r)
	if err != nil {
		return false
	}
	if x.told[when] == nil {
		x.told[when] = map[int64]string{}
	}
	x.told[when][run.ID] = r.Key
	return true
}

func (x *single) check(beside bool) {
	first := x.open()
	if first == nil {
		x.Fatal("it cannot be opened")
	}
	if err := first.Install(x.Context()); err != nil {
		x.Fatal(err)
	}
	second := x.open()
	if second == nil {
		x.Fatal("it cannot be opened twice")
	}
	// The log has something that is durable, and is not so long that it is copied.
	for range 3 {
		if !x.create(first, "before") {
			x.Fatal("it cannot be written")
		}
	}
	if !beside {
		_ = second.Close() // its reads were none
	}
	x.m.disk.failAt(x.n, true)
	for i := 0; i < 4*x.n && x.create(first, "before"); i++ {
	}
	if beside {
		for range 5 {
			x.create(second, "beside")
		}
	}
	_ = first.Close() // the disk has failed
	third := x.open()
	for i := 0; i < 5 && third != nil; i++ {
		x.create(third, "after")
	}
	x.failed = x.m.disk.failed()
	x.m.image = x.m.disk.afterCut(rand.New(rand.NewPCG(uint64(x.n), 3)))
	_ = second.Close() // there is no disk
	if third != nil {
		_ = third.Close() // likewise
	}
	if err := x.m.release(); err != nil {
		x.Fatal(err)
	}
	if err := x.m.on(); err != nil {
		x.Fatal(err)
	}
	x.compare()
}

// compare asks the store for everything that was acknowledged.
func (x *single) compare() {
	x.Helper()
	if err := integrity(context.Background(), x.place.SQLite); err != nil {
		x.Error(err)
	}
	store, err := x.place.open(x.Context())
	if err != nil {
		x.Fatal(err)
	}
	defer store.Close()
	builds, err := store.ListBuilds(x.Context(), jobcontrol.BuildFilter{Limit: -1})
	if err != nil {
		x.Fatal(err)
	}
	keys := map[int64]string{}
	for i := range builds {
		kwargs, err := jobcontrol.DecodeArguments(builds[i].Kwargs)
		if err != nil {
			x.Fatal(err)
		}
		keys[builds[i].Run], _ = kwargs.(map[string]any)["k"].(string)
	}
	for when, runs := range x.told {
		for id, key := range runs {
			if keys[id] != key {
				x.Errorf("Run %d, acknowledged %s the failure of write %d with key %s, has the key %q", id, when, x.n, key, keys[id])
			}
		}
	}
}
