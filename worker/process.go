package worker

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/jobcontrol/jobcontrol"
)

// Self identifies this process.
func Self() jobcontrol.Process {
	host, _ := os.Hostname() // for people only
	start, _ := startTime(os.Getpid())
	return jobcontrol.Process{PID: os.Getpid(), StartTime: start, BootID: bootID(), PIDSpace: pidSpace(), Host: host}
}

// Alive tells whether a process lives, where that can be seen: a process of this
// boot and PID namespace. A process of an earlier boot is known to be gone.
func Alive(p jobcontrol.Process) (alive, known bool) {
	boot := bootID()
	switch {
	case p.PID == 0 || p.BootID == "" || boot == "":
		return false, false
	case p.BootID != boot:
		host, _ := os.Hostname()
		return false, host == p.Host
	case p.PIDSpace != pidSpace():
		return false, false
	}
	start, err := startTime(p.PID)
	switch {
	case err == nil:
		return start == p.StartTime, true
	case errors.Is(err, fs.ErrNotExist):
		// Also so where /proc hides the processes of others: then it can be asked for.
		return false, errors.Is(syscall.Kill(p.PID, 0), syscall.ESRCH)
	}
	return false, false
}

func bootID() string {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

func pidSpace() string {
	link, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return link
}

// startTime returns field 22 of /proc/PID/stat; 0 for a zombie, which is no
// process's start. The second field, the name, may hold anything.
func startTime(pid int) (uint64, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, syscall.ESRCH) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 20 {
		return 0, errors.New("/proc/PID/stat is too short")
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return 0, nil
	}
	return strconv.ParseUint(fields[19], 10, 64)
}
