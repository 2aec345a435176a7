package executor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/jobcontrol/jobcontrol"
)

// resultMode is how the command's stdout becomes its value, "" if it does not.
func resultMode(c *jobcontrol.Call) string {
	if c.Phase == jobcontrol.PhaseRun || c.Phase == jobcontrol.PhaseCheck && c.Job.Kind() == jobcontrol.KindAssertion {
		return c.Job.ResultOut
	}
	return ""
}

// finish makes the outcome of a command that has ended. In order: the cause of a
// cancelled context, what the command told, its exit status.
func (c *command) finish(ctx context.Context, waitErr error) (any, error) {
	c.mu.Lock()
	asked := c.asked
	c.mu.Unlock()
	switch {
	case asked:
		return nil, cancelled(ctx)
	case waitErr != nil:
		return nil, fmt.Errorf("wait for the command: %w", waitErr)
	case c.tell.outcome != nil:
		return nil, c.tell.outcome
	}
	status := c.process.status
	if kind, ok := c.call.Job.ExitCodes[status.ExitStatus()]; ok && status.Exited() {
		return nil, c.failure(jobcontrol.FailureKind(kind))
	}
	if !status.Exited() || status.ExitStatus() != 0 {
		return nil, c.failure(jobcontrol.FailError)
	}
	if c.tell.told {
		return c.tell.result, nil
	}
	return output(resultMode(c.call), c.out.captured)
}

// failure describes how the process ended.
func (c *command) failure(kind jobcontrol.FailureKind) *jobcontrol.Failure {
	status := c.process.status
	f := &jobcontrol.Failure{Kind: kind, Message: c.errs.last}
	f.Message = cut(strings.ToValidUTF8(f.Message, "\uFFFD"), lastLineMax)
	how := ""
	if status.Signaled() {
		f.Signal = signalName(status.Signal())
		how = "killed by signal " + f.Signal
		if status.Signal() == syscall.SIGKILL {
			how += " (perhaps out of memory)"
		}
	} else {
		code := status.ExitStatus()
		f.ExitCode = &code
		how = fmt.Sprintf("exit status %d", code)
		if code == 128+int(syscall.SIGKILL) {
			how += ": a process was killed by SIGKILL (perhaps out of memory)"
		}
	}
	switch {
	case f.Message == "":
		f.Message = how
	case status.Signaled() || *f.ExitCode == 128+int(syscall.SIGKILL):
		f.Message = how + "; last line on stderr: " + f.Message
	}
	return f
}

func signalName(s syscall.Signal) string {
	if name := unix.SignalName(s); name != "" {
		return name
	}
	return fmt.Sprintf("%d", int(s))
}

// output makes a value of what the command wrote to stdout.
func output(mode string, data []byte) (any, error) {
	if mode == "" {
		return nil, nil
	}
	if len(data) > jobcontrol.MaxResult {
		return nil, userFailure(fmt.Sprintf(
			"result refused: more than %d bytes on stdout; store it elsewhere and return a pointer to it", jobcontrol.MaxResult))
	}
	text := strings.ToValidUTF8(string(data), "\uFFFD")
	switch mode {
	case "stdout":
		return strings.TrimSuffix(text, "\n"), nil
	case "lines":
		lines := []string{}
		for line := range strings.Lines(text) {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
		return lines, nil
	case "json":
		if len(bytes.TrimSpace(data)) == 0 {
			return nil, userFailure("result refused: stdout is empty, not JSON")
		}
		if !json.Valid(data) || !utf8.Valid(data) {
			return nil, userFailure(fmt.Sprintf("result refused: stdout is not valid JSON: %s", excerpt(data)))
		}
		return json.RawMessage(bytes.TrimSpace(data)), nil
	}
	return nil, userFailure(fmt.Sprintf("result refused: no such result mode %q", mode))
}
