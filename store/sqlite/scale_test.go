package sqlite

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

func TestScale(t *testing.T) {
	s, l := openTest(t, Options{})
	ctx := context.Background()
	measure := func(what string) {
		_, builds, err := s.CreateRun(ctx, chains(t, "job", 2000, 2000, &l))
		if err != nil {
			t.Fatal(err)
		}
		before, w := writeBytes(t), walSize(s)
		start := time.Now()
		var ds []time.Duration
		for _, b := range builds {
			t0 := time.Now()
			if _, err := s.Finish(ctx, b.Claim, succeeded(1, t0)); err != nil {
				t.Fatal(err)
			}
			ds = append(ds, time.Since(t0))
		}
		fmt.Println(what, time.Since(start)/2000, "per finish", (writeBytes(t)-before)/2000, "disk", (walSize(s)-w)/2000)
	}
	measure("empty")
	for i := range 20 {
		start := time.Now()
		_, builds, err := s.CreateRun(ctx, chains(t, "job", 50000, 10, &l))
		if err != nil {
			t.Fatal(err)
		}
		c := time.Since(start)
		start = time.Now()
		if err := s.write(ctx, "x", func(tx *tx) error {
			_, err := tx.exec(`UPDATE builds SET state = 7, finished_at = 1, started_at=1 WHERE id BETWEEN ? AND ?`, builds[0].ID, builds[len(builds)-1].ID)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			r0 := time.Now()
			_, _ = s.Run(ctx, builds[0].Run)
			fmt.Println("create 50000", c, "run counts", time.Since(r0))
		}
		fmt.Println(i, c, time.Since(start))
	}
	measure("1e6")
	t0 := time.Now()
	h, _ := s.Heads(ctx, "", nil)
	fmt.Println("heads", len(h), time.Since(t0))
	t0 = time.Now()
	_, _ = s.ListBuilds(ctx, jobcontrol.BuildFilter{States: []jobcontrol.State{jobcontrol.Running}})
	fmt.Println("running", time.Since(t0))
	t0 = time.Now()
	_, _ = s.ListBuilds(ctx, jobcontrol.BuildFilter{Job: "job000001"})
	fmt.Println("job builds", time.Since(t0))
	t0 = time.Now()
	_, err := s.ListRuns(ctx, jobcontrol.RunFilter{})
	fmt.Println("runs", time.Since(t0), err)
	t0 = time.Now()
	_, err = s.ListBuilds(ctx, jobcontrol.BuildFilter{States: []jobcontrol.State{jobcontrol.Failed}})
	fmt.Println("failed builds (full scan)", time.Since(t0), err)
	i, _ := os.Stat(s.path)
	fmt.Println("size", i.Size()>>20, "MiB")
	// star
	n := chains(t, "star", 100001, 1, &l)
	for i := 1; i < len(n.Builds); i++ {
		n.Builds[i].Members = []int{0}
	}
	t0 = time.Now()
	_, builds, err := s.CreateRun(ctx, n)
	fmt.Println("star create", time.Since(t0), err)
	t0 = time.Now()
	_, err = s.Finish(ctx, builds[0].Claim, succeeded(1, t0))
	fmt.Println("star finish", time.Since(t0), err)
	t0 = time.Now()
	_, err = s.Run(ctx, builds[0].Run)
	fmt.Println("star run", time.Since(t0), err)
	t0 = time.Now()
	_, err = s.Rescue(ctx, func(jobcontrol.Process) (bool, bool) { return false, true })
	fmt.Println("rescue", time.Since(t0), err)
	t0 = time.Now()
	l, _ = s.Register(ctx, jobcontrol.Process{}, time.Hour)
	_, b2, err := s.Adopt(ctx, builds[0].Run, l)
	fmt.Println("adopt", len(b2), time.Since(t0), err)
}
