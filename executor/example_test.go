package executor_test

import (
	"context"
	"fmt"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
)

// printing prints what a task reports.
type printing struct{}

func (printing) Log(r jobcontrol.LogRecord) {
	fmt.Printf("%s %s: %s\n", r.Level, r.Logger, r.Message)
}

func (printing) Progress(p jobcontrol.Progress) { fmt.Printf("progress %v: %s\n", p.Path, p.Status) }

// A program that uses a guardian calls Child first in main.
func Example() {
	executor.Child()
	guardian := executor.NewGuardian([]string{"my-program-guardian"})
	defer guardian.Close()
	e := executor.New(executor.Config{Guardian: guardian, Subreaper: true})
	defer e.Close()

	job := &jobcontrol.Job{ID: "greet", Run: &jobcontrol.Task{Shell: `echo "hello $1"`}, ResultOut: "stdout"}
	value, err := e.Execute(context.Background(), &jobcontrol.Call{
		Execution: &jobcontrol.Execution{Job: job, Phase: jobcontrol.PhaseRun, Args: []any{"world"}, Record: printing{}},
		Task:      job.Run,
	})
	fmt.Println(value, err)
	// Output:
	// INFO stdout: hello world
	// hello world <nil>
}

func ExampleExecutor_Execute_function() {
	registry := jobcontrol.NewRegistry()
	type input struct {
		A int `json:"a"`
		B int `json:"b"`
	}
	sum := jobcontrol.Handle(registry, "example:sum", func(ctx context.Context, in input) (int, error) {
		jobcontrol.Logger(ctx, "sum").Info("adding")
		return in.A + in.B, nil
	})
	e := executor.New(executor.Config{Registry: registry})
	defer e.Close()

	job := &jobcontrol.Job{ID: "sum", Run: sum.Task()}
	value, err := e.Execute(context.Background(), &jobcontrol.Call{
		Execution: &jobcontrol.Execution{
			Job: job, Phase: jobcontrol.PhaseRun, Record: printing{},
			Args: []any{1}, Kwargs: map[string]any{"b": 2},
		},
		Task: job.Run,
	})
	fmt.Println(value, err)
	// Output:
	// INFO sum: adding
	// 3 <nil>
}

// Any program can tell the build something by writing lines to descriptor 3.
func ExampleExecutor_Execute_messages() {
	e := executor.New(executor.Config{})
	defer e.Close()

	job := &jobcontrol.Job{ID: "work", Run: &jobcontrol.Task{Shell: `
		echo '{"progress": {"path": "download::file 1", "status": "half"}}' >&3
		echo '{"log": {"level": "warning", "logger": "work", "message": "no disk"}}' >&3
		echo '{"retry": {"after": 60, "message": "waiting for the disk"}}' >&3`}}
	_, err := e.Execute(context.Background(), &jobcontrol.Call{
		Execution: &jobcontrol.Execution{Job: job, Phase: jobcontrol.PhaseRun, Record: printing{}},
		Task:      job.Run,
	})
	fmt.Println(jobcontrol.FailureOf(err, jobcontrol.PhaseRun).Kind, err)
	// Output:
	// progress [download file 1]: half
	// WARNING work: no disk
	// retry waiting for the disk
}
