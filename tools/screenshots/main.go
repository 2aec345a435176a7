// Screenshots records what the program shows on a terminal, and writes it as the pictures of the documentation:
//
//	make screenshots
//
// It executes the real program on a pseudo-terminal, in a directory of its own, and keeps what the window has at
// given moments. What differs from one recording to the next, times above all, is replaced.
package main

import (
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

//go:embed jobcontrol.yaml
var jobs []byte

const after = "#!/bin/sh\nuntil test -e \"go$1\"; do sleep 0.01; done\n"

// The window.
const (
	columns = 92
	rows    = 34
)

func main() {
	program := flag.String("program", "bin/jobcontrol", "the `file` of the program")
	dir := flag.String("o", "docs/pictures", "the `directory` of the pictures")
	flag.Parse()
	if err := record(*program, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "screenshots:", err)
		os.Exit(1)
	}
}

// record records the session and writes the picture.
func record(program, dir string) error {
	work, err := os.MkdirTemp("", "screenshots")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := errors.Join(
		os.WriteFile(filepath.Join(work, "jobcontrol.yaml"), jobs, 0o600),
		os.WriteFile(filepath.Join(work, "after"), []byte(after), 0o700),
	); err != nil {
		return err
	}
	program, err = filepath.Abs(program)
	if err != nil {
		return err
	}
	s := &session{program: program, dir: work, screen: newScreen(columns, rows)}

	// Each moment: what the window has to show, and for how long the picture shows it.
	run := []moment{
		{[]string{" 25%", "dsc_0040.jpg", "dsc_0120.jpg"}, 1, 1.5},
		{[]string{" 75%", "dsc_0180.jpg", "dsc_0310.jpg"}, 4, 1.5},
		{[]string{"successful  packages", "configuration", "dsc_0370.jpg", "100%"}, 7, 1.5},
		{[]string{"successful  photos"}, 9, 1.5},
	}
	if err := s.execute(run, 1, 4, "run", "announce"); err != nil {
		return err
	}
	if err := s.execute(nil, 0, 9, "why", "site"); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "terminal.svg"), drawing(s.frames), 0o644)
}

// A moment is when the window has all of the texts. The jobs wait for its end.
type moment struct {
	texts   []string
	second  int     // of the run, as it is said to be
	seconds float64 // for which the picture shows it
}

// A session is what is done in the window.
type session struct {
	program, dir string

	mu     sync.Mutex // guards screen
	screen *screen
	frames []frame
}

// frame is what the window has at a moment.
type frame struct {
	lines   [][]cell
	seconds float64
}

// keep adds a frame.
func (s *session) keep(second int, seconds float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frames = append(s.frames, frame{masked(s.screen.lines, second), seconds})
}

// execute types a command, executes it, and keeps the moments and the end.
func (s *session) execute(moments []moment, status int, seconds float64, args ...string) error {
	s.mu.Lock()
	fmt.Fprintf(s.screen, "\x1b[1;32m$\x1b[0m jobcontrol %s\r\n", strings.Join(args, " "))
	s.mu.Unlock()
	s.keep(0, 1)

	ours, tty, err := openTerminal()
	if err != nil {
		return err
	}
	defer ours.Close()
	cmd := exec.Command(s.program, args...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = s.dir, tty, tty, tty
	cmd.Env = []string{
		"PATH=" + filepath.Dir(s.program) + ":" + os.Getenv("PATH"), "HOME=" + s.dir, "TZ=UTC", "LANG=C.UTF-8",
		"TERM=xterm-256color", "COLORTERM=truecolor",
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	tty.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 64<<10)
		for {
			n, err := ours.Read(buf)
			s.mu.Lock()
			s.screen.Write(buf[:n])
			s.mu.Unlock()
			if err != nil {
				return // the program has closed the terminal
			}
		}
	}()
	late := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
	defer late.Stop()
	for i, m := range moments {
		if err := s.await(m.texts); err != nil {
			return err
		}
		s.keep(m.second, m.seconds)
		if err := os.WriteFile(filepath.Join(s.dir, fmt.Sprintf("go%d", i+1)), nil, 0o600); err != nil {
			return err
		}
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != status {
		return fmt.Errorf("%s: %w", args, err)
	}
	<-done
	s.mu.Lock()
	fmt.Fprint(s.screen, "\r\n")
	s.mu.Unlock()
	s.keep(0, seconds)
	return nil
}

// await waits until the window has all of the texts, twice in a row: not in the middle of a drawing.
func (s *session) await(texts []string) error {
	for begin, found := time.Now(), 0; found < 2; time.Sleep(40 * time.Millisecond) {
		s.mu.Lock()
		text := s.screen.String()
		s.mu.Unlock()
		found++
		for _, t := range texts {
			if !strings.Contains(text, t) {
				found = 0
			}
		}
		if time.Since(begin) > 20*time.Second {
			return fmt.Errorf("the window does not show %q:\n%s", texts, text)
		}
	}
	return nil
}

// openTerminal opens a pseudo-terminal of the window's size.
func openTerminal() (ours, tty *os.File, err error) {
	ours, err = os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	unlock, number := int32(0), uint32(0)
	size := [4]uint16{rows, columns}
	for request, arg := range map[uintptr]unsafe.Pointer{
		syscall.TIOCSPTLCK: unsafe.Pointer(&unlock), syscall.TIOCGPTN: unsafe.Pointer(&number), syscall.TIOCSWINSZ: unsafe.Pointer(&size),
	} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, ours.Fd(), request, uintptr(arg)); errno != 0 {
			return nil, nil, errors.Join(errno, ours.Close())
		}
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, errors.Join(err, ours.Close())
	}
	return ours, tty, nil
}
