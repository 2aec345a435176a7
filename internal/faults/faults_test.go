//go:build linux

package faults

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/jobcontrol/jobcontrol/cli"
	"github.com/jobcontrol/jobcontrol/config"
	"github.com/jobcontrol/jobcontrol/executor"
	"github.com/jobcontrol/jobcontrol/internal/chaos"
)

var (
	seed  = flag.Uint64("faults.seed", 1, "what the faults are drawn from")
	scale = flag.Float64("faults.scale", 0.01, "how much is done of everything; from 1 on times are judged, too")
	only  = flag.String("faults.only", "", "names of faults, such as F22,disk; default all")
)

// programVariable makes the test binary the command line.
const programVariable = "FAULTS_PROGRAM"

func TestMain(m *testing.M) {
	chaos.Main()
	executor.Child()
	config.Child()
	if os.Getenv(programVariable) != "" {
		os.Exit(cli.Main(registry()))
	}
	os.Exit(m.Run())
}

// fault is a row of the table.
type fault struct {
	name   string
	what   string // is done
	wanted string
	do     func(context.Context, *trial)
}

// catalogue is in the order in which it is executed.
var catalogue = slices.Concat(processFaults, diskFaults, sizeFaults, streamFaults, fileFaults)

// TestFaults is the short form; with -faults.scale=1 it is `make faults`.
func TestFaults(t *testing.T) {
	names := strings.FieldsFunc(*only, func(r rune) bool { return r == ',' })
	var rows []*trial
	t.Run("all", func(t *testing.T) {
		for i := range catalogue {
			f := &catalogue[i]
			if len(names) > 0 && !slices.Contains(names, f.name) {
				continue
			}
			t.Run(f.name, func(t *testing.T) {
				x := &trial{T: t, fault: f, dir: t.TempDir(), rng: rand.New(rand.NewPCG(*seed, uint64(i)))}
				rows = append(rows, x)
				if !timed() {
					t.Parallel()
				}
				begin := time.Now()
				defer func() { x.took = time.Since(begin) }()
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				f.do(ctx, x)
			})
		}
	})
	if len(rows) == 0 {
		t.Fatalf("there is no fault %s", *only)
	}
	t.Logf("seed %d, scale %g\n%s", *seed, *scale, table(rows))
}

// table is what was found.
func table(rows []*trial) string {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "fault\twhat is done\tN\tfigure\twanted\tseconds\tverdict\n")
	for _, x := range rows {
		verdict := "ok"
		switch {
		case x.Failed():
			verdict = "VIOLATED"
		case x.Skipped():
			verdict = "left out"
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%.1f\t%s\n", x.name, x.what, x.n, strings.Join(x.figures, "; "), x.wanted, x.took.Seconds(), verdict)
	}
	_ = w.Flush() // into memory
	return b.String()
}

// trial is one execution of a fault.
type trial struct {
	*testing.T
	*fault
	dir     string
	rng     *rand.Rand
	n       int // how often it was done
	figures []string
	took    time.Duration
}

// timed tells whether times are judged: not in the tests, where others use the machine.
func timed() bool { return *scale >= 1 }

// scaled is how much of n is done: at least so much, and no more than n.
func scaled(n, least int) int { return max(min(least, n), min(n, int(float64(n)**scale))) }

// figure adds a figure to the row.
func (t *trial) figure(format string, args ...any) {
	t.figures = append(t.figures, fmt.Sprintf(format, args...))
}

// must ends the trial where the harness itself fails.
func (t *trial) must(err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// none counts what must not happen.
func (t *trial) none(n int, what string) {
	t.Helper()
	t.figure("%s %d", what, n)
	if n > 0 {
		t.Errorf("%s: %d", what, n)
	}
}
