//go:build linux

package chaos

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// The kinds of journal entries.
const (
	entryCall    = "call"    // a client calls: ID, Op, Key, Build or Run
	entryAnswer  = "answer"  // … and was answered: ID, IDs, Err
	entrySeen    = "seen"    // a client saw a final build: Build, State, Fence
	entryStart   = "start"   // an execution of a phase begins
	entryEnd     = "end"     // … and ends by itself
	entryTry     = "try"     // an execution is about to write: What
	entryDone    = "done"    // … and the write was acknowledged: What, N
	entryRefused = "refused" // … or refused: What, Err
	entryOverlap = "overlap" // an execution found another one of its build alive
	entryFault   = "fault"   // what the harness did: What
)

// Entry is a line of the journal. Which fields are set depends on its kind.
type Entry struct {
	Kind    string  `json:"e"`
	At      int64   `json:"t,omitempty"` // µs; for people: the order is that of the lines
	PID     int     `json:"pid,omitempty"`
	Run     int64   `json:"run,omitempty"`
	Build   int64   `json:"build,omitempty"`
	Job     string  `json:"job,omitempty"`
	Attempt int     `json:"attempt,omitempty"`
	Fence   int64   `json:"fence,omitempty"`
	Phase   string  `json:"phase,omitempty"`
	Key     string  `json:"key,omitempty"`
	Prev    int64   `json:"prev,omitempty"` // the fence in the result of the dependency
	ID      string  `json:"id,omitempty"`   // of a call
	Op      string  `json:"op,omitempty"`
	IDs     []int64 `json:"ids,omitempty"`
	State   string  `json:"state,omitempty"`
	What    string  `json:"what,omitempty"`
	N       int64   `json:"n,omitempty"`
	Err     string  `json:"err,omitempty"`

	line int // its place in the journal, from 1
}

// String is the line as it is in the journal, with its number.
func (e Entry) String() string {
	data, _ := json.Marshal(e) // plain fields
	return fmt.Sprintf("%6d %s %s", e.line, time.UnixMicro(e.At).UTC().Format("15:04:05.000000"), data)
}

// Journal is a file that many processes append to.
type Journal struct {
	f *os.File
}

// OpenJournal opens the journal of a directory, which it creates.
func OpenJournal(path string) (*Journal, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &Journal{f}, nil
}

// Write appends an entry by one write. A journal that cannot be written makes
// every later check worthless: then the process ends.
func (j *Journal) Write(e Entry) {
	e.At = time.Now().UnixMicro()
	if e.PID == 0 {
		e.PID = os.Getpid()
	}
	data, err := json.Marshal(e)
	if err == nil {
		_, err = j.f.Write(append(data, '\n'))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos: journal:", err)
		os.Exit(2)
	}
}

// Close closes the file.
func (j *Journal) Close() error { return j.f.Close() }

// readJournal returns the entries of a journal in order.
func readJournal(path string) ([]Entry, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []Entry
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var e Entry
		if err := json.Unmarshal(in.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", path, len(out)+1, err)
		}
		out = append(out, e)
	}
	return out, in.Err()
}
