package executor

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A proc is a process as /proc shows it.
type proc struct {
	pid, parent, group, session int
	state                       byte
	born                        uint64 // boot time in clock ticks
	name                        string
}

// A procKey identifies a process beyond the reuse of its number.
type procKey struct {
	pid  int
	born uint64
}

func (p proc) key() procKey { return procKey{p.pid, p.born} }

// A census finds processes: quickly whether there may be some of a tree, and
// more slowly which. Its files stay open so that a quick look opens none.
type census struct {
	self     int
	children *os.File // our children, one line; nil where the kernel does not tell
	loadavg  *os.File // its last field is the latest process number; nil where there is none
}

// quickRange is up to how many process numbers a quick look tries one by one.
const quickRange = 1024

func newCensus(self int) *census {
	c := &census{self: self}
	// Orphans become children of the main thread.
	c.children, _ = os.Open(fmt.Sprintf("/proc/self/task/%d/children", self))
	c.loadavg, _ = os.Open("/proc/loadavg")
	return c
}

func (c *census) close() {
	_ = c.children.Close() // read only; nil is an error
	_ = c.loadavg.Close()
}

// suspicious tells whether the tree may have processes outside of its group. It
// may say yes wrongly, and then costs a real look.
func (c *census) suspicious(f *forest, t *tree) bool {
	if f.subreaper && c.children != nil {
		pids, ok := c.listChildren()
		for _, pid := range pids {
			if f.stranger(pid) {
				return true
			}
		}
		return !ok
	}
	last := c.latest()
	if last < t.pid || last-t.pid > quickRange {
		return true // the numbers have wrapped, or there are too many
	}
	for pid := t.pid + 1; pid <= last; pid++ {
		if f.known(pid) {
			continue
		}
		if f.subreaper {
			if isChild(pid) && f.stranger(pid) && isChild(pid) {
				return true
			}
		} else if env, clear := environOf(pid); !clear || strings.Contains(env, t.token) {
			return true
		}
	}
	return false
}

// isChild tells whether a process is our child, living or not.
func isChild(pid int) bool {
	return unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, nil) == nil
}

// listChildren reads our children; false: the kernel could not tell.
func (c *census) listChildren() ([]int, bool) {
	var buf [4096]byte
	n, err := c.children.ReadAt(buf[:], 0)
	if n == len(buf) || n == 0 && err == nil {
		return nil, false
	}
	var pids []int
	for _, w := range bytes.Fields(buf[:n]) {
		if pid, err := strconv.Atoi(string(w)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, true
}

// latest is the number of the latest process, 0 if that is not known.
func (c *census) latest() int {
	var buf [128]byte
	n, _ := c.loadavg.ReadAt(buf[:], 0) // io.EOF is the normal case
	line := bytes.TrimSpace(buf[:n])
	pid, _ := strconv.Atoi(string(line[bytes.LastIndexByte(line, ' ')+1:]))
	return pid
}

// processes returns all processes except kernel threads.
func (c *census) processes() []proc {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	entries, _ := dir.Readdirnames(-1) // what could be read is better than nothing
	out := make([]proc, 0, len(entries))
	var buf [1024]byte
	for _, e := range entries {
		if e[0] < '1' || e[0] > '9' {
			continue
		}
		if p, ok := parseStat(readProc(e, "stat", buf[:])); ok && p.parent != 2 {
			out = append(out, p)
		}
	}
	return out
}

// readProc reads a file of a process into buf, without the cost of an os.File.
func readProc(pid, file string, buf []byte) []byte {
	fd, err := unix.Open("/proc/"+pid+"/"+file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return nil
	}
	return buf[:n]
}

// parseStat reads /proc/PID/stat. The name, in parentheses, may contain anything.
func parseStat(line []byte) (proc, bool) {
	open, end := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
	if open < 1 || end < open {
		return proc{}, false
	}
	fields := bytes.Fields(line[end+1:])
	if len(fields) < 20 {
		return proc{}, false
	}
	number := func(b []byte) int {
		n, _ := strconv.Atoi(string(b))
		return n
	}
	p := proc{
		pid: number(line[:open-1]), state: fields[0][0], parent: number(fields[1]), group: number(fields[2]),
		session: number(fields[3]), name: string(line[open+1 : end]),
	}
	p.born, _ = strconv.ParseUint(string(fields[19]), 10, 64)
	return p, p.pid > 0
}

// environOf is the initial environment of a process, "" where it cannot be read.
// It is not clear where it is empty, as it also is for a moment in an execve.
func environOf(pid int) (env string, clear bool) {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/environ", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", true
	}
	defer unix.Close(fd)
	var b strings.Builder
	var buf [4096]byte
	for b.Len() < 4<<20 {
		n, err := unix.Read(fd, buf[:])
		if err != nil {
			return b.String(), true
		}
		if n <= 0 {
			break
		}
		b.Write(buf[:n])
	}
	return b.String(), b.Len() > 0
}

// holdsPipe tells whether a process has the other end of one of our pipes open.
// A pipe is one inode for both ends; of a socket pair each end has its own.
func holdsPipe(pid int, ours [3]int) bool {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd/"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, fd := range ours[:2] {
		var want, got syscall.Stat_t
		if fd < 0 || syscall.Fstat(fd, &want) != nil {
			continue
		}
		for _, e := range entries {
			if syscall.Stat(dir+e.Name(), &got) == nil && got.Ino == want.Ino && got.Dev == want.Dev {
				return true
			}
		}
	}
	return false
}

// isHelper tells whether a process is another one of our own program.
func isHelper(pid int) bool {
	ours, err := os.Stat("/proc/self/exe")
	if err != nil {
		return false
	}
	theirs, err := os.Stat("/proc/" + strconv.Itoa(pid) + "/exe")
	return err == nil && os.SameFile(ours, theirs)
}

// bootTicks is the time since boot in the unit of /proc.
func bootTicks() uint64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // cannot fail
	return uint64(ts.Sec)*100 + uint64(ts.Nsec)/1e7
}
