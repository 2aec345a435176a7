package server

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/jobcontrol/jobcontrol"
)

// lock is a file that this process has locked. The kernel gives the lock back
// when the process ends, however it does. The file stays: another process may
// be waiting with it open.
type lock struct{ file *os.File }

func takeLock(path string) (*lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, &jobcontrol.Error{Code: jobcontrol.Unavailable, Message: "lock of the server", Cause: err}
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = held(f, path)
	}
	if err == nil {
		err = name(f)
	}
	if err != nil {
		_ = f.Close() // nothing that matters was written
		return nil, err
	}
	return &lock{f}, nil
}

// held says who has the lock. Its holder may not have written its number yet.
func held(f *os.File, path string) error {
	data := make([]byte, 32)
	n, _ := f.ReadAt(data, 0)
	who := "another process"
	if pid := strings.TrimSpace(string(data[:n])); pid != "" {
		who = "process " + pid
	}
	return &jobcontrol.Error{
		Code: jobcontrol.Conflict, Message: fmt.Sprintf("serve: %s serves this store already (it holds %s)", who, path),
		Hint: "start `jobcontrol worker` for more workers, or stop that process",
	}
}

// name writes the number of this process into the file.
func name(f *os.File) error {
	text := strconv.Itoa(os.Getpid()) + "\n"
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

func (l *lock) close() error { return l.file.Close() }
