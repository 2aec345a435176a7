package executor_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
)

func mkfifo(path string) error { return syscall.Mkfifo(path, 0o600) }

// A workOrder is what a worker process of a test executes.
type workOrder struct {
	Script  string
	Timeout time.Duration // of the job
	Trust   time.Duration // after which the worker does not say that it may go on
	Hold    bool          // it is prepared and not executed, without a guardian
	Then    string        // a file that is made when the worker has died
	Again   string        // a script for after the first one has ended: trusted anew, and for an hour
}

const guardianName = "test-guardian"

// workerMain executes a work order, and writes what the command logs.
func workerMain() {
	var o workOrder
	if err := json.Unmarshal([]byte(os.Getenv("EXECUTOR_TEST_ORDER")), &o); err != nil {
		panic(err)
	}
	if o.Hold {
		p := executor.New(executor.Config{}).Prepare(newCall(printer{}, &jobcontrol.Task{Shell: o.Script}))
		fmt.Println("held", executor.PidOf(p))
		time.Sleep(time.Hour)
	}
	g := executor.NewGuardian([]string{guardianName})
	if o.Then != "" {
		g.Then([]string{modeThen, o.Then})
	}
	e := executor.New(executor.Config{Guardian: g, Subreaper: true})
	c := newCall(printer{}, &jobcontrol.Task{Shell: o.Script})
	c.Job.Timeout = o.Timeout
	if o.Trust > 0 {
		g.Trust(time.Now().Add(o.Trust))
	}
	_, err := e.Execute(context.Background(), c)
	fmt.Println("ended:", err)
	if o.Again != "" {
		g.Trust(time.Now().Add(time.Hour))
		_, err := e.Execute(context.Background(), newCall(printer{}, &jobcontrol.Task{Shell: o.Again}))
		fmt.Println("ended again:", err)
	}
	e.Close()
	g.Close()
	fmt.Println("closed")
	os.Exit(0)
}

// printer writes what a command logs to stdout.
type printer struct{}

func (printer) Log(l jobcontrol.LogRecord)   { fmt.Println(l.Message) }
func (printer) Progress(jobcontrol.Progress) {}

// A workerProcess is a worker process of a test.
type workerProcess struct {
	cmd   *exec.Cmd
	lines chan string
}

func startWorker(t *testing.T, o workOrder) *workerProcess {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	order, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	w := &workerProcess{cmd: exec.Command(self), lines: make(chan string, 1000)}
	w.cmd.Env = append(os.Environ(), envMode+"="+modeWorker, "EXECUTOR_TEST_ORDER="+string(order))
	w.cmd.Stderr = os.Stderr
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(w.lines)
		for in := bufio.NewScanner(out); in.Scan(); {
			w.lines <- in.Text()
		}
	}()
	t.Cleanup(func() {
		_ = w.cmd.Process.Kill()
		for range w.lines {
		}
		_ = w.cmd.Wait()
	})
	return w
}

// await waits for a line and returns what follows the prefix.
func (w *workerProcess) await(t *testing.T, prefix string) string {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		select {
		case line, ok := <-w.lines:
			if !ok {
				t.Fatalf("the worker ended without %q", prefix)
			}
			if rest, ok := strings.CutPrefix(line, prefix); ok {
				return rest
			}
		case <-limit:
			t.Fatalf("no %q", prefix)
		}
	}
}

// guardian is the number of the worker's guardian, 0 if it has none.
func (w *workerProcess) guardian() int {
	stats, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range stats {
		if data, err := os.ReadFile(path); err != nil || !strings.HasPrefix(string(data), guardianName) {
			continue
		}
		stat, err := os.ReadFile(filepath.Dir(path) + "/stat")
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		if fields := strings.Fields(rest); fields[0] != "Z" && fields[1] == strconv.Itoa(w.cmd.Process.Pid) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			return pid
		}
	}
	return 0
}

// family is a script that leaves processes behind in several ways and goes on.
func family(t *testing.T) (script string, pids func() []int) {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "survivor")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho $$ > $1\nPATH=/usr/bin:/bin exec sleep 300\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	script = `D=` + dir + `
$D/survivor $D/a.pid &
setsid $D/survivor $D/b.pid &
(setsid $D/survivor $D/c.pid >/dev/null 2>&1 3>&- </dev/null &)
env -i $D/survivor $D/d.pid &
while ! [ -s $D/a.pid -a -s $D/b.pid -a -s $D/c.pid -a -s $D/d.pid ]; do sleep 0.01; done
sleep 0.2
echo $$ > $D/e.pid
echo ready
trap '' TERM
while :; do sleep 0.05; done`
	return script, func() []int {
		files, _ := filepath.Glob(dir + "/*.pid")
		var out []int
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, pid)
		}
		if len(out) != 5 {
			t.Fatalf("%d processes", len(out))
		}
		return out
	}
}

func allDead(pids []int) func() bool {
	return func() bool {
		for _, pid := range pids {
			if alive(pid) {
				return false
			}
		}
		return true
	}
}

func TestWorkerKilled(t *testing.T) {
	script, pids := family(t)
	w := startWorker(t, workOrder{Script: script})
	w.await(t, "ready")
	g := w.guardian()
	if g == 0 {
		t.Fatal("there is no guardian")
	}
	_ = w.cmd.Process.Kill()
	eventually(t, "the worker's commands are dead", allDead(pids()))
	eventually(t, "the guardian has ended", func() bool { return !alive(g) })
}

func TestWorkerStopped(t *testing.T) {
	script, pids := family(t)
	w := startWorker(t, workOrder{Script: script, Timeout: 500 * time.Millisecond})
	w.await(t, "ready")
	_ = w.cmd.Process.Signal(syscall.SIGSTOP)
	eventually(t, "the commands of the stopped worker are dead", allDead(pids()))
	_ = w.cmd.Process.Signal(syscall.SIGCONT)
	w.await(t, "ended: killed by signal SIGKILL")
	w.await(t, "closed")
}

