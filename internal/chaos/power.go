//go:build linux

package chaos

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	_ "modernc.org/sqlite" // for the integrity check, apart from the store
)

// diskSize holds the database, its log and ext4's journal.
const diskSize = 64 << 20

// machine is a file system on a disk whose power can be cut.
type machine struct {
	dir    string
	mount  string // where the file system is
	device string // the loop device; "": none
	disk   *disk
	image  []byte // of the disk at the start
}

// canCutPower tells why power cannot be cut here; "": it can.
func canCutPower() string {
	if os.Getuid() != 0 {
		return "only root can mount file systems"
	}
	for _, name := range []string{"/dev/fuse", "/dev/loop-control"} {
		if !exists(name) {
			return "there is no " + name
		}
	}
	for _, name := range []string{"losetup", "mkfs.ext4", "mount", "umount"} {
		if _, err := exec.LookPath(name); err != nil {
			return "there is no " + name
		}
	}
	return ""
}

// newMachine makes a file system on a new disk and mounts it.
func newMachine(dir string) (*machine, error) {
	m := &machine{dir: dir, mount: filepath.Join(dir, "mnt")}
	if err := os.MkdirAll(m.mount, 0o700); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "new")
	if err := os.WriteFile(file, make([]byte, diskSize), 0o600); err != nil {
		return nil, err
	}
	if err := command("mkfs.ext4", "-q", "-F", "-J", "size=4", file); err != nil {
		return nil, err
	}
	var err error
	if m.image, err = os.ReadFile(file); err != nil {
		return nil, err
	}
	return m, errors.Join(os.Remove(file), m.on())
}

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// on switches the machine on: the file system is mounted, and so repaired.
func (m *machine) on() error {
	var err error
	if m.disk, err = openDisk(filepath.Join(m.dir, "fuse"), m.image); err != nil {
		return err
	}
	// Else a request is done in parts, by pages of the file, and where the first is
	// written and another fails, the loop device tells nobody.
	out, err := exec.Command("losetup", "-f", "--show", "--direct-io=on", m.disk.path()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("losetup: %w: %s", err, out)
	}
	m.device = strings.TrimSpace(string(out))
	limit := filepath.Join("/sys/block", filepath.Base(m.device), "queue/max_sectors_kb")
	if err := os.WriteFile(limit, fmt.Append(nil, maxWrite>>11), 0o600); err != nil {
		return err
	}
	return command("mount", "-t", "ext4", m.device, m.mount)
}

// release takes the file system and its devices away. Nobody uses them any more.
func (m *machine) release() error {
	m.disk.fail()
	err := command("umount", "-l", m.mount)
	if m.device != "" {
		err = errors.Join(err, command("losetup", "-d", m.device))
		m.device = ""
	}
	return errors.Join(err, m.disk.close())
}

// cutPower cuts the power n times at random moments, in some of them after the
// disk had failed for a while, and starts everything again.
func cutPower(n int) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		for range n {
			pause(ctx, t.among(150*time.Millisecond, 900*time.Millisecond))
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := t.cutOnce(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}

func (t *trial) cutOnce(ctx context.Context) error {
	m := t.machine
	flushes := m.disk.flushes
	m.image = m.disk.afterCut(t.rng)
	t.fault("power cut after %d flushes, %d writes were cached", flushes, len(m.disk.cached))
	if t.rng.IntN(3) == 0 {
		pause(ctx, t.among(50*time.Millisecond, 300*time.Millisecond)) // everybody sees errors
	}
	t.crash()
	if err := t.store.Close(); err != nil {
		t.figures["closes that failed"]++
	}
	if err := m.release(); err != nil {
		return err
	}
	if err := m.on(); err != nil {
		return err
	}
	if err := integrity(ctx, t.place.SQLite); err != nil {
		return err
	}
	t.fault("power is back")
	t.figures["power cuts"]++
	return t.again(ctx)
}

// failDisk has the k-th write or flush of the disk fail, and all from then on, for
// k from 1 to n. What the disk has flushed is what is there after a restart of the
// machine.
func failDisk(n int) func(context.Context, *trial) error { return failWrites(n, "disk errors", false) }

// hiccup is failDisk where only the k-th one fails, and the disk goes on as if
// nothing had happened. A system forgets then what it could not write, once it has
// told those who had the file open; who opens it later reads what is not on the disk.
func hiccup(n int) func(context.Context, *trial) error {
	return failWrites(n, "single disk errors", true)
}

func failWrites(n int, figure string, once bool) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		for k := range n {
			pause(ctx, t.among(50*time.Millisecond, 200*time.Millisecond))
			t.fault("write %d of the disk fails, alone: %v", k+1, once)
			t.machine.disk.failAt(k+1, once)
			for deadline := time.Now().Add(5 * time.Second); !t.machine.disk.failed(); pause(ctx, 5*time.Millisecond) {
				if time.Now().After(deadline) {
					return fmt.Errorf("the disk was not written %d times", k+1)
				}
			}
			pause(ctx, t.among(20*time.Millisecond, 300*time.Millisecond))
			t.figures[figure]++
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := t.cutOnce(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}

// crash ends all processes at once.
func (t *trial) crash() {
	var gone []*process
	for _, kind := range []string{"client", "worker"} {
		for _, p := range t.running(kind) {
			_ = p.cmd.Process.Kill() // an error: it has ended
			gone = append(gone, p)
		}
	}
	for _, p := range gone {
		<-p.ended
	}
}

// again opens the store and starts as many processes as the scenario has.
func (t *trial) again(ctx context.Context) (err error) {
	if t.store, err = t.place.open(ctx); err != nil {
		return err
	}
	for range t.Workers {
		if _, err := t.worker(""); err != nil {
			return err
		}
	}
	for range t.Clients {
		if _, err := t.client(); err != nil {
			return err
		}
	}
	return nil
}

// integrity asks SQLite whether the file is whole.
func integrity(ctx context.Context, path string) error {
	db, err := sql.Open("sqlite", path)
	if err != nil {
		return err
	}
	defer db.Close()
	var answer string
	if err := db.QueryRowContext(ctx, "PRAGMA integrity_check").Scan(&answer); err != nil {
		return fmt.Errorf("integrity of %s: %w", path, err)
	}
	if answer != "ok" {
		return fmt.Errorf("integrity of %s: %s", path, answer)
	}
	return nil
}

// onMachine makes the cluster's store on a machine whose power can be cut.
func onMachine(ctx context.Context, t *trial) error {
	m, err := newMachine(filepath.Join(t.dir, "machine"))
	if err != nil {
		return err
	}
	t.machine = m
	t.later(func() {
		t.Cluster.close()
		if err := m.release(); err != nil {
			fmt.Fprintln(os.Stderr, "chaos: release:", err) // the journal is closed
		}
	})
	return t.move(ctx, filepath.Join(m.mount, "state.db"))
}

// move lets the cluster use a new database at another path.
func (t *trial) move(ctx context.Context, path string) error {
	t.place.SQLite, t.remote.SQLite = path, path
	store, err := t.place.open(ctx)
	if err != nil {
		return err
	}
	return errors.Join(store.Install(ctx), store.Close())
}
