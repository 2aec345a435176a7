package cli_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/cli"
)

// A program with a function of its own: its main would only be
// os.Exit(cli.Main(registry)).
func ExampleProgram() {
	registry := jobcontrol.NewRegistry()
	jobcontrol.Handle(registry, "shop:invoice", func(_ context.Context, in struct {
		Customer string `json:"customer"`
	},
	) (string, error) {
		return "invoice for " + in.Customer, nil
	})

	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "jobcontrol.yaml")
	text := "jobs:\n  - {id: acme, function: shop:invoice, kwargs: {customer: ACME}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		fmt.Println(err)
		return
	}

	p := cli.Program{Registry: registry}
	p.Args = []string{"-c", file, "run", "acme"}
	fmt.Println("exit status", p.Run(context.Background()))
	p.Stdout = os.Stdout
	p.Args = []string{"-c", file, "builds", "result", "1"}
	p.Run(context.Background())
	// Output:
	// exit status 0
	// "invoice for ACME"
}
