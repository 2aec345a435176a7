package config

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/config/template"
)

// maxText is the most that a file may hold, before and after its templates.
const maxText = 64 << 20

// document is one file: as it was written, and as its templates made it.
type document struct {
	name  string // how errors call it
	dir   string // absolute
	order int    // 0: the file that was asked for

	written  string
	expanded string
	source   *template.Map // nil: expanded is written, or it is not known what came from where
	rendered bool
	shown    string // expanded, without its literal secrets

	secrets []string          // literal secrets, not to be shown
	inURLs  []string          // passwords, not to be shown in a URL
	lines   map[string]*lines // of the files that excerpts were taken from
}

// lines are the lines of a text, and which of them are its section of secrets.
type lines struct {
	all       []string
	secret    int // the line of the key; 0: none
	secretEnd int // the line after the section
}

func splitLines(text string) *lines {
	l := &lines{all: strings.Split(text, "\n")}
	for i, line := range l.all {
		switch {
		case !topLevel.MatchString(line):
		case l.secret > 0 && l.secretEnd == 0:
			l.secretEnd = i + 1
		case secretKey.MatchString(line):
			l.secret = i + 1
		}
	}
	if l.secretEnd == 0 {
		l.secretEnd = len(l.all) + 1
	}
	return l
}

func (l *lines) at(n int) string {
	if n < 1 || n > len(l.all) {
		return ""
	}
	return l.all[n-1]
}

// isSecret tells whether a line is of the section of secrets.
func (l *lines) isSecret(n int) bool { return l.secret > 0 && n >= l.secret && n < l.secretEnd }

// readText reads a file, but never more than the limit.
func readText(open func() (io.ReadCloser, error)) ([]byte, error) {
	f, err := open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if s, ok := f.(interface{ Stat() (os.FileInfo, error) }); ok {
		info, err := s.Stat()
		switch {
		case err != nil:
			return nil, err
		case info.IsDir():
			return nil, errors.New("is a directory")
		case info.Mode().IsRegular() && info.Size() > maxText:
			return nil, fmt.Errorf("is larger than 64 MiB (%d bytes)", info.Size())
		}
	}
	data, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err == nil && len(data) > maxText {
		err = errors.New("is larger than 64 MiB")
	}
	return data, err
}

// newDocument makes a document of a file's bytes; it is not rendered yet.
func newDocument(name, dir string, order int, data []byte, r *report) *document {
	d := &document{name: name, dir: dir, order: order}
	text := strings.TrimPrefix(string(data), "\ufeff")
	if strings.Contains(text, "\r") {
		text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	}
	if at := badByte(text); at >= 0 {
		d.written, d.expanded = strings.ToValidUTF8(text[:at], ""), ""
		line := strings.Count(text[:at], "\n") + 1
		column := utf8.RuneCountInString(text[strings.LastIndexByte(text[:at], '\n')+1:at]) + 1
		f := finding{order: order, Diagnostic: Diagnostic{
			Pos:     jobcontrol.Position{File: name, Line: line, Column: column},
			Message: "the file is not text in UTF-8",
		}}
		switch c, n := utf8.DecodeRuneInString(text[at:]); {
		case c == 0x85 || c == 0x2028 || c == 0x2029:
			f.Message = fmt.Sprintf("the file has the line separator U+%04X in it", c)
			f.Hint = fmt.Sprintf(`write "\u%04x" in double quotes`, c)
		case n > 1 || c < 0x20 || c == 0x7f:
			f.Message = fmt.Sprintf("the file has a control character (0x%02X) in it", c)
		}
		r.put(false, f)
		return nil
	}
	d.written, d.expanded = text, text
	return d
}

// badByte is the offset of what is no printable UTF-8, or of what YAML 1.1 takes for the
// end of a line and YAML 1.2 does not, or -1.
func badByte(text string) int {
	for i, c := range text {
		switch {
		case c == utf8.RuneError:
			if _, n := utf8.DecodeRuneInString(text[i:]); n == 1 {
				return i
			}
		case c < 0x20 && c != '\n' && c != '\t', c >= 0x7f && c < 0xa0, c == 0x2028, c == 0x2029:
			return i
		}
	}
	return -1
}

var templateOff = regexp.MustCompile(`(?m)^template:[ \t]*(?:false|no|off|False|FALSE)[ \t]*(?:#.*)?$`)

// render executes the templates of the document.
func (d *document) render(ctx context.Context, o Options) error {
	if !template.Needed(d.written) || templateOff.MatchString(d.written) {
		return nil
	}
	d.rendered = true
	in := template.Input{Name: d.name, Text: d.written, Dir: d.dir}
	out, err := template.Render(ctx, in, template.Options{Child: o.Child})
	if err != nil {
		return err
	}
	d.expanded, d.source = out.Text, out.Map
	return nil
}

// renderError makes a finding of an error of render, or returns the error.
func (d *document) renderError(err error, r *report) error {
	var e *template.Error
	if !errors.As(err, &e) {
		return err
	}
	f := finding{doc: d, order: d.order, Diagnostic: Diagnostic{Message: e.Message, Hint: e.Hint}}
	f.Pos = jobcontrol.Position{File: d.fileName(e.File), Line: e.Line, Column: e.Column}
	f.Message = "template: " + f.Message
	r.put(false, f)
	return nil
}

// fileName is how errors call a file that the template engine names.
func (d *document) fileName(file string) string {
	if file == d.name {
		return file
	}
	return filepath.Join(filepath.Dir(d.name), file)
}

const expandedSuffix = " (expanded)"

// position is where a place of the expanded text came from.
func (d *document) position(line, column int) jobcontrol.Position {
	if !d.rendered || line == 0 {
		return jobcontrol.Position{File: d.name, Line: line, Column: column}
	}
	p, _, ok := d.source.Source(line, column)
	if !ok {
		return jobcontrol.Position{File: d.name + expandedSuffix, Line: line, Column: column}
	}
	return jobcontrol.Position{File: d.fileName(p.File), Line: p.Line, Column: p.Column}
}

// excerpt is the line of a position, and what a template made of it. The line in the
// expanded text may be unknown: 0.
func (d *document) excerpt(p jobcontrol.Position, line int) (text, expanded string) {
	if p.Line == 0 {
		return "", ""
	}
	text = d.linesOf(p.File).at(p.Line)
	if d.rendered && line > 0 && !strings.HasSuffix(p.File, expandedSuffix) {
		expanded = d.linesOf(d.name + expandedSuffix).at(line)
		if strings.TrimSpace(expanded) == strings.TrimSpace(text) {
			expanded = ""
		}
	}
	return d.mask(text, d.linesOf(p.File).isSecret(p.Line)),
		d.mask(expanded, d.linesOf(d.name+expandedSuffix).isSecret(line))
}

func (d *document) linesOf(file string) *lines {
	if l, ok := d.lines[file]; ok {
		return l
	}
	if d.lines == nil {
		d.lines = map[string]*lines{}
	}
	text := ""
	switch {
	case file == d.name:
		text = d.written
	case file == d.name+expandedSuffix:
		text = d.expanded
	default:
		if rel, err := filepath.Rel(filepath.Dir(d.name), file); err == nil {
			text = readBelow(d.dir, rel)
		}
	}
	d.lines[file] = splitLines(text)
	return d.lines[file]
}

// readBelow reads a file of a directory; "" if it cannot.
func readBelow(dir, name string) string {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return ""
	}
	defer root.Close()
	data, err := readText(func() (io.ReadCloser, error) { return root.Open(name) })
	if err != nil {
		return ""
	}
	return string(data)
}
