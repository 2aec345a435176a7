package config

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxIncluded is how many files one file may include.
const maxIncluded = 10000

// include reads the files that the patterns name, each once, in the order of the
// patterns and within one of the names.
func (l *loading) include(r *reader, n *yaml.Node) error {
	if isNull(n) {
		return nil
	}
	if _, ok := r.texts(n, "include", "a file name"); !ok {
		return nil
	}
	root, err := os.OpenRoot(r.dir)
	if err != nil {
		r.fail(deref(n), "", "%v", err)
		return nil
	}
	defer root.Close()
	self, _ := root.Stat(filepath.Base(r.name))
	seen := map[string]bool{}
	for _, c := range deref(n).Content {
		pattern, _ := r.text(c, "a file name")
		for _, name := range matches(r, root, deref(c), pattern) {
			if info, err := root.Stat(name); seen[name] || err == nil && self != nil && os.SameFile(info, self) {
				continue
			}
			seen[name] = true
			if len(seen) > maxIncluded {
				r.fail(deref(c), "", "more than %d files are included", maxIncluded)
				return nil
			}
			if err := l.included(r, deref(c), root, name, len(seen)); err != nil {
				return err
			}
		}
	}
	return nil
}

// matches finds the files of a pattern below the directory.
func matches(r *reader, root *os.Root, at *yaml.Node, pattern string) []string {
	clean := path.Clean(filepath.ToSlash(pattern))
	wild := strings.ContainsAny(clean, "*?[")
	switch {
	case pattern == "" || path.IsAbs(clean) || clean == ".." || strings.HasPrefix(clean, "../"):
		r.fail(at, "", "%q is not below the directory of this file", pattern)
		return nil
	case strings.Contains(clean, "**"):
		r.fail(at, "write one pattern per level: dir/*.yaml, dir/*/*.yaml", "** is not available in %q", pattern)
		return nil
	case !wild:
		if _, err := root.Stat(clean); err != nil {
			r.fail(at, "", "%s", includeError(pattern, err))
			return nil
		}
		return []string{clean}
	}
	names, err := fs.Glob(root.FS(), clean)
	if err != nil {
		r.fail(at, "", "%q is no pattern of file names", pattern)
		return nil
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		info, err := root.Stat(name)
		return err == nil && info.IsDir()
	})
	if len(names) == 0 {
		r.warn(at, "", "no file matches %q", pattern)
	}
	return names
}

func includeError(name string, err error) string {
	switch {
	case os.IsNotExist(err):
		return fmt.Sprintf("there is no file %q", name)
	case strings.Contains(err.Error(), "escapes"):
		return fmt.Sprintf("%q leads out of the directory of this file", name)
	}
	if pe, ok := err.(*fs.PathError); ok {
		err = pe.Err
	}
	return fmt.Sprintf("file %q: %v", name, err)
}

// included reads one file.
func (l *loading) included(r *reader, at *yaml.Node, root *os.Root, name string, order int) error {
	data, err := readText(func() (io.ReadCloser, error) { return root.Open(name) })
	if err != nil {
		r.fail(at, "", "%s", includeError(name, err))
		return nil
	}
	local := filepath.FromSlash(name)
	d := newDocument(filepath.Join(filepath.Dir(r.name), local), filepath.Dir(filepath.Join(r.dir, local)), order, data, &l.report)
	if d == nil {
		return nil
	}
	sub, node, err := l.open(d)
	if node == nil || err != nil {
		return err
	}
	var jobs *yaml.Node
	for _, e := range sub.entries(node, "the file") {
		switch e.name {
		case "jobs":
			jobs = e.value
		case "template":
			if !isNull(e.value) {
				sub.boolean(e.value, "template")
			}
		default:
			l.shared(sub, e, includeKeys)
		}
	}
	l.readJobs(sub, jobs, l.readDefaults(sub, node, l.defaults))
	return nil
}
