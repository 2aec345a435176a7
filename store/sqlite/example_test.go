package sqlite_test

import (
	"context"
	"fmt"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/store/sqlite"
)

// A Run of two builds, the second after the first, in a store that ends with the program.
func ExampleOpen() {
	ctx := context.Background()
	if err := example(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// run 1: crawl queued, index waiting
	// released: index
	// run 1: successful
}

func example(ctx context.Context) error {
	s, err := sqlite.Open(ctx, sqlite.Memory, sqlite.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Install(ctx); err != nil {
		return err
	}
	lease, err := s.Register(ctx, jobcontrol.Process{}, 15*time.Second)
	if err != nil {
		return err
	}
	n := jobcontrol.NewRun{Run: jobcontrol.Run{Verb: jobcontrol.VerbRun, Targets: []string{"index"}}, Lease: &lease}
	for i, id := range []string{"crawl", "index"} {
		job := jobcontrol.Job{ID: id, Run: &jobcontrol.Task{Shell: "true"}}
		body, hash, err := job.Definition()
		if err != nil {
			return err
		}
		b := jobcontrol.NewBuild{Build: jobcontrol.Build{Job: id, Tries: 1}, Definition: body, Hash: hash}
		if i > 0 {
			b.Members = []int{i - 1}
		}
		n.Builds = append(n.Builds, b)
	}
	run, builds, err := s.CreateRun(ctx, n)
	if err != nil {
		return err
	}
	fmt.Printf("run %d: crawl %s, index %s\n", run.ID, builds[0].State, builds[1].State)
	for _, b := range builds {
		released, err := s.Finish(ctx, b.Claim, jobcontrol.Ended{State: jobcontrol.Successful, Changed: true, Attempt: jobcontrol.Attempt{Number: 1}})
		if err != nil {
			return err
		}
		for _, r := range released.Ready {
			fmt.Println("released:", r.Job)
		}
	}
	if run, err = s.FinishRun(ctx, run.ID, lease); err != nil {
		return err
	}
	fmt.Printf("run %d: %s\n", run.ID, run.State)
	return nil
}
