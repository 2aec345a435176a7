package executor

import (
	"bytes"
	"strings"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

const (
	firstBuffer = 4 << 10 // most commands write little
	lastLineMax = 1 << 10 // of the line that becomes a failed command's message
)

// A stream is what a command writes to stdout or stderr. It holds at most the
// bytes of one record, and what is captured. One goroutine uses it.
type stream struct {
	name    string
	level   jobcontrol.Level
	record  jobcontrol.Recorder
	capture bool // keep all, for the result

	captured []byte // at most MaxResult bytes and some more, which says that it was too much
	last     string // the last line that is not blank, its first KiB

	buf    []byte
	held   int  // bytes at the start of buf that belong to an unfinished line
	inLine bool // the last record was continued
}

// space is where to read to; the bytes read are then told to advance.
func (s *stream) space() []byte {
	if s.held == len(s.buf) {
		s.grow(firstBuffer)
	}
	return s.buf[s.held:]
}

// advance records the lines that end in the next n bytes of the space.
func (s *stream) advance(n int) {
	from, to := s.held, s.held+n
	if s.capture && len(s.captured) <= jobcontrol.MaxResult {
		s.captured = append(s.captured, s.buf[from:to]...)
	}
	full := to == len(s.buf)
	s.held = s.split(from, to)
	if full {
		s.grow(jobcontrol.MaxLogRecord)
	}
}

// end records the unfinished line.
func (s *stream) end() {
	if s.held > 0 || s.inLine {
		s.log(time.Now().UTC(), string(s.buf[:s.held]), false)
	}
	s.buf, s.held = nil, 0
}

func (s *stream) grow(size int) {
	if len(s.buf) < size {
		grown := make([]byte, size)
		copy(grown, s.buf[:s.held])
		s.buf = grown
	}
}

// split records the lines that end in buf[from:to], moves the unfinished one to
// the front and returns its length. A line that fills the buffer at its largest
// is recorded in pieces.
func (s *stream) split(from, to int) int {
	now, begin := time.Now().UTC(), 0
	if end := bytes.LastIndexByte(s.buf[from:to], '\n'); end >= 0 {
		text := string(s.buf[:from+end]) // one allocation for all its lines
		for more := true; more; {
			var line string
			line, text, more = strings.Cut(text, "\n")
			s.log(now, line, false)
		}
		begin = from + end + 1
	}
	held := copy(s.buf, s.buf[begin:to])
	if held == jobcontrol.MaxLogRecord {
		s.log(now, string(s.buf[:held]), true)
		held = 0
	}
	return held
}

func (s *stream) log(now time.Time, line string, continued bool) {
	if !s.inLine {
		if t := strings.TrimSpace(line[:min(len(line), lastLineMax)]); t != "" {
			s.last = t
		}
	}
	s.inLine = continued
	s.record.Log(jobcontrol.LogRecord{Time: now, Level: s.level, Logger: s.name, Message: line, Continued: continued})
}
