// Command serve starts a PostgreSQL server for trying things out: it prints the
// URL of its empty database and removes everything when it is interrupted.
//
//	go run ./internal/pgtest/serve [-durable] [-set name=value …]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/jobcontrol/jobcontrol/internal/pgtest"
)

func main() {
	opts := pgtest.Options{Settings: map[string]string{}}
	flag.BoolVar(&opts.Durable, "durable", false, "flush commits to the disk")
	flag.Func("set", "a setting, `name=value`, as in postgresql.conf", func(s string) error {
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("%q is not name=value", s)
		}
		opts.Settings[name] = value
		return nil
	})
	flag.Parse()
	if err := run(opts); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(opts pgtest.Options) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := pgtest.Start(opts)
	if err != nil {
		return err
	}
	fmt.Println(c.TCP("postgres", c.Password(), "postgres"))
	<-ctx.Done()
	return c.Close()
}
