package house

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A repo is the module as the rules see it.
type repo struct {
	dir      string
	fset     *token.FileSet
	packages []*pkg
	files    []string // all files that are or may be committed, relative to dir
}

// A pkg is one package with all its Go files, whatever their build constraints.
type pkg struct {
	path  string // its folder relative to the module; the root is "."
	name  string
	files []*file
}

// A file is one parsed Go file.
type file struct {
	*ast.File
	path  string // relative to the module
	test  bool   // of a test, or of a program of its own kept beside the package ("//go:build ignore")
	lines int
}

func (p *pkg) internal() bool { return slices.Contains(strings.Split(p.path, "/"), "internal") }

// load reads the module in dir. Files that do not parse are left to the compiler.
func load(dir string) (*repo, error) {
	r := &repo{dir: dir, fset: token.NewFileSet()}
	dirs := map[string]string{} // package folder by import path
	for _, tags := range []string{"", "failpoints"} {
		if err := list(dir, tags, dirs); err != nil {
			return nil, err
		}
	}
	for path, folder := range dirs {
		rel, ok := within(path)
		if !ok {
			return nil, fmt.Errorf("package %s is not of module %s", path, module)
		}
		p, err := r.parse(rel, folder)
		if err != nil {
			return nil, err
		}
		r.packages = append(r.packages, p)
	}
	slices.SortFunc(r.packages, func(a, b *pkg) int { return strings.Compare(a.path, b.path) })

	var err error
	r.files, err = committable(dir)
	return r, err
}

// list adds the packages that exist with the build tags to dirs.
func list(dir, tags string, dirs map[string]string) error {
	cmd := exec.Command("go", "list", "-e", "-tags="+tags, "-json=ImportPath,Dir", "./...")
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("go list: %w\n%s", err, &stderr)
	}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct{ ImportPath, Dir string }
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("go list: %w", err)
		}
		dirs[p.ImportPath] = p.Dir
	}
}

func (r *repo) parse(path, folder string) (*pkg, error) {
	p := &pkg{path: path}
	names, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if base := filepath.Base(name); base[0] == '_' || base[0] == '.' {
			continue
		}
		src, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		rel, err := filepath.Rel(r.dir, name)
		if err != nil {
			return nil, err
		}
		syntax, err := parser.ParseFile(r.fset, rel, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			continue
		}
		f := &file{File: syntax, path: rel, lines: bytes.Count(src, []byte("\n"))}
		f.test = strings.HasSuffix(name, "_test.go") || bytes.HasPrefix(src, []byte("//go:build ignore\n"))
		if !f.test || p.name == "" {
			p.name = strings.TrimSuffix(f.Name.Name, "_test")
		}
		p.files = append(p.files, f)
	}
	return p, nil
}

// within says which folder of this module an import path names, if it is one of ours.
func within(path string) (string, bool) {
	if path == module {
		return ".", true
	}
	return strings.CutPrefix(path, module+"/")
}

// committable lists the files that git tracks or would add; outside a git work tree, all but hidden and built ones.
func committable(dir string) ([]string, error) {
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = dir
	if out, err := cmd.Output(); err == nil {
		return slices.DeleteFunc(strings.Split(string(out), "\x00"), func(s string) bool { return s == "" }), nil
	}
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		switch {
		case err != nil:
			return err
		case d.IsDir() && rel != "." && (rel == "bin" || d.Name() == ".git" || d.Name() == ".jobcontrol"):
			return filepath.SkipDir
		case d.Type().IsRegular():
			files = append(files, rel)
		}
		return nil
	})
	return files, err
}