func TestWorkerNotTrusted(t *testing.T) {
	script, pids := family(t)
	w := startWorker(t, workOrder{Script: script, Trust: 1500 * time.Millisecond})
	w.await(t, "ready")
	_ = w.cmd.Process.Signal(syscall.SIGSTOP)
	eventually(t, "the commands of the worker are dead", allDead(pids()))
	_ = w.cmd.Process.Signal(syscall.SIGCONT)
	w.await(t, "ended: killed by signal SIGKILL")
}

// TestTrustedAnew holds that a worker that was stopped for too long, and has a
// new lease, may start commands at once: the guardian ends none of them.
func TestTrustedAnew(t *testing.T) {
	for range 5 {
		script, pids := family(t)
		w := startWorker(t, workOrder{
			Script: script, Trust: 500 * time.Millisecond,
			Again: "i=0; while [ $i -lt 200 ]; do /bin/true; i=$((i+1)); done",
		})
		w.await(t, "ready")
		_ = w.cmd.Process.Signal(syscall.SIGSTOP)
		eventually(t, "the commands of the worker are dead", allDead(pids()))
		_ = w.cmd.Process.Signal(syscall.SIGCONT)
		w.await(t, "ended: killed by signal SIGKILL")
		w.await(t, "ended again: <nil>")
		w.await(t, "closed")
	}
}

// TestGuardianKilled holds that there is another one soon, which knows everything.
func TestGuardianKilled(t *testing.T) {
	script, pids := family(t)
	w := startWorker(t, workOrder{Script: script})
	w.await(t, "ready")
	first := w.guardian()
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "there is another guardian", func() bool { g := w.guardian(); return g != 0 && g != first })
	time.Sleep(200 * time.Millisecond) // it is told with a delay
	if !alive(pids()[4]) {
		t.Error("the command has ended with the guardian")
	}
	_ = w.cmd.Process.Kill()
	eventually(t, "the worker's commands are dead", allDead(pids()))
}

// TestThen holds that others are told when a worker has died, after what it left
// is ended, and not when it has ended by itself.
func TestThen(t *testing.T) {
	script, pids := family(t)
	file := filepath.Join(t.TempDir(), "told")
	told := func() bool { _, err := os.Stat(file); return err == nil }
	w := startWorker(t, workOrder{Script: "true", Then: file})
	w.await(t, "closed")
	_ = w.cmd.Wait()
	w = startWorker(t, workOrder{Script: script, Then: file})
	w.await(t, "ready")
	if told() {
		t.Error("others are told that a worker has died that has ended by itself, or lives")
	}
	_ = w.cmd.Process.Kill()
	eventually(t, "others are told", told)
	if !allDead(pids())() {
		t.Error("others are told before its commands are dead")
	}
}

// TestEndLeft holds that another process can end what a worker left behind whose
// guardian died with it.
func TestEndLeft(t *testing.T) {
	script, pids := family(t)
	w := startWorker(t, workOrder{Script: script})
	w.await(t, "ready")
	pid := w.cmd.Process.Pid
	start := executor.BornOf(pid)
	g := w.guardian()
	_ = syscall.Kill(g, syscall.SIGSTOP)
	_ = w.cmd.Process.Kill()
	_ = w.cmd.Wait()
	_ = syscall.Kill(g, syscall.SIGKILL)
	if err := executor.EndLeft(context.Background(), pid, start+1); err != nil {
		t.Fatal(err)
	}
	left := 0
	for _, p := range pids() {
		if alive(p) {
			left++
		}
	}
	if left == 0 {
		t.Fatal("nothing was left behind, or it was ended in another's name")
	}
	if err := executor.EndLeft(limited(t), pid, start); err != nil {
		t.Fatal(err)
	}
	if !allDead(pids())() {
		t.Error("something was not ended")
	}
}

// TestGuardianIgnoresSignals holds that what ends the worker's group or terminal
// does not end the guardian first.
func TestGuardianIgnoresSignals(t *testing.T) {
	script, pids := family(t)
	w := startWorker(t, workOrder{Script: script})
	w.await(t, "ready")
	g := w.guardian()
	eventually(t, "the guardian ignores signals", func() bool {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", g))
		_, ignored, _ := strings.Cut(string(status), "SigIgn:\t")
		mask, _ := strconv.ParseUint(strings.SplitN(ignored, "\n", 2)[0], 16, 64)
		return mask&(1<<(syscall.SIGTERM-1)) != 0
	})
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		_ = syscall.Kill(g, sig)
	}
	if group, err := syscall.Getpgid(g); err != nil || group != g {
		t.Errorf("the guardian is in group %d, %v", group, err)
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g))
	if err != nil {
		t.Error(err)
	}
	for _, fd := range fds {
		to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", g, fd.Name()))
		if n, _ := strconv.Atoi(fd.Name()); n > 2 && !strings.HasPrefix(to, "anon_inode:") {
			t.Errorf("the guardian has %s open", to)
		}
	}
	_ = w.cmd.Process.Kill()
	eventually(t, "the worker's commands are dead", allDead(pids()))
}

func TestWorkerEnds(t *testing.T) {
	w := startWorker(t, workOrder{Script: "echo ready; sleep 0.1"})
	w.await(t, "ended: <nil>")
	w.await(t, "closed")
}

// TestChildMark holds that the mark alone does not make a guardian of a program.
func TestChildMark(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "JOBCONTROL_CHILD=guardian")
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "JOBCONTROL_CHILD") {
		t.Errorf("got %s, %v", out, err)
	}
}
