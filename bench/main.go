// Bench measures what the README claims: each figure beside the fsyncs and the
// process starts a second that the machine managed in the same run, as a ratio
// where there is a peer. The best of five counts.
//
//	make bench
//	go run ./bench -only chain,independent -rounds 3
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// measure is one row of the table.
type measure struct {
	name  string
	what  string
	must  string
	count func(ctx context.Context, b *bench) (figure, error)
}

// figure is what a measure gave in one round.
type figure struct {
	value float64 // the smaller the better
	text  string
	ok    bool
}

// bench is what the measures share.
type bench struct {
	dir    string // a scratch directory
	binary string // of jobcontrol
	fsyncs float64
	execs  float64
}

func main() {
	only := flag.String("only", "", "names of the measures, separated by commas (default: all)")
	rounds := flag.Int("rounds", 5, "how often each is measured; the best counts")
	flag.Parse()
	if flag.NArg() > 1 && flag.Arg(0) == peakArg {
		os.Exit(peak(flag.Args()[1:]))
	}
	if err := run(*only, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(only string, rounds int) error {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "jobcontrol-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{dir: dir, binary: filepath.Join(dir, "jobcontrol")}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", b.binary, "./cmd/jobcontrol")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	fmt.Printf("%-13s %-52s %-34s %-9s %8s %8s\n", "", "measured (best of "+fmt.Sprint(rounds)+")", "must", "", "fsync/s", "exec/s")
	failed := 0
	for _, m := range measures {
		if only != "" && !slices.Contains(strings.Split(only, ","), m.name) {
			continue
		}
		var best figure
		for r := range rounds {
			if err := b.machine(); err != nil {
				return err
			}
			f, err := m.count(ctx, b)
			if err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
			if r == 0 || f.value < best.value {
				best = f
			}
		}
		verdict := "reached"
		if !best.ok {
			verdict = "MISSED"
			failed++
		}
		fmt.Printf("%-13s %-52s %-34s %-9s %8.0f %8.0f\n", m.name, best.text, m.must, verdict, b.fsyncs, b.execs)
	}
	if failed > 0 {
		return fmt.Errorf("%d of the figures were missed", failed)
	}
	return nil
}

// machine measures what the machine can do right now.
func (b *bench) machine() error {
	f, err := os.Create(filepath.Join(b.dir, "fsync"))
	if err != nil {
		return err
	}
	defer f.Close()
	page := make([]byte, 4096)
	const n = 200
	begin := time.Now()
	for range n {
		if _, err := f.Write(page); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	b.fsyncs = n / time.Since(begin).Seconds()
	begin = time.Now()
	for range n {
		if err := exec.Command("sh", "-c", "true").Run(); err != nil {
			return err
		}
	}
	b.execs = n / time.Since(begin).Seconds()
	return nil
}

// peakArg makes this program a small one that executes another and prints the
// most memory that it had, in bytes: the kernel counts what the parent had when
// it started a process as that process's own.
const peakArg = "peak"

func peak(args []string) int {
	c := exec.Command(args[0], args[1:]...)
	if err := c.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(c.ProcessState.SysUsage().(*syscall.Rusage).Maxrss * 1024)
	return 0
}

// memory returns the most memory that a command has, in bytes.
func memory(ctx context.Context, dir string, args ...string) (int64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	c := exec.CommandContext(ctx, self, append([]string{peakArg}, args...)...)
	c.Dir = dir
	out, err := c.Output()
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
}

// fresh returns an empty directory.
func (b *bench) fresh() (string, error) { return os.MkdirTemp(b.dir, "m-") }

// timed runs a command and returns how long it took. What it writes to standard
// output is dropped: reading it would take part of the machine.
func timed(c *exec.Cmd) (time.Duration, error) {
	var errs strings.Builder
	c.Stderr = &errs
	begin := time.Now()
	if err := c.Run(); err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", strings.Join(c.Args, " "), err, errs.String())
	}
	return time.Since(begin), nil
}
