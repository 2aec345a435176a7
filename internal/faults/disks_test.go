//go:build linux

package faults

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/internal/chaos"
	"github.com/jobcontrol/jobcontrol/store/sqlite"
	"github.com/jobcontrol/jobcontrol/worker"
)

var diskFaults = []fault{
	{"F20", "power cuts, on a disk that forgets what was not flushed", "nothing acknowledged is lost, the file is whole", powerCuts},
	{"F21", "write k of the disk fails (EIO), and all from then on, or no other, k = 1, 2 …; full disk; RLIMIT_FSIZE", "nothing acknowledged is lost, the file is whole, work goes on within 5 s of room", failingDisks},
	{"F22", "a store of 10 MB as a crash left it, with its log: damaged in 13 ways", "damaged structure or log: noticed by open, read or doctor, always", damaged},
	{"F23", "second server; four workers on one file; file deleted, moved, replaced under a worker; network file system", "refused, naming the process; no build twice, none told busy; nothing written any more; refused", sharedFiles},
	{"disk", "three days of builds, some with logs, results, failures; pruned at the end of each to the last 24 h (SQLite)", "file and log of day 3 ≤ 1.1 × day 2", sqliteDays},
	{"disk-postgres", "the same with PostgreSQL, VACUUM once a day", "database of day 3 ≤ 1.1 × day 2", postgresDays},
}

// play has chaos do some of its faults.
func (t *trial) play(ctx context.Context, w chaos.Wanted) chaos.Figures {
	t.Helper()
	sum, found, skipped, err := w.Play(ctx, t.dir, *seed)
	t.must(err)
	for _, v := range found {
		t.Errorf("%s: run %d, build %d: %s", v.Rule, v.Run, v.Build, v.Text)
	}
	for _, why := range skipped {
		t.figure("left out: %s", why)
	}
	t.figure("violations %d", len(found))
	return sum
}

func powerCuts(ctx context.Context, t *trial) {
	sum := t.play(ctx, chaos.Wanted{PowerCuts: scaled(20, 1)})
	t.n = sum["power cuts"]
	t.figure("acknowledged calls %d", sum["acknowledged"])
}

func failingDisks(ctx context.Context, t *trial) {
	sum := t.play(ctx, chaos.Wanted{DiskErrors: scaled(12, 1), Hiccups: scaled(20, 1), FullDisks: scaled(4, 1), SizeLimits: scaled(4, 1)})
	for _, name := range []string{"disk errors", "single disk errors", "disks filled", "file size limits"} {
		t.n += sum[name]
		t.figure("%s %d", name, sum[name])
	}
}

func sharedFiles(ctx context.Context, t *trial) {
	t.secondServers(ctx, scaled(100, 4))
	t.fourWorkers(ctx, scaled(40_000, 1000))
	left := 0
	for i := range scaled(12, 3) {
		left += t.lostFile(ctx, i)
	}
	t.none(left, "writes after that, or jobs that go on")
	t.networkFile(ctx)
}

// secondServers starts servers on a file that one serves already.
func (t *trial) secondServers(ctx context.Context, n int) {
	t.Helper()
	dir := t.project(jobs(`  - {id: a, run: "true"}`))
	first := t.start(dir, "serve")
	t.soon(20*time.Second, "the server begins", func() bool { return strings.Contains(first.said(), "executes builds") })
	refused := 0
	for range n {
		r := t.run(ctx, dir, "serve")
		if r.status == 4 && strings.Contains(r.err, fmt.Sprintf("process %d ", first.cmd.Process.Pid)) {
			refused++
		} else {
			t.Errorf("a second server: exit status %d, %s", r.status, r.err)
		}
	}
	t.n += n
	t.figure("refused %d of %d", refused, n)
	first.end(syscall.SIGTERM)
}

