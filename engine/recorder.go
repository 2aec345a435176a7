package engine

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/internal/redact"
)

const (
	flushEvery = 100 * time.Millisecond // a build writes at most ten times a second …
	flushBytes = 256 << 10              // … unless so much is waiting
	holdBytes  = 1 << 20                // beyond this who logs waits for the store
)

// recorder collects what a task reports and stores it in batches. The first
// batch is stored a tenth of a second after its first record; what is left at
// the end goes with the end of the attempt.
type recorder struct {
	a *attempt

	mu       sync.Mutex
	room     sync.Cond
	phase    jobcontrol.Phase
	logs     []jobcontrol.LogRecord
	size     int
	progress []jobcontrol.Progress
	paths    map[string]int // path → index in progress
	streams  map[string]*redact.Stream
	full     chan struct{} // wakes the flusher early
	idle     chan struct{} // closed when the flusher has ended; nil: there is none
	closed   bool
	err      error
}

// record begins the recording of an attempt.
func (a *attempt) record() {
	a.rec = &a.recording
	a.rec.a = a
	a.rec.room.L = &a.rec.mu
}

func (r *recorder) setPhase(p jobcontrol.Phase) {
	r.mu.Lock()
	r.phase = p
	r.mu.Unlock()
}

// Log implements [jobcontrol.Recorder].
func (r *recorder) Log(rec jobcontrol.LogRecord) {
	if rec.Time.IsZero() {
		rec.Time = time.Now()
	}
	rec.Time = jobcontrol.Micros(rec.Time)
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.size > holdBytes && r.err == nil && !r.closed && r.a.Report != nil {
		r.room.Wait()
	}
	if r.closed || r.err != nil {
		return
	}
	if rec.Attempt == 0 {
		rec.Attempt = r.a.Number
	}
	if rec.Phase == "" {
		rec.Phase = r.phase
	}
	r.redact(&rec)
	r.logs = append(r.logs, rec)
	r.size += len(rec.Message) + 64
	r.wake()
}

// redact replaces secrets in a record, across the pieces of a long line.
func (r *recorder) redact(rec *jobcontrol.LogRecord) {
	red := r.a.red
	if red == nil {
		return
	}
	if s, ok := r.streams[rec.Logger]; ok || rec.Continued {
		if !ok {
			if r.streams == nil {
				r.streams = map[string]*redact.Stream{}
			}
			s = red.Stream()
			r.streams[rec.Logger] = s
		}
		out := s.Write([]byte(rec.Message))
		text := string(out)
		if !rec.Continued {
			text += string(s.Flush())
			delete(r.streams, rec.Logger)
		}
		rec.Message = text
	} else {
		rec.Message = red.String(rec.Message)
	}
	if len(rec.Attrs) > 0 {
		if data, err := json.Marshal(rec.Attrs); err == nil {
			var attrs map[string]any
			if json.Unmarshal(red.JSON(data), &attrs) == nil {
				rec.Attrs = attrs
			}
		}
	}
}

// Progress implements [jobcontrol.Recorder].
func (r *recorder) Progress(p jobcontrol.Progress) {
	if r.a.red != nil { // before anything is cut: half a secret is not recognised
		p.Status = r.a.redactString(p.Status)
		path := make([]string, len(p.Path))
		for i, name := range p.Path {
			path[i] = r.a.redactString(name)
		}
		p.Path = path
	}
	p = jobcontrol.ClampProgress(p)
	key := strings.Join(p.Path, "\x00")
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.err != nil {
		return
	}
	if i, ok := r.paths[key]; ok {
		r.progress[i] = p
	} else if len(r.progress) < jobcontrol.MaxProgressRows {
		if r.paths == nil {
			r.paths = map[string]int{}
		}
		r.paths[key] = len(r.progress)
		r.progress = append(r.progress, p)
	}
	r.wake()
}

// wake starts the flusher where there is none; r.mu is held.
func (r *recorder) wake() {
	if r.a.Report == nil {
		return
	}
	if r.idle == nil {
		r.idle = make(chan struct{})
		r.full = make(chan struct{}, 1)
		go r.flush(r.idle)
	}
	if r.size > flushBytes {
		select {
		case r.full <- struct{}{}:
		default:
		}
	}
}

// flush stores batches until nothing is waiting.
func (r *recorder) flush(idle chan struct{}) {
	defer close(idle)
	timer := time.NewTimer(flushEvery)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-r.full:
		}
		r.mu.Lock()
		if r.closed || r.err != nil {
			r.mu.Unlock()
			return
		}
		logs, progress := r.take()
		if len(logs) == 0 && len(progress) == 0 {
			r.idle = nil
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		err := r.a.Report(context.Background(), r.a.Input.Build.Claim, logs, progress)
		r.mu.Lock()
		r.room.Broadcast()
		if err != nil {
			r.err = err
			r.mu.Unlock()
			r.a.cancel(&jobcontrol.Failure{Kind: jobcontrol.FailLost, Message: err.Error()})
			return
		}
		r.mu.Unlock()
		timer.Reset(flushEvery)
	}
}

// take returns what is waiting; r.mu is held.
func (r *recorder) take() ([]jobcontrol.LogRecord, []jobcontrol.Progress) {
	logs, progress := r.logs, r.progress
	r.logs, r.progress, r.paths, r.size = nil, nil, nil, 0
	r.room.Broadcast()
	return logs, progress
}

// failed returns the fault of the store that ended the recording, or nil.
func (r *recorder) failed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// close ends the recording and returns what was not stored yet. Later reports
// of tasks that were given up are dropped.
func (r *recorder) close() ([]jobcontrol.LogRecord, []jobcontrol.Progress, error) {
	r.mu.Lock()
	r.closed = true
	idle := r.idle
	if r.full != nil {
		select {
		case r.full <- struct{}{}:
		default:
		}
	}
	r.room.Broadcast()
	r.mu.Unlock()
	if idle != nil {
		<-idle
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, s := range r.streams {
		if rest := s.Flush(); len(rest) > 0 {
			r.logs = append(r.logs, jobcontrol.LogRecord{
				Time: jobcontrol.Micros(time.Now()), Level: jobcontrol.LevelInfo, Logger: name,
				Message: string(rest), Attempt: r.a.Number, Phase: r.phase,
			})
		}
	}
	logs, progress := r.take()
	return logs, progress, r.err
}
