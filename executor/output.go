package executor

import (
	"bytes"
	"io"
	"strings"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

const (
	firstBuffer = 4 << 10 // most commands write little
	lastLineMax = 1 << 10 // of the line that becomes a failed command's message
)

// A stream is what a command writes to stdout or stderr. One goroutine reads
// it; the results are for others once read has returned.
type stream struct {
	name    string
	level   jobcontrol.Level
	record  jobcontrol.Recorder
	source  io.Reader
	capture bool // keep what is read, for the result

	captured []byte // at most MaxResult bytes and some more, which says that it was too much
	last     string // the last line that is not blank, its first KiB
	inLine   bool   // the last record was continued
}

// read turns the stream into log records until it ends. It holds at most the
// bytes of one record.
func (s *stream) read() {
	buf, held := make([]byte, firstBuffer), 0
	for {
		n, err := s.source.Read(buf[held:])
		full := held+n == len(buf)
		if n > 0 {
			if s.capture && len(s.captured) <= jobcontrol.MaxResult {
				s.captured = append(s.captured, buf[held:held+n]...)
			}
			held = s.split(buf, held, held+n)
		}
		if err != nil {
			break
		}
		if full && len(buf) < jobcontrol.MaxLogRecord {
			grown := make([]byte, jobcontrol.MaxLogRecord)
			copy(grown, buf[:held])
			buf = grown
		}
	}
	if held > 0 || s.inLine {
		s.log(time.Now().UTC(), string(buf[:held]), false)
	}
}

// split records the lines that end in buf[from:to], moves the unfinished one to
// the front and returns its length. A line that fills the buffer at its largest
// is recorded in pieces.
func (s *stream) split(buf []byte, from, to int) int {
	now, begin := time.Now().UTC(), 0
	if end := bytes.LastIndexByte(buf[from:to], '\n'); end >= 0 {
		text := string(buf[:from+end]) // one allocation for all its lines
		for more := true; more; {
			var line string
			line, text, more = strings.Cut(text, "\n")
			s.log(now, line, false)
		}
		begin = from + end + 1
	}
	held := copy(buf, buf[begin:to])
	if held == jobcontrol.MaxLogRecord {
		s.log(now, string(buf[:held]), true)
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
