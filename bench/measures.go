package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
	"github.com/jobcontrol/jobcontrol/store/sqlite"
	"github.com/jobcontrol/jobcontrol/worker"
)

var measures = []measure{
	{"independent", "1,000 independent true, -j 2", "≤ 2 × xargs -P 2", independent},
	{"chain", "a chain of 1,000 true", "≤ 1.5 × (loop + fsyncs), ≤ 10 MB", chain},
	{"gojobs", "10,000 no-op Go jobs in one Run", "≥ 10,000 builds/s", goJobs},
	{"second", "second run of 1,000 Go checks", "≤ 100 ms", second},
	{"load10k", "load, validate, plan 10,000 jobs", "≤ 1 s", func(ctx context.Context, b *bench) (figure, error) { return load(ctx, b, 10_000, 1, 1<<30) }},
	{"load100k", "load, validate, plan 100,000 jobs", "≤ 12 s, ≤ 1 GiB", func(ctx context.Context, b *bench) (figure, error) { return load(ctx, b, 100_000, 12, 1<<30) }},
	{"version", "jobcontrol version", "≤ 15 ms, ≤ 25 MB; binary ≤ 40 MB", version},
	{"onejob", "a run of one job, durable", "≤ 30 ms", oneJob},
	{"idle", "an idle program with an open store", "≤ 0.1 % of a core", idle},
}

// independent compares 1,000 jobs without dependencies with xargs.
func independent(ctx context.Context, b *bench) (figure, error) {
	dir, err := b.fresh()
	if err != nil {
		return figure{}, err
	}
	var jobs strings.Builder
	jobs.WriteString("jobs:\n")
	deps := make([]string, 1000)
	for i := range deps {
		fmt.Fprintf(&jobs, "- {id: j%d, run: 'true'}\n", i)
		deps[i] = "j" + strconv.Itoa(i)
	}
	fmt.Fprintf(&jobs, "- {id: all, dependencies: [%s]}\n", strings.Join(deps, ", "))
	if err := os.WriteFile(filepath.Join(dir, "jobcontrol.yaml"), []byte(jobs.String()), 0o600); err != nil {
		return figure{}, err
	}
	peer, err := timed(exec.CommandContext(ctx, "sh", "-c", "seq 1000 | xargs -P 2 -n 1 sh -c true"))
	if err != nil {
		return figure{}, err
	}
	ours, err := timed(b.command(ctx, dir, "run", "all", "-j", "2"))
	if err != nil {
		return figure{}, err
	}
	ratio := ours.Seconds() / peer.Seconds()
	return figure{ratio, fmt.Sprintf("independent: %.2f × xargs (%v, %v)", ratio, ms(ours), ms(peer)), ratio <= 2}, nil
}

// chain compares a chain of 1,000 jobs with a shell loop and 1,000 fsyncs.
func chain(ctx context.Context, b *bench) (figure, error) {
	dir, err := b.fresh()
	if err != nil {
		return figure{}, err
	}
	var jobs strings.Builder
	jobs.WriteString("jobs:\n- {id: j0, run: 'true'}\n")
	for i := 1; i < 1000; i++ {
		fmt.Fprintf(&jobs, "- {id: j%d, run: 'true', dependencies: [j%d]}\n", i, i-1)
	}
	if err := os.WriteFile(filepath.Join(dir, "jobcontrol.yaml"), []byte(jobs.String()), 0o600); err != nil {
		return figure{}, err
	}
	loop, err := timed(exec.CommandContext(ctx, "sh", "-c", "for i in $(seq 1000); do sh -c true; done"))
	if err != nil {
		return figure{}, err
	}
	peer := loop + time.Duration(1000/b.fsyncs*float64(time.Second))
	c := b.command(ctx, dir, "run", "j999")
	ours, err := timed(c)
	if err != nil {
		return figure{}, err
	}
	written := float64(c.ProcessState.SysUsage().(*syscall.Rusage).Oublock) * 512 / 1e6
	ratio := ours.Seconds() / peer.Seconds()
	return figure{
		ratio, fmt.Sprintf("chain: %.2f × loop + fsyncs (%v, %v), %.1f MB", ratio, ms(ours), ms(peer), written),
		ratio <= 1.5 && written <= 10,
	}, nil
}

