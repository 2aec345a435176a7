//go:build linux

package chaos

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Leftovers returns the processes that have one of the marks in their arguments
// or environment and still live after the patience; this process is none.
func Leftovers(marks []string, patience time.Duration) ([]string, error) {
	deadline := time.Now().Add(patience)
	for {
		found, err := marked(marks)
		if err != nil || len(found) == 0 || time.Now().After(deadline) {
			return found, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func marked(marks []string) ([]string, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, d := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(d)) // digits
		if pid == os.Getpid() {
			continue
		}
		command, err := os.ReadFile(filepath.Join(d, "cmdline"))
		if err != nil || len(command) == 0 {
			continue // it has ended
		}
		env, _ := os.ReadFile(filepath.Join(d, "environ")) // likewise
		for _, m := range marks {
			if bytes.Contains(command, []byte(m)) || bytes.Contains(env, []byte(m)) {
				out = append(out, fmt.Sprintf("process %d (%s)", pid, strings.TrimSpace(strings.ReplaceAll(string(command), "\x00", " "))))
				break
			}
		}
	}
	return out, nil
}

// childOf returns the process number of a process's child whose arguments begin
// with a name; 0: there is none.
func childOf(parent int, name string) int {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent))
	if err != nil {
		return 0
	}
	pids := strings.Fields(string(data))
	// A child belongs to the thread that made it.
	if tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", parent)); err == nil {
		for _, t := range tasks {
			if data, err := os.ReadFile(t); err == nil {
				pids = append(pids, strings.Fields(string(data))...)
			}
		}
	}
	for _, p := range pids {
		pid, err := strconv.Atoi(p)
		if err != nil {
			continue
		}
		if command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && bytes.HasPrefix(command, []byte(name)) {
			return pid
		}
	}
	return 0
}
