package peer

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime/pprof"
	"sync"
	"time"
)

// Main executes a program of the comparison and returns its exit status.
func Main(open func(ctx context.Context, o Options) (System, error)) int {
	o, err := options(os.Args)
	if err == nil {
		err = run(context.Background(), o, open)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func options(args []string) (Options, error) {
	if len(args) < 2 {
		return Options{}, errors.New("which command?")
	}
	o := Options{Command: args[1]}
	f := flag.NewFlagSet(o.Command, flag.ContinueOnError)
	f.StringVar(&o.DSN, "dsn", "", "where the store is")
	f.IntVar(&o.Slots, "slots", 0, "jobs executed at a time")
	f.BoolVar(&o.Tuned, "tuned", false, "the best settings instead of the defaults")
	f.IntVar(&o.Conns, "conns", 0, "connections to the store")
	f.Int64Var(&o.N, "n", 0, "how many jobs")
	f.Int64Var(&o.First, "first", 0, "the number of the first job")
	f.IntVar(&o.Callers, "callers", 1, "goroutines that enqueue")
	f.IntVar(&o.Chunk, "chunk", 5000, "jobs in one call that enqueues many")
	f.Float64Var(&o.Rate, "rate", 50, "jobs a second")
	f.StringVar(&o.Shape, "shape", "chain", "chain or fan")
	f.IntVar(&o.Size, "size", 100, "jobs of one chain or fan")
	f.StringVar(&o.Profile, "profile", "", "file for a CPU profile")
	return o, f.Parse(args[2:])
}

func run(ctx context.Context, o Options, open func(ctx context.Context, o Options) (System, error)) error {
	s, err := open(ctx, o)
	if err != nil {
		return err
	}
	p := &program{Options: o, system: s, out: json.NewEncoder(os.Stdout)}
	if o.Profile != "" {
		f, err := os.Create(o.Profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	switch o.Command {
	case "install":
		return s.Install(ctx)
	case "fill":
		return p.fill(ctx)
	case "enqueue":
		return p.enqueue(ctx)
	case "pace":
		return p.pace(ctx)
	case "visible":
		return p.visible(ctx)
	case "shape":
		return p.shape(ctx)
	case "work":
		return p.work(ctx)
	case "count":
		return p.count(ctx)
	}
	return fmt.Errorf("unknown command %s", o.Command)
}

// program carries out one command.
type program struct {
	Options
	system System
	mu     sync.Mutex // guards out
	out    *json.Encoder
}

func (p *program) say(e Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Encode(e)
}

func (p *program) job(i int64) Job {
	return Job{Seq: p.First + i, Sent: time.Now().UnixNano(), To: "somebody@example.com"}
}

func (p *program) count(ctx context.Context) error {
	finished, left, err := p.system.Count(ctx)
	if err != nil {
		return err
	}
	return p.say(Event{Event: "done", Finished: finished, Left: left})
}

// work executes jobs from `go` to `stop`. With N > 0 it tells when so many were
// executed and none is left that is not recorded as finished.
func (p *program) work(ctx context.Context) error {
	t := newTally(p.First, max(p.N, 1), p.N)
	words := bufio.NewScanner(os.Stdin)
	if err := p.say(Event{Event: "ready"}); err != nil || !words.Scan() {
		return err
	}
	stop, err := p.system.Work(ctx, t.handle)
	if err != nil {
		return err
	}
	go func() {
		<-t.all
		if err := p.drained(ctx, t); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}()
	for words.Scan() {
		switch words.Text() {
		case "count":
			err = p.say(t.event("counted", false))
		case "stop":
			if err = stop(ctx); err == nil {
				err = p.say(t.event("stopped", true))
			}
			return err
		}
		if err != nil {
			return err
		}
	}
	return words.Err()
}

func (p *program) drained(ctx context.Context, t *tally) error {
	for {
		left, err := p.system.Left(ctx)
		if err != nil {
			return err
		}
		if !left {
			return p.say(t.event("drained", false))
		}
		time.Sleep(2 * time.Millisecond)
	}
}
