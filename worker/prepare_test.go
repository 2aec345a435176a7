package worker_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
	"github.com/jobcontrol/jobcontrol/store/storetest"
	"github.com/jobcontrol/jobcontrol/worker"
)

// counting is an executor that counts what it prepares and what becomes of it.
type counting struct {
	*executor.Executor
	mu                            sync.Mutex
	prepared, executed, discarded int
}

func (c *counting) count(n *int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*n++
}

func (c *counting) Prepare(call *jobcontrol.Call) jobcontrol.Prepared {
	p := c.Executor.Prepare(call)
	if p == nil {
		return nil
	}
	c.count(&c.prepared)
	return &counted{p, c}
}

type counted struct {
	jobcontrol.Prepared
	c *counting
}

func (p *counted) Execute(ctx context.Context) (any, error) {
	p.c.count(&p.c.executed)
	return p.Prepared.Execute(ctx)
}

func (p *counted) Discard() {
	p.c.count(&p.c.discarded)
	p.Prepared.Discard()
}

// chain makes a client of jobs of which each but the first depends on the one
// before, and leaves a file.
func chain(t *testing.T, store jobcontrol.Store, parallel int, change ...func(jobs []*jobcontrol.Job)) (*worker.Client, *counting, func() []string) {
	t.Helper()
	dir := t.TempDir()
	var list []*jobcontrol.Job
	for i := range 10 {
		j := &jobcontrol.Job{ID: fmt.Sprintf("j%d", i), Run: &jobcontrol.Task{Shell: fmt.Sprintf("echo j%d >> %s/order; echo out", i, dir)}}
		if i > 0 {
			j.Dependencies = []string{list[i-1].ID}
		}
		list = append(list, j)
	}
	for _, c := range change {
		c(list)
	}
	jobs, err := jobcontrol.NewJobs(list)
	if err != nil {
		t.Fatal(err)
	}
	x := &counting{Executor: executor.New(executor.Config{})}
	t.Cleanup(x.Close)
	return worker.NewClient(worker.Config{Store: store, Jobs: jobs, Parallel: parallel, Executor: x}), x, func() []string {
		data, err := os.ReadFile(filepath.Join(dir, "order"))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return strings.Fields(string(data))
	}
}

func TestPreparedChain(t *testing.T) {
	for _, parallel := range []int{1, 2} {
		c, x, order := chain(t, openStore(t), parallel)
		var started, finished []string
		run, err := c.Execute(context.Background(), runJob("j9"), func(e jobcontrol.Event) {
			switch e.Kind {
			case jobcontrol.EventStarted:
				started = append(started, e.Job.ID)
				if want := []string{"j0", "j1", "j2", "j3", "j4", "j5", "j6", "j7", "j8", "j9"}[:len(started)]; !slices.Equal(started, want) {
					t.Errorf("started %v", started)
				}
			case jobcontrol.EventFinished:
				finished = append(finished, e.Job.ID)
			}
		})
		if err != nil || run.State != jobcontrol.RunSuccessful {
			t.Fatalf("%+v, %v", run, err)
		}
		if got := order(); !slices.Equal(got, started) || len(got) != 10 || !slices.Equal(got, finished) {
			t.Errorf("executed %v, started %v, finished %v", got, started, finished)
		}
		if x.prepared != 9 || x.executed != 9 || x.discarded != 0 {
			t.Logf("prepared %d, executed %d, discarded %d", x.prepared, x.executed, x.discarded)
			if x.prepared != x.executed+x.discarded || x.prepared == 0 && !traced() {
				t.Error("something was lost")
			}
		}
	}
}

// traced tells whether this process is traced: then it cannot trace.
func traced() bool {
	status, err := os.ReadFile("/proc/self/status")
	return err != nil || !strings.Contains(string(status), "TracerPid:\t0\n")
}

