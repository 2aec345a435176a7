package executor_test

import (
	"bytes"
	"context"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
)

// each calls do n times, two at a time.
func each(n int, do func()) {
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range (n + i) / 2 {
				do()
			}
		}()
	}
	wg.Wait()
}

func BenchmarkExecute(b *testing.B) {
	for _, subreaper := range []bool{false, true} {
		name := "plain"
		if subreaper {
			name = "subreaper"
		}
		b.Run(name, func(b *testing.B) {
			e := executor.New(executor.Config{Subreaper: subreaper})
			defer e.Close()
			c := newCall(discard{}, &jobcontrol.Task{Shell: "true"})
			each(b.N, func() {
				if _, err := e.Execute(context.Background(), c); err != nil {
					b.Error(err)
				}
			})
		})
	}
}

// BenchmarkOsExec is what Execute is compared with.
func BenchmarkOsExec(b *testing.B) {
	each(b.N, func() {
		var out, errs bytes.Buffer
		cmd := exec.Command("/bin/sh", "-c", "true")
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); err != nil {
			b.Error(err)
		}
	})
}

// BenchmarkOsExecBare captures nothing.
func BenchmarkOsExecBare(b *testing.B) {
	each(b.N, func() {
		if err := exec.Command("/bin/sh", "-c", "true").Run(); err != nil {
			b.Error(err)
		}
	})
}

// BenchmarkXargs lets xargs do the same.
func BenchmarkXargs(b *testing.B) {
	cmd := exec.Command("xargs", "-P2", "-n1", "sh", "-c", "true")
	cmd.Stdin = strings.NewReader(strings.Repeat("x\n", b.N))
	if err := cmd.Run(); err != nil {
		b.Error(err)
	}
}
