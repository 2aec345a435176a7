package config

import (
	"context"
	"io"
	"os"
	"path/filepath"

	"github.com/jobcontrol/jobcontrol"
	"github.com/jobcontrol/jobcontrol/config/template"
)

// Options say how to load a file. The zero value is usable.
type Options struct {
	// Child is the command of a process that renders templates within limits: ChildCommand()
	// in a program whose main calls Child first. Empty: templates are rendered in this process,
	// where a runaway template can use up its memory.
	Child []string

	// Env looks up an environment variable for !env; nil: os.LookupEnv.
	Env func(name string) (string, bool)
}

// Child must be called first in the main of a program that uses [ChildCommand]. In the
// process that renders a template for it, Child renders and exits; else it returns at once.
func Child() { template.Child() }

// ChildCommand is the command that makes this program render a template; see [Options].
func ChildCommand() []string { return template.Command() }

// File is a file of jobs that was loaded without an error, with the files it includes.
type File struct {
	Path    string // as it was given to Load
	Dir     string // its directory, absolute; relative paths in it begin here
	Storage string // URL of the store; empty: the default, or StorageSecret
	Project string // empty: none
	Secrets map[string]SecretSource
	Meta    map[string]any
	Jobs    *jobcontrol.Jobs

	StorageSecret string // the secret that is the URL of the store; empty: none

	Services  []jobcontrol.Service // those that are described, in their order
	Retention jobcontrol.RetentionPolicy

	Expanded string      // its text after templates; literal secrets are ***
	Warnings Diagnostics // what may not be meant
}

// Load reads a file. Its error is [Diagnostics] where the file is to blame, else
// NotFound or Invalid where it cannot be read.
func Load(ctx context.Context, path string, o Options) (*File, error) {
	data, dir, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return load(ctx, path, dir, data, o)
}

// Parse is Load for a text that was read already. The directory of the name is where
// included files and relative paths begin.
func Parse(ctx context.Context, name string, data []byte, o Options) (*File, error) {
	dir, err := filepath.Abs(filepath.Dir(name))
	if err != nil {
		return nil, jobcontrol.Errorf(jobcontrol.Invalid, "%s: %v", name, err)
	}
	if len(data) > maxText {
		return nil, jobcontrol.Errorf(jobcontrol.Invalid, "%s is larger than 64 MiB (%d bytes)", name, len(data))
	}
	return load(ctx, name, dir, data, o)
}

// Expand returns the text of a file after its templates, as far as it can be made:
// YAML errors do not matter. Literal secrets in it are ***.
func Expand(ctx context.Context, path string, o Options) (string, error) {
	data, dir, err := readFile(path)
	if err != nil {
		return "", err
	}
	l := newLoading(ctx, o)
	d := newDocument(path, dir, 0, data, &l.report)
	if d == nil {
		return "", finish(l.report.errors)
	}
	if err := d.render(ctx, o); err != nil {
		if err := d.renderError(err, &l.report); err != nil {
			return "", err
		}
		return "", finish(l.report.errors)
	}
	return d.maskAgain(), nil
}

func readFile(path string) (data []byte, dir string, err error) {
	data, err = readText(func() (io.ReadCloser, error) { return os.Open(path) })
	if err == nil {
		if dir, err = filepath.Abs(filepath.Dir(path)); err == nil {
			return data, dir, nil
		}
	}
	if os.IsNotExist(err) {
		e := jobcontrol.Errorf(jobcontrol.NotFound, "there is no file %s", path)
		e.Cause = nil
		return nil, "", e
	}
	if pe, ok := err.(*os.PathError); ok {
		err = pe.Err
	}
	return nil, "", jobcontrol.Errorf(jobcontrol.Invalid, "%s: %v", path, err)
}
