package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/jobcontrol/jobcontrol"
)

// SecretSource tells where a secret is read from: one of an environment variable, a file
// and a command. A value that stands in the file itself is kept, but cannot be had other
// than by [File.Secret].
type SecretSource struct {
	Env     string
	File    string // absolute
	Command []string
	Literal bool

	dir   string        // where the command is executed
	value func() string // of a literal; a function, so that no way of printing shows it
}

// String names the source, never the value.
func (s SecretSource) String() string {
	switch {
	case s.Env != "":
		return "env " + s.Env
	case s.File != "":
		return "file " + s.File
	case len(s.Command) > 0:
		return "command " + s.Command[0]
	}
	return "***"
}

// GoString is String: %#v must not show the value.
func (s SecretSource) GoString() string { return s.String() }

// What a secret may be.
const (
	leastSecret   = 6 // shorter ones cannot be masked in a log without spoiling it
	mostSecret    = 64 << 10
	secretCommand = 10 * time.Second
)

// Secret reads a secret. It is called on the worker when an attempt needs it. Its errors
// never have the value in them.
func (f *File) Secret(ctx context.Context, name string) (string, error) {
	s, ok := f.Secrets[name]
	if !ok {
		return "", jobcontrol.Errorf(jobcontrol.NotFound, "there is no secret %q", name)
	}
	value, err := s.read(ctx)
	if err != nil {
		return "", &jobcontrol.Error{Code: jobcontrol.Invalid, Message: fmt.Sprintf("secret %q", name), Cause: err}
	}
	switch {
	case len(value) < leastSecret:
		return "", jobcontrol.Errorf(jobcontrol.Invalid,
			"secret %q is shorter than %d characters: it could not be kept out of logs", name, leastSecret)
	case len(value) > mostSecret:
		return "", jobcontrol.Errorf(jobcontrol.Invalid, "secret %q is larger than 64 KiB", name)
	}
	return value, nil
}

func (s SecretSource) read(ctx context.Context) (string, error) {
	switch {
	case s.Env != "":
		v, ok := os.LookupEnv(s.Env)
		if !ok {
			return "", fmt.Errorf("the environment variable %s is not set", s.Env)
		}
		return v, nil
	case s.File != "":
		f, err := os.Open(s.File)
		if err != nil {
			return "", err
		}
		defer f.Close()
		data, err := io.ReadAll(io.LimitReader(f, mostSecret+2))
		return trimLine(data), err
	case len(s.Command) > 0:
		return s.execute(ctx)
	}
	if s.value == nil {
		return "", errors.New("it has no source")
	}
	return s.value(), nil
}

// execute reads the secret that a command writes. What it says on stderr is not told:
// it may have the secret in it.
func (s SecretSource) execute(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, secretCommand)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.Command[0], s.Command[1:]...)
	cmd.Dir = s.dir
	cmd.WaitDelay = time.Second
	out := &firstBytes{limit: mostSecret + 2}
	cmd.Stdout = out
	err := cmd.Run()
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return "", fmt.Errorf("command %s needed more than %v", s.Command[0], secretCommand)
	case err != nil:
		return "", fmt.Errorf("command %s: %w", s.Command[0], err)
	}
	return trimLine(out.Bytes()), nil
}

// firstBytes keeps the beginning of what is written to it.
type firstBytes struct {
	bytes.Buffer
	limit int
}

// Write takes everything and keeps as much as the limit.
func (b *firstBytes) Write(p []byte) (int, error) {
	if room := b.limit - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}

func trimLine(data []byte) string {
	return strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
}

// secrets reads the secrets of a document.
func (l *loading) secrets(r *reader, n *yaml.Node) {
	here := map[string]bool{}
	for _, e := range r.entries(n, "secret") {
		if here[e.name] {
			continue // a key that is given twice was reported
		}
		here[e.name] = true
		if err := jobcontrol.CheckName("secret name", e.name); err != nil {
			r.fail(e.key, "", "%v", err)
			continue
		}
		if _, ok := l.file.Secrets[e.name]; ok {
			r.fail(e.key, "", "another file has a secret %q too", e.name)
			continue
		}
		if s, ok := r.secretSource(e); ok {
			l.file.Secrets[e.name] = s
		} else {
			l.file.Secrets[e.name] = SecretSource{} // it is named, so that !secret finds it
		}
	}
}

