//go:build linux

package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// workIn is what executions are told.
type workIn struct {
	K    string `json:"k"`
	Do   string `json:"do"`
	MS   int64  `json:"ms"`
	U    string `json:"u,omitempty"`
	Prev int64  `json:"prev,omitempty"`

	N       int64              `json:"n,omitempty"`       // so many items are returned
	Item    string             `json:"item,omitempty"`    // it is the build of this one
	Results map[string]workOut `json:"results,omitempty"` // of all of them
}

// workOut is what they return.
type workOut struct {
	Fence   int64 `json:"fence"`
	Attempt int   `json:"attempt"`

	Items []string `json:"items,omitzero"`
}

// tasks are the functions of a worker process.
type tasks struct {
	dir     string
	journal *Journal
}

// registry returns the functions, for a planner too, which calls none.
func (t *tasks) registry() *jobcontrol.Registry {
	r := jobcontrol.NewRegistry()
	jobcontrol.Handle(r, "chaos:work", t.work)
	return r
}

// doing is one execution.
type doing struct {
	*jobcontrol.Execution
	t  *tasks
	in workIn
}

func (d *doing) note(kind, what string, n int64, err error) {
	e := Entry{
		Kind: kind, Run: d.Run, Build: d.Build, Job: d.Job.ID, Attempt: d.Attempt, Fence: d.Fence, Phase: string(d.Phase),
		Key: d.in.K, What: what, N: n,
	}
	if kind == entryStart {
		e.Prev = d.in.Prev
		for _, r := range d.in.Results {
			e.Prev += r.Fence
		}
	}
	if err != nil {
		e.Err = err.Error()
	}
	d.t.journal.Write(e)
}

// work is the function that executions call.
func (t *tasks) work(ctx context.Context, in workIn) (*workOut, error) {
	x, err := jobcontrol.Current(ctx)
	if err != nil {
		return nil, err
	}
	d := &doing{x, t, in}
	lock, err := lockBuild(t.dir, d.Build)
	if err != nil {
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, err
		}
		d.note(entryOverlap, "function", 0, nil)
	}
	defer lock.Close()
	d.note(entryStart, "", 0, nil)
	d.write(ctx, "begins")
	if err := d.linger(ctx); err != nil {
		d.note(entryEnd, "", 0, err)
		return nil, err
	}
	if in.Do == doWait {
		// It does not listen to its context: a superseded execution writes all the same.
		ctx = context.WithoutCancel(ctx)
	}
	d.write(ctx, "ends")
	err = d.outcome()
	d.note(entryEnd, "", in.N, err)
	if err != nil {
		return nil, err
	}
	return &workOut{d.Fence, d.Attempt, d.items()}, nil
}

// lockBuild takes the lock of a build that its executions hold; the file is
// returned in any case.
func lockBuild(dir string, build int64) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "locks", fmt.Sprint(build)), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err != syscall.EINTR {
			return f, err
		}
	}
}

// write writes what executions write: a log record, a progress report, a Shared
// value and a Shared counter.
func (d *doing) write(ctx context.Context, what string) {
	d.note(entryTry, "log "+what, 0, nil)
	jobcontrol.Logger(ctx, "chaos").Info(fmt.Sprintf("fence %d %s", d.Fence, what))
	if d.Phase != jobcontrol.PhaseRun {
		return
	}
	d.note(entryTry, "progress "+what, 0, nil)
	_ = jobcontrol.Report(ctx, "", 1, 2, fmt.Sprintf("fence %d", d.Fence)) // it is inside of an execution
	limited, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	d.try("shared", func() (int64, error) {
		return 0, d.Shared.Set(limited, fmt.Sprintf("b%d", d.Build), d.Fence)
	})
	d.try("count", func() (int64, error) { return d.count(limited) })
}

// try writes something whose answer is known at once.
func (d *doing) try(what string, f func() (int64, error)) {
	d.note(entryTry, what, 0, nil)
	n, err := f()
	if err != nil {
		d.note(entryRefused, what, 0, err)
		return
	}
	d.note(entryDone, what, n, nil)
}

// count increments the Run's counter and returns the value that it gave it; 0:
// it gave it none, or does not know.
func (d *doing) count(ctx context.Context) (int64, error) {
	for {
		var n int64
		version, err := d.Shared.Load(ctx, "count", &n)
		if err != nil {
			return 0, err
		}
		_, err = d.Shared.CompareAndSet(ctx, "count", n+1, version)
		if err == nil {
			return n + 1, nil
		}
		if !errors.Is(err, jobcontrol.ErrConflict) {
			return 0, err
		}
	}
}

// linger takes the time that the execution is told to take.
func (d *doing) linger(ctx context.Context) error {
	if d.in.Do == doWait && d.Attempt == 1 {
		for {
			if _, err := os.Stat(filepath.Join(d.t.dir, "go")); err == nil {
				return nil
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	if d.in.Do == doBusy {
		return spin(ctx, time.Duration(d.in.MS)*time.Millisecond, runtime.NumCPU())
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(time.Duration(d.in.MS) * time.Millisecond):
		return nil
	}
}

// outcome is how the execution ends.
func (d *doing) outcome() error {
	if d.Phase != jobcontrol.PhaseRun {
		return nil
	}
	switch {
	case d.in.Do == doFail, d.in.Do == doFlaky && d.Attempt < 2:
		return errors.New("as told")
	case d.in.Do == doRetry && d.Attempt < 2:
		return jobcontrol.Retry(10*time.Millisecond, "as told")
	case d.in.Do == doSkip:
		return jobcontrol.Skip("as told")
	case d.in.Do == doPoison:
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	return nil
}
