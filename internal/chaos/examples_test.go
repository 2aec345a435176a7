//go:build linux

package chaos

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol/internal/fault"
)

// TestExamples executes the examples as they are, detached, by three workers
// that are the real program, each in a network of its own where that is allowed,
// on one PostgreSQL server, while the workers are killed.
func TestExamples(t *testing.T) {
	if *minutes > 0 || *soakFor > 0 {
		t.Skip("the long form is asked for")
	}
	t.Parallel()
	srv := &servers{}
	t.Cleanup(func() {
		if err := srv.close(); err != nil {
			t.Error(err)
		}
	})
	bin := t.TempDir()
	for name, path := range map[string]string{"jobcontrol": "./cmd/jobcontrol", "crawl": "./examples/crawl"} {
		args := []string{"build", "-o", filepath.Join(bin, name)}
		if fault.Enabled {
			args = append(args, "-tags", "failpoints")
		}
		c := exec.Command("go", append(args, path)...)
		c.Dir, c.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	for i, e := range []struct {
		name, program string
		run           []string
		then          []string // afterwards, to end what it left running
	}{
		{"movie-night", "jobcontrol", []string{"WatchMovie", "--kwarg", "battery_state=charged", "--kwarg", "couch_space=yes"}, nil},
		{"converge", "jobcontrol", []string{"site"}, []string{"stop"}},
		{"crawl", "crawl", []string{"all"}, nil},
	} {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			x := newExample(t, srv, bin, e.name, e.program, i)
			if state := x.detached(t, 4, e.run...); state != "successful" {
				t.Errorf("it ended %s", state)
			}
			if e.then != nil {
				if state := x.detached(t, 0, e.then...); state != "successful" {
					t.Errorf("%v ended %s", e.then, state)
				}
			}
		})
	}
}

// example is a directory with the files of an example, and its workers.
type example struct {
	dir, program, url string
	path              string
	networks          []*network // of the workers; nil: this machine's
	workers           [splitWorkers]*exec.Cmd
	rng               *rand.Rand
}

func newExample(t *testing.T, srv *servers, bin, name, program string, n int) *example {
	t.Helper()
	url, err := srv.database(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	x := &example{
		dir: t.TempDir(), program: filepath.Join(bin, program), url: url, path: bin + ":" + os.Getenv("PATH"),
		rng: rand.New(rand.NewPCG(*seed, uint64(n))),
	}
	if err := os.CopyFS(x.dir, os.DirFS(filepath.Join("../../examples", name))); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(x.dir, "room"), 0o700); err != nil {
		t.Fatal(err)
	}
	if why := canSplit(); why != "" {
		t.Log("the workers share one network:", why)
	} else {
		for i := range splitWorkers {
			w, err := newNetwork(48+n*splitWorkers+i, url)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(w.remove)
			x.networks = append(x.networks, w)
		}
	}
	if program == "crawl" {
		x.serveSites(t)
	}
	x.command(t, "install")
	t.Cleanup(func() {
		for _, c := range x.workers {
			end(c)
		}
	})
	for i := range x.workers {
		x.start(t, i)
	}
	return x
}

// inNetwork is a command of the program in the network of the i-th worker.
func (x *example) inNetwork(i int, args ...string) *exec.Cmd {
	argv, url := append([]string{x.program}, args...), x.url
	if x.networks != nil {
		argv, url = append(x.networks[i].enter(), argv...), x.networks[i].url
	}
	c := exec.Command(argv[0], argv[1:]...)
	c.Dir = x.dir
	c.Env = append(os.Environ(), "PATH="+x.path, "JOBCONTROL_STORAGE="+url)
	return c
}

// serveSites has the sites to crawl served on the loopback of each network.
func (x *example) serveSites(t *testing.T) {
	for i := range splitWorkers {
		c := x.inNetwork(i, "serve")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { end(c) })
		if x.networks == nil {
			return
		}
	}
}

// end kills a program and waits for its end.
func end(c *exec.Cmd) {
	if c != nil && c.Process != nil {
		_ = c.Process.Kill() // an error: it has ended
		_ = c.Wait()         // it was killed
	}
}

// start starts the i-th worker.
func (x *example) start(t *testing.T, i int) {
	t.Helper()
	url := x.url
	if x.networks != nil {
		url = x.networks[i].url
	}
	c := x.inNetwork(i, "-c", "jobs.yaml", "--storage", url, "worker", "-j", "4", "--lease", "1.5s")
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	log, err := os.OpenFile(filepath.Join(x.dir, fmt.Sprintf("worker%d.log", i)), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	x.workers[i] = c
}

// command executes a command of the program on this machine and returns what it wrote.
func (x *example) command(t *testing.T, args ...string) string {
	t.Helper()
	c := exec.Command(x.program, append([]string{"-c", "jobs.yaml", "--storage", x.url, "--format", "json"}, args...)...)
	c.Dir, c.Env = x.dir, append(os.Environ(), "PATH="+x.path)
	var errs strings.Builder
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s%s", args, err, out, errs.String())
	}
	return string(out)
}

// detached has the workers run jobs, kills some of them meanwhile, and returns
// how the Run ended.
func (x *example) detached(t *testing.T, kills int, run ...string) string {
	t.Helper()
	text := x.command(t, append([]string{"run", "--detach"}, run...)...)
	for deadline := time.Now().Add(time.Minute); ; {
		var r struct {
			ID     int64
			State  string
			Counts map[string]int
		}
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		if r.State != "running" && r.State != "cleaning" {
			t.Logf("run %d is %s: %v", r.ID, r.State, r.Counts)
			return r.State
		}
		if time.Now().After(deadline) {
			t.Fatalf("run %d is still %s: %v", r.ID, r.State, r.Counts)
		}
		pause(t.Context(), time.Duration(30+x.rng.IntN(150))*time.Millisecond)
		if kills > 0 {
			kills--
			i := x.rng.IntN(len(x.workers))
			end(x.workers[i])
			x.start(t, i)
		}
		text = x.command(t, "runs", "show", fmt.Sprint(r.ID))
	}
}
