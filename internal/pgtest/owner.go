package pgtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// owner is the user whose processes and files a cluster's are; nil: oneself.
type owner struct{ uid, gid int }

// findOwner returns the user postgres for root, else nil.
func findOwner() (*owner, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL does not run as root: %w", err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.Atoi(u.Gid)
	return &owner{uid, gid}, err
}

// own gives a file to the owner.
func (o *owner) own(path string) error {
	if o == nil {
		return nil
	}
	return os.Chown(path, o.uid, o.gid)
}

// command is a command that the owner executes and that ends with this process.
func (o *owner) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "LANG=C", "TZ=UTC")
	cmd.SysProcAttr = attributes()
	if o != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(o.uid), Gid: uint32(o.gid)}
	}
	return cmd
}

// prefix begins the names of clusters' directories.
const prefix = "jobcontrol-pg-"

// makeDir makes a directory for a cluster, with a lock that this process holds.
// Another process may sweep it away before it is locked: then it makes another.
func makeDir(temp string) (dir string, lock *os.File, err error) {
	for {
		if dir, err = os.MkdirTemp(temp, prefix); err != nil {
			return "", nil, err
		}
		path := filepath.Join(dir, "lock")
		lock, err = os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", nil, err
		}
		if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
			return "", nil, errors.Join(err, lock.Close())
		}
		if _, err := os.Stat(path); err == nil {
			return dir, lock, nil
		}
		_ = lock.Close() // of a file that is gone
	}
}

// sweep removes directories of clusters whose process is gone. What cannot be
// removed belongs to somebody else.
func sweep(temp string) {
	dirs, _ := filepath.Glob(filepath.Join(temp, prefix+"*")) // the pattern is one
	for _, dir := range dirs {
		lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) {
			_ = os.Remove(dir) // only if it is empty; one that is being made gets another error from its maker
			continue
		}
		if err != nil {
			continue
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			_ = os.RemoveAll(dir)
		}
		_ = lock.Close()
	}
}

// childrenOf returns the processes that a process started.
func childrenOf(pid int) []int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is one
	var children []int
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(data[strings.LastIndexByte(string(data), ')')+1:]), " ")
		fields := strings.Fields(rest) // state, parent, …
		if len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			if child, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
				children = append(children, child)
			}
		}
	}
	return children
}

func exists(pid int) bool { return syscall.Kill(pid, 0) == nil }