// TestPreparedNeedsTheEnd holds that a dependant executes nothing before the
// end of its dependency is stored, and nothing at all if that fails.
func TestPreparedNeedsTheEnd(t *testing.T) {
	for _, parallel := range []int{1, 2} {
		store := storetest.Faulty(openStore(t), storetest.Fault{Method: "Finish", At: 3, Mode: storetest.FailBefore})
		c, x, order := chain(t, store, parallel)
		// The write is repeated after a while: j3 waits for it.
		run, err := c.Execute(context.Background(), runJob("j9"), nil)
		if err != nil || run.State != jobcontrol.RunSuccessful || len(order()) != 10 {
			t.Errorf("%+v, %v, executed %v", run, err, order())
		}
		if x.prepared != x.executed+x.discarded {
			t.Errorf("prepared %d, executed %d, discarded %d", x.prepared, x.executed, x.discarded)
		}

		c2, x2, order2 := chain(t, storetest.Faulty(openStore(t), storetest.Fault{Method: "Finish", Mode: storetest.FailBefore}), parallel)
		if _, err := c2.Execute(context.Background(), runJob("j9"), nil); !errors.Is(err, jobcontrol.ErrUnavailable) {
			t.Error(err)
		}
		if got := order2(); !slices.Equal(got, []string{"j0"}) {
			t.Errorf("executed %v although no end was stored", got)
		}
		if x2.executed != 0 || x2.discarded != x2.prepared || x2.prepared == 0 && !traced() {
			t.Errorf("prepared %d, executed %d, discarded %d", x2.prepared, x2.executed, x2.discarded)
		}
	}
}

// TestNotPreparedInRuns: where a dependency fails, or its result is needed.
func TestNotPreparedInRuns(t *testing.T) {
	c, x, order := chain(t, openStore(t), 2, func(jobs []*jobcontrol.Job) {
		jobs[0].ResultOut = "stdout"
		jobs[1].Kwargs = map[string]any{"n": jobcontrol.Retval{Job: "j0"}}
		jobs[2].OnLost = "fail"
		jobs[2].Run.Shell += "; exit 3"
		jobs[2].Tries = 1
	})
	run, err := c.Execute(context.Background(), runJob("j9"), nil)
	if err != nil || run.State != jobcontrol.RunPartial || !slices.Equal(order(), []string{"j0", "j1", "j2"}) {
		t.Errorf("%+v, %v, executed %v", run, err, order())
	}
	if x.prepared != 0 {
		t.Errorf("prepared %d", x.prepared)
	}
}

// stuck is an executor that cannot prepare anything before it is let.
type stuck struct{ until chan struct{} }

func (stuck) Execute(context.Context, *jobcontrol.Call) (any, error) { return 1, nil }

func (s stuck) Prepare(*jobcontrol.Call) jobcontrol.Prepared {
	<-s.until
	return nil
}

// TestStuckPreparing holds that the end of a build is stored although its dependant
// cannot be prepared.
func TestStuckPreparing(t *testing.T) {
	jobs, err := jobcontrol.NewJobs([]*jobcontrol.Job{
		{ID: "a", Run: &jobcontrol.Task{Shell: "x"}},
		{ID: "b", Run: &jobcontrol.Task{Shell: "x"}, Dependencies: []string{"a"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	x := stuck{make(chan struct{})}
	c := worker.NewClient(worker.Config{Store: openStore(t), Jobs: jobs, Executor: x, Parallel: 2})
	ended := make(chan error, 1)
	go func() {
		_, err := c.Execute(t.Context(), jobcontrol.Request{Verb: jobcontrol.VerbRun, Jobs: []string{"b"}}, nil)
		ended <- err
	}()
	until(t, "its end is stored", func() bool {
		list, err := c.Builds(t.Context(), jobcontrol.BuildFilter{Job: "a"})
		if err != nil {
			t.Fatal(err)
		}
		return len(list) == 1 && list[0].State == jobcontrol.Successful
	})
	close(x.until)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
