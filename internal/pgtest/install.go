package pgtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// Where Debian's packages put what is started here.
const (
	binaryGlob  = "/usr/lib/postgresql/*/bin/initdb"
	bouncerPath = "/usr/sbin/pgbouncer"
)

// binaries returns the directory of the newest PostgreSQL of this machine,
// which root installs where there is none.
func binaries() (string, error) {
	if dir := newest(); dir != "" {
		return dir, nil
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	if err := install("postgresql", func() bool { return newest() != "" }); err != nil {
		return "", err
	}
	return newest(), nil
}

// bouncer returns the path of PgBouncer, which root installs where it is missing.
func bouncer() (string, error) {
	if path, err := exec.LookPath("pgbouncer"); err == nil {
		return path, nil
	}
	err := install("pgbouncer", func() bool {
		_, err := os.Stat(bouncerPath)
		return err == nil
	})
	return bouncerPath, err
}

// newest returns the directory of the binaries with the highest version, or "".
func newest() string {
	found, _ := filepath.Glob(binaryGlob) // the pattern is one
	if len(found) == 0 {
		return ""
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return versionOf(filepath.Dir(a)) - versionOf(filepath.Dir(b)) }))
}

// versionOf is the version of a Debian package's directory of binaries; 0 for others.
func versionOf(bin string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(bin))) // another directory has no number
	return n
}

// install installs a Debian package if root asks for it, and returns an error
// that says what to do otherwise. Several processes may call it at once.
func install(name string, done func() bool) (err error) {
	advice := func(err error) error {
		return fmt.Errorf("these tests need %s: install the package, on Debian as root: apt-get install %s: %w", name, name, err)
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return advice(err)
	}
	if os.Geteuid() != 0 {
		return advice(errors.New("only root can install it"))
	}
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "jobcontrol-apt.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return advice(err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return advice(err)
	}
	if done() {
		return nil // another process did it
	}
	if err := aptGet(name); err != nil {
		return advice(err)
	}
	if !done() {
		return advice(errors.New("it was installed, but is not where it is looked for"))
	}
	return nil
}

// aptGet installs a package and neither makes a cluster nor starts a service:
// the file that says so to Debian's scripts is there only meanwhile.
func aptGet(name string) (err error) {
	restore, err := addTo("/etc/postgresql-common/createcluster.conf", "create_main_cluster = false\n", 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, restore()) }()
	if _, err := os.Stat("/usr/sbin/policy-rc.d"); errors.Is(err, fs.ErrNotExist) { // else it is somebody's who knows why
		allow, err := addTo("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
		if err != nil {
			return err
		}
		defer func() { _ = allow() }() // should it stay, no service starts by itself
	}
	for _, args := range [][]string{
		{"update", "-q"},
		{"install", "-q", "-y", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold", name},
	} {
		cmd := exec.Command("apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w: %s", args[0], err, out)
		}
	}
	if _, err := exec.LookPath("systemctl"); err == nil {
		_ = exec.Command("systemctl", "disable", name).Run() // it fails where systemd does not run
	}
	return nil
}

// addTo adds to a file, or makes it. What it returns makes it what it was, or
// what a package would have put there.
func addTo(path, text string, mode fs.FileMode) (func() error, error) {
	old, err := os.ReadFile(path)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, append(old, text...), mode); err != nil {
		return nil, err
	}
	return func() error {
		switch {
		case !missing:
			return os.WriteFile(path, old, mode)
		case os.Rename(path+".dpkg-dist", path) == nil, os.Rename(path+".ucf-dist", path) == nil:
			return nil
		}
		return os.Remove(path)
	}, nil
}
