package cli_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/cli"
	"github.com/jobcontrol/jobcontrol/config"
	"github.com/jobcontrol/jobcontrol/executor"
	"github.com/jobcontrol/jobcontrol/internal/pgtest"
)

// The scripts are in testdata/script of the module. Beside testscript's own they
// have the commands
//
//	status N COMMAND...   execute a command that ends with this exit status
//	json PATH VALUE       the last standard output is JSON with this value there;
//	                      ~PATTERN: a string that matches, len:PATH: its length
//	await FILE            wait until the file is there
//	until PATTERN COMMAND...  execute a command until its standard output matches
//	web NAME          start a server that webHandler makes; its URL is in this environment variable
//	postgres NAME         make a database; its URL is in this environment variable
//
// and two programs: jobcontrol, and crawler, which embeds it with functions.
func TestMain(m *testing.M) {
	// The helper processes of the programs below are this one, too.
	executor.Child()
	config.Child()
	testscript.Main(withServer{m}, map[string]func(){
		"jobcontrol": func() { os.Exit(cli.Program{Version: "v0.0.0-test"}.Main()) },
		"crawler":    func() { os.Exit(cli.Main(crawler())) },
	})
}

// server is the PostgreSQL server of the scripts, started by the first that wants it.
var server pgtest.Server

type withServer struct{ m *testing.M }

// Run runs the tests and stops the server.
func (w withServer) Run() int { return server.Main(w.m) }

func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "../testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("TZ", "UTC")
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else each program sleeps for a second at its end
			env.Setenv("NO_COLOR", "1")
			env.Setenv("JOBCONTROL_CONFIG_FILE", "")
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"status": status, "json": jsonValue, "await": await, "until": until, "web": web,
			"postgres": func(ts *testscript.TestScript, neg bool, args []string) {
				if neg || len(args) != 1 {
					ts.Fatalf("usage: postgres NAME")
				}
				_, url := server.Database(t)
				ts.Setenv(args[0], url)
			},
		},
	})
}

func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit := (*exec.ExitError)(nil)
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

func jsonValue(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: json PATH VALUE")
	}
	doc, err := jobcontrol.DecodeJSON([]byte(ts.ReadFile("stdout")))
	if err != nil {
		ts.Fatalf("standard output is not one JSON document: %v", err)
	}
	path, length := strings.CutPrefix(args[0], "len:")
	v, err := jobcontrol.Lookup(doc, strings.TrimPrefix(path, "."))
	if err != nil {
		ts.Fatalf("%v", err)
	}
	if length {
		switch l := v.(type) {
		case []any:
			v = len(l)
		case map[string]any:
			v = len(l)
		}
	}
	got := fmt.Sprint(v)
	if v == nil {
		got = "null"
	}
	same := got == args[1]
	if pattern, ok := strings.CutPrefix(args[1], "~"); ok {
		same = regexp.MustCompile(pattern).MatchString(got)
	}
	if same == neg {
		ts.Fatalf("%s is %s", args[0], got)
	}
}

func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await FILE")
	}
	for begin := time.Now(); time.Since(begin) < 20*time.Second; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
	}
	ts.Fatalf("%s does not appear", args[0])
}

func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until PATTERN COMMAND...")
	}
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	for begin := time.Now(); time.Since(begin) < 20*time.Second; time.Sleep(20 * time.Millisecond) {
		if ts.Exec(args[1], args[2:]...) == nil && pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
	}
	ts.Fatalf("%q does not appear", args[0])
}

// crawler returns the functions of the program of that name.
func crawler() *jobcontrol.Registry {
	reg := jobcontrol.NewRegistry()
	type site struct {
		URL   string `json:"url"`
		Depth int    `json:"depth,omitempty"`
	}
	jobcontrol.Handle(reg, "mycrawler:crawl", func(ctx context.Context, s site) (map[string]any, error) {
		for i, name := range []string{"downloading", "extracting"} {
			if err := jobcontrol.Report(ctx, "page::"+name, int64(10*i), 10, name); err != nil {
				return nil, err
			}
		}
		jobcontrol.Logger(ctx, "crawl").Info("crawled", "url", s.URL)
		return map[string]any{"url": s.URL, "pages": 2}, nil
	}).Describe("Crawl a site.")
	jobcontrol.Handle(reg, "mycrawler:panic", func(context.Context, jobcontrol.Arguments) (jobcontrol.None, error) {
		panic("on purpose")
	})
	jobcontrol.Handle(reg, "mycrawler:forget", func(ctx context.Context, _ jobcontrol.None) (jobcontrol.None, error) {
		x, err := jobcontrol.Current(ctx)
		if err != nil {
			return jobcontrol.None{}, err
		}
		return jobcontrol.None{}, os.WriteFile("forgotten", x.Deleted.Result, 0o600)
	})
	return reg
}
