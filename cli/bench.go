package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/internal/benchmark"
)

func newBench(e *environment) *cobra.Command {
	var m benchmark.Measurement
	cmd := &cobra.Command{
		Use:       "bench " + strings.Join(benchmark.Names, "|"),
		Short:     "Measure a store on this machine",
		ValidArgs: benchmark.Names,
		Long: `Measure how fast builds are enqueued and executed, with Go functions that do
nothing, through the same client and workers that programs use: results, attempts
and history are stored, every commit is durable.

  enqueue  --callers enqueue --jobs builds; p50 and p99 are those of a call
  drain    one worker with --workers slots executes --jobs builds that are queued
  mixed    both at the same time; p50 and p99 are from enqueueing to start
  latency  --rate builds a second, executed by a worker in another process

It measures a new SQLite file in the temporary directory, or the store that
--storage names; there it leaves finished builds in a project of its own: use a
database made for it. What the file says of its store does not matter here.`,
		Example: `  jobcontrol bench drain
  jobcontrol bench enqueue --jobs 100000 --callers 256
  jobcontrol --storage postgresql://db/bench bench drain --workers 1000 --history 1000000
  jobcontrol --format json bench latency`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(benchmark.Names, args[0]) {
				hint := "use " + strings.Join(benchmark.Names, ", ")
				if len(args) == 1 {
					hint = cmp.Or(nearHint(args[0], benchmark.Names), hint)
				}
				return usage(hint, "jobcontrol bench wants what to measure")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			m.Name = args[0]
			if err := checkMeasurement(cmd, &m); err != nil {
				return err
			}
			return bench(cmd.Context(), e, m)
		},
	}
	f := cmd.Flags()
	f.IntVar(&m.Jobs, "jobs", 0, "how many `builds` are measured (default 10000, latency 500)")
	f.IntVar(&m.Workers, "workers", 0, "`slots` of the worker that executes them (default 100, latency 4)")
	f.IntVar(&m.Callers, "callers", 0, "how many `goroutines` enqueue (default 16)")
	f.IntVar(&m.Batch, "batch", 0, "`builds` that are enqueued in one call (default 1)")
	f.Float64Var(&m.Rate, "rate", 0, "of latency: `builds` a second (default 50)")
	f.IntVar(&m.Payload, "payload", 0, "`bytes` of argument of each build")
	f.IntVar(&m.History, "history", 0, "`builds` that were executed before")
	f.IntVar(&m.Waiting, "waiting", 0, "`builds` that are queued for a service that nobody serves")
	cmd.AddCommand(newBenchWorker(e))
	return cmd
}

// measurementFlags are the flags of numbers in the order in which they are
// checked: the least value of each, and the measurements that do not heed it.
var measurementFlags = []struct {
	name    string
	least   int
	without []string
}{
	{"jobs", 1, nil},
	{"workers", 1, []string{"enqueue"}},
	{"callers", 1, []string{"drain", "latency"}},
	{"batch", 1, []string{"drain", "latency"}},
	{"rate", math.MinInt, []string{"enqueue", "drain", "mixed"}}, // no whole number
	{"payload", 0, nil},
	{"history", 0, nil},
	{"waiting", 0, nil},
}

func checkMeasurement(cmd *cobra.Command, m *benchmark.Measurement) error {
	for _, v := range measurementFlags {
		f := cmd.Flags().Lookup(v.name)
		if !f.Changed {
			continue
		}
		if slices.Contains(v.without, m.Name) {
			return usage("`jobcontrol bench --help` says what is measured", "--%s has no effect on %s", v.name, m.Name)
		}
		if n, err := strconv.Atoi(f.Value.String()); err == nil && n < v.least {
			return usage("", "--%s %d is less than %d", v.name, n, v.least)
		}
	}
	if cmd.Flags().Changed("rate") && (m.Rate <= 0 || m.Rate > 1e6) {
		return usage("", "--rate %v is not between 0 and 1000000", m.Rate)
	}
	return nil
}

