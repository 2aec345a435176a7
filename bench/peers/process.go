package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jobcontrol/jobcontrol/bench/peers/peer"
)

// process is one of the programs while it is executed.
type process struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *json.Decoder
	errs strings.Builder
}

// start executes a program.
func start(ctx context.Context, program string, args ...string) (*process, error) {
	p := &process{cmd: exec.CommandContext(ctx, program, args...)}
	p.cmd.Stderr = &p.errs
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = json.NewDecoder(out)
	return p, p.cmd.Start()
}

// say gives a working program a word.
func (p *process) say(word string) error {
	_, err := io.WriteString(p.in, word+"\n")
	return err
}

// expect reads the program's next event of that name. Others are passed over.
func (p *process) expect(name string) (peer.Event, error) {
	for {
		var e peer.Event
		if err := p.out.Decode(&e); err != nil {
			return e, p.wrong(err)
		}
		if e.Event == name {
			return e, nil
		}
	}
}

// ask gives a word and returns the answer.
func (p *process) ask(word, answer string) (peer.Event, error) {
	if err := p.say(word); err != nil {
		return peer.Event{}, p.wrong(err)
	}
	return p.expect(answer)
}

// finish stops a working program and returns what it executed.
func (p *process) finish() (peer.Event, error) {
	e, err := p.ask("stop", "stopped")
	if err != nil {
		return e, err
	}
	if err := p.cmd.Wait(); err != nil {
		return e, p.wrong(err)
	}
	return e, nil
}

// wrong ends the program and tells what it wrote.
func (p *process) wrong(err error) error {
	if p.cmd.ProcessState != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(p.cmd.Args, " "), err, p.errs.String())
	}
	_ = p.cmd.Process.Kill()
	return fmt.Errorf("%s: %w\n%s", strings.Join(p.cmd.Args, " "), errors.Join(err, p.cmd.Wait()), p.errs.String())
}

// once executes a program that ends by itself, and returns its last event.
func once(ctx context.Context, program string, args ...string) (e peer.Event, cpu time.Duration, err error) {
	p, err := start(ctx, program, args...)
	if err != nil {
		return e, 0, err
	}
	for {
		var next peer.Event
		if err := p.out.Decode(&next); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return e, 0, p.wrong(err)
		}
		e = next
	}
	if err := p.cmd.Wait(); err != nil {
		return e, 0, p.wrong(err)
	}
	return e, p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime(), nil
}

// tick is the unit in which the kernel tells processor time to programs.
const tick = 10 * time.Millisecond

// stat returns the fields of /proc/PID/stat from the third on.
func stat(pid int) ([]string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	text := string(data)
	return strings.Fields(text[strings.LastIndexByte(text, ')')+1:]), nil
}

// Places in what stat returns.
const (
	statParent   = 1
	statUser     = 11
	statSystem   = 12
	statChildren = 13 // and the next: user and system time of children that ended
)

func ticks(fields []string, at ...int) time.Duration {
	var sum int64
	for _, i := range at {
		n, _ := strconv.ParseInt(fields[i], 10, 64)
		sum += n
	}
	return time.Duration(sum) * tick
}

// processCPU is the processor time of one process.
func processCPU(pid int) (time.Duration, error) {
	f, err := stat(pid)
	if err != nil {
		return 0, err
	}
	return ticks(f, statUser, statSystem), nil
}

// treeCPU is the processor time of a server and its children, those that ended included.
func treeCPU(pid int) (time.Duration, error) {
	f, err := stat(pid)
	if err != nil {
		return 0, err
	}
	sum := ticks(f, statUser, statSystem, statChildren, statChildren+1)
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	for _, p := range all {
		child, err := strconv.Atoi(filepath.Base(p))
		if err != nil {
			continue
		}
		f, err := stat(child)
		if err == nil && f[statParent] == strconv.Itoa(pid) {
			sum += ticks(f, statUser, statSystem)
		}
	}
	return sum, nil
}

// machineCPU is what all processes, and the kernel, have used of the processors.
func machineCPU() (time.Duration, error) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(data), "\n")
	f := strings.Fields(line)
	if len(f) < 9 || f[0] != "cpu" {
		return 0, errors.New("no cpu in /proc/stat")
	}
	return ticks(f, 1, 2, 3, 6, 7, 8), nil // without idle and iowait
}

// resident is the memory of a process now, in bytes.
func resident(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10, err
		}
	}
	return 0, errors.New("no VmRSS")
}
