package house

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A rule finds what breaks it; each finding says where, what, and how to mend it.
type rule struct {
	name  string
	check func(*repo) []string
}

var rules = []rule{
	{"every package has a row in the layout", packagesInLayout},
	{"packages import only what the layout allows", importDirections},
	{"libraries are used only where they belong", libraryPlaces},
	{"only cli knows both stores and config", oneWiring},
	{"packages have a package comment", packageComments},
	{"exported names have a comment", exportedComments},
	{"no init functions", noInit},
	{"names of files and packages say something", tellingNames},
	{"files are not too long", fileLengths},
	{"no words of a developer's machine", noMachineWords},
}

// row finds the row of the layout that holds for the package.
func row(pkgPath string) (allowed []string, ok bool) {
	if allowed, ok = layout[pkgPath]; ok {
		return allowed, true
	}
	for dir := path.Dir(pkgPath); dir != "."; dir = path.Dir(dir) {
		if allowed, ok = layout[dir+"/..."]; ok {
			return allowed, true
		}
	}
	return nil, false
}

func packagesInLayout(r *repo) (found []string) {
	for _, p := range r.packages {
		if _, ok := row(p.path); !ok {
			found = append(found, fmt.Sprintf("package %s is not in the layout: decide what it may import and add a "+
				"row to layout in internal/house/tables_test.go", p.path))
		}
	}
	return found
}

func importDirections(r *repo) (found []string) {
	eachImport(r, false, func(p *pkg, where, imported string) {
		target, ours := within(imported)
		allowed, known := row(p.path)
		if !ours || !known || slices.Contains(allowed, target) {
			return
		}
		if slices.Contains(everywhere, target) && !slices.Contains(everywhere, p.path) {
			return
		}
		may := "no package of this module"
		if len(allowed) > 0 {
			may = "only " + strings.Join(allowed, ", ")
		}
		found = append(found, fmt.Sprintf("%s: package %s may not import %s, %s: move the code, or take an interface "+
			"that the caller fills; if the design changed, change layout in internal/house/tables_test.go",
			where, p.path, target, may))
	})
	return found
}

func libraryPlaces(r *repo) (found []string) {
	visit := func(test bool) func(p *pkg, where, imported string) {
		return func(p *pkg, where, imported string) {
			if imported == "C" {
				found = append(found, where+": cgo is not used here: the program is built without a C compiler")
				return
			}
			if _, ours := within(imported); ours || standard(imported) {
				return
			}
			library, users := lookUp(imported)
			switch {
			case library == "":
				found = append(found, fmt.Sprintf("%s: %s is not a chosen library: do without it, or add it to "+
					"libraries in internal/house/tables_test.go and say why in docs/decisions.md", where, imported))
			case test || slices.Contains(users, p.path):
			case len(users) == 0:
				found = append(found, fmt.Sprintf("%s: %s is for tests only", where, library))
			default:
				found = append(found, fmt.Sprintf("%s: package %s may not import %s, only %s: move the code there, or "+
					"change libraries in internal/house/tables_test.go",
					where, p.path, library, strings.Join(users, ", ")))
			}
		}
	}
	eachImport(r, false, visit(false))
	eachImport(r, true, visit(true))
	return found
}

// oneWiring is about the layout itself, so that it is not widened without a thought.
func oneWiring(*repo) (found []string) {
	for p, allowed := range layout {
		stores := slices.ContainsFunc(allowed, func(s string) bool { return strings.HasPrefix(s, "store/") })
		if p != "cli" && stores && slices.Contains(allowed, "config") {
			found = append(found, fmt.Sprintf("layout in internal/house/tables_test.go allows package %s to import stores "+
				"and config; only cli may: pass what it needs in from there", p))
		}
	}
	return found
}

func packageComments(r *repo) (found []string) {
	for _, p := range r.packages {
		want := "Package " + p.name + " "
		ok, codeless := false, !slices.ContainsFunc(p.files, func(f *file) bool { return !f.test })
		for _, f := range p.files {
			if f.Doc == nil || f.test && !codeless {
				continue
			}
			if p.name == "main" || strings.HasPrefix(f.Doc.Text(), want) {
				ok = true
			}
		}
		if !ok && len(p.files) > 0 {
			found = append(found, fmt.Sprintf("package %s has no package comment: open one of its files, best doc.go, with "+
				"a comment %q that tells its model and invariants", p.path, "// "+want+"…"))
		}
	}
	return found
}

func exportedComments(r *repo) (found []string) {
	for _, p := range r.packages {
		if p.internal() || p.name == "main" {
			continue
		}
		for _, f := range p.files {
			if f.test {
				continue
			}
			for _, name := range undocumented(f.File) {
				found = append(found, fmt.Sprintf("%s: exported %s has no comment: state its contract (who may call it, "+
					"concurrency, what nil means, units, errors), or make it unexported", r.at(name), name.Name))
			}
		}
	}
	return found
}

