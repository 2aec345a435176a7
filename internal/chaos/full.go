//go:build linux

package chaos

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// tinySize is the size of a file system that fills up.
const tinySize = "size=12m,mode=700"

// canMount tells why nothing can be mounted; "": it can.
func canMount() string {
	if os.Getuid() != 0 {
		return "only root can mount file systems"
	}
	return ""
}

// onTinyDisk makes the cluster's store on a small file system in memory.
func onTinyDisk(ctx context.Context, t *trial) error {
	mount := filepath.Join(t.dir, "tiny")
	if err := os.MkdirAll(mount, 0o700); err != nil {
		return err
	}
	if err := syscall.Mount("chaos", mount, "tmpfs", 0, tinySize); err != nil {
		return os.NewSyscallError("mount tmpfs", err)
	}
	t.later(func() {
		t.Cluster.close()
		_ = syscall.Unmount(mount, syscall.MNT_DETACH) // else it stays until the next start of the machine
	})
	return t.move(ctx, filepath.Join(mount, "state.db"))
}

// fillDisk fills the small file system n times under load, and makes room again;
// work must go on within five seconds.
func fillDisk(n int) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		ballast := filepath.Join(filepath.Dir(t.place.SQLite), "ballast")
		for range n {
			pause(ctx, t.among(200*time.Millisecond, 800*time.Millisecond))
			if err := fill(ballast); err != nil {
				return err
			}
			t.fault("the disk is full")
			pause(ctx, t.among(200*time.Millisecond, 2*time.Second))
			if err := os.Remove(ballast); err != nil {
				return err
			}
			t.fault("there is room again")
			t.figures["disks filled"]++
			if err := t.goesOn(ctx, 5*time.Second); err != nil {
				t.found = append(t.found, Violation{Rule: "lost", Text: "after a full disk: " + err.Error()})
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		return nil
	}
}

// fill writes a file until there is no room.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for size := 64 << 10; size > 0; size /= 2 {
		block := make([]byte, size)
		for range 1 << 16 {
			if _, err := f.Write(block); err != nil {
				break
			}
		}
	}
	return nil
}

// goesOn waits until some execution ends after now.
func (t *trial) goesOn(ctx context.Context, patience time.Duration) error {
	path := filepath.Join(t.dir, "journal")
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	from := info.Size()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		pause(ctx, 50*time.Millisecond)
		if err := t.revive(); err != nil {
			return err
		}
		if n, err := countSince(path, from, `{"e":"end"`); err != nil || n > 0 {
			return err
		}
	}
	return fmt.Errorf("nothing was executed for %v", patience)
}

// revive starts workers anew that have ended by themselves, as a service manager does.
func (t *trial) revive() error {
	for len(t.running("worker")) < t.Workers {
		t.figures["workers that ended by themselves"]++
		if _, err := t.worker(""); err != nil {
			return err
		}
	}
	for len(t.running("client")) < t.Clients {
		t.figures["clients that ended by themselves"]++
		if _, err := t.client(); err != nil {
			return err
		}
	}
	return nil
}

// countSince counts how often a text is in what was appended to a file.
func countSince(path string, from int64, text string) (int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return bytes.Count(data[from:], []byte(text)), nil
}

// limitFiles lets workers run n times under a limit of the size of their files
// that they hit after a while, and after that without.
func limitFiles(n int) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		for range n {
			pause(ctx, t.among(100*time.Millisecond, 400*time.Millisecond))
			p, err := t.worker("")
			if err != nil {
				return err
			}
			info, err := os.Stat(t.place.SQLite + "-wal")
			if err != nil {
				return err
			}
			// Its log of what is written, or the file itself, may grow no further than a little.
			limit := info.Size() + int64(t.rng.IntN(64<<10))
			if err := command("prlimit", fmt.Sprintf("--pid=%d", p.cmd.Process.Pid), fmt.Sprintf("--fsize=%d", limit)); err != nil {
				return err
			}
			t.fault("%s may write files of %d bytes", p.role.Name, limit)
			t.figures["file size limits"]++
			pause(ctx, t.among(300*time.Millisecond, time.Second))
			p.kill()
			if err := t.revive(); err != nil {
				return err
			}
		}
		return nil
	}
}
