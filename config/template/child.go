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
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// childArgument is the only argument of a process that renders for another one.
const childArgument = "__jobcontrol-render-template"

// Command is the command that makes a program render for itself: [Options].Child of
// a program that calls [Child] first in main.
func Command() []string { return []string{ownProgram(), childArgument} }

// Child must be called first in main, before anything is read from standard input or
// written to standard output. In a process that was started to render a template it
// renders and exits; in any other it returns at once.
func Child() {
	if len(os.Args) != 2 || os.Args[1] != childArgument {
		return
	}
	os.Exit(serve(os.Stdin, os.Stdout))
}

// request is what the child reads first; the text of the template follows it.
type request struct {
	Name   string
	Dir    string
	Limits Limits
	Length int
}

// An answer is the greeting and a sequence of frames: a letter, the length, the content.
const (
	greeting   = "jobcontrol template 1\n"
	textFrame  = 'T' // the rendered text
	mapFrame   = 'M' // its map; follows the text
	errorFrame = 'E' // an Error as JSON
	fatalFrame = 'F' // an error that is not the template's
)

// serve is the child: it renders one template under a watchdog and returns the exit status.
func serve(in io.Reader, out io.Writer) int {
	r := bufio.NewReader(in)
	line, err := r.ReadBytes('\n')
	if err != nil {
		return 2
	}
	var q request
	if err := json.Unmarshal(line, &q); err != nil {
		return 2
	}
	confine(q.Limits)
	text := make([]byte, q.Length)
	if _, err := io.ReadFull(r, text); err != nil {
		return 2
	}
	a := &answer{out: out}
	a.greet()
	w := &watchdog{answer: a, limits: q.Limits}
	go w.watch()
	result, err := render(context.Background(), Input{Name: q.Name, Text: string(text), Dir: q.Dir}, q.Limits, w.started)
	a.finish(result, err)
	return 0
}

// confine sets the limits that the system and the Go runtime hold.
func confine(l Limits) {
	if !underRace {
		limitData(uint64(l.Memory + l.Memory/4))
	}
	debug.SetMemoryLimit(l.Memory * 3 / 4)
	debug.SetMaxStack(int(l.Memory / 4))
	debug.SetTraceback("none")
}

// answer is written once, by the rendering or by the watchdog.
type answer struct {
	once sync.Once
	out  io.Writer
}

func (a *answer) greet() { _, _ = io.WriteString(a.out, greeting) }

// finish writes the answer; only its first call does.
func (a *answer) finish(result *Output, err error) {
	a.once.Do(func() {
		var ours *Error
		switch {
		case err == nil:
			a.frame(textFrame, []byte(result.Text))
			a.frame(mapFrame, result.Map.encode())
		case errors.As(err, &ours):
			body, _ := json.Marshal(ours)
			a.frame(errorFrame, body)
		default:
			a.frame(fatalFrame, []byte(err.Error()))
		}
	})
}

func (a *answer) frame(kind byte, content []byte) {
	head := binary.BigEndian.AppendUint64([]byte{kind}, uint64(len(content)))
	_, _ = a.out.Write(head)
	_, _ = a.out.Write(content)
}

// watchdog ends the child where its time or memory is used up.
type watchdog struct {
	answer *answer
	limits Limits
	mu     sync.Mutex
	engine *engine
}

func (w *watchdog) started(e *engine) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.engine = e
}

func (w *watchdog) watch() {
	deadline := time.Now().Add(w.limits.Time + 200*time.Millisecond) // the rendering itself looks first
	for {
		time.Sleep(2 * time.Millisecond)
		if memory() > uint64(w.limits.Memory) {
			w.end("the template needs more than %s of memory", bytesText(w.limits.Memory))
		}
		if time.Now().After(deadline) {
			w.end("the template needs more than %v", w.limits.Time)
		}
	}
}

// end tells where the rendering is and ends the process.
func (w *watchdog) end(format string, args ...any) {
	w.mu.Lock()
	err := &Error{Message: fmt.Sprintf(format, args...)}
	if w.engine != nil {
		err = w.engine.here(format, args...)
	}
	w.mu.Unlock()
	w.answer.finish(nil, err)
	os.Exit(0)
}

// memory is what the Go runtime has from the system and not given back.
func memory() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() - s[1].Value.Uint64()
}

// encode writes a map: the files, the places, the marks.
func (m *Map) encode() []byte {
	if m == nil {
		return nil
	}
	files, index := []string{}, map[string]int{}
	for _, p := range m.places {
		if _, ok := index[p.File]; !ok {
			index[p.File] = len(files)
			files = append(files, p.File)
		}
	}
	out := make([]byte, 0, 4*len(m.places)+4*len(m.marks)+64)
	names, _ := json.Marshal(files)
	out = binary.AppendUvarint(out, uint64(len(names)))
	out = append(out, names...)
	out = binary.AppendUvarint(out, uint64(len(m.places)))
	for _, p := range m.places {
		out = binary.AppendUvarint(out, uint64(index[p.File]))
		out = binary.AppendUvarint(out, uint64(p.Line))
		out = binary.AppendUvarint(out, uint64(p.Column))
	}
	out = binary.AppendUvarint(out, uint64(len(m.marks)))
	line := int32(0)
	for _, k := range m.marks {
		out = binary.AppendUvarint(out, uint64(k.line-line))
		out = binary.AppendUvarint(out, uint64(k.column))
		out = binary.AppendUvarint(out, uint64(k.place))
		line = k.line
	}
	return out
}

var errNoMap = errors.New("the map of a template is damaged")

// decodeMap is the inverse of encode.
func decodeMap(data []byte) (m *Map, err error) {
	if len(data) == 0 {
		return nil, nil
	}
	r := bytes.NewReader(data)
	number := func(limit int) int {
		n, e := binary.ReadUvarint(r)
		if e != nil || limit < 0 || n > uint64(limit) {
			err = errNoMap
			return 0
		}
		return int(n)
	}
	const most = 1 << 30
	names := make([]byte, number(len(data)))
	if _, e := io.ReadFull(r, names); e != nil {
		return nil, errNoMap
	}
	var files []string
	if e := json.Unmarshal(names, &files); e != nil || err != nil {
		return nil, errNoMap
	}
	m = &Map{places: make([]Place, number(len(data)))}
	for i := range m.places {
		if n := number(len(files) - 1); err == nil {
			m.places[i] = Place{files[n], number(most), number(most)}
		}
	}
	m.marks = make([]mark, number(len(data)))
	line := 0
	for i := range m.marks {
		line += number(most)
		m.marks[i] = mark{int32(line), int32(number(most)), int32(number(len(m.places) - 1))}
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}
