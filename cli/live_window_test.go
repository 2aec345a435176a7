package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jobcontrol/jobcontrol"
)

// window is a terminal as tmux is one: when it becomes narrower it breaks the lines
// that are too long, keeps the cursor in its row, and moves what has no room to its
// history; so does what is cleared from the first row on.
type window struct {
	w, h    int
	rows    []string // of the screen, without spaces at their ends
	x, y    int      // the cursor
	noWrap  bool
	history []string
}

func newWindow(w, h int) *window { return &window{w: w, h: h, rows: make([]string, h)} }

var control = regexp.MustCompile(`^\x1b\[(\?[0-9]+|[0-9]*)([A-Za-z])`)

// write does what a program writes.
func (v *window) write(out string) error {
	for out != "" {
		if m := control.FindStringSubmatch(out); m != nil {
			v.steer(m[1], m[2])
			out = out[len(m[0]):]
			continue
		}
		r := []rune(out)[0]
		out = out[len(string(r)):]
		switch {
		case r == '\r':
			v.x = 0
		case r == '\n':
			v.x = 0
			v.down()
		case r < ' ':
			return fmt.Errorf("%q is not expected", r)
		default:
			v.put(r)
		}
	}
	return nil
}

func (v *window) steer(number, what string) {
	n, _ := strconv.Atoi(number)
	switch what {
	case "A":
		v.y = max(0, v.y-max(1, n))
	case "J":
		if v.x == 0 && v.y == 0 {
			for slices.ContainsFunc(v.rows, func(r string) bool { return r != "" }) {
				v.scroll()
			}
		}
		v.rows[v.y] = string([]rune(v.rows[v.y])[:min(v.x, len([]rune(v.rows[v.y])))])
		clear(v.rows[v.y+1:])
	case "K":
		v.rows[v.y] = string([]rune(v.rows[v.y])[:min(v.x, len([]rune(v.rows[v.y])))])
	case "l", "h":
		if number == "?7" {
			v.noWrap = what == "l"
		}
	}
}

func (v *window) down() {
	if v.y++; v.y == v.h {
		v.scroll()
		v.y--
	}
}

func (v *window) scroll() {
	v.history = append(v.history, v.rows[0])
	v.rows = append(v.rows[1:], "")
}

func (v *window) put(r rune) {
	if v.x >= v.w {
		if v.noWrap {
			v.x = v.w - 1
		} else {
			v.x = 0
			v.down()
		}
	}
	row := []rune(v.rows[v.y])
	for len(row) <= v.x {
		row = append(row, ' ')
	}
	row[v.x] = r
	v.rows[v.y] = strings.TrimRight(string(row), " ")
	if v.x++; strings.HasSuffix(string(row), " ") && v.x >= len(row) {
		v.rows[v.y] = string(row)
	}
}

// narrow makes the window narrower.
func (v *window) narrow(w int) {
	var rows []string
	y := v.y
	for i, r := range v.rows {
		grown := len(rows)
		for text := []rune(strings.TrimRight(r, " ")); ; text = text[w:] {
			if len(text) <= w {
				rows = append(rows, string(text))
				break
			}
			rows = append(rows, string(text[:w]))
		}
		if i < v.y {
			y += len(rows) - grown - 1
		}
	}
	over := y - v.y
	v.history = append(v.history, rows[:over]...)
	v.w, v.rows = w, append(rows[over:min(len(rows), over+v.h)], make([]string, max(0, v.h-(len(rows)-over)))...)
}

// TestPictureNarrowed holds that in a window that becomes narrower, by half or less at a time, only
// one picture is seen, below the text, and that none of the text is lost.
func TestPictureNarrowed(t *testing.T) {
	for _, steps := range [][]int{{60}, {60, 40}, {99, 90, 80, 70, 60, 50}, {100, 98, 96, 94, 92, 90, 88, 86, 84}, {60, 49, 30}} {
		t.Run(fmt.Sprint(steps), func(t *testing.T) { narrowed(t, steps) })
	}
}

func narrowed(t *testing.T, steps []int) {
	file, err := os.Create(filepath.Join(t.TempDir(), "screen"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	v := newWindow(120, 30)
	s := newStreams(nil, file, nil, func(string) string { return "" })
	s.screen = file
	p := &picture{s: s, size: func() (int, int) { return v.w, v.h }, wake: make(chan struct{}, 1), last: time.Now()}
	s.picture = p
	read := 0
	show := func() {
		p.redraw()
		out, err := os.ReadFile(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		if err := v.write(string(out[read:])); err != nil {
			t.Fatal(err)
		}
		read = len(out)
	}
	texts := 0
	say := func(n int) {
		for range n {
			texts++
			s.print(fmt.Sprintf("text %d\n", texts))
		}
		show()
	}
	for i := range 6 {
		p.event(jobcontrol.Event{Kind: jobcontrol.EventStarted, Build: &jobcontrol.Build{ID: int64(i), Job: fmt.Sprintf("job %d", i)}})
		p.report(int64(i), &jobcontrol.ProgressNode{Children: []*jobcontrol.ProgressNode{{Name: "step", Total: 2, Current: 1, Status: strings.Repeat("status ", 12)}}})
	}
	say(25) // the picture is at the bottom
	for i, w := range steps {
		v.narrow(w)
		if show(); i%2 == 1 {
			say(3)
		}
		screen := strings.Join(v.rows, "\n")
		if n := strings.Count(screen, "job "); n != 6 {
			t.Fatalf("at %d columns %d lines of jobs are seen, want 6:\n%s", w, n, screen)
		}
		if n := strings.Count(screen, "step"); n != 6 {
			t.Fatalf("at %d columns %d lines of progress are seen, want 6:\n%s", w, n, screen)
		}
		if old := strings.Join(v.history, "\n"); strings.Contains(old, "job ") {
			t.Fatalf("at %d columns an old picture is in the history:\n%s", w, old)
		}
	}
	say(40) // fills the gap, and more
	if p.gap != 0 {
		t.Errorf("a gap of %d lines is left", p.gap)
	}
	say(2)
	s.unpicture()
	show()
	all := strings.Join(append(v.history, v.rows...), "\n")
	if strings.Contains(all, "job ") || strings.Contains(all, "step") {
		t.Errorf("the picture is left:\n%s", all)
	}
	last := 0
	for _, l := range strings.Split(all, "\n") {
		if number, ok := strings.CutPrefix(l, "text "); ok {
			if n, _ := strconv.Atoi(number); n != last+1 {
				t.Fatalf("text %d follows text %d:\n%s", n, last, all)
			}
			last++
		}
	}
	if last != texts {
		t.Errorf("%d lines of text are left of %d", last, texts)
	}
}