func bench(ctx context.Context, e *environment, m benchmark.Measurement) error {
	p, free, err := e.benchPlace()
	if err != nil {
		return err
	}
	defer free()
	if m.Store, err = openStore(ctx, p, true); err != nil {
		return err
	}
	defer m.Store.Close()
	if err := m.Store.Install(ctx); err != nil {
		return err
	}
	m.StoreName, _, _ = strings.Cut(p.String(), ":")
	if e.program.helpers && !p.memory {
		m.Remote = func(ctx context.Context, project string, workers int) (func() error, error) {
			return e.benchWorker(ctx, p, project, workers)
		}
	}
	r, err := benchmark.Run(ctx, m)
	if err != nil {
		return err
	}
	if e.json() {
		return e.document(r)
	}
	e.print(e.reportText(r, p))
	return nil
}

// benchPlace is the store of --storage, or a new one.
func (e *environment) benchPlace() (p place, free func(), err error) {
	if e.storage != "" {
		p, err = parsePlace("--storage", e.storage, "")
		return p, func() {}, err
	}
	dir, err := os.MkdirTemp("", "jobcontrol-bench-")
	if err != nil {
		return p, nil, &jobcontrol.Error{Code: jobcontrol.Unavailable, Message: "bench", Cause: err}
	}
	return place{path: filepath.Join(dir, "state.db")}, func() { _ = os.RemoveAll(dir) }, nil
}

// reportText is a report for people.
func (e *environment) reportText(r *benchmark.Report, p place) string {
	t := newTable()
	field := func(name, format string, args ...any) {
		t.add(cell{text: name, colour: bold}, fmt.Sprintf(format, args...))
	}
	field("Measured", "%s of %d builds", r.Name, r.Jobs)
	if e.storage == "" {
		field("Store", "a new SQLite file in %s", os.TempDir())
	} else {
		field("Store", "%s", p)
	}
	var with []string
	for _, v := range []struct {
		n    int
		what string
	}{
		{r.Workers, "slots"},
		{r.Callers, "callers"},
		{r.Batch, "in a call"},
		{r.Payload, "bytes of argument"},
		{r.History, "executed before"},
		{r.Waiting, "waiting beside"},
	} {
		if v.n > 0 {
			with = append(with, fmt.Sprintf("%d %s", v.n, v.what))
		}
	}
	field("With", "%s", strings.Join(with, ", "))
	field("Took", "%s", elapsed(time.Duration(r.Seconds*float64(time.Second))))
	field("Rate", "%.0f builds/s", r.PerSecond)
	if r.P50 != nil {
		field("Latency", "p50 %.2f ms, p99 %.2f ms", *r.P50/1000, *r.P99/1000)
	}
	field("CPU", "%.1f µs a build, of this process", r.CPU)
	return t.render(e.streams)
}

// benchWorker starts a worker of a measurement in another process.
func (e *environment) benchWorker(ctx context.Context, p place, project string, workers int) (stop func() error, err error) {
	url := p.String()
	if p.postgres != "" {
		url = p.postgres
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "bench", "worker", project, strconv.Itoa(workers))
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(slices.Clone(e.program.Env), benchURL+"="+url) // in arguments everybody could read its password
	cmd.Stderr = writer(e.tell)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		return nil, errors.Join(errors.New("the worker of the measurement did not start"), cmd.Wait())
	}
	return func() error {
		_ = stdin.Close() // it ends
		return cmd.Wait()
	}, nil
}

// benchURL is the environment variable with the store of a worker of a measurement.
const benchURL = "JOBCONTROL_BENCH_STORE"

// newBenchWorker is the worker of a measurement in its own process. It ends with
// its standard input.
func newBenchWorker(e *environment) *cobra.Command {
	return &cobra.Command{
		Use:    "worker PROJECT SLOTS",
		Short:  "Execute the builds of a measurement, to the end of standard input",
		Hidden: true,
		Args:   arguments(2, 2, "a project and a number"),
		RunE: func(cmd *cobra.Command, args []string) error {
			slots, err := strconv.Atoi(args[1])
			if err != nil {
				return usage("", "%q is no number", args[1])
			}
			p, err := parsePlace(benchURL, e.getenv(benchURL), "")
			if err != nil {
				return err
			}
			store, err := openStore(cmd.Context(), p, false)
			if err != nil {
				return err
			}
			defer store.Close()
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			go func() {
				_, _ = io.Copy(io.Discard, e.in) // its end is what is waited for
				cancel()
			}()
			return benchmark.Serve(ctx, store, args[0], slots, func() { e.printf("ready") })
		},
	}
}