func (r *reader) secretSource(e entry) (s SecretSource, ok bool) {
	n := deref(e.value)
	if n.Kind == yaml.ScalarNode {
		return r.literalSecret(e, n)
	}
	if n.Kind != yaml.MappingNode || custom(n) {
		r.fail(n, secretHint, "a secret must be a mapping, not %s", kindName(n))
		return s, false
	}
	kinds := 0
	for _, p := range r.entries(n, "a secret") {
		kinds++
		switch p.name {
		case "env":
			s.Env, ok = r.text(p.value, "env")
		case "file":
			if s.File, ok = r.text(p.value, "file"); ok && !filepath.IsAbs(s.File) {
				s.File = filepath.Join(r.dir, s.File)
			}
		case "command":
			s.dir = r.dir
			if s.Command, ok = r.texts(p.value, "command", "a part of a command"); ok && len(s.Command) == 0 {
				r.fail(deref(p.value), "", "the command is empty")
				ok = false
			}
		default:
			r.fail(p.key, secretHint, "unknown key %q in a secret", p.name)
			return s, false
		}
		if !ok {
			return s, false
		}
	}
	if kinds != 1 {
		r.fail(n, secretHint, "a secret must have one source, not %d", kinds)
		return s, false
	}
	return s, true
}

const secretHint = "write {env: NAME}, {file: PATH} or {command: [NAME, ARGUMENT, …]}"

// literalSecret keeps a secret that stands in the file.
func (r *reader) literalSecret(e entry, n *yaml.Node) (s SecretSource, ok bool) {
	switch {
	case n.Tag == "!env":
		r.fail(n, "write {env: NAME}: it is read by the worker and never shown", "!env is visible")
		return s, false
	case !coreTag(n):
		r.fail(n, tagHint(n.Tag), "unknown tag %s", n.Tag)
		return s, false
	case scalarKind(n) == nullScalar:
		r.fail(n, secretHint, "secret %q has no source", e.name)
		return s, false
	}
	r.hide(n.Value)
	if len(n.Value) < leastSecret {
		r.fail(n, "", "secret %q is shorter than %d characters: it could not be kept out of logs", e.name, leastSecret)
		return s, false
	}
	r.warn(e.key, secretHint+", and keep the value out of the file", "secret %q stands in the file", e.name)
	value := n.Value
	return SecretSource{Literal: true, value: func() string { return value }}, true
}

// hide keeps a value out of all excerpts.
func (d *document) hide(value string) {
	for _, line := range append([]string{value}, strings.Split(value, "\n")...) {
		if len(line) >= 4 {
			d.secrets = append(d.secrets, line)
		}
	}
}

// hideURL keeps a password out of all excerpts where it stands in a URL. It may be
// a word such as postgres, which stands for something else elsewhere.
func (d *document) hideURL(password string) {
	if password != "" {
		d.inURLs = append(d.inURLs, password)
	}
}

const mask = "***"

var (
	urlPassword  = regexp.MustCompile(`(://[^/\s:@]*:)([^/\s]+)@`)
	urlParameter = regexp.MustCompile(`[?&]password=([^&\s]+)`)
	topLevel     = regexp.MustCompile(`^["']?[A-Za-z_]`)
	secretKey    = regexp.MustCompile(`^["']?secret["']?[ \t]*:`)
	secretPart   = regexp.MustCompile(`^\s*(?:-\s|["']?(?:env|file|command)["']?\s*:)`)
	secretInline = regexp.MustCompile(`^\s*[\w.:"'-]+\s*:\s*(?:#.*|\{\s*["']?(?:env|file|command)["']?\s*:[^{}]*\}\s*(?:#.*)?)?$`)
)

// passwordOf is the password in the URL of a store, or "".
func passwordOf(url string) string {
	if m := urlPassword.FindStringSubmatch(url); m != nil {
		return m[2]
	}
	if m := urlParameter.FindStringSubmatch(url); m != nil {
		return m[1]
	}
	return ""
}

// mask hides the secrets in a line: values that are known, and in the section of
// secrets whatever is not plainly a source.
func (d *document) mask(line string, inSection bool) string {
	if line == "" {
		return ""
	}
	line = urlPassword.ReplaceAllString(d.withoutValues(line), "$1"+mask+"@")
	if !inSection || secretPart.MatchString(line) || secretInline.MatchString(line) {
		return line
	}
	if i := strings.Index(line, ":"); i >= 0 && i+1 < len(line) {
		return line[:i+1] + " " + mask
	}
	return line[:len(line)-len(strings.TrimLeft(line, " \t"))] + mask
}

// withoutValues is a text without the secrets that are known.
func (d *document) withoutValues(text string) string {
	for _, s := range d.secrets {
		text = strings.ReplaceAll(text, s, mask)
	}
	for _, s := range d.inURLs {
		text = strings.ReplaceAll(text, ":"+s+"@", ":"+mask+"@")
		text = strings.ReplaceAll(text, "password="+s, "password="+mask)
	}
	return text
}
