//go:build linux

package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
)

// roleVariable holds what a process is to be, as JSON of a role.
const roleVariable = "CHAOS_ROLE"

// dirVariable is the cluster's directory, for commands.
const dirVariable = "CHAOS_DIR"

// Load is what the clients of a cluster do.
type Load struct {
	Steer  bool // hold, suspend and cancel too
	Poison int  // weight of builds that kill their worker; 0: none
	Each   int  // weight of Runs with a build for each item; 0: none
}

// role is what a process of a cluster is told.
type role struct {
	Kind     string // worker or client
	Name     string // unique in the cluster
	Dir      string // of the cluster
	Store    place
	Seed     uint64
	TTL      time.Duration // of a worker's lease
	Parallel int           // of a worker
	Load     Load          // of a client
	Trace    string        // file for the fail points that are passed; "": none
}

// Main executes the role of this process and does not return, if it has one. A
// program that makes clusters calls it first thing in main.
func Main() {
	executor.Child()
	text := os.Getenv(roleVariable)
	if text == "" {
		return
	}
	// Neither the jobs nor the guardian are processes with a role.
	_ = os.Unsetenv(roleVariable)
	var r role
	err := json.Unmarshal([]byte(text), &r)
	if err == nil {
		err = r.execute()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// execute returns after SIGTERM; where the process that started this one has
// ended, this one ends at once.
func (r *role) execute() error {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends when nobody holds the other end any more
		os.Exit(3)
	}()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	journal, err := OpenJournal(filepath.Join(r.Dir, "journal"))
	if err != nil {
		return err
	}
	defer journal.Close()
	for {
		store, err := r.Store.open(ctx)
		if err != nil {
			// Its store may be down just now.
			fmt.Fprintln(os.Stderr, "chaos: open:", err)
			if pause(ctx, 100*time.Millisecond); ctx.Err() != nil {
				return nil
			}
			continue
		}
		err = r.with(ctx, store, journal)
		if cerr := store.Close(); err == nil {
			err = cerr
		}
		return err
	}
}

func (r *role) with(ctx context.Context, store jobcontrol.Store, journal *Journal) error {
	if r.Kind == "client" {
		c, err := newClient(store, journal, r.Name, r.Seed, r.Load)
		if err == nil {
			c.run(ctx)
		}
		return err
	}
	t := &tasks{dir: r.Dir, journal: journal}
	guardian := executor.NewGuardian([]string{guardianName(r.Name)})
	defer guardian.Close()
	x := executor.New(executor.Config{Registry: t.registry(), Guardian: guardian, Subreaper: true})
	defer x.Close()
	return r.pool(ctx, store, x, guardian)
}

// guardianName is what ps shows of a worker's guardian.
func guardianName(worker string) string { return "chaos-guardian-" + worker }
