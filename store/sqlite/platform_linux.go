package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// networks are file systems on which the locks and the shared memory that
// SQLite's write-ahead log needs do not work, or only on one machine.
var networks = map[int64]string{
	0x6969:     "NFS",
	0x517B:     "SMB",
	0xFE534D42: "SMB",
	0xFF534D42: "CIFS",
	0x01021997: "9p",
	0x65735546: "FUSE",
	0x5346414F: "AFS",
	0x73757245: "Coda",
	0x00C36400: "Ceph",
	0x0BD00BD0: "Lustre",
	0x47504653: "GPFS",
	0x564C:     "NCP",
	0x01161970: "GFS2",
	0x7461636F: "OCFS2",
}

// network returns the name of the network file system that dir is on, or "".
func network(dir string) (string, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "", fmt.Errorf("statfs %s: %w", dir, err)
	}
	return networks[int64(uint32(st.Type))], nil
}

// newBootClock returns a function that returns microseconds since the machine
// was started, sleep included, and the id of that start.
func newBootClock() func() (us int64, boot string, err error) {
	boot := sync.OnceValues(func() (string, error) { // it ends with every process
		id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
		if err != nil {
			return "", fmt.Errorf("boot id: %w", err)
		}
		return strings.TrimSpace(string(id)), nil
	})
	return func() (int64, string, error) {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
			return 0, "", fmt.Errorf("boot clock: %w", err)
		}
		id, err := boot()
		return ts.Nano() / 1000, id, err
	}
}

// noticed makes the file system tell whether it still keeps what it says. ext4
// that cannot write its journal goes on without it until something wants to change
// metadata: until then it says that a file is durable whose size and place are not.
// The first change of times notices, and the second one is refused.
func noticed(path string) error {
	now := []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_NOW}}
	for range 2 {
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, now, 0); err != nil {
			return fmt.Errorf("utimensat %s: %w", path, err)
		}
	}
	return nil
}

// forget lets the system read a file from the disk again, if nobody else just
// writes it: after a failed fsync it still has what is not on the disk, as if it were.
func forget(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return fmt.Errorf("fadvise %s: %w", path, err)
	}
	return nil
}