// undocumented are the exported names at the top level of a file that no comment tells about; one comment may stand
// for a whole group.
func undocumented(f *ast.File) (names []*ast.Ident) {
	add := func(documented bool, idents ...*ast.Ident) {
		for _, id := range idents {
			if !documented && id.IsExported() {
				names = append(names, id)
			}
		}
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				add(d.Doc != nil, d.Name)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					// A group's comment says nothing about the types in it.
					add(s.Doc != nil || s.Comment != nil || d.Doc != nil && !d.Lparen.IsValid(), s.Name)
				case *ast.ValueSpec:
					add(s.Doc != nil || s.Comment != nil || d.Doc != nil, s.Names...)
				}
			}
		}
	}
	return names
}

func noInit(r *repo) (found []string) {
	for _, p := range r.packages {
		for _, f := range p.files {
			for _, d := range f.Decls {
				if d, ok := d.(*ast.FuncDecl); ok && d.Recv == nil && d.Name.Name == "init" {
					found = append(found, r.at(d.Name)+": func init: do this where the value is made, in a constructor, "+
						"or in main; in tests, in the test or in TestMain")
				}
			}
		}
	}
	return found
}

func tellingNames(r *repo) (found []string) {
	for _, p := range r.packages {
		if slices.Contains(emptyNames, path.Base(p.path)) || slices.Contains(emptyNames, p.name) {
			found = append(found, fmt.Sprintf("package %s (%s): the name says nothing: name it after the concept in it, "+
				"or move its parts to where they are used", p.path, p.name))
		}
		for _, f := range p.files {
			if slices.Contains(emptyNames, stem(f.path)) {
				found = append(found, f.path+": the name says nothing: name the file after what is in it, or move its "+
					"parts to where they are used")
			}
		}
	}
	return found
}

// stem is the name of a Go file without what the build makes of it: models_linux_test.go is models.
func stem(file string) string {
	name := strings.TrimSuffix(path.Base(filepath.ToSlash(file)), ".go")
	for {
		short, suffix, ok := cutLast(name, "_")
		if !ok || !slices.Contains([]string{"test", "linux", "unix", "darwin", "windows", "other", "amd64", "arm64"}, suffix) {
			return name
		}
		name = short
	}
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func fileLengths(r *repo) (found []string) {
	for _, p := range r.packages {
		for _, f := range p.files {
			if !f.test && f.lines > maxLines && !ast.IsGenerated(f.File) {
				found = append(found, fmt.Sprintf("%s: %d lines, at most %d: split it by concept", f.path, f.lines, maxLines))
			}
		}
	}
	return found
}

func noMachineWords(r *repo) (found []string) {
	for _, name := range r.files {
		info, err := os.Lstat(filepath.Join(r.dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted, but not yet in a commit
		}
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		content, err := os.ReadFile(filepath.Join(r.dir, name))
		if err != nil {
			found = append(found, err.Error())
			continue
		}
		for _, needle := range needles {
			if i := index(content, needle); i >= 0 {
				line := 1 + bytes.Count(content[:i], []byte("\n"))
				found = append(found, fmt.Sprintf("%s:%d: has %q, a word of somebody's machine: use a relative path, a "+
					"placeholder, or leave it out", name, line, needle))
			}
		}
	}
	return found
}

// index is where content has the needle, or -1. A needle that begins with a slash must begin a path.
func index(content []byte, needle string) int {
	for from := 0; ; {
		i := bytes.Index(content[from:], []byte(needle))
		if i < 0 {
			return -1
		}
		i += from
		if needle[0] != '/' || i == 0 || !inPath(content[i-1]) {
			return i
		}
		from = i + 1
	}
}

func inPath(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("_-.~})*%", c) >= 0
}

// eachImport calls visit for every import of a test file, or of a file that is none.
func eachImport(r *repo, test bool, visit func(p *pkg, where, imported string)) {
	for _, p := range r.packages {
		for _, f := range p.files {
			if f.test != test {
				continue
			}
			for _, spec := range f.Imports {
				imported, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					continue // it did not compile either
				}
				visit(p, r.at(spec), imported)
			}
		}
	}
}

// standard says whether the standard library has the package: nobody else has names without a dot in front.
func standard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}

// lookUp finds the library that an imported package is of, and who may use it.
func lookUp(imported string) (library string, users []string) {
	for library, users := range libraries {
		if imported == library || strings.HasPrefix(imported, library+"/") {
			return library, users
		}
	}
	return "", nil
}

// at is file:line of a node.
func (r *repo) at(n ast.Node) string {
	p := r.fset.PositionFor(n.Pos(), false)
	return (&token.Position{Filename: p.Filename, Line: p.Line}).String()
}