// fourWorkers has four processes execute builds from one file, each of which
// writes down that it was executed.
func (t *trial) fourWorkers(ctx context.Context, n int) {
	t.Helper()
	dir := t.project(jobs(`  - {id: once, tries: 1, function: "hostile:once"}`))
	s, err := sqlite.Open(ctx, state(dir), sqlite.Options{})
	t.must(err)
	defer s.Close()
	t.must(s.Install(ctx))
	job := &jobcontrol.Job{ID: "once", Tries: 1, Run: &jobcontrol.Task{Function: "hostile:once"}}
	list, err := jobcontrol.NewJobs([]*jobcontrol.Job{job})
	t.must(err)
	c := worker.NewClient(worker.Config{Store: s, Jobs: list})
	var workers []*background
	for range 4 {
		workers = append(workers, t.start(dir, "worker", "-j", "16"))
	}
	for made := 0; made < n; made += 1000 {
		_, err := c.EnqueueMany(ctx, job, make([]jobcontrol.Enqueued, min(1000, n-made)))
		t.must(err)
	}
	t.soon(3*time.Minute, "all builds are executed", func() bool {
		time.Sleep(50 * time.Millisecond)
		left, err := s.ListBuilds(ctx, jobcontrol.BuildFilter{States: []jobcontrol.State{jobcontrol.Queued, jobcontrol.Running}, Limit: 1, Brief: true})
		return err == nil && len(left) == 0
	})
	busy := 0
	for _, w := range workers {
		w.end(syscall.SIGTERM)
		busy += strings.Count(strings.ToLower(w.said()), "busy")
	}
	data, err := os.ReadFile(filepath.Join(dir, "executed"))
	t.must(err)
	times := map[string]int{}
	twice := 0
	for line := range strings.Lines(string(data)) {
		if times[line]++; times[line] > 1 {
			twice++
		}
	}
	t.n += n
	if len(times) != n {
		t.Errorf("%d builds of %d were executed", len(times), n)
	}
	t.none(twice, "executed twice")
	t.none(busy, "told busy")
}

// lostFile takes a worker's file away, and returns how many signs there are that
// it goes on: it or its command lives beyond the lease, or the file in its place changes.
func (t *trial) lostFile(ctx context.Context, i int) (wrong int) {
	t.Helper()
	t.n++
	mark := fmt.Sprintf("86400.%d9%03d", os.Getpid(), i)
	dir := t.project(jobs(`  - {id: a, tries: 1, run: "sleep ` + mark + `"}`))
	w := t.start(dir, "worker", "--lease", "1s")
	if r := t.run(ctx, dir, "run", "--detach", "a"); r.status != 0 {
		t.Fatalf("exit status %d: %s", r.status, r.err)
	}
	t.soon(20*time.Second, "the command begins", func() bool {
		left, err := chaos.Leftovers([]string{mark}, 0)
		return err == nil && len(left) > 0
	})
	path := state(dir)
	var other []byte
	switch i % 3 {
	case 0:
		t.must(os.Remove(path))
	case 1:
		t.must(os.Rename(path, path+".moved"))
	case 2:
		fresh := t.project(jobs(`  - {id: a, run: "true"}`))
		t.must(os.Mkdir(filepath.Join(fresh, ".jobcontrol"), 0o700))
		if r := t.run(ctx, fresh, "install"); r.status != 0 {
			t.Fatalf("exit status %d: %s", r.status, r.err)
		}
		var err error
		other, err = os.ReadFile(state(fresh))
		t.must(err)
		t.must(os.Rename(state(fresh), path))
	}
	left, err := chaos.Leftovers([]string{mark}, 4*time.Second)
	t.must(err)
	if len(left) > 0 {
		t.Errorf("file lost in way %d: %v lives on", i%3, left)
		wrong++
	}
	if !strings.Contains(w.said(), "deleted or replaced") {
		t.Errorf("file lost in way %d: the worker does not say so: %s", i%3, w.said())
		wrong++
	}
	select {
	case <-w.ended:
		if status := w.cmd.ProcessState.ExitCode(); status != 5 {
			t.Errorf("file lost in way %d: the worker ends with status %d", i%3, status)
			wrong++
		}
	case <-time.After(10 * time.Second):
		t.Errorf("file lost in way %d: the worker goes on", i%3)
		wrong++
		w.end(syscall.SIGTERM)
	}
	now, err := os.ReadFile(path)
	if i%3 == 2 && !bytes.Equal(now, other) || i%3 != 2 && err == nil {
		t.Errorf("file lost in way %d: there is another one now, of %d bytes", i%3, len(now))
		wrong++
	}
	return wrong
}

// networkFile names a file on a file system where SQLite does not work.
func (t *trial) networkFile(ctx context.Context) {
	t.Helper()
	mount := filepath.Join(t.dir, "fuse")
	remove, why, err := chaos.MountFUSE(mount)
	t.must(err)
	if why != "" {
		t.figure("network file system left out: %s", why)
		return
	}
	defer func() { t.must(remove()) }()
	dir := t.project(jobs(`  - {id: a, run: "true"}`))
	for _, args := range [][]string{{"run", "a"}, {"worker"}, {"serve"}, {"install"}} {
		t.n++
		r := t.run(ctx, dir, append([]string{"--storage", "sqlite:" + filepath.Join(mount, "state.db")}, args...)...)
		if r.status != 5 || !strings.Contains(r.err, "FUSE") {
			t.Errorf("%v on FUSE: exit status %d, %s", args, r.status, r.err)
		}
	}
	t.figure("network file system refused")
}

// quiet is a log that nobody reads.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
