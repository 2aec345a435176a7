package sqlite

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// packedLogs are the records of one report, as rows of table logs.
type packedLogs struct {
	chunks []chunk
	batch  int64 // hash of all records; never 0
}

// chunk is a row of table logs.
type chunk struct {
	number, first, count int64
	level                jobcontrol.Level
	since, until         int64
	size, sizeEnd        int64
	bytes, bytesEnd      int64
	tail, batch          int64
	packed               bool
	data                 []byte
}

// maxChunk is about how much a chunk holds before compression, minPacked the
// least that is worth compressing.
const (
	maxChunk  = 256 << 10
	minPacked = 256
)

// Flags of an encoded record: which fields follow.
const (
	hasLogger = 1 << iota // else as the record before
	hasAttempt
	hasPhase
	hasSource
	hasAttrs
	hasContinued
	hasDropped
)

// packLogs encodes records. It splits long messages; the store's time stands in
// for a missing one.
func (s *Store) packLogs(records []jobcontrol.LogRecord) (*packedLogs, error) {
	if len(records) == 0 {
		return nil, nil
	}
	p := &packedLogs{}
	hash := sha256.New()
	var w chunkWriter
	end := func() {
		if w.c.count > 0 {
			hash.Write(w.e.buf)
			p.chunks = append(p.chunks, w.chunk())
			w = chunkWriter{}
		}
	}
	add := func(r *jobcontrol.LogRecord) error {
		if len(w.e.buf) >= maxChunk {
			end()
		}
		return w.add(r)
	}
	for _, r := range records {
		if r.Time.IsZero() {
			r.Time = s.clock()
		}
		message, continued := r.Message, r.Continued
		for len(message) > jobcontrol.MaxLogRecord {
			r.Message, r.Continued = message[:jobcontrol.MaxLogRecord], true
			if err := add(&r); err != nil {
				return nil, err
			}
			message = message[jobcontrol.MaxLogRecord:]
		}
		r.Message, r.Continued = message, continued
		if err := add(&r); err != nil {
			return nil, err
		}
	}
	end()
	p.batch = int64(binary.LittleEndian.Uint64(hash.Sum(nil))) | 1
	return p, nil
}

// chunkWriter encodes the records of one chunk.
type chunkWriter struct {
	e      encoder
	c      chunk
	logger string
	time   int64
}

func (w *chunkWriter) add(r *jobcontrol.LogRecord) error {
	if w.c.count == 0 {
		w.e.buf = append(w.e.buf, formatRecords)
	}
	var attrs []byte
	if len(r.Attrs) > 0 {
		var err error
		if attrs, err = json.Marshal(r.Attrs); err != nil {
			return jobcontrol.Errorf(jobcontrol.Invalid, "log record: attributes: %v", err)
		}
	}
	var flags uint64
	flag := func(set bool, bit uint64) bool {
		if set {
			flags |= bit
		}
		return set
	}
	logger := flag(r.Logger != w.logger, hasLogger)
	attempt := flag(r.Attempt != 0, hasAttempt)
	phase := flag(r.Phase != "", hasPhase)
	source := flag(r.File != "" || r.Line != 0 || r.Function != "", hasSource)
	flag(attrs != nil, hasAttrs)
	flag(r.Continued, hasContinued)
	dropped := flag(r.Dropped != 0, hasDropped)

	us := micros(r.Time)
	w.e.uint(flags)
	w.e.int(us - w.time)
	w.e.int(int64(r.Level))
	w.e.string(r.Message)
	if logger {
		w.e.string(r.Logger)
		w.logger = r.Logger
	}
	if attempt {
		w.e.int(int64(r.Attempt))
	}
	if phase {
		w.e.string(string(r.Phase))
	}
	if source {
		w.e.string(r.File)
		w.e.int(int64(r.Line))
		w.e.string(r.Function)
	}
	if attrs != nil {
		w.e.string(string(attrs))
	}
	if dropped {
		w.e.int(r.Dropped)
	}
	w.time = us

	c := &w.c
	if c.count == 0 {
		c.level, c.since, c.until = r.Level, us, us
	}
	c.count++
	c.level, c.since, c.until = max(c.level, r.Level), min(c.since, us), max(c.until, us)
	c.bytes += int64(len(r.Message))
	return nil
}

// chunk ends the chunk and compresses it if that makes it smaller.
func (w *chunkWriter) chunk() chunk {
	c := w.c
	c.data, c.size = w.e.buf, int64(len(w.e.buf))
	if len(c.data) >= minPacked {
		if small := deflate(c.data); len(small) < len(c.data) {
			c.data, c.packed = small, true
		}
	}
	return c
}

var deflaters sync.Pool

func deflate(data []byte) []byte {
	var buf bytes.Buffer
	w, ok := deflaters.Get().(*flate.Writer)
	if ok {
		w.Reset(&buf)
	} else {
		w, _ = flate.NewWriter(&buf, flate.BestSpeed) // fails for an unknown level only
	}
	_, _ = w.Write(data) // a buffer does not fail
	_ = w.Close()
	deflaters.Put(w)
	return buf.Bytes()
}

// records decodes a chunk.
func (c *chunk) records() ([]jobcontrol.LogRecord, error) {
	data := c.data
	if c.packed {
		buf := make([]byte, 0, min(c.size, maxChunk+2*jobcontrol.MaxLogRecord))
		w := bytes.NewBuffer(buf)
		if _, err := io.Copy(w, io.LimitReader(flate.NewReader(bytes.NewReader(data)), c.size)); err != nil {
			return nil, &damaged{"compressed log: " + err.Error()}
		}
		data = w.Bytes()
	}
	if len(data) == 0 || data[0] != formatRecords {
		return nil, &damaged{"log"}
	}
	d := decoder{buf: data[1:]}
	var records []jobcontrol.LogRecord
	var us int64
	var logger string
	for len(d.buf) > 0 {
		r := jobcontrol.LogRecord{Seq: c.first + int64(len(records))}
		flags := d.uint()
		us += d.int()
		r.Time, r.Level, r.Message = time.UnixMicro(us).UTC(), jobcontrol.Level(d.int()), d.string()
		if flags&hasLogger != 0 {
			logger = d.string()
		}
		r.Logger = logger
		if flags&hasAttempt != 0 {
			r.Attempt = int(d.int())
		}
		if flags&hasPhase != 0 {
			r.Phase = jobcontrol.Phase(d.string())
		}
		if flags&hasSource != 0 {
			r.File, r.Line, r.Function = d.string(), int(d.int()), d.string()
		}
		if flags&hasAttrs != 0 {
			if json.Unmarshal([]byte(d.string()), &r.Attrs) != nil {
				return nil, &damaged{"attributes of a log record"}
			}
		}
		r.Continued = flags&hasContinued != 0
		if flags&hasDropped != 0 {
			r.Dropped = d.int()
		}
		records = append(records, r)
	}
	if d.bad || int64(len(records)) != c.count {
		return nil, &damaged{"log"}
	}
	return records, nil
}
