package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
)

// fsyncs measures how often a second the disk writes and syncs a page of 8 KiB.
func fsyncs(dir string) (float64, error) {
	f, err := os.Create(filepath.Join(dir, "fsync"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	page := make([]byte, 8192)
	const n = 200
	if _, err := f.Write(make([]byte, n*len(page))); err != nil {
		return 0, err
	}
	if err := f.Sync(); err != nil {
		return 0, err
	}
	begin := time.Now()
	for i := range n {
		if _, err := f.WriteAt(page, int64(i*len(page))); err != nil {
			return 0, err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
	}
	return n / time.Since(begin).Seconds(), nil
}

// execs measures how many processes the machine starts a second.
func execs(ctx context.Context) (float64, error) {
	const n = 100
	begin := time.Now()
	for range n {
		if err := exec.CommandContext(ctx, "sh", "-c", "true").Run(); err != nil {
			return 0, err
		}
	}
	return n / time.Since(begin).Seconds(), nil
}

// describe tells what was measured where.
func describe(ctx context.Context, b *bench) ([]string, error) {
	lines := []string{
		time.Now().UTC().Format(time.RFC3339),
		fmt.Sprintf("medians of %d rounds, numbers of jobs × %g", b.rounds, b.scale),
		fmt.Sprintf("%d cores (%s), Linux %s, %s", runtime.NumCPU(), processor(), kernel(), runtime.Version()),
	}
	if b.pg != nil {
		var v string
		if err := b.pg.admin.QueryRow(ctx, "SELECT version()").Scan(&v); err != nil {
			return nil, err
		}
		lines = append(lines, strings.Join(strings.Fields(v)[:2], " ")+": "+strings.Join(settings[:5], ", "))
	}
	if len(b.redis) > 0 {
		if out, err := exec.CommandContext(ctx, "redis-server", "--version").Output(); err == nil {
			lines = append(lines, strings.Join(strings.Fields(string(out))[:3], " "))
		}
	}
	var libraries []string
	for folder, path := range b.bins {
		out, err := exec.CommandContext(ctx, "go", "version", "-m", path).Output()
		if err == nil {
			libraries = append(libraries, versions(folder, string(out))...)
		}
	}
	if len(libraries) > 0 {
		slices.Sort(libraries)
		lines = append(lines, strings.Join(libraries, ", "))
	}
	return lines, nil
}

// versions finds the libraries that are compared in what a program is made of.
func versions(folder, modules string) (found []string) {
	if folder == "riversqlite" || folder == "jobcontrol" {
		return nil // its name tells; ours is the tree
	}
	for line := range strings.Lines(modules) {
		f := strings.Fields(line)
		if len(f) >= 3 && f[0] == "dep" && (f[1] == "github.com/riverqueue/river" || f[1] == "github.com/hibiken/asynq") {
			found = append(found, f[1]+" "+f[2])
		}
	}
	return found
}

func processor() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(data)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	data, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	return string(bytes.TrimSpace(data))
}

// revision is the commit that this was built from, where Go knows it.
func revision() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return ""
}
