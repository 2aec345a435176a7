//go:build linux

package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// Cluster is one store with the processes that work on it. Its methods may be
// called by several goroutines.
type Cluster struct {
	dir     string
	place   place // for the harness
	remote  place // for the processes, where that is another way to the same store
	ttl     time.Duration
	load    Load
	seed    uint64
	journal *Journal
	wrap    []string // put before the command of each process

	mu    sync.Mutex
	procs map[string]*process
	made  int
}

// process is a worker or a client.
type process struct {
	role  role
	cmd   *exec.Cmd
	stdin io.Closer
	ended chan struct{}
	err   error // how it ended; once ended is closed
}

// newCluster makes the directory and installs the store.
func newCluster(ctx context.Context, dir string, p place, seed uint64) (*Cluster, error) {
	for _, d := range []string{"locks", "made"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return nil, err
		}
	}
	j, err := OpenJournal(filepath.Join(dir, "journal"))
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir, place: p, remote: p, ttl: leaseTTL, seed: seed, journal: j, procs: map[string]*process{}}
	store, err := p.open(ctx)
	if err != nil {
		return nil, err
	}
	return c, errors.Join(store.Install(ctx), store.Close())
}

// leaseTTL is the workers' lease.
const leaseTTL = 1500 * time.Millisecond

// worker starts a worker, with a specification of fail points or "".
func (c *Cluster) worker(faults string) (*process, error) {
	return c.start(role{Kind: "worker", Parallel: 8}, faults)
}

// client starts a client.
func (c *Cluster) client() (*process, error) { return c.start(role{Kind: "client"}, "") }

// start starts a process with a role, whose standard error goes to a file of its name.
func (c *Cluster) start(r role, faults string) (*process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.made++
	r.Name = fmt.Sprintf("%s%d", r.Kind[:1], c.made)
	r.Dir, r.Store, r.Seed, r.TTL, r.Load = c.dir, c.remote, c.seed+uint64(c.made), c.ttl, c.load
	cmd, err := c.command(r, faults)
	if err != nil {
		return nil, err
	}
	out, err := os.OpenFile(filepath.Join(c.dir, r.Name+".log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p := &process{role: r, cmd: cmd, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = out, out
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c.procs[r.Name] = p
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.procs, r.Name)
	}()
	return p, nil
}

// command is this program with a role and an environment of its own.
func (c *Cluster) command(r role, faults string) (*exec.Cmd, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	argv := append(slices.Clone(c.wrap), self)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = c.dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + c.dir, "GOMAXPROCS=2", roleVariable + "=" + string(text), dirVariable + "=" + c.dir,
	}
	if faults != "" {
		cmd.Env = append(cmd.Env, "JOBCONTROL_FAILPOINTS="+faults)
	}
	if r.Trace != "" {
		cmd.Env = append(cmd.Env, "JOBCONTROL_FAILPOINTS_TRACE="+r.Trace)
	}
	// A group of its own: a signal for the harness is none for them.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// kill ends a process as a crash does, and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // an error: it has ended
	<-p.ended
}

// signal sends a signal to the process alone.
func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) } // an error: it has ended

// killed tells whether the process ended by SIGKILL. It has ended.
func (p *process) killed() bool {
	w, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && w.Signaled() && w.Signal() == syscall.SIGKILL
}

// running returns the processes of a kind that live, in order of their start.
func (c *Cluster) running(kind string) []*process {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*process
	for n := 1; n <= c.made; n++ {
		if p, ok := c.procs[fmt.Sprintf("%s%d", kind[:1], n)]; ok {
			out = append(out, p)
		}
	}
	return out
}

// fault writes down what is done to the cluster.
func (c *Cluster) fault(format string, args ...any) {
	c.journal.Write(Entry{Kind: entryFault, What: fmt.Sprintf(format, args...)})
}

// stop asks the processes of a kind to end and waits for them; those that do not
// within the patience are killed, which is an error.
func (c *Cluster) stop(kind string, patience time.Duration) error {
	var errs []error
	list := c.running(kind)
	for _, p := range list {
		p.signal(syscall.SIGCONT)
		p.signal(syscall.SIGTERM)
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	over := false
	for _, p := range list {
		if !over {
			select {
			case <-p.ended:
				continue
			case <-timer.C:
				over = true
			}
		}
		select {
		case <-p.ended:
		default:
			p.signal(syscall.SIGQUIT) // its goroutines go to its log
			select {
			case <-p.ended:
			case <-time.After(2 * time.Second):
				p.kill()
			}
			errs = append(errs, fmt.Errorf("%s did not end within %v after SIGTERM", p.role.Name, patience))
		}
	}
	return errors.Join(errs...)
}

// close kills whatever lives.
func (c *Cluster) close() {
	for _, kind := range []string{"client", "worker"} {
		for _, p := range c.running(kind) {
			p.signal(syscall.SIGCONT)
			p.kill()
		}
	}
	_ = c.journal.Close() // nothing is buffered
}

// drain gives everything that is left the chance to end: what waits for a person
// is released, and workers without faults execute the rest. It returns when
// every Run is final, or with what is not when the patience is over.
func (c *Cluster) drain(ctx context.Context, store jobcontrol.Store, patience time.Duration) error {
	h, err := newClient(store, c.journal, "harness", c.seed, Load{})
	if err != nil {
		return err
	}
	deadline := time.Now().Add(patience)
	for {
		left, err := c.unfinished(ctx, h)
		if err == nil && len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			if err == nil {
				err = fmt.Errorf("%d Runs did not end within %v: %v", len(left), patience, left)
			}
			return err
		}
		for len(c.running("worker")) < 2 {
			if _, err := c.worker(""); err != nil {
				return err
			}
		}
		pause(ctx, 100*time.Millisecond)
	}
}

// unfinished returns the Runs that are not final, after it has released and
// resumed what waits for a person.
func (c *Cluster) unfinished(ctx context.Context, h *client) ([]int64, error) {
	for state, t := range map[jobcontrol.State]jobcontrol.Transition{jobcontrol.Held: jobcontrol.ToRelease, jobcontrol.Suspended: jobcontrol.ToResume} {
		builds, err := h.store.ListBuilds(ctx, jobcontrol.BuildFilter{States: []jobcontrol.State{state}, Limit: -1, Brief: true})
		if err != nil {
			return nil, err
		}
		for _, b := range builds {
			h.steer(ctx, b.ID, t)
		}
	}
	runs, err := h.store.ListRuns(ctx, jobcontrol.RunFilter{
		States: []jobcontrol.RunState{jobcontrol.RunRunning, jobcontrol.RunCleaning, jobcontrol.RunInterrupted}, Limit: -1,
	})
	var out []int64
	for i := range runs {
		out = append(out, runs[i].ID)
	}
	return out, err
}