// goJobs measures builds a second through the whole library: plan, create,
// execute, finish, each end durable.
func goJobs(ctx context.Context, b *bench) (figure, error) {
	reg := jobcontrol.NewRegistry()
	noop := jobcontrol.Handle(reg, "noop", func(context.Context, jobcontrol.None) (jobcontrol.None, error) { return jobcontrol.None{}, nil })
	var jobs []*jobcontrol.Job
	var ends []string
	for i := range 1000 {
		for k := range 10 {
			j := &jobcontrol.Job{ID: fmt.Sprintf("c%d-%d", i, k), Run: noop.Task()}
			if k > 0 {
				j.Dependencies = []string{fmt.Sprintf("c%d-%d", i, k-1)}
			}
			jobs = append(jobs, j)
		}
		ends = append(ends, fmt.Sprintf("c%d-9", i))
	}
	took, err := b.execute(ctx, reg, jobs, ends, 1)
	if err != nil {
		return figure{}, err
	}
	rate := float64(len(jobs)) / took.Seconds()
	return figure{-rate, fmt.Sprintf("Go jobs: %.0f builds/s (%d in %v)", rate, len(jobs), ms(took)), rate >= 10_000}, nil
}

// second measures a Run in which every check passes at once.
func second(ctx context.Context, b *bench) (figure, error) {
	reg := jobcontrol.NewRegistry()
	pass := jobcontrol.Handle(reg, "pass", func(context.Context, jobcontrol.None) (jobcontrol.None, error) { return jobcontrol.None{}, nil })
	var jobs []*jobcontrol.Job
	var all []string
	for i := range 1000 {
		jobs = append(jobs, &jobcontrol.Job{ID: fmt.Sprintf("j%d", i), Check: pass.Task(), Run: pass.Task()})
		all = append(all, jobs[i].ID)
	}
	took, err := b.execute(ctx, reg, jobs, all, 2)
	if err != nil {
		return figure{}, err
	}
	return figure{took.Seconds(), fmt.Sprintf("second run of 1,000 passing Go checks: %v", ms(took)), took <= 100*time.Millisecond}, nil
}

// execute runs the targets n times on a durable store and returns how long the last Run took.
func (b *bench) execute(ctx context.Context, reg *jobcontrol.Registry, list []*jobcontrol.Job, targets []string, n int) (time.Duration, error) {
	dir, err := b.fresh()
	if err != nil {
		return 0, err
	}
	jobs, err := jobcontrol.NewJobs(list)
	if err != nil {
		return 0, err
	}
	store, err := sqlite.Open(ctx, filepath.Join(dir, "state.db"), sqlite.Options{})
	if err != nil {
		return 0, err
	}
	defer store.Close()
	if err := store.Install(ctx); err != nil {
		return 0, err
	}
	c := worker.NewClient(worker.Config{Store: store, Jobs: jobs, Registry: reg, Executor: executor.New(executor.Config{Registry: reg}), Parallel: runtime.GOMAXPROCS(0)})
	var took time.Duration
	for range n {
		begin := time.Now()
		run, err := c.Execute(ctx, jobcontrol.Request{Verb: jobcontrol.VerbRun, Jobs: targets}, nil)
		if err != nil {
			return 0, err
		}
		took = time.Since(begin)
		if run.State != jobcontrol.RunSuccessful {
			return 0, fmt.Errorf("the run ended %s", run.State)
		}
	}
	return took, nil
}

