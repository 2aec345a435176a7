package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/term"

	"github.com/jobcontrol/jobcontrol"
)

// streams are where a command reads and writes. It is safe for concurrent use.
type streams struct {
	in       io.Reader
	format   string // human or json
	terminal bool   // standard output is a terminal
	colour   bool   // … and may be coloured
	depth    colourDepth
	screen   *os.File // standard output, where a picture may be drawn; nil: nowhere
	logged   bool     // notes are records, as those of noteHandler

	mu       sync.Mutex
	picture  *picture // at the bottom of the screen; nil: none
	errToo   bool     // standard error is a terminal, too: probably the same one
	out, err io.Writer
	fault    error // the first error of writing to out
}

func newStreams(in io.Reader, out, err io.Writer, getenv func(string) string) *streams {
	s := &streams{in: in, out: out, err: err, format: "human"}
	if s.in == nil {
		s.in = strings.NewReader("")
	}
	if s.out == nil {
		s.out = io.Discard
	}
	if s.err == nil {
		s.err = io.Discard
	}
	s.terminal = isTerminal(out)
	s.colour = s.terminal && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
	s.depth = colourDepthOf(getenv)
	if s.terminal {
		s.out = guarded{s.out}
		if getenv("TERM") != "dumb" {
			s.screen = out.(*os.File)
		}
	}
	if s.errToo = isTerminal(err); s.errToo {
		s.err = guarded{s.err}
	}
	return s
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// json tells whether standard output is to carry one JSON document.
func (s *streams) json() bool { return s.format == "json" }

// print writes one or more whole lines to standard output.
func (s *streams) print(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.picture != nil:
		s.picture.add(piece{text: text})
	case s.fault == nil:
		_, s.fault = io.WriteString(s.out, text)
	}
}

// printf is print with a format; it adds the end of the line.
func (s *streams) printf(format string, args ...any) { s.print(fmt.Sprintf(format, args...) + "\n") }

// document writes v to standard output as indented JSON.
func (s *streams) document(v any) error {
	data, err := encodeJSON(v, "  ")
	if err != nil {
		return err
	}
	s.print(string(data))
	return nil
}

// tell writes whole lines to standard error as they are.
func (s *streams) tell(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.picture != nil && s.errToo {
		s.picture.add(piece{text: text, isErr: true})
		return
	}
	_, _ = io.WriteString(s.err, text) // nowhere to report it
}

// failed is the first error of writing to standard output, or nil. That the
// reader went away is no error: it has what it wanted.
func (s *streams) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault == nil || errors.Is(s.fault, syscall.EPIPE) {
		return nil
	}
	return &jobcontrol.Error{Code: jobcontrol.Internal, Message: "write standard output", Cause: s.fault}
}

// gone tells whether writing to standard output makes no sense any more.
func (s *streams) gone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault != nil
}

// encodeJSON is json.Marshal without escaping HTML, with a line end.
func encodeJSON(v any, indent string) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(v); err != nil {
		return nil, jobcontrol.Errorf(jobcontrol.Internal, "encode JSON: %v", err)
	}
	return buf.Bytes(), nil
}

// guarded is a terminal that gets no control sequence but colours, whatever is
// written: the last line of defence behind [visible].
type guarded struct{ w io.Writer }

// Write writes p with everything escaped that could steer a terminal.
func (g guarded) Write(p []byte) (int, error) {
	if _, err := io.WriteString(g.w, escape(string(p), true)); err != nil {
		return 0, err
	}
	return len(p), nil
}
