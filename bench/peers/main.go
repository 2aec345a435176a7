// Peers runs other queues and ours side by side on the same server and disk, and
// prints one table. README.md tells how each figure is measured.
//
//	go run -C bench/peers .
//	go run -C bench/peers . -only drain,latency -rounds 3 -scale 0.1
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	only    string
	systems string
	rounds  int
	scale   float64
	seconds time.Duration
	full    bool
	json    string
	dir     string
	bin     string
}

// bench is what the measures share.
type bench struct {
	options
	dir     string            // a scratch directory
	bins    map[string]string // programs by folder
	pg      *postgres
	redis   map[string]*redis // by appendfsync
	session []func()          // what is stopped at the end, last first
}

func main() {
	var o options
	flag.StringVar(&o.only, "only", "", "names of the measures, separated by commas (default: all)")
	flag.StringVar(&o.systems, "systems", "", "only systems whose name contains one of these words, separated by commas")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each is measured, in turn with its peers; the median counts")
	flag.Float64Var(&o.scale, "scale", 1, "share of the usual numbers of jobs; 0.1 is quick and rough")
	flag.DurationVar(&o.seconds, "window", 20*time.Second, "how long drains under a snapshot last; a minute with -full")
	flag.BoolVar(&o.full, "full", false, "10 million finished and 1 million waiting; snapshots of a minute; more peers")
	flag.StringVar(&o.json, "json", "", "write everything that was measured to this file, too")
	flag.StringVar(&o.dir, "dir", "", "scratch directory, on a disk (default: the system's)")
	flag.StringVar(&o.bin, "postgres", "", "folder of PostgreSQL's programs (default: the newest in the usual places)")
	list := flag.Bool("list", false, "list the measures")
	flag.Parse()
	if *list {
		for _, m := range measures(o) {
			fmt.Printf("%-14s %s\n", m.name, m.what)
		}
		return
	}
	if o.full {
		o.seconds = max(o.seconds, time.Minute)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp(o.dir, "jc-peers-")
	if err != nil {
		return err
	}
	// A server that gives up root must be able to pass.
	if err := os.Chmod(dir, 0o711); err != nil {
		return err
	}
	b := &bench{options: o, dir: dir, bins: map[string]string{}, redis: map[string]*redis{}}
	defer b.close()
	chosen, err := choose(o)
	if err != nil {
		return err
	}
	var results []result
	var failed error
	for _, m := range chosen {
		r, err := b.measure(ctx, m)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", m.name, err))
			continue
		}
		results = append(results, r)
		if !r.ok() {
			failed = errors.Join(failed, fmt.Errorf("%s: missed", m.name))
		}
	}
	machine, err := describe(context.WithoutCancel(ctx), b)
	if err != nil {
		return errors.Join(failed, err)
	}
	printTable(os.Stdout, machine, results)
	if o.json != "" {
		failed = errors.Join(failed, writeJSON(o.json, machine, results))
	}
	return failed
}

// choose returns the measures that the flags name.
func choose(o options) ([]measure, error) {
	all := measures(o)
	if o.only == "" {
		return all, nil
	}
	var chosen []measure
	for name := range strings.SplitSeq(o.only, ",") {
		i := slices.IndexFunc(all, func(m measure) bool { return m.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no measure %q for these systems: see -list", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

func (b *bench) close() {
	for _, f := range slices.Backward(b.session) {
		f()
	}
	os.RemoveAll(b.dir)
}

// program builds a program once and returns its path.
func (b *bench) program(ctx context.Context, folder string) (string, error) {
	if p, ok := b.bins[folder]; ok {
		return p, nil
	}
	path := filepath.Join(b.dir, folder)
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, ".")
	c.Dir = folder
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", folder, err, out)
	}
	b.bins[folder] = path
	return path, nil
}

// place is where systems store their jobs.
type place interface {
	// fresh makes an empty store; drop removes it.
	fresh(ctx context.Context) (dsn string, drop func(), err error)
	// settle is called between filling and measuring.
	settle(ctx context.Context, dsn string) error
	// cpu is the processor time of the server.
	cpu() (time.Duration, error)
	// written is how much the server wrote to its log.
	written(ctx context.Context) (int64, error)
}

// place returns the place of that name, and starts its server when it is first wanted.
func (b *bench) place(ctx context.Context, name string) (place, error) {
	switch name {
	case "postgres":
		if b.pg != nil {
			return b.pg, nil
		}
		bin, err := postgresFolder(b.bin)
		if err != nil {
			return nil, err
		}
		if b.pg, err = startPostgres(ctx, filepath.Join(b.dir, "pg"), bin); err != nil {
			return nil, err
		}
		b.session = append(b.session, b.pg.stop)
		return b.pg, nil
	case "redis everysec", "redis always":
		sync := strings.TrimPrefix(name, "redis ")
		if b.redis[sync] == nil {
			r, err := startRedis(filepath.Join(b.dir, "redis-"+sync), sync)
			if err != nil {
				return nil, err
			}
			b.redis[sync] = r
			b.session = append(b.session, r.stop)
		}
		return b.redis[sync], nil
	}
	return files{b.dir}, nil
}

// postgresFolder is where PostgreSQL's programs are.
func postgresFolder(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		return filepath.Dir(found[len(found)-1]), nil
	}
	path, err := exec.LookPath("postgres")
	if err != nil {
		return "", errors.New("no PostgreSQL found: install it (Debian: postgresql) or name its folder with -postgres")
	}
	return filepath.Dir(path), nil
}
