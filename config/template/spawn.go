package template

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// spawn renders in a child process. The process lives no longer than this call.
func spawn(ctx context.Context, in Input, o Options) (*Output, error) {
	parent := ctx
	ctx, cancel := context.WithTimeout(ctx, o.Limits.Time+2*time.Second)
	defer cancel()
	head, err := json.Marshal(request{in.Name, in.Dir, o.Limits, len(in.Text)})
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, o.Child[0], o.Child[1:]...)
	cmd.Env = []string{} // a template sees nothing of the environment
	cmd.Stdin = io.MultiReader(bytes.NewReader(append(head, '\n')), strings.NewReader(in.Text))
	var said limitedBuffer
	cmd.Stderr = &said
	cmd.WaitDelay = time.Second
	dieWithParent(cmd)

	// The parent of a process, for its parent-death signal, is the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the process that renders templates: %w", err)
	}
	out, failure := readAnswer(stdout, in.Name, o.Limits)
	_, _ = io.Copy(io.Discard, io.LimitReader(stdout, 1<<20))
	ended := cmd.Wait()
	switch {
	case failure == nil:
		return out, nil
	case parent.Err() != nil:
		return nil, parent.Err()
	case !errors.Is(failure, errNoAnswer):
		return nil, failure
	case ctx.Err() != nil:
		return nil, &Error{File: in.Name, Message: fmt.Sprintf("the template needs more than %v", o.Limits.Time)}
	}
	return nil, died(in.Name, said.String(), ended, o.Limits)
}

// errNoAnswer says that the child ended before it had answered.
var errNoAnswer = errors.New("no answer")

func readAnswer(stdout io.Reader, name string, l Limits) (*Output, error) {
	r := bufio.NewReaderSize(stdout, 64<<10)
	hello := make([]byte, len(greeting))
	if _, err := io.ReadFull(r, hello); err != nil {
		return nil, errNoAnswer
	}
	if string(hello) != greeting {
		return nil, errors.New("the process that was to render a template did something else: " +
			"its main must call config.Child first")
	}
	kind, content, err := readFrame(r, l.Output+1<<20)
	if err != nil {
		return nil, errNoAnswer
	}
	switch kind {
	case textFrame:
		out := &Output{Text: string(content)}
		// Without a map the text is still good.
		if kind, content, err := readFrame(r, 1<<30); err == nil && kind == mapFrame {
			out.Map, _ = decodeMap(content)
		}
		return out, nil
	case errorFrame:
		e := &Error{}
		if err := json.Unmarshal(content, e); err != nil {
			return nil, err
		}
		if e.File == "" {
			e.File = name
		}
		return nil, e
	case fatalFrame:
		return nil, errors.New(string(content))
	}
	return nil, fmt.Errorf("unknown answer %q of the process that renders templates", kind)
}

func readFrame(r io.Reader, limit int64) (kind byte, content []byte, err error) {
	var head [9]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint64(head[1:])
	if n > uint64(limit) {
		return 0, nil, fmt.Errorf("an answer of %d bytes", n)
	}
	// What is announced may never come: memory is taken for what does.
	content, err = io.ReadAll(io.LimitReader(r, int64(n)))
	if err == nil && uint64(len(content)) < n {
		err = io.ErrUnexpectedEOF
	}
	return head[0], content, err
}

// died makes an error of the way in which a child ended without an answer.
func died(name, said string, ended error, l Limits) error {
	e := &Error{File: name}
	switch {
	case strings.Contains(said, "stack overflow") || strings.Contains(said, "stack exceeds"):
		e.Message = "the template calls itself too deeply"
	case strings.Contains(said, "out of memory") || strings.Contains(said, "cannot allocate memory"):
		e.Message = "the template needs more than " + bytesText(l.Memory) + " of memory"
	default:
		first, _, _ := strings.Cut(strings.TrimSpace(said), "\n")
		return fmt.Errorf("the process that renders templates ended: %v %s", ended, first)
	}
	return e
}

// limitedBuffer keeps the beginning of what is written to it.
type limitedBuffer struct{ bytes.Buffer }

// Write takes everything and keeps 64 KiB.
func (b *limitedBuffer) Write(p []byte) (int, error) {
	if room := 64<<10 - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}
