package executor_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/executor"
)

func TestLog(t *testing.T) {
	_, rec, err := sh(t, `printf 'one\r\n\ntwo\000\377\n'; echo bad >&2; printf tail`)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprintf("%q", rec.lines("stdout")), `["one\r" "" "two\x00\xff" "tail"]`; got != want {
		t.Errorf("stdout %s, want %s", got, want)
	}
	for _, l := range rec.logs {
		level := jobcontrol.LevelInfo
		if l.Logger == "stderr" {
			level = jobcontrol.LevelWarning
		}
		if l.Level != level || time.Since(l.Time) > time.Minute || l.Time.Location() != time.UTC {
			t.Errorf("record %+v", l)
		}
	}
}

// TestOrder holds that what is written to both streams with a pause between
// comes in that order, and that nothing comes after the end (F40).
func TestOrder(t *testing.T) {
	_, rec, err := sh(t, `for i in 1 2 3; do echo out $i; sleep 0.05; echo err $i >&2; sleep 0.05; done; printf 'out end'`)
	if err != nil {
		t.Fatal(err)
	}
	n := len(rec.logs)
	var got []string
	for _, l := range rec.logs {
		got = append(got, l.Message)
	}
	if want := "out 1,err 1,out 2,err 2,out 3,err 3,out end"; strings.Join(got, ",") != want {
		t.Errorf("got %q, want %s", got, want)
	}
	time.Sleep(20 * time.Millisecond)
	if len(rec.logs) != n {
		t.Errorf("%d records came after the end", len(rec.logs)-n)
	}
}

// TestTail holds that the last bytes of many commands are all there (F40).
func TestTail(t *testing.T) {
	e := newExecutor(t, executor.Config{})
	each(400, func() {
		rec := newRecorder()
		c := newCall(rec, &jobcontrol.Task{Shell: `printf a; printf b >&2; echo '{"log":{"message":"c"}}' >&3; printf z`})
		_, err := e.Execute(context.Background(), c)
		got := fmt.Sprint(rec.lines("stdout"), rec.lines("stderr"), rec.lines("job"))
		if err != nil || got != "[az] [b] [c]" {
			t.Errorf("got %s, %v", got, err)
		}
	})
}

// A counter counts what is logged.
type counter struct{ records, bytes, pieces, longest, progress, deepest atomic.Int64 }

func (c *counter) Log(l jobcontrol.LogRecord) {
	c.records.Add(1)
	c.bytes.Add(int64(len(l.Message)))
	if l.Continued {
		c.pieces.Add(1)
	} else {
		c.bytes.Add(1)
	}
	c.longest.Store(max(c.longest.Load(), int64(len(l.Message))))
}

func (c *counter) Progress(p jobcontrol.Progress) {
	c.progress.Add(1)
	c.deepest.Store(max(c.deepest.Load(), int64(len(p.Path))))
}

// memory calls do and returns by how many bytes it made the heap's peak grow.
func memory(do func()) int64 {
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var peak atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			runtime.ReadMemStats(&now)
			peak.Store(max(peak.Load(), int64(now.HeapInuse)-int64(before.HeapInuse)))
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}()
	do()
	close(stop)
	<-stopped
	return peak.Load()
}

// TestFlood writes 200 MB, in lines, in one line, and in zero bytes (F35, F36).
func TestFlood(t *testing.T) {
	const size = 200_000_000
	for name, test := range map[string]struct {
		script string
		bytes  int64
	}{
		"lines":    {fmt.Sprintf("yes %s | head -c %d", strings.Repeat("x", 99), size), size},
		"one line": {fmt.Sprintf(`head -c %d /dev/zero | tr '\0' x; echo`, size-1), size},
		"zeroes":   {fmt.Sprintf("head -c %d /dev/zero", size), size + 1},
	} {
		t.Run(name, func(t *testing.T) {
			var rec counter
			e := newExecutor(t, executor.Config{})
			var err error
			grown := memory(func() {
				c := newCall(&rec, &jobcontrol.Task{Shell: test.script})
				_, err = e.Execute(context.Background(), c)
			})
			if err != nil || rec.bytes.Load() != test.bytes || rec.longest.Load() > jobcontrol.MaxLogRecord {
				t.Errorf("%d bytes, longest record %d, %v", rec.bytes.Load(), rec.longest.Load(), err)
			}
			if name != "lines" && rec.pieces.Load() < size/jobcontrol.MaxLogRecord-1 {
				t.Errorf("%d pieces", rec.pieces.Load())
			}
			if grown > 32<<20 {
				t.Errorf("the heap grew by %d bytes", grown)
			}
		})
	}
}

// TestFloodCaptured captures too much.
func TestFloodCaptured(t *testing.T) {
	var rec counter
	e := newExecutor(t, executor.Config{})
	var err error
	grown := memory(func() {
		c := newCall(&rec, &jobcontrol.Task{Shell: "head -c 50000000 /dev/zero"})
		c.Job.ResultOut = "json"
		_, err = e.Execute(context.Background(), c)
	})
	failure(t, err, jobcontrol.FailUser)
	if rec.bytes.Load() != 50000001 || grown > 32<<20 {
		t.Errorf("%d bytes, the heap grew by %d", rec.bytes.Load(), grown)
	}
}

// A dam lets records through one after the other, as a slow store does.
type dam struct {
	*recorder
	open chan struct{}
}

func (d *dam) Log(l jobcontrol.LogRecord) {
	<-d.open
	d.recorder.Log(l)
}

// TestBackPressure holds that a recorder that takes no records stops the command, and that
// nothing is lost when the command ends meanwhile.
func TestBackPressure(t *testing.T) {
	d := &dam{newRecorder(), make(chan struct{})}
	e := newExecutor(t, executor.Config{})
	done := make(chan error, 1)
	go func() {
		_, err := e.Execute(context.Background(), newCall(d, &jobcontrol.Task{Shell: "seq 1 5000; seq 1 10 >&2"}))
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("ended although nothing was taken: %v", err)
	case <-time.After(1500 * time.Millisecond): // longer than an open stream is waited for
	}
	close(d.open)
	if err := <-done; err != nil || len(d.lines("stdout")) != 5000 || len(d.lines("stderr")) != 10 {
		t.Errorf("%d and %d lines, %v", len(d.lines("stdout")), len(d.lines("stderr")), err)
	}
}