// load measures a plan of templated jobs, of which none has a check.
func load(ctx context.Context, b *bench, n int, seconds float64, most int64) (figure, error) {
	dir, err := b.fresh()
	if err != nil {
		return figure{}, err
	}
	text := fmt.Sprintf(`jobs:
{%% for i in range(%d) %%}
  - id: job-{{ i }}
    title: Job number {{ i }}
    run: echo {{ i }}
    dependencies: [{%% if i %%}job-{{ i - 1 }}{%% endif %%}]
{%% endfor %%}
`, n)
	if err := os.WriteFile(filepath.Join(dir, "jobcontrol.yaml"), []byte(text), 0o600); err != nil {
		return figure{}, err
	}
	c := b.command(ctx, dir, "--format", "json", "plan", fmt.Sprintf("job-%d", n-1))
	c.Stdout = nil
	begin := time.Now()
	if err := c.Run(); err != nil {
		return figure{}, err
	}
	took := time.Since(begin)
	rss, err := memory(ctx, dir, b.binary, "--format", "json", "plan", fmt.Sprintf("job-%d", n-1))
	if err != nil {
		return figure{}, err
	}
	return figure{
		took.Seconds(), fmt.Sprintf("load, validate, plan %d jobs: %v, %d MB", n, ms(took), rss>>20),
		took.Seconds() <= seconds && rss <= most,
	}, nil
}

func version(ctx context.Context, b *bench) (figure, error) {
	c := exec.CommandContext(ctx, b.binary, "version")
	took, err := timed(c)
	if err != nil {
		return figure{}, err
	}
	rss, err := memory(ctx, b.dir, b.binary, "version")
	if err != nil {
		return figure{}, err
	}
	fi, err := os.Stat(b.binary)
	if err != nil {
		return figure{}, err
	}
	return figure{
		took.Seconds(), fmt.Sprintf("version: %v, %d MB; binary %.1f MB", ms(took), rss>>20, float64(fi.Size())/1e6),
		took <= 15*time.Millisecond && rss <= 25<<20 && fi.Size() <= 40<<20,
	}, nil
}

func oneJob(ctx context.Context, b *bench) (figure, error) {
	dir, err := b.fresh()
	if err != nil {
		return figure{}, err
	}
	if err := os.WriteFile(filepath.Join(dir, "jobcontrol.yaml"), []byte("jobs: [{id: a, run: 'true'}]\n"), 0o600); err != nil {
		return figure{}, err
	}
	if _, err := timed(b.command(ctx, dir, "run", "a")); err != nil { // makes the store
		return figure{}, err
	}
	took, err := timed(b.command(ctx, dir, "run", "a"))
	if err != nil {
		return figure{}, err
	}
	return figure{took.Seconds(), fmt.Sprintf("a run of one job, durable: %v", ms(took)), took <= 30*time.Millisecond}, nil
}

// idle measures the processor time of a program that waits for a long job.
func idle(ctx context.Context, b *bench) (figure, error) {
	dir, err := b.fresh()
	if err != nil {
		return figure{}, err
	}
	if err := os.WriteFile(filepath.Join(dir, "jobcontrol.yaml"), []byte("jobs: [{id: a, run: exec sleep 14}]\n"), 0o600); err != nil {
		return figure{}, err
	}
	c := b.command(ctx, dir, "run", "a")
	if err := c.Start(); err != nil {
		return figure{}, err
	}
	time.Sleep(2 * time.Second)
	before, err := cpuTime(c.Process.Pid)
	if err != nil {
		return figure{}, err
	}
	begin := time.Now()
	time.Sleep(11 * time.Second)
	after, err := cpuTime(c.Process.Pid)
	if err != nil {
		return figure{}, err
	}
	share := (after - before).Seconds() / time.Since(begin).Seconds() * 100
	if err := c.Wait(); err != nil {
		return figure{}, err
	}
	return figure{share, fmt.Sprintf("idle: %.2f %% of a core", share), share <= 0.1}, nil
}

// cpuTime is the processor time of a process, from the scheduler (nanoseconds).
func cpuTime(pid int) (time.Duration, error) {
	var sum time.Duration
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return 0, err
	}
	for _, t := range tasks {
		data, err := os.ReadFile(t)
		if err != nil {
			return 0, err
		}
		ns, err := strconv.ParseInt(strings.Fields(string(data))[0], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

func (b *bench) command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, b.binary, args...)
	c.Dir = dir
	return c
}

func ms(d time.Duration) time.Duration {
	if d > 10*time.Second {
		return d.Round(100 * time.Millisecond)
	}
	if d > 100*time.Millisecond {
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Microsecond)
}
