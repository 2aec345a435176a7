package executor_test

import (
	"bytes"
	"context"
	"fmt"
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
	for _, protected := range []bool{false, true} {
		b.Run(fmt.Sprintf("protected=%v", protected), func(b *testing.B) {
			var c executor.Config
			if protected {
				c = executor.Config{Subreaper: true, Guardian: executor.NewGuardian([]string{guardianName})}
				defer c.Guardian.Close()
			}
			e := executor.New(c)
			defer e.Close()
			call := newCall(discard{}, &jobcontrol.Task{Shell: "true"})
			each(b.N, func() {
				if _, err := e.Execute(context.Background(), call); err != nil {
					b.Error(err)
				}
			})
		})
	}
}

// BenchmarkOsExec captures what the command writes, with the standard library alone.
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

// BenchmarkOsExecBare captures nothing: the least that a command costs.
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
