package worker

import (
	"bytes"
	"os"
	"strconv"
	"strings"

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
	start, ok := startTime(p.PID)
	return ok && start == p.StartTime, true
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

// startTime returns field 22 of /proc/PID/stat, and false when there is no such
// process or it is a zombie. The second field, the name, may hold anything.
func startTime(pid int) (uint64, bool) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false
	}
	i := bytes.LastIndexByte(data, ')')
	fields := strings.Fields(string(data[i+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return 0, false
	}
	t, err := strconv.ParseUint(fields[19], 10, 64)
	return t, err == nil
}
