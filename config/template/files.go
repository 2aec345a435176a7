package template

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/parser"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// files gives gonja the source that is being parsed, and the files that it extends.
type files struct {
	engine *engine
	path   string
	text   string
}

// Read returns a source.
func (f *files) Read(path string) (io.Reader, error) {
	if path == f.path {
		return strings.NewReader(f.text), nil
	}
	text, err := f.engine.read(path)
	if err != nil {
		return nil, err
	}
	if text, err = f.engine.prepare(path, path, text); err != nil {
		return nil, err
	}
	return strings.NewReader(text), nil
}

// Resolve returns the path from the input's directory.
func (f *files) Resolve(path string) (string, error) { return path, nil }

// Inherit returns a loader for a file that another one names: all paths begin in one directory.
func (f *files) Inherit(string) (loaders.Loader, error) { return f, nil }

// read reads a file below the input's directory.
func (e *engine) read(name string) (string, error) {
	if e.root == nil {
		return "", fmt.Errorf("%s: there is no directory to read templates from", name)
	}
	if path.IsAbs(name) || !fs.ValidPath(path.Clean(name)) {
		return "", fmt.Errorf("%s: templates are read only from below the directory of the file", name)
	}
	f, err := e.root.Open(path.Clean(name))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("%s: %w", name, fs.ErrNotExist)
		}
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, e.limits.Output+1))
	if err != nil {
		return "", err
	}
	if int64(len(text)) > e.limits.Output {
		return "", fmt.Errorf("%s: the file is larger than %s", name, bytesText(e.limits.Output))
	}
	return unixLines(string(text)), nil
}

// load parses a file once, however often it is included.
func (e *engine) load(at *site, name string) (*exec.Template, error) {
	clean := path.Clean(name)
	if t, ok := e.templates[clean]; ok {
		return t, nil
	}
	text, err := e.read(name)
	if err != nil {
		return nil, at.source.errorAt(at.token, "%v", err)
	}
	t, err := e.parse(clean, clean, text)
	if err == nil {
		e.templates[clean] = t
	}
	return t, err
}

// reference is an include, import or from: a tag that executes another file.
type reference struct {
	engine  *engine
	source  *source
	token   *tokens.Token
	tag     string
	File    nodes.Expression
	lenient bool              // include: a file that does not exist is nothing
	context bool              // import, from: the file sees the variables of the one that names it
	as      string            // import: the name for all of it
	names   map[string]string // from: name here → name there
}

// Position is where the tag is.
func (x *reference) Position() *tokens.Token { return x.token }

// String names the tag.
func (x *reference) String() string { return x.tag }

func (e *engine) parseReference(tag string) parser.ControlStructureParser {
	return func(p, args *parser.Parser) (nodes.ControlStructure, error) {
		x := &reference{engine: e, source: e.source(), token: args.Current(), tag: tag, names: map[string]string{}}
		file, err := args.ParseExpression()
		if err != nil {
			return nil, err
		}
		x.File = file
		switch tag {
		case "include":
			if args.MatchName("ignore") != nil {
				x.lenient = args.MatchName("missing") != nil
			}
		case "import":
			name := (*tokens.Token)(nil)
			if args.MatchName("as") != nil {
				name = args.Match(tokens.Name)
			}
			if name == nil {
				return nil, args.Error(`expected "as" and a name`, x.token)
			}
			x.as = name.Val
		case "from":
			if err := x.parseNames(args); err != nil {
				return nil, err
			}
		}
		if with := args.MatchName("with", "without"); with != nil && args.MatchName("context") != nil {
			x.context = with.Val == "with"
		}
		if !args.End() {
			return nil, args.Error("unexpected "+strings.TrimSpace(args.Current().Val), args.Current())
		}
		return x, nil
	}
}

func (x *reference) parseNames(args *parser.Parser) error {
	if args.MatchName("import") == nil {
		return args.Error(`expected "import"`, x.token)
	}
	for {
		name := args.Match(tokens.Name)
		if name == nil {
			return args.Error("expected a name to import", x.token)
		}
		as := name
		if args.MatchName("as") != nil {
			if as = args.Match(tokens.Name); as == nil {
				return args.Error(`expected a name after "as"`, x.token)
			}
		}
		x.names[as.Val] = name.Val
		if args.Match(tokens.Comma) == nil {
			return nil
		}
	}
}

// Execute includes or imports the file.
func (x *reference) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	e := x.engine
	at := &site{token: x.token, source: x.source}
	e.now.Store(at)
	name := r.Eval(x.File)
	if name.IsError() {
		return name
	}
	if e.includes++; e.includes > maxIncludes {
		panic(x.source.errorAt(x.token, "files include each other deeper than %d levels", maxIncludes))
	}
	defer func() { e.includes-- }()
	t, err := e.load(at, name.String())
	if err != nil {
		if x.lenient && strings.HasSuffix(err.Error(), fs.ErrNotExist.Error()) {
			return nil
		}
		panic(e.asError("", err))
	}
	scope, out := e.env.Context.Inherit(), io.Writer(io.Discard)
	if x.context || x.tag == "include" {
		scope = r.Environment.Context.Inherit()
	}
	if x.tag == "include" {
		out = r.Output
	}
	env := *r.Environment
	env.Context = scope
	if err := exec.NewRenderer(&env, out, e.config, &files{engine: e}, t).Execute(); err != nil {
		return err
	}
	if x.tag == "import" {
		r.Environment.Context.Set(x.as, &module{name.String(), scope})
	}
	for here, there := range x.names {
		v, ok := scope.Get(there)
		if !ok {
			panic(x.source.errorAt(x.token, "%s has no %q", name.String(), there))
		}
		r.Environment.Context.Set(here, v)
	}
	return nil
}

// module is a file that was imported under a name.
type module struct {
	name  string
	scope *exec.Context
}

// GetAttribute returns a macro or variable of the file.
func (m *module) GetAttribute(name string) (*exec.Value, bool) {
	if v, ok := m.scope.Get(name); ok {
		return exec.ToValue(v), true
	}
	return exec.AsValue(fmt.Errorf("attribute '%s' not found", name)), false
}
