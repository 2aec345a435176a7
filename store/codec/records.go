package codec

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

// Log is the records of one report as chunks.
type Log struct {
	Chunks []Chunk
	Batch  int64 // hash of all records; never 0
}

// Chunk is some records of a log as they are stored. Number, First, SizeEnd,
// BytesEnd and Tail are set by [Log.After].
type Chunk struct {
	Number       int64 // from 1
	First, Count int64 // the number of its first record, and how many it has
	Level        jobcontrol.Level
	Since, Until int64 // its earliest and latest record
	Size         int64 // of Data before compression
	SizeEnd      int64 // sum of Size up to this chunk, those deleted included
	Bytes        int64 // of the messages alone
	BytesEnd     int64 // likewise the sum of Bytes
	Tail         int64 // number of the first chunk beyond the half that is always kept; 0: none yet
	Batch        int64 // hash of the report that it ended, else 0
	Packed       bool  // Data is compressed
	Data         []byte
}

// MaxChunk is about how much a chunk holds before compression: it ends with the
// record that exceeds it.
const MaxChunk = 256 << 10

// minPacked is the least that is worth compressing.
const minPacked = 256

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

// PackLog encodes the records of one report; none is nil. It splits long
// messages; the given time stands in for a missing one.
func PackLog(records []jobcontrol.LogRecord, now time.Time) (*Log, error) {
	if len(records) == 0 {
		return nil, nil
	}
	p := &Log{}
	hash := sha256.New()
	var w chunkWriter
	end := func() {
		if w.c.Count > 0 {
			hash.Write(w.e.buf)
			p.Chunks = append(p.Chunks, w.chunk())
			w = chunkWriter{}
		}
	}
	add := func(r *jobcontrol.LogRecord) error {
		if len(w.e.buf) >= MaxChunk {
			end()
		}
		return w.add(r)
	}
	for _, r := range records {
		if r.Time.IsZero() {
			r.Time = now
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
	p.Batch = int64(binary.LittleEndian.Uint64(hash.Sum(nil))) | 1
	return p, nil
}

// chunkWriter encodes the records of one chunk.
type chunkWriter struct {
	e      encoder
	c      Chunk
	logger string
	time   int64
}

func (w *chunkWriter) add(r *jobcontrol.LogRecord) error {
	if w.c.Count == 0 {
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

	us := Micros(r.Time)
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
	if c.Count == 0 {
		c.Level, c.Since, c.Until = r.Level, us, us
	}
	c.Count++
	c.Level, c.Since, c.Until = max(c.Level, r.Level), min(c.Since, us), max(c.Until, us)
	c.Bytes += int64(len(r.Message))
	return nil
}

// chunk ends the chunk and compresses it if that makes it smaller.
func (w *chunkWriter) chunk() Chunk {
	c := w.c
	c.Data, c.Size = w.e.buf, int64(len(w.e.buf))
	if len(c.Data) >= minPacked {
		if small := deflate(c.Data); len(small) < len(c.Data) {
			c.Data, c.Packed = small, true
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

// Records decodes a chunk.
func (c *Chunk) Records() ([]jobcontrol.LogRecord, error) {
	data := c.Data
	if c.Packed {
		buf := make([]byte, 0, min(max(c.Size, 0), MaxChunk+2*jobcontrol.MaxLogRecord))
		w := bytes.NewBuffer(buf)
		if _, err := io.Copy(w, io.LimitReader(flate.NewReader(bytes.NewReader(data)), c.Size)); err != nil {
			return nil, &Damaged{"compressed log: " + err.Error()}
		}
		data = w.Bytes()
	}
	if len(data) == 0 || data[0] != formatRecords {
		return nil, &Damaged{"log"}
	}
	d := decoder{buf: data[1:]}
	var records []jobcontrol.LogRecord
	var us int64
	var logger string
	for len(d.buf) > 0 {
		r := jobcontrol.LogRecord{Seq: c.First + int64(len(records))}
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
				return nil, &Damaged{"attributes of a log record"}
			}
		}
		r.Continued = flags&hasContinued != 0
		if flags&hasDropped != 0 {
			r.Dropped = d.int()
		}
		records = append(records, r)
	}
	if d.bad || int64(len(records)) != c.Count {
		return nil, &Damaged{"log"}
	}
	return records, nil
}
